#!/usr/bin/env -S deno run --allow-net
/**
 * earshot listens on a port and logs what its clients say, whichever has data
 * first: one process, one event loop, whole lines labelled by who said them.
 *
 * ```sh
 * deno run --allow-net main.ts                    # 127.0.0.1:1234, to stdout
 * deno run --allow-net main.ts --host 0.0.0.0     # every IPv4 interface
 * deno run --allow-net main.ts --help
 * ```
 *
 * A record is one line and one write unit:
 *
 * ```text
 * 2026-11-22T23:31:05.123Z #2 127.0.0.1:53122 connected
 * 2026-11-22T23:31:05.130Z #2 127.0.0.1:53122 | hello world
 * 2026-11-22T23:31:05.990Z #2 127.0.0.1:53122 + no line end
 * 2026-11-22T23:31:05.990Z #2 127.0.0.1:53122 disconnected: 23 bytes, 2 lines, 0.9 s
 * ```
 *
 * After `| ` or `+ ` everything is the client's; control characters are shown,
 * not obeyed. `+` marks a piece without a line end: of a line that is too long, or
 * the last that a client said.
 *
 * Exit status: 0 ended by a signal, as asked, `--help` or `--version`; 1 cannot listen,
 * cannot write or another failure at run time; 2 wrong usage; 3 what `--until` waits for
 * has not been seen; 128 and the number of the signal after a second one.
 *
 * @module
 */

import manifest from "./deno.json" with { type: "json" };
import {
  addrText,
  type MulticastGroup,
  type NamedNetwork,
  type Network,
  type UnixSocket,
} from "./lib/addresses.ts";
import { buildServer, type ServerParts } from "./lib/build.ts";
import { dialerOf, editedIo, type Opened, openOutputs, reserveOf, tlsOf } from "./lib/open.ts";
import { encode } from "./lib/bytes.ts";
import { shown } from "./lib/records/escape.ts";
import { Failure, reasonOf } from "./lib/errors.ts";
import type { Framing } from "./lib/framing/framing.ts";
import { type Io, type LogRecord, type Sink, type Terminal, writeAll } from "./lib/io.ts";
import { Messages, type Say } from "./lib/messages.ts";
import { closeListeners, openListeners } from "./lib/accept/listeners.ts";
import { usage } from "./lib/cli/help.ts";
import { UsageError } from "./lib/cli/option.ts";
import type { Config } from "./lib/cli/options.ts";
import { completeConfig, parseConfig } from "./lib/cli/parse.ts";
import { handleSignals, hasTerminal, processIo } from "./lib/cli/process.ts";
import { reload } from "./lib/cli/reload.ts";
import type { Steps } from "./lib/loop/deadlines.ts";
import { LostClients } from "./lib/accept/lost_clients.ts";
import { NameTable } from "./lib/accept/names.ts";
import { DatagramSocket, ServerSocket, type Source } from "./poller.ts";

export {
  type Config,
  Failure,
  type Framing,
  type Io,
  type LogRecord,
  type MulticastGroup,
  type NamedNetwork,
  type Network,
  parseConfig,
  type Sink,
  type Terminal,
  type UnixSocket,
  usage,
  UsageError,
};

/** More, of a range of ports, do not fit into the queue of messages. */
const GREETINGS_AT_ONCE = 200;

/** Exit status of the process. */
const EXIT = { ok: 0, failure: 1, usage: 2, unseen: 3 } as const;

/** A round that has taken so long is written, and the rest is heard in the next. */
const ROUND_MS = 50;
/** Steps between two looks at the clock; a look costs as much as serving a client. */
const STEPS_PER_LOOK = 32;
/** What one client may cost, in bytes read or logged, before others have their turn. */
const TURN_BYTES = 64 * 1024;
/** How long to take what has arrived after a stop signal. */
const DRAIN_MS = 1000;
/** On a busy machine a timer of 0 ms may fire before the loop has asked the kernel what has come. */
const LAST_LOOK_MS = 20;
/** A longer timer would fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;
/** If a poll takes so much longer than asked, the process stood still. */
const STOOD_STILL_MS = 1000;
/** How long the last messages may take. */
const FAREWELL_MS = 500;
const SHUTTING_DOWN = "shutting down";

