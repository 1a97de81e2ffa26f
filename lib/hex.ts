/**
 * Chunks of bytes as `hexdump -vC` shows them, each under a line of its own.
 *
 * @module
 */

import { type ByteBuffer, DEL, encode, LF, SPACE } from "./bytes.ts";
import { plural } from "./records.ts";

const ROW_BYTES = 16;
const DIGITS = encode("0123456789abcdef");
const DOT = 0x2E;
const BAR = 0x7C;
const OFFSET_DIGITS = 8;
/** Where the columns of a row begin, behind its offset. */
const PAIRS_COLUMN = 2;
const TEXT_COLUMN = 53;

/** Appends how long a chunk is and its rows, the first of which is at `offset`. */
export function appendChunk(
  out: ByteBuffer,
  mark: ">" | "<",
  offset: number,
  bytes: Uint8Array,
): void {
  out.appendText(`${mark} ${plural(bytes.length, "byte")}\n`);
  for (let at = 0; at < bytes.length; at += ROW_BYTES) {
    out.appendText((offset + at).toString(16).padStart(OFFSET_DIGITS, "0"));
    appendRow(out, bytes.subarray(at, at + ROW_BYTES));
  }
}

function appendRow(out: ByteBuffer, bytes: Uint8Array): void {
  out.reserve(TEXT_COLUMN + ROW_BYTES + 2);
  const target = out.bytes;
  const row = out.length;
  target.fill(SPACE, row, row + TEXT_COLUMN);
  let text = row + TEXT_COLUMN;
  target[text - 1] = BAR;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i]!;
    const pair = row + PAIRS_COLUMN + 3 * i + (i < ROW_BYTES / 2 ? 0 : 1);
    target[pair] = DIGITS[byte >> 4]!;
    target[pair + 1] = DIGITS[byte & 0xF]!;
    target[text++] = byte < SPACE || byte >= DEL ? DOT : byte;
  }
  target[text++] = BAR;
  target[text++] = LF;
  out.length = text;
}
