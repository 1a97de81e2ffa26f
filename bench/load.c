/* Load for a TCP log receiver, and what the load costs the receiver. Linux, loopback only.
 *
 *   cc -O2 -o load load.c
 *   load talk  PORT QUIET TALKING SECONDS          -- SERVER [ARG...]
 *   load flood PORT CLIENTS KIND LINES FILE        -- SERVER [ARG...]
 *   load udp   PORT CLIENTS SECONDS FILE           -- SERVER [ARG...]
 *   load burst PORT CLIENTS IN_FLIGHT              -- SERVER [ARG...]
 *   load brief PORT CLIENTS IN_FLIGHT              -- SERVER [ARG...]
 *
 * talk   Opens QUIET clients that say nothing and TALKING ones. Each of these sends a line of 32
 *        bytes, waits until the line shows on the server's stdout, and sends the next. SECONDS are
 *        counted after one second of warming up.
 * flood  CLIENTS send LINES lines in all, 64 a send, as fast as they are taken. The server's stdout
 *        is FILE. Ends when the server has closed every connection; then the lines in FILE are counted.
 *        KIND is what a line of 100 bytes is made of, one of KINDS below; empty lines have 1 byte.
 * udp    CLIENTS send datagrams of 100 bytes for SECONDS, as fast as they can; then what is in FILE
 *        is counted. What the server did not hear is lost.
 * burst  CLIENTS connect, send a line each and stay. Ends when all lines have shown on stdout.
 * brief  The same, and each leaves at once after its line.
 *
 * IN_FLIGHT is how many clients may have connected without their line having shown: below the
 * server's backlog, so that no SYN is dropped and sent again a second later.
 *
 * The server is started here and killed at the end, whatever the end is. The result is one line of
 * JSON on stdout; a failure is a sentence on stderr and exit status 1.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Leaves the choice of the port to connect(): bind() would look for one that no address uses. */
#define BIND_ADDRESS_NO_PORT 24
#define CLIENTS_PER_ADDRESS 1000
#define LINE_BYTES 32
#define ID_DIGITS 7
#define MARK_BYTES (1 + ID_DIGITS)
#define PIPE_BYTES (1 << 20)
#define LINES_PER_SEND 64
#define LATENCY_LIMIT_US 4000000
#define START_LIMIT_S 20
#define SILENCE_LIMIT_MS 5000
#define ACCEPT_LIMIT_MS 30000
#define WARM_UP_S 1.0
#define RUN_LIMIT_S 60

typedef struct sockaddr_in Address;

static int server = 0;

// -- End --

static void kill_server(void) {
  if (server > 0) kill(-server, SIGKILL);
}

static void fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  exit(1);
}

/* Ends the run when it takes too long and when nobody waits for its result any more. */
static void *watch(void *parent) {
  for (int tenths = 0; tenths < RUN_LIMIT_S * 10; tenths++) {
    usleep(100000);
    if (getppid() != *(int *)parent) break;
  }
  fprintf(stderr, "the run was given up after %d s\n", RUN_LIMIT_S);
  kill_server();
  _exit(1);
}

static void on_signal(int signal_number) {
  kill_server();
  _exit(128 + signal_number);
}

// -- Clock and /proc --

static double now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

static double seconds_of(struct timeval t) { return t.tv_sec + t.tv_usec * 1e-6; }

static double own_cpu_s(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
}

/* Ticks of a process of the server's, its threads and the children it has waited for; -1 of any other.
 * Fields 5 and 14 to 17 of stat, counted after the name in brackets. */
static long cpu_ticks_of(const char *pid) {
  char path[300], text[1024] = "";
  snprintf(path, sizeof path, "/proc/%s/stat", pid);
  FILE *file = fopen(path, "r");
  if (!file) return -1;
  int has_text = fgets(text, sizeof text, file) != NULL, group = 0;
  fclose(file);
  long own[2] = {0, 0}, children[2] = {0, 0};
  if (!has_text) return -1;
  sscanf(strrchr(text, ')') + 2, "%*c %*d %d %*d %*d %*d %*u %*u %*u %*u %*u %ld %ld %ld %ld", &group, &own[0],
         &own[1], &children[0], &children[1]);
  return group == server ? own[0] + own[1] + children[0] + children[1] : -1;
}

