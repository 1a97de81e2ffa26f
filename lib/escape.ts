/**
 * A client's bytes made harmless: shown in a text, or put into JSON, in one
 * pass over the bytes.
 *
 * UTF-8 is checked on the way. Nothing is obeyed that drives a terminal, ends a
 * line, turns the direction of a text or cannot be seen.
 *
 * @module
 */

import { BACKSLASH, ByteBuffer, decode, DEL, encode, QUOTE, SPACE, TAB } from "./bytes.ts";

/** Characters beyond ASCII that are escaped: first and last of each range. */
const UNSAFE_RANGES = [
  [0x80, 0x9F], // C1
  [0xAD, 0xAD], // soft hyphen
  [0x061C, 0x061C], // bidirectional control
  [0x180E, 0x180E], // Mongolian vowel separator
  [0x200B, 0x200B], // zero width space; the joiners behind it stay, scripts and emoji need them
  [0x200E, 0x200F], // bidirectional controls
  [0x2028, 0x202E], // line and paragraph separator, bidirectional controls
  [0x2060, 0x2064], // word joiner, invisible operators
  [0x2066, 0x206F], // bidirectional controls, deprecated format characters
  [0xFEFF, 0xFEFF], // byte order mark
  [0xFFF9, 0xFFFB], // interlinear annotation
  [0xFFFE, 0xFFFF], // noncharacters
  [0xE0000, 0xE007F], // tags
  [0xE0100, 0xE01EF], // variation selectors for ideographs
] as const;

const CODE_POINTS = 0x110000;
/** One bit for each code point. */
const UNSAFE = unsafeBits();

function unsafeBits(): Uint8Array {
  const bits = new Uint8Array(CODE_POINTS >> 3);
  for (const [first, last] of UNSAFE_RANGES) {
    for (let code = first; code <= last; code++) bits[code >> 3]! |= 1 << (code & 7);
  }
  return bits;
}

function isUnsafe(code: number): boolean {
  return (UNSAFE[code >> 3]! >> (code & 7) & 1) === 1;
}

const NOT_UTF8 = -1;
const FIRST_OF_WIDTH = { 3: 0x800, 4: 0x10000 } as const;

/** The code point of the character that begins at `at`, which is not ASCII. */
function codePointAt(bytes: Uint8Array, at: number, end: number): number {
  const lead = bytes[at]!;
  if (lead < 0xC2 || at + 1 >= end) return NOT_UTF8;
  const second = bytes[at + 1]! ^ 0x80;
  if (second > 0x3F) return NOT_UTF8;
  if (lead < 0xE0) return (lead & 0x1F) << 6 | second;
  if (at + 2 >= end) return NOT_UTF8;
  const third = bytes[at + 2]! ^ 0x80;
  if (third > 0x3F) return NOT_UTF8;
  if (lead < 0xF0) {
    const code = (lead & 0x0F) << 12 | second << 6 | third;
    return code < FIRST_OF_WIDTH[3] || isSurrogate(code) ? NOT_UTF8 : code;
  }
  if (at + 3 >= end) return NOT_UTF8;
  const fourth = bytes[at + 3]! ^ 0x80;
  if (fourth > 0x3F) return NOT_UTF8;
  const code = (lead & 0x0F) << 18 | second << 12 | third << 6 | fourth;
  return code < FIRST_OF_WIDTH[4] || code >= CODE_POINTS ? NOT_UTF8 : code;
}

function isSurrogate(code: number): boolean {
  return code >> 11 === 0xD800 >> 11;
}

/** Bytes of a character in UTF-8 that is not ASCII. */
function widthOf(code: number): number {
  return code < FIRST_OF_WIDTH[3] ? 2 : code < FIRST_OF_WIDTH[4] ? 3 : 4;
}

const DIGITS = encode("0123456789ABCDEF");

function writeHex(target: Uint8Array, at: number, value: number, digits: number): number {
  for (let shift = 4 * digits - 4; shift >= 0; shift -= 4) {
    target[at++] = DIGITS[value >> shift & 0xF]!;
  }
  return at;
}

/** Long lines are escaped in blocks, for room is made for the worst. */
const BLOCK_BYTES = 16 * 1024;
/** The character that is begun in a block ends behind it. */
const OVERHANG_BYTES = 3;

// -- Text --

/** `\xNN` for a byte; a character of n bytes takes at most 4n, too. */
const MAX_SHOWN_BYTES = 4;
const LETTER_X = 0x78;
const LETTER_U = 0x75;
const OPENING_BRACE = 0x7B;
const CLOSING_BRACE = 0x7D;

/** Appends a client's bytes so that they can be shown: `\xNN`, `\u{NNNN}`. */
export function appendShown(
  out: ByteBuffer,
  bytes: Uint8Array,
  start: number,
  end: number,
): void {
  for (let at = start; at < end;) {
    const stop = Math.min(end, at + BLOCK_BYTES);
    out.reserve(MAX_SHOWN_BYTES * (stop + OVERHANG_BYTES - at));
    at = showBlock(out, bytes, at, stop, end);
  }
}

