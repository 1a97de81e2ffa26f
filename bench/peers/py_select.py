"""select() in Python, up to 1,024 descriptors: python3 py_select.py PORT"""

import select
import socket
import sys


def receive(client):
    try:
        return client.recv(65536)
    except OSError:
        return b""


server = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=4096)
sources = {server}
while True:
    readable, _, _ = select.select(sources, [], [])
    for source in readable:
        if source is server:
            sources.add(server.accept()[0])
        elif data := receive(source):
            sys.stdout.buffer.write(data)
        else:
            sources.remove(source)
            source.close()
    sys.stdout.buffer.flush()
