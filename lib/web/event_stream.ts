/**
 * Those who look at the live page: each gets the last records and then what comes,
 * as Server-Sent Events. A slow one gets less; the log never waits.
 *
 * @module
 */

import type { ServerResponse } from "node:http";
import type { Peer } from "../addresses.ts";
import { encode } from "../bytes.ts";
import { type History, HISTORY_RECORDS } from "../records/history.ts";

/** A client of the log. */
export interface Watched {
  readonly subject: { readonly number: number; readonly peer: Peer };
  /** By `performance.now()`. */
  readonly connectedAtMs: number;
  readonly lines: number;
  readonly bytes: number;
}

export interface EventStreamsOptions {
  readonly history: History;
  /** Clients that are connected, oldest first. */
  readonly clients: Iterable<Watched>;
  /** Figures of all clients together. */
  totals(): object;
  /** What to type to become a client. */
  readonly example: string;
  /** Wall clock. */
  now(): number;
}

const MAX_WATCHERS = 50;
const MAX_LISTED = 200;

/** The most that a stream may leave untaken. */
const MAX_HELD_BYTES = 1024 * 1024;

const TICK_MS = 100;
const TICKS_PER_STATS = 10;

const RECORDS_PER_SECOND = 1000;

export class EventStreams {
  readonly #options: EventStreamsOptions;
  /** When `performance.now()` was 0. */
  readonly #startMs: number;
  readonly #streams = new Set<EventStream>();
  #ticker: ReturnType<typeof setInterval> | undefined;
  #ticks = 0;

  constructor(options: EventStreamsOptions) {
    this.#options = options;
    this.#startMs = options.now() - performance.now();
  }

  get isFull(): boolean {
    return this.#streams.size >= MAX_WATCHERS;
  }

  /** Sends the snapshot, and from then on what comes, until the response is closed. */
  add(response: ServerResponse): void {
    const { history } = this.#options;
    const stream = new EventStream(response, history.next);
    this.#streams.add(stream);
    response.on("close", () => this.#delete(stream));
    const example = JSON.stringify(this.#options.example);
    const records = `[${history.snapshot().join()}]`;
    stream.send(
      eventOf("snapshot", `{${this.#figures()},"example":${example},"records":${records}}`),
    );
    this.#ticker ??= setInterval(() => this.#tick(), TICK_MS);
  }

  #delete(stream: EventStream): void {
    this.#streams.delete(stream);
    if (this.#streams.size > 0) return;
    clearInterval(this.#ticker);
    this.#ticker = undefined;
  }

  #tick(): void {
    this.#sendRecords();
    if (++this.#ticks % TICKS_PER_STATS === 0) this.#sendStats();
  }

  /** Most watchers need the same event, which is then made once. */
  #sendRecords(): void {
    const { history } = this.#options;
    const events = new Map<string, { readonly count: number; readonly bytes: Uint8Array }>();
    const nowMs = performance.now();
    for (const stream of this.#streams) {
      if (stream.isStuck) continue;
      const missing = history.next - stream.next;
      const allowed = stream.allowance(nowMs);
      if (missing === 0 || allowed === 0) continue;
      const wanted = Math.min(missing, allowed);
      let event = events.get(`${stream.next} ${wanted}`);
      if (!event) {
        const texts = history.since(stream.next, wanted);
        event = { count: texts.length, bytes: eventOf("records", `[${texts.join()}]`) };
        events.set(`${stream.next} ${wanted}`, event);
      }
      stream.sendRecords(event.bytes, event.count, history.next);
    }
  }

  #sendStats(): void {
    const figures = this.#figures();
    for (const stream of this.#streams) {
      stream.send(eventOf("stats", `{${figures},"skipped":${stream.skipped}}`));
    }
  }

  #figures(): string {
    const listed = [];
    for (const client of this.#options.clients) {
      if (listed.push(listingOf(client, this.#startMs)) === MAX_LISTED) break;
    }
    return `"clients":${JSON.stringify(listed)},"totals":${JSON.stringify(this.#options.totals())}`;
  }

  /** Sends the last records and ends all streams. */
  finish(): void {
    this.#sendRecords();
    this.#sendStats();
    for (const stream of this.#streams) stream.end();
  }
}

class EventStream {
  readonly #response: ServerResponse;
  /** The first record that it has not been sent. */
  next: number;
  /** Records that it was not and will not be sent. */
  skipped = 0;
  #tokens = HISTORY_RECORDS;
  #filledAtMs = performance.now();
  /** What was held when records did not fit. */
  #fullBytes = Infinity;

  constructor(response: ServerResponse, next: number) {
    this.#response = response;
    this.next = next;
  }

  /** Whether it has taken nothing since records did not fit: none need be made for it. */
  get isStuck(): boolean {
    return this.#heldBytes >= this.#fullBytes;
  }

  get #heldBytes(): number {
    return this.#response.writableLength + (this.#response.socket?.writableLength ?? 0);
  }

  /** How many records it may be sent now. */
  allowance(nowMs: number): number {
    const filled = this.#tokens + (nowMs - this.#filledAtMs) * RECORDS_PER_SECOND / 1000;
    this.#tokens = Math.min(HISTORY_RECORDS, filled);
    this.#filledAtMs = nowMs;
    return Math.floor(this.#tokens);
  }

  /** Sends `count` records, the newest before `next`, if there is room; otherwise they wait. */
  sendRecords(event: Uint8Array, count: number, next: number): void {
    const isTaken = count === 0 || this.send(event);
    this.#fullBytes = isTaken ? Infinity : this.#heldBytes;
    if (!isTaken) return;
    this.#tokens -= count;
    this.skipped += next - this.next - count;
    this.next = next;
  }

  send(event: Uint8Array): boolean {
    if (this.#heldBytes + event.length > MAX_HELD_BYTES) return false;
    this.#response.write(event);
    return true;
  }

  end(): void {
    this.#response.end();
  }
}

function eventOf(name: string, data: string): Uint8Array {
  return encode(`event: ${name}\ndata: ${data}\n\n`);
}

/** A client in words; `startMs` is when `performance.now()` was 0. */
function listingOf(
  { subject: { number, peer }, connectedAtMs, lines, bytes }: Watched,
  startMs: number,
): object {
  const since = new Date(startMs + connectedAtMs).toISOString();
  const { kind: _, ...address } = peer;
  return { connection: number, ...address, since, lines, bytes };
}
