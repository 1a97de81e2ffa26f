/**
 * The unfinished frame of a client, pieces of frames that are too long, and what all
 * framers share.
 *
 * @module
 */

import { CR, NO_BYTES } from "../bytes.ts";

/** Takes the frames of one client. */
export interface FrameSink {
  /**
   * Takes `bytes[start..end)`, which is valid during the call.
   *
   * @param isWhole False where there is no line end: a piece of a long line, what
   * was flushed, or the end of input. The line goes on with the next frame.
   */
  frame(bytes: Uint8Array, start: number, end: number, isWhole: boolean): void;
  /**
   * Takes what stands between two frames and belongs to none; without it, that is a
   * frame that is not whole.
   *
   * @param isLast False for a piece, after which more may stand there.
   */
  outside?(bytes: Uint8Array, start: number, end: number, isLast: boolean): void;
}

/** Why the input of a client cannot be understood any more. */
export type FrameFault = "bad octet count" | "bad length";

/**
 * Cuts one client's bytes into frames. Each byte is looked at once, however
 * slowly it comes, and memory is bounded by `maxBytes` and one read. If the sink
 * throws, the rest of that read and what is held are lost, and a counted input is
 * out of step; nothing is given twice.
 */
export interface Framer {
  /** Takes the next bytes; after a fault nothing more. */
  push(bytes: Uint8Array, sink: FrameSink): FrameFault | undefined;
  /** Gives what is held as a frame that is not whole; the line goes on. */
  flush(sink: FrameSink): void;
  /**
   * Whether `flush()` would give something. An unfinished character, a count and the
   * beginning of a start mark wait for what belongs to them.
   */
  readonly isHolding: boolean;
  /** Ends the input: what is held becomes a frame that is not whole. */
  end(sink: FrameSink): void;
}

/** How long frames may be, and where they may be cut. */
export interface FrameLimits {
  /** Longest frame in one piece. */
  readonly maxBytes: number;
  /** Whether pieces end between UTF-8 characters. */
  readonly keepsCharacters: boolean;
}

/** What all framers share that hold bytes from one read to the next. */
export abstract class HoldingFramer implements Framer {
  protected readonly held: PartialFrame;

  constructor(limits: FrameLimits) {
    this.held = new PartialFrame(limits);
  }

  abstract push(bytes: Uint8Array, sink: FrameSink): FrameFault | undefined;

  flush(sink: FrameSink): void {
    this.held.flush(this.held.flushable, sink);
  }

  get isHolding(): boolean {
    return this.held.flushable > 0;
  }

  end(sink: FrameSink): void {
    this.held.end(sink);
  }
}

/** The most bytes that an end or a start has. */
export const MAX_MARK_BYTES = 16;

/** Memory that a client's first held bytes get, and what a client keeps for the next ones. */
const INITIAL_BYTES = 256;
const KEPT_BYTES = 1024;

/** The unfinished frame of a client: what has come of it and was not given. */
export class PartialFrame {
  readonly #limits: FrameLimits;
  #bytes: Uint8Array = NO_BYTES;
  #length = 0;

  /** Longer frames come in pieces of `maxBytes`, up to 3 bytes fewer rather than split a character. */
  constructor(limits: FrameLimits) {
    this.#limits = limits;
  }

