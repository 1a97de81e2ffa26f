/* Datagrams as fast as can be. */
// -- udp --

static int open_sender(int port, int number) {
  Address from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET, .sin_port = htons(port)};
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  from.sin_addr.s_addr = htonl(first_address + 1 + number);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd < 0 || bind(fd, (void *)&from, sizeof from) || connect(fd, (void *)&to, sizeof to)) {
    fail("sender %d: %s", number, strerror(errno));
  }
  return fd;
}

static long size_of(const char *path) {
  struct stat status;
  return stat(path, &status) ? 0 : status.st_size;
}

/* Nobody tells when a UDP port is open: until what is sent shows. */
static void send_until_heard(int sender, const char *line, int line_bytes, const char *path) {
  for (double limit_s = now_s() + START_LIMIT_S; size_of(path) == 0; usleep(50000)) {
    if (has_server_ended()) fail("the server has ended before it listened");
    if (now_s() > limit_s) fail("nothing was heard within %d s", START_LIMIT_S);
    send(sender, line, line_bytes, MSG_NOSIGNAL);
  }
}

static void wait_until_written(const char *path) {
  for (long size = -1; size != size_of(path); usleep(300000)) size = size_of(path);
}

static void udp(char **arguments, char **command) {
  int port = atoi(arguments[0]), count = atoi(arguments[1]);
  double seconds = atof(arguments[2]);
  const char *path = arguments[3];
  start_server(command, open_output(path));
  int senders[count];
  for (int i = 0; i < count; i++) senders[i] = open_sender(port, i);
  const Kind *kind = kind_named("ascii");
  char *line = make_block(kind);
  send_until_heard(senders[0], line, kind->bytes, path);
  wait_until_written(path);
  long before = count_lines(path), sent = 0;
  double start_s = now_s(), server_s = server_cpu_s(), own_s = own_cpu_s();
  for (int i = 0; now_s() - start_s < seconds; i = (i + 1) % count) {
    for (int n = 0; n < LINES_PER_SEND; n++) sent += send(senders[i], line, kind->bytes, MSG_NOSIGNAL) == kind->bytes;
  }
  double took_s = now_s() - start_s, own_us = (own_cpu_s() - own_s) / sent * 1e6;
  wait_until_written(path);
  double server_us = (server_cpu_s() - server_s) * 1e6;
  long peak_kb = server_memory_kb("VmHWM:");
  stop_server();
  long heard = count_lines(path) - before;
  if (heard <= 0) fail("no datagram was heard");
  printf("{\"datagrams\":%ld,\"heard\":%ld,\"heardPerSecond\":%.0f,\"heardShare\":%.3f,", sent, heard,
         heard / took_s, heard / (double)sent);
  printf("\"cpuUs\":%.3f,\"loadCpuUs\":%.3f,\"peakKb\":%ld}\n", server_us / heard, own_us, peak_kb);
}
