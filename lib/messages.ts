/**
 * How the operator is told of trouble: one line each, never waited for.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { encode } from "./bytes.ts";
import { type Sink, writeAll } from "./io.ts";

/** Tells the operator something, in one line. */
export type Say = (message: string) => void;

/** What may wait to be written to stderr; the rest is dropped and counted. */
const MAX_WAITING_BYTES = 64 * 1024;
/** A reader of stderr that takes nothing for so long is not waited for. */
const UNREAD_MS = 500;

/**
 * Messages for the operator. They are written beside the loop, so that a stderr
 * that nobody reads holds up nothing. Where stderr is closed they are lost:
 * there is nowhere left to say so.
 */
export class Messages {
  readonly #stderr: Sink;
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #dropped = 0;
  #writing: Promise<void> | undefined;
  /** Whether the last wait was in vain, and nothing has been taken since. */
  #isUnread = false;

  constructor(stderr: Sink) {
    this.#stderr = stderr;
  }

  readonly say: Say = (message) => {
    if (this.#add(encode(`${message}\n`))) this.#writing ??= this.#write();
    else this.#dropped++;
  };

  #add(bytes: Uint8Array): boolean {
    if (this.#waitingBytes + bytes.length > MAX_WAITING_BYTES) return false;
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    return true;
  }

  async #write(): Promise<void> {
    try {
      while (this.#waiting.length > 0) {
        const next = Buffer.concat(this.#waiting);
        this.#waiting = [];
        await writeAll(this.#stderr, next);
        this.#waitingBytes -= next.length;
        this.#isUnread = false;
        this.#tellOfDropped();
      }
    } catch {
      this.#waiting = [];
      this.#waitingBytes = 0;
    } finally {
      this.#writing = undefined;
    }
  }

  #tellOfDropped(): void {
    if (this.#dropped === 0) return;
    const message = `earshot: ${plural(this.#dropped, "message")} dropped\n`;
    if (this.#add(encode(message))) this.#dropped = 0;
  }

  /** Waits until all is written, but not for a reader that does not read. */
  async taken(): Promise<void> {
    if (this.#isUnread) return;
    this.#isUnread = true;
    await this.settled(UNREAD_MS);
    this.#isUnread = this.#writing !== undefined;
  }

  /** Waits until all is written, at most `limitMs`. */
  async settled(limitMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, limitMs);
    this.#writing?.then(resolve);
    if (this.#writing) await promise;
    clearTimeout(timer);
  }
}

const INTERNAL_ERROR_MS = 60_000;

/**
 * Tells of faults of the program itself, which are nobody else's: the error and its
 * place, each place at most once a minute.
 */
export class InternalErrors {
  readonly #say: Say;
  readonly #now: () => number;
  readonly #saidAtMs = new Map<string, number>();

  constructor(say: Say, now: () => number = () => performance.now()) {
    this.#say = say;
    this.#now = now;
  }

  report(error: unknown): void {
    const place = placeOf(error);
    const nowMs = this.#now();
    if (nowMs - (this.#saidAtMs.get(place) ?? -Infinity) < INTERNAL_ERROR_MS) return;
    this.#saidAtMs.set(place, nowMs);
    this.#say(`earshot: internal error: ${error} (${place})`);
  }
}

/** Where an error was thrown: file, line and column, without the folder. */
function placeOf(error: unknown): string {
  const stack = error instanceof Error ? error.stack ?? "" : "";
  return /^ +at .*?([^\s/(]+:\d+:\d+)\)?$/m.exec(stack)?.[1] ?? "unknown place";
}

/** `1 line`, `2 lines`. */
export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
