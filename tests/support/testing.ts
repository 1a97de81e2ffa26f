/**
 * What tests share: time, bytes, random numbers, files, connections, and questions to a
 * source. Not published.
 *
 * @module
 */

import { assert } from "@std/assert";
import { once } from "node:events";
import { createConnection } from "node:net";
import {
  Poller,
  POLLERR,
  POLLIN,
  POLLOUT,
  POLLPRI,
  POLLRDHUP,
  select,
  type Socket,
  type Source,
} from "../../poller.ts";
import { decode } from "../../lib/bytes.ts";
import { FILES, NET, PROC, RUN, UNIX } from "./needs.ts";

// -- What is needed: on its way to needs.ts --

export const [noNet, noFiles, noRun] = [NET.ignore, FILES.ignore, RUN.ignore];
export const [noSignals, noProc] = [UNIX.ignore, PROC.ignore];

// -- Time --

/** One turn of the event loop, timers and I/O included. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

/** Waits for what only looking can tell, such as a file. */
export async function untilTrue(condition: () => boolean): Promise<void> {
  while (!condition()) await pause(10);
}

/** Still waiting after a few turns of the event loop, in which everything else had its chance. */
export async function assertPending(promise: Promise<unknown>): Promise<void> {
  let settled = false;
  const settle = () => settled = true;
  promise.then(settle, settle);
  for (let i = 0; i < 3; i++) await turn();
  assert(!settled, "Settled too early");
}

/** Repeats `round` until a timer has fired, which takes a turn of the event loop. */
export async function assertTimerFires(round: () => Promise<unknown>): Promise<void> {
  let fired = false;
  const timer = setTimeout(() => fired = true, 0);
  for (let i = 0; i < 300_000 && !fired; i++) await round();
  clearTimeout(timer);
  assert(fired, "The event loop did not turn");
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

// -- Bytes, numbers, files and processes --

/** One character a byte, so that bytes can be compared as text. */
export function latin1(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
}

export function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

/** Numbers from 0 to below `limit`, the same at every run (mulberry32). */
export function randomNumbers(seed: number): Random {
  return (limit) => {
    seed = seed + 0x6D2B79F5 | 0;
    let t = Math.imul(seed ^ seed >>> 15, 1 | seed);
    t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t;
    return ((t ^ t >>> 14) >>> 0) % limit;
  };
}

/** More runs of the random tests; `deno task fuzz` sets it. */
const FUZZ_RUNS = fuzzRuns();

function fuzzRuns(): number {
  const name = "EARSHOT_FUZZ_RUNS";
  const { state } = Deno.permissions.querySync({ name: "env", variable: name });
  return state === "granted" ? Number(Deno.env.get(name) ?? 0) : 0;
}

export type Random = (limit: number) => number;

/** The numbers from 0 to below `end`. */
export function upTo(end: number): number[] {
  return Array.from({ length: end }, (_, i) => i);
}

/** Runs a test with one seed after the other; a failure names its seed. */
export async function withSeeds(count: number, run: (random: Random) => void | Promise<void>) {
  for (let seed = 1; seed <= Math.max(count, FUZZ_RUNS); seed++) {
    try {
      await run(randomNumbers(seed));
    } catch (error) {
      throw new Error(`Failed with seed ${seed}: ${error}`, { cause: error });
    }
  }
}

export function pick<T>(random: Random, ...choices: readonly T[]): T {
  return choices[random(choices.length)]!;
}

/** Microtasks, turns or milliseconds that an operation takes. */
export async function lag(random: Random): Promise<void> {
  const kind = random(8);
  if (kind < 5) { for (let i = random(6); i > 0; i--) await undefined; }
  else if (kind < 7) await turn();
  else await pause(random(4));
}

/** Replaces a function of Deno's until it is disposed. */
export function replaced<K extends keyof typeof Deno>(name: K, fn: unknown): Disposable {
  const original = Deno[name];
  Object.assign(Deno, { [name]: fn });
  return { [Symbol.dispose]: () => void Object.assign(Deno, { [name]: original }) };
}

/** A directory that is gone after the test. */
export function tempDir() {
  const path = Deno.makeTempDirSync({ prefix: "earshot-" });
  return { path, [Symbol.dispose]: () => Deno.removeSync(path, { recursive: true }) };
}

export function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

/** Figures of a process from /proc: memory in KB, and processor time in ticks of 10 ms. */
export function figuresOf(pid: number) {
  const status = Deno.readTextFileSync(`/proc/${pid}/status`);
  const field = (name: string) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)![1]);
  const stat = Deno.readTextFileSync(`/proc/${pid}/stat`).replace(/^.*\) /, "").split(" ");
  return {
    rssKb: field("VmRSS"),
    peakKb: field("VmHWM"),
    ticks: Number(stat[11]) + Number(stat[12]),
  };
}

// -- Output --

/** Takes what is written, and lets a test wait for it. */
export class Capture {
  #text = "";
  readonly #waiting = new Set<() => void>();

  write(bytes: Uint8Array): Promise<number> {
    return Promise.resolve(this.writeSync(bytes));
  }

