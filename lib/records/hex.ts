/**
 * Bytes as pairs of digits: as `hexdump -vC` shows them, under a line of their own, or in it.
 *
 * @module
 */

import { type ByteBuffer, DEL, encode, LF, SPACE } from "../bytes.ts";
import { plural } from "../messages.ts";
import type { ConnectionEvent, Format, RunEvent, Sent, Subject, Target, Time } from "./records.ts";
import {
  appendMark,
  CUT_MARK,
  SENT_MARK,
  TextFormat,
  type TextOptions,
  WHOLE_MARK,
} from "./text.ts";

const ROW_BYTES = 16;
const DIGITS = encode("0123456789abcdef");
const DOT = 0x2E;
const BAR = 0x7C;
const OFFSET_DIGITS = 8;
/** Where the columns of a row begin, behind its offset. */
const PAIRS_COLUMN = 2;
const TEXT_COLUMN = 53;
const ROW_END_BYTES = 2;

/** How bytes are shown behind the time and the label. */
interface Layout {
  received(
    out: ByteBuffer,
    bytes: Uint8Array,
    start: number,
    end: number,
    isWhole: boolean,
    offset: number,
  ): void;
  sent(out: ByteBuffer, sent: Sent): void;
}

/** The hex format: a dump. */
const DUMP: Layout = {
  received: (out, bytes, start, end, _isWhole, offset) =>
    appendDump(out, ">", bytes, start, end, offset),
  sent: (out, { bytes, offset }) => appendDump(out, "<", bytes, 0, bytes.length, offset),
};

/** The hexline format: pairs of digits without blanks; of what was sent line ends, too. */
const PAIRS: Layout = {
  received: (out, bytes, start, end, isWhole) =>
    appendPairs(out, isWhole ? WHOLE_MARK : CUT_MARK, bytes, start, end),
  sent: (out, { bytes }) => appendPairs(out, SENT_MARK, bytes, 0, bytes.length),
};

/** A format that shows bytes, in one of two layouts: its labels and events are those of text. */
export class HexFormat implements Format {
  readonly #text: TextFormat;
  readonly #layout: Layout;

  constructor(kind: "hex" | "hexline", options: TextOptions) {
    this.#text = new TextFormat(options);
    this.#layout = kind === "hex" ? DUMP : PAIRS;
  }

  setTime(time: Time, text: string): void {
    this.#text.setTime(time, text);
  }

  label(subject: Subject): Uint8Array {
    return this.#text.label(subject);
  }

  received(
    out: ByteBuffer,
    label: Uint8Array,
    bytes: Uint8Array,
    start: number,
    end: number,
    isWhole: boolean,
    offset: number,
  ): void {
    out.append(this.#text.stamp);
    out.append(label);
    this.#layout.received(out, bytes, start, end, isWhole, offset);
  }

  sentLabel(to: Target): Uint8Array {
    return this.#text.sentLabel(to);
  }

  sent(out: ByteBuffer, label: Uint8Array, sent: Sent): void {
    out.append(this.#text.stamp);
    out.append(label);
    this.#layout.sent(out, sent);
  }

  event(out: ByteBuffer, subject: Subject, event: ConnectionEvent): void {
    this.#text.event(out, subject, event);
  }

  run(out: ByteBuffer, event: RunEvent): void {
    this.#text.run(out, event);
  }
}

function appendPairs(
  out: ByteBuffer,
  mark: number,
  bytes: Uint8Array,
  start: number,
  end: number,
): void {
  appendMark(out, mark);
  out.reserve(2 * (end - start) + 1);
  const target = out.bytes;
  let to = out.length;
  for (let at = start; at < end; at++) {
    const byte = bytes[at]!;
    target[to++] = DIGITS[byte >> 4]!;
    target[to++] = DIGITS[byte & 0xF]!;
  }
  target[to++] = LF;
  out.length = to;
}

/** Appends how many bytes there are, and their rows, the first of which is at `offset`. */
function appendDump(
  out: ByteBuffer,
  mark: ">" | "<",
  bytes: Uint8Array,
  start: number,
  end: number,
  offset: number,
): void {
  out.appendText(`${mark} ${plural(end - start, "byte")}\n`);
  for (let at = start; at < end; at += ROW_BYTES) {
    appendOffset(out, offset + at - start);
    appendRow(out, bytes, at, Math.min(at + ROW_BYTES, end));
  }
}

function appendOffset(out: ByteBuffer, offset: number): void {
  const digits = offset.toString(16).padStart(OFFSET_DIGITS, "0");
  out.reserve(digits.length);
  for (let i = 0; i < digits.length; i++) out.bytes[out.length++] = digits.charCodeAt(i);
}

function appendRow(out: ByteBuffer, bytes: Uint8Array, start: number, end: number): void {
  out.reserve(TEXT_COLUMN + ROW_BYTES + ROW_END_BYTES);
  const target = out.bytes;
  const row = out.length;
  target.fill(SPACE, row, row + TEXT_COLUMN);
  let pair = row + PAIRS_COLUMN;
  let text = row + TEXT_COLUMN;
  target[text - 1] = BAR;
  for (let at = start; at < end; at++, pair += 3) {
    const byte = bytes[at]!;
    if (at === start + ROW_BYTES / 2) pair++;
    target[pair] = DIGITS[byte >> 4]!;
    target[pair + 1] = DIGITS[byte & 0xF]!;
    target[text++] = byte < SPACE || byte >= DEL ? DOT : byte;
  }
  target[text++] = BAR;
  target[text++] = LF;
  out.length = text;
}
