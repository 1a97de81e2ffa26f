/**
 * Bytes as text, numbers, numbered lines. Not published.
 *
 * @module
 */

/** One character a byte, so that bytes can be compared as text. */
export function latin1(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
}

export function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

/** The numbers from 0 to below `end`. */
export function upTo(end: number): number[] {
  return Array.from({ length: end }, (_, i) => i);
}

export function numbered(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `line ${i}\n`);
}

/** A value that the types forbid: callers need not use TypeScript. */
export function untyped(value: unknown): never {
  return value as never;
}
