/**
 * Where records go: stdout, or a file that is opened anew and rotated. It waits
 * while a disk is full, but gives up a pipe that is closed.
 *
 * @module
 */

import { LF } from "../bytes.ts";
import { codeOf, Failure, reasonOf } from "../errors.ts";
import type { Sink } from "../io.ts";
import type { Say } from "../messages.ts";
import { LogFile } from "./log_file.ts";
import type { Rotation } from "./rotation.ts";

/** How long write() waits before it tries again. */
const RETRY_MS = 1000;
/** The same when the server ends. */
const LAST_RETRY_MS = 100;
/** A reader that takes nothing for so long holds up the log, and the end of the server. */
const PATIENCE_MS = 1000;
const PATIENCE_TICKS = 10;

/** What a slow reader is offered at least: a page of a pipe. */
const MIN_OFFER_BYTES = 4 * 1024;
/** A write that takes longer is followed by a smaller one. */
const SLOW_WRITE_MS = 100;

export interface OutputOptions {
  /** Where records go without `path`. */
  readonly stdout: Sink;
  readonly path: string | undefined;
  readonly rotate: Rotation | undefined;
  readonly say: Say;
}

/** Takes the log, round by round. */
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
  /** Why the write under way has failed, if it has. */
  #fault: string | undefined;
  #mustReopen = false;
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
    this.#file = path === undefined ? undefined : new LogFile(path, rotate, say);
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
   * Writes all of it, however long that takes; `isInline` if a hop to another thread
   * would not pay. Takes whole records, one write at a time: the file may change
   * between two writes.
   *
   * @throws {Failure} If nobody will ever take it.
   */
  async write(bytes: Uint8Array, isInline: boolean): Promise<void> {
    this.#begin(bytes.length);
    for (let sent = 0; sent < bytes.length;) {
      try {
        const writing = this.#writeSome(bytes, sent, isInline);
        const count = typeof writing === "number" ? writing : await this.#interruptible(writing);
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
    if (count > 0) this.#file?.makeRoom(count);
  }

  #end(): void {
    this.#isWriting = false;
    if (this.#isStopping) clearTimeout(this.#patience);
    if (this.#fault !== undefined) this.#recover();
    if (this.#mustReopen) this.#reopenNow();
    this.#sink.endRound?.();
  }

  /** All is written: a little room, such as a torn record leaves, is no end of a full disk. */
  #recover(): void {
    this.#fault = undefined;
    this.#say(`earshot: ${this.#name} works again`);
  }

  #writeSome(bytes: Uint8Array, sent: number, isInline: boolean): number | Promise<number> {
    const offer = bytes.subarray(sent, Math.min(sent + this.#offerBytes, bytes.length));
    this.#startedAtMs = performance.now();
    // A sink that is slow would stop the loop.
    return isInline && this.#sink.writeInline && this.#offerBytes >= bytes.length
      ? this.#sink.writeInline(offer)
      : this.#sink.write(offer);
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
    return this.#file!.reopen(tornBytes);
  }

  /** Opens the file anew within a write that failed: the new one begins with a whole record. */
  #reopenWithin(bytes: Uint8Array, sent: number): number {
    const start = bytes.subarray(0, sent).lastIndexOf(LF) + 1;
    const from = sent - this.#reopenNow(sent - start);
    if (from === start) this.#file!.makeRoom(bytes.length - from);
    return from;
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
    const reason = this.#fault ?? "nobody takes it";
    const message = `Cannot write to ${this.#name}: ${reason}; what was not written is lost`;
    this.#interrupt?.(new Failure(message));
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#patience);
    this.#file?.[Symbol.dispose]();
  }
}

/** Whether nobody will ever read what is written: a closed pipe or descriptor. */
function isGone(error: unknown): boolean {
  return error instanceof Deno.errors.BrokenPipe || error instanceof Deno.errors.BadResource ||
    ["EPIPE", "EBADF"].includes(codeOf(error) ?? "");
}
