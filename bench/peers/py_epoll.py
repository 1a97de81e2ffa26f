"""epoll() in Python: python3 py_epoll.py PORT"""

import select
import socket
import sys


def receive(client):
    try:
        return client.recv(65536)
    except OSError:
        return b""


server = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=4096)
poller = select.epoll()
poller.register(server, select.EPOLLIN)
clients = {}
while True:
    for fd, _ in poller.poll():
        if fd == server.fileno():
            client, _ = server.accept()
            clients[client.fileno()] = client
            poller.register(client, select.EPOLLIN)
        elif data := receive(clients[fd]):
            sys.stdout.buffer.write(data)
        else:
            poller.unregister(fd)
            clients.pop(fd).close()
    sys.stdout.buffer.flush()
