/**
 * Those who look at the live page: each gets the last records and then what comes,
 * as Server-Sent Events. A slow one gets less; the log never waits.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import type { ServerResponse } from "node:http";
import { encode } from "../bytes.ts";
import type { InternalErrors } from "../messages.ts";
import { type Channel, Channels, type Place } from "./channels.ts";
import type { Choice } from "./choice.ts";
import type { Given } from "./feed.ts";
import { Roster, type RosterOptions } from "./roster.ts";
import { lastRecords, rememberedOf } from "./snapshot.ts";

export interface EventStreamsOptions extends RosterOptions {
  /** Figures of all clients together. */
  totals(): object;
  /** What to type to become a client. */
  readonly example: string;
  /** Whether clients can be sent something. */
  readonly isInteractive: boolean;
  readonly internalErrors: InternalErrors;
}

const MAX_WATCHERS = 50;
/** One that has taken nothing for so long makes room for another. */
const STUCK_MS = 10_000;

/** The most that a stream may leave untaken. */
const MAX_HELD_BYTES = 1024 * 1024;

const TICK_MS = 100;
const TICKS_PER_STATS = 10;

/** Before the first record. */
const BEGINNING: Place = { sequence: -1, ordinal: 0 };

/** A snapshot that is sent to all who come in the same tick. */
interface Snapshot {
  readonly place: Place;
  readonly event: Uint8Array;
}

export class EventStreams {
  readonly #options: EventStreamsOptions;
  readonly roster: Roster;
  readonly #channels: Channels;
  readonly #streams = new Set<EventStream>();
  /** Tells this run of the program from others. */
  readonly #run = randomBytes(6).toString("base64url");
  readonly #snapshots = new Map<string, Snapshot>();
  #ticker: ReturnType<typeof setInterval> | undefined;
  #ticks = 0;

  constructor(options: EventStreamsOptions) {
    this.#options = options;
    this.roster = new Roster(options);
    this.#channels = new Channels(options.history);
  }

  /** Whether there is room for one more; a stream that is not read makes some. */
  makeRoom(): boolean {
    if (this.#streams.size < MAX_WATCHERS) return true;
    const beforeMs = performance.now() - STUCK_MS;
    for (const stream of this.#streams) {
      if (stream.stuckSinceMs > beforeMs) continue;
      stream.destroy();
      this.#delete(stream);
      return true;
    }
    return false;
  }

  /**
   * Sends the snapshot, and from then on what comes, until the response is closed.
   *
   * @param after The id of the last event that somebody has who comes back.
   */
  add(response: ServerResponse, choice: Choice, after: string | null): void {
    const channel = this.#channels.open(choice);
    const { place, event } = this.#snapshotOf(channel, after);
    channel.watchers++;
    const stream = new EventStream(response, channel, place);
    this.#streams.add(stream);
    response.on("close", () => this.#delete(stream));
    stream.send(event);
    this.#ticker ??= setInterval(() => this.#onTick(), TICK_MS);
  }

  #delete(stream: EventStream): void {
    if (this.#streams.delete(stream)) stream.channel.watchers--;
  }

  #onTick(): void {
    try {
      this.#tick();
    } catch (error) {
      this.#options.internalErrors.report(error);
    }
  }

  #tick(): void {
    this.#snapshots.clear();
    this.#sendRecords();
    if (++this.#ticks % TICKS_PER_STATS === 0) this.#sendStats();
    // Not when somebody leaves: those who come and leave within a tick share what is made.
    this.#channels.forgetUnwatched();
    if (this.#streams.size === 0) this.#stopTicking();
  }

  #stopTicking(): void {
    clearInterval(this.#ticker);
    this.#ticker = undefined;
  }

  #sendRecords(): void {
    this.#options.history.collect();
    for (const { feed } of this.#channels.watched()) feed.give();
    this.#sendGiven();
  }

  /** Most watchers of a choice need the same event, which is then made once. */
  #sendGiven(): void {
    const events = new Map<string, Uint8Array>();
    for (const stream of this.#streams) {
      const { channel, place } = stream;
      if (stream.isStuck) continue;
      const given = channel.feed.givenAfter(place.sequence);
      if (given.length === 0) continue;
      const key = `${channel.id} ${place.sequence}`;
      let event = events.get(key);
      if (!event) events.set(key, event = this.#recordsOf(channel, given));
      stream.sendRecords(event, given);
    }
  }

  #recordsOf(channel: Channel, given: readonly Given[]): Uint8Array {
    const id = this.#idOf(channel, placeBehind(given));
    return eventOf("records", `[${given.map(({ json }) => json).join()}]`, id);
  }

  #sendStats(): void {
    const figures = encode(`event: stats\ndata: {${this.#figures(false)}`);
    for (const stream of this.#streams) {
      const rest = encode(`,"skipped":${stream.skipped}}\n\n`);
      stream.send(Buffer.concat([figures, rest]));
    }
  }

  #figures(hasMinute: boolean): string {
    const { roster } = this;
    const totals = JSON.stringify(this.#options.totals());
    return `"clients":${roster.first(hasMinute)},"total":${roster.size},"totals":${totals}`;
  }

