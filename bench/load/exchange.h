/* Clients that are answered, by the server itself or by a target behind it. */
// -- Latencies --

static double asked_at_s;

/* Notes how long an answer took that has come now. */
static void note_latency(double since_s) {
  long us = (now_s() - since_s) * 1e6;
  latencies_us[us < LATENCY_LIMIT_US ? us : LATENCY_LIMIT_US]++;
  events++;
}

static void print_exchange(double took_s, double server_s, double own_s) {
  printf("{\"events\":%ld,\"eventsPerSecond\":%.0f,\"cpuUs\":%.3f,\"loadCpuUs\":%.3f,", events, events / took_s,
         server_s / events * 1e6, own_s / events * 1e6);
  printf("\"p50Us\":%d,\"p99Us\":%d,\"p999Us\":%d,\"peakKb\":%ld}\n", percentile_us(0.5), percentile_us(0.99),
         percentile_us(0.999), server_memory_kb("VmHWM:"));
}

// -- answer --

/* Reads what has come for a client; says the next line when the answer's end is there. */
static void take_answer(int id) {
  char answer[4096];
  ssize_t count = recv(talkers[id], answer, sizeof answer, 0);
  if (count <= 0) fail("client %d was disconnected", id);
  if (!memchr(answer, '\n', count)) return;
  note_latency(sent_at_s[id]);
  sent_at_s[id] = now_s();
  say_line(talkers[id], id);
}

static void answer_for(struct pollfd *wanted, double seconds) {
  for (double end_s = now_s() + seconds; now_s() < end_s;) {
    if (poll(wanted, talker_count, SILENCE_LIMIT_MS) <= 0) fail("no answer within %d ms", SILENCE_LIMIT_MS);
    for (int i = 0; i < talker_count; i++) {
      if (wanted[i].revents) take_answer(i);
    }
  }
}

static void answer(char **arguments, char **command) {
  double seconds = atof(arguments[2]);
  talker_count = atoi(arguments[1]);
  start_server(command, open_output(arguments[3]));
  talkers = dial_all(atoi(arguments[0]), talker_count);
  sent_at_s = calloc(talker_count, sizeof *sent_at_s);
  served = calloc(talker_count, sizeof *served);
  struct pollfd wanted[talker_count];
  for (int i = 0; i < talker_count; i++) wanted[i] = (struct pollfd){talkers[i], POLLIN, 0};
  usleep(300000);
  start_talking();
  answer_for(wanted, WARM_UP_S);
  forget_warming_up();
  double start_s = now_s(), server_s = server_cpu_s(), own_s = own_cpu_s();
  answer_for(wanted, seconds);
  print_exchange(now_s() - start_s, server_cpu_s() - server_s, own_cpu_s() - own_s);
}

// -- The target behind a server --

static int target_listener;
static long target_bytes = 0;

static void listen_as_target(int port) {
  Address address = {.sin_family = AF_INET, .sin_port = htons(port)};
  int one = 1;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  target_listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  setsockopt(target_listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(target_listener, (void *)&address, sizeof address) || listen(target_listener, 16)) {
    fail("the target cannot listen on %d: %s", port, strerror(errno));
  }
}

/* Takes one connection; sends back what comes, or only counts it. */
static void *be_target(void *is_echo) {
  static char bytes[1 << 18];
  int one = 1, fd = accept4(target_listener, NULL, NULL, SOCK_CLOEXEC);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  for (ssize_t count; (count = recv(fd, bytes, sizeof bytes, 0)) > 0; target_bytes += count) {
    if (is_echo && send(fd, bytes, count, MSG_NOSIGNAL) != count) break;
  }
  close(fd);
  return NULL;
}

/* Starts both, and returns the client. */
static int dial_through(char **arguments, char **command, int is_echo) {
  pthread_t thread;
  listen_as_target(atoi(arguments[1]));
  pthread_create(&thread, NULL, be_target, is_echo ? &target_listener : NULL);
  start_server(command, open_output(arguments[3]));
  int client = dial_when_up(atoi(arguments[0]));
  usleep(300000);
  return client;
}

// -- relay --

static void relay_for(int client, double seconds) {
  char byte = '\n';
  for (double end_s = now_s() + seconds; now_s() < end_s;) {
    asked_at_s = now_s();
    if (send(client, &byte, 1, MSG_NOSIGNAL) != 1 || recv(client, &byte, 1, 0) != 1) fail("the byte did not come back");
    note_latency(asked_at_s);
  }
}

static void relay(char **arguments, char **command) {
  int client = dial_through(arguments, command, 1);
  relay_for(client, 2 * WARM_UP_S);
  forget_warming_up();
  double start_s = now_s(), server_s = server_cpu_s(), own_s = own_cpu_s();
  relay_for(client, atof(arguments[2]));
  print_exchange(now_s() - start_s, server_cpu_s() - server_s, own_cpu_s() - own_s);
}

// -- pour --

static void pour(char **arguments, char **command) {
  long lines = atol(arguments[2]) / LINES_PER_SEND * LINES_PER_SEND;
  const Kind *kind = kind_named("ascii");
  int client = dial_through(arguments, command, 0);
  char *block = make_block(kind);
  double start_s = now_s(), server_s = server_cpu_s(), own_s = own_cpu_s();
  send_all(&client, 1, (size_t)lines * kind->bytes, block, (size_t)kind->bytes * LINES_PER_SEND);
  double took_s = now_s() - start_s;
  usleep(300000);
  double megabytes = lines * (kind->bytes / 1e6), cpu_ms = (server_cpu_s() - server_s) * 1e3;
  if (target_bytes != lines * kind->bytes) fail("the target has received %ld bytes", target_bytes);
  printf("{\"sentMb\":%.1f,\"mbPerSecond\":%.1f,\"cpuMs\":%.3f,\"loadCpuMs\":%.3f,\"peakKb\":%ld}\n", megabytes,
         megabytes / took_s, cpu_ms / megabytes, (own_cpu_s() - own_s) * 1e3 / megabytes, server_memory_kb("VmHWM:"));
}
