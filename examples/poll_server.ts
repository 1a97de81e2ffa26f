// deno-lint-ignore-file no-console
/**
 * The classic poll() server: echoes to each client what it says.
 *
 *     deno run --allow-net examples/poll_server.ts [port]
 *     telnet 127.0.0.1 1234
 *
 * @module
 */

import { Poller, POLLERR, POLLHUP, POLLIN, POLLOUT, POLLPRI } from "../poller.ts";
import { ServerSocket, type Socket } from "../poller.ts";

const READ_ONLY = POLLIN | POLLPRI | POLLHUP | POLLERR;
const READ_WRITE = READ_ONLY | POLLOUT;
/** What one client may leave unread of its echo; then it is not read until it drains. */
const MAX_QUEUED = 64;

const listener = Deno.listen({ hostname: "127.0.0.1", port: Number(Deno.args[0] ?? 1234) });
const server = new ServerSocket(listener);
console.error(`listening on 127.0.0.1:${listener.addr.port}`);

/** Beside each client what it is still to be sent. */
const poller = new Poller<ServerSocket | Socket, Uint8Array[]>();
poller.register(server, READ_ONLY, []);

while (true) {
  for (const [source, events, queue] of await poller.poll()) {
    if (source instanceof ServerSocket) {
      const client = source.accept();
      console.log("new connection from", client.remoteAddr);
      poller.register(client, READ_ONLY, []);
      continue;
    }
    try {
      onEvents(source, events, queue);
    } catch (error) { // it was reset
      console.error(String(error));
      close(source);
    }
  }
}

function onEvents(client: Socket, events: number, queue: Uint8Array[]): void {
  const message = events & POLLOUT ? queue.shift() : undefined;
  if (message) {
    const sent = client.send(message);
    if (sent < message.length) queue.unshift(message.subarray(sent));
  }
  if (events & POLLIN && queue.length < MAX_QUEUED) {
    const data = client.recv(1024);
    if (data.length > 0) queue.push(data);
    else if (queue.length === 0) return close(client); // it has said and heard all
  }
  const isHeard = queue.length < MAX_QUEUED;
  poller.modify(client, queue.length === 0 ? READ_ONLY : isHeard ? READ_WRITE : POLLOUT);
}

/** What was sent still leaves. */
function close(client: Socket): void {
  console.log("closing", client.remoteAddr);
  poller.unregister(client);
  client.close();
}
