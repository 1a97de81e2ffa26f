/**
 * Where the records of TLS end in what comes in: a type, a version in two bytes, a
 * length in two more, and so many bytes.
 *
 * @module
 */

const LENGTH_BYTES = 2;
const HEADER_BYTES = 3 + LENGTH_BYTES;

/** Splits ciphertext at the ends of records, in whatever pieces it comes. */
export class RecordSplitter {
  /** Bytes of the header under way that have come. */
  #headerBytes = 0;
  /** The length that this header gives so far. */
  #length = 0;
  /** Bytes of the record under way that have not come, once its header has. */
  #missing = 0;

  /** The parts of `bytes`: each is a record, or what has come of one. */
  *split(bytes: Uint8Array): Generator<Uint8Array> {
    for (let start = 0; start < bytes.length;) {
      const end = this.endOf(bytes, start);
      yield bytes.subarray(start, end);
      start = end;
    }
  }

  /** Where the record at `start` ends, or what has come of it. */
  endOf(bytes: Uint8Array, start: number): number {
    let at = start;
    while (this.#missing === 0) {
      if (at === bytes.length) return at;
      this.#readHeader(bytes[at++]!);
      // A record without anything in it ends with its header.
      if (this.#headerBytes === 0 && this.#missing === 0) return at;
    }
    const count = Math.min(this.#missing, bytes.length - at);
    this.#missing -= count;
    return at + count;
  }

  #readHeader(byte: number): void {
    this.#headerBytes++;
    if (this.#headerBytes > HEADER_BYTES - LENGTH_BYTES) this.#length = this.#length << 8 | byte;
    if (this.#headerBytes < HEADER_BYTES) return;
    this.#missing = this.#length;
    this.#headerBytes = 0;
    this.#length = 0;
  }
}
