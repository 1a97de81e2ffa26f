/**
 * A client's bytes made harmless: shown in a text, or put into JSON, in one
 * pass over the bytes.
 *
 * UTF-8 is checked on the way. Runs of what most lines are made of are copied in
 * words of four bytes, the rest takes a look at each byte: no kind of line is
 * slow, so that no client costs as much as many.
 *
 * @module
 */

import { BACKSLASH, ByteBuffer, decode, DEL, encode, QUOTE, SPACE, TAB } from "../bytes.ts";
import { CachedView, fourTimes, ONES, TOP_BITS, wordOf } from "../swar.ts";
import {
  codePointAt,
  FIRST_OF_WIDTH,
  HANGUL_FILLER,
  isUnsafe,
  LEADS,
  NARROW_LEAD,
  NO_LEAD,
  NOT_UTF8,
  WIDE_LEAD,
  widthOf,
} from "./utf8.ts";

// -- Two ways to escape --

/** How bytes are escaped. */
interface Style {
  /** Printable ASCII characters that are escaped, as words; DEL stands for none. */
  readonly escaped: readonly [number, number];
  /** What is written for an ASCII character, and for a byte that is not UTF-8, as a word. */
  readonly written: Int32Array;
  /** How many bytes that takes; two digits make it 6. */
  readonly widths: Uint8Array;
  /** The most that one byte takes. */
  readonly maxWidth: number;
  /** Whether a byte that is not UTF-8 can be written. */
  readonly hasBytes: boolean;
  /** Writes a character beyond ASCII; returns where it ends. */
  writeCharacter(target: DataView, at: number, code: number): number;
}

/** Two hexadecimal digits for each byte. */
const HEX = Uint16Array.from({ length: 256 }, (_, byte) => {
  const [high = 0, low = 0] = encode(byte.toString(16).toUpperCase().padStart(2, "0"));
  return high << 8 | low;
});

/** `\xNN` and `\u{NNNN}`, for people. */
const TEXT: Style = {
  escaped: [fourTimes(DEL), fourTimes(DEL)],
  ...tables((byte) => {
    const isCopied = byte === TAB || byte >= SPACE && byte < DEL;
    return isCopied ? String.fromCharCode(byte) : `\\x${hex(byte, 2)}`;
  }),
  maxWidth: 4,
  hasBytes: true,
  writeCharacter(target, at, code) {
    const end = code < FIRST_OF_WIDTH[4] ? at + 7 : at + 8;
    // Writes the first of five digits; the brace then takes the place of the zero before it.
    target.setUint16(end - 6, HEX[code >> 16]!);
    target.setUint16(at, BACKSLASH_U);
    target.setUint8(at + 2, OPENING_BRACE);
    target.setUint16(end - 4, HEX[code >> 8 & 0xFF]!);
    target.setUint16(end - 2, HEX[code & 0xFF]!);
    target.setUint8(end, CLOSING_BRACE);
    return end + 1;
  },
};

/** What stands between the quotes of a JSON string: `\n`, `\uNNNN`. */
const JSON_TEXT: Style = {
  escaped: [fourTimes(QUOTE), fourTimes(BACKSLASH)],
  ...tables((byte) => {
    return byte < DEL
      ? JSON.stringify(String.fromCharCode(byte)).slice(1, -1)
      : `\\u${hex(byte, 4)}`;
  }),
  maxWidth: 6,
  hasBytes: false,
  writeCharacter(target, at, code) {
    if (code < FIRST_OF_WIDTH[4]) return writeUnit(target, at, code);
    const rest = code - FIRST_OF_WIDTH[4];
    const low = writeUnit(target, at, 0xD800 | rest >> 10);
    return writeUnit(target, low, 0xDC00 | rest & 0x3FF);
  },
};

const BACKSLASH_U = 0x5C75;
const OPENING_BRACE = 0x7B;
const CLOSING_BRACE = 0x7D;

function hex(value: number, digits: number): string {
  return value.toString(16).toUpperCase().padStart(digits, "0");
}

