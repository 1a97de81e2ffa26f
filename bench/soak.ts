/**
 * Soak test: thousands of clients come and go, well and badly behaved, and at
 * the end the server must have logged all they said, and hold no more memory and
 * no more descriptors than after the warm-up. Linux only, for /proc.
 *
 * ```sh
 * deno task soak
 * deno task soak --minutes 60 --clients 2000 --format text
 * ```
 */

import { parseArgs } from "@std/cli/parse-args";
import { createConnection } from "node:net";

const flags = parseArgs(Deno.args, {
  string: ["minutes", "clients", "format", "multiplexer", "seed"],
  default: { minutes: "2", clients: "1000", format: "json", multiplexer: "poll", seed: "1" },
});
const minutes = Number(flags.minutes);
const clients = Number(flags.clients);
const format = String(flags.format);

/** V8's young generation, and pages once touched, are the base: they stay. */
const WARM_UP_SHARE = 0.3;
const SETTLE_SECONDS = 30;
const MAX_GROWTH_KB = 5 * 1024;

/** Numbers from 0 to below `limit`, the same at every run (mulberry32). */
let state = Number(flags.seed);
function random(limit: number): number {
  state = state + 0x6D2B79F5 | 0;
  let t = Math.imul(state ^ state >>> 15, 1 | state);
  t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t;
  return ((t ^ t >>> 14) >>> 0) % limit;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function print(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}

/** The server as a process; its log is read as it comes. */
class ServerProcess {
  readonly #child: Deno.ChildProcess;
  readonly #reading: Promise<unknown>;
  #stderr = "";
  /** Line records, and those of them that are whole. */
  records = 0;
  /** Messages to wait for, which tell that all before them was heard. */
  readonly #awaited = new Map<string, () => void>();

  constructor() {
    this.#child = new Deno.Command(Deno.execPath(), {
      args: [
        ...["run", "--quiet", "--allow-net", new URL("../main.ts", import.meta.url).pathname],
        ...["--port", "0", "--time", "none", "--format", format],
        ...["--max-connections", `${2 * clients}`, "--multiplexer", String(flags.multiplexer)],
      ],
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#reading = Promise.all([this.#readLog(), this.#readMessages()]);
  }

  async #readLog(): Promise<void> {
    const isLine = format === "json" ? /"event":"line"/ : /^#\d+ \S+ [|+] /;
    let rest = "";
    for await (const text of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      for (const line of lines) {
        if (format === "json") JSON.parse(line);
        if (isLine.test(line)) this.records++;
        const [mark] = /mark-\d+/.exec(line) ?? [];
        if (mark) this.#awaited.get(mark)?.();
      }
    }
  }

  async #readMessages(): Promise<void> {
    for await (const text of this.#child.stderr.pipeThrough(new TextDecoderStream())) {
      this.#stderr += text;
    }
  }

  async port(): Promise<number> {
    while (true) {
      const [, port] = /listening on 127\.0\.0\.1:(\d+) /.exec(this.#stderr) ?? [];
      if (port) return Number(port);
      await sleep(20);
    }
  }

  /** Settles when a line with `mark` is in the log. */
  async heard(mark: string): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#awaited.set(mark, resolve);
    await promise;
    this.#awaited.delete(mark);
  }

  async stats() {
    const count = this.#stderr.split("stats: ").length;
    this.#child.kill("SIGUSR2");
    while (this.#stderr.split("stats: ").length === count || !this.#stderr.endsWith("\n")) {
      await sleep(20);
    }
    const [open, total, lines, bytes, errors] =
      /(\d+) open, (\d+) total, .*, (\d+) lines?, (\d+) bytes?, .* (\d+) accept/
        .exec(this.#stderr.slice(this.#stderr.lastIndexOf("stats: ")))!.slice(1).map(Number);
    return { open: open!, total: total!, lines: lines!, bytes: bytes!, errors: errors! };
  }

  get rssKb(): number {
    const status = Deno.readTextFileSync(`/proc/${this.#child.pid}/status`);
    return Number(/VmRSS:\s+(\d+)/.exec(status)![1]);
  }

  get descriptors(): number {
    return [...Deno.readDirSync(`/proc/${this.#child.pid}/fd`)].length;
  }

  async stop(): Promise<number> {
    this.#child.kill("SIGTERM");
    const { code } = await this.#child.status;
    await this.#reading;
    return code;
  }

  get messages(): string[] {
    return this.#stderr.split("\n").filter((line) => line.startsWith("earshot: "));
  }
}

const server = new ServerProcess();
const port = await server.port();
const sent = { connections: 0, bytes: 0, lines: 0 };
let lastMark = 0;