/* Of all processes in the server's group: socat is one for each client. */
static double server_cpu_s(void) {
  long ticks = 0, found = 0;
  DIR *processes = opendir("/proc");
  for (struct dirent *entry; processes && (entry = readdir(processes));) {
    int is_process = entry->d_name[0] >= '1' && entry->d_name[0] <= '9';
    long own = is_process ? cpu_ticks_of(entry->d_name) : -1;
    if (own < 0) continue;
    found++;
    ticks += own;
  }
  if (processes) closedir(processes);
  if (found == 0) fail("the server has ended");
  return ticks / (double)sysconf(_SC_CLK_TCK);
}

static long server_memory_kb(const char *key) {
  char path[64], text[256];
  long kb = 0;
  snprintf(path, sizeof path, "/proc/%d/status", server);
  FILE *file = fopen(path, "r");
  if (!file) return 0;
  while (fgets(text, sizeof text, file)) {
    if (!strncmp(text, key, strlen(key))) kb = atol(text + strlen(key));
  }
  fclose(file);
  return kb;
}

// -- Server --

static void start_server(char **command, int output) {
  server = fork();
  if (server < 0) fail("fork: %s", strerror(errno));
  if (server > 0) {
    setpgid(server, server);
    return;
  }
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  dup2(output, 1);
  signal(SIGPIPE, SIG_DFL);
  execvp(command[0], command);
  fprintf(stderr, "%s: %s\n", command[0], strerror(errno));
  _exit(127);
}

/* Starts the server with a pipe for stdout, and returns the end to read. */
static int start_server_with_pipe(char **command) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC)) fail("pipe: %s", strerror(errno));
  fcntl(ends[1], F_SETPIPE_SZ, PIPE_BYTES);
  start_server(command, ends[1]);
  close(ends[1]);
  return ends[0];
}

static int has_server_ended(void) { return waitpid(server, NULL, WNOHANG) == server; }

/* Lets it write what it has, for five seconds. */
static void stop_server(void) {
  kill(server, SIGTERM);
  for (int i = 0; i < 500 && !has_server_ended(); i++) usleep(10000);
  kill_server();
  server = 0;
}

// -- Clients --

/* Fresh for every run, so that no connection of an earlier one that is in TIME_WAIT is in the way. */
static in_addr_t first_address;

static void choose_addresses(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  unsigned block = ((unsigned)t.tv_sec * 8 + (unsigned)t.tv_nsec / 125000000 + (unsigned)getpid()) % 32000;
  first_address = 0x7F010000 + block * 512;
}

static int open_client(int number, Address *from) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
  if (fd < 0) fail("socket %d: %s", number, strerror(errno));
  *from = (Address){.sin_family = AF_INET};
  from->sin_addr.s_addr = htonl(first_address + 1 + number / CLIENTS_PER_ADDRESS);
  setsockopt(fd, IPPROTO_IP, BIND_ADDRESS_NO_PORT, &one, sizeof one);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (bind(fd, (void *)from, sizeof *from)) fail("bind: %s", strerror(errno));
  return fd;
}

/* On loopback the handshake is done when connect() returns. Returns -1 if nobody listens. */
static int dial(int port, int number) {
  Address from, to = {.sin_family = AF_INET, .sin_port = htons(port)};
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = open_client(number, &from);
  if (!connect(fd, (void *)&to, sizeof to)) return fd;
  if (errno != ECONNREFUSED) fail("connect %d: %s", number, strerror(errno));
  close(fd);
  return -1;
}

/* The first connection; the server is listening from then on. */
static int dial_when_up(int port) {
  for (double limit_s = now_s() + START_LIMIT_S; now_s() < limit_s; usleep(20000)) {
    if (has_server_ended()) fail("the server has ended before it listened");
    int fd = dial(port, 0);
    if (fd >= 0) return fd;
  }
  fail("the server did not listen within %d s", START_LIMIT_S);
  return -1;
}

static int *dial_all(int port, int count) {
  int *clients = calloc(count, sizeof *clients);
  for (int i = 0; i < count; i++) {
    clients[i] = i == 0 ? dial_when_up(port) : dial(port, i);
    if (clients[i] < 0) fail("client %d was refused", i);
    // A moment for the server to accept them.
    if (i % 250 == 249) usleep(5000);
  }
  return clients;
}

static void say_line(int fd, int id) {
  char line[2 * LINE_BYTES];
  snprintf(line, sizeof line, "@%0*d%0*d\n", ID_DIGITS, id, LINE_BYTES - MARK_BYTES - 1, 0);
  if (send(fd, line, LINE_BYTES, MSG_NOSIGNAL) != LINE_BYTES) {
    fail("the server does not take a line: %s", strerror(errno));
  }
}

