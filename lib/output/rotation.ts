/**
 * Rotation: the file of the log gets the number 1, and the older ones move on.
 *
 * @module
 */

import type { DescriptorReserve } from "../descriptor_reserve.ts";
import { Failure, reasonOf } from "../errors.ts";
import type { Say } from "../messages.ts";

export const FILE_MODE = 0o640;

/** When a file is rotated, and how many old ones are kept. */
export interface Rotation {
  readonly sizeBytes: number;
  /** Each costs a rename a rotation: a thousand take about 18 ms, in which nobody is heard. */
  readonly keep: number;
}

/** Rotates files by one rule, and says once what is wrong until it works again. */
export class Rotator {
  readonly sizeBytes: number;
  readonly #keep: number;
  readonly #say: Say;
  readonly #reserve: DescriptorReserve;
  #canRotate = true;

  constructor({ sizeBytes, keep }: Rotation, say: Say, reserve: DescriptorReserve) {
    this.#reserve = reserve;
    this.sizeBytes = sizeBytes;
    this.#keep = keep;
    this.#say = say;
  }

  /** Begins a new file at `path`; `undefined` if the old one must go on. */
  rotate(path: string): Deno.FsFile | undefined {
    try {
      const file = this.#reserve.lend(() => rotate(path, this.#keep));
      this.#canRotate = true;
      return file;
    } catch (error) {
      if (this.#canRotate) this.#say(`earshot: Cannot rotate ${path}: ${reasonOf(error)}`);
      this.#canRotate = false;
    }
  }
}

/** Renaming needs permission to read and write; better asked for at the start than missed at night. */
export function demandRotation(path: string, keep: number): void {
  demandPermissions(path, [path, `${path}.new`, `${path}.1`, `${path}.${keep + 1}`]);
}

/** The same for whatever is written below a folder. */
export function demandRotationIn(folder: string, name: string): void {
  demandPermissions(name, [folder]);
}

function demandPermissions(name: string, paths: readonly string[]): void {
  for (const permission of ["read", "write"] as const) {
    for (const path of paths) {
      const { state } = Deno.permissions.requestSync({ name: permission, path });
      if (state === "granted") continue;
      throw new Failure(`Cannot rotate ${name}: run again with --allow-${permission}`);
    }
  }
}

/**
 * Begins a new file at `path` and keeps the old one as `.1`. All or nothing: what fails
 * is undone, and the old file can be written on.
 */
function rotate(path: string, keep: number): Deno.FsFile {
  const { moves, surplus } = rotationMoves(path, keep);
  const file = openNew(`${path}.new`);
  try {
    moveAll([...moves, { from: `${path}.new`, to: path }], surplus);
    return file;
  } catch (error) {
    file.close();
    discard(`${path}.new`);
    throw error;
  }
}

interface Move {
  readonly from: string;
  readonly to: string;
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
