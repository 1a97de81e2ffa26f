/**
 * Cuts the bytes of one client into frames: lines, counted messages or reads.
 *
 * @module
 */

import { CR, LF, NUL } from "../bytes.ts";
import { find } from "../swar.ts";
import { BetweenFramer, EndFramer } from "./delimited.ts";
import { LengthFramer } from "./length_prefixed.ts";
import { OctetFramer, SyslogFramer } from "./octet_counting.ts";
import {
  cutPieces,
  type FrameLimits,
  type Framer,
  type FrameSink,
  HoldingFramer,
} from "./partial_frame.ts";

export type { FrameFault, Framer, FrameSink } from "./partial_frame.ts";

/** The ways to tell where a frame ends that have a name. */
export const FRAMINGS = [
  "newline",
  "nul",
  "octet",
  "any",
  "syslog",
  "none",
] as const satisfies readonly Framing[];

/** How frames end; {@linkcode createFramer} says what each means. */
export type Framing =
  | "newline"
  | "nul"
  | "octet"
  | "any"
  | "syslog"
  | "none"
  | {
    /** Frames that end at a mark. */
    readonly kind: "end";
    /** What ends a frame; 1 to 16 bytes, as all marks. */
    readonly end: Uint8Array;
  }
  | {
    /** Frames between two marks. */
    readonly kind: "between";
    /** What begins a frame. */
    readonly start: Uint8Array;
    /** What ends it. */
    readonly end: Uint8Array;
  }
  | {
    /** Frames that begin with their length. */
    readonly kind: "length";
    /** How many bytes the length has that begins each frame. */
    readonly width: 1 | 2 | 4;
    /** Whether the least significant of them comes first. */
    readonly isLittleEndian: boolean;
    /** What is added to the length, to give the bytes that follow it. */
    readonly offset: number;
  };

/** Whether frames say how many bytes they have, which is not how many of the text in UTF-16. */
export function countsBytes(framing: Framing): boolean {
  if (typeof framing === "string") return framing === "octet" || framing === "syslog";
  switch (framing.kind) {
    case "end":
    case "between":
      return false;
    case "length":
      return true;
  }
}

/** Whether a frame ends where a line does, or a NUL that stands for it. */
export function hasLineEnds(framing: Framing): boolean {
  return typeof framing === "string" && framing !== "octet" && framing !== "none";
}

/**
 * Makes the framer for one client.
 *
 * @param framing Where frames end: `newline` at LF or CRLF, `nul` at NUL, `any` at
 * LF, CRLF or CR, `octet` by RFC 6587 counts, `syslog` by such counts where a
 * message has one and else at LF, CRLF or NUL, `none` with each read; `end` at these
 * bytes, `between` these two marks, `length` after as many bytes as they say before.
 * @param maxBytes Longest frame in one piece, without its line end. Longer ones
 * come in pieces of that size.
 * @param keepsCharacters Whether pieces are up to 3 bytes shorter, and flushes wait,
 * rather than split a UTF-8 character.
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
export function createFramer(framing: Framing, maxBytes: number, keepsCharacters = true): Framer {
  const limits = { maxBytes, keepsCharacters };
  if (typeof framing === "string") return new NAMED[framing](limits);
  switch (framing.kind) {
    case "end":
      return new EndFramer(limits, framing.end);
    case "between":
      return new BetweenFramer(limits, framing.start, framing.end);
    case "length":
      return new LengthFramer(limits, framing);
  }
}

/** Lines that end at LF, with or without a CR before it. */
class NewlineFramer extends HoldingFramer {
  push(bytes: Uint8Array, sink: FrameSink): undefined {
    let start = 0;
    for (let at; (at = find(bytes, LF, start)) < bytes.length; start = at + 1) {
      this.held.finishLine(bytes, start, at, sink);
    }
    if (start < bytes.length) this.held.holdLine(bytes, start, bytes.length, sink);
  }
}

/** Lines that end at NUL. */
class NulFramer extends HoldingFramer {
  push(bytes: Uint8Array, sink: FrameSink): undefined {
    let start = 0;
    for (let at; (at = find(bytes, NUL, start)) < bytes.length; start = at + 1) {
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

/** Each read as it comes. */
class ReadFramer implements Framer {
  readonly #limits: FrameLimits;
  readonly isHolding = false;

  constructor(limits: FrameLimits) {
    this.#limits = limits;
  }

  push(bytes: Uint8Array, sink: FrameSink): undefined {
    const start = cutPieces(bytes, 0, bytes.length, this.#limits, sink);
    sink.frame(bytes, start, bytes.length, true);
  }

  flush(): void {}

  end(): void {}
}

const NAMED = {
  newline: NewlineFramer,
  nul: NulFramer,
  octet: OctetFramer,
  any: AnyFramer,
  syslog: SyslogFramer,
  none: ReadFramer,
} as const;
