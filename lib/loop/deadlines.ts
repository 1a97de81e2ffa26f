/**
 * Deadlines, and who has been silent for too long.
 *
 * @module
 */

/** Something that has to be done at a time. Times are those of `performance.now()`. */
export interface Deadline {
  /** When it has to be done; `Infinity` for never. */
  readonly dueAtMs: number;
  /**
   * Does what was due at `nowMs`, or some of it. That is the time before the last poll: what was
   * sent while the process stood still has been heard since.
   */
  onDue(nowMs: number): void;
}

/** Whoever was heard, in the order of hearing, so that only the silent ones are looked at. */
export class IdleQueue<T> implements Deadline {
  readonly #limitMs: number;
  readonly #onSilent: (one: T) => void;
  readonly #isEnough: () => boolean;
  /** When each was heard, by a clock that stands still while nobody is listened to. */
  readonly #heardAtMs = new Map<T, number>();
  #lostMs = 0;

  /**
   * @param limitMs How long one may be silent; 0 for any time.
   * @param onSilent Takes one that was silent for so long; it is forgotten until it is heard again.
   * @param isEnough Whether the rest should wait: the silent ones may leave much to be logged.
   */
  constructor(limitMs: number, onSilent: (one: T) => void, isEnough = () => false) {
    this.#limitMs = limitMs;
    this.#onSilent = onSilent;
    this.#isEnough = isEnough;
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

  /** Time in which nobody was listened to does not count as idleQueue. */
  lost(ms: number): void {
    this.#lostMs += ms;
  }

  get dueAtMs(): number {
    for (const heardAtMs of this.#heardAtMs.values()) return this.#dueAtMs(heardAtMs);
    return Infinity;
  }

  onDue(nowMs: number): void {
    for (const [one, heardAtMs] of this.#heardAtMs) {
      if (this.#dueAtMs(heardAtMs) > nowMs || this.#isEnough()) return;
      this.#heardAtMs.delete(one);
      this.#onSilent(one);
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
