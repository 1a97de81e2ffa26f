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

import { Poller, POLLERR, POLLIN, POLLOUT, ServerSocket, Socket } from "../poller.ts";

/** One end of a connection. */
interface End {
  readonly socket: Socket;
  /** What the other end has said and this one has not taken. */
  unsent: Uint8Array;
  /** Whether it says no more. */
  isOver: boolean;
}

const [hostname, targetPort, port = "1234"] = Deno.args;
if (!hostname || !targetPort) {
  console.error("usage: proxy.ts target-host target-port [port]");
  Deno.exit(2);
}
const target = { hostname, port: Number(targetPort) };
const server = new ServerSocket(Deno.listen({ hostname: "127.0.0.1", port: Number(port) }));
console.error(`listening on 127.0.0.1:${(server.addr as Deno.NetAddr).port}`);

const poller = new Poller();
poller.register(server);
/** Each end with its other end, by the socket of the first. */
const pairs = new Map<Socket, { here: End; there: End }>();

while (true) {
  for (const [source, events] of await poller.poll()) {
    if (source instanceof ServerSocket) {
      onConnection(source);
      continue;
    }
    const pair = source instanceof Socket ? pairs.get(source) : undefined;
    if (!pair) continue; // it was closed in this round
    try {
      onEvents(pair.here, pair.there, events);
    } catch (error) { // a reset
      console.error(String(error));
      close(pair.here);
      close(pair.there);
    }
  }
}

function onConnection(server: ServerSocket): void {
  try {
    const client = server.accept();
    // Connecting takes its time, and the loop goes on meanwhile.
    Deno.connect(target).then((conn) => join(client, new Socket(conn)), (error) => {
      console.error(`Cannot connect: ${error}`);
      client.close();
    });
  } catch (error) { // gone before it was accepted
    console.error(String(error));
  }
}

function join(client: Socket, service: Socket): void {
  const here: End = { socket: client, unsent: new Uint8Array(), isOver: false };
  const there: End = { socket: service, unsent: new Uint8Array(), isOver: false };
  pairs.set(client, { here, there });
  pairs.set(service, { here: there, there: here });
  watch(here, there);
  watch(there, here);
  poller.wake(); // the poll() that waits does not know them
}

function onEvents(here: End, there: End, events: number): void {
  if (events & POLLERR) here.socket.recv(1); // throws
  if (events & POLLOUT && here.unsent.length > 0) {
    here.unsent = here.unsent.subarray(here.socket.send(here.unsent));
  }
  if (events & POLLIN && !here.isOver && there.unsent.length === 0) {
    there.unsent = here.socket.recv(65_536);
    here.isOver = there.unsent.length === 0;
  }
  const isAllSent = here.unsent.length === 0 && there.unsent.length === 0;
  if (here.isOver && there.isOver && isAllSent) {
    close(here);
    close(there);
    return;
  }
  endIfOver(here, there);
  endIfOver(there, here);
  watch(here, there);
  watch(there, here);
}

/** Passes the end of what `from` says on, after all that it has said. */
function endIfOver(from: End, to: End): void {
  if (from.isOver && to.unsent.length === 0) void to.socket.shutdown();
}

/** Reads `here` while `there` takes what it says; waits for room while something is unsent. */
function watch(here: End, there: End): void {
  const reading = !here.isOver && there.unsent.length === 0 ? POLLIN : 0;
  const writing = here.unsent.length > 0 ? POLLOUT : 0;
  poller.register(here.socket, reading | writing);
}

/** Closes when all that was sent has left. */
function close({ socket }: End): void {
  if (!pairs.delete(socket)) return;
  poller.unregister(socket);
  void socket.shutdown().then(() => socket.close());
}