function tables(escape: (byte: number) => string): Pick<Style, "written" | "widths"> {
  const escapes = Array.from({ length: 256 }, (_, byte) => encode(escape(byte)));
  return {
    written: Int32Array.from(escapes, ([a = 0, b = 0, c = 0, d = 0]) => wordOf(a, b, c, d)),
    widths: Uint8Array.from(escapes, ({ length }) => length),
  };
}

/** One code unit of UTF-16, as JSON escapes it. */
function writeUnit(target: DataView, at: number, unit: number): number {
  target.setUint16(at, BACKSLASH_U);
  target.setUint16(at + 2, HEX[unit >> 8]!);
  target.setUint16(at + 4, HEX[unit & 0xFF]!);
  return at + 6;
}

// -- The pass --

/** Appends a client's bytes so that they can be shown: `\xNN`, `\u{NNNN}`. */
export function appendShown(out: ByteBuffer, bytes: Uint8Array, start: number, end: number): void {
  appendEscaped(out, bytes, start, end, TEXT);
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
  const isUtf8 = appendEscaped(out, bytes, start, end, JSON_TEXT);
  if (!isUtf8) out.length = before;
  return isUtf8;
}

/** Returns false at the first byte that cannot be written. */
function appendEscaped(
  out: ByteBuffer,
  bytes: Uint8Array,
  start: number,
  end: number,
  style: Style,
): boolean {
  const base = bytes.byteOffset;
  const isWritten = appendBlocks(out, SOURCE.of(bytes), base + start, base + end, style);
  SOURCE.release();
  TARGET.release();
  return isWritten;
}

/** Long lines are escaped in blocks: room for the longest escapes is made for one at a time. */
const BLOCK_BYTES = 16 * 1024;
/** A character may end behind its block, and words are written whole. */
const SLACK_BYTES = 8;

function appendBlocks(
  out: ByteBuffer,
  source: DataView,
  start: number,
  end: number,
  style: Style,
): boolean {
  for (let at = start; at < end;) {
    const stop = Math.min(end, at + BLOCK_BYTES);
    out.reserve(style.maxWidth * (stop - at + SLACK_BYTES));
    while (at < stop) {
      at = source.getUint8(at) <= DEL
        ? appendAscii(out, source, at, stop, style)
        : appendOther(out, source, at, stop, end, style);
      if (at === NOT_UTF8) return false;
    }
  }
  return true;
}

const SOURCE = new CachedView();
const TARGET = new CachedView();

const LOW_BITS = fourTimes(0x7F);
const SPACES = fourTimes(SPACE);

function appendAscii(
  out: ByteBuffer,
  source: DataView,
  start: number,
  stop: number,
  style: Style,
): number {
  const at = appendPlain(out, source, start, stop, style);
  return appendByTable(out, source, at, Math.min(stop, at + BY_TABLE_BYTES), style);
}

/** Copies printable ASCII by pairs of words; stops at or up to 7 bytes before what it may not copy. */
function appendPlain(
  out: ByteBuffer,
  source: DataView,
  start: number,
  stop: number,
  style: Style,
): number {
  const target = TARGET.of(out.bytes);
  const [one, other] = style.escaped;
  let length = out.length;
  let at = start;
  for (const last = stop - 7; at < last; at += 8, length += 8) {
    const a = source.getInt32(at);
    const b = source.getInt32(at + 4);
    target.setInt32(length, a);
    target.setInt32(length + 4, b);
    const doubts = a | a - SPACES | a + ONES | (a ^ one) - ONES | (a ^ other) - ONES |
      b | b - SPACES | b + ONES | (b ^ one) - ONES | (b ^ other) - ONES;
    if ((doubts & TOP_BITS) !== 0) break;
  }
  out.length = length;
  return at;
}

/** So many bytes are looked up one by one before words are tried again. */
const BY_TABLE_BYTES = 64;

