/**
 * The last records, for whoever looks at the live page. It remembers where their
 * bytes are, and makes nothing of them before somebody asks.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { lineJson, noticeJson, sentJson } from "./json.ts";
import type { Notice, Party, Target } from "./records.ts";

/** How many records a snapshot has at most. */
export const RECENT_RECORDS = 500;

/** More than that, and a power of two: a number finds its slot by a mask. */
const SLOTS = 512;
const SLOT_MASK = SLOTS - 1;

/** What clients say is received here, round and round. */
const ARENA_BYTES = 4 * 1024 * 1024;

/** The largest input, and the largest line that is copied. */
const MAX_PLACE_BYTES = 512 * 1024;

/** So far ahead of what is overwritten next, records are saved. */
const MARGIN_BYTES = 2 * MAX_PLACE_BYTES;

/** A longer record is not saved: 500 of them are more than a snapshot takes. */
const MAX_SAVED_BYTES = 8 * 1024;

/** How much of the past is told. */
interface Limits {
  readonly records: number;
  /** Bytes of JSON of one record; a larger one is left out. */
  readonly recordBytes: number;
  /** Bytes of JSON of all; the newest are kept. */
  readonly totalBytes: number;
}

const SNAPSHOT_LIMITS: Limits = {
  records: RECENT_RECORDS,
  recordBytes: 128 * 1024,
  totalBytes: 512 * 1024,
};

const LIVE_LIMITS: Limits = { records: SLOTS, recordBytes: 512 * 1024, totalBytes: 768 * 1024 };

/** Records that differ in their place alone: the lines of one read, or one other record. */
interface Batch {
  /** Makes the JSON text of a record that is no line. */
  make: (() => string) | undefined;
  party: Party;
  timeMs: number;
  bytes: Uint8Array;
  /** Where `bytes` begin in what their records count by. */
  offset: number;
  /** Where they are in all that was ever received; SAFE if nothing overwrites them. */
  position: number;
}

const SAFE = Infinity;
const LOST = -Infinity;

/**
 * The last 500 records, and a few more.
 *
 * **Positions only grow.** They count all that was ever received, so that bytes are
 * still in the arena if their position is less than its size behind.
 */
export class Recent {
  readonly #arena = new Uint8Array(ARENA_BYTES);
  /** Where the last input begins. */
  #inputPosition = 0;
  /** Where the next place begins. */
  #position = 0;
  /** Where the last place ends: what is a whole arena before it is overwritten. */
  #endPosition = 0;

  readonly #batches: Batch[] = Array.from({ length: SLOTS }, emptyBatch);
  #batchCount = 0;
  /** The batch of the last record. */
  #batch = this.#batches[0]!;

  // Of each record; arrays of numbers cost a line next to nothing.
  readonly #batchOf = new Uint16Array(SLOTS);
  readonly #starts = new Uint32Array(SLOTS);
  readonly #ends = new Uint32Array(SLOTS);
  readonly #wholes = new Uint8Array(SLOTS);
  #next = 0;
  /** The first record that may have to be saved. */
  #unsaved = 0;

  /** The sequence number of the next record; that of the first is 0. */
  get next(): number {
    return this.#next;
  }

  /** A place to receive at most `maxBytes` into; half a mebibyte at most. */
  input(maxBytes: number): Uint8Array {
    const place = this.#claim(maxBytes);
    this.#inputPosition = this.#position;
    return place;
  }

  /** Returns the first `count` bytes of the last input, whose place is then taken. */
  received(count: number): Uint8Array {
    const start = this.#inputPosition % ARENA_BYTES;
    this.#position = this.#inputPosition + count;
    return this.#arena.subarray(start, start + count);
  }

