/**
 * Bytes as text, numbers, numbered lines. Not published.
 *
 * @module
 */

/** One character a byte, so that bytes can be compared as text. */
export function latin1(bytes: Uint8Array): string {
  let text = "";
  if (bytes.length < 64) {
    // A call with so many arguments takes longer than the few characters.
    for (const byte of bytes) text += String.fromCharCode(byte);
    return text;
  }
  for (let at = 0; at < bytes.length; at += 8192) {
    text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  }
  return text;
}

export function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
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
