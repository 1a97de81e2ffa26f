/**
 * Bytes and patterns as they are written in options and typed lines.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { BACKSLASH, decode, encode } from "./bytes.ts";
import { find } from "./swar.ts";

// -- Bytes --

/** What stands behind a backslash for one byte. */
const ESCAPES: ReadonlyMap<string, string> = new Map([
  ["n", "\n"],
  ["r", "\r"],
  ["t", "\t"],
  ["0", "\0"],
  ["\\", "\\"],
]);

const ESCAPE_REGEXP = /\\(?:x([\da-fA-F]{2})|u\{([\da-fA-F]{1,6})\}|([nrt0\\]))/y;

/**
 * Reads bytes as a user writes them: text in UTF-8 with `\n`, `\r`, `\t`, `\0`, `\\`, `\xNN`
 * (a byte) and `\u{N}` (a character).
 *
 * @throws {SyntaxError} If anything else follows a backslash; the message names it.
 */
export function parseBytes(text: string): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  for (let at = 0; at < text.length;) {
    const backslash = text.indexOf("\\", at);
    if (backslash === at) {
      const { length, bytes } = escapeAt(text, at);
      parts.push(bytes);
      at += length;
    } else {
      const end = backslash < 0 ? text.length : backslash;
      parts.push(encode(text.slice(at, end)));
      at = end;
    }
  }
  return new Uint8Array(Buffer.concat(parts));
}

function escapeAt(text: string, at: number): { length: number; bytes: Uint8Array } {
  ESCAPE_REGEXP.lastIndex = at;
  const [escape, byte, character, letter = ""] = ESCAPE_REGEXP.exec(text) ?? [];
  const length = escape?.length ?? 0;
  if (byte) return { length, bytes: Uint8Array.of(parseInt(byte, 16)) };
  const value = character ? characterOf(parseInt(character, 16)) : ESCAPES.get(letter);
  if (value !== undefined) return { length, bytes: encode(value) };
  throw new SyntaxError(
    `"${wrongEscape(text.slice(at))}" is no escape: use \\n, \\r, \\t, \\0, \\\\, \\xNN or \\u{N}`,
  );
}

/** The longest escape is `\\u{10FFFF}`. */
const MAX_ESCAPE_BYTES = 10;

/**
 * The same for bytes, which need not be UTF-8: what is no escape stays as it is.
 *
 * @throws {SyntaxError} As {@linkcode parseBytes} does.
 */
export function unescapeBytes(bytes: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = [];
  let start = 0;
  for (let at; (at = bytes.indexOf(BACKSLASH, start)) >= 0;) {
    const escape = escapeAt(decode(bytes.subarray(at, at + MAX_ESCAPE_BYTES)), 0);
    parts.push(bytes.subarray(start, at), escape.bytes);
    start = at + escape.length;
  }
  return start === 0 ? bytes : Buffer.concat([...parts, bytes.subarray(start)]);
}

/** Halves of a surrogate pair are no characters. */
function characterOf(code: number): string | undefined {
  const isCharacter = code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF);
  return isCharacter ? String.fromCodePoint(code) : undefined;
}

/** As much of `rest` as was meant to be the escape that it begins with. */
function wrongEscape(rest: string): string {
  const [escape = ""] = /^\\(u\{[^}]{0,8}\}?|x.{0,2}|.?)/su.exec(rest) ?? [];
  return escape;
}

// -- Search --

/**
 * Finds a fixed run of bytes in a stream, however it is split, by Knuth, Morris and
 * Pratt: each byte is looked at once, also in `aaaaab` for `aab`.
 */
export class ByteSearch {
  readonly #wanted: Uint8Array;
  /** How much still matches where the byte behind so many does not. */
  readonly #fallbacks: readonly number[];
  #matched = 0;

  /** @param wanted One byte at least. */
  constructor(wanted: Uint8Array) {
    this.#wanted = wanted;
    this.#fallbacks = fallbacksOf(wanted);
  }

