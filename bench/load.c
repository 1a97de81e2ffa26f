/* Load for a TCP log receiver, and what the load costs the receiver. Linux, loopback only.
 *
 *   cc -O2 -o load load.c
 *   load talk  PORT QUIET TALKING SECONDS          -- SERVER [ARG...]
 *   load flood PORT CLIENTS KIND LINES FILE        -- SERVER [ARG...]
 *   load files PORT CLIENTS KIND LINES FOLDER      -- SERVER [ARG...]
 *   load udp   PORT CLIENTS SECONDS FILE           -- SERVER [ARG...]
 *   load burst PORT CLIENTS IN_FLIGHT              -- SERVER [ARG...]
 *   load brief PORT CLIENTS IN_FLIGHT              -- SERVER [ARG...]
 *   load answer PORT CLIENTS SECONDS FILE          -- SERVER [ARG...]
 *   load relay PORT TARGET_PORT SECONDS FILE       -- SERVER [ARG...]
 *   load pour  PORT TARGET_PORT LINES FILE         -- SERVER [ARG...]
 *
 * talk   Opens QUIET clients that say nothing and TALKING ones. Each of these sends a line of 32
 *        bytes, waits until the line shows on the server's stdout, and sends the next. SECONDS are
 *        counted after WARM_UP_S of warming up.
 * flood  CLIENTS send LINES lines in all, 64 a send, as fast as they are taken. The server's stdout
 *        is FILE. Ends when the server has closed every connection; then the lines in FILE are counted.
 *        KIND is what a line of 100 bytes is made of, one of KINDS in load/flood.h; empty lines have 1 byte.
 * files  The same, with an address for each client; the server writes to files in FOLDER, which is made.
 * udp    CLIENTS send datagrams of 100 bytes for SECONDS, as fast as they can; then what is in FILE
 *        is counted. What the server did not hear is lost.
 * burst  CLIENTS connect, send a line each and stay. Ends when all lines have shown on stdout.
 * brief  The same, and each leaves at once after its line.
 * answer CLIENTS send a line each, wait until a line comes back, and send the next. The server's stdout
 *        is FILE, here and below.
 * relay  One client sends a byte, an LF, to a server that has it passed on to TARGET_PORT, where it is
 *        sent back; when it is there again, the next.
 * pour   One client sends LINES of 100 bytes through a server to TARGET_PORT.
 *
 * IN_FLIGHT is how many clients may have connected without their line having shown: below the
 * server's backlog, so that no SYN is dropped and sent again a second later.
 *
 * The server is started here and killed at the end, whatever the end is. The result is one line of
 * JSON on stdout; a failure is a sentence on stderr and exit status 1.
 */
#define _GNU_SOURCE
#include "load/support.h"
#include "load/stdout.h"
#include "load/talk.h"
#include "load/flood.h"
#include "load/udp.h"
#include "load/connect.h"
#include "load/exchange.h"

// -- Start --

static const struct {
  const char *name;
  int argument_count;
  void (*run)(char **arguments, char **command);
} MODES[] = {
    {"talk", 4, talk},   {"flood", 5, flood},   {"files", 5, files}, {"udp", 4, udp},   {"burst", 3, burst},
    {"brief", 3, brief}, {"answer", 4, answer}, {"relay", 4, relay}, {"pour", 4, pour},
};

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
  fprintf(stderr, "usage: load MODE PORT ... -- SERVER [ARG...], see the top of load.c\n");
  return 2;
}
