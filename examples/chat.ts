// deno-lint-ignore-file no-console
/**
 * A chat: what one says, the others hear. Whoever says nothing for five minutes, or
 * does not read what the others say, has to leave.
 *
 *     deno run --allow-net examples/chat.ts [port [seconds]]
 *     telnet 127.0.0.1 1234
 *
 * @module
 */

import { Poller, ServerSocket, Socket } from "../poller.ts";

const MAX_LINE_LENGTH = 1000;

interface Member {
  readonly decoder: TextDecoder;
  /** What it has said of a line. */
  line: string;
  /** When it has to leave unless it says something, on the clock of performance.now(). */
  leavesAtMs: number;
}

const port = Number(Deno.args[0] ?? 1234);
const silenceMs = 1000 * Number(Deno.args[1] ?? 300);
const server = new ServerSocket(Deno.listen({ hostname: "127.0.0.1", port }));
console.error(`listening on 127.0.0.1:${(server.addr as Deno.NetAddr).port}`);

const poller = new Poller();
poller.register(server);
/** In the order in which they were last heard: the first is the next that has to leave. */
const members = new Map<Socket, Member>();

while (true) {
  for (const [source] of await poller.poll(untilFirstLeaves())) {
    try {
      if (source instanceof ServerSocket) onConnection(source);
      else if (source instanceof Socket) onData(source);
    } catch { // it was reset, or gone before it was accepted
      if (source instanceof Socket) leave(source, "is gone");
    }
  }
  for (const [socket, { leavesAtMs }] of members) {
    if (leavesAtMs > performance.now()) break;
    leave(socket, "has fallen asleep");
  }
}

/** The timer: how long to wait at most. Nobody there: for ever. */
function untilFirstLeaves(): number | undefined {
  for (const { leavesAtMs } of members.values()) return Math.max(0, leavesAtMs - performance.now());
}

function onConnection(server: ServerSocket): void {
  const socket = server.accept();
  poller.register(socket);
  members.set(socket, {
    decoder: new TextDecoder(),
    line: "",
    leavesAtMs: performance.now() + silenceMs,
  });
  tell(`* ${socket.id} comes in, now ${members.size}`);
}

function onData(socket: Socket): void {
  const member = members.get(socket);
  if (!member) return; // it had to leave in this round
  const data = socket.recv(1024);
  if (data.length === 0) return leave(socket, "leaves");
  members.delete(socket);
  members.set(socket, member);
  member.leavesAtMs = performance.now() + silenceMs;
  const lines = (member.line + member.decoder.decode(data, { stream: true })).split(/\r?\n/);
  member.line = lines.pop() ?? "";
  for (const line of lines) tell(`${socket.id}: ${line}`, socket);
  if (member.line.length > MAX_LINE_LENGTH) leave(socket, "never ends");
}

/** Says a line to all but the one who said it. */
function tell(line: string, speaker?: Socket): void {
  const bytes = new TextEncoder().encode(`${line}\r\n`);
  for (const socket of members.keys()) {
    if (socket === speaker) continue;
    try {
      if (socket.send(bytes) < bytes.length) leave(socket, "does not listen");
    } catch {
      leave(socket, "is gone");
    }
  }
}

function leave(socket: Socket, why: string): void {
  if (!members.delete(socket)) return;
  poller.unregister(socket);
  socket.close();
  tell(`* ${socket.id} ${why}`);
}
