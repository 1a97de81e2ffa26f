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

import { Poller, POLLIN, ServerSocket, type Socket } from "../poller.ts";

const MAX_LINE_LENGTH = 1000;

interface Member {
  readonly socket: Socket;
  readonly decoder: TextDecoder;
  /** What it has said of a line. */
  line: string;
  /** When it has to leave unless it says something, on the clock of performance.now(). */
  leavesAtMs: number;
}

const listener = Deno.listen({ hostname: "127.0.0.1", port: Number(Deno.args[0] ?? 1234) });
const silenceMs = 1000 * Number(Deno.args[1] ?? 300);
console.error(`listening on 127.0.0.1:${listener.addr.port}`);

/** The members are beside their sockets; the listener is nobody. */
const poller = new Poller<ServerSocket | Socket, Member | undefined>();
poller.register(new ServerSocket(listener));

while (true) {
  const firstLeavesAtMs = Math.min(...members().map(({ leavesAtMs }) => leavesAtMs));
  const timeoutMs = Math.max(0, firstLeavesAtMs - performance.now()); // nobody there: for ever
  for (const [source, , member] of await poller.poll(timeoutMs)) {
    if (source instanceof ServerSocket) onConnection(source.accept());
    else if (member && poller.has(source)) onData(member); // it may have left in this round
  }
  for (const member of members()) {
    if (member.leavesAtMs <= performance.now()) leave(member, "has fallen asleep");
  }
}

function members(): Member[] {
  return poller.sources().flatMap((source) => poller.dataOf(source) ?? []);
}

function onConnection(socket: Socket): void {
  const leavesAtMs = performance.now() + silenceMs;
  poller.register(socket, POLLIN, { socket, decoder: new TextDecoder(), line: "", leavesAtMs });
  tell(`* ${socket.id} comes in, now ${members().length}`);
}

function onData(member: Member): void {
  const data = receive(member.socket);
  if (data.length === 0) return leave(member, "leaves");
  member.leavesAtMs = performance.now() + silenceMs;
  const lines = (member.line + member.decoder.decode(data, { stream: true })).split(/\r?\n/);
  member.line = lines.pop() ?? "";
  for (const line of lines) tell(`${member.socket.id}: ${line}`, member);
  if (member.line.length > MAX_LINE_LENGTH) leave(member, "never ends");
}

/** Whoever was reset has left, too. */
function receive(socket: Socket): Uint8Array {
  try {
    return socket.recv(1024);
  } catch {
    return new Uint8Array();
  }
}

/** Says a line to all but the one who said it. */
function tell(line: string, speaker?: Member): void {
  const bytes = new TextEncoder().encode(`${line}\r\n`);
  for (const member of members()) {
    if (member === speaker) continue;
    try {
      if (member.socket.send(bytes) < bytes.length) leave(member, "does not listen");
    } catch {
      leave(member, "is gone");
    }
  }
}

function leave(member: Member, why: string): void {
  if (!poller.has(member.socket)) return;
  poller.unregister(member.socket);
  if (why === "does not listen") member.socket.abort(); // or it would hold what it does not read
  else member.socket.close();
  tell(`* ${member.socket.id} ${why}`);
}
