/* Lines as fast as they are taken, to a file or to many. */
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

/* `head` begins every line, and `body` fills it; what is left of a line is spaces. `end` is its last
 * byte, or NO_END. A head with a NUL says how long it is. */
typedef struct {
  const char *name, *head, *body;
  int bytes, end, head_bytes;
} Kind;

#define NO_END -1

static const Kind KINDS[] = {
    {"ascii", "", "x", 100, '\n'},
    {"accent", "caf\xc3\xa9 ", "x", 100, '\n'},
    {"cyrillic", "", "Съешь же ещё этих мягких французских булок, да выпей ", 100, '\n'},
    {"colors", "", "\x1b[32mINFO\x1b[0m 12:31 \x1b[1mserver\x1b[0m request \x1b[36m/index.html\x1b[0m ", 100, '\n'},
    {"quotes", "", "{\"level\":\"info\",\"message\":\"done\",\"path\":\"/\",\"code\":200} ", 100, '\n'},
    {"invalid", "\xff", "x", 100, '\n'},
    {"garbage", "", "\xff", 100, '\n'},
    {"octet", "97 ", "x", 100, NO_END},
    {"syslog", "<34>1 2026-11-22T23:31:05Z host app - - - ", "x", 100, '\n'},
    {"empty", "", "", 1, '\n'},
    {"end", "", "x", 100, ';'},
    {"length", "\0\x62", "x", 100, NO_END, 2},
};

static const Kind *kind_named(const char *name) {
  for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++) {
    if (!strcmp(KINDS[i].name, name)) return &KINDS[i];
  }
  fail("there is no kind %s", name);
  return NULL;
}

static void write_line(char *line, const Kind *kind) {
  int body_bytes = strlen(kind->body), last = kind->bytes - (kind->end != NO_END);
  int at = kind->head_bytes ? kind->head_bytes : (int)strlen(kind->head);
  memset(line, ' ', last);
  memcpy(line, kind->head, at);
  for (; body_bytes > 0 && at + body_bytes <= last; at += body_bytes) memcpy(line + at, kind->body, body_bytes);
  if (kind->end != NO_END) line[last] = kind->end;
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

/* In all files of a folder. */
static long count_lines_in(const char *folder) {
  long lines = 0;
  char path[1024];
  DIR *files = opendir(folder);
  if (!files) fail("%s: %s", folder, strerror(errno));
  for (struct dirent *entry; (entry = readdir(files));) {
    snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
    if (entry->d_name[0] != '.') lines += count_lines(path);
  }
  closedir(files);
  return lines;
}

static int open_output(const char *path) {
  int output = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
  if (output < 0) fail("%s: %s", path, strerror(errno));
  return output;
}

static void send_all(int *clients, int count, size_t each_bytes, const char *block, size_t block_bytes) {
  size_t left[count], unsent = each_bytes * count;
  for (int i = 0; i < count; i++) left[i] = each_bytes;
  while (unsent > 0) {
    size_t moved = send_round(clients, left, count, block, block_bytes);
    if (moved == 0) wait_for_room(clients, left, count);
    unsent -= moved;
  }
  for (int i = 0; i < count; i++) wait_for_end(clients[i]);
}

/* Whether to many files: `path` is then a folder that the server writes to, and not its stdout. */
static void flood_to(char **arguments, char **command, int is_folder) {
  int port = atoi(arguments[0]), count = atoi(arguments[1]);
  const Kind *kind = kind_named(arguments[2]);
  const char *path = arguments[4];
  long each = atol(arguments[3]) / count / LINES_PER_SEND * LINES_PER_SEND, lines = each * count;
  start_server(command, open_output(is_folder ? "/dev/null" : path));
  int *clients = dial_all(port, count);
  char *block = make_block(kind);
  usleep(300000);
  long start_kb = server_memory_kb("VmRSS:");
  double start_s = now_s(), server_s = server_cpu_s(), own_s = own_cpu_s();
  send_all(clients, count, (size_t)each * kind->bytes, block, (size_t)kind->bytes * LINES_PER_SEND);
  double took_s = now_s() - start_s;
  usleep(300000);
  double cpu_us = (server_cpu_s() - server_s) / lines * 1e6, load_us = (own_cpu_s() - own_s) / lines * 1e6;
  long peak_kb = server_memory_kb("VmHWM:");
  stop_server();
  printf("{\"lines\":%ld,\"linesLogged\":%ld,\"linesPerSecond\":%.0f,\"mbPerSecond\":%.1f,", lines,
         is_folder ? count_lines_in(path) : count_lines(path), lines / took_s, lines * (kind->bytes / 1e6) / took_s);
  printf("\"cpuUs\":%.3f,\"loadCpuUs\":%.3f,\"peakKb\":%ld,\"grownKb\":%ld}\n", cpu_us, load_us, peak_kb,
         peak_kb - start_kb);
}

static void flood(char **arguments, char **command) { flood_to(arguments, command, 0); }

static void files(char **arguments, char **command) {
  clients_per_address = 1;
  if (mkdir(arguments[4], 0700)) fail("%s: %s", arguments[4], strerror(errno));
  flood_to(arguments, command, 1);
}
