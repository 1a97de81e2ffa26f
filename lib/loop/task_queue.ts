/**
 * What is done beside the loop (handshakes, closing) comes back to it by mail.
 *
 * @module
 */

export class TaskQueue {
  readonly #wake: () => void;
  #actions: (() => void)[] = [];

  /** `wake` ends the loop's wait. */
  constructor(wake: () => void) {
    this.#wake = wake;
  }

  /** Has the loop do something in its next round. */
  post(action: () => void): void {
    this.#actions.push(action);
    this.#wake();
  }

  /** Does what was posted, until `isEnough`; returns whether that was all. */
  open(isEnough = () => false): boolean {
    for (let left = this.#actions.length; left > 0; left--) {
      if (isEnough()) return false;
      this.#actions.shift()!();
    }
    return true;
  }
}