// -- The server's stdout --

typedef void (*Heard)(int id, double at_s);

static int parse_id(const char *digits) {
  int id = 0;
  for (int i = 0; i < ID_DIGITS; i++) {
    if (digits[i] < '0' || digits[i] > '9') return -1;
    id = id * 10 + digits[i] - '0';
  }
  return id;
}

static char shown[PIPE_BYTES];
static size_t shown_bytes = 0;

/* Reports the marks in what was shown, and keeps the start of one that has not all come. */
static void find_marks(Heard heard) {
  double at_s = now_s();
  char *from = shown, *end = shown + shown_bytes;
  while ((from = memchr(from, '@', end - from)) && end - from >= MARK_BYTES) {
    int id = parse_id(from + 1);
    if (id >= 0) heard(id, at_s);
    from += MARK_BYTES;
  }
  shown_bytes = from ? (size_t)(end - from) : 0;
  if (from) memmove(shown, from, shown_bytes);
}

static void hear(int output, Heard heard, int limit_ms) {
  struct pollfd wanted = {output, POLLIN, 0};
  if (poll(&wanted, 1, limit_ms) <= 0) fail("a line did not show within %d s", limit_ms / 1000);
  ssize_t count = read(output, shown + shown_bytes, sizeof shown - shown_bytes);
  if (count <= 0) fail("the server has closed its stdout");
  shown_bytes += count;
  find_marks(heard);
}

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
  usleep(quiet > 0 ? 1500000 : 300000);
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

// -- flood --

/* Sends to each client what it takes now; returns the bytes taken, and takes from `left`. */
static size_t send_round(int *clients, size_t *left, int count, const char *block, size_t block_bytes) {
  size_t moved = 0;
  for (int i = 0; i < count; i++) {
    if (left[i] == 0) continue;
    size_t at = (block_bytes - left[i] % block_bytes) % block_bytes;
    ssize_t taken = send(clients[i], block + at, block_bytes - at, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (taken < 0 && errno != EAGAIN) fail("the server does not take a line: %s", strerror(errno));
    if (taken <= 0) continue;
    left[i] -= taken;
    moved += taken;
    if (left[i] == 0) shutdown(clients[i], SHUT_WR);
  }
  return moved;
}

static void wait_for_room(int *clients, size_t *left, int count) {
  struct pollfd wanted[count];
  for (int i = 0; i < count; i++) wanted[i] = (struct pollfd){left[i] ? clients[i] : -1, POLLOUT, 0};
  if (poll(wanted, count, SILENCE_LIMIT_MS) <= 0) fail("nothing was taken for %d ms", SILENCE_LIMIT_MS);
}

static void wait_for_end(int client) {
  struct pollfd wanted = {client, POLLIN, 0};
  char byte;
  if (poll(&wanted, 1, 30000) <= 0) fail("a connection was not closed within 30 s of its end");
  if (recv(client, &byte, 1, 0) > 0) fail("the server has sent something");
}

/* `head` begins every line, and `body` fills it; what is left of a line is spaces. */
typedef struct {
  const char *name, *head, *body;
  int bytes, ends_in_lf;
} Kind;

static const Kind KINDS[] = {
    {"ascii", "", "x", 100, 1},
    {"accent", "caf\xc3\xa9 ", "x", 100, 1},
    {"cyrillic", "", "Съешь же ещё этих мягких французских булок, да выпей ", 100, 1},
    {"colors", "", "\x1b[32mINFO\x1b[0m 12:31 \x1b[1mserver\x1b[0m request \x1b[36m/index.html\x1b[0m ", 100, 1},
    {"quotes", "", "{\"level\":\"info\",\"message\":\"done\",\"path\":\"/\",\"code\":200} ", 100, 1},
    {"invalid", "\xff", "x", 100, 1},
    {"garbage", "", "\xff", 100, 1},
    {"octet", "97 ", "x", 100, 0},
    {"syslog", "<34>1 2026-11-22T23:31:05Z host app - - - ", "x", 100, 1},
    {"empty", "", "", 1, 1},
};

static const Kind *kind_named(const char *name) {
  for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++) {
    if (!strcmp(KINDS[i].name, name)) return &KINDS[i];
  }
  fail("there is no kind %s", name);
  return NULL;
}

