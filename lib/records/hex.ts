/**
 * Chunks of bytes as `hexdump -vC` shows them, each under a line of its own.
 *
 * @module
 */

import { type ByteBuffer, DEL, encode, LF, SPACE } from "../bytes.ts";
import { plural } from "../messages.ts";

const ROW_BYTES = 16;
const DIGITS = encode("0123456789abcdef");
const DOT = 0x2E;
const BAR = 0x7C;
const OFFSET_DIGITS = 8;
/** Where the columns of a row begin, behind its offset. */
const PAIRS_COLUMN = 2;
const TEXT_COLUMN = 53;
const ROW_END_BYTES = 2;

/** Appends how long a chunk is and its rows, the first of which is at `offset`. */
export function appendChunk(
  out: ByteBuffer,
  mark: ">" | "<",
  offset: number,
  bytes: Uint8Array,
): void {
  out.appendText(`${mark} ${plural(bytes.length, "byte")}\n`);
  for (let at = 0; at < bytes.length; at += ROW_BYTES) {
    appendOffset(out, offset + at);
    appendRow(out, bytes, at, Math.min(at + ROW_BYTES, bytes.length));
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