/** A running server. Disposing stops it and waits for its end. */
export interface Server extends AsyncDisposable {
  /** Addresses listened on, with the real ports: TCP, then UDP, then Unix, each as configured. */
  readonly addrs: readonly Deno.Addr[];
  /** Address of the live page, with the real port; `undefined` without one. */
  readonly webAddr: Deno.NetAddr | undefined;
  /** What `until` waits for and has not been seen in anything that was received, as it was given. */
  readonly unseen: readonly string[];
  /** Resolves once it has stopped; rejects with a {@linkcode Failure} if it cannot go on. */
  readonly finished: Promise<void>;
  /**
   * Stops accepting, logs what has arrived within a second, and ends when that is
   * written, or when nobody has taken any of it for a second: then `finished` rejects.
   * A second call does nothing.
   */
  stop(): void;
  /**
   * Opens the output file anew, for logrotate, and reads certificates and names anew. What
   * cannot be opened or read is said on stderr, and the old one stays.
   *
   * @returns False if there is neither.
   */
  reload(): boolean;
  /** Prints a summary to stderr, in one line: clients, lines and bytes so far. */
  reportStats(): void;
}

/**
 * Starts a server in this process. It listens to no signals: {@linkcode main} does.
 *
 * @param config What to do; what is left out is as on the command line. {@linkcode parseConfig}
 * makes a whole one.
 * @param io Streams, clock and `onRecord`; what is left out is the process's.
 * @returns The server, accepting connections.
 * @throws {Failure} If it cannot listen, read its certificates or open its output;
 * nothing is left open then.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 *
 * const { promise: heard, resolve } = Promise.withResolvers<LogRecord>();
 * const nowhere = { write: (bytes: Uint8Array) => Promise.resolve(bytes.length) };
 * await using server = await startServer({ ports: [0], quiet: true }, {
 *   stdout: nowhere,
 *   stderr: nowhere,
 *   onRecord: resolve,
 * });
 * const { port } = server.addrs[0] as Deno.NetAddr;
 * using client = await Deno.connect({ port });
 * await client.write(new TextEncoder().encode("hello\n"));
 * assertEquals((await heard).message, "hello");
 * ```
 */
export async function startServer(
  config: Partial<Config> = {},
  io: Partial<Io> = {},
): Promise<Server> {
  return await start(completeConfig(config), { ...processIo(), ...io });
}

async function start(config: Config, given: Io): Promise<Server> {
  await using resources = new AsyncDisposableStack();
  const { io, editor } = editedIo(config, given);
  resources.use(editor);
  const messages = new Messages(io.stderr);
  resources.defer(() => messages.settled(FAREWELL_MS));
  const say: Say = (message) => messages.say(shown(message));
  const tls = tlsOf(config);
  const names = new NameTable(config.names, config.namesFile);
  const dialer = dialerOf(config);
  const reserve = resources.use(reserveOf(config));
  const outputs = openOutputs(config, io, say, reserve);
  for (const output of outputs) resources.use(output);
  const lost = resources.use(new LostClients(say));
  const listening = await openListeners({
    ...config,
    isTls: tls !== undefined,
    // A proxy's health checks are such clients.
    lostClients: config.proxyFrom.length > 0 ? undefined : lost,
  });
  resources.defer(() => closeListeners(listening));
  const opened: Opened = {
    io,
    messages,
    say,
    reserve,
    outputs,
    listening,
    tls,
    names,
    dialer,
    editor,
  };
  const parts = buildServer(config, opened);
  resources.defer(() => parts.multiplexer.close());
  await sayAll(listening.map(({ greeting }) => greeting), say, messages);
  if (parts.web) say(parts.web.greeting);
  return new LogServer(parts, opened, resources.move());
}

async function sayAll(greetings: readonly string[], say: Say, messages: Messages): Promise<void> {
  for (const [i, greeting] of greetings.entries()) {
    say(greeting);
    if (i % GREETINGS_AT_ONCE === GREETINGS_AT_ONCE - 1) await messages.taken();
  }
}

