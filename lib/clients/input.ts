/**
 * Where clients' bytes are received, one client at a time.
 *
 * @module
 */

import type { ByteSource } from "../records/log.ts";

/** Memory that all clients share: a quiet client has none. */
export interface Input {
  /** Receives at most `maxBytes`; returns how many came, 0 at the end. Throws what the source throws. */
  receive(source: ByteSource, maxBytes: number): number;
  /** What came last, `count` bytes; valid until the next call. */
  last(count: number): Uint8Array;
}

/** Reads that are shorter share their views: making one costs as much as framing a short line. */
const VIEWED_BYTES = 1024;

/** One buffer, for reads of at most `maxBytes`. */
export class SharedInput implements Input {
  readonly #bytes: Uint8Array;
  /** Its first bytes, by their number. */
  readonly #views: Uint8Array[] = [];

  constructor(maxBytes: number) {
    this.#bytes = new Uint8Array(maxBytes);
  }

  receive(source: ByteSource, maxBytes: number): number {
    return source.recvInto(this.#bytes, 0, maxBytes);
  }

  last(count: number): Uint8Array {
    if (count >= VIEWED_BYTES) return this.#bytes.subarray(0, count);
    return this.#views[count] ??= this.#bytes.subarray(0, count);
  }
}
