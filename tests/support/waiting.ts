/**
 * Turns of the event loop, conditions, and a clock that a test sets. Not published.
 *
 * @module
 */

import { assert } from "@std/assert";

/** One turn of the event loop, timers and I/O included. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Waits for what only looking can tell, such as a file. */
export async function untilTrue(condition: () => boolean): Promise<void> {
  while (!condition()) await pause(10);
}

/** Still waiting after a few turns of the event loop, in which everything else had its chance. */
export async function assertPending(promise: Promise<unknown>): Promise<void> {
  let settled = false;
  const settle = () => settled = true;
  promise.then(settle, settle);
  for (let i = 0; i < 3; i++) await turn();
  assert(!settled, "Settled too early");
}

/** Repeats `round` until a timer has fired, which takes a turn of the event loop. */
export async function assertTimerFires(round: () => Promise<unknown>): Promise<void> {
  let fired = false;
  const timer = setTimeout(() => fired = true, 0);
  for (let i = 0; i < 300_000 && !fired; i++) await round();
  clearTimeout(timer);
  assert(fired, "The event loop did not turn");
}

/** Time that passes only in {@linkcode Clock.pass}. */
export class Clock implements Disposable {
  readonly #real = { setTimeout, clearTimeout, now: performance.now };
  readonly #timers = new Map<number, { atMs: number; fire: () => void }>();
  #nowMs = 0;
  #nextId = 1;

  constructor() {
    const set = (fire: () => void, ms: number) => {
      this.#timers.set(this.#nextId, { atMs: this.#nowMs + ms, fire });
      return this.#nextId++;
    };
    Object.assign(globalThis, {
      setTimeout: set,
      clearTimeout: (id: number) => this.#timers.delete(id),
    });
    performance.now = () => this.#nowMs;
  }

  get nowMs(): number {
    return this.#nowMs;
  }

  get timers(): number {
    return this.#timers.size;
  }

  async pass(ms: number): Promise<void> {
    await this.settle();
    for (const endMs = this.#nowMs + ms; this.#nowMs < endMs;) {
      this.#nowMs++;
      for (const [id, { atMs, fire }] of this.#timers) {
        if (atMs > this.#nowMs) continue;
        this.#timers.delete(id);
        fire();
        await this.settle();
      }
    }
  }

  /** Lets run whatever does not wait for time. */
  settle(): Promise<void> {
    return new Promise((resolve) => this.#real.setTimeout(resolve, 0));
  }

  [Symbol.dispose](): void {
    const { now, ...timers } = this.#real;
    Object.assign(globalThis, timers);
    performance.now = now;
  }
}
