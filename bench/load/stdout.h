/* Lines of clients that show on the server's stdout. */
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
