/**
 * Where records go: stdout, or files that are opened anew and rotated. It waits
 * while a disk is full, but gives up a pipe that is closed.
 *
 * @module
 */

import { LF } from "../bytes.ts";
import type { DescriptorReserve } from "../descriptor_reserve.ts";
import { codeOf, Failure, reasonOf } from "../errors.ts";
import type { Sink } from "../io.ts";
import type { Say } from "../messages.ts";
import { type LogFile, mayRead } from "./log_file.ts";
import { makeFolder, OpenFiles } from "./open_files.ts";
import type { PathTemplate } from "./path_template.ts";
import { demandRotation, demandRotationIn, type Rotation, Rotator } from "./rotation.ts";

/** How long write() waits before it tries again. */
const RETRY_MS = 1000;
/** The same when the server ends. */
const LAST_RETRY_MS = 100;
/** A reader that takes nothing for so long holds up the log, and the end of the server. */
const PATIENCE_MS = 1000;
const PATIENCE_TICKS = 10;

/** What a slow reader is offered at least: a page of a pipe. */
const MIN_OFFER_BYTES = 4 * 1024;
/** Below this size a write costs less than handing it to another thread. */
const BULK_BYTES = 64 * 1024;
/** A write that takes longer is followed by a smaller one. */
const SLOW_WRITE_MS = 100;

/** What belongs into one file of what is written at once. */
export interface Part {
  /** Undefined for the one place that there is. */
  readonly path?: string;
  /** Whole records. */
  readonly bytes: Uint8Array;
}

export interface OutputOptions {
  /** Where records go without `path`. */
  readonly stdout: Sink;
  /** A file, or with fields many. */
  readonly path: PathTemplate | undefined;
  readonly rotate: Rotation | undefined;
  readonly say: Say;
  readonly reserve: DescriptorReserve;
}

/** Takes the log, round by round. */
export class Output implements Disposable {
  readonly #say: Say;
  readonly #stdout: Sink;
  readonly #files: OpenFiles | undefined;
  /** Of the one file, if there is only one. */
  readonly #onlyPath: string | undefined;
  /** What is written to now, and its file if it is open. */
  #name = "stdout";
  #file: LogFile | undefined;
  /** What is offered to the sink at once. */
  #offerBytes = Infinity;
  #writtenBytes = 0;
  /** When the write under way was begun, Infinity if there is none. */
  #startedAtMs = Infinity;
  /** Why a write of the round under way has failed, if one has. */
  #fault: { readonly name: string; readonly reason: string } | undefined;
  #mustReopen = false;
  /** Whom to tell that it was done. */
  #onReopened: () => void = () => {};
  /** Whether it was said that an old file stays open. */
  #isAstray = false;
  #isWriting = false;
  #isStopping = false;
  /** Ends what write() waits for: with an error for good, without one a pause. */
  #interrupt: ((error?: Error) => void) | undefined;
  /** Runs while a write of a server that ends makes no progress. */
  #patience: ReturnType<typeof setTimeout> | undefined;

  /** @throws {Failure} If files cannot be opened, or may not be rotated. */
  constructor(options: OutputOptions) {
    const { stdout, path, say } = options;
    this.#say = say;
    this.#stdout = stdout;
    this.#files = path && openFiles(path, options);
    this.#onlyPath = path?.only;
    if (this.#onlyPath !== undefined) this.#openAtStart(this.#onlyPath);
  }

  #openAtStart(path: string): void {
    try {
      this.#file = this.#files!.at(path);
      this.#name = path;
    } catch (error) {
      throw new Failure(`Cannot write to ${path}: ${reasonOf(error)}`);
    }
  }

  get isFile(): boolean {
    return this.#files !== undefined;
  }

  /** What has got through so far. */
  get writtenBytes(): number {
    return this.#writtenBytes;
  }

  /**
   * Writes all of it, however long that takes; `isInline` if a hop to another thread
   * would not pay. Takes whole records, one write at a time: the file may change
   * between two writes.
   *
   * @throws {Failure} If nobody will ever take it.
   */
  write(bytes: Uint8Array, isInline: boolean): Promise<void> {
    return this.writeParts([{ bytes }], isInline);
  }

