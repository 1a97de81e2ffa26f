/**
 * A pause after a failure that would only repeat itself, reported now and then.
 *
 * @module
 */

import type { Say } from "../messages.ts";
import type { Deadline } from "./deadlines.ts";

const REPORT_MS = 60_000;

/** Settings of a {@linkcode FaultPause}. */
export interface FaultPauseOptions {
  /** How long nothing is tried: a bare retry would spin. */
  readonly pauseMs: number;
  readonly say: Say;
  /** Called when the pause is over, by itself or by {@linkcode FaultPause.end}. */
  readonly onEnd: () => void;
}

/** Stands still after a failure, and says so at most once a minute. */
export class FaultPause implements Deadline {
  readonly #options: FaultPauseOptions;
  #reportedAtMs = -Infinity;
  #reason: string | undefined;
  #dueAtMs = Infinity;

  constructor(options: FaultPauseOptions) {
    this.#options = options;
  }

  /** Why it stands still; `undefined` if it does not. */
  get reason(): string | undefined {
    return this.#reason;
  }

  /** When the pause is over; `Infinity` if there is none. */
  get dueAtMs(): number {
    return this.#dueAtMs;
  }

  /** Stands still for this reason; the message says what that means for the operator. */
  begin(reason: string, message: string, nowMs = performance.now()): void {
    this.#reason = reason;
    this.#dueAtMs = nowMs + this.#options.pauseMs;
    if (nowMs - this.#reportedAtMs < REPORT_MS) return;
    this.#reportedAtMs = nowMs;
    this.#options.say(message);
  }

  onDue(nowMs: number): void {
    if (this.#dueAtMs <= nowMs) this.end();
  }

  /** Ends it early: what was missing may be there again. */
  end(): void {
    if (this.#reason === undefined) return;
    this.#reason = undefined;
    this.#dueAtMs = Infinity;
    this.#options.onEnd();
  }
}
