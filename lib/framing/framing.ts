/**
 * Cuts the bytes of one client into frames: lines, counted messages or reads.
 *
 * @module
 */

import { CR, encode, LF, NUL, SPACE } from "../bytes.ts";
import { cutPieces, type FrameSink, PartialFrame } from "./partial_frame.ts";

export type { FrameSink } from "./partial_frame.ts";

/** The ways to tell where a frame ends: the choices of `--framing`. */
export const FRAMINGS = ["newline", "nul", "octet", "any", "syslog", "none"] as const;

/** How frames end; {@linkcode createFramer} says what each means. */
export type Framing = typeof FRAMINGS[number];

/** Why a client's bytes cannot be cut into frames any more. */
export type FrameFault = "bad octet count" | "bad length";

/**
 * Cuts one client's bytes into frames. Each byte is looked at once, however
 * slowly it comes, and memory is bounded by `maxBytes` and one read. If the sink
 * throws, the rest of that read and what is held are lost, and a counted input is
 * out of step; nothing is given twice.
 */
export interface Framer {
  /**
   * Takes the next bytes.
   *
   * @returns Why the client cannot be understood any more, or `undefined`.
   */
  push(bytes: Uint8Array, sink: FrameSink): FrameFault | undefined;
  /** Gives what is held as a frame that is not whole; the line goes on. */
  flush(sink: FrameSink): void;
  /**
   * Whether `flush()` would give something. An unfinished character, a CR that may
   * be half of a CRLF and an octet count wait for what belongs to them.
   */
  readonly isHolding: boolean;
  /** Ends the input: what is held becomes a frame that is not whole. */
  end(sink: FrameSink): void;
}

/**
 * Makes the framer for one client.
 *
 * @param framing Where frames end: `newline` at LF or CRLF, `nul` at NUL, `any` at
 * LF, CRLF or CR, `octet` by RFC 6587 counts, `syslog` by such counts where a
 * message has one and else at LF or CRLF, `none` with each read.
 * @param maxBytes Longest frame in one piece, without its line end. Longer ones
 * come in pieces of that size, up to 3 bytes fewer rather than split a UTF-8
 * character.
 * @returns A framer with no memory yet.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 *
 * const frames: [string, boolean][] = [];
 * const framer = createFramer("newline", 8);
 * framer.push(new TextEncoder().encode("one\r\ntwo"), {
 *   frame(bytes, start, end, isWhole) {
 *     frames.push([new TextDecoder().decode(bytes.subarray(start, end)), isWhole]);
 *   },
 * });
 * assertEquals(frames, [["one", true]]);
 * ```
 */
export function createFramer(framing: Framing, maxBytes: number): Framer {
  switch (framing) {
    case "newline":
      return new NewlineFramer(maxBytes);
    case "nul":
      return new NulFramer(maxBytes);
    case "octet":
      return new OctetFramer(maxBytes);
    case "any":
      return new AnyFramer(maxBytes);
    case "syslog":
      return new SyslogFramer(maxBytes);
    case "none":
      return new ReadFramer(maxBytes);
  }
}

const LESS_THAN_SIGN = 0x3C;
const DIGIT_ZERO = 0x30;
const DIGIT_NINE = 0x39;

/** What all framers share that hold bytes from one read to the next. */
abstract class HoldingFramer implements Framer {
  protected readonly held: PartialFrame;

  constructor(maxBytes: number) {
    this.held = new PartialFrame(maxBytes);
  }

  abstract push(bytes: Uint8Array, sink: FrameSink): FrameFault | undefined;

  flush(sink: FrameSink): void {
    this.held.flush(this.flushable, sink);
  }

  get isHolding(): boolean {
    return this.flushable > 0;
  }

  end(sink: FrameSink): void {
    this.held.end(sink);
  }

  protected get flushable(): number {
    return this.held.flushable;
  }
}

/** Lines that end at LF, with or without a CR before it. */
class NewlineFramer extends HoldingFramer {
  push(bytes: Uint8Array, sink: FrameSink): undefined {
    let start = 0;
    for (let at; (at = bytes.indexOf(LF, start)) >= 0; start = at + 1) {
      this.held.finishLine(bytes, start, at, sink);
    }
    if (start < bytes.length) this.held.holdLine(bytes, start, bytes.length, sink);
  }

  protected override get flushable(): number {
    return this.held.flushableLine;
  }
}