/** The server: listen, poll, dispatch, write, stop. */
class LogServer implements Server {
  readonly #parts: ServerParts;
  readonly #opened: Opened;
  readonly #resources: AsyncDisposable;
  /** Who was not served when the time of the last round was up. */
  #unserved: readonly [Source, number][] = [];
  #isStopping = false;
  /** Whether more may be typed. */
  #isTypedTo = true;
  readonly addrs: readonly Deno.Addr[];
  readonly finished: Promise<void>;

  constructor(parts: ServerParts, opened: Opened, resources: AsyncDisposable) {
    this.#parts = parts;
    this.#opened = opened;
    this.#resources = resources;
    this.addrs = opened.listening.map(({ socket }) => addrOf(socket));
    const listening = this.addrs.map(addrText);
    parts.recorder.run({ event: "started", version: manifest.version, listening });
    this.finished = this.#serve();
    // A rejection that nobody looks at would end the process; whoever awaits it still gets it.
    this.finished.catch(() => {});
  }

  async #serve(): Promise<void> {
    try {
      while (!this.#isOver && !this.#failure) await this.#round(Infinity);
      this.stop();
      await this.#drain();
      if (this.#failure) throw this.#failure;
    } finally {
      await this.#close();
    }
  }

  /** Why it cannot go on, if it cannot: what is left to do is done all the same. */
  get #failure(): unknown {
    const { admission, logWriter } = this.#parts;
    return admission.failure ?? logWriter.failure;
  }

