/**
 * Clients that were gone before they were accepted: nothing else shows that there were any.
 *
 * @module
 */

import type { Acceptor, ByteStream } from "../../poller.ts";
import type { Say } from "../messages.ts";
import { acceptFaultOf } from "./accept_errors.ts";

/** So that a burst is told as one. */
const GATHER_MS = 500;
/** It is told once in so long at most. */
const REPORT_MS = 60_000;

/** Tells the operator how many there were. */
export class LostClients implements Disposable {
  readonly #say: Say;
  readonly #gatherMs: number;
  #count = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #saidAtMs = -Infinity;

  constructor(say: Say, gatherMs = GATHER_MS) {
    this.#say = say;
    this.#gatherMs = gatherMs;
  }

  /** Counts one more, and tells of all of them before long. */
  add(): void {
    this.#count++;
    const waitMs = Math.max(this.#gatherMs, this.#saidAtMs + REPORT_MS - performance.now());
    this.#timer ??= setTimeout(() => this.#tell(), waitMs);
  }

  #tell(): void {
    const words = this.#count === 1
      ? "1 client was gone before it was accepted: what it sent is lost"
      : `${this.#count} clients were gone before they were accepted: what they sent is lost`;
    this.#say(`earshot: ${words}`);
    this.#count = 0;
    this.#timer = undefined;
    this.#saidAtMs = performance.now();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}

/** A listener whose lost clients are counted. */
export class WatchedListener implements Acceptor {
  readonly #listener: Deno.TcpListener;
  readonly #lost: LostClients;

  constructor(listener: Deno.TcpListener, lost: LostClients) {
    this.#listener = listener;
    this.#lost = lost;
  }

  get addr(): Deno.NetAddr {
    return this.#listener.addr;
  }

  accept(): Promise<ByteStream> {
    const accepted = this.#listener.accept();
    accepted.catch((error) => {
      if (acceptFaultOf(error) === "lost client") this.#lost.add();
    });
    return accepted;
  }

  close(): void {
    this.#listener.close();
  }

  ref(): void {
    this.#listener.ref?.();
  }

  unref(): void {
    this.#listener.unref?.();
  }
}