/** Writes ASCII, whatever it is. */
function appendByTable(
  out: ByteBuffer,
  source: DataView,
  start: number,
  stop: number,
  style: Style,
): number {
  const target = TARGET.of(out.bytes);
  const [one, other] = style.escaped;
  let length = out.length;
  let at = start;
  for (const last = stop - 3; at < last; at += 4) {
    const word = source.getInt32(at);
    if ((word & TOP_BITS) !== 0) break;
    const doubts = word - SPACES | word + ONES | (word ^ one) - ONES | (word ^ other) - ONES;
    if ((doubts & TOP_BITS) === 0) {
      target.setInt32(length, word);
      length += 4;
    } else length = writeWord(target, length, word, style);
  }
  for (; at < stop; at++) {
    const byte = source.getUint8(at);
    if (byte > DEL) break;
    length = writeAscii(target, length, byte, style);
  }
  out.length = length;
  return at;
}

function writeWord(target: DataView, at: number, word: number, style: Style): number {
  const second = writeAscii(target, at, word >>> 24, style);
  const third = writeAscii(target, second, word >>> 16 & 0xFF, style);
  const fourth = writeAscii(target, third, word >>> 8 & 0xFF, style);
  return writeAscii(target, fourth, word & 0xFF, style);
}

function writeAscii(target: DataView, at: number, byte: number, style: Style): number {
  const width = style.widths[byte]!;
  target.setInt32(at, style.written[byte]!);
  if (width === 6) target.setUint16(at + 4, HEX[byte]!);
  return at + width;
}

/** Writes what begins beyond ASCII: one character at least. */
function appendOther(
  out: ByteBuffer,
  source: DataView,
  start: number,
  stop: number,
  end: number,
  style: Style,
): number {
  const lead = LEADS[source.getUint8(start)];
  if (lead === NO_LEAD) return style.hasBytes ? appendBytes(out, source, start, stop) : NOT_UTF8;
  let at = start;
  if (lead === NARROW_LEAD) at = appendNarrow(out, source, start, stop, style);
  if (lead === WIDE_LEAD) at = appendWide(out, source, start, stop);
  return at > start ? at : appendCharacters(out, source, start, stop, end, style);
}

/** Writes bytes that are not UTF-8. */
function appendBytes(out: ByteBuffer, source: DataView, start: number, stop: number): number {
  const target = TARGET.of(out.bytes);
  let length = out.length;
  let at = start;
  for (; at < stop; at++, length += 4) {
    const byte = source.getUint8(at);
    if (byte <= DEL || LEADS[byte] !== NO_LEAD) break;
    target.setInt32(length, TEXT.written[byte]!);
  }
  out.length = length;
  return at;
}

/**
 * Copies, by words, what consists of printable ASCII and characters of two bytes
 * with a narrow lead: most text in Latin, Greek, Cyrillic and Hebrew letters.
 */
function appendNarrow(
  out: ByteBuffer,
  source: DataView,
  start: number,
  stop: number,
  style: Style,
): number {
  const target = TARGET.of(out.bytes);
  const [one, other] = style.escaped;
  let length = out.length;
  let at = start;
  let lastLead = 0;
  for (const last = stop - 3; at < last; at += 4, length += 4) {
    const word = source.getInt32(at);
    const low = word & LOW_BITS;
    const leads = word & word << 1 & TOP_BITS;
    const continuations = word & ~leads;
    const expected = leads >>> 8 | lastLead;
    const fit = low + CONTROL_GAP & ~(low + ONES) & (low ^ one) + LOW_BITS &
      (low ^ other) + LOW_BITS;
    const narrow = ~(word << 2) & low + RARE_GAP & (low ^ CD_LEAD) + LOW_BITS &
      (low ^ D8_LEAD) + LOW_BITS;
    const doubts = ~(word | fit) | leads & ~narrow | expected ^ continuations;
    if ((doubts & TOP_BITS) !== 0) break;
    target.setInt32(length, word);
    lastLead = leads << 24;
  }
  const unfinished = lastLead === 0 ? 0 : 1;
  out.length = length - unfinished;
  return at - unfinished;
}

/** What, added to its low bits, brings all but control characters to the top bit. */
const CONTROL_GAP = fourTimes(0x80 - SPACE);
/** The same for leads of two bytes but C0, C1 and C2. */
const RARE_GAP = fourTimes(0x80 - 0x43);
/** The low bits of CD, which begins combining marks and a joiner that cannot be seen. */
const CD_LEAD = fourTimes(0x4D);
/** The low bits of D8, which begins Arabic letters and a bidirectional control. */
const D8_LEAD = fourTimes(0x58);

