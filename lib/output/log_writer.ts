/**
 * Writes the records of a round, while the next round is read if that pays.
 *
 * @module
 */

import { decode } from "../bytes.ts";
import type { Say } from "../messages.ts";
import type { Log } from "../records/log.ts";
import { BULK_BYTES, type Output, type Part } from "./output.ts";

/** A round is written early when it gets longer than this. */
const ROUND_BYTES = 1024 * 1024;
/** The same for what goes to stderr, which takes 64 KiB before anything of it is written. */
const ROUND_NOTICES_BYTES = 32 * 1024;
/** If more clients talk, only a real turn of the loop keeps them equal. */
const FEW_TALKERS = 100;
/** A round that has heard fewer has not used up a turn of the loop: nobody is kept waiting. */
const FEW_IN_ROUND = 32;
/** Whoever has talked in this span or the one before counts as talking. */
const TALK_SPAN_MS = 500;

/** Somebody who talks, and when that was last noticed, by `performance.now()`. */
export interface Talker {
  talkedAtMs: number;
}

/** Records that wait, and where they go. */
export interface Outlet {
  readonly records: {
    /** Bytes that wait to be taken. */
    readonly length: number;
    /** Gives the records away; they stay as they are until the next call. */
    takeParts(): readonly Part[];
  };
  readonly output: Pick<
    Output,
    "isFile" | "writeParts" | "writtenBytes" | "trouble" | "reopen" | "look" | "stop"
  >;
}

export interface LogWriterOptions {
  /** The same records, in one form or two. */
  readonly outlets: readonly Outlet[];
  /** What raw keeps out of the log, for the operator; `undefined` with other formats. */
  readonly notices: Log | undefined;
  /** Whether records need not be made, but are the bytes that came. */
  readonly isRaw: boolean;
  readonly say: Say;
  /** Settles when what was said is written, or nobody reads it. */
  readonly said: () => Promise<void>;
  /** An output has failed, perhaps in a write beside the loop. */
  readonly onFailure: () => void;
}

export class LogWriter {
  readonly #options: LogWriterOptions;
  readonly #talkers = new Talkers();
  /** How many were heard since the last write. */
  #heard = 0;
  /** The write of the last round beside the loop, until it is known to be done. */
  #writing: Promise<unknown> | undefined;
  /** Outlets that nobody will ever take anything from, and why. */
  readonly #failures = new Map<Outlet, unknown>();

  constructor(options: LogWriterOptions) {
    this.#options = options;
  }

  /** Begins a round at `nowMs`, a time of `performance.now()`. */
  beginRound(nowMs: number): void {
    this.#talkers.setTime(nowMs);
  }

  talked(talker: Talker): void {
    this.#heard++;
    this.#talkers.add(talker);
  }

  /** Whether the round should be written before more is heard. */
  get isLong(): boolean {
    return this.waitingBytes >= ROUND_BYTES || this.#noticeBytes >= ROUND_NOTICES_BYTES;
  }

  /** Bytes of records that wait to be written. */
  get waitingBytes(): number {
    let bytes = 0;
    for (const { records } of this.#options.outlets) bytes += records.length;
    return bytes;
  }

  get #noticeBytes(): number {
    return this.#options.notices?.length ?? 0;
  }

