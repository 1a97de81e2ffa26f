/**
 * A few descriptors in reserve, for what must work when clients hold all others: a log
 * file that is opened or rotated, a health check. Event loops know the trick from EMFILE in
 * accept(2): close a spare one, use its place, and open it again afterwards.
 *
 * @module
 */

import { lacksDescriptor } from "./errors.ts";

/** Opening a log file holds two for a moment, and as many requests may be answered. */
const SPARES = 4;

/** Spare sockets. */
export class DescriptorReserve implements Disposable {
  readonly #spares: Deno.Listener[] = [];
  #count: number;

  constructor(count = canSpare() ? SPARES : 0) {
    this.#count = count;
    this.refill();
  }

  /** Gives one away; false if there is none. */
  release(): boolean {
    const spare = this.#spares.pop();
    spare?.close();
    return spare !== undefined;
  }

  /** Takes back what was given away, as far as there are descriptors. */
  refill(): void {
    try {
      while (this.#spares.length < this.#count) this.#spares.push(listenForNobody());
    } catch {
      // Others have them now; the next time may do.
    }
  }

  /** Opens something, in the place of a spare one if need be. */
  lend<T>(open: () => T): T {
    while (true) {
      try {
        const opened = open();
        this.refill();
        return opened;
      } catch (error) {
        if (!lacksDescriptor(error) || !this.release()) throw error;
      }
    }
  }

  [Symbol.dispose](): void {
    this.#count = 0;
    while (this.release());
  }
}

/** Only Linux has sockets that need neither a file nor a port; nobody is asked for a permission. */
function canSpare(): boolean {
  return Deno.build.os === "linux" &&
    Deno.permissions.querySync({ name: "net" }).state === "granted";
}

/** An abstract Unix socket, whose name nobody knows. */
function listenForNobody(): Deno.Listener {
  return Deno.listen({ transport: "unix", path: `\0earshot-${crypto.randomUUID()}` });
}