  /** The next `count` bytes of the arena, in one piece. */
  #claim(count: number): Uint8Array {
    const rest = ARENA_BYTES - this.#position % ARENA_BYTES;
    if (rest < count) this.#position += rest;
    this.#endPosition = this.#position + count;
    this.#save(this.#endPosition - ARENA_BYTES + MARGIN_BYTES);
    const start = this.#position % ARENA_BYTES;
    return this.#arena.subarray(start, start + count);
  }

  /** Remembers a line; or a read, where these are the records; or a datagram. */
  line(
    party: Party,
    bytes: Uint8Array,
    start: number,
    end: number,
    isWhole: boolean,
    timeMs: number,
  ): void {
    const { bytes: lastBytes, party: lastParty, timeMs: lastTimeMs } = this.#batch;
    if (bytes !== lastBytes || party !== lastParty || timeMs !== lastTimeMs) {
      if (bytes.buffer !== this.#arena.buffer) {
        return this.#copy(party, bytes.subarray(start, end), isWhole, timeMs);
      }
      this.#begin(party, bytes, timeMs, this.#inputPosition);
    }
    this.#remember(start, end, isWhole);
  }

  /** Remembers a line that was not received here in one piece. */
  #copy(party: Party, line: Uint8Array, isWhole: boolean, timeMs: number): void {
    if (line.length > MAX_PLACE_BYTES) {
      this.#begin(party, GONE, timeMs, LOST);
    } else {
      const place = this.#claim(line.length);
      place.set(line);
      this.#begin(party, place, timeMs, this.#position);
      this.#position += line.length;
    }
    this.#remember(0, line.length, isWhole);
  }

  #begin(party: Party, bytes: Uint8Array, timeMs: number, position: number): void {
    const batch = this.#batches[++this.#batchCount & SLOT_MASK]!;
    batch.make = undefined;
    batch.party = party;
    batch.timeMs = timeMs;
    batch.bytes = bytes;
    batch.offset = 0;
    batch.position = position;
    this.#batch = batch;
  }

  #remember(start: number, end: number, isWhole: boolean): void {
    const slot = this.#next++ & SLOT_MASK;
    this.#batchOf[slot] = this.#batchCount & SLOT_MASK;
    this.#starts[slot] = start;
    this.#ends[slot] = end;
    this.#wholes[slot] = isWhole ? 1 : 0;
  }

  notice(party: Party, notice: Notice, timeMs: number): void {
    this.#rememberMaker(() => noticeJson(timeMs, party, notice));
  }

  /** Remembers what was typed, without its line end. */
  sent(target: Target, bytes: Uint8Array, timeMs: number): void {
    const copy = bytes.slice();
    this.#rememberMaker(() => sentJson(timeMs, target, copy));
  }

  #rememberMaker(make: () => string): void {
    this.#begin(NOBODY, GONE, 0, SAFE);
    this.#batch.make = make;
    this.#remember(0, 0, true);
  }

  /**
   * Copies the short records among the last 500 that lie before `position`: without it,
   * one client's long line would wipe out what all others have said.
   */
  #save(position: number): void {
    let at = Math.max(this.#unsaved, this.#next - RECENT_RECORDS);
    for (let end; at < this.#next; at = end) {
      const batch = this.#batchAt(at);
      if (batch.position !== SAFE && batch.position >= position) break;
      for (end = at + 1; end < this.#next && this.#batchAt(end) === batch;) end++;
      if (batch.position >= this.#lostPosition) {
        saveBatch(batch, this.#startAt(at), this.#endAt(end - 1));
      }
    }
    this.#unsaved = at;
  }

  /** The JSON texts of the last records, oldest first, for somebody who has just come. */
  snapshot(): string[] {
    return this.#newest(0, SNAPSHOT_LIMITS);
  }

  /** The JSON texts of the newest records from `sequence` on, oldest first. */
  since(sequence: number, records: number): string[] {
    return this.#newest(sequence, { ...LIVE_LIMITS, records });
  }

  #newest(sequence: number, { records, recordBytes, totalBytes }: Limits): string[] {
    const first = Math.max(sequence, this.#next - Math.min(records, SLOTS));
    const texts: string[] = [];
    let bytes = 0;
    for (let at = this.#next - 1; at >= first; at--) {
      const text = this.#textAt(at, recordBytes);
      if (text === undefined) continue;
      bytes += Buffer.byteLength(text);
      if (bytes > totalBytes) break;
      texts.push(text);
    }
    return texts.reverse();
  }

  /** The JSON text of a record, if it is there and no longer than `maxBytes`. */
  #textAt(sequence: number, maxBytes: number): string | undefined {
    const { make, party, timeMs, bytes, offset, position } = this.#batchAt(sequence);
    if (make) return make();
    if (position < this.#lostPosition) return undefined;
    const start = this.#startAt(sequence) - offset;
    const end = this.#endAt(sequence) - offset;
    // JSON is no shorter than what it is made of.
    if (end - start > maxBytes) return undefined;
    const text = lineJson(timeMs, party, bytes, start, end, this.#isWholeAt(sequence));
    return Buffer.byteLength(text) > maxBytes ? undefined : text;
  }

  /** What was received before it has been overwritten. */
  get #lostPosition(): number {
    return Math.max(0, this.#endPosition - ARENA_BYTES);
  }

  #batchAt(sequence: number): Batch {
    return this.#batches[this.#batchOf[sequence & SLOT_MASK]!]!;
  }

  #startAt(sequence: number): number {
    return this.#starts[sequence & SLOT_MASK]!;
  }

  #endAt(sequence: number): number {
    return this.#ends[sequence & SLOT_MASK]!;
  }

  #isWholeAt(sequence: number): boolean {
    return this.#wholes[sequence & SLOT_MASK] === 1;
  }
}

const NOBODY: Party = { peer: { kind: "unix", path: "" } };

/** The bytes of a line that was too long to be kept. */
const GONE = new Uint8Array(0);

function emptyBatch(): Batch {
  return { make: undefined, party: NOBODY, timeMs: 0, bytes: GONE, offset: 0, position: LOST };
}

function saveBatch(batch: Batch, start: number, end: number): void {
  if (end - start > MAX_SAVED_BYTES) return;
  batch.bytes = batch.bytes.slice(start - batch.offset, end - batch.offset);
  batch.offset = start;
  batch.position = SAFE;
}
