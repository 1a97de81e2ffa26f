/**
 * What a socket is still to be sent.
 *
 * @module
 */

import type { Socket } from "../../poller.ts";
import { NO_BYTES } from "../bytes.ts";

/**
 * Bytes for one socket, in order: echo and typed lines share it. They lie in one
 * piece of memory, so that many small ones cost no more than their bytes. It
 * takes all that it is given: who adds keeps an eye on `length`, and stops
 * hearing a client, or ends it, when that grows too large.
 */
export class Outbox {
  #bytes = NO_BYTES;
  #start = 0;
  #end = 0;

  /** Bytes that are unsent. */
  get length(): number {
    return this.#end - this.#start;
  }

  /** Queues a copy of `bytes`. */
  add(bytes: Uint8Array): void {
    if (this.#end + bytes.length > this.#bytes.length) this.#grow(bytes.length);
    this.#bytes.set(bytes, this.#end);
    this.#end += bytes.length;
  }

  /** Doubles the memory, so that bytes added singly are moved once or twice on average. */
  #grow(count: number): void {
    const { length } = this;
    const grown = new Uint8Array(Math.max(length + count, 2 * length));
    grown.set(this.#bytes.subarray(this.#start, this.#end));
    this.#bytes = grown;
    this.#start = 0;
    this.#end = length;
  }

  /**
   * Hands the socket as much as it takes. Its memory is given back when all is gone.
   *
   * @returns Whether all is gone; if not, `POLLOUT` tells when to go on.
   * @throws What `send` throws, except `WouldBlock`.
   */
  send(socket: Pick<Socket, "send">): boolean {
    if (this.length > 0) {
      this.#start += sendSome(socket, this.#bytes.subarray(this.#start, this.#end));
    }
    if (this.length > 0) return false;
    this.#bytes = NO_BYTES;
    this.#start = this.#end = 0;
    return true;
  }
}

/** Returns how many bytes the socket took. */
function sendSome(socket: Pick<Socket, "send">, bytes: Uint8Array): number {
  try {
    return socket.send(bytes);
  } catch (error) {
    if (error instanceof Deno.errors.WouldBlock) return 0;
    throw error;
  }
}
