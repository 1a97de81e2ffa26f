/**
 * The file of the log: appended to, opened anew, rotated, and made anew when it is gone.
 *
 * @module
 */

import { closeSync as closeFd, constants, openSync as openFd } from "node:fs";
import { LF } from "../bytes.ts";
import { codeOf } from "../errors.ts";
import { PIPE_BYTES, type Sink } from "../io.ts";
import { FILE_MODE, type Rotator } from "./rotation.ts";

/** Between two looks whether a file is still there: a look costs as much as two writes. */
const LOOK_MS = 50;
const LINE_END = new Uint8Array([LF]);

export interface LogFileOptions {
  readonly rotator: Rotator | undefined;
  /** Whether `--allow-read` lets it look what lies at its path. */
  readonly mayLook: boolean;
  /** Whether all that is written to it are lines; raw bytes are none. */
  readonly hasLines: boolean;
}

/** What tells a file from another of the same name. */
interface Identity {
  readonly device: number;
  readonly inode: number;
}

/** A file that is appended to, opened anew, and rotated if it is a regular one. */
export class LogFile implements Sink, Disposable {
  readonly path: string;
  readonly #rotator: Rotator | undefined;
  readonly #mayLook: boolean;
  #file: Deno.FsFile;
  /** Undefined where a position means nothing, such as in a FIFO. */
  #sizeBytes: number | undefined;
  /** Of a regular file, if one may look. */
  #identity: Identity | undefined;
  #lookedAtMs = -Infinity;
  #state: "fresh" | "used" | "gone" | "stale" = "fresh";

  /** Opens it; throws what the system says. */
  constructor(path: string, { rotator, mayLook, hasLines }: LogFileOptions) {
    this.path = path;
    this.#rotator = rotator;
    this.#mayLook = mayLook;
    this.#file = openLog(path, mayLook);
    this.#inspect();
    if (hasLines && this.#isOfAnotherRun) this.#endLine();
  }

  /** Whether it has something that this process has not written, as far as one may look. */
  get #isOfAnotherRun(): boolean {
    if (!this.#identity || this.#sizeBytes === 0) return false;
    return Number(this.#file.statSync().mtime) < performance.timeOrigin;
  }

  /** What a crash has left of a record has the line to itself. */
  #endLine(): void {
    try {
      if (lastByteOf(this.path) !== LF) this.#sizeBytes! += this.#file.writeSync(LINE_END);
    } catch {
      // It may be written but not read, or the disk is full.
    }
  }

  #inspect(): void {
    this.#sizeBytes = sizeOf(this.#file);
    this.#identity = this.#mayLook ? identityOf(() => this.#file.statSync()) : undefined;
    this.#state = "fresh";
  }

  write(bytes: Uint8Array): Promise<number> {
    return this.#file.write(this.#isSeekable ? bytes : bytes.subarray(0, PIPE_BYTES));
  }

  writeInline(bytes: Uint8Array): number | Promise<number> {
    return this.#isSeekable ? this.#file.writeSync(bytes) : this.write(bytes);
  }