  // -- Snapshots --

  #snapshotOf(channel: Channel, after: string | null): Snapshot {
    this.#options.history.collect();
    const resumed = after === null ? undefined : this.#placeOf(channel, after);
    const key = `${channel.id} ${resumed?.sequence} ${resumed?.ordinal}`;
    let snapshot = this.#snapshots.get(key);
    if (!snapshot) this.#snapshots.set(key, snapshot = this.#makeSnapshot(channel, resumed));
    return snapshot;
  }

  #makeSnapshot(channel: Channel, resumed: Place | undefined): Snapshot {
    const { history, now, example, isInteractive } = this.#options;
    const place = { sequence: history.next - 1, ordinal: channel.feed.total };
    const records = this.#lastOf(channel, resumed ?? BEGINNING);
    const missed = place.ordinal - (resumed?.ordinal ?? 0) - records.length;
    const members = [
      this.#figures(true),
      `"minute":${JSON.stringify(history.minute.history(now() / 1000))}`,
      `"example":${JSON.stringify(example)}`,
      `"run":"${this.#run}"`,
      `"interactive":${isInteractive}`,
      ...resumed ? [`"resumed":true`, `"missed":${Math.max(0, missed)}`] : [],
      `"records":[${records.join()}]`,
    ];
    return { place, event: eventOf("snapshot", `{${members.join()}}`, this.#idOf(channel, place)) };
  }

  #lastOf(channel: Channel, { sequence }: Place): string[] {
    const { history } = this.#options;
    const { choice, feed } = channel;
    const records = choice.keys.size === 0
      ? history.backwards()
      : rememberedOf(history, feed, this.#channels.accountsOf(channel));
    return lastRecords(records, sequence);
  }

  #idOf({ id }: Channel, { sequence, ordinal }: Place): string {
    return `${this.#run}.${id}.${sequence}.${ordinal}`;
  }

  /** The place that an id names, if it is one of this run and this choice. */
  #placeOf({ id, feed }: Channel, text: string): Place | undefined {
    const [, run, channel, ...numbers] =
      /^([\w-]{1,20})\.(\d{1,9})\.(-1|\d{1,15})\.(\d{1,15})$/.exec(text) ?? [];
    const [sequence = NaN, ordinal = NaN] = numbers.map(Number);
    const isGood = run === this.#run && Number(channel) === id &&
      sequence < this.#options.history.next && ordinal <= feed.total;
    return isGood ? { sequence, ordinal } : undefined;
  }

  /** Sends the last records and ends all streams. */
  finish(): void {
    this.#options.history.collect();
    for (const { feed } of this.#channels.watched()) feed.giveAll();
    this.#sendGiven();
    this.#sendStats();
    for (const stream of this.#streams) stream.end();
    this.#stopTicking();
  }
}

class EventStream {
  readonly #response: ServerResponse;
  readonly channel: Channel;
  readonly #begun: Place;
  /** Behind the last record that it was sent. */
  place: Place;
  #sent = 0;
  /** What was held when records did not fit, and since when. */
  #fullBytes = Infinity;
  stuckSinceMs = Infinity;

  constructor(response: ServerResponse, channel: Channel, begun: Place) {
    this.#response = response;
    this.channel = channel;
    this.#begun = begun;
    this.place = begun;
  }

  /** Records that it was not and will not be sent. */
  get skipped(): number {
    const { feed } = this.channel;
    const waiting = feed.waitingFrom(this.#begun.ordinal) +
      feed.givenAfter(this.place.sequence).length;
    return Math.max(0, feed.total - this.#begun.ordinal - this.#sent - waiting);
  }

  /** Whether it has taken nothing since records did not fit: none need be made for it. */
  get isStuck(): boolean {
    return this.#heldBytes >= this.#fullBytes;
  }

  get #heldBytes(): number {
    return this.#response.writableLength + (this.#response.socket?.writableLength ?? 0);
  }

  /** Sends records if there is room; otherwise they wait. */
  sendRecords(event: Uint8Array, given: readonly Given[]): void {
    if (this.send(event)) {
      this.#fullBytes = Infinity;
      this.stuckSinceMs = Infinity;
      this.#sent += given.length;
      this.place = placeBehind(given);
    } else {
      this.#fullBytes = this.#heldBytes;
      // It has taken something since the last time, or it would not have been tried again.
      this.stuckSinceMs = performance.now();
    }
  }

  send(event: Uint8Array): boolean {
    if (this.#heldBytes + event.length > MAX_HELD_BYTES) return false;
    this.#response.write(event);
    return true;
  }

  end(): void {
    this.#response.end();
  }

  destroy(): void {
    this.#response.destroy();
  }
}

function placeBehind(given: readonly Given[]): Place {
  const { record, ordinal } = given.at(-1)!;
  return { sequence: record.sequence, ordinal: ordinal + 1 };
}

function eventOf(name: string, data: string, id: string): Uint8Array {
  return encode(`event: ${name}\ndata: ${data}\nid: ${id}\n\n`);
}
