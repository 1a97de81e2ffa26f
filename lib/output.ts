/**
 * Where records go: stdout, or a file that is opened anew and rotated. Waits for a
 * full disk, not for a closed pipe.
 *
 * @module
 */

import { closeSync as closeFd, constants, openSync as openFd } from "node:fs";
import { LF } from "./bytes.ts";
import { codeOf, Failure, reasonOf, type Say, type Sink } from "./io.ts";

/** How long write() waits before it tries again what failed. */
const RETRY_MS = 1000;
/** The same when the server ends. */
const LAST_RETRY_MS = 100;
/** A reader that takes nothing for so long holds up the log, and the end of the server. */
const PATIENCE_MS = 1000;

/**
 * What a sink should take at once where somebody must read it before more fits: a
 * pipe holds as much. So it shows that a slow reader takes something.
 */
export const PIPE_BYTES = 64 * 1024;
/** What such a reader is offered at least: a page of a pipe. */
const MIN_OFFER_BYTES = 4 * 1024;
/** A write that takes longer is followed by a smaller one. */
const SLOW_WRITE_MS = 100;
/** A smaller write to a file is over before another thread would have begun it. */
export const INLINE_BYTES = 16 * 1024;

const FILE_MODE = 0o640;

/** When a file is rotated, and how many old ones are kept. */
export interface Rotation {
  readonly sizeBytes: number;
  readonly keep: number;
}

export interface OutputOptions {
  /** Where records go without `path`. */
  readonly stdout: Sink;
  readonly path: string | undefined;
  readonly rotate: Rotation | undefined;
  readonly say: Say;
}

/** The end of the log. */
export class Output implements Disposable {
  readonly #say: Say;
  readonly #name: string;
  readonly #file: LogFile | undefined;
  readonly #sink: Sink;
  /** What is offered to the sink at once. */
  #offerBytes = Infinity;
  #writtenBytes = 0;
  /** When the write under way was begun, Infinity if there is none. */
  #startedAtMs = Infinity;
  /** Why the last write failed. */
  #fault: string | undefined;
  #mustReopen = false;
  /** Whether the last rotation worked: what is wrong with it is said once. */
  #canRotate = true;
  #isWriting = false;
  #isStopping = false;
  /** Ends what write() waits for: with an error for good, without one a pause. */
  #interrupt: ((error?: Error) => void) | undefined;
  /** Runs while a write of a server that ends makes no progress. */
  #patience: ReturnType<typeof setTimeout> | undefined;

  /** @throws {Failure} If the file cannot be opened, or may not be rotated. */
  constructor({ stdout, path, rotate, say }: OutputOptions) {
    this.#say = say;
    this.#name = path ?? "stdout";
    this.#file = path === undefined ? undefined : new LogFile(path, rotate);
    this.#sink = this.#file ?? stdout;
  }

  get isFile(): boolean {
    return this.#file !== undefined;
  }

  /** What has got through so far. */
  get writtenBytes(): number {
    return this.#writtenBytes;
  }