  get #isSeekable(): boolean {
    return this.#sizeBytes !== undefined;
  }

  /** `count` bytes of a write have been taken. */
  grow(count: number): void {
    this.#state = "used";
    if (this.#sizeBytes !== undefined) this.#sizeBytes += count;
  }

  // -- Opening anew --

  /**
   * Opens the path anew; if that throws, the old file stays. Returns how many of the
   * last `tornBytes` were taken out of the old file.
   */
  reopen(tornBytes: number): number {
    const file = openLog(this.path, this.#mayLook);
    const cutBytes = this.#cut(tornBytes);
    this.#replace(file);
    return cutBytes;
  }

  /** Takes the last `tornBytes` out, of a record that will never be whole. */
  cut(tornBytes: number): void {
    this.#sizeBytes! -= this.#cut(tornBytes);
  }

  #cut(count: number): number {
    // Nobody can read a file any more whose handle is stale: what was torn is written again.
    if (this.#state === "stale") return count;
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
    const old = this.#file;
    this.#file = file;
    this.#inspect();
    old.close();
  }

  /**
   * Whether nothing is left at its path, or another file, at `nowMs` of `performance.now()`.
   * That stays so until it is opened anew: nothing more belongs into a deleted file.
   */
  isGone(nowMs: number): boolean {
    if (this.#state === "gone" || this.#state === "stale") return true;
    if (!this.#identity || nowMs - this.#lookedAtMs < LOOK_MS) return false;
    this.#lookedAtMs = nowMs;
    if (isAt(this.path, this.#identity)) return false;
    this.#state = "gone";
    return true;
  }

  /**
   * Goes on with a file that was moved: there cannot be a new one yet, and what is written
   * there is not lost. False if it was deleted.
   */
  stay(): boolean {
    if (this.#state !== "gone" || this.#file.statSync().nlink === 0) return false;
    this.#state = "used";
    return true;
  }

  /** A write has told that its handle is stale, as NFS does; false if it was opened just now. */
  becomeStale(): boolean {
    const wasUsed = this.#state === "used";
    this.#state = "stale";
    return wasUsed;
  }

  // -- Rotation --

  /** Before `count` more bytes are written: rotates if they would be too many for this file. */
  makeRoom(count: number): void {
    if (!this.#rotator || !this.#identity || this.#hasRoom(this.#rotator.sizeBytes, count)) return;
    const file = this.#rotator.rotate(this.path);
    if (file) this.#replace(file);
  }

  /** A new file has room for anything: one that is larger than the size has a file of its own. */
  #hasRoom(limitBytes: number, count: number): boolean {
    const roomBytes = limitBytes - count;
    if (this.#sizeBytes! <= roomBytes) return true;
    // It may have been truncated.
    this.#sizeBytes = sizeOf(this.#file)!;
    return this.#sizeBytes <= Math.max(0, roomBytes);
  }

  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]();
  }
}

// -- The file system --

function openLog(path: string, mayLook: boolean): Deno.FsFile {
  // A regular file does not block, and looking costs a third of the probe.
  const isRegular = mayLook && identityOf(() => Deno.statSync(path)) !== undefined;
  const probe = isRegular ? undefined : openUnblocked(path);
  try {
    return Deno.openSync(path, { append: true, create: true, mode: FILE_MODE });
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
    throw new Error(isSocket(path) ? "a socket" : "a FIFO that nobody reads");
  }
}

/** The system gives both the same error; only with the permission to read may one look. */
function isSocket(path: string): boolean {
  return mayRead(path) && Deno.statSync(path).isSocket === true;
}

/** Whether one may look at a path; nobody is asked for it. */
export function mayRead(path: string): boolean {
  return Deno.permissions.querySync({ name: "read", path }).state === "granted";
}

/** Asks for the end, which needs no permission; a FIFO or a terminal has none. */
function sizeOf(file: Deno.FsFile): number | undefined {
  try {
    return file.seekSync(0, Deno.SeekMode.End);
  } catch {
    return undefined;
  }
}

function lastByteOf(path: string): number | undefined {
  using file = Deno.openSync(path);
  file.seekSync(-1, Deno.SeekMode.End);
  const target = new Uint8Array(1);
  file.readSync(target);
  return target[0];
}

/** The identity of a regular file. */
function identityOf(look: () => Deno.FileInfo): Identity | undefined {
  try {
    const { isFile, dev, ino } = look();
    return isFile && ino !== null ? { device: dev, inode: ino } : undefined;
  } catch {
    return undefined;
  }
}

/** Whether that file is what a path leads to; what cannot be seen is taken to be there. */
function isAt(path: string, { device, inode }: Identity): boolean {
  try {
    const { dev, ino } = Deno.statSync(path);
    return dev === device && ino === inode;
  } catch (error) {
    return !MISSING.has(codeOf(error) ?? "") && !(error instanceof Deno.errors.NotFound);
  }
}

const MISSING = new Set(["ENOENT", "ENOTDIR", "ESTALE"]);
