/* The limit: what the kernel lets one thread send, without any other work of a server.
 *
 *     cc -O2 -o send_loop send_loop.c && ./send_loop PORT SEC_WEBSOCKET_ACCEPT
 *
 * A connection that begins with "GET" is a client: it is answered 101 with the given accept value (perf's clients all
 * send the same key) and gets every message from then on. One that begins with "POST" publishes: the body is framed
 * once and sent to every client in a plain loop of send(), then it is answered 204. Frames from clients are ignored.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_FD = 100000, MAX_BODY = 65535, EVENTS = 512 };

static int clients[MAX_FD], client_count;
static char is_client[MAX_FD];

static void add_client(int fd) {
  is_client[fd] = 1;
  clients[client_count++] = fd;
}

static void drop(int fd) {
  if (is_client[fd])
    for (int i = 0; i < client_count; i++)
      if (clients[i] == fd) {
        clients[i] = clients[--client_count];
        break;
      }
  is_client[fd] = 0;
  close(fd);
}

/* Sends all of it; waits while the socket buffer is full. */
static void send_all(int fd, const char *data, size_t size) {
  while (size) {
    ssize_t sent = send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      data += sent;
      size -= sent;
    } else if (errno == EAGAIN) {
      struct pollfd writable = {.fd = fd, .events = POLLOUT};
      poll(&writable, 1, 1000);
    } else if (errno != EINTR) {
      return;
    }
  }
}

static void broadcast(const char *body, size_t size) {
  static char frame[MAX_BODY + 4];
  size_t head = size < 126 ? 2 : 4;
  frame[0] = (char)0x81;
  frame[1] = size < 126 ? (char)size : 126;
  if (head == 4) {
    frame[2] = (char)(size >> 8);
    frame[3] = (char)size;
  }
  memcpy(frame + head, body, size);
  for (int i = 0; i < client_count; i++) send_all(clients[i], frame, head + size);
}

/* Expects one complete request in one read, which is so on loopback. */
static void serve(int fd, const char *accept_value) {
  char request[MAX_BODY + 4096 + 1], answer[256];
  ssize_t size = recv(fd, request, sizeof request - 1, MSG_DONTWAIT);
  if (size <= 0) {
    if (size == 0 || errno != EAGAIN) drop(fd);
    return;
  }
  request[size] = 0;
  if (is_client[fd]) {
    if ((request[0] & 0x0F) == 8) drop(fd); /* a close frame */
  } else if (!strncmp(request, "GET", 3)) {
    send_all(fd, answer, snprintf(answer, sizeof answer,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: %s\r\n\r\n", accept_value));
    add_client(fd);
  } else {
    char *body = strstr(request, "\r\n\r\n");
    if (body) broadcast(body + 4, request + size - (body + 4));
    const char *done = "HTTP/1.1 204 No Content\r\n\r\n";
    send_all(fd, done, strlen(done));
  }
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), poller = epoll_create1(0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[1]))};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(listener, (void *)&address, sizeof address) || listen(listener, 4096)) {
    perror("send_loop");
    return 1;
  }
  struct epoll_event interest = {.events = EPOLLIN, .data.fd = listener}, ready[EVENTS];
  epoll_ctl(poller, EPOLL_CTL_ADD, listener, &interest);
  for (;;) {
    int count = epoll_wait(poller, ready, EVENTS, -1);
    for (int i = 0; i < count; i++) {
      int fd = ready[i].data.fd;
      if (fd != listener) {
        serve(fd, argv[2]);
        continue;
      }
      while ((fd = accept4(listener, 0, 0, SOCK_NONBLOCK)) >= 0) {
        if (fd >= MAX_FD) {
          close(fd);
          continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        interest = (struct epoll_event){.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &interest);
      }
    }
  }
}