  /**
   * Writes all of it, however long that takes; `isSmall` if a hop to another thread
   * would not pay. One write at a time, and whole records: between two of them the
   * file may change.
   *
   * @throws {Failure} If nobody will ever take it.
   */
  async write(bytes: Uint8Array, isSmall: boolean): Promise<void> {
    this.#begin(bytes.length);
    for (let sent = 0; sent < bytes.length;) {
      try {
        const count = await this.#interruptible(this.#writeSome(bytes, sent, isSmall));
        this.#onProgress(count);
        sent += count;
      } catch (error) {
        this.#onFault(error);
        if (!this.#mustReopen) await this.#pause();
        if (this.#mustReopen) sent = this.#reopenWithin(bytes, sent);
      }
    }
    this.#end();
  }

  #begin(count: number): void {
    this.#isWriting = true;
    this.#restartPatience();
    if (count > 0) this.#rotateBefore(count);
  }

  #end(): void {
    this.#isWriting = false;
    clearTimeout(this.#patience);
    if (this.#mustReopen) this.#reopenNow();
  }

  #writeSome(bytes: Uint8Array, sent: number, isSmall: boolean): Promise<number> {
    const offer = bytes.subarray(sent, Math.min(sent + this.#offerBytes, bytes.length));
    this.#startedAtMs = performance.now();
    return isSmall && this.#sink.writeInline
      ? this.#sink.writeInline(offer)
      : this.#sink.write(offer);
  }

  /** Waits for `work` unless an interrupt comes first. A promise of its own: a race would leave reactions behind. */
  #interruptible(work: Promise<number>): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    this.#interrupt = (error) => error && reject(error);
    work.then(resolve, reject);
    return promise;
  }

  #onProgress(count: number): void {
    const tookMs = performance.now() - this.#startedAtMs;
    this.#startedAtMs = Infinity;
    this.#writtenBytes += count;
    this.#file?.grow(count);
    if (!this.#isStopping) this.#adaptOffer(count, tookMs);
    this.#restartPatience();
    if (this.#fault === undefined) return;
    this.#fault = undefined;
    this.#say(`earshot: ${this.#name} works again`);
  }

  /** The slower the sink, the smaller the steps in which it is seen to go on. */
  #adaptOffer(count: number, tookMs: number): void {
    this.#offerBytes = tookMs > SLOW_WRITE_MS
      ? Math.max(MIN_OFFER_BYTES, count >> 2)
      : 2 * this.#offerBytes;
  }

  /** Says what went wrong, once; throws it on if it will not get better. */
  #onFault(error: unknown): void {
    if (error instanceof Failure) throw error;
    const message = `Cannot write to ${this.#name}: ${reasonOf(error)}`;
    if (isGone(error)) throw new Failure(message);
    if (this.#fault === undefined) this.#say(`earshot: ${message}; clients wait`);
    this.#fault = reasonOf(error);
  }

  async #pause(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, this.#isStopping ? LAST_RETRY_MS : RETRY_MS);
    this.#interrupt = (error) => error ? reject(error) : resolve();
    try {
      await promise;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Why nothing gets through at this moment (`performance.now()`), or undefined if all is well. */
  trouble(nowMs: number): string | undefined {
    if (this.#fault !== undefined) return `Cannot write to ${this.#name}: ${this.#fault}`;
    const tookMs = nowMs - this.#startedAtMs;
    if (tookMs < PATIENCE_MS) return undefined;
    return `No write to ${this.#name} has finished for ${Math.floor(tookMs / 1000)} s`;
  }

  // -- Files --

  /** Opens the file anew before the next record; stdout stays what it is. */
  reopen(): void {
    if (!this.#file) return;
    this.#mustReopen = true;
    if (this.#isWriting) this.#interrupt?.();
    else this.#reopenNow();
  }

  /** Returns how many bytes of a torn record were taken out of the old file. */
  #reopenNow(tornBytes = 0): number {
    this.#mustReopen = false;
    try {
      return this.#file!.reopen(tornBytes);
    } catch (error) {
      this.#say(`earshot: ${(error as Error).message}; the old file stays open`);
      return 0;
    }
  }

  /** Within a write that failed. No record is torn: the new file begins with a whole one. */
  #reopenWithin(bytes: Uint8Array, sent: number): number {
    const start = bytes.subarray(0, sent).lastIndexOf(LF) + 1;
    const from = sent - this.#reopenNow(sent - start);
    if (from === start) this.#rotateBefore(bytes.length - from);
    return from;
  }

  #rotateBefore(count: number): void {
    if (!this.#file?.isFullFor(count)) return;
    try {
      this.#file.rotate();
      this.#canRotate = true;
    } catch (error) {
      if (this.#canRotate) this.#say(`earshot: Cannot rotate ${this.#name}: ${reasonOf(error)}`);
      this.#canRotate = false;
    }
  }

  // -- End --

  /** The server ends: from now on a write that makes no progress for a second is given up. */
  stop(): void {
    if (this.#isStopping) return;
    this.#isStopping = true;
    this.#offerBytes = MIN_OFFER_BYTES;
    this.#restartPatience();
    this.#interrupt?.();
  }

  #restartPatience(): void {
    if (!this.#isStopping || !this.#isWriting) return;
    clearTimeout(this.#patience);
    this.#patience = setTimeout(() => this.#giveUp(), PATIENCE_MS);
  }

  #giveUp(): void {
    const reason = this.#fault ?? "nobody takes it";
    const message = `Cannot write to ${this.#name}: ${reason}; what was not written is lost`;
    this.#interrupt?.(new Failure(message));
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#patience);
    this.#file?.[Symbol.dispose]();
  }
}

/** A file that is appended to, opened anew, and rotated if it is a regular one. */
class LogFile implements Sink, Disposable {
  readonly #path: string;
  readonly #rotation: Rotation | undefined;
  #file: Deno.FsFile;
  /** Undefined where a position means nothing, such as in a FIFO. */
  #sizeBytes: number | undefined;
  #isRotated: boolean;

  constructor(path: string, rotation: Rotation | undefined) {
    if (rotation) demandRotation(path, rotation.keep);
    this.#path = path;
    this.#rotation = rotation;
    this.#file = openLog(path);
    this.#sizeBytes = sizeOf(this.#file);
    this.#isRotated = rotation !== undefined && this.#file.statSync().isFile;
  }

  write(bytes: Uint8Array): Promise<number> {
    return this.#file.write(this.#isSeekable ? bytes : bytes.subarray(0, PIPE_BYTES));
  }

  writeInline(bytes: Uint8Array): Promise<number> {
    if (!this.#isSeekable || bytes.length > INLINE_BYTES) return this.write(bytes);
    return new Promise((resolve) => resolve(this.#file.writeSync(bytes)));
  }

  get #isSeekable(): boolean {
    return this.#sizeBytes !== undefined;
  }

  grow(count: number): void {
    if (this.#sizeBytes !== undefined) this.#sizeBytes += count;
  }

  /** Opens the path anew; returns how many of the last `tornBytes` were taken out of the old file. */
  reopen(tornBytes: number): number {
    const file = openLog(this.#path);
    const cutBytes = this.#cut(tornBytes);
    this.#replace(file);
    return cutBytes;
  }

  #cut(count: number): number {
    // Where others write, too, or have truncated it, the end is not ours.
    if (count === 0 || sizeOf(this.#file) !== this.#sizeBytes) return 0;
    try {
      this.#file.truncateSync(this.#sizeBytes! - count);
      return count;
    } catch {
      return 0;
    }
  }

  #replace(file: Deno.FsFile): void {
    this.#file.close();
    this.#file = file;
    this.#sizeBytes = sizeOf(file);
    this.#isRotated = this.#rotation !== undefined && file.statSync().isFile;
  }

  /** Whether `count` more bytes should go to a new file. Each takes at least one write. */
  isFullFor(count: number): boolean {
    if (!this.#isRotated) return false;
    const roomBytes = this.#rotation!.sizeBytes - count;
    if (this.#sizeBytes! <= roomBytes) return false;
    // It may have been truncated.
    this.#sizeBytes = sizeOf(this.#file)!;
    return this.#sizeBytes > Math.max(0, roomBytes);
  }

  /**
   * Begins a new file and keeps the old one as `.1`. All or nothing: what fails is
   * undone, and the old file is written on.
   */
  rotate(): void {
    const { moves, surplus } = rotationMoves(this.#path, this.#rotation!.keep);
    const file = openNew(`${this.#path}.new`);
    try {
      moveAll([...moves, { from: `${this.#path}.new`, to: this.#path }], surplus);
    } catch (error) {
      file.close();
      discard(`${this.#path}.new`);
      throw error;
    }
    this.#replace(file);
  }

  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]();
  }
}

function openLog(path: string): Deno.FsFile {
  const probe = openUnblocked(path);
  try {
    return Deno.openSync(path, { append: true, create: true, mode: FILE_MODE });
  } catch (error) {
    throw new Failure(`Cannot write to ${path}: ${reasonOf(error)}`);
  } finally {
    if (probe !== undefined) closeFd(probe);
  }
}

/**
 * `Deno.openSync` would wait for the reader of a FIFO, signals unheard. A
 * descriptor that is open meanwhile keeps that reader from seeing an end.
 */
function openUnblocked(path: string): number | undefined {
  if (Deno.build.os === "windows") return undefined;
  try {
    return openFd(path, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (error) {
    // What else is wrong shows when it is opened, or it does not exist yet.
    if (codeOf(error) !== "ENXIO") return undefined;
    const reason = isSocket(path) ? "a socket" : "a FIFO that nobody reads";
    throw new Failure(`Cannot write to ${path}: ${reason}`);
  }
}

/** The system gives both the same error; only with the permission to read may one look. */
function isSocket(path: string): boolean {
  const { state } = Deno.permissions.querySync({ name: "read", path });
  return state === "granted" && Deno.statSync(path).isSocket === true;
}

/** Asks for the end, which needs no permission; a FIFO or a terminal has none. */
function sizeOf(file: Deno.FsFile): number | undefined {
  try {
    return file.seekSync(0, Deno.SeekMode.End);
  } catch {
    return undefined;
  }
}

/** Whether nobody will ever read what is written: a closed pipe or descriptor. */
function isGone(error: unknown): boolean {
  return error instanceof Deno.errors.BrokenPipe || error instanceof Deno.errors.BadResource ||
    ["EPIPE", "EBADF"].includes(codeOf(error) ?? "");
}

// -- Rotation --

interface Move {
  readonly from: string;
  readonly to: string;
}

/** Renaming needs permission to read and write; better asked for at the start than missed at night. */
function demandRotation(path: string, keep: number): void {
  for (const name of ["read", "write"] as const) {
    for (const file of [path, `${path}.new`, `${path}.1`, `${path}.${keep + 1}`]) {
      if (Deno.permissions.requestSync({ name, path: file }).state === "granted") continue;
      throw new Failure(`Cannot rotate ${path}: run again with --allow-${name}`);
    }
  }
}

/**
 * The renames that free `path`, the last file first: each moves on to the next
 * number, up to the first that is free. If `keep` files are there, the oldest gets
 * a number beyond, and is `surplus`: removed only when all else is done.
 */
function rotationMoves(path: string, keep: number): { moves: Move[]; surplus?: string } {
  const nameOf = (number: number) => number === 0 ? path : `${path}.${number}`;
  let free = 0;
  while (free <= keep && isOldFile(nameOf(free))) free++;
  const moves: Move[] = [];
  for (let number = Math.min(free, keep); number > 0; number--) {
    moves.push({ from: nameOf(number - 1), to: nameOf(number) });
  }
  if (free <= keep) return { moves };
  while (lookAt(nameOf(free))) free++;
  const surplus = nameOf(free);
  return { moves: [{ from: nameOf(keep), to: surplus }, ...moves], surplus };
}

function isOldFile(path: string): boolean {
  const found = lookAt(path);
  if (found?.isDirectory) throw new Error(`${path} is a directory`);
  return found !== undefined;
}

function lookAt(path: string): Deno.FileInfo | undefined {
  try {
    return Deno.lstatSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** A new file; an empty one may be left of a rotation that was killed. */
function openNew(path: string): Deno.FsFile {
  const found = lookAt(path);
  if (found && !(found.isFile && found.size === 0)) throw new Error(`${path} is in the way`);
  return Deno.openSync(path, { append: true, create: true, mode: FILE_MODE });
}

/** Renames all and removes `surplus`, or leaves all as it was. */
function moveAll(moves: readonly Move[], surplus: string | undefined): void {
  const done: Move[] = [];
  try {
    for (const move of moves) {
      Deno.renameSync(move.from, move.to);
      done.unshift(move);
    }
    if (surplus !== undefined) Deno.removeSync(surplus);
  } catch (error) {
    undo(done);
    throw error;
  }
}

function discard(path: string): void {
  try {
    Deno.removeSync(path);
  } catch {
    // It is empty, and the next rotation takes it.
  }
}

function undo(moves: readonly Move[]): void {
  for (const { from, to } of moves) {
    try {
      Deno.renameSync(to, from);
    } catch {
      // It keeps its new name; nothing is lost, and the next rotation goes on from there.
    }
  }
}
