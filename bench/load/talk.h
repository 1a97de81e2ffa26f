/* A closed loop over the server's stdout. */
// -- talk --

static int *talkers, talker_count;
static double *sent_at_s;
static long *served, events;
static unsigned latencies_us[LATENCY_LIMIT_US + 1];

static void on_heard_talker(int id, double at_s) {
  if (id >= talker_count) return;
  long us = (at_s - sent_at_s[id]) * 1e6;
  latencies_us[us < LATENCY_LIMIT_US ? us : LATENCY_LIMIT_US]++;
  served[id]++;
  events++;
  sent_at_s[id] = now_s();
  say_line(talkers[id], id);
}

static void on_heard_first(int id, double at_s) {
  (void)id, (void)at_s;
  events++;
}

/* The talkers came last: when each has been heard, all clients have been accepted. */
static void wait_for_accept(int output) {
  for (int i = 0; i < talker_count; i++) say_line(talkers[i], i);
  while (events < talker_count) hear(output, on_heard_first, ACCEPT_LIMIT_MS);
}

static void start_talking(void) {
  for (int i = 0; i < talker_count; i++) {
    sent_at_s[i] = now_s();
    say_line(talkers[i], i);
  }
}

static void talk_for(int output, double seconds) {
  for (double end_s = now_s() + seconds; now_s() < end_s;) hear(output, on_heard_talker, SILENCE_LIMIT_MS);
}

static void forget_warming_up(void) {
  memset(latencies_us, 0, sizeof latencies_us);
  memset(served, 0, talker_count * sizeof *served);
  events = 0;
}

static int percentile_us(double share) {
  long below = 0;
  int us = 0;
  while (us < LATENCY_LIMIT_US && (below += latencies_us[us]) < events * share) us++;
  return us;
}

static void find_extremes(long *worst, long *best) {
  *worst = *best = served[0];
  for (int i = 1; i < talker_count; i++) {
    if (served[i] < *worst) *worst = served[i];
    if (served[i] > *best) *best = served[i];
  }
}

static void talk(char **arguments, char **command) {
  int port = atoi(arguments[0]), quiet = atoi(arguments[1]);
  double seconds = atof(arguments[3]);
  talker_count = atoi(arguments[2]);
  int output = start_server_with_pipe(command);
  talkers = dial_all(port, quiet + talker_count) + quiet;
  sent_at_s = calloc(talker_count, sizeof *sent_at_s);
  served = calloc(talker_count, sizeof *served);
  wait_for_accept(output);
  usleep(quiet > 0 ? 1000000 : 300000);
  long quiet_kb = server_memory_kb("VmRSS:");
  start_talking();
  talk_for(output, WARM_UP_S);
  forget_warming_up();
  double start_s = now_s(), server_s = server_cpu_s(), own_s = own_cpu_s();
  talk_for(output, seconds);
  double took_s = now_s() - start_s;
  long worst, best;
  find_extremes(&worst, &best);
  printf("{\"events\":%ld,\"eventsPerSecond\":%.0f,\"cpuUs\":%.3f,\"loadCpuUs\":%.3f,", events, events / took_s,
         (server_cpu_s() - server_s) / events * 1e6, (own_cpu_s() - own_s) / events * 1e6);
  printf("\"p50Us\":%d,\"p99Us\":%d,\"p999Us\":%d,\"worstServed\":%ld,\"bestServed\":%ld,", percentile_us(0.5),
         percentile_us(0.99), percentile_us(0.999), worst, best);
  printf("\"quietKb\":%ld,\"peakKb\":%ld}\n", quiet_kb, server_memory_kb("VmHWM:"));
}
