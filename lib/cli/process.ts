/**
 * The process: its streams, its signals, and whether a terminal is watching.
 *
 * @module
 */

import { fstatSync } from "node:fs";
import { Socket as NodeSocket } from "node:net";
import { LF, NO_BYTES } from "../bytes.ts";
import { type Io, PIPE_BYTES, type Sink } from "../io.ts";

/** How long a write waits for room in a stream that does not block. */
const FULL_PAUSE_MS = 20;

/** PIPE_BUF: a pipe takes so much whole or not at all. */
const ATOMIC_BYTES = Deno.build.os === "linux" ? 4096 : 512;

/** Looked up at the start: a terminal that has hung up is none any more. */
const HAS_TERMINAL = [Deno.stdin, Deno.stdout, Deno.stderr].some((stream) => stream.isTerminal());

/** Whether stdin, stdout or stderr was a terminal when the program was loaded. */
export function hasTerminal(): boolean {
  return HAS_TERMINAL;
}

/** The process's own streams, clock and exit. */
export function processIo(): Io {
  return {
    stdin: Deno.stdin,
    stdout: new StandardOutput(),
    stderr: { write: (bytes) => writeWhenPossible(Deno.stderr, bytes) },
    wantsColor: Deno.stdout.isTerminal() && !Deno.noColor,
    now: Date.now,
    exit: Deno.exit,
  };
}

/**
 * Whoever shares a stream may have made it non-blocking, as {@linkcode PipeOutput}
 * does to stderr after `2>&1`: while nobody reads, Deno then refuses to write.
 */
async function writeWhenPossible(stream: Sink, bytes: Uint8Array): Promise<number> {
  while (true) {
    try {
      return await stream.write(bytes);
    } catch (error) {
      if (!(error instanceof Deno.errors.WouldBlock)) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, FULL_PAUSE_MS));
  }
}

// -- Standard output --

/** Standard output, looked at with the first write: who prints nothing opens nothing. */
class StandardOutput implements Sink {
  #sink: Required<Sink> | undefined;

  write(bytes: Uint8Array): Promise<number> {
    return (this.#sink ??= openStdout()).write(bytes);
  }

  writeInline(bytes: Uint8Array): number | Promise<number> {
    return (this.#sink ??= openStdout()).writeInline(bytes);
  }
}

function openStdout(): Required<Sink> {
  if (wasStdoutClosed()) return new ClosedOutput();
  const stats = fstatSync(1);
  if (stats.isFile()) return new FileOutput();
  try {
    return new PipeOutput(stats.isFIFO());
  } catch {
    return new PlainOutput();
  }
}

/**
 * A pipe. Deno writes to it on another thread, which costs more than hearing a few
 * clients; as a socket of Node's it is written from here without blocking.
 */
class PipeOutput implements Required<Sink> {
  readonly #pipe = new NodeSocket({ fd: 1, readable: false, writable: true });
  readonly #isFifo: boolean;

  /** @throws If stdout is neither a pipe nor a socket. */
  constructor(isFifo: boolean) {
    this.#isFifo = isFifo;
    // Told by the callback of the write.
    this.#pipe.on("error", () => {});
  }

  writeInline(bytes: Uint8Array): number | Promise<number> {
    return this.#writeAtOnce(bytes) ?? this.#writeWhenPossible(bytes);
  }

  /** The short way, if the pipe has room. */
  #writeAtOnce(bytes: Uint8Array): number | undefined {
    // Deno keeps what does not end a line, and where some was taken says that nothing was.
    const isTakenWhole = this.#isFifo && bytes.length <= ATOMIC_BYTES && bytes.at(-1) === LF;
    if (!isTakenWhole) return;
    try {
      return Deno.stdout.writeSync(bytes);
    } catch (error) {
      if (!(error instanceof Deno.errors.WouldBlock)) throw error;
    }
  }

  #writeWhenPossible(bytes: Uint8Array): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    const piece = bytes.subarray(0, PIPE_BYTES);
    this.#pipe.write(piece, (error) => error ? reject(error) : resolve(piece.length));
    return promise;
  }

  /** With the last piece a write of nothing on another thread, which is a turn of the loop. */
  async write(bytes: Uint8Array): Promise<number> {
    const count = await this.writeInline(bytes);
    if (count === bytes.length) await Deno.stdout.write(NO_BYTES);
    return count;
  }
}

/**
 * A regular file, which takes what it is given until the disk is full. Of a write that fails,
 * Deno does not say what was written before, and keeps up to a kibibyte for the next: how
 * much has got in shows in the size of the file.
 */
class FileOutput implements Required<Sink> {
  /** The size of the file, if nobody else writes to it. */
  #sizeBytes = fstatSync(1).size;
  /** Length of the write that was begun, until it succeeds: if it fails, it is known by that. */
  #begunBytes = 0;