  get #isOver(): boolean {
    const { ending } = this.#parts;
    return this.#isStopping || ending.isReached || ending.isTimeUp;
  }

  /** One round: whoever is ready is served, what is due is done, then the log is written. */
  async #round(limitMs: number): Promise<boolean> {
    const { multiplexer, recorder, logWriter, tasks, deadlines } = this.#parts;
    const polledAtMs = performance.now();
    const { dueAtMs } = deadlines;
    const timeoutMs = Math.min(limitMs, msUntil(dueAtMs, polledAtMs));
    const ready = this.#unserved.length > 0 ? this.#unserved : await multiplexer.poll(timeoutMs);
    const startMs = performance.now();
    this.#noticeStandstill(startMs - polledAtMs - timeoutMs);
    recorder.setTime(this.#opened.io.now());
    logWriter.beginRound(startMs);
    this.#unserved = await this.#dispatch(ready, startMs + ROUND_MS);
    if (!tasks.isEmpty) await this.#run(tasks.run());
    // Due by the time before the poll: whoever spoke while the process stood still has been read.
    if (dueAtMs <= polledAtMs) await this.#run(deadlines.onDue(polledAtMs));
    await this.#flush();
    return ready.length > 0;
  }

  /**
   * Serves those who are ready, a turn each, up to the last record. A turn is a read a step; it
   * ends by what it costs, or with the round.
   *
   * @returns Those for whom there was no time.
   */
  async #dispatch(ready: readonly [Source, number][], untilMs: number): Promise<typeof ready> {
    const { ending, logWriter } = this.#parts;
    let steps = 0;
    for (let i = 0; i < ready.length; i++) {
      const [source, events] = ready[i]!;
      for (let left = TURN_BYTES; left > 0;) {
        const cost = this.#onReady(source, events);
        left = cost > 0 ? left - cost : 0;
        if (ending.isReached) return [];
        if (logWriter.isLong) await this.#flush();
        const isLate = ++steps % STEPS_PER_LOOK === 0 && performance.now() >= untilMs;
        if (isLate) return ready.slice(i + 1);
      }
    }
    return [];
  }

  /** Takes a step for whoever is ready; returns what it has cost, 0 if no other is to follow. */
  #onReady(source: Source, events: number): number {
    const { acceptor, datagrams, interactive, stdin, clients, internalErrors } = this.#parts;
    try {
      if (source instanceof ServerSocket) acceptor.accept(source);
      else if (source instanceof DatagramSocket) datagrams.onReadable(source);
      else if (source === stdin) interactive.onReadable(stdin) || this.#endTyping();
      else return clients.onReady(source, events);
    } catch (error) {
      internalErrors.report(error);
    }
    return 0;
  }

  /** A source that stays registered at its end would be ready again and again. */
  #endTyping(): void {
    const { multiplexer, stdin } = this.#parts;
    if (stdin && this.#isTypedTo) multiplexer.unregister(stdin);
    this.#isTypedTo = false;
  }

  /** The end must come although nobody takes the log. */
  async #flush(): Promise<void> {
    const { clients, logWriter, ending } = this.#parts;
    if (ending.isReached) this.stop();
    const isTimed = ending.dueAtMs < Infinity;
    const leftMs = isTimed ? Math.max(0, ending.dueAtMs - performance.now()) : Infinity;
    const timer = leftMs < MAX_TIMER_MS ? setTimeout(() => this.stop(), leftMs) : undefined;
    try {
      clients.lost(await logWriter.flush());
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * Takes all steps, and writes the log whenever it is long. An error of ours costs the rest of
   * the steps.
   */
  async #run(steps: Steps): Promise<void> {
    while (this.#takesStep(steps)) {
      if (this.#parts.logWriter.isLong) await this.#flush();
    }
  }

  /** Returns whether there was one left. */
  #takesStep(steps: Steps): boolean {
    try {
      return !steps.next().done;
    } catch (error) {
      this.#parts.internalErrors.report(error);
      return false;
    }
  }

  /** Time in which the process stood still does not make a client idle. */
  #noticeStandstill(oversleptMs: number): void {
    if (oversleptMs > STOOD_STILL_MS) this.#parts.clients.lost(oversleptMs);
  }

  stop(): void {
    if (this.#isStopping) return;
    this.#isStopping = true;
    this.#parts.logWriter.stop();
    this.#parts.multiplexer.wake();
  }

  /** Records what is left, and how everybody leaves. */
  async #drain(): Promise<void> {
    const { admission, handshakes, tasks, clients, recorder, logWriter, stats, ending } =
      this.#parts;
    await this.#readWhatHasArrived();
    admission.close();
    recorder.setTime(this.#opened.io.now());
    handshakes.endAll(SHUTTING_DOWN);
    await this.#run(tasks.run());
    await this.#run(clients.disconnectAll({ tag: "shutdown" }));
    const { lines, connections } = stats;
    recorder.run({ event: "stopped", lines, connections });
    await this.#flush();
    await logWriter.settled();
    const missing = ending.sentence(stats.heard, performance.now());
    if (missing !== undefined && !logWriter.failure) this.#opened.say(`earshot: ${missing}`);
  }

  /** Until nothing comes, at most a second. */
  async #readWhatHasArrived(): Promise<void> {
    const { admission, ending, logWriter } = this.#parts;
    const isWanted = () => !ending.isReached && !logWriter.isLost;
    const untilMs = performance.now() + DRAIN_MS;
    // The wake-up of stop() may end the first poll before anything is seen.
    let typingRounds = 2;
    for (let quiet = 0; quiet < 2 && performance.now() < untilMs && isWanted();) {
      quiet = await this.#round(quiet > 0 ? LAST_LOOK_MS : 0) ? 0 : quiet + 1;
      if (quiet > 0) admission.close();
      // Another program may type without an end.
      if (--typingRounds === 0) this.#endTyping();
    }
  }

  /** Frees everything, after a failure too. */
  async #close(): Promise<void> {
    this.#isStopping = true;
    const { handshakes, tasks, clients, logWriter, stdin, web } = this.#parts;
    handshakes.endAll(SHUTTING_DOWN);
    // What is recorded after an error of ours goes nowhere.
    for (const _ of tasks.run()) logWriter.discard();
    for (const _ of clients.disconnectAll({ tag: "shutdown" })) logWriter.discard();
    stdin?.close();
    await web?.finish();
    await this.#resources[Symbol.asyncDispose]();
  }

  reload(): boolean {
    const { logWriter, datagrams, multiplexer } = this.#parts;
    const { tls, names, say } = this.#opened;
    const hasAnything = reload({ logWriter, tls, names, datagrams, say });
    multiplexer.wake();
    return hasAnything;
  }

  get unseen(): readonly string[] {
    return this.#parts.ending.missing.map(({ source }) => source);
  }

  get webAddr(): Deno.NetAddr | undefined {
    return this.#parts.web?.addr;
  }

  reportStats(): void {
    this.#parts.report();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stop();
    await this.finished.catch(() => {});
  }
}