  writeSync(bytes: Uint8Array): number {
    this.#text += latin1(bytes);
    for (const check of this.#waiting) check();
    return bytes.length;
  }

  /** One character a byte. */
  get binary(): string {
    return this.#text;
  }

  get text(): string {
    return decode(bytesOf(this.#text));
  }

  /** Lines with what differs between runs, ports and durations, made equal. */
  get lines(): string[] {
    return this.text.split("\n").slice(0, -1).map((line) =>
      line.replace(/(127\.0\.0\.1|\[::1\]):\d+/, "$1:PORT").replace(/"port":\d+/, `"port":1`)
        .replace(/ \d+\.\d s\b/, " 0.0 s").replace(/"seconds":[\d.]+/, `"seconds":0`)
    );
  }

  count(part: string): number {
    return this.#text.split(part).length - 1;
  }

  /** Waits until `part` is there `count` times. */
  async until(part: string, count = 1): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const check = () => this.count(part) >= count && resolve();
    this.#waiting.add(check);
    check();
    await promise;
    this.#waiting.delete(check);
  }
}

// -- Connections --

/** Both ends of one loopback connection; disposing closes both. */
export async function tcpPair() {
  using listener = listenLocal();
  const [client, server] = await Promise.all([connect(listener), listener.accept()]);
  const ends = new DisposableStack();
  ends.use(client);
  ends.use(server);
  return { client, server, [Symbol.dispose]: () => ends.dispose() };
}

export function listenLocal(): Deno.TcpListener {
  return Deno.listen({ hostname: "127.0.0.1", port: 0 });
}

export function connect(listener: Deno.TcpListener): Promise<Deno.TcpConn> {
  return Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
}

export async function connectTo(port: number) {
  return await Deno.connect({ hostname: "127.0.0.1", port });
}

/** A connection that the peer's kernel resets: it was never accepted when its listener closed. */
export async function resetConnection(): Promise<Deno.TcpConn> {
  using listener = listenLocal();
  return await connect(listener);
}

/** Connects and resets at once. */
export async function connectAndReset(port: number): Promise<void> {
  const conn = createConnection(port, "127.0.0.1");
  conn.on("error", () => {});
  await once(conn, "connect");
  const closed = once(conn, "close");
  conn.resetAndDestroy();
  await closed;
}

/** Reads until there are `count` bytes or the end. */
export async function readUpTo(conn: Deno.Conn, count: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(count);
  let length = 0;
  while (length < count) {
    const read = await conn.read(bytes.subarray(length));
    if (read === null) break;
    length += read;
  }
  return bytes.subarray(0, length);
}

// -- Sources --

export const HIGH_WATER_BYTES = 64 * 1024;

export const ALL_EVENTS = POLLIN | POLLPRI | POLLOUT | POLLRDHUP;

export function recvText(source: Socket, max = 1000): string {
  return decode(source.recv(max));
}

export function pollerOf(...sources: Source[]): Poller {
  const poller = new Poller();
  for (const source of sources) poller.register(source);
  return poller;
}

export function closeAll(...sources: Source[]): void {
  for (const source of sources) source.close();
}

/** Sends until nothing more is taken; returns how many bytes were. */
export async function fill(socket: Socket): Promise<number> {
  using poller = new Poller();
  poller.register(socket, POLLOUT);
  let sent = 0;
  while ((await poller.poll(20)).length > 0) sent += socket.send(new Uint8Array(HIGH_WATER_BYTES));
  return sent;
}

/** The event bits of the first answer that has some of `wanted`. */
export async function eventsOf(source: Source, mask = ALL_EVENTS, wanted = mask): Promise<number> {
  using poller = new Poller();
  poller.register(source, wanted);
  await poller.poll();
  poller.modify(source, mask);
  const [entry] = await poller.poll(0);
  return entry?.[1] ?? 0;
}

/** The event bits of a source once everything that has happened to it is known. */
export async function eventsNow(source: Source, mask = ALL_EVENTS): Promise<number> {
  using poller = new Poller();
  poller.register(source, mask);
  await poller.poll(0);
  await turn();
  const [entry] = await poller.poll(0);
  return entry?.[1] ?? 0;
}

/** Asks one front end which of `sources` have which of the events in `mask`. */
export type Wait = <S extends Source>(
  sources: Iterable<S>,
  mask: number,
  timeoutMs?: number | null,
) => Promise<[S, number][]>;

export const waitBySelect: Wait = async (sources, mask, timeoutMs) => {
  const list = [...sources];
  const [readable, writable, failing] = await select(
    mask & POLLIN ? list : [],
    mask & POLLOUT ? list : [],
    list,
    typeof timeoutMs === "number" ? timeoutMs / 1000 : timeoutMs,
  );
  return list.map((source): [typeof source, number] => [
    source,
    (readable.includes(source) ? POLLIN : 0) | (writable.includes(source) ? POLLOUT : 0) |
    (failing.includes(source) ? POLLERR : 0),
  ]).filter(([, events]) => events !== 0);
};

export const waitByPoll: Wait = async (sources, mask, timeoutMs) => {
  const list = [...sources];
  using poller = new Poller();
  for (const source of list) poller.register(source, mask);
  const ready = new Map(await poller.poll(timeoutMs));
  return list.filter((source) => ready.has(source)).map((
    source,
  ) => [source, ready.get(source)! & (POLLIN | POLLOUT | POLLERR)]);
};

/** A value that the types forbid: callers need not use TypeScript. */
export function untyped(value: unknown): never {
  return value as never;
}
