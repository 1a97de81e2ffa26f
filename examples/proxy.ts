// deno-lint-ignore-file no-console
/**
 * A TCP proxy: passes on what either end says. What one end has not taken yet is kept,
 * and until it is taken the other is not read: a slow receiver slows its sender down.
 *
 *     deno run --allow-net examples/proxy.ts target-host target-port [port]
 *     telnet 127.0.0.1 1234
 *
 * @module
 */

import { Poller, POLLIN, POLLOUT, ServerSocket, Socket } from "../poller.ts";

/** One end of a connection. */
class End {
  /** What the other end has said and this one has not taken. */
  unsent = new Uint8Array();
  /** Whether it says no more. */
  isOver = false;
  readonly socket: Socket;
  other: End = this;

  constructor(socket: Socket) {
    this.socket = socket;
  }
}

const [hostname, targetPort, port = "1234"] = Deno.args;
if (!hostname || !targetPort) {
  console.error("usage: proxy.ts target-host target-port [port]");
  Deno.exit(2);
}
const target = { hostname, port: Number(targetPort) };
const listener = Deno.listen({ hostname: "127.0.0.1", port: Number(port) });
console.error(`listening on 127.0.0.1:${listener.addr.port}`);

const poller = new Poller<ServerSocket | Socket, End | undefined>();
poller.register(new ServerSocket(listener));

while (true) {
  for (const [source, events, end] of await poller.poll()) {
    if (source instanceof ServerSocket) {
      join(new End(source.accept()), new End(Socket.connect(target)));
    } else if (end && poller.has(source)) { // it may have been closed in this round
      serve(end, events);
    }
  }
}

/** Connecting takes its time: until then neither end is ready for the other. */
function join(client: End, service: End): void {
  client.other = service;
  service.other = client;
  watch(client);
  poller.register(service.socket, POLLOUT, service);
}

function serve(here: End, events: number): void {
  try {
    pass(here, events);
    const { other: there } = here;
    if (here.isOver && there.isOver) close(here, there);
    else watch(here), watch(there);
  } catch (error) { // a reset, or a target that cannot be reached
    console.error(String(error));
    close(here, here.other);
  }
}

function pass(here: End, events: number): void {
  const { socket, other: there } = here;
  const error = socket.takeError();
  if (error) throw error;
  if (events & POLLOUT) here.unsent = here.unsent.subarray(socket.send(here.unsent));
  if (!(events & POLLIN) || here.isOver || there.unsent.length > 0) return;
  there.unsent = socket.recv(65_536);
  here.isOver = there.unsent.length === 0;
  if (here.isOver) void there.socket.shutdown();
}

/** Reads an end while the other takes what it says; waits for room while something is unsent. */
function watch(end: End): void {
  const reading = !end.isOver && end.other.unsent.length === 0 ? POLLIN : 0;
  const writing = end.unsent.length > 0 ? POLLOUT : 0;
  poller.register(end.socket, reading | writing, end);
}

/** What was sent still leaves. */
function close(...ends: End[]): void {
  for (const { socket } of ends) {
    if (poller.has(socket)) poller.unregister(socket);
    socket.close();
  }
}
