/**
 * Bytes in growing memory, the names of a few, and the coders that all share.
 *
 * @module
 */

export const NUL = 0x00;
export const TAB = 0x09;
export const LF = 0x0A;
export const CR = 0x0D;
export const SPACE = 0x20;
export const QUOTE = 0x22;
export const BACKSLASH = 0x5C;
export const DEL = 0x7F;

export const NO_BYTES: Uint8Array<ArrayBuffer> = new Uint8Array(0);

const ENCODER = new TextEncoder();
const DECODER = new TextDecoder("utf-8", { ignoreBOM: true });

/** The bytes of a text in UTF-8. */
export function encode(text: string): Uint8Array<ArrayBuffer> {
  return ENCODER.encode(text);
}

/** The text of bytes in UTF-8; what is not UTF-8 becomes U+FFFD. */
export function decode(bytes: Uint8Array): string {
  return DECODER.decode(bytes);
}

/** Where `bytes[start..end)` ends without one LF or CRLF. */
export function lineEndOf(bytes: Uint8Array, start: number, end: number): number {
  if (end === start || bytes[end - 1] !== LF) return end;
  return end - 1 > start && bytes[end - 2] === CR ? end - 2 : end - 1;
}

const INITIAL_BYTES = 64 * 1024;

/** Bytes that are appended, taken together, and whose memory is then used again. */
export class ByteBuffer {
  readonly #keptBytes: number;
  bytes: Uint8Array<ArrayBuffer> = new Uint8Array(INITIAL_BYTES);
  length = 0;

  /** Memory beyond `keptBytes` is given back by {@linkcode clear}. */
  constructor(keptBytes: number) {
    this.#keptBytes = keptBytes;
  }

  /** Makes room for `count` more bytes, which may then be written behind `length`. */
  reserve(count: number): void {
    const needed = this.length + count;
    if (needed <= this.bytes.length) return;
    const grown = new Uint8Array(Math.max(needed, 2 * this.bytes.length));
    grown.set(this.bytes.subarray(0, this.length));
    this.bytes = grown;
  }

  append(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    this.bytes.set(bytes, this.length);
    this.length += bytes.length;
  }

  appendText(text: string): void {
    this.reserve(3 * text.length);
    const { written } = ENCODER.encodeInto(text, this.bytes.subarray(this.length));
    // Deno gives `written` as a floating-point number. Once `length` is one, V8 keeps it so in every
    // buffer, and slows all that counts with it: lines by a third, some by more than twice.
    this.length += written | 0;
  }

  /** What was appended, in place: valid until the buffer is changed. */
  get filled(): Uint8Array<ArrayBuffer> {
    return this.bytes.subarray(0, this.length);
  }

  clear(): void {
    this.length = 0;
    if (this.bytes.length > Math.max(this.#keptBytes, INITIAL_BYTES)) {
      this.bytes = new Uint8Array(INITIAL_BYTES);
    }
  }
}