  /** The same for what belongs into several files. */
  async writeParts(parts: readonly Part[], isInline: boolean): Promise<void> {
    this.#isWriting = true;
    for (const [i, { path, bytes }] of parts.entries()) {
      // One hop to another thread is a turn of the loop; more of them would only cost.
      const isHopping = !isInline && (i === parts.length - 1 || bytes.length >= BULK_BYTES);
      await this.#writePart(path ?? this.#onlyPath, bytes, !isHopping);
    }
    this.#end();
  }

  async #writePart(path: string | undefined, bytes: Uint8Array, isInline: boolean): Promise<void> {
    this.#name = path ?? "stdout";
    this.#file = undefined;
    this.#restartPatience();
    for (let sent = 0; sent < bytes.length;) {
      try {
        if (path !== undefined) sent = this.#prepare(path, bytes, sent);
        const writing = this.#writeSome(bytes, sent, isInline);
        const count = typeof writing === "number" ? writing : await this.#interruptible(writing);
        this.#onProgress(count);
        sent += count;
      } catch (error) {
        if (codeOf(error) === "ESTALE" && this.#isStaleNow()) continue;
        this.#onFault(error);
        if (!this.#mustReopen) await this.#pauseWithin(bytes, sent);
        if (this.#mustReopen) sent = this.#reopenWithin(bytes, sent);
      }
    }
  }

  /** False if that was no cure a moment ago. */
  #isStaleNow(): boolean {
    return this.#file?.becomeStale() ?? false;
  }

  /** Has the file of a write ready; returns from where on it has to be written. */
  #prepare(path: string, bytes: Uint8Array, sent: number): number {
    this.#file = this.#files!.at(path);
    if (this.#file.isGone(performance.now())) sent = this.#renewWithin(this.#file, bytes, sent);
    if (sent === 0) this.#file.makeRoom(bytes.length);
    return sent;
  }

  #end(): void {
    this.#isWriting = false;
    if (this.#isStopping) clearTimeout(this.#patience);
    if (this.#fault !== undefined) this.#recover(this.#fault.name);
    if (this.#mustReopen) this.#reopenNow();
    if (!this.#files) this.#stdout.endRound?.();
  }

  /** All is written: a little room, such as a torn record leaves, is no end of a full disk. */
  #recover(name: string): void {
    this.#fault = undefined;
    this.#say(`earshot: ${name} works again`);
  }

  #writeSome(bytes: Uint8Array, sent: number, isInline: boolean): number | Promise<number> {
    const offer = bytes.subarray(sent, Math.min(sent + this.#offerBytes, bytes.length));
    const sink = this.#file ?? this.#stdout;
    this.#startedAtMs = performance.now();
    // A sink that is slow would stop the loop.
    return isInline && sink.writeInline && this.#offerBytes >= bytes.length
      ? sink.writeInline(offer)
      : sink.write(offer);
  }

  /** Waits for `work` or an interrupt. Not by a race: that would leave reactions behind. */
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
    if (isBroken(error)) throw new Failure(message);
    if (this.#fault === undefined) this.#say(`earshot: ${message}; clients wait`);
    this.#fault = { name: this.#name, reason: reasonOf(error) };
  }

  /** A file that is given up ends with a whole record. */
  async #pauseWithin(bytes: Uint8Array, sent: number): Promise<void> {
    try {
      await this.#pause();
    } catch (error) {
      this.#file?.cut(tornBytesOf(bytes, sent));
      throw error;
    }
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
    if (this.#fault) return `Cannot write to ${this.#fault.name}: ${this.#fault.reason}`;
    const tookMs = nowMs - this.#startedAtMs;
    if (tookMs < PATIENCE_MS) return undefined;
    return `No write to ${this.#name} has finished for ${Math.floor(tookMs / 1000)} s`;
  }

  // -- Files --

  /**
   * Opens files anew before the next record, and then calls `onReopened`, if all could be
   * opened; stdout stays what it is.
   */
  reopen(onReopened: () => void = () => {}): void {
    if (!this.#files) return;
    this.#mustReopen = true;
    this.#onReopened = onReopened;
    if (this.#isWriting) this.#interrupt?.();
    else this.#reopenNow();
  }

  /** Returns how many bytes of a torn record were taken out of the file that is written to. */
  #reopenNow(tornBytes = 0): number {
    this.#mustReopen = false;
    let cutBytes = 0;
    let isWell = true;
    for (const file of [...this.#files!]) {
      try {
        cutBytes += this.#files!.reopen(file, file === this.#file ? tornBytes : 0);
      } catch (error) {
        isWell = false;
        this.#sayStays(file, error);
      }
    }
    if (isWell) this.#onReopened();
    return cutBytes;
  }

  /** Opens the file anew within a write that failed: the new one begins with a whole record. */
  #reopenWithin(bytes: Uint8Array, sent: number): number {
    const tornBytes = tornBytesOf(bytes, sent);
    const cutBytes = this.#reopenNow(tornBytes);
    if (cutBytes === tornBytes) this.#file?.makeRoom(bytes.length - sent + cutBytes);
    return sent - cutBytes;
  }

  /** The same for a file that is gone; throws if there cannot be a new one yet. */
  #renewWithin(file: LogFile, bytes: Uint8Array, sent: number): number {
    return sent - this.#renew(file, tornBytesOf(bytes, sent));
  }

  #renew(file: LogFile, tornBytes = 0): number {
    try {
      const cutBytes = this.#files!.reopen(file, tornBytes);
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

  /** Looks whether files are gone, and makes them anew; every second is often enough. */
  look(nowMs: number): void {
    // A write looks by itself.
    if (!this.#files || this.#isWriting) return;
    try {
      for (const file of [...this.#files].filter((file) => file.isGone(nowMs))) {
        this.#name = file.path;
        this.#renew(file);
        if (this.#fault) this.#recover(this.#fault.name);
      }
    } catch (error) {
      this.#onFault(error);
    }
  }

  // -- End --

  /** Begins the end: from now on a write that makes no progress for a second is given up. */
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
    this.#waitOn(PATIENCE_TICKS);
  }

  /** Waits in ticks, so that a stall of this process does not count as a second of its reader. */
  #waitOn(ticks: number): void {
    const next = ticks > 1 ? () => this.#waitOn(ticks - 1) : () => this.#giveUp();
    this.#patience = setTimeout(next, PATIENCE_MS / PATIENCE_TICKS);
  }

  #giveUp(): void {
    const reason = this.#fault?.reason ?? "nobody takes it";
    const message = `Cannot write to ${this.#name}: ${reason}; what was not written is lost`;
    this.#interrupt?.(new Failure(message));
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#patience);
    this.#files?.[Symbol.dispose]();
  }
}

/** How much of a record that is not whole is at the end of what was sent. */
function tornBytesOf(bytes: Uint8Array, sent: number): number {
  return sent - bytes.subarray(0, sent).lastIndexOf(LF) - 1;
}

/** Makes ready what `path` names; asks for the permissions that will be needed. */
function openFiles(
  path: PathTemplate,
  { rotate: rotation, say, reserve }: OutputOptions,
): OpenFiles {
  const { only, folder, source } = path;
  if (only === undefined) prepareFolder(folder, source);
  if (rotation && only === undefined) demandRotationIn(folder, source);
  else if (rotation && only !== undefined) demandRotation(only, rotation.keep);
  return new OpenFiles({
    rotator: rotation && new Rotator(rotation, say, reserve),
    reserve,
    mayLook: mayRead(only ?? folder),
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

/** Whether nobody will ever read what is written: a closed pipe or descriptor. */
function isBroken(error: unknown): boolean {
  return error instanceof Deno.errors.BrokenPipe || error instanceof Deno.errors.BadResource ||
    ["EPIPE", "EBADF"].includes(codeOf(error) ?? "");
}
