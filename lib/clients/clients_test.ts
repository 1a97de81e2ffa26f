import { NameTable } from "../accept/names.ts";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { Poller, Socket } from "../../poller.ts";
import { NO_BYTES } from "../bytes.ts";
import { createFramer } from "../framing/framing.ts";
import { TaskQueue } from "../loop/task_queue.ts";
import { InternalErrors } from "../messages.ts";
import { Stats } from "../stats.ts";
import { ClientHints } from "./client_hints.ts";
import { Clients } from "./clients.ts";
import { SharedInput } from "./input.ts";
import { MemoryStream } from "../../tests/support/memory.ts";
import { recording, type RecordingOptions } from "../../tests/support/recording.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const READ_BYTES = 8 * 1024;

/** Clients of a server that is not there: a test serves them itself. */
function clientsOf(options: Partial<RecordingOptions> = {}) {
  const { recorder, log, lines } = recording(options);
  const poller = new Poller();
  const said: string[] = [];
  const sockets: Socket[] = [];
  let left = 0;
  const clients = new Clients({
    names: new NameTable([], undefined),
    recorder,
    stats: new Stats(0, false),
    isEchoing: false,
    replies: undefined,
    ending: undefined,
    greeting: NO_BYTES,
    relay: undefined,
    maxLineBytes: 1000,
    maxUnreadBytes: 1000,
    createFramer: () => createFramer("newline", 65536),
    input: new SharedInput(READ_BYTES),
    isReceivedIntoLog: false,
    maxReadBytes: READ_BYTES,
    multiplexer: poller,
    idleTimeoutMs: 0,
    flushAfterMs: 0,
    logWriter: {
      talked() {},
      get waitingBytes() {
        return log.length;
      },
    },
    admission: { left: () => void left++ },
    tasks: new TaskQueue(() => {}),
    hints: new ClientHints({
      isPlain: false,
      framing: undefined,
      say: (message) => said.push(message),
    }),
    internalErrors: new InternalErrors((message) => said.push(message)),
  });
  return {
    clients,
    log,
    lines,
    said,
    get left() {
      return left;
    },
    connect(...texts: string[]): MemoryStream {
      const stream = new MemoryStream(...texts);
      const socket = new Socket(stream);
      sockets.push(socket);
      clients.connect({ socket, peer: { kind: "ip", host: "127.0.0.1", port: sockets.length } });
      return stream;
    },
    /** Serves whoever is ready now, by one read each; returns what each has cost. */
    async serve(): Promise<number[]> {
      const ready = await poller.poll(0);
      return ready.map(([source, events]) => clients.onReady(source, events));
    },
    [Symbol.dispose]() {
      for (const socket of sockets) socket.abort();
      poller.close();
    },
  };
}

Deno.test("Clients.onReady() does not blame a client for an error of ours, and goes on", async () => {
  const faulty = {
    received(_subject: unknown, bytes: Uint8Array, start: number) {
      if (bytes[start] === "!".charCodeAt(0)) throw new TypeError("x is undefined");
    },
    sent() {},
    event() {},
  };
  using one = clientsOf({ observers: [faulty] });
  one.connect("!ours\n");
  const other = one.connect("theirs\n");
  await one.serve();
  assertEquals(one.said.length, 1);
  assertMatch(
    one.said[0]!,
    /^earshot: internal error: TypeError: x is undefined \(clients_test\.ts:\d+:\d+\)$/,
  );
  assertEquals([one.clients.size, one.left], [1, 1]);
  other.push("more\n");
  await one.serve();
  assertEquals(one.lines().map((line) => line.replace(/\d+\.\d s/, "0.0 s")), [
    "#1 127.0.0.1:1 connected",
    "#2 127.0.0.1:2 connected",
    "#1 127.0.0.1:1 | !ours",
    "#1 127.0.0.1:1 disconnected: 6 bytes, 0 lines, 0.0 s (internal error)",
    "#2 127.0.0.1:2 | theirs",
    "#2 127.0.0.1:2 | more",
  ]);
});

Deno.test("Clients.disconnectAll() frees all, also when what is left of a line cannot be recorded", async () => {
  const faulty = {
    received() {
      throw new RangeError("no room");
    },
    sent() {},
    event() {},
  };
  using one = clientsOf({ observers: [faulty] });
  const streams = [one.connect("half a"), one.connect("line")];
  await one.serve();
  assertEquals([...one.clients.disconnectAll({ tag: "shutdown" })].length, 2);
  assertEquals([one.clients.size, one.left], [0, 2]);
  assert(streams.every(({ closed }) => closed));
  assertEquals(one.said.length, 1);
});

Deno.test("Clients.onReady() reads less of whoever adds much to the log", async () => {
  using one = clientsOf();
  const lineEnds = "\n".repeat(READ_BYTES);
  one.connect(...Array.from({ length: 20 }, () => lineEnds));
  const added: number[] = [];
  for (let i = 0; i < 30; i++) {
    one.log.take();
    await one.serve();
    added.push(one.log.length);
  }
  // The first large read is not known to be costly before it was made.
  assert(added.filter((bytes) => bytes > 70_000).length <= 1, `${added}`);
});

Deno.test("Clients.onReady() reads as much as before once lines are long again", async () => {
  using one = clientsOf();
  const lines = `${"x".repeat(99)}\n`.repeat(80);
  const stream = one.connect("\n".repeat(READ_BYTES), ...Array.from({ length: 20 }, () => lines));
  for (let i = 0; i < 60; i++) await one.serve();
  one.log.take();
  stream.push(lines);
  await one.serve();
  assertEquals(one.lines().length, 80);
});