  /**
   * Writes the records of a round. With few talkers and much to write, the next
   * round is read meanwhile; with many, the wait is the turn of the loop that keeps
   * them equal. What is for an output that has failed is forgotten.
   *
   * @returns How long nobody was listened to, in milliseconds.
   */
  async flush(): Promise<number> {
    const { isRaw } = this.#options;
    const startedAtMs = performance.now();
    if (this.isLost) this.discard();
    if (this.#noticeBytes > 0) await this.#sayNotices();
    if (this.#writing) await this.settled();
    const bytes = this.waitingBytes;
    if (bytes > 0) {
      const isBulk = bytes >= BULK_BYTES;
      const { areFew } = this.#talkers;
      // Records of a flood are made while those before are written; raw bytes need not be made.
      const isInline = areFew ? isRaw || !isBulk : !isBulk && this.#heard < FEW_IN_ROUND;
      this.#heard = 0;
      const writing = this.#write(isInline);
      if (areFew && isBulk) this.#writing = writing;
      else await writing;
    }
    return performance.now() - startedAtMs;
  }

  #write(isInline: boolean): Promise<unknown> {
    const { outlets } = this.#options;
    if (outlets.length === 1) return this.#writeTo(outlets[0]!, isInline);
    return Promise.all(outlets.map((outlet) => this.#writeTo(outlet, isInline)));
  }

  /** An output that fails leaves the others their records. */
  async #writeTo(outlet: Outlet, isInline: boolean): Promise<void> {
    try {
      const parts = outlet.records.takeParts();
      if (!this.#failures.has(outlet)) await outlet.output.writeParts(parts, isInline);
    } catch (error) {
      this.#failures.set(outlet, error);
      this.#options.onFailure();
    }
  }

  async #sayNotices(): Promise<void> {
    const { notices, say, said } = this.#options;
    const isMuch = this.#noticeBytes >= ROUND_NOTICES_BYTES;
    for (const line of decode(notices!.take()).split("\n").slice(0, -1)) say(line);
    if (isMuch) await said();
  }

  /** Settles when all that was flushed is written, or {@linkcode failure} says why not. */
  async settled(): Promise<void> {
    await this.#writing;
    this.#writing = undefined;
  }

  /** Why the first output that has failed did so; `undefined` while all is well. */
  get failure(): unknown {
    return this.#failures.size > 0 ? [...this.#failures.values()][0] : undefined;
  }

  /** Whether no output is left that takes anything. */
  get isLost(): boolean {
    return this.#failures.size === this.#options.outlets.length;
  }

  /** Forgets what waits: it goes nowhere. */
  discard(): void {
    for (const { records } of this.#options.outlets) records.takeParts();
    this.#options.notices?.take();
  }

  // -- Outputs --

  /**
   * Opens files anew before the next record, and then calls `onReopened`, if all could be
   * opened; returns false if there is no file.
   */
  reopen(onReopened: () => void): boolean {
    for (const { output } of this.#options.outlets) output.reopen(onReopened);
    return this.isFile;
  }

  get isFile(): boolean {
    return this.#options.outlets.some(({ output }) => output.isFile);
  }

  /** Looks at `nowMs` (`performance.now()`) whether files are gone, and makes them anew. */
  look(nowMs: number): void {
    for (const { output } of this.#options.outlets) output.look(nowMs);
  }

  /** Begins the end: a write that makes no progress is given up from now on. */
  stop(): void {
    for (const { output } of this.#options.outlets) output.stop();
  }

  /** Why nothing gets through at this moment, or undefined if all is well. */
  trouble(nowMs: number): string | undefined {
    for (const { output } of this.#options.outlets) {
      const trouble = output.trouble(nowMs);
      if (trouble !== undefined) return trouble;
    }
  }

  /** What has got through so far. */
  get writtenBytes(): number {
    return this.#options.outlets.reduce((sum, { output }) => sum + output.writtenBytes, 0);
  }
}

/** Counts who talks. */
class Talkers {
  #nowMs = 0;
  #span = 0;
  #count = 0;
  #lastCount = 0;

  setTime(nowMs: number): void {
    this.#nowMs = nowMs;
    const span = Math.floor(nowMs / TALK_SPAN_MS);
    if (span === this.#span) return;
    this.#lastCount = span === this.#span + 1 ? this.#count : 0;
    this.#count = 0;
    this.#span = span;
  }

  add(talker: Talker): void {
    if (talker.talkedAtMs < this.#span * TALK_SPAN_MS) this.#count++;
    talker.talkedAtMs = this.#nowMs;
  }

  get areFew(): boolean {
    return Math.max(this.#count, this.#lastCount) <= FEW_TALKERS;
  }
}
