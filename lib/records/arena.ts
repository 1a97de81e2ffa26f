/**
 * Memory that is used round and round: what clients say is received into it, and
 * found there again by its position.
 *
 * @module
 */

import type { ByteSource } from "./log.ts";

const ARENA_BYTES = 4 * 1024 * 1024;

/** What is longer is not copied into it, and nothing longer is received at once. */
const MAX_PLACE_BYTES = 512 * 1024;

/** Copies that are made while a read is looked at; more of them, and the read counts as gone. */
const MAX_SPAN_BYTES = 256 * 1024;

/** The position of what was too long. */
export const NOWHERE = -1;

/**
 * A ring buffer. **Positions only grow**: they count all that was ever received, so that
 * bytes are still there if their position is less than its size behind.
 */
export class Arena {
  readonly #bytes = new Uint8Array(ARENA_BYTES);
  readonly #onClaim: (lostPosition: number) => void;
  /** The last read, and where that begins. */
  #read: Uint8Array | undefined;
  #readPosition = 0;
  /** Where the next place begins. */
  #position = 0;

  /** `onClaim` is told before what position things are overwritten next. */
  constructor(onClaim: (lostPosition: number) => void) {
    this.#onClaim = onClaim;
  }

  get position(): number {
    return this.#position;
  }

  /** At or behind this position everything lies that is noted from now on. */
  get floorPosition(): number {
    return Math.max(this.#readPosition, this.#position - MAX_SPAN_BYTES);
  }

  /** Receives at most `maxBytes`, half a mebibyte at most; returns how many came, 0 at the end. */
  receive(source: ByteSource, maxBytes: number): number {
    const start = this.#claim(maxBytes);
    return source.recvInto(this.#bytes, start, start + maxBytes);
  }

  /** What came last, `count` bytes, whose place is then taken. */
  last(count: number): Uint8Array {
    const start = this.#position % ARENA_BYTES;
    this.#readPosition = this.#position;
    this.#position += count;
    this.#read = this.#bytes.subarray(start, start + count);
    return this.#read;
  }

  /** Where bytes are; those that are not of the last read are copied. */
  positionOf(bytes: Uint8Array, start: number, end: number): number {
    const isInPlace = bytes === this.#read && this.#position - this.#readPosition < MAX_SPAN_BYTES;
    return isInPlace ? this.#readPosition + start : this.#copy(bytes, start, end);
  }

  /** Uses up memory that is held elsewhere. */
  skip(count: number): void {
    this.#position += count;
  }

  #copy(bytes: Uint8Array, start: number, end: number): number {
    if (end - start > MAX_PLACE_BYTES) return NOWHERE;
    this.#bytes.set(bytes.subarray(start, end), this.#claim(end - start));
    const position = this.#position;
    this.#position += end - start;
    return position;
  }

  /** Where the next `count` bytes are, in one piece. */
  #claim(count: number): number {
    const rest = ARENA_BYTES - this.#position % ARENA_BYTES;
    if (rest < count) this.#position += rest;
    this.#onClaim(this.#position + count - ARENA_BYTES);
    return this.#position % ARENA_BYTES;
  }

  /** A copy of what is at a position. */
  slice(position: number, length: number): Uint8Array {
    const start = position % ARENA_BYTES;
    return this.#bytes.slice(start, start + length);
  }
}
