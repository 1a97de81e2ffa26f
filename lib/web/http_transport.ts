/**
 * An accepted connection as `node:http` takes it: one request is read of it, and
 * what stands behind that is not.
 *
 * @module
 */

import { Duplex } from "node:stream";
import { CR, LF } from "../bytes.ts";
import { writeAll } from "../io.ts";

const READ_BYTES = 4 * 1024;
/** What ends the head of a request. */
const HEAD_END = [CR, LF, CR, LF] as const;

/** How long, and how much, is still read and dropped after the answer. */
const LINGER_MS = 500;
const LINGER_BYTES = 64 * 1024;

/**
 * How much of the connection is passed on: the head of the first request; its body,
 * too; or nothing any more, while it is answered.
 *
 * `node:http` would parse all requests that one segment holds and queue their answers,
 * and a queued answer is not told when its connection closes.
 */
type Phase = "head" | "body" | "answering";

export class HttpTransport extends Duplex {
  readonly acceptedAtMs = performance.now();
  /** Whether a request was read. */
  isAsked = false;
  /** Whether the answer is a stream without an end. */
  isStreaming = false;
  readonly #conn: Deno.Conn;
  readonly #freed = Promise.withResolvers<void>();
  #phase: Phase = "head";
  /** How many bytes of the end of the head have come. */
  #headEndBytes = 0;
  /** What came behind the head. */
  #behind: Uint8Array | undefined;
  #onMore: (() => void) | undefined;

  constructor(conn: Deno.Conn) {
    super();
    this.#conn = conn;
  }

  /** Resolves when its descriptor is free. */
  get freed(): Promise<void> {
    return this.#freed.promise;
  }

  override async _read(): Promise<void> {
    const behind = this.#behind;
    if (behind) {
      if (this.#phase === "body") this.#passOn(behind);
      return;
    }
    const buffer = new Uint8Array(READ_BYTES);
    try {
      const count = await this.#conn.read(buffer);
      // An end shows whatever the phase: whoever watches has left.
      if (count === null) this.push(null);
      else this.#take(buffer.subarray(0, count));
    } catch (error) {
      this.destroy(error as Error);
    }
  }

  #take(bytes: Uint8Array): void {
    switch (this.#phase) {
      case "head":
        return this.#takeHead(bytes);
      case "body":
        return void this.push(bytes);
      case "answering":
        this.#behind = bytes;
        this.#onMore?.();
    }
  }

  /** Calls back once something has come behind the request, which is not read. */
  whenMore(onMore: () => void): void {
    if (this.#behind) onMore();
    else this.#onMore = onMore;
  }

  #takeHead(bytes: Uint8Array): void {
    const end = this.#headEnd(bytes);
    if (end === undefined) return void this.push(bytes);
    this.#phase = "answering";
    if (end < bytes.length) this.#behind = bytes.subarray(end);
    this.push(bytes.subarray(0, end));
  }

  /** Where the head ends in these bytes, if it does. */
  #headEnd(bytes: Uint8Array): number | undefined {
    for (let at = 0; at < bytes.length; at++) {
      const byte = bytes[at];
      const isNext = byte === HEAD_END[this.#headEndBytes];
      this.#headEndBytes = isNext ? this.#headEndBytes + 1 : byte === CR ? 1 : 0;
      if (this.#headEndBytes === HEAD_END.length) return at + 1;
    }
  }

  /** Passes on the body of the request, too: when the head has been dealt with, and more is read. */
  takeBody(): void {
    this.#phase = "body";
  }

  #passOn(behind: Uint8Array): void {
    this.#behind = undefined;
    this.push(behind);
  }

  override _write(chunk: Uint8Array, _encoding: string, done: (error?: Error) => void): void {
    writeAll(this.#conn, chunk).then(() => done(), done);
  }

  override _final(done: () => void): void {
    this.#conn.closeWrite().then(done, done);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#conn[Symbol.dispose]();
    this.#freed.resolve();
    done(error);
  }

  /** What `node:http` does with a connection after its last answer. */
  destroySoon(): void {
    if (this.writableEnded) return;
    this.end(() => this.#behind ? void this.#linger() : this.destroy());
  }

  /** A close with something unread is a reset, which may overtake the answer. */
  async #linger(): Promise<void> {
    const timer = setTimeout(() => this.destroy(), LINGER_MS);
    const buffer = new Uint8Array(READ_BYTES);
    try {
      for (let dropped = 0; dropped < LINGER_BYTES;) {
        const count = await this.#conn.read(buffer);
        if (count === null) break;
        dropped += count;
      }
    } catch {
      // It is gone.
    }
    clearTimeout(timer);
    this.destroy();
  }
}
