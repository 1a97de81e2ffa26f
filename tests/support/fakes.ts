/**
 * Streams, listeners and outputs in memory, whose other end the test plays. Not
 * published.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import type { Acceptor, ByteStream } from "../../poller.ts";
import { decode, encode } from "../../lib/bytes.ts";
import { bytesOf, Capture, lag, latin1, pick, type Random } from "./testing.ts";

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
      target.set(bytes);
      return Promise.resolve(bytes.length);
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

/** Output whose every write waits until the test says how it goes on. */
export class GatedOutput {
  readonly out = new Capture();
  #pending: { bytes: Uint8Array; settle: PromiseWithResolvers<number> } | undefined;
  #arrival = Promise.withResolvers<void>();
  /** The bytes of a write must not change while it waits. */
  #copy = new Uint8Array();

  write(bytes: Uint8Array): Promise<number> {
    if (this.#pending) throw new Error("Two writes at once");
    const settle = Promise.withResolvers<number>();
    this.#pending = { bytes, settle };
    this.#copy = bytes.slice();
    this.#arrival.resolve();
    return settle.promise;
  }

  /** Waits for a write; resolves to its size. */
  async size(): Promise<number> {
    await this.#arrival.promise;
    return this.#pending!.bytes.length;
  }

  async take(most = Infinity): Promise<void> {
    const { bytes, settle } = await this.#next();
    assertEquals(bytes, this.#copy);
    settle.resolve(this.out.writeSync(bytes.subarray(0, Math.min(most, bytes.length))));
  }

  /** Takes a write if one waits. */
  async takePending(): Promise<void> {
    if (this.#pending) await this.take();
  }

  async fail(error: Error): Promise<void> {
    const { settle } = await this.#next();
    settle.reject(error);
  }

  async takeUntil(text: string, most = Infinity): Promise<void> {
    while (this.out.count(text) === 0) await this.take(most);
  }

  async #next() {
    await this.#arrival.promise;
    const pending = this.#pending!;
    this.#pending = undefined;
    this.#arrival = Promise.withResolvers();
    return pending;
  }
}

export function noSpace(): Error {
  return Object.assign(new Error("No space left on device (os error 28)"), { code: "ENOSPC" });
}

/** Byte number `at` of what the stream with this id says. */
export function byteOf(id: number, at: number): number {
  return (id + at * 31) & 0xFF;
}

/** A stream that talks in portions of any size, with delays, and ends well or badly, as its seed says. */
export class FaultyStream implements ByteStream {
  readonly #random: Random;
  readonly id: number;
  readonly remoteAddr: Deno.NetAddr;
  readonly end: "eof" | "rejects" | "throws" | "miscounts" | "hangs";
  readonly writeEnd: "never" | "rejects" | "throws" | "takes nothing" | "hangs";
  readonly readError: Error;
  readonly writeError: Error;
  readonly #gone = Promise.withResolvers<void>();
  /** Most bytes that one read brings. */
  readonly #largest: number;
  #portions: number;
  #writes: number;
  /** Bytes that reads brought before close(). */
  delivered = 0;
  readonly written: number[] = [];
  reading = 0;
  writing = 0;
  closed = false;
  /** Whether it has said all that it will. */
  isOver = false;
  /** Whether an operation waits for close(). */
  isStuck = false;
  /** What should never happen: a throw would count as one of its faults. */
  readonly violations: string[] = [];

  constructor(random: Random, id: number, largest = Infinity) {
    this.#random = random;
    this.id = id;
    this.#largest = largest;
    this.remoteAddr = { transport: "tcp", hostname: "127.0.0.1", port: 1000 + id };
    this.end = pick(random, "eof", "eof", "rejects", "throws", "miscounts", "hangs");
    this.writeEnd = pick(random, "never", "never", "rejects", "throws", "takes nothing", "hangs");
    this.readError = new Deno.errors.ConnectionReset(`read fault of ${id}`);
    this.writeError = new Deno.errors.BrokenPipe(`write fault of ${id}`);
    this.#portions = random(12);
    this.#writes = this.writeEnd === "never" ? Infinity : random(6);
  }

  read(target: Uint8Array): Promise<number | null> {
    if (this.reading > 0) this.violations.push("two reads at once");
    if (this.closed) this.violations.push("a read after close()");
    if (this.isOver && this.end !== "eof") this.violations.push("a read after the error");
    if (this.#portions === 0 && this.end === "throws") {
      this.isOver = true;
      throw this.readError;
    }
    this.reading++;
    return this.#deliver(target).finally(() => this.reading--);
  }

  async #deliver(target: Uint8Array): Promise<number | null> {
    await lag(this.#random);
    if (this.closed && this.#random(2) === 0) throw new Deno.errors.Interrupted("late");
    if (this.#portions > 0) {
      this.#portions--;
      const most = Math.min(target.length, this.#largest);
      const count = pick(this.#random, 0, 1, this.#random(most), most);
      for (let i = 0; i < count; i++) target[i] = byteOf(this.id, this.delivered + i);
      if (!this.closed) this.delivered += count;
      return count;
    }
    if (this.end === "hangs") {
      this.isStuck = true;
      await this.#gone.promise;
      throw new Deno.errors.Interrupted("operation canceled");
    }
    this.isOver = true;
    if (this.end === "eof") return null;
    if (this.end === "miscounts") return pick(this.#random, -1, 0.5, NaN, target.length + 1);
    throw this.readError;
  }

  write(bytes: Uint8Array): Promise<number> {
    if (this.writing > 0) this.violations.push("two writes at once");
    if (this.closed) this.violations.push("a write after close()");
    if (this.#writes === 0 && this.writeEnd === "throws") throw this.writeError;
    this.writing++;
    return this.#take(bytes).finally(() => this.writing--);
  }

  async #take(bytes: Uint8Array): Promise<number> {
    await lag(this.#random);
    if (this.closed) throw new Deno.errors.BadResource("late");
    if (this.#writes-- > 0) {
      const count = pick(this.#random, 1, 1 + this.#random(bytes.length), bytes.length);
      this.written.push(...bytes.subarray(0, count));
      return count;
    }
    if (this.writeEnd === "takes nothing") return 0;
    if (this.writeEnd === "rejects") throw this.writeError;
    this.isStuck = true;
    await this.#gone.promise;
    throw new Deno.errors.BadResource("closed");
  }

  async closeWrite(): Promise<void> {
    await lag(this.#random);
    if (this.#random(8) === 0) throw this.writeError;
  }

  close(): void {
    if (this.closed) this.violations.push("a second close()");
    this.closed = true;
    this.#gone.resolve();
  }

  /** Checks what must be so once its owner has let go of it. */
  assertLeftAlone(): void {
    assertEquals([this.closed, this.reading, this.writing], [true, 0, 0], `stream ${this.id}`);
    assertEquals(this.violations, [], `stream ${this.id}`);
  }
}

/** A listener whose clients come in bursts, with failures between them. */
export class FaultyListener implements Acceptor {
  readonly addr: Deno.NetAddr = { transport: "tcp", hostname: "127.0.0.1", port: 1 };
  readonly #random: Random;
  readonly streams: FaultyStream[];
  readonly handedOver = new Set<FaultyStream>();
  readonly #gone = Promise.withResolvers<void>();
  errors = 0;
  accepting = 0;

  constructor(random: Random, streams: readonly FaultyStream[]) {
    this.#random = random;
    this.streams = [...streams];
  }

  accept(): Promise<FaultyStream> {
    if (this.#random(12) === 0 && this.streams.length > 0) {
      this.errors++;
      throw new Deno.errors.NotConnected("gone before it was accepted");
    }
    this.accepting++;
    return this.#accept().finally(() => this.accepting--);
  }

  async #accept(): Promise<FaultyStream> {
    await lag(this.#random);
    const stream = this.streams.shift();
    if (stream && this.#random(8) > 0) {
      this.handedOver.add(stream);
      return stream;
    }
    if (stream) {
      this.streams.push(stream);
      this.errors++;
      throw new Deno.errors.ConnectionAborted("aborted");
    }
    await this.#gone.promise;
    throw new Deno.errors.BadResource("Listener has been closed");
  }

  close(): void {
    this.#gone.resolve();
  }
}
