/**
 * When the server ends by itself: what was asked for has been seen, or enough, or the
 * time is up.
 *
 * @module
 */

import type { Deadline } from "../loop/deadlines.ts";
import { Candidate, type Pattern } from "../patterns.ts";

export interface EndingOptions {
  /** All of these are to be seen, each in some record of what was received. */
  readonly until: readonly Pattern[];
  /** So many whole records are enough; `undefined` for any number. */
  readonly count: number | undefined;
  /** How long to wait; `undefined` for ever. */
  readonly limitMs: number | undefined;
}

/** Looks at what is recorded. Once it is reached, nothing more of what is received is recorded. */
export class Ending implements Deadline {
  readonly #limitMs: number;
  readonly #startMs: number;
  /** Whether it depends on what is recorded. */
  readonly isWatching: boolean;
  #missing: readonly Pattern[];
  #left: number;
  #isReached = false;
  #isTimeUp = false;

  /** `nowMs` is `performance.now()`, here and in {@linkcode sentence}. */
  constructor({ until, count, limitMs }: EndingOptions, nowMs: number) {
    this.#missing = until;
    this.#left = count ?? Infinity;
    this.#limitMs = limitMs ?? Infinity;
    this.#startMs = nowMs;
    this.isWatching = until.length > 0 || count !== undefined;
  }

  /** Whether the last record was the last. */
  get isReached(): boolean {
    return this.#isReached;
  }

  /** Whether the time is up: what has arrived by then is still recorded. */
  get isTimeUp(): boolean {
    return this.#isTimeUp;
  }

  /** Patterns that were not seen. */
  get missing(): readonly Pattern[] {
    return this.#missing;
  }

  /** What `bytes[start..end)` was recorded; `isWhole` is false if no end came here. */
  received(bytes: Uint8Array, start: number, end: number, isWhole: boolean): void {
    if (this.#missing.length > 0) this.#look(new Candidate(bytes, start, end));
    if (isWhole && --this.#left === 0) this.#isReached = true;
  }

  #look(record: Candidate): void {
    this.#missing = this.#missing.filter((pattern) => !pattern.match(record));
    if (this.#missing.length === 0) this.#isReached = true;
  }

  get dueAtMs(): number {
    return this.#isTimeUp ? Infinity : this.#startMs + this.#limitMs;
  }

  onDue(): void {
    this.#isTimeUp = true;
  }

  /** What was not seen, and in what; `undefined` if nothing is missing. */
  sentence(heard: string, nowMs: number): string | undefined {
    if (this.#missing.length === 0) return undefined;
    const seconds = this.#isTimeUp
      ? `${this.#limitMs / 1000}`
      : ((nowMs - this.#startMs) / 1000).toFixed(1);
    const patterns = this.#missing.map(({ source }) => `"${source}"`).join(", ");
    return `not seen in ${seconds} s: ${patterns} (${heard})`;
  }
}