/** Lines that end at NUL. */
class NulFramer extends HoldingFramer {
  push(bytes: Uint8Array, sink: FrameSink): undefined {
    let start = 0;
    for (let at; (at = bytes.indexOf(NUL, start)) >= 0; start = at + 1) {
      this.held.finish(bytes, start, at, sink);
    }
    if (start < bytes.length) this.held.hold(bytes, start, bytes.length, 0, sink);
  }
}

/** Lines that end at LF, CRLF or CR. A CR ends its line at once: its LF may never come. */
class AnyFramer extends HoldingFramer {
  #isAfterCr = false;

  push(bytes: Uint8Array, sink: FrameSink): undefined {
    let start = this.#skipRestOfCr(bytes, 0);
    let lf = find(bytes, LF, start);
    let cr = find(bytes, CR, start);
    for (let at; (at = Math.min(lf, cr)) < bytes.length;) {
      this.#isAfterCr = at === cr;
      this.held.finish(bytes, start, at, sink);
      start = this.#skipRestOfCr(bytes, at + 1);
      if (lf < start) lf = find(bytes, LF, start);
      if (cr < start) cr = find(bytes, CR, start);
    }
    if (start < bytes.length) this.held.hold(bytes, start, bytes.length, 0, sink);
  }

  /** Where the next line starts: behind an LF or a NUL that follows a CR. */
  #skipRestOfCr(bytes: Uint8Array, at: number): number {
    if (!this.#isAfterCr || at === bytes.length) return at;
    this.#isAfterCr = false;
    return bytes[at] === LF || bytes[at] === NUL ? at + 1 : at;
  }
}

/** Where a byte is, or the length where it is not. */
function find(bytes: Uint8Array, byte: number, start: number): number {
  const at = bytes.indexOf(byte, start);
  return at < 0 ? bytes.length : at;
}

/** A message whose length is known before it comes. */
class CountedMessage {
  readonly #held: PartialFrame;
  #missing = 0;

  constructor(held: PartialFrame) {
    this.#held = held;
  }

  get isComplete(): boolean {
    return this.#missing === 0;
  }

  begin(count: number): void {
    this.#missing = count;
  }

