/**
 * Deadlines, and who has been silent for too long.
 *
 * @module
 */

/** Work in steps: between two of them the log may be written, or the rest put off. */
export type Steps = Generator<void, void, void>;

/** Something that has to be done at a time. Times are those of `performance.now()`. */
export interface Deadline {
  /** When it has to be done; `Infinity` for never. */
  readonly dueAtMs: number;
  /**
   * Does what was due at `nowMs`. That is the time before the last poll: what was sent while the
   * process stood still has been read since.
   */
  onDue(nowMs: number): Steps | void;
}

/** Several as one: when the first of them is due, all that are due are done. */
export class Deadlines implements Deadline {
  readonly #deadlines: readonly Deadline[];

  constructor(deadlines: readonly Deadline[]) {
    this.#deadlines = deadlines;
  }

  get dueAtMs(): number {
    let dueAtMs = Infinity;
    for (const deadline of this.#deadlines) dueAtMs = Math.min(dueAtMs, deadline.dueAtMs);
    return dueAtMs;
  }

  *onDue(nowMs: number): Steps {
    for (const deadline of this.#deadlines) {
      if (deadline.dueAtMs <= nowMs) yield* deadline.onDue(nowMs) ?? [];
    }
  }
}

/** Whoever was heard, in the order of hearing, so that only the silent ones are looked at. */
export class IdleQueue<T> implements Deadline {
  readonly #limitMs: number;
  readonly #onSilent: (one: T) => void;
  /** When each was heard, by a clock that stands still while nobody is listened to. */
  readonly #heardAtMs = new Map<T, number>();
  #lostMs = 0;

  /**
   * @param limitMs How long one may be silent; 0 for any time.
   * @param onSilent Takes one that was silent for so long; it is forgotten until it is heard again.
   */
  constructor(limitMs: number, onSilent: (one: T) => void) {
    this.#limitMs = limitMs;
    this.#onSilent = onSilent;
  }

  /** One that is new counts as heard when it comes. */
  heard(one: T, nowMs: number): void {
    if (this.#limitMs === 0) return;
    // A key that is set again would keep its old place in the order.
    this.#heardAtMs.delete(one);
    this.#heardAtMs.set(one, nowMs - this.#lostMs);
  }

  /** Forgets one that may be silent from now on. */
  delete(one: T): void {
    this.#heardAtMs.delete(one);
  }

  /** Time in which nobody was listened to does not count as silence. */
  lost(ms: number): void {
    this.#lostMs += ms;
  }

  get dueAtMs(): number {
    for (const heardAtMs of this.#heardAtMs.values()) return this.#dueAtMs(heardAtMs);
    return Infinity;
  }

  *onDue(nowMs: number): Steps {
    for (const [one, heardAtMs] of this.#heardAtMs) {
      if (this.#dueAtMs(heardAtMs) > nowMs) return;
      this.#heardAtMs.delete(one);
      this.#onSilent(one);
      yield;
    }
  }

  #dueAtMs(heardAtMs: number): number {
    return heardAtMs + this.#lostMs + this.#limitMs;
  }
}

/** Does something again and again. */
export class Interval implements Deadline {
  readonly #intervalMs: number;
  readonly #action: () => void;
  dueAtMs: number;

  /** `intervalMs` is 0 for never. */
  constructor(intervalMs: number, nowMs: number, action: () => void) {
    this.#intervalMs = intervalMs || Infinity;
    this.#action = action;
    this.dueAtMs = nowMs + this.#intervalMs;
  }

  onDue(nowMs: number): void {
    this.dueAtMs = nowMs + this.#intervalMs;
    this.#action();
  }
}
