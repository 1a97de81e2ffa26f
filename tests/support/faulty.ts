/**
 * Streams and listeners that fail at random. Not published.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import type { Acceptor, ByteStream } from "../../poller.ts";
import { lag, pick, type Random } from "./random.ts";

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