  /** Takes bytes of the message; returns where the rest starts. */
  take(bytes: Uint8Array, start: number, sink: FrameSink): number {
    const end = Math.min(bytes.length, start + this.#missing);
    this.#missing -= end - start;
    if (this.#missing > 0) this.#held.hold(bytes, start, end, 0, sink);
    else this.#held.finish(bytes, start, bytes[end - 1] === LF ? end - 1 : end, sink);
    return end;
  }
}

/** Why a client that does not count its messages cannot be understood. */
export const BAD_OCTET_COUNT = "bad octet count";

/** Counts have at most 8 digits. */
const MAX_COUNT = 99_999_999;

/** The count with one more digit, or 0 if no digit that may stand there follows. */
function countWith(count: number, bytes: Uint8Array, at: number): number {
  if (at === bytes.length) return 0;
  const byte = bytes[at]!;
  if (byte < DIGIT_ZERO || byte > DIGIT_NINE) return 0;
  const next = 10 * count + byte - DIGIT_ZERO;
  return next <= MAX_COUNT ? next : 0;
}

/** RFC 6587 octet counting: `MSG-LEN SP MSG`. */
class OctetFramer extends HoldingFramer {
  readonly #message = new CountedMessage(this.held);
  /** What the digits so far say, 0 where none have come. */
  #count = 0;
  /** Some senders end a counted message as they would a line. */
  #mayBeLf = false;

  push(bytes: Uint8Array, sink: FrameSink): FrameFault | undefined {
    for (let at = 0; at < bytes.length;) {
      if (this.#message.isComplete) at = this.#takeCount(bytes, at);
      if (at === bytes.length) return;
      if (this.#message.isComplete) return this.#reject(bytes, at, sink);
      at = this.#message.take(bytes, at, sink);
    }
  }

  /** Returns where the message starts, or what is not a count. */
  #takeCount(bytes: Uint8Array, at: number): number {
    if (this.#mayBeLf && bytes[at] === LF) at++;
    this.#mayBeLf = false;
    let count = this.#count;
    for (let next; (next = countWith(count, bytes, at)) > 0; at++) count = next;
    if (count === 0 || at === bytes.length || bytes[at] !== SPACE) {
      this.#count = count;
      return at;
    }
    this.#message.begin(count);
    this.#count = 0;
    this.#mayBeLf = true;
    return at + 1;
  }

  #reject(bytes: Uint8Array, at: number, sink: FrameSink): FrameFault {
    this.#holdCount(sink);
    this.held.hold(bytes, at, bytes.length, 0, sink);
    this.held.end(sink);
    return BAD_OCTET_COUNT;
  }

  override end(sink: FrameSink): void {
    this.#holdCount(sink);
    super.end(sink);
  }

  #holdCount(sink: FrameSink): void {
    if (this.#count === 0) return;
    const digits = encode(String(this.#count));
    this.#count = 0;
    this.held.hold(digits, 0, digits.length, 0, sink);
  }
}

/**
 * Both ways of RFC 6587, told apart message by message: a count, a space and `<`
 * begin a counted message, all else is a line. Until that is decided the count is
 * kept as a number, for it may turn out to be the start of a line.
 */
class SyslogFramer extends HoldingFramer {
  readonly #message = new CountedMessage(this.held);
  #isLine = false;
  /** What the digits say that the undecided start has, 0 where none have come. */
  #count = 0;
  #isSpaced = false;
  /** How much of the undecided start a flush has given. */
  #givenLength = 0;

  push(bytes: Uint8Array, sink: FrameSink): undefined {
    for (let at = 0; at < bytes.length;) {
      if (!this.#message.isComplete) at = this.#message.take(bytes, at, sink);
      else if (this.#isLine) at = this.#takeLine(bytes, at, sink);
      else at = this.#decide(bytes, at, sink);
    }
  }

  /** Begins a message or a line, or waits for more; returns where the rest starts. */
  #decide(bytes: Uint8Array, start: number, sink: FrameSink): number {
    let at = start;
    let count = this.#count;
    let isSpaced = this.#isSpaced;
    if (!isSpaced) {
      for (let next; (next = countWith(count, bytes, at)) > 0; at++) count = next;
      isSpaced = count > 0 && at < bytes.length && bytes[at] === SPACE;
      if (isSpaced) at++;
    }
    if (at === bytes.length) {
      this.#count = count;
      this.#isSpaced = isSpaced;
    } else if (isSpaced && bytes[at] === LESS_THAN_SIGN) {
      this.#takeStart();
      this.#message.begin(count);
    } else {
      this.#isLine = true;
      // Of the start, what came in this read is still there.
      if (this.#count > 0) this.#holdStart(this.#takeStart(), sink);
      return start;
    }
    return at;
  }

  #takeLine(bytes: Uint8Array, start: number, sink: FrameSink): number {
    const at = bytes.indexOf(LF, start);
    if (at < 0) {
      this.held.holdLine(bytes, start, bytes.length, sink);
      return bytes.length;
    }
    this.#isLine = false;
    this.held.finishLine(bytes, start, at, sink);
    return at + 1;
  }

  /** A start that was given stays undecided: a counted message may still follow it. */
  override flush(sink: FrameSink): void {
    const start = this.#start;
    this.#givenLength += start.length;
    this.#holdStart(start, sink);
    super.flush(sink);
  }

  override get isHolding(): boolean {
    return super.isHolding || this.#start.length > 0;
  }

  protected override get flushable(): number {
    return this.#isLine ? this.held.flushableLine : this.held.flushable;
  }

  override end(sink: FrameSink): void {
    this.#holdStart(this.#takeStart(), sink);
    super.end(sink);
  }

  /** The undecided start, but for what a flush has given of it. */
  get #start(): string {
    if (this.#count === 0) return "";
    return `${this.#count}${this.#isSpaced ? " " : ""}`.slice(this.#givenLength);
  }

  #takeStart(): string {
    const start = this.#start;
    this.#count = 0;
    this.#isSpaced = false;
    this.#givenLength = 0;
    return start;
  }

  #holdStart(start: string, sink: FrameSink): void {
    const bytes = encode(start);
    this.held.hold(bytes, 0, bytes.length, 0, sink);
  }
}

/** Each read as it comes. */
class ReadFramer implements Framer {
  readonly #maxBytes: number;
  readonly isHolding = false;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  push(bytes: Uint8Array, sink: FrameSink): undefined {
    const start = cutPieces(bytes, 0, bytes.length, this.#maxBytes, sink);
    sink.frame(bytes, start, bytes.length, true);
  }

  flush(): void {}

  end(): void {}
}
