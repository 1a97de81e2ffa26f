/**
 * Frames that end at given bytes, or stand between two such marks.
 *
 * @module
 */

import { ByteSearch } from "../patterns.ts";
import { type FrameLimits, type FrameSink, HoldingFramer } from "./partial_frame.ts";

/** Frames that end at a mark. */
export class EndFramer extends HoldingFramer {
  readonly #markBytes: number;
  readonly #search: ByteSearch;

  constructor(limits: FrameLimits, end: Uint8Array) {
    super(limits);
    this.#markBytes = end.length;
    this.#search = new ByteSearch(end);
  }

  push(bytes: Uint8Array, sink: FrameSink): undefined {
    let start = 0;
    for (let at; (at = this.#search.find(bytes, start, bytes.length)) >= 0; start = at) {
      this.held.finishMarked(bytes, start, at, this.#markBytes, sink);
    }
    if (start < bytes.length) {
      this.held.hold(bytes, start, bytes.length, this.#search.matched, sink);
    }
  }
}

/** Frames between two marks. What stands outside is given, too, but is no frame. */
export class BetweenFramer extends HoldingFramer {
  readonly #start: Mark;
  readonly #end: Mark;
  #isInside = false;

  constructor(limits: FrameLimits, start: Uint8Array, end: Uint8Array) {
    super(limits);
    this.#start = new Mark(start);
    this.#end = new Mark(end);
  }

  push(bytes: Uint8Array, sink: FrameSink): undefined {
    for (let at = 0; at < bytes.length;) {
      const mark = this.#isInside ? this.#end : this.#start;
      const target = this.#isInside ? sink : new Outside(sink);
      const end = mark.search.find(bytes, at, bytes.length);
      if (end < 0) {
        this.held.hold(bytes, at, bytes.length, mark.search.matched, target);
        return;
      }
      this.#isInside = !this.#isInside;
      this.held.finishMarked(bytes, at, end, mark.length, target);
      at = end;
    }
  }

  override flush(sink: FrameSink): void {
    this.held.flush(this.#flushable, this.#isInside ? sink : new Outside(sink));
  }

  override get isHolding(): boolean {
    return this.#flushable > 0;
  }

  /** What may be the beginning of a start is not given as what stands outside. */
  get #flushable(): number {
    if (this.#isInside) return this.held.flushable;
    const outside = this.held.length - this.#start.search.matched;
    // Where a sink has thrown, less is held than may belong to a start.
    return Math.max(0, Math.min(this.held.flushable, outside));
  }

  override end(sink: FrameSink): void {
    this.held.end(this.#isInside ? sink : new Outside(sink));
  }
}

/** Bytes that begin or end a frame. */
class Mark {
  readonly length: number;
  readonly search: ByteSearch;

  constructor(bytes: Uint8Array) {
    this.length = bytes.length;
    this.search = new ByteSearch(bytes);
  }
}

/** Takes what stands outside of frames as if it were one; mostly there is nothing. */
class Outside implements FrameSink {
  readonly #sink: FrameSink;

  constructor(sink: FrameSink) {
    this.#sink = sink;
  }

  frame(bytes: Uint8Array, start: number, end: number, isLast: boolean): void {
    if (start === end) return;
    if (this.#sink.outside) this.#sink.outside(bytes, start, end, isLast);
    else this.#sink.frame(bytes, start, end, false);
  }
}
