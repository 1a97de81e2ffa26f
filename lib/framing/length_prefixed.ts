/**
 * Frames that begin with their length as a binary number.
 *
 * @module
 */

import {
  type FrameFault,
  type FrameLimits,
  type FrameSink,
  HoldingFramer,
} from "./partial_frame.ts";

/** What a length looks like, and what it counts. */
export interface LengthPrefix {
  /** How many bytes it has. */
  readonly width: 1 | 2 | 4;
  /** Whether the least significant of them comes first. */
  readonly isLittleEndian: boolean;
  /** What is added to it, to give the bytes that follow it. */
  readonly offset: number;
}

/** Frames of as many bytes as a prefix says. */
export class LengthFramer extends HoldingFramer {
  readonly #options: LengthPrefix;
  /** What has come of a prefix that is not whole. */
  readonly #prefix: Uint8Array;
  #prefixLength = 0;
  /** Bytes that the frame still lacks; 0 between frames. */
  #missing = 0;

  constructor(limits: FrameLimits, options: LengthPrefix) {
    super(limits);
    this.#options = options;
    this.#prefix = new Uint8Array(options.width);
  }

  push(bytes: Uint8Array, sink: FrameSink): FrameFault | undefined {
    for (let at = 0; at < bytes.length;) {
      if (this.#missing > 0) {
        at = this.#take(bytes, at, sink);
        continue;
      }
      at = this.#takePrefix(bytes, at);
      if (this.#prefixLength < this.#prefix.length) return;
      this.#missing = this.#lengthOf() + this.#options.offset;
      if (this.#missing < 0) return this.#reject(bytes, at, sink);
      this.#prefixLength = 0;
      if (this.#missing === 0) this.held.finish(bytes, at, at, sink);
    }
  }

  #take(bytes: Uint8Array, start: number, sink: FrameSink): number {
    const end = Math.min(bytes.length, start + this.#missing);
    this.#missing -= end - start;
    if (this.#missing > 0) this.held.hold(bytes, start, end, 0, sink);
    else this.held.finish(bytes, start, end, sink);
    return end;
  }

  /** Returns where the frame starts, or the end of the bytes. */
  #takePrefix(bytes: Uint8Array, at: number): number {
    const prefix = this.#prefix;
    while (at < bytes.length && this.#prefixLength < prefix.length) {
      prefix[this.#prefixLength++] = bytes[at++]!;
    }
    return at;
  }

  /** By multiplication: a shift makes a length of 4 bytes negative. */
  #lengthOf(): number {
    const { width, isLittleEndian } = this.#options;
    let length = 0;
    for (let i = 0; i < width; i++) {
      length = 256 * length + this.#prefix[isLittleEndian ? width - 1 - i : i]!;
    }
    return length;
  }

  #reject(bytes: Uint8Array, at: number, sink: FrameSink): FrameFault {
    this.#missing = 0;
    this.#holdPrefix(sink);
    this.held.hold(bytes, at, bytes.length, 0, sink);
    this.held.end(sink);
    return "bad length";
  }

  override end(sink: FrameSink): void {
    this.#holdPrefix(sink);
    super.end(sink);
  }

  #holdPrefix(sink: FrameSink): void {
    const length = this.#prefixLength;
    this.#prefixLength = 0;
    this.held.hold(this.#prefix, 0, length, 0, sink);
  }
}
