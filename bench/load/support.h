/* What all loads need: an end, clocks, the server, clients. */
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
#define LINE_BYTES 32
#define ID_DIGITS 7
#define MARK_BYTES (1 + ID_DIGITS)
#define PIPE_BYTES (1 << 20)
#define LINES_PER_SEND 64
#define LATENCY_LIMIT_US 4000000
#define START_LIMIT_S 20
#define SILENCE_LIMIT_MS 5000
#define ACCEPT_LIMIT_MS 30000
#define WARM_UP_S 0.7
#define RUN_LIMIT_S 60

typedef struct sockaddr_in Address;

static int server = 0;
static int clients_per_address = 1000;

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
  from->sin_addr.s_addr = htonl(first_address + 1 + number / clients_per_address);
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
