/**
 * Streams and listeners in memory, whose other end the test plays. Not published.
 *
 * @module
 */

import { decode, encode } from "../../lib/bytes.ts";
import type { Acceptor, ByteStream } from "../../poller.ts";
import { bytesOf, latin1 } from "./data.ts";

/** What a memory source takes from: items in order, errors as rejections, else it waits. */
class Inbox<T> {
  readonly #items: (() => T)[] = [];
  #taker: PromiseWithResolvers<T> | undefined;

  put(item: () => T): void {
    this.#items.push(item);
    if (this.#taker) this.#settle(this.#taker);
  }

  take(): Promise<T> {
    if (this.#taker) throw new Deno.errors.Busy("A read is pending already");
    const taker = Promise.withResolvers<T>();
    if (this.#items.length > 0) this.#settle(taker);
    else this.#taker = taker;
    return taker.promise;
  }

  cancel(error: Error): void {
    this.#taker?.reject(error);
    this.#taker = undefined;
  }

  #settle(taker: PromiseWithResolvers<T>): void {
    this.#taker = undefined;
    try {
      taker.resolve(this.#items.shift()!());
    } catch (error) {
      taker.reject(error);
    }
  }
}

/** A byte stream in memory: the test plays its peer. */
export class MemoryStream implements ByteStream {
  readonly #inbox = new Inbox<string | null>();
  #gate: PromiseWithResolvers<void> | undefined;
  #writeError: Error | undefined;
  /** Size of the target of each read so far. */
  readonly targets: number[] = [];
  /** What the peer has got, FIN as "." */
  received = "";
  /** Most bytes that one write takes. */
  maxWrite = Infinity;
  closed = false;

  constructor(...texts: string[]) {
    for (const text of texts) this.push(text);
  }

  push(text: string): void {
    this.#inbox.put(() => text);
  }

  end(): void {
    this.#inbox.put(() => null);
  }

  fail(error: Error = new Deno.errors.ConnectionReset("Connection reset by peer")): void {
    this.#inbox.put(() => {
      throw error;
    });
  }

  block(): void {
    this.#gate = Promise.withResolvers();
  }

  unblock(): void {
    this.#gate?.resolve();
    this.#gate = undefined;
  }

  failWrites(error: Error): void {
    this.#writeError = error;
  }

  async read(target: Uint8Array): Promise<number | null> {
    this.targets.push(target.length);
    const text = await this.#inbox.take();
    return text === null ? null : new TextEncoder().encodeInto(text, target).written;
  }

  async write(bytes: Uint8Array): Promise<number> {
    const taken = bytes.slice(0, Math.min(bytes.length, this.maxWrite));
    await this.#gate?.promise;
    if (this.#writeError) throw this.#writeError;
    this.received += decode(taken);
    return taken.length;
  }

  async closeWrite(): Promise<void> {
    await this.#gate?.promise;
    if (this.#writeError) throw this.#writeError;
    this.received += ".";
  }

  close(): void {
    this.closed = true;
    this.#inbox.cancel(new Deno.errors.Interrupted("operation canceled"));
  }
}

/** A stream whose pending read outlives close(). */
export class StubbornStream extends MemoryStream {
  override close(): void {
    this.closed = true;
  }
}

/** A listener in memory: the test plays its clients. */
export class MemoryListener implements Acceptor {
  readonly addr: Deno.NetAddr = { transport: "tcp", hostname: "127.0.0.1", port: 1 };
  readonly #inbox = new Inbox<ByteStream>();

  connect(stream: ByteStream = new MemoryStream()): ByteStream {
    this.#inbox.put(() => stream);
    return stream;
  }

  fail(error: Error): void {
    this.#inbox.put(() => {
      throw error;
    });
  }

  accept(): Promise<ByteStream> {
    return this.#inbox.take();
  }

  close(): void {
    this.#inbox.cancel(new Deno.errors.BadResource("Listener has been closed"));
  }
}

/** A stream that always has `text` to read. */
export function talker(text = "x"): ByteStream {
  const bytes = encode(text);
  return {
    read: (target) => {
      const count = Math.min(target.length, bytes.length);
      target.set(bytes.subarray(0, count));
      return Promise.resolve(count);
    },
  };
}

/** A stream that never has anything to read. */
export function quietStream(): ByteStream {
  return { read: () => new Promise(() => {}) };
}

/** A client in memory; whatever it is given can be read, in portions of any size. */
export class Feed implements ByteStream {
  static #count = 0;
  readonly remoteAddr: Deno.NetAddr = {
    transport: "tcp",
    hostname: "127.0.0.1",
    port: ++Feed.#count,
  };
  #bytes = new Uint8Array();
  #hasEnded = false;
  #news = Promise.withResolvers<void>();

  push(text: string): void {
    this.#bytes = bytesOf(latin1(this.#bytes) + text);
    this.#news.resolve();
  }

  end(): void {
    this.#hasEnded = true;
    this.#news.resolve();
  }

  async read(target: Uint8Array): Promise<number | null> {
    while (this.#bytes.length === 0) {
      if (this.#hasEnded) return null;
      this.#news = Promise.withResolvers();
      await this.#news.promise;
    }
    const count = Math.min(target.length, this.#bytes.length);
    target.set(this.#bytes.subarray(0, count));
    this.#bytes = this.#bytes.slice(count);
    return count;
  }

  close(): void {
    this.#news.reject(new Deno.errors.Interrupted("operation canceled"));
    this.#news.promise.catch(() => {});
  }
}
