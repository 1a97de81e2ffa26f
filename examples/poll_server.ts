// deno-lint-ignore-file no-console
/**
 * The classic poll() server: echoes to each client what it says.
 *
 *     deno run --allow-net examples/poll_server.ts [port]
 *     telnet 127.0.0.1 1234
 *
 * @module
 */

import {
  Poller,
  POLLERR,
  POLLHUP,
  POLLIN,
  POLLOUT,
  POLLPRI,
  ServerSocket,
  Socket,
} from "../poller.ts";

const READ_ONLY = POLLIN | POLLPRI | POLLHUP | POLLERR;
const READ_WRITE = READ_ONLY | POLLOUT;
/** What one client may leave unread of its echo; then it is not read until it drains. */
const MAX_QUEUED = 64;

const port = Number(Deno.args[0] ?? 1234);
const server = new ServerSocket(Deno.listen({ hostname: "127.0.0.1", port }));
console.error(`listening on 127.0.0.1:${(server.addr as Deno.NetAddr).port}`);

const poller = new Poller();
poller.register(server, READ_ONLY);
/** Outgoing messages. */
const queues = new Map<Socket, Uint8Array[]>();
/** Clients that have said all: they are closed when their queue is empty. */
const ending = new Set<Socket>();

while (true) {
  for (const [source, events] of await poller.poll()) {
    try {
      if (source instanceof ServerSocket) onConnection(source);
      else if (source instanceof Socket) onEvents(source, events);
    } catch (error) { // it was reset, or gone before it was accepted
      console.error(String(error));
      if (source instanceof Socket) close(source);
    }
  }
}

function onConnection(server: ServerSocket): void {
  const client = server.accept();
  console.log("new connection from", client.remoteAddr);
  queues.set(client, []);
  poller.register(client, READ_ONLY);
}

function onEvents(client: Socket, events: number): void {
  const queue = queues.get(client) ?? [];
  if (events & POLLIN && !ending.has(client)) {
    const data = client.recv(1024);
    if (data.length > 0) queue.push(data);
    else ending.add(client);
  }
  const message = events & POLLOUT ? queue.shift() : undefined;
  if (message) {
    const sent = client.send(message);
    if (sent < message.length) queue.unshift(message.subarray(sent));
  }
  if (queue.length > 0) {
    const isHeard = queue.length < MAX_QUEUED && !ending.has(client);
    poller.modify(client, isHeard ? READ_WRITE : POLLOUT);
  } else if (ending.has(client)) {
    console.log("closing", client.remoteAddr);
    void client.shutdown().then(() => client.close()); // when all is sent
    forget(client);
  } else {
    poller.modify(client, READ_ONLY);
  }
}

function close(client: Socket): void {
  client.close();
  forget(client);
}

function forget(client: Socket): void {
  queues.delete(client);
  ending.delete(client);
  if (poller.has(client)) poller.unregister(client);
}