/** One visit of a client. All that it sends is accounted for, whatever its end. */
async function visit(): Promise<void> {
  const kind = random(100);
  if (kind < 12) return await visitAndReset();
  using conn = await Deno.connect({ hostname: "127.0.0.1", port });
  sent.connections++;
  if (kind < 30) return await sleep(random(5000)); // silent
  if (kind < 45) await drip(conn);
  else if (kind < 50) await burst(conn);
  else await talk(conn);
  if (random(2) === 0) return;
  await conn.closeWrite();
  while (await conn.read(new Uint8Array(1024)) !== null);
}

async function send(conn: Deno.Conn, text: string): Promise<void> {
  const bytes = new TextEncoder().encode(text);
  sent.bytes += bytes.length;
  sent.lines += text.split("\n").length - 1;
  for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
}

/** Half lines and whole ones, with pauses; the last may have no end. */
async function talk(conn: Deno.Conn): Promise<void> {
  for (let i = random(20); i > 0; i--) {
    await send(conn, "half a line, ");
    if (random(3) === 0) await sleep(random(300));
    await send(conn, `and the rest ${"é\x1B\u2028x".repeat(random(30))}\n`);
  }
  if (random(2) === 0) {
    await send(conn, "no end");
    sent.lines++;
  }
}

async function drip(conn: Deno.Conn): Promise<void> {
  for (let i = random(50); i > 0; i--) {
    await send(conn, "d");
    await sleep(random(100));
  }
  await send(conn, "\n");
}

async function burst(conn: Deno.Conn): Promise<void> {
  for (let i = random(10); i > 0; i--) {
    await send(conn, `${"b".repeat(random(200))}\n`.repeat(random(1000)));
  }
  // One long line without end, which is cut.
  if (random(4) > 0) return;
  await send(conn, "long".repeat(50_000));
  sent.lines++;
}

/** With nothing sent at once; else when all was heard, for what a reset overtakes is lost. */
async function visitAndReset(): Promise<void> {
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  const conn = createConnection(port, "127.0.0.1");
  conn.on("error", () => {});
  conn.on("close", () => resolve());
  await new Promise<void>((resolve) => conn.once("connect", resolve));
  sent.connections++;
  if (random(2) === 0) {
    const mark = `mark-${++lastMark}`;
    const text = `a line\n${mark}\n`;
    const heard = server.heard(mark);
    sent.bytes += text.length;
    sent.lines += 2;
    conn.write(text);
    await heard;
  }
  conn.resetAndDestroy();
  await closed;
}

async function load(seconds: number): Promise<void> {
  const untilMs = performance.now() + seconds * 1000;
  await Promise.all(Array.from({ length: clients }, async () => {
    await sleep(random(1000));
    while (performance.now() < untilMs) {
      try {
        await visit();
      } catch (error) {
        // This machine's ports are used up: those that were closed are kept for a minute.
        if (!(error instanceof Deno.errors.AddrNotAvailable)) throw error;
        await sleep(1000);
      }
    }
  }));
}

/** Waits until the server has seen all clients leave, and memory comes back no further. */
async function settle(goalKb: number) {
  for (let seconds = 0; seconds < SETTLE_SECONDS; seconds++) {
    await sleep(1000);
    const { open } = await server.stats();
    if (open === 0 && seconds >= 9 && server.rssKb <= goalKb) break;
  }
  return { rssKb: server.rssKb, descriptors: server.descriptors };
}

const startedAtMs = performance.now();
await load(60 * minutes * WARM_UP_SHARE);
const base = await settle(0);
await load(60 * minutes * (1 - WARM_UP_SHARE));
const peakKb = server.rssKb;
const end = await settle(base.rssKb + MAX_GROWTH_KB);
const stats = await server.stats();
const code = await server.stop();

const checks: [name: string, expected: number, actual: number, isRight: boolean][] = [
  ["connections", sent.connections, stats.total + stats.errors, false],
  ["lines", sent.lines, stats.lines, false],
  ["bytes", sent.bytes, stats.bytes, false],
  ["open at the end", 0, stats.open, false],
  ["descriptors", base.descriptors, end.descriptors, false],
  ["exit status", 0, code, false],
  ["messages", 0, server.messages.length, false],
  ["RSS, KB", base.rssKb, end.rssKb, end.rssKb <= base.rssKb + MAX_GROWTH_KB],
];
print(
  `${((performance.now() - startedAtMs) / 1000).toFixed(0)} s, ${clients} clients at once, ` +
    `${server.records} records, RSS at the end of the load ${peakKb} KB`,
);
print(`${"".padEnd(20)}${"expected".padStart(14)}${"actual".padStart(14)}`);
let hasFailed = false;
for (const [name, expected, actual, isRight] of checks) {
  const isFine = isRight || expected === actual;
  hasFailed ||= !isFine;
  print(
    `${name.padEnd(20)}${`${expected}`.padStart(14)}${`${actual}`.padStart(14)}${
      isFine ? "" : "  WRONG"
    }`,
  );
}
for (const message of server.messages) print(message);
Deno.exit(hasFailed ? 1 : 0);
