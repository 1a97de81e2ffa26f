/**
 * A few descriptors in reserve, for what must work when clients hold all others: a log
 * file that is opened or rotated, a health check. Event loops know the trick from EMFILE in
 * accept(2): close a spare one, use its place, and open it again afterwards.
 *
 * @module
 */

import { lacksDescriptor } from "./errors.ts";

/** Opening a log file holds two for a moment, and as many requests may be answered. */
export const LOG_SPARES = 4;
/** Clients that are forwarded when others hold all: whoever is served gives two back. */
export const FORWARD_SPARES = 4;

/** Spare sockets. */
export class DescriptorReserve implements Disposable {
  readonly #spares: Deno.Listener[] = [];
  #count: number;

  constructor(count = LOG_SPARES) {
    this.#count = canSpare() ? count : 0;
    this.refill();
  }

  /** Gives one away if there are more than `kept`; false if not. */
  release(kept = 0): boolean {
    if (this.#spares.length <= kept) return false;
    const spare = this.#spares.pop();
    spare?.close();
    return true;
  }

  /** Takes back what was given away; throws what the system says if there are no descriptors. */
  demand(): void {
    while (this.#spares.length < this.#count) this.#spares.push(listenForNobody());
  }

  /** The same as far as there are descriptors. */
  refill(): void {
    try {
      this.demand();
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
