/* Clients that come in crowds. */
// -- burst and brief --

static int heard_count = 0;
static char *is_heard;

static void on_heard_newcomer(int id, double at_s) {
  (void)at_s;
  if (is_heard[id]) fail("line %d has shown twice", id);
  is_heard[id] = 1;
  heard_count++;
}

static void connect_many(char **arguments, char **command, int is_brief) {
  int port = atoi(arguments[0]), count = atoi(arguments[1]), most_in_flight = atoi(arguments[2]);
  int output = start_server_with_pipe(command);
  close(dial_when_up(port));
  is_heard = calloc(10000000, 1);
  usleep(300000);
  double start_s = now_s(), server_s = server_cpu_s(), own_s = own_cpu_s();
  for (int connected = 0; heard_count < count;) {
    while (connected < count && connected - heard_count < most_in_flight) {
      int client = dial(port, connected + 1);
      if (client < 0) fail("client %d was refused", connected);
      say_line(client, connected++);
      if (is_brief) close(client);
    }
    hear(output, on_heard_newcomer, SILENCE_LIMIT_MS);
  }
  double took_s = now_s() - start_s, load_us = (own_cpu_s() - own_s) / count * 1e6;
  usleep(300000);
  printf("{\"connections\":%d,\"seconds\":%.4f,\"connectionsPerSecond\":%.0f,", count, took_s, count / took_s);
  printf("\"cpuUs\":%.3f,\"loadCpuUs\":%.3f,\"peakKb\":%ld}\n", (server_cpu_s() - server_s) / count * 1e6, load_us,
         server_memory_kb("VmHWM:"));
}

static void burst(char **arguments, char **command) { connect_many(arguments, command, 0); }
static void brief(char **arguments, char **command) { connect_many(arguments, command, 1); }
