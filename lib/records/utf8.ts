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
/** Begins characters of three bytes, none of which is escaped. */
export const WIDE_LEAD = 2;
/** Begins characters that need a closer look. */
const OTHER_LEAD = 3;
/** What each byte beyond ASCII begins. */
export const LEADS = Uint8Array.from({ length: 256 }, (_, byte) => leadOf(byte));

function leadOf(byte: number): number {
  if (byte < 0xC2 || byte > 0xF4) return NO_LEAD;
  if (byte > 0xC2 && byte < 0xE0 && byte !== 0xD8) return NARROW_LEAD;
  return byte > 0xE2 && byte < 0xED || byte === 0xEE ? WIDE_LEAD : OTHER_LEAD;
}
