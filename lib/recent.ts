/**
 * The last records, for whoever looks at the live page. It remembers reads and
 * counts their lines, and splits them again when somebody asks.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { CR, LF, NO_BYTES, NUL } from "./bytes.ts";
import type { Framer } from "./framing.ts";
import { lineJson, noticeJson, sentJson } from "./json.ts";
import type { Notice, Party, Target } from "./records.ts";

/** How many records a snapshot has at most. */
export const RECENT_RECORDS = 500;

/** More than that, and a power of two: a number finds its slot by a mask. A batch has one record at least. */
const SLOTS = 512;
const SLOT_MASK = SLOTS - 1;

/** What clients say is received here, round and round. */
const ARENA_BYTES = 4 * 1024 * 1024;

/** The largest input, and the largest line that is copied. */
const MAX_PLACE_BYTES = 512 * 1024;

/** So far ahead of what is overwritten next, records are saved. */
const MARGIN_BYTES = 2 * MAX_PLACE_BYTES;

/** A longer batch is not saved: 500 of them are more than a snapshot takes. */
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

/** One record, or more of one read that are only counted. */
type Batch = Made | Heard;

/** A record that is no line. */
interface Made {
  readonly tag: "made";
  readonly make: () => string;
  /** The sequence number of its first record. */
  readonly first: number;
}

/** A line, or a piece of one, from `start` to `end`; or lines that begin at `start`. */
interface Heard {
  tag: "whole" | "cut" | "lines";
  readonly party: Party;
  readonly timeMs: number;
  readonly first: number;
  bytes: Uint8Array;
  start: number;
  end: number;
  /** Where `bytes` are in all that was ever received; SAFE if nothing overwrites them. */
  position: number;
}

const SAFE = Infinity;
const LOST = -Infinity;

/**
 * The last 500 records, and a few more.
 *
 * **Lines of a read are only counted**, but for the first: a flood would feel more.
 * After a whole frame a framer is as good as new, so that a new one finds the same.
 *
 * **Positions only grow.** They count all that was ever received, so that bytes are
 * still in the arena if their position is less than its size behind.
 */
export class Recent {
  readonly #framer: (() => Framer) | undefined;
  readonly #arena = new Uint8Array(ARENA_BYTES);
  /** Where the last input begins. */
  #inputPosition = 0;
  /** Where the next place begins. */
  #position = 0;
  /** Where the last place ends: what is a whole arena before it is overwritten. */
  #endPosition = 0;

  readonly #batches: Batch[] = [];
  /** The number of the last batch. */
  #last = -1;
  /** The first batch that may have to be saved. */
  #unsaved = 0;
  /** The read whose lines the last batch counts. */
  #counted: Uint8Array | undefined;
  #next = 0;

