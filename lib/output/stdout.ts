/**
 * The process's own streams as sinks: each kind of file that stdout may be takes bytes in
 * a way of its own, and stdout and stderr may be one file.
 *
 * @module
 */

import { fstatSync } from "node:fs";
import { Socket as NodeSocket } from "node:net";
import { LF, NO_BYTES } from "../bytes.ts";
import { maySeeProcess, PIPE_BYTES, type Sink } from "../io.ts";

/** How long a write waits for room in a stream that does not block. */
const FULL_PAUSE_MS = 20;
/** How long messages wait for room on a full disk before they are tried again. */
const RETRY_MS = 1000;

/** PIPE_BUF: a pipe takes so much whole or not at all. */
const ATOMIC_BYTES = Deno.build.os === "linux" ? 4096 : 512;

interface InlineSink extends Sink {
  writeInline(bytes: Uint8Array): number | Promise<number>;
}

/** Stdout and stderr. */
export interface StandardStreams {
  readonly stdout: InlineSink;
  readonly stderr: Sink;
}

/** The streams of this process, looked at with the first write: who prints nothing opens nothing. */
export function standardStreams(): StandardStreams {
  let streams: StandardStreams | undefined;
  const opened = () => streams ??= openStreams();
  return {
    stdout: {
      write: (bytes) => opened().stdout.write(bytes),
      writeInline: (bytes) => opened().stdout.writeInline(bytes),
      endRound: () => opened().stdout.endRound?.(),
    },
    stderr: { write: (bytes) => opened().stderr.write(bytes) },
  };
}

function openStreams(): StandardStreams {
  return areOneFile() ? new SharedFile() : {
    stdout: new StandardOutput(),
    stderr: { write: (bytes) => writeWhenPossible(Deno.stderr, bytes) },
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
class StandardOutput implements InlineSink {
  #sink: InlineSink | undefined;

  write(bytes: Uint8Array): Promise<number> {
    return (this.#sink ??= openStdout()).write(bytes);
  }

  writeInline(bytes: Uint8Array): number | Promise<number> {
    return (this.#sink ??= openStdout()).writeInline(bytes);
  }
}

function openStdout(): InlineSink {
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
class PipeOutput implements InlineSink {
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
class FileOutput implements InlineSink {
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

/** A message that waits in a {@linkcode SharedFile}. */
interface WaitingMessage {
  readonly bytes: Uint8Array;
  sentBytes: number;
  /** Whether some of it may be in the file: then nothing else may come before its end. */
  isBegun: boolean;
  readonly settle: (count: number) => void;
}

/**
 * Stdout and stderr where both are one regular file (`> log 2>&1`): one writer for both, so
 * that what its file has grown by is what it has written, and a message never stands within
 * a record. A message waits for the end of the round, and on a full disk for room.
 */
class SharedFile implements StandardStreams {
  readonly #file = new FileOutput();
  readonly #waiting: WaitingMessage[] = [];
  /** Whether records of a round are being written, some perhaps in part. */
  #isInRound = false;
  /** Messages that are being written. */
  #telling: Promise<void> | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;

  readonly stdout: InlineSink = {
    write: (bytes) => this.#write(bytes),
    writeInline: (bytes) => this.#writeInline(bytes),
    endRound: () => this.#endRound(),
  };

  readonly stderr: Sink = {
    write: (bytes) => {
      const { promise, resolve } = Promise.withResolvers<number>();
      this.#waiting.push({ bytes, sentBytes: 0, isBegun: false, settle: resolve });
      this.#tell();
      return promise;
    },
  };

  #writeInline(bytes: Uint8Array): number | Promise<number> {
    if (this.#telling || this.#waiting[0]?.isBegun) return this.#write(bytes);
    this.#isInRound = true;
    return this.#file.writeInline(bytes);
  }

  async #write(bytes: Uint8Array): Promise<number> {
    this.#isInRound = true;
    await this.#telling;
    if (this.#waiting[0]?.isBegun) await this.#writeMessage(this.#waiting[0]);
    return await this.#file.write(bytes);
  }

  #endRound(): void {
    this.#isInRound = false;
    this.#tell();
  }

  /** Begins to write messages, if this is the moment for it. */
  #tell(): void {
    clearTimeout(this.#retry);
    if (this.#isInRound || this.#telling || this.#waiting.length === 0) return;
    this.#telling = this.#writeMessages();
  }

  async #writeMessages(): Promise<void> {
    try {
      while (!this.#isInRound && this.#waiting[0]) await this.#writeMessage(this.#waiting[0]);
    } catch {
      // There is nowhere to say it; the log will, if it has the same trouble.
      this.#retry = setTimeout(() => this.#tell(), RETRY_MS);
    } finally {
      this.#telling = undefined;
    }
  }

  /** Writes the first of those that wait. */
  async #writeMessage(message: WaitingMessage): Promise<void> {
    const { bytes, settle } = message;
    message.isBegun = true;
    while (message.sentBytes < bytes.length) {
      message.sentBytes += await this.#file.write(bytes.subarray(message.sentBytes));
    }
    this.#waiting.shift();
    settle(bytes.length);
  }
}

/** Whether stdout and stderr are one regular file. */
function areOneFile(): boolean {
  if (Deno.build.os === "windows") return false;
  const [out, err] = [fstatSync(1), fstatSync(2)];
  return out.isFile() && out.dev === err.dev && out.ino === err.ino;
}

/** A terminal, which somebody reads, or a device. */
class PlainOutput implements InlineSink {
  readonly #pieceBytes = Deno.stdout.isTerminal() ? PIPE_BYTES : Infinity;

  write(bytes: Uint8Array): Promise<number> {
    return writeWhenPossible(Deno.stdout, bytes.subarray(0, this.#pieceBytes));
  }

  writeInline(bytes: Uint8Array): Promise<number> {
    return this.write(bytes);
  }
}

/** What was closed when the program was started. */
class ClosedOutput implements InlineSink {
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
