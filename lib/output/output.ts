/**
 * Writes all of the log, to stdout or to files, however long that takes. It waits
 * while a disk is full, but gives up a pipe that is closed.
 *
 * @module
 */

import type { DescriptorReserve } from "../descriptor_reserve.ts";
import { codeOf, Failure, reasonOf } from "../errors.ts";
import type { Sink } from "../io.ts";
import type { Say } from "../messages.ts";
import { InterruptibleWait } from "./interruptible_wait.ts";
import { LogFiles } from "./log_files.ts";
import type { PathTemplate } from "./path_template.ts";
import type { Rotation } from "./rotation.ts";
import { Watchdog } from "./watchdog.ts";

/** How long write() waits before it tries again. */
const RETRY_MS = 1000;
/** The same when the server ends. */
const LAST_RETRY_MS = 100;
/** A reader that takes nothing for so long holds up the log, and the end of the server. */
const PATIENCE_MS = 1000;

/** What a slow reader is offered at least: a page of a pipe. */
const MIN_OFFER_BYTES = 4 * 1024;
/** Below this size a write costs less than handing it to another thread. */
export const BULK_BYTES = 64 * 1024;
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
  /** Whether all that is written are lines; raw bytes are none. */
  readonly hasLines: boolean;
  readonly say: Say;
  readonly reserve: DescriptorReserve;
}

/** Takes the log, round by round. */
export class Output implements Disposable {
  readonly #say: Say;
  readonly #stdout: Sink;
  readonly #files: LogFiles | undefined;
  /** Runs while a write of a server that ends makes no progress. */
  readonly #watchdog = new Watchdog(PATIENCE_MS, () => this.#giveUp());
  readonly #wait = new InterruptibleWait();
  /** What is written to now. */
  #name = "stdout";
  /** What is offered to the sink at once. */
  #offerBytes = Infinity;
  #writtenBytes = 0;
  /** When the write under way was begun, Infinity if there is none. */
  #startedAtMs = Infinity;
  /** Why a write of the round under way has failed, if one has. */
  #fault: { readonly name: string; readonly reason: string } | undefined;
  #isWriting = false;
  #isStopping = false;

  /** @throws {Failure} If files cannot be opened, or may not be rotated. */
  constructor(options: OutputOptions) {
    const { stdout, path, say } = options;
    this.#say = say;
    this.#stdout = stdout;
    this.#files = path && new LogFiles({ ...options, path });
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
    for (const part of parts) {
      const { path, bytes } = part;
      // One hop to another thread is a turn of the loop; more of them would only cost.
      const isHopping = !isInline && (part === parts.at(-1) || bytes.length >= BULK_BYTES);
      await this.#writePart(path ?? this.#files?.onlyPath, bytes, !isHopping);
    }
    this.#end();
  }

  async #writePart(path: string | undefined, bytes: Uint8Array, isInline: boolean): Promise<void> {
    const files = this.#files;
    this.#name = path ?? "stdout";
    this.#restartWatchdog();
    for (let sent = 0; sent < bytes.length;) {
      try {
        if (path !== undefined) sent = files!.prepare(path, bytes, sent);
        const writing = this.#writeSome(bytes, sent, isInline);
        const count = typeof writing === "number" ? writing : await this.#wait.until(writing);
        this.#onProgress(count);
        sent += count;
      } catch (error) {
        if (files?.noticeStale(error)) continue;
        this.#onFault(error);
        if (!files?.isReopenRequested) await this.#pauseWithin(bytes, sent);
        if (files?.isReopenRequested) sent = files.reopenWithin(bytes, sent);
      }
    }
  }

  #end(): void {
    this.#isWriting = false;
    if (this.#isStopping) this.#watchdog.stop();
    if (this.#fault !== undefined) this.#recover(this.#fault.name);
    if (this.#files?.isReopenRequested) this.#files.reopen();
    if (!this.#files) this.#stdout.endRound?.();
  }

  /** All is written: a little room, such as a torn record leaves, is no end of a full disk. */
  #recover(name: string): void {
    this.#fault = undefined;
    this.#say(`earshot: ${name} works again`);
  }

  #writeSome(bytes: Uint8Array, sent: number, isInline: boolean): number | Promise<number> {
    const offer = bytes.subarray(sent, Math.min(sent + this.#offerBytes, bytes.length));
    const sink = this.#files?.current ?? this.#stdout;
    this.#startedAtMs = performance.now();
    // A sink that is slow would stop the loop.
    return isInline && sink.writeInline && this.#offerBytes >= bytes.length
      ? sink.writeInline(offer)
      : sink.write(offer);
  }

  #onProgress(count: number): void {
    const tookMs = performance.now() - this.#startedAtMs;
    this.#startedAtMs = Infinity;
    this.#writtenBytes += count;
    this.#files?.current?.grow(count);
    if (!this.#isStopping) this.#adaptOffer(count, tookMs);
    this.#restartWatchdog();
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
      await this.#wait.pause(this.#isStopping ? LAST_RETRY_MS : RETRY_MS);
    } catch (error) {
      this.#files?.cut(bytes, sent);
      throw error;
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
    this.#files.requestReopen(onReopened);
    if (this.#isWriting) this.#wait.interrupt();
    else this.#files.reopen();
  }

  /** Looks whether files are gone, and makes them anew; every second is often enough. */
  look(nowMs: number): void {
    // A write looks by itself.
    if (!this.#files || this.#isWriting) return;
    try {
      for (const file of this.#files.gone(nowMs)) {
        this.#name = file.path;
        this.#files.renew(file);
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
    this.#restartWatchdog();
    this.#wait.interrupt();
  }

  #restartWatchdog(): void {
    if (this.#isStopping && this.#isWriting) this.#watchdog.restart();
  }

  #giveUp(): void {
    const reason = this.#fault?.reason ?? "nobody takes it";
    const message = `Cannot write to ${this.#name}: ${reason}; what was not written is lost`;
    this.#wait.interrupt(new Failure(message));
  }

  [Symbol.dispose](): void {
    this.#watchdog.stop();
    this.#files?.[Symbol.dispose]();
  }
}

/** Whether nobody will ever read what is written: a closed pipe or descriptor. */
function isBroken(error: unknown): boolean {
  return error instanceof Deno.errors.BrokenPipe || error instanceof Deno.errors.BadResource ||
    ["EPIPE", "EBADF"].includes(codeOf(error) ?? "");
}