static void write_line(char *line, const Kind *kind) {
  int body_bytes = strlen(kind->body), end = kind->bytes - kind->ends_in_lf, at = strlen(kind->head);
  memset(line, ' ', end);
  memcpy(line, kind->head, at);
  for (; body_bytes > 0 && at + body_bytes <= end; at += body_bytes) memcpy(line + at, kind->body, body_bytes);
  if (kind->ends_in_lf) line[end] = '\n';
}

static char *make_block(const Kind *kind) {
  char *block = malloc(kind->bytes * LINES_PER_SEND);
  for (int i = 0; i < LINES_PER_SEND; i++) write_line(block + i * kind->bytes, kind);
  return block;
}

static long count_lines(const char *path) {
  long lines = 0;
  int file = open(path, O_RDONLY);
  for (ssize_t count; (count = read(file, shown, sizeof shown)) > 0;) {
    for (char *at = shown; (at = memchr(at, '\n', shown + count - at)); at++) lines++;
  }
  close(file);
  return lines;
}

static void flood(char **arguments, char **command) {
  int port = atoi(arguments[0]), count = atoi(arguments[1]);
  const Kind *kind = kind_named(arguments[2]);
  int line_bytes = kind->bytes;
  long each = atol(arguments[3]) / count / LINES_PER_SEND * LINES_PER_SEND, lines = each * count;
  int output = open(arguments[4], O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
  if (output < 0) fail("%s: %s", arguments[4], strerror(errno));
  start_server(command, output);
  int *clients = dial_all(port, count);
  char *block = make_block(kind);
  size_t left[count], unsent = (size_t)lines * line_bytes;
  for (int i = 0; i < count; i++) left[i] = each * line_bytes;
  usleep(300000);
  long start_kb = server_memory_kb("VmRSS:");
  double start_s = now_s(), server_s = server_cpu_s(), own_s = own_cpu_s();
  while (unsent > 0) {
    size_t moved = send_round(clients, left, count, block, (size_t)line_bytes * LINES_PER_SEND);
    if (moved == 0) wait_for_room(clients, left, count);
    unsent -= moved;
  }
  for (int i = 0; i < count; i++) wait_for_end(clients[i]);
  double took_s = now_s() - start_s;
  usleep(300000);
  double cpu_us = (server_cpu_s() - server_s) / lines * 1e6, load_us = (own_cpu_s() - own_s) / lines * 1e6;
  long peak_kb = server_memory_kb("VmHWM:");
  stop_server();
  printf("{\"lines\":%ld,\"linesLogged\":%ld,\"linesPerSecond\":%.0f,\"mbPerSecond\":%.1f,", lines,
         count_lines(arguments[4]), lines / took_s, lines * (line_bytes / 1e6) / took_s);
  printf("\"cpuUs\":%.3f,\"loadCpuUs\":%.3f,\"peakKb\":%ld,\"grownKb\":%ld}\n", cpu_us, load_us, peak_kb,
         peak_kb - start_kb);
}

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
  int output = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
  if (output < 0) fail("%s: %s", path, strerror(errno));
  start_server(command, output);
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

// -- Start --

static const struct {
  const char *name;
  int argument_count;
  void (*run)(char **arguments, char **command);
} MODES[] = {{"talk", 4, talk}, {"flood", 5, flood}, {"udp", 4, udp}, {"burst", 3, burst}, {"brief", 3, brief}};

static void allow_many_files(void) {
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

static void guard_end(void) {
  static int parent;
  pthread_t thread;
  parent = getppid();
  atexit(kill_server);
  signal(SIGINT, on_signal);
  signal(SIGTERM, on_signal);
  signal(SIGHUP, on_signal);
  pthread_create(&thread, NULL, watch, &parent);
}

int main(int count, char **arguments) {
  for (size_t i = 0; count > 1 && i < sizeof MODES / sizeof *MODES; i++) {
    int dashes = 2 + MODES[i].argument_count;
    if (strcmp(arguments[1], MODES[i].name)) continue;
    if (count <= dashes + 1 || strcmp(arguments[dashes], "--")) break;
    allow_many_files();
    guard_end();
    choose_addresses();
    MODES[i].run(arguments + 2, arguments + dashes + 1);
    return 0;
  }
  fprintf(stderr, "usage: load talk|flood|udp|burst|brief PORT ... -- SERVER [ARG...], see the top of load.c\n");
  return 2;
}