function showBlock(
  out: ByteBuffer,
  bytes: Uint8Array,
  start: number,
  stop: number,
  end: number,
): number {
  const target = out.bytes;
  let length = out.length;
  let at = start;
  while (at < stop) {
    const byte = bytes[at]!;
    if (byte >= SPACE && byte < DEL || byte === TAB) {
      target[length++] = byte;
      at++;
      continue;
    }
    const code = byte <= DEL ? NOT_UTF8 : codePointAt(bytes, at, end);
    if (code === NOT_UTF8) {
      length = showByte(target, length, byte);
      at++;
      continue;
    }
    const next = at + widthOf(code);
    if (isUnsafe(code)) length = showCharacter(target, length, code);
    else for (let i = at; i < next; i++) target[length++] = bytes[i]!;
    at = next;
  }
  out.length = length;
  return at;
}

function showByte(target: Uint8Array, at: number, byte: number): number {
  target[at] = BACKSLASH;
  target[at + 1] = LETTER_X;
  return writeHex(target, at + 2, byte, 2);
}

function showCharacter(target: Uint8Array, at: number, code: number): number {
  target[at] = BACKSLASH;
  target[at + 1] = LETTER_U;
  target[at + 2] = OPENING_BRACE;
  const end = writeHex(target, at + 3, code, code < FIRST_OF_WIDTH[4] ? 4 : 5);
  target[end] = CLOSING_BRACE;
  return end + 1;
}

// -- JSON --

/** `\u00NN` for a byte. */
const MAX_JSON_BYTES = 6;

/** What stands behind the backslash of the ASCII characters with a short escape, else 0. */
const SHORT_ESCAPES = shortEscapes();

function shortEscapes(): Uint8Array {
  const letters = new Uint8Array(DEL + 1);
  for (const character of '"\\\b\f\n\r\t') {
    letters[character.charCodeAt(0)] = JSON.stringify(character).charCodeAt(2);
  }
  return letters;
}

/**
 * Appends a client's bytes as they stand between the quotes of a JSON string.
 * Returns false, and leaves `out` as it was, if they are not UTF-8.
 */
export function appendJson(
  out: ByteBuffer,
  bytes: Uint8Array,
  start: number,
  end: number,
): boolean {
  const before = out.length;
  for (let at = start; at < end;) {
    const stop = Math.min(end, at + BLOCK_BYTES);
    out.reserve(MAX_JSON_BYTES * (stop + OVERHANG_BYTES - at));
    at = jsonBlock(out, bytes, at, stop, end);
    if (at === NOT_UTF8) {
      out.length = before;
      return false;
    }
  }
  return true;
}

function jsonBlock(
  out: ByteBuffer,
  bytes: Uint8Array,
  start: number,
  stop: number,
  end: number,
): number {
  const target = out.bytes;
  let length = out.length;
  let at = start;
  while (at < stop) {
    const byte = bytes[at]!;
    if (byte <= DEL) {
      if (byte >= SPACE && byte !== QUOTE && byte !== BACKSLASH && byte !== DEL) {
        target[length++] = byte;
      } else length = writeJsonAscii(target, length, byte);
      at++;
      continue;
    }
    const code = codePointAt(bytes, at, end);
    if (code === NOT_UTF8) return NOT_UTF8;
    const next = at + widthOf(code);
    if (isUnsafe(code)) length = writeJsonCharacter(target, length, code);
    else for (let i = at; i < next; i++) target[length++] = bytes[i]!;
    at = next;
  }
  out.length = length;
  return at;
}

function writeJsonAscii(target: Uint8Array, at: number, byte: number): number {
  const letter = SHORT_ESCAPES[byte]!;
  if (letter === 0) return writeJsonUnit(target, at, byte);
  target[at] = BACKSLASH;
  target[at + 1] = letter;
  return at + 2;
}

/** JSON has four digits: a character beyond them takes two, as in UTF-16. */
function writeJsonCharacter(target: Uint8Array, at: number, code: number): number {
  if (code < FIRST_OF_WIDTH[4]) return writeJsonUnit(target, at, code);
  const rest = code - FIRST_OF_WIDTH[4];
  const low = writeJsonUnit(target, at, 0xD800 | rest >> 10);
  return writeJsonUnit(target, low, 0xDC00 | rest & 0x3FF);
}

function writeJsonUnit(target: Uint8Array, at: number, unit: number): number {
  target[at] = BACKSLASH;
  target[at + 1] = LETTER_U;
  return writeHex(target, at + 2, unit, 4);
}

// -- Texts of our own --

/** A text from outside as it can be shown: a path, a certificate's name, what a user typed. */
export function shown(text: string): string {
  const bytes = encode(text);
  const out = new ByteBuffer(0);
  appendShown(out, bytes, 0, bytes.length);
  return decode(out.filled);
}

/** A text as a JSON string, quotes included. */
export function quoted(text: string): string {
  const bytes = encode(text);
  const out = new ByteBuffer(0);
  appendJson(out, bytes, 0, bytes.length);
  return `"${decode(out.filled)}"`;
}
