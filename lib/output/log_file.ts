/**
 * The file of the log: appended to, opened anew, rotated.
 *
 * @module
 */

import { closeSync as closeFd, constants, openSync as openFd } from "node:fs";
import { codeOf, Failure, reasonOf } from "../errors.ts";
import { PIPE_BYTES, type Sink } from "../io.ts";
import type { Say } from "../messages.ts";
import { demandRotation, FILE_MODE, rotate, type Rotation } from "./rotation.ts";

/** A file that is appended to, opened anew, and rotated if it is a regular one. */
export class LogFile implements Sink, Disposable {
  readonly #path: string;
  readonly #rotation: Rotation | undefined;
  readonly #say: Say;
  #file: Deno.FsFile;
  /** Undefined where a position means nothing, such as in a FIFO. */
  #sizeBytes: number | undefined;
  #isRotated: boolean;
  /** Whether the last rotation worked: what is wrong with it is said once. */
  #canRotate = true;

  /** @throws {Failure} If it cannot be opened, or may not be rotated. */
  constructor(path: string, rotation: Rotation | undefined, say: Say) {
    if (rotation) demandRotation(path, rotation.keep);
    this.#path = path;
    this.#rotation = rotation;
    this.#say = say;
    this.#file = openLog(path);
    this.#sizeBytes = sizeOf(this.#file);
    this.#isRotated = rotation !== undefined && this.#file.statSync().isFile;
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

  grow(count: number): void {
    if (this.#sizeBytes !== undefined) this.#sizeBytes += count;
  }

  /**
   * Opens the path anew; if that fails, the old file stays. Returns how many of the
   * last `tornBytes` were taken out of the old file.
   */
  reopen(tornBytes: number): number {
    try {
      const file = openLog(this.#path);
      const cutBytes = this.#cut(tornBytes);
      this.#replace(file);
      return cutBytes;
    } catch (error) {
      this.#say(`earshot: ${(error as Error).message}; the old file stays open`);
      return 0;
    }
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

  /** Before `count` more bytes are written: rotates if they would be too many for this file. */
  makeRoom(count: number): void {
    if (!this.#isRotated || this.#hasRoom(count)) return;
    try {
      this.#replace(rotate(this.#path, this.#rotation!.keep));
      this.#canRotate = true;
    } catch (error) {
      if (this.#canRotate) this.#say(`earshot: Cannot rotate ${this.#path}: ${reasonOf(error)}`);
      this.#canRotate = false;
    }
  }

  /** A new file has room for anything: one that is larger than the size has a file of its own. */
  #hasRoom(count: number): boolean {
    const roomBytes = this.#rotation!.sizeBytes - count;
    if (this.#sizeBytes! <= roomBytes) return true;
    // It may have been truncated.
    this.#sizeBytes = sizeOf(this.#file)!;
    return this.#sizeBytes <= Math.max(0, roomBytes);
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
