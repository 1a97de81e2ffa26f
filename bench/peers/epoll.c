/* epoll in C, the floor: cc -O2 -o epoll epoll.c; ./epoll PORT */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES 65536
#define MOST_EVENTS 256

static int epoll, listener;
static char heard[1 << 20];
static size_t heard_bytes = 0;

static void watch(int fd) {
  struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event)) close(fd);
}

static void flush(void) {
  for (size_t done = 0; done < heard_bytes;) {
    ssize_t count = write(1, heard + done, heard_bytes - done);
    if (count < 0) exit(1);
    done += count;
  }
  heard_bytes = 0;
}

static void hear(int client) {
  if (sizeof heard - heard_bytes < READ_BYTES) flush();
  ssize_t count = recv(client, heard + heard_bytes, READ_BYTES, 0);
  if (count > 0) heard_bytes += count;
  else close(client);
}

static void listen_on(int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  int one = 1;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  listener = socket(AF_INET, SOCK_STREAM, 0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(listener, (void *)&address, sizeof address) || listen(listener, 4096)) exit(1);
}

int main(int count, char **arguments) {
  struct epoll_event events[MOST_EVENTS];
  listen_on(count > 1 ? atoi(arguments[1]) : 1234);
  epoll = epoll_create1(0);
  watch(listener);
  for (;;) {
    int ready = epoll_wait(epoll, events, MOST_EVENTS, -1);
    for (int i = 0; i < ready; i++) {
      if (events[i].data.fd == listener) watch(accept(listener, NULL, NULL));
      else hear(events[i].data.fd);
    }
    flush();
  }
}
