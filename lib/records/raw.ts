/**
 * The bytes of clients as they come, and nothing else.
 *
 * @module
 */

import { type ByteBuffer, NO_BYTES } from "../bytes.ts";
import type { Format } from "./records.ts";

/**
 * The raw format. What is no client's word has no place in it: that goes to another
 * log, in the text format, for stderr.
 */
export class RawFormat implements Format {
  setTime(): void {}

  label(): Uint8Array {
    return NO_BYTES;
  }

  received(
    out: ByteBuffer,
    _label: Uint8Array,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): void {
    out.append(start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end));
  }

  sentLabel(): Uint8Array {
    return NO_BYTES;
  }

  sent(): void {}

  event(): void {}

  run(): void {}
}
