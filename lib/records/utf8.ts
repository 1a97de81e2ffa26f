/**
 * Characters in UTF-8, and which of them are not to be trusted: what drives a
 * terminal, ends a line, turns the direction of a text or cannot be seen.
 *
 * @module
 */

/** Characters beyond ASCII that are escaped: first and last of each range. */
const UNSAFE_RANGES = [
  [0x80, 0x9F], // C1
  [0xAD, 0xAD], // soft hyphen
  [0x034F, 0x034F], // combining grapheme joiner
  [0x061C, 0x061C], // bidirectional control
  [0x115F, 0x1160], // Hangul fillers
  [0x17B4, 0x17B5], // Khmer inherent vowels
  [0x180B, 0x180F], // Mongolian variation selectors and vowel separator
  [0x200B, 0x200B], // zero width space; the joiners behind it stay, scripts and emoji need them
  [0x200E, 0x200F], // bidirectional controls
  [0x2028, 0x202E], // line and paragraph separator, bidirectional controls
  [0x2060, 0x206F], // word joiner, invisible operators, bidirectional controls, deprecated ones
  [0x3164, 0x3164], // Hangul filler
  [0xFE00, 0xFE0D], // variation selectors; the last two stay, they choose between text and emoji
  [0xFEFF, 0xFEFF], // byte order mark
  [0xFFA0, 0xFFA0], // halfwidth Hangul filler
  [0xFFF0, 0xFFFB], // unassigned, interlinear annotation
  [0xFFFE, 0xFFFF], // noncharacters
  [0x1BCA0, 0x1BCA3], // shorthand format controls
  [0x1D173, 0x1D17A], // musical format controls
  [0xE0000, 0xE0FFF], // tags, variation selectors for ideographs, unassigned
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

/** Whether a character beyond ASCII must not be written as it is. */
export function isUnsafe(code: number): boolean {
  return (UNSAFE[code >> 3]! >> (code & 7) & 1) === 1;
}

/** In place of a code point. */
export const NOT_UTF8 = -1;
/** The first code points that take three and four bytes. */
export const FIRST_OF_WIDTH = { 3: 0x800, 4: 0x10000 } as const;

/** The code point of the character that begins at `at`, which is not ASCII. */
export function codePointAt(source: DataView, at: number, end: number): number {
  const lead = source.getUint8(at);
  if (lead < 0xC2 || lead > 0xF4 || at + 1 >= end) return NOT_UTF8;
  const second = source.getUint8(at + 1) ^ 0x80;
  if (second > 0x3F) return NOT_UTF8;
  if (lead < 0xE0) return (lead & 0x1F) << 6 | second;
  if (at + 2 >= end) return NOT_UTF8;
  const third = source.getUint8(at + 2) ^ 0x80;
  if (third > 0x3F) return NOT_UTF8;
  if (lead < 0xF0) {
    const code = (lead & 0x0F) << 12 | second << 6 | third;
    return code < FIRST_OF_WIDTH[3] || isSurrogate(code) ? NOT_UTF8 : code;
  }
  if (at + 3 >= end) return NOT_UTF8;
  const fourth = source.getUint8(at + 3) ^ 0x80;
  if (fourth > 0x3F) return NOT_UTF8;
  const code = (lead & 0x0F) << 18 | second << 12 | third << 6 | fourth;
  return code < FIRST_OF_WIDTH[4] || code >= CODE_POINTS ? NOT_UTF8 : code;
}

function isSurrogate(code: number): boolean {
  return code >> 11 === 0xD800 >> 11;
}

/** Bytes of a character in UTF-8 that is not ASCII. */
export function widthOf(code: number): number {
  return code < FIRST_OF_WIDTH[3] ? 2 : code < FIRST_OF_WIDTH[4] ? 3 : 4;
}

/** Begins no character. */
export const NO_LEAD = 0;
/** Begins characters of two bytes, none of which is escaped. */
export const NARROW_LEAD = 1;
/** Begins characters of three bytes, of which at most {@linkcode HANGUL_FILLER} is escaped. */
export const WIDE_LEAD = 2;
/** Begins characters that need a closer look. */
const OTHER_LEAD = 3;
/** What each byte beyond ASCII begins. */
export const LEADS = Uint8Array.from({ length: 256 }, (_, byte) => leadOf(byte));

/** The bytes of U+3164, which lies alone among kana and letters of Hangul and bopomofo. */
export const HANGUL_FILLER = 0xE385A4;

function leadOf(byte: number): number {
  if (byte < 0xC2 || byte > 0xF4) return NO_LEAD;
  if (byte > 0xC2 && byte < 0xE0 && byte !== 0xCD && byte !== 0xD8) return NARROW_LEAD;
  return byte > 0xE2 && byte < 0xED || byte === 0xEE ? WIDE_LEAD : OTHER_LEAD;
}
