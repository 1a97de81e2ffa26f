/**
 * An output whose every write waits for the test. Not published.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { Capture } from "./capture.ts";

/** Output whose every write waits until the test says how it goes on. */
export class GatedOutput {
  readonly out = new Capture();
  #pending: { bytes: Uint8Array; settle: PromiseWithResolvers<number> } | undefined;
  #arrival = Promise.withResolvers<void>();
  /** The bytes of a write must not change while it waits. */
  #copy = new Uint8Array();

  write(bytes: Uint8Array): Promise<number> {
    if (this.#pending) throw new Error("Two writes at once");
    const settle = Promise.withResolvers<number>();
    this.#pending = { bytes, settle };
    this.#copy = bytes.slice();
    this.#arrival.resolve();
    return settle.promise;
  }

  /** Waits for a write; resolves to its size. */
  async size(): Promise<number> {
    await this.#arrival.promise;
    return this.#pending!.bytes.length;
  }

  async take(most = Infinity): Promise<void> {
    const { bytes, settle } = await this.#next();
    assertEquals(bytes, this.#copy);
    settle.resolve(this.out.writeSync(bytes.subarray(0, Math.min(most, bytes.length))));
  }

  /** Takes a write if one waits. */
  async takePending(): Promise<void> {
    if (this.#pending) await this.take();
  }

  async fail(error: Error): Promise<void> {
    const { settle } = await this.#next();
    settle.reject(error);
  }

  async takeUntil(text: string, most = Infinity): Promise<void> {
    while (this.out.count(text) === 0) await this.take(most);
  }

  async #next() {
    await this.#arrival.promise;
    const pending = this.#pending!;
    this.#pending = undefined;
    this.#arrival = Promise.withResolvers();
    return pending;
  }
}
