/**
 * Messages that say their length in digits before they begin, as RFC 6587 has it.
 *
 * @module
 */

import { CR, encode, LF, NUL, SPACE } from "../bytes.ts";
import { find } from "../swar.ts";
import {
  type FrameFault,
  type FrameSink,
  HoldingFramer,
  type PartialFrame,
} from "./partial_frame.ts";

const LESS_THAN_SIGN = 0x3C;
const DIGIT_ZERO = 0x30;
const DIGIT_NINE = 0x39;
const CR_BYTES = Uint8Array.of(CR);

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
    if (this.#missing > 1) this.#held.hold(bytes, start, end, 0, sink);
    else if (this.#missing === 1) this.#held.holdLine(bytes, start, end, sink);
    else this.#finish(bytes, start, end, sink);
    return end;
  }

  /** One LF, CRLF or NUL at the end is no part of what was meant. */
  #finish(bytes: Uint8Array, start: number, end: number, sink: FrameSink): void {
    const last = bytes[end - 1];
    if (last === LF) this.#held.finishLine(bytes, start, end - 1, sink);
    else this.#held.finish(bytes, start, last === NUL ? end - 1 : end, sink);
  }
}

/** What many senders put behind a counted message, as they would behind a line: LF, CRLF or NUL. */
class LineEndAfter {
  /** `half`: a CR that ended its read, and may be half of a CRLF. */
  #state: "none" | "expected" | "half" = "none";

  expect(): void {
    this.#state = "expected";
  }

  /** Whether a CR has come that is not known to be an end. */
  get isHalf(): boolean {
    return this.#state === "half";
  }

  /** Returns where the rest starts, or -1 if the CR of an earlier read was no end after all. */
  skip(bytes: Uint8Array, at: number): number {
    const state = this.#state;
    this.#state = "none";
    if (state === "none") return at;
    if (bytes[at] === LF) return at + 1;
    if (state === "half") return -1;
    if (bytes[at] === NUL) return at + 1;
    if (bytes[at] !== CR) return at;
    if (at + 1 < bytes.length) return bytes[at + 1] === LF ? at + 2 : at;
    this.#state = "half";
    return at + 1;
  }
}

/** RFC 6587 octet counting: `MSG-LEN SP MSG`. */
export class OctetFramer extends HoldingFramer {
  readonly #message = new CountedMessage(this.held);
  readonly #lineEnd = new LineEndAfter();
  /** What the digits so far say, 0 where none have come. */
  #count = 0;

  push(bytes: Uint8Array, sink: FrameSink): FrameFault | undefined {
    for (let at = 0; at < bytes.length;) {
      if (this.#message.isComplete) {
        const start = this.#lineEnd.skip(bytes, at);
        if (start < 0) return this.#reject(CR_BYTES, bytes, at, sink);
        at = this.#takeCount(bytes, start);
        if (at === bytes.length) return;
        if (this.#message.isComplete) return this.#reject(this.#takeDigits(), bytes, at, sink);
      }
      at = this.#message.take(bytes, at, sink);
    }
  }

  /** Returns where the message starts, or what is not a count. */
  #takeCount(bytes: Uint8Array, at: number): number {
    let count = this.#count;
    for (let next; (next = countWith(count, bytes, at)) > 0; at++) count = next;
    if (count === 0 || at === bytes.length || bytes[at] !== SPACE) {
      this.#count = count;
      return at;
    }
    this.#message.begin(count);
    this.#count = 0;
    this.#lineEnd.expect();
    return at + 1;
  }

  /** `before` is what has come of it already. */
  #reject(before: Uint8Array, bytes: Uint8Array, at: number, sink: FrameSink): FrameFault {
    this.held.hold(before, 0, before.length, 0, sink);
    this.held.hold(bytes, at, bytes.length, 0, sink);
    this.held.end(sink);
    return "bad octet count";
  }

  override end(sink: FrameSink): void {
    const rest = this.#lineEnd.isHalf ? CR_BYTES : this.#takeDigits();
    this.held.hold(rest, 0, rest.length, 0, sink);
    super.end(sink);
  }

  #takeDigits(): Uint8Array {
    const digits = this.#count === 0 ? "" : String(this.#count);
    this.#count = 0;
    return encode(digits);
  }
}

/**
 * Both ways of RFC 6587, told apart message by message: a count, a space and `<`
 * begin a counted message, all else is a line. Until that is decided the count is
 * kept as a number, for it may turn out to be the start of a line.
 */
export class SyslogFramer extends HoldingFramer {
  readonly #message = new CountedMessage(this.held);
  readonly #lineEnd = new LineEndAfter();
  #isLine = false;
  /** What the digits say that the undecided start has, 0 where none have come. */
  #count = 0;
  #isSpaced = false;
  /** How much of the undecided start a flush has given. */
  #givenLength = 0;
  /** Where the next LF and NUL of this read are: each is looked for once. */
  #lf = -1;
  #nul = -1;

  push(bytes: Uint8Array, sink: FrameSink): undefined {
    this.#lf = this.#nul = -1;
    for (let at = 0; at < bytes.length;) {
      if (!this.#message.isComplete) at = this.#message.take(bytes, at, sink);
      else if (this.#isLine) at = this.#takeLine(bytes, at, sink);
      else at = this.#takeStart(bytes, at, sink);
    }
  }

  /** What stands between two messages; returns where the rest starts. */
  #takeStart(bytes: Uint8Array, at: number, sink: FrameSink): number {
    const start = this.#lineEnd.skip(bytes, at);
    if (start >= 0) return this.#decide(bytes, start, sink);
    this.#isLine = true;
    this.held.hold(CR_BYTES, 0, 1, 0, sink);
    return at;
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
      this.#forgetStart();
      this.#message.begin(count);
      this.#lineEnd.expect();
    } else {
      this.#isLine = true;
      // Of the start, what came in this read is still there.
      if (this.#count > 0) this.#holdStart(this.#forgetStart(), sink);
      return start;
    }
    return at;
  }

  #takeLine(bytes: Uint8Array, start: number, sink: FrameSink): number {
    if (this.#lf < start) this.#lf = find(bytes, LF, start);
    if (this.#nul < start) this.#nul = find(bytes, NUL, start);
    const end = Math.min(this.#lf, this.#nul);
    if (end === bytes.length) {
      this.held.holdLine(bytes, start, end, sink);
      return end;
    }
    this.#isLine = false;
    if (bytes[end] === LF) this.held.finishLine(bytes, start, end, sink);
    else this.held.finish(bytes, start, end, sink);
    return end + 1;
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

  override end(sink: FrameSink): void {
    if (this.#lineEnd.isHalf) this.held.hold(CR_BYTES, 0, 1, 0, sink);
    this.#holdStart(this.#forgetStart(), sink);
    super.end(sink);
  }

  /** The undecided start, but for what a flush has given of it. */
  get #start(): string {
    if (this.#count === 0) return "";
    return `${this.#count}${this.#isSpaced ? " " : ""}`.slice(this.#givenLength);
  }

  #forgetStart(): string {
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
