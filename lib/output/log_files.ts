/**
 * The files that the log is written to, made ready for each write: opened anew when that is
 * asked for, made anew when they are gone. A record that a fault has torn never stays in two.
 *
 * @module
 */

import { LF } from "../bytes.ts";
import type { DescriptorReserve } from "../descriptor_reserve.ts";
import { codeOf, Failure, reasonOf } from "../errors.ts";
import type { Say } from "../messages.ts";
import { type LogFile, mayRead } from "./log_file.ts";
import { makeFolder, OpenFiles } from "./open_files.ts";
import type { PathTemplate } from "./path_template.ts";
import { demandRotation, demandRotationIn, type Rotation, Rotator } from "./rotation.ts";

export interface LogFilesOptions {
  /** A file, or with fields many. */
  readonly path: PathTemplate;
  readonly rotate: Rotation | undefined;
  /** Whether all that is written are lines; raw bytes are none. */
  readonly hasLines: boolean;
  readonly say: Say;
  readonly reserve: DescriptorReserve;
}

export class LogFiles implements Disposable {
  /** Of the file, if there is only one. */
  readonly onlyPath: string | undefined;
  readonly #say: Say;
  readonly #open: OpenFiles;
  /** The one that is written to, if it is open. */
  #current: LogFile | undefined;
  /** Whom to tell when they are opened anew, as long as that is to be done. */
  #onReopened: (() => void) | undefined;
  /** Whether it was said that an old file stays open. */
  #isAstray = false;

  /** @throws {Failure} If files cannot be opened, or may not be rotated. */
  constructor(options: LogFilesOptions) {
    this.#say = options.say;
    this.#open = openFiles(options);
    this.onlyPath = options.path.only;
    if (this.onlyPath !== undefined) this.#openAtStart(this.onlyPath);
  }

  #openAtStart(path: string): void {
    try {
      this.#open.at(path);
    } catch (error) {
      throw new Failure(`Cannot write to ${path}: ${reasonOf(error)}`);
    }
  }

  // -- Within a write --

  /** The one that is written to, if it is open. */
  get current(): LogFile | undefined {
    return this.#current;
  }

  /**
   * Has the file at `path` ready for `bytes`, the first `sent` of which were written; returns
   * from where on they have to be written now. Throws if there cannot be such a file yet.
   */
  prepare(path: string, bytes: Uint8Array, sent: number): number {
    this.#current = undefined;
    const file = this.#current = this.#open.at(path);
    const from = file.isGone(performance.now())
      ? sent - this.renew(file, tornBytesOf(bytes, sent))
      : sent;
    if (from === 0) file.makeRoom(bytes.length);
    return from;
  }

  /** Whether a write has failed because the file has to be made anew, as NFS tells. */
  noticeStale(error: unknown): boolean {
    return codeOf(error) === "ESTALE" && (this.#current?.becomeStale() ?? false);
  }

  /** Gives up a write: the file ends with a whole record. */
  cut(bytes: Uint8Array, sent: number): void {
    this.#current?.cut(tornBytesOf(bytes, sent));
  }

  // -- Opening anew --

  /** Has files opened anew by the next {@linkcode reopen}. */
  requestReopen(onReopened: () => void): void {
    this.#onReopened = onReopened;
  }

  get isReopenRequested(): boolean {
    return this.#onReopened !== undefined;
  }

  /** Opens files anew; returns how many bytes of a torn record were taken out of the current one. */
  reopen(tornBytes = 0): number {
    const onReopened = this.#onReopened;
    this.#onReopened = undefined;
    let cutBytes = 0;
    let isWell = true;
    for (const file of [...this.#open]) {
      try {
        cutBytes += this.#reopen(file, file === this.#current ? tornBytes : 0);
      } catch (error) {
        isWell = false;
        this.#sayStays(file, error);
      }
    }
    if (isWell) onReopened?.();
    return cutBytes;
  }

  /** One that was closed meanwhile, to free its descriptor, is opened by its next write. */
  #reopen(file: LogFile, tornBytes: number): number {
    if (!this.#open.has(file)) return 0;
    return this.#open.reopen(file, tornBytes, [file, this.#current]);
  }

  /** The same within a write that failed: the new file begins with a whole record. */
  reopenWithin(bytes: Uint8Array, sent: number): number {
    const tornBytes = tornBytesOf(bytes, sent);
    const cutBytes = this.reopen(tornBytes);
    if (cutBytes === tornBytes) this.#current?.makeRoom(bytes.length - sent + cutBytes);
    return sent - cutBytes;
  }

  // -- Making anew --

  /** Those that are gone, at `nowMs` of `performance.now()`. */
  gone(nowMs: number): LogFile[] {
    return [...this.#open].filter((file) => file.isGone(nowMs));
  }

  /**
   * Makes a file anew that is gone; returns how many bytes of a torn record were taken out of
   * the old one. Throws if there cannot be a new one yet, and the old one was deleted.
   */
  renew(file: LogFile, tornBytes = 0): number {
    if (!this.#open.has(file)) return 0;
    try {
      const cutBytes = this.#reopen(file, tornBytes);
      this.#say(`earshot: ${file.path} was gone and is made anew`);
      this.#isAstray = false;
      return cutBytes;
    } catch (error) {
      if (!file.stay()) throw error;
      if (!this.#isAstray) this.#sayStays(file, error);
      return 0;
    }
  }

  #sayStays({ path }: LogFile, error: unknown): void {
    this.#say(`earshot: Cannot write to ${path}: ${reasonOf(error)}; the old file stays open`);
    this.#isAstray = true;
  }

  [Symbol.dispose](): void {
    this.#open[Symbol.dispose]();
  }
}

/** How much of a record that is not whole is at the end of what was sent. */
function tornBytesOf(bytes: Uint8Array, sent: number): number {
  return sent - bytes.subarray(0, sent).lastIndexOf(LF) - 1;
}

/** Makes ready what `path` names; asks for the permissions that will be needed. */
function openFiles(options: LogFilesOptions): OpenFiles {
  const { path, rotate: rotation, hasLines, say, reserve } = options;
  const { only, folder, source } = path;
  if (only === undefined) prepareFolder(folder, source);
  if (rotation && only === undefined) demandRotationIn(folder, source);
  else if (rotation && only !== undefined) demandRotation(only, rotation.keep);
  return new OpenFiles({
    rotator: rotation && new Rotator(rotation, say, reserve),
    reserve,
    mayLook: mayRead(only ?? folder),
    hasLines,
    makesFolders: only === undefined,
  });
}

/** What lies below it is written later, when nobody can be asked any more. */
function prepareFolder(folder: string, source: string): void {
  const { state } = Deno.permissions.requestSync({ name: "write", path: folder });
  if (state !== "granted") {
    throw new Failure(`Cannot write to ${source}: run again with --allow-write`);
  }
  try {
    makeFolder(folder);
  } catch (error) {
    throw new Failure(`Cannot write to ${source}: ${reasonOf(error)}`);
  }
}