/** Copies characters with a wide lead that are not escaped. */
function appendWide(out: ByteBuffer, source: DataView, start: number, stop: number): number {
  const target = TARGET.of(out.bytes);
  let length = out.length;
  let at = start;
  for (const last = stop - 3; at < last; at += 3, length += 3) {
    const word = source.getInt32(at);
    if (LEADS[word >>> 24] !== WIDE_LEAD || (word & 0x00C0C000) !== 0x00808000) break;
    if (word >>> 8 === HANGUL_FILLER) break;
    target.setInt32(length, word);
  }
  out.length = length;
  return at;
}

/** Writes characters one by one until ASCII comes. */
function appendCharacters(
  out: ByteBuffer,
  source: DataView,
  start: number,
  stop: number,
  end: number,
  style: Style,
): number {
  const target = TARGET.of(out.bytes);
  let length = out.length;
  let at = start;
  do {
    const code = codePointAt(source, at, end);
    if (code === NOT_UTF8) {
      if (!style.hasBytes) return NOT_UTF8;
      target.setInt32(length, style.written[source.getUint8(at)]!);
      length += style.maxWidth;
      at++;
    } else {
      const next = at + widthOf(code);
      if (isUnsafe(code)) length = style.writeCharacter(target, length, code);
      else for (let i = at; i < next; i++) target.setUint8(length++, source.getUint8(i));
      at = next;
    }
  } while (at < stop && source.getUint8(at) > DEL);
  out.length = length;
  return at;
}

// -- Bytes that are not UTF-8 --

const BASE64 = encode("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
const PADDING = 0x3D;

/** Appends bytes in base64. */
export function appendBase64(out: ByteBuffer, bytes: Uint8Array, start: number, end: number): void {
  out.reserve(4 * Math.ceil((end - start) / 3));
  const base = bytes.byteOffset;
  const rest = appendGroups(out, SOURCE.of(bytes), base + start, base + end) - base;
  if (rest < end) appendLastGroup(out, bytes.subarray(rest, end));
  SOURCE.release();
  TARGET.release();
}

/** Appends whole groups of three bytes; returns where they end. */
function appendGroups(out: ByteBuffer, source: DataView, start: number, end: number): number {
  const target = TARGET.of(out.bytes);
  let length = out.length;
  let at = start;
  for (const last = end - 2; at < last; at += 3, length += 4) {
    target.setInt32(length, base64Of(source.getUint16(at) << 8 | source.getUint8(at + 2)));
  }
  out.length = length;
  return at;
}

/** Appends one or two bytes and their padding. */
function appendLastGroup(out: ByteBuffer, [first = 0, second]: Uint8Array): void {
  const group = wordOf(0, first, second ?? 0, 0);
  TARGET.of(out.bytes).setInt32(out.length, base64Of(group));
  out.length += 4;
  out.bytes[out.length - 1] = PADDING;
  if (second === undefined) out.bytes[out.length - 2] = PADDING;
}

/** The four digits of three bytes. */
function base64Of(group: number): number {
  return wordOf(
    BASE64[group >> 18]!,
    BASE64[group >> 12 & 0x3F]!,
    BASE64[group >> 6 & 0x3F]!,
    BASE64[group & 0x3F]!,
  );
}

// -- Short texts --

/** A text from outside as it can be shown: a path, a certificate's name, what a user typed. */
export function shown(text: string): string {
  return escaped(text, TEXT);
}

/** A text as a JSON string, quotes included. */
export function quoted(text: string): string {
  return `"${escaped(text, JSON_TEXT)}"`;
}

const SCRATCH = new ByteBuffer(0);

function escaped(text: string, style: Style): string {
  const bytes = encode(text);
  SCRATCH.clear();
  appendEscaped(SCRATCH, bytes, 0, bytes.length, style);
  return decode(SCRATCH.filled);
}
