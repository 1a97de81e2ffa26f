/**
 * Parts of earshot by themselves: `deno task bench:micro`.
 *
 * Framing and the wake-up of the `Poller` run in memory. The formats cannot be
 * reached alone, so they are measured through a server with a real socket and
 * a log in memory; `raw` beside them is what the socket costs.
 *
 * @module
 */

import { createFramer, type Io, parseConfig, startServer } from "../main.ts";
import { type ByteStream, Poller, Socket } from "../poller.ts";

const ENCODER = new TextEncoder();

// -- Framing --

const READ_BYTES = 64 * 1024;
const MAX_LINE_BYTES = 64 * 1024;
const LINE = "x".repeat(99);

/** As many times the text as one read has room for. */
function readOf(text: string): Uint8Array {
  return ENCODER.encode(text.repeat(Math.floor(READ_BYTES / text.length)));
}

const framings = [
  ["newline", "newline: 655 lines of 100 bytes", readOf(`${LINE}\n`)],
  ["newline", "newline: 32,768 lines of 2 bytes", readOf("x\n")],
  ["newline", "newline: a read without a line end", readOf("x")],
  ["octet", "octet: 642 frames of 99 bytes", readOf(`99 ${LINE}`)],
] as const;

function ignore(): void {}

for (const [framing, name, bytes] of framings) {
  const framer = createFramer(framing, MAX_LINE_BYTES);
  Deno.bench({ name, group: "framing 64 KiB", fn: () => void framer.push(bytes, ignore) });
}

// -- Formats --

const BLOCK_BYTES = 1024 * 1024;

/** A log in memory, of which only the length is kept. */
class Log {
  #bytes = 0;
  #awaited = Infinity;
  #arrival = Promise.withResolvers<void>();

  /** The server's sink. */
  write(bytes: Uint8Array): Promise<number> {
    this.#bytes += bytes.length;
    if (this.#bytes >= this.#awaited) this.#arrival.resolve();
    return Promise.resolve(bytes.length);
  }

  get bytes(): number {
    return this.#bytes;
  }

  async grownTo(bytes: number): Promise<void> {
    if (this.#bytes >= bytes) return;
    this.#awaited = bytes;
    this.#arrival = Promise.withResolvers();
    await this.#arrival.promise;
  }
}

/** A server, one client, and how many bytes of log a block of lines becomes. Lives as long as the process. */
class Rig {
  readonly #client: Deno.TcpConn;
  readonly #log: Log;
  readonly #block: Uint8Array;
  #blockLogBytes = 0;

  private constructor(client: Deno.TcpConn, log: Log, block: Uint8Array) {
    this.#client = client;
    this.#log = log;
    this.#block = block;
  }

  static async start(format: string, block: Uint8Array): Promise<Rig> {
    const log = new Log();
    const io: Io = {
      stdout: log,
      stderr: { writeSync: (bytes) => bytes.length },
      wantsColor: false,
      now: Date.now,
      exit: Deno.exit,
    };
    const config = parseConfig(["--port=0", "--quiet", `--format=${format}`]);
    const server = await startServer(config, io);
    const { port } = server.addrs[0] as Deno.NetAddr;
    const rig = new Rig(await Deno.connect({ port }), log, block);
    await rig.#learnLength();
    return rig;
  }

  /** The first block shows how long the log of one is: all of it has come when nothing more comes. */
  async #learnLength(): Promise<void> {
    await this.#send();
    for (let before = -1; before !== this.#log.bytes;) {
      before = this.#log.bytes;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    this.#blockLogBytes = this.#log.bytes;
  }

  async #send(): Promise<void> {
    for (let sent = 0; sent < this.#block.length;) {
      sent += await this.#client.write(this.#block.subarray(sent));
    }
  }

  /** Sends a block and waits until it is logged. */
  async log(): Promise<void> {
    const goal = this.#log.bytes + this.#blockLogBytes;
    await Promise.all([this.#send(), this.#log.grownTo(goal)]);
  }
}

function blockOf(line: Uint8Array): Uint8Array {
  const block = new Uint8Array(Math.floor(BLOCK_BYTES / line.length) * line.length);
  for (let at = 0; at < block.length; at += line.length) block.set(line, at);
  return block;
}

/** 100 bytes each: plain ASCII; control characters, a bidirectional control and invalid UTF-8. */
const PLAIN = ENCODER.encode(`${LINE}\n`);
const HOSTILE = Uint8Array.from({ length: 100 }, (_, i) => PLAIN[i]!);
HOSTILE.set([0x1B, 0x5B, 0x32, 0x4A, 0x07, 0xFF, 0xC3, 0xE2, 0x80, 0xAE], 10);
HOSTILE.set([0x1B, 0x5B, 0x32, 0x4A, 0x07, 0xFF, 0xC3, 0xE2, 0x80, 0xAE], 60);

for (const [name, line] of [["plain ASCII", PLAIN], ["hostile", HOSTILE]] as const) {
  for (const format of ["raw", "text", "json"]) {
    let rig: Rig | undefined;
    Deno.bench({
      name: `${format}, ${name}`,
      group: "10,485 lines of 100 bytes through a socket",
      baseline: format === "raw" && line === PLAIN,
      fn: async (b) => {
        rig ??= await Rig.start(format, blockOf(line));
        b.start();
        await rig.log();
        b.end();
      },
    });
  }
}

// -- Wake-up --

const EVENTS = 1000;
const ONE_BYTE = new Uint8Array(1);

/** A stream in memory that has a byte for every ring. */
class Bell implements ByteStream {
  #rings = 0;
  #hear: ((bytes: number) => void) | undefined;

  read(): Promise<number> {
    return new Promise((resolve) => {
      this.#hear = resolve;
      this.#answer();
    });
  }

  ring(): void {
    this.#rings++;
    this.#answer();
  }

  #answer(): void {
    if (this.#rings === 0 || this.#hear === undefined) return;
    this.#rings--;
    this.#hear(1);
    this.#hear = undefined;
  }
}

for (const quiet of [0, 10_000]) {
  const poller = new Poller();
  const bell = new Bell();
  poller.register(new Socket(bell));
  for (let i = 0; i < quiet; i++) poller.register(new Socket(new Bell()));
  Deno.bench({
    name: `1,000 events beside ${quiet.toLocaleString("en")} quiet sources`,
    group: "Poller",
    baseline: quiet === 0,
    fn: async () => {
      for (let i = 0; i < EVENTS; i++) {
        bell.ring();
        for (const [source] of await poller.poll()) (source as Socket).recvInto(ONE_BYTE);
      }
    },
  });
}
