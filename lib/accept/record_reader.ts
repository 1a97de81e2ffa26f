/**
 * The records of TLS that come from a stream.
 *
 * @module
 */

import type { ByteStream } from "../../poller.ts";
import { NO_BYTES } from "../bytes.ts";
import { RecordSplitter } from "./tls_records.ts";

const SMALL_READ_BYTES = 2 * 1024;
const LARGE_READ_BYTES = 64 * 1024;
const GROWTH = 8;

/** Reads no more than it is asked for. */
export class RecordReader {
  readonly #stream: ByteStream;
  readonly #splitter = new RecordSplitter();
  #buffer: Uint8Array = new Uint8Array(SMALL_READ_BYTES);
  /** What has been read and not been taken. */
  #rest: Uint8Array = NO_BYTES;
  #size = SMALL_READ_BYTES;
  /** The first byte that has come; `undefined` if none has. */
  firstByte: number | undefined;

  constructor(stream: ByteStream) {
    this.#stream = stream;
  }

  get isEmpty(): boolean {
    return this.#rest.length === 0;
  }

  /** The next record, or as much of it as has come. */
  take(): Uint8Array {
    const end = this.#splitter.endOf(this.#rest, 0);
    const record = this.#rest.subarray(0, end);
    this.#rest = this.#rest.subarray(end);
    return record;
  }

  /** Waits for more, once all is taken; resolves to false at the end. */
  async fill(): Promise<boolean> {
    if (this.#buffer.length !== this.#size) this.#buffer = new Uint8Array(this.#size);
    const count = await this.#stream.read(this.#buffer);
    if (count === null) return false;
    this.#rest = this.#buffer.subarray(0, count);
    this.firstByte ??= this.#rest[0];
    this.#adapt(count);
    return true;
  }

  #adapt(count: number): void {
    if (count === this.#size) this.#size = Math.min(GROWTH * this.#size, LARGE_READ_BYTES);
    else if (count <= SMALL_READ_BYTES) this.#size = SMALL_READ_BYTES;
  }
}