  /** How many of the last bytes may be the beginning of what is wanted. */
  get matched(): number {
    return this.#matched;
  }

  /** Looks on; returns where the first match ends, or -1 if the bytes end before. */
  find(bytes: Uint8Array, start: number, end: number): number {
    const wanted = this.#wanted;
    let matched = this.#matched;
    for (let at = start; at < end; at++) {
      if (matched === 0) {
        at = find(bytes, wanted[0]!, at, end);
        if (at === end) break;
      }
      while (matched > 0 && bytes[at] !== wanted[matched]) matched = this.#fallbacks[matched]!;
      if (bytes[at] === wanted[matched]) matched++;
      if (matched < wanted.length) continue;
      this.#matched = 0;
      return at + 1;
    }
    this.#matched = matched;
    return -1;
  }

  /** Begins anew: what comes next has nothing to do with what came. */
  reset(): void {
    this.#matched = 0;
  }
}

/** For each length of a match that fails: the longest match that ends in the same bytes. */
function fallbacksOf(wanted: Uint8Array): number[] {
  const fallbacks = [0, 0];
  let matched = 0;
  for (let at = 1; at < wanted.length; at++) {
    while (matched > 0 && wanted[at] !== wanted[matched]) matched = fallbacks[matched]!;
    if (wanted[at] === wanted[matched]) matched++;
    fallbacks.push(matched);
  }
  return fallbacks;
}

// -- Patterns --

/** A frame that patterns are tried on. It becomes text once at most, if a regex asks for it. */
export class Candidate {
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
  #text: string | undefined;

  /** The frame is `bytes[start..end)`, which stays as it is meanwhile. */
  constructor(bytes: Uint8Array, start = 0, end: number = bytes.length) {
    this.bytes = bytes;
    this.start = start;
    this.end = end;
  }

  /** What is not UTF-8 is U+FFFD. */
  get text(): string {
    return this.#text ??= decode(this.bytes.subarray(this.start, this.end));
  }
}

/** What `$1` to `$9` stand for, from `$0`, the whole match; a text has none. */
export type Groups = readonly (string | undefined)[];

/** What a frame may contain: a text, byte by byte, or a regular expression. */
export interface Pattern {
  /** As it was typed. */
  readonly source: string;
  /** Whether it is a regular expression, which may have groups. */
  readonly isRegex: boolean;
  /** The groups of the first match, or `undefined` if there is none. */
  match(frame: Candidate): Groups | undefined;
}

/**
 * Reads a pattern: `/regex/` or `/regex/i`, else text with the escapes of
 * {@linkcode parseBytes}.
 *
 * @throws {SyntaxError} If an escape is wrong or the regex does not compile.
 */
export function parsePattern(source: string): Pattern {
  const [, regex, flags = ""] = /^\/(.+)\/(i?)$/s.exec(source) ?? [];
  if (regex === undefined) return new TextPattern(source, parseBytes(source));
  return new RegexPattern(source, new RegExp(regex, flags));
}

const NO_GROUPS: Groups = [];

class TextPattern implements Pattern {
  readonly source: string;
  readonly isRegex = false;
  readonly #isEmpty: boolean;
  readonly #search: ByteSearch;

  constructor(source: string, wanted: Uint8Array) {
    this.source = source;
    this.#isEmpty = wanted.length === 0;
    this.#search = new ByteSearch(wanted);
  }

  match({ bytes, start, end }: Candidate): Groups | undefined {
    this.#search.reset();
    return this.#isEmpty || this.#search.find(bytes, start, end) >= 0 ? NO_GROUPS : undefined;
  }
}

class RegexPattern implements Pattern {
  readonly source: string;
  readonly isRegex = true;
  readonly #regex: RegExp;

  constructor(source: string, regex: RegExp) {
    this.source = source;
    this.#regex = regex;
  }

  match(frame: Candidate): Groups | undefined {
    return this.#regex.exec(frame.text) ?? undefined;
  }
}