/** How long to wait for what is due then; `Infinity` for ever. */
function msUntil(dueAtMs: number, nowMs: number): number {
  if (dueAtMs === Infinity) return Infinity;
  return Math.min(MAX_TIMER_MS, Math.max(0, Math.ceil(dueAtMs - nowMs)));
}

function addrOf(socket: ServerSocket | DatagramSocket): Deno.Addr {
  return (socket instanceof ServerSocket ? socket.addr : socket.localAddr)!;
}

// -- Process --

/**
 * The command: parses, serves until a signal or a failure, and says on stderr what
 * went wrong. It does not throw. While it serves it listens to SIGINT, SIGTERM,
 * SIGHUP and SIGUSR2.
 *
 * @param args Arguments as in `Deno.args`.
 * @param io Streams, clock and exit; those of the process by default.
 * @returns The exit status: 0, 1, 2 or 3. A second signal calls `io.exit` instead, with
 * 128 and its number.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(await main(["--version"]), 0);
 * ```
 */
export async function main(args: readonly string[], io: Io = processIo()): Promise<number> {
  const messages = new Messages(io.stderr);
  try {
    const config = parseConfig(args);
    if (config === "help") await print(usage(), io);
    else if (config === "version") await print(`earshot ${manifest.version}\n`, io);
    else if (await serve(config, io, messages.say) !== "seen") return EXIT.unseen;
    return EXIT.ok;
  } catch (error) {
    messages.say(`earshot: ${complaintOf(error)}`);
    await messages.settled(FAREWELL_MS);
    return error instanceof UsageError ? EXIT.usage : EXIT.failure;
  }
}

/** Serves until a signal, or as long as it was asked to. */
async function serve(config: Config, io: Io, say: Say): Promise<"seen" | "unseen"> {
  // Started after the handlers are in place: a script may signal as soon as it sees the greeting.
  const starting = Promise.resolve().then(() => startServer(config, io));
  // A start that failed is told by main().
  const tell: Tell = (action) => void starting.then(action, () => {});
  using _signals = handleSignals({
    stop: () => tell((server) => server.stop()),
    hangUp: onHangUp(config, tell, say),
    report: () => tell((server) => server.reportStats()),
  }, io.exit);
  await using server = await starting;
  await server.finished;
  return server.unseen.length === 0 ? "seen" : "unseen";
}

type Tell = (action: (server: Server) => void) => void;

/** Makes the action of SIGHUP, which returns false if that signal ends the server. */
function onHangUp(config: Config, tell: Tell, say: Say): () => boolean {
  const { output, tlsCert, namesFile } = config;
  let wasSaid = false;
  return () => {
    if (output !== undefined || tlsCert !== undefined || namesFile !== undefined) {
      tell((server) => server.reload());
      return true;
    }
    if (hasTerminal()) return false;
    if (!wasSaid) say("earshot: SIGHUP: there is no --output to open anew; going on");
    wasSaid = true;
    return true;
  };
}

/** What went wrong, in one line. */
function complaintOf(error: unknown): string {
  if (error instanceof UsageError) return `${shown(error.message)}, see --help`;
  return error instanceof Failure ? shown(error.message) : `Cannot go on: ${reasonOf(error)}`;
}

/** Prints to stdout; a reader that has seen enough, such as head, is no failure. */
async function print(text: string, { stdout }: Io): Promise<void> {
  try {
    await writeAll(stdout, encode(text));
  } catch (error) {
    if (error instanceof Deno.errors.BrokenPipe) return;
    throw new Failure(`Cannot write to stdout: ${reasonOf(error)}`);
  }
}

// Not Deno.exitCode: a write that nobody takes would keep the process alive.
if (import.meta.main) Deno.exit(await main(Deno.args));