  async write(bytes: Uint8Array): Promise<number> {
    const taken = this.#begunBytes > 0 ? await this.#takenBefore() : 0;
    if (taken > 0) return taken;
    this.#begunBytes = bytes.length;
    return this.#onWritten(await Deno.stdout.write(bytes));
  }

  writeInline(bytes: Uint8Array): number | Promise<number> {
    if (this.#begunBytes > 0) return this.write(bytes);
    this.#begunBytes = bytes.length;
    return this.#onWritten(Deno.stdout.writeSync(bytes));
  }

  #onWritten(count: number): number {
    this.#begunBytes = 0;
    this.#sizeBytes += count;
    return count;
  }

  /** What the write that failed has brought into the file; throws if Deno cannot write what it kept. */
  async #takenBefore(): Promise<number> {
    await Deno.stdout.write(NO_BYTES);
    const { size } = fstatSync(1);
    const taken = size - this.#sizeBytes;
    const isOurs = taken >= 0 && taken <= this.#begunBytes;
    this.#sizeBytes = size;
    this.#begunBytes = 0;
    return isOurs ? taken : 0;
  }
}

/** A terminal, which somebody reads, or a device. */
class PlainOutput implements Required<Sink> {
  readonly #pieceBytes = Deno.stdout.isTerminal() ? PIPE_BYTES : Infinity;

  write(bytes: Uint8Array): Promise<number> {
    return writeWhenPossible(Deno.stdout, bytes.subarray(0, this.#pieceBytes));
  }

  writeInline(bytes: Uint8Array): Promise<number> {
    return this.write(bytes);
  }
}

/** What was closed when the program was started. */
class ClosedOutput implements Required<Sink> {
  write(): Promise<number> {
    return Promise.reject(new Deno.errors.BadResource("it is closed"));
  }

  writeInline(): Promise<number> {
    return this.write();
  }
}

/**
 * Deno opens /dev/null for reading and writing where stdout was closed; whoever
 * wants that device opens it for writing. A daemon's three streams are all alike.
 */
function wasStdoutClosed(): boolean {
  return isReadableNull(1) && !(isReadableNull(0) && isReadableNull(2));
}

function isReadableNull(fd: number): boolean {
  if (!maySeeProcess()) return false;
  try {
    const [, flags = "0"] =
      /^flags:\s*(\d+)/m.exec(Deno.readTextFileSync(`/proc/self/fdinfo/${fd}`)) ?? [];
    return Deno.readLinkSync(`/proc/self/fd/${fd}`) === "/dev/null" &&
      (parseInt(flags, 8) & 3) === 2;
  } catch {
    return false;
  }
}

/** Whether /proc may be read, which takes `--allow-all`; nobody is asked for it. */
function maySeeProcess(): boolean {
  const names = ["read", "write", "net", "env", "sys", "run", "ffi", "import"] as const;
  return Deno.build.os === "linux" &&
    names.every((name) => Deno.permissions.querySync({ name }).state === "granted");
}

// -- Signals --

/** What signals ask of the server. They come at any time: set a flag and wake the loop. */
export interface SignalActions {
  /** SIGINT, SIGTERM: ends the server, for the first of them. */
  stop(): void;
  /** SIGHUP; returns false if it ends the server as SIGTERM does. */
  hangUp(): boolean;
  /** SIGUSR2. */
  report(): void;
}

const SIGNAL_NUMBERS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;

/** Listens to signals until it is disposed. A second one that stops ends the process at once. */
export function handleSignals(actions: SignalActions, exit: (code: number) => void): Disposable {
  // Read before the first listener is added, which would change it.
  const ignoresHangUp = isIgnored(SIGNAL_NUMBERS.SIGHUP);
  let isStopping = false;
  const stop = (signal: keyof typeof SIGNAL_NUMBERS) => {
    if (isStopping) return exit(128 + SIGNAL_NUMBERS[signal]);
    isStopping = true;
    actions.stop();
  };
  return listen({
    SIGINT: () => stop("SIGINT"),
    SIGTERM: () => stop("SIGTERM"),
    SIGHUP: () => actions.hangUp() || ignoresHangUp || stop("SIGHUP"),
    SIGUSR2: () => actions.report(),
  });
}

function listen(handlers: Partial<Record<Deno.Signal, () => void>>): Disposable {
  const listening = new DisposableStack();
  for (const [name, handler] of Object.entries(handlers)) {
    const signal = name as Deno.Signal;
    if (Deno.build.os === "windows" && signal === "SIGUSR2") continue;
    Deno.addSignalListener(signal, handler);
    listening.defer(() => Deno.removeSignalListener(signal, handler));
  }
  return listening;
}

/** Whether a signal was ignored at the start, as by nohup; where that may be seen. */
function isIgnored(number: number): boolean {
  if (!maySeeProcess()) return false;
  const status = Deno.readTextFileSync("/proc/self/status");
  const [, ignored = "0"] = /^SigIgn:\s*([0-9a-f]+)/m.exec(status) ?? [];
  return (BigInt(`0x${ignored}`) >> BigInt(number - 1) & 1n) === 1n;
}
