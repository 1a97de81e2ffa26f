/**
 * What clients say in other encodings than UTF-8, as UTF-8.
 *
 * @module
 */

import { encode, NO_BYTES } from "../bytes.ts";
import { createFramer, type Framing } from "./framing.ts";
import type { FrameFault, Framer, FrameSink } from "./partial_frame.ts";

/** An encoding of the WHATWG Encoding Standard by its name there; `undefined` is UTF-8. */
export type Encoding = string | undefined;

/** Whether characters have two bytes, so that a line end has, too. */
export function isUtf16(encoding: Encoding): boolean {
  return encoding !== undefined && encoding.startsWith("utf-16");
}

/**
 * Makes a framer as {@linkcode createFramer} does, whose frames are UTF-8. Bytes are
 * framed first, for counts and marks are bytes; but UTF-16 is text before it is framed.
 */
export function createDecodingFramer(
  framing: Framing,
  maxBytes: number,
  encoding: Encoding,
): Framer {
  if (encoding === undefined) return createFramer(framing, maxBytes);
  if (isUtf16(encoding)) return new TextFramer(createFramer(framing, maxBytes), encoding);
  return new DecodingFramer(createFramer(framing, maxBytes, false), encoding, framing === "none");
}

/** Makes UTF-8 of one client's bytes: a character that is split is kept for the next. */
export class Transcoder {
  readonly #decoder: TextDecoder;
  #isStart = true;

  constructor(encoding: string) {
    this.#decoder = new TextDecoder(encoding, { ignoreBOM: true });
  }

  /** `goesOn`: whether a character may be split by the end of these bytes. */
  convert(bytes: Uint8Array, goesOn: boolean): Uint8Array {
    const text = this.#decoder.decode(bytes, { stream: goesOn });
    if (!this.#isStart || text === "") return encode(text);
    this.#isStart = false;
    return encode(text.replace(/^\uFEFF/, ""));
  }
}

/** Frames the text of a client. */
class TextFramer implements Framer {
  readonly #framer: Framer;
  readonly #transcoder: Transcoder;

  constructor(framer: Framer, encoding: string) {
    this.#framer = framer;
    this.#transcoder = new Transcoder(encoding);
  }

  push(bytes: Uint8Array, sink: FrameSink): FrameFault | undefined {
    return this.#push(this.#transcoder.convert(bytes, true), sink);
  }

  #push(text: Uint8Array, sink: FrameSink): FrameFault | undefined {
    return text.length > 0 ? this.#framer.push(text, sink) : undefined;
  }

  flush(sink: FrameSink): void {
    this.#framer.flush(sink);
  }

  get isHolding(): boolean {
    return this.#framer.isHolding;
  }

  end(sink: FrameSink): void {
    this.#push(this.#transcoder.convert(NO_BYTES, false), sink);
    this.#framer.end(sink);
  }
}

/** Decodes the frames of a client. */
class DecodingFramer implements Framer {
  readonly #framer: Framer;
  readonly #frames: DecodedFrames;

  /** `isOfReads`: whether frames end where reads do, in the middle of a character. */
  constructor(framer: Framer, encoding: string, isOfReads: boolean) {
    this.#framer = framer;
    this.#frames = new DecodedFrames(encoding, isOfReads);
  }

  push(bytes: Uint8Array, sink: FrameSink): FrameFault | undefined {
    return this.#framer.push(bytes, this.#frames.to(sink));
  }

  flush(sink: FrameSink): void {
    this.#framer.flush(this.#frames.to(sink));
  }

  get isHolding(): boolean {
    return this.#framer.isHolding;
  }

  end(sink: FrameSink): void {
    this.#framer.end(this.#frames.to(sink));
    this.#frames.end();
  }
}

/** Nobody, before the first frame. */
const NOWHERE: FrameSink = { frame() {} };

/** Frames on their way to a sink. */
class DecodedFrames implements FrameSink {
  readonly #transcoder: Transcoder;
  readonly #isOfReads: boolean;
  #sink = NOWHERE;
  /** Whether what came last stands outside of frames. */
  #isOutside = false;

  constructor(encoding: string, isOfReads: boolean) {
    this.#transcoder = new Transcoder(encoding);
    this.#isOfReads = isOfReads;
  }

  to(sink: FrameSink): FrameSink {
    this.#sink = sink;
    return this;
  }

  frame(bytes: Uint8Array, start: number, end: number, isWhole: boolean): void {
    if (this.#isOutside) this.end();
    const goesOn = !isWhole || this.#isOfReads;
    const text = this.#transcoder.convert(bytes.subarray(start, end), goesOn);
    // All that came may be the beginning of a character.
    if (text.length === 0 && goesOn && end > start) return;
    this.#sink.frame(text, 0, text.length, isWhole);
  }

  outside(bytes: Uint8Array, start: number, end: number, isLast: boolean): void {
    this.#isOutside = !isLast;
    this.#giveOutside(this.#transcoder.convert(bytes.subarray(start, end), !isLast), isLast);
  }

  #giveOutside(text: Uint8Array, isLast: boolean): void {
    if (text.length === 0) return;
    if (this.#sink.outside) this.#sink.outside(text, 0, text.length, isLast);
    else this.#sink.frame(text, 0, text.length, false);
  }

  /** Gives what is left of a character that no more comes of. */
  end(): void {
    const rest = this.#transcoder.convert(NO_BYTES, false);
    const wasOutside = this.#isOutside;
    this.#isOutside = false;
    if (wasOutside) this.#giveOutside(rest, true);
    else if (rest.length > 0) this.#sink.frame(rest, 0, rest.length, false);
  }
}