  /** Adds bytes of a frame that goes on. The last `spare` of them may turn out not to belong to it. */
  hold(bytes: Uint8Array, start: number, end: number, spare: number, sink: FrameSink): void {
    this.#add(bytes, start, end);
    if (this.#length - spare > this.#limits.maxBytes) this.#cut(spare, sink);
  }

  /** The same for a line that may end in CRLF. */
  holdLine(bytes: Uint8Array, start: number, end: number, sink: FrameSink): void {
    this.hold(bytes, start, end, bytes[end - 1] === CR ? 1 : 0, sink);
  }

  /** Gives a frame that ends with these bytes. */
  finish(bytes: Uint8Array, start: number, end: number, sink: FrameSink): void {
    if (this.#length > 0) {
      this.#add(bytes, start, end);
      this.#release(0, true, sink);
      return;
    }
    if (end - start > this.#limits.maxBytes) {
      start = cutPieces(bytes, start, end, this.#limits, sink);
    }
    sink.frame(bytes, start, end, true);
  }

  /** The same for a line before its LF: a CR at its end is left out. */
  finishLine(bytes: Uint8Array, start: number, end: number, sink: FrameSink): void {
    const isCrHeld = start === end && this.#length > 0 && this.#bytes[this.#length - 1] === CR;
    if (isCrHeld) this.#release(1, true, sink);
    else this.finish(bytes, start, end > start && bytes[end - 1] === CR ? end - 1 : end, sink);
  }

  /** The same for a frame with a mark of so many bytes at its end, some of which may be held or given. */
  finishMarked(
    bytes: Uint8Array,
    start: number,
    end: number,
    markBytes: number,
    sink: FrameSink,
  ): void {
    const frameEnd = end - markBytes;
    if (frameEnd >= start) this.finish(bytes, start, frameEnd, sink);
    else this.#release(Math.min(start - frameEnd, this.#length), true, sink);
  }

  /** Ends the input. */
  end(sink: FrameSink): void {
    if (this.#length > 0) this.#release(0, false, sink);
  }

  /** How many bytes are held. */
  get length(): number {
    return this.#length;
  }

  /** How many bytes {@linkcode flush} would give. */
  get flushable(): number {
    return this.#limits.keepsCharacters
      ? unfinishedStart(this.#bytes, 0, this.#length)
      : this.#length;
  }

  /** Gives the first `count` bytes as not whole, and the memory with them. */
  flush(count: number, sink: FrameSink): void {
    if (count === 0) return;
    const bytes = this.#bytes;
    const length = this.#length;
    this.#clear();
    // A mark that is split may be beyond maxBytes.
    sink.frame(bytes, cutPieces(bytes, 0, count, this.#limits, sink), count, false);
    this.#add(bytes, count, length);
  }

  #add(bytes: Uint8Array, start: number, end: number): void {
    const length = this.#length + end - start;
    if (length > this.#bytes.length) this.#grow(length);
    this.#bytes.set(bytes.subarray(start, end), this.#length);
    this.#length = length;
  }

  /** Doubles the memory, so that a long line is not copied once for each read. */
  #grow(length: number): void {
    const doubled = Math.max(INITIAL_BYTES, 2 * this.#bytes.length);
    // More than maxBytes and a mark is held only until it is cut.
    const most = this.#limits.maxBytes + MAX_MARK_BYTES;
    const grown = new Uint8Array(Math.max(length, Math.min(doubled, most)));
    grown.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = grown;
  }

  /** Gives pieces until at most `maxBytes` and the last `spare` bytes are left. */
  #cut(spare: number, sink: FrameSink): void {
    const length = this.#length;
    // Before the sink is called, which may throw.
    this.#length = 0;
    const start = cutPieces(this.#bytes, 0, length - spare, this.#limits, sink);
    this.#bytes.copyWithin(0, start, length);
    this.#length = length - start;
  }

  /** Gives all but the last `dropped` bytes, and the memory with it. */
  #release(dropped: number, isWhole: boolean, sink: FrameSink): void {
    const bytes = this.#bytes;
    const end = this.#length - dropped;
    this.#clear();
    sink.frame(bytes, cutPieces(bytes, 0, end, this.#limits, sink), end, isWhole);
  }

  /** Little memory is kept: some clients split a line with every read. */
  #clear(): void {
    this.#length = 0;
    if (this.#bytes.length > KEPT_BYTES) this.#bytes = NO_BYTES;
  }
}

/** Gives pieces until at most `maxBytes` are left; returns where the rest starts. */
export function cutPieces(
  bytes: Uint8Array,
  start: number,
  end: number,
  { maxBytes, keepsCharacters }: FrameLimits,
  sink: FrameSink,
): number {
  while (end - start > maxBytes) {
    const at = start + maxBytes;
    const cut = keepsCharacters ? pieceEnd(bytes, start, at) : at;
    sink.frame(bytes, start, cut, false);
    start = cut;
  }
  return start;
}

/** Where a piece ends that may go up to `at`. It splits a character only if that is all it has. */
function pieceEnd(bytes: Uint8Array, start: number, at: number): number {
  if (!isContinuation(bytes[at]!)) return at;
  const end = unfinishedStart(bytes, start, at);
  return end > start ? end : at;
}

/** Where the UTF-8 character starts that `end` interrupts, or `end` if it interrupts none. */
function unfinishedStart(bytes: Uint8Array, start: number, end: number): number {
  for (let at = end - 1; at >= start && at >= end - 3; at--) {
    const byte = bytes[at]!;
    if (!isContinuation(byte)) return at + sequenceLength(byte) > end ? at : end;
  }
  return end;
}

function isContinuation(byte: number): boolean {
  return byte >> 6 === 0b10;
}

/** Length of the UTF-8 sequence that a byte leads, 1 for a byte that leads none. */
function sequenceLength(lead: number): number {
  return lead < 0xC2 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 1;
}