  /** `framer` makes framers like those that the lines come from; without, each line is remembered. */
  constructor(framer?: () => Framer) {
    this.#framer = framer;
  }

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
    if (bytes === this.#counted) {
      this.#next++;
      return;
    }
    const tag = isWhole ? "whole" : "cut";
    const first = this.#next;
    const position = this.#inputPosition;
    this.#hear({ tag, party, timeMs, first, bytes, start, end, position });
  }

  #hear(line: Heard): void {
    const { bytes } = line;
    const last = this.#batches[this.#last & SLOT_MASK];
    if (bytes.buffer !== this.#arena.buffer) {
      this.#copy(line);
    } else if (this.#framer && last?.tag === "whole" && last.bytes === bytes) {
      line.tag = "lines";
      line.start = skipLineEnds(bytes, last.end, line.start);
      line.end = bytes.length;
    }
    this.#begin(line);
    if (line.tag === "lines") this.#counted = bytes;
  }

  /** Copies a line that was not received here in one piece. */
  #copy(line: Heard): void {
    const count = line.end - line.start;
    if (count > MAX_PLACE_BYTES) {
      move(line, NO_BYTES, LOST);
    } else {
      const place = this.#claim(count);
      place.set(line.bytes.subarray(line.start, line.end));
      move(line, place, this.#position);
      this.#position += count;
    }
  }

  /** Remembers a batch with its first record. */
  #begin(batch: Batch): void {
    this.#batches[++this.#last & SLOT_MASK] = batch;
    this.#counted = undefined;
    this.#next++;
  }

  notice(party: Party, notice: Notice, timeMs: number): void {
    this.#make(() => noticeJson(timeMs, party, notice));
  }

  /** Remembers what was typed, without its line end. */
  sent(target: Target, bytes: Uint8Array, timeMs: number): void {
    const copy = bytes.slice();
    this.#make(() => sentJson(timeMs, target, copy));
  }

  #make(make: () => string): void {
    this.#begin({ tag: "made", make, first: this.#next });
  }

  /**
   * Copies short batches with some of the last 500 records that lie before `position`:
   * without it, one client's long line would wipe out what all others have said.
   */
  #save(position: number): void {
    let at = Math.max(this.#unsaved, this.#last - SLOT_MASK);
    for (; at <= this.#last; at++) {
      const batch = this.#batches[at & SLOT_MASK]!;
      if (batch.tag === "made" || batch.position === SAFE) continue;
      if (batch.position >= position) break;
      const isRecent = this.#endOf(at) > this.#next - RECENT_RECORDS;
      if (isRecent && batch.position >= this.#lostPosition) save(batch);
    }
    this.#unsaved = at;
  }

  /** The sequence number behind the last record of a batch. */
  #endOf(at: number): number {
    return at === this.#last ? this.#next : this.#batches[at + 1 & SLOT_MASK]!.first;
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
    for (const text of this.#backwards(first, recordBytes)) {
      bytes += Buffer.byteLength(text);
      if (bytes > totalBytes) break;
      texts.push(text);
    }
    return texts.reverse();
  }

  /** The JSON texts from the newest record back to `first`; one that is lost or too long is left out. */
  *#backwards(first: number, maxBytes: number): Generator<string> {
    let end = this.#next;
    for (let at = this.#last; end > first; at--) {
      const batch = this.#batches[at & SLOT_MASK]!;
      if (batch.tag === "made") {
        yield batch.make();
      } else if (batch.position >= this.#lostPosition) {
        const frames = this.#framesOf(batch, end - batch.first);
        for (const frame of frames.slice(Math.max(0, first - batch.first)).reverse()) {
          const text = textOf(batch, frame, maxBytes);
          if (text !== undefined) yield text;
        }
      }
      end = batch.first;
    }
  }

  /** The frames of a batch of `count` records. */
  #framesOf({ tag, bytes, start, end }: Heard, count: number): Frame[] {
    if (tag !== "lines") return [{ start, end, isWhole: tag === "whole" }];
    const frames: Frame[] = [];
    this.#framer?.().push(bytes.subarray(start, end), {
      // What comes after `count` is the rest of the read, which its client's framer holds.
      frame(_, from, to, isWhole) {
        if (frames.length < count) frames.push({ start: start + from, end: start + to, isWhole });
      },
    });
    return frames;
  }

  /** What was received before it has been overwritten. */
  get #lostPosition(): number {
    return Math.max(0, this.#endPosition - ARENA_BYTES);
  }
}

/** A place in the bytes of a batch. */
interface Frame {
  readonly start: number;
  readonly end: number;
  readonly isWhole: boolean;
}

function textOf(batch: Heard, { start, end, isWhole }: Frame, maxBytes: number) {
  // JSON is no shorter than what it is made of.
  if (end - start > maxBytes) return;
  const text = lineJson(batch.timeMs, batch.party, batch.bytes, start, end, isWhole);
  return Buffer.byteLength(text) > maxBytes ? undefined : text;
}

/** Behind the line ends, or up to `end`: between two frames there are only these, and a count. */
function skipLineEnds(bytes: Uint8Array, at: number, end: number): number {
  while (at < end && (bytes[at] === LF || bytes[at] === CR || bytes[at] === NUL)) at++;
  return at;
}

function save(batch: Heard): void {
  const { bytes, start, end } = batch;
  if (end - start <= MAX_SAVED_BYTES) move(batch, bytes.slice(start, end), SAFE);
}

/** The bytes of a batch are now all of these. */
function move(batch: Heard, bytes: Uint8Array, position: number): void {
  batch.bytes = bytes;
  batch.start = 0;
  batch.end = bytes.length;
  batch.position = position;
}
