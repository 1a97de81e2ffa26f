/**
 * What runs beside the loop (handshakes, closing) comes back to it here.
 *
 * @module
 */

import type { Steps } from "./deadlines.ts";

export class TaskQueue {
  readonly #wake: () => void;
  #tasks: (() => void)[] = [];

  /** `wake` ends the loop's wait. */
  constructor(wake: () => void) {
    this.#wake = wake;
  }

  get isEmpty(): boolean {
    return this.#tasks.length === 0;
  }

  /** Has the loop do something in its next round. */
  post(task: () => void): void {
    this.#tasks.push(task);
    this.#wake();
  }

  /** Does what has been posted so far, a task a step; what is posted meanwhile waits. */
  *run(): Steps {
    for (let left = this.#tasks.length; left > 0; left--) {
      this.#tasks.shift()!();
      yield;
    }
  }
}
