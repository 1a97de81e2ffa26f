/**
 * A client's words made harmless, and figures in words. Knows nothing of the page.
 *
 * @module
 */

// -- What may not be shown as it is --

/** Characters that are escaped, beside control characters: as lib/records/utf8.ts has them. */
const UNSAFE_RANGES = [
  [0x80, 0x9F],
  [0xAD, 0xAD],
  [0x034F, 0x034F],
  [0x061C, 0x061C],
  [0x115F, 0x1160],
  [0x17B4, 0x17B5],
  [0x180B, 0x180F],
  [0x200B, 0x200B],
  [0x200E, 0x200F],
  [0x2028, 0x202E],
  [0x2060, 0x206F],
  [0x3164, 0x3164],
  [0xFE00, 0xFE0D],
  [0xFEFF, 0xFEFF],
  [0xFFA0, 0xFFA0],
  [0xFFF0, 0xFFFB],
  [0xFFFE, 0xFFFF],
  [0x1BCA0, 0x1BCA3],
  [0x1D173, 0x1D17A],
  [0xE0000, 0xE0FFF],
];

const UNSAFE_BMP = new Uint8Array(0x10000);
for (const [first, last] of UNSAFE_RANGES) UNSAFE_BMP.fill(1, first, last + 1);

function isUnsafe(code) {
  if (code < 0x10000) return UNSAFE_BMP[code] === 1;
  return UNSAFE_RANGES.some(([first, last]) => code >= first && code <= last);
}

/** For each byte what is shown for it where it is ASCII or no UTF-8. */
const BYTE_TEXTS = Array.from({ length: 256 }, (_, byte) => {
  const isShown = byte === 9 || byte >= 0x20 && byte < 0x7F;
  return isShown ? String.fromCharCode(byte) : `\\x${digits(byte, 2)}`;
});

function digits(value, length) {
  return value.toString(16).toUpperCase().padStart(length, "0");
}

function characterText(code) {
  if (code < 0x80) return BYTE_TEXTS[code];
  return isUnsafe(code) ? `\\u{${digits(code, 4)}}` : String.fromCodePoint(code);
}

/** Collects what is shown, as far as there is room for it, and counts all. */
class Shown {
  text = "";
  length = 0;
  #limit;

  constructor(limit) {
    this.#limit = limit;
  }

  /** Adds an escape, which is not cut. */
  add(text) {
    this.length += text.length;
    if (this.length <= this.#limit) this.text += text;
  }

  /** Adds text as it is. */
  addPlain(text) {
    const room = this.#limit - this.length;
    this.length += text.length;
    if (room > 0) this.text += room < text.length ? cut(text, room) : text;
  }
}

/** The first `length` units of a text, or one less rather than half a character. */
export function cut(text, length) {
  const isHalf = /[\uD800-\uDBFF]/.test(text[length - 1] ?? "");
  return text.slice(0, isHalf ? length - 1 : length);
}

/**
 * A text with what is unsafe escaped, at most `limit` characters of it, and its
 * whole length.
 */
export function shownText(text, limit = Infinity) {
  const shown = new Shown(limit);
  let from = 0;
  for (let at = 0; at < text.length;) {
    const code = text.codePointAt(at);
    const end = at + (code > 0xFFFF ? 2 : 1);
    const isPlain = code < 0x7F ? code >= 0x20 || code === 9 : code > 0x7F && !isUnsafe(code);
    if (!isPlain) {
      shown.addPlain(text.slice(from, at));
      shown.add(characterText(code));
      from = end;
    }
    at = end;
  }
  shown.addPlain(text.slice(from));
  return shown;
}

/** The same of bytes, of which those that are not UTF-8 are escaped one by one. */
export function shownBytes(bytes, limit = Infinity) {
  const shown = new Shown(limit);
  for (let at = 0; at < bytes.length;) {
    const lead = bytes[at];
    const width = lead < 0x80 ? 1 : widthAt(bytes, at);
    shown.add(width < 2 ? BYTE_TEXTS[lead] : characterText(codePointAt(bytes, at, width)));
    at += width || 1;
  }
  return shown;
}

/** How many bytes the character takes that begins at `at` beyond ASCII; 0 if none does. */
function widthAt(bytes, at) {
  const lead = bytes[at];
  const width = lead < 0xC2 || lead > 0xF4 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  for (let i = 1; i < width; i++) if ((bytes[at + i] & 0xC0) !== 0x80) return 0;
  const second = bytes[at + 1];
  const isOverlong = lead === 0xE0 && second < 0xA0 || lead === 0xF0 && second < 0x90;
  const isBeyond = lead === 0xED && second > 0x9F || lead === 0xF4 && second > 0x8F;
  return isOverlong || isBeyond ? 0 : width;
}

function codePointAt(bytes, at, width) {
  let code = bytes[at] & (0x7F >> width);
  for (let i = 1; i < width; i++) code = code << 6 | bytes[at + i] & 0x3F;
  return code;
}

/** More marks on one letter than any script has; shaping them takes the square of their number. */
const PILE_REGEXP = /(\p{M}{12})(\p{M}+)/gu;

/** A text whose marks do not pile up: those beyond the twelfth on one letter are escaped. */
export function withoutPiles(text) {
  return text.replace(
    PILE_REGEXP,
    (_, kept, rest) =>
      kept + Array.from(rest, (mark) => `\\u{${digits(mark.codePointAt(0), 4)}}`).join(""),
  );
}

/** Bytes as pairs of digits. */
export function pairsOf(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
}

// -- Figures --

export function plural(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

const NUMBERS = new Intl.NumberFormat("en");

export function count(number) {
  return NUMBERS.format(number);
}

export function size(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  const power = Math.min(4, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** power;
  return `${value.toFixed(value < 10 ? 1 : 0)} ${" kMGT"[power]}B`;
}

/** A time that has passed, in one unit. */
export function span(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

/** A time between two records: exact where it is short, in two units where it is long. */
export function gap(seconds) {
  if (seconds < 60) return `+${seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `+${minutes} min ${Math.floor(seconds % 60)} s`;
  return `+${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function pace(perSecond) {
  return perSecond > 0 && perSecond < 10 ? perSecond.toFixed(1) : count(Math.round(perSecond));
}
