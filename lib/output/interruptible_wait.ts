/**
 * A wait that somebody else may end.
 *
 * @module
 */

/** Waits for one thing at a time. */
export class InterruptibleWait {
  #interrupt: ((error?: Error) => void) | undefined;

  /** Ends what is waited for: with an error for good, without one a pause. */
  interrupt(error?: Error): void {
    this.#interrupt?.(error);
  }

  /** Waits for `work`. Not by a race: that would leave reactions behind. */
  until<T>(work: Promise<T>): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    this.#interrupt = (error) => error && reject(error);
    work.then(resolve, reject);
    return promise;
  }

  async pause(ms: number): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    this.#interrupt = (error) => error ? reject(error) : resolve();
    try {
      await promise;
    } finally {
      clearTimeout(timer);
    }
  }
}
