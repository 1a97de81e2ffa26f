/**
 * The file of the log: appended to, opened anew, rotated.
 *
 * @module
 */

import { closeSync as closeFd, constants, openSync as openFd } from "node:fs";
import { codeOf, Failure, reasonOf } from "../errors.ts";
import { PIPE_BYTES, type Sink } from "../io.ts";
import type { Say } from "../messages.ts";

const FILE_MODE = 0o640;

/** When a file is rotated, and how many old ones are kept. */
export interface Rotation {
  readonly sizeBytes: number;
  readonly keep: number;
}

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
      this.#rotate();
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

  /**
   * Begins a new file and keeps the old one as `.1`. All or nothing: what fails is
   * undone, and the old file is written on.
   */
  #rotate(): void {
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
