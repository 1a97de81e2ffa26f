/**
 * A watchdog timer: whoever makes progress restarts it, and who makes none is given up.
 *
 * @module
 */

/** Waits in ticks, so that a stall of this process does not count as one of whom it watches. */
const TICKS = 10;

/** Runs from a restart on; calls `onOver` when its time is up. */
export class Watchdog {
  readonly #tickMs: number;
  readonly #onOver: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(limitMs: number, onOver: () => void) {
    this.#tickMs = limitMs / TICKS;
    this.#onOver = onOver;
  }

  /** There was progress: the time begins anew. */
  restart(): void {
    this.stop();
    this.#wait(TICKS);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #wait(ticks: number): void {
    const next = ticks > 1 ? () => this.#wait(ticks - 1) : this.#onOver;
    this.#timer = setTimeout(next, this.#tickMs);
  }
}
