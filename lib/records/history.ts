/**
 * The last records, for whoever looks at the live page. It remembers reads and
 * counts their lines, and splits them again when somebody asks.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { CR, LF, NO_BYTES, NUL } from "../bytes.ts";
import type { Framer } from "../framing/framing.ts";
import { eventJson, lineJson, sentJson } from "./json.ts";
import type { ByteSource } from "./log.ts";
import type { RecordObserver } from "./recorder.ts";
import type { ConnectionEvent, Sent, Subject, Target } from "./records.ts";

/** How many records a snapshot has at most. */
export const HISTORY_RECORDS = 500;

/** More than that, and a power of two, for a mask. A batch has one record at least. */
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
  /** Bytes of JSON of one record; a larger one is left out. */
  readonly recordBytes: number;
  /** Bytes of JSON of all; the newest are kept. */
  readonly totalBytes: number;
}

const SNAPSHOT_LIMITS: Limits = { recordBytes: 128 * 1024, totalBytes: 512 * 1024 };
const LIVE_LIMITS: Limits = { recordBytes: 512 * 1024, totalBytes: 768 * 1024 };

const SAFE = Infinity;
const LOST = -Infinity;
const NOBODY: Subject = { peer: { kind: "unix", path: "" } };

/**
 * One record: made of something else than bytes, a line that is whole, or one that
 * is cut; or the lines of one read, which are only counted. These objects are used
 * again, and hold no views of the arena: what lives long costs each collection.
 */
class Batch {
  tag: "made" | "whole" | "cut" | "lines" = "made";
  make: (() => string) | undefined;
  subject = NOBODY;
  timeMs = 0;
  /** The sequence number of its first record. */
  first = 0;
  /** Where its bytes are in all that was ever received; SAFE if they were saved. */
  position = LOST;
  length = 0;
  saved: Uint8Array = NO_BYTES;
}

/**
 * The last 500 records, and a few more.
 *
 * **Lines of a read are only counted**, but for the first: a flood would feel more.
 * After a whole frame a framer is as good as new, so that a new one finds the same.
 *
 * **Positions only grow.** They count all that was ever received, so that bytes are
 * still in the arena if their position is less than its size behind.
 */
export class History implements RecordObserver {
  readonly #framer: (() => Framer) | undefined;
  readonly #arena = new Uint8Array(ARENA_BYTES);
  /** Where the last input begins. */
  #inputPosition = 0;
  /** Where the next place begins. */
  #position = 0;
  /** Where the last place ends: what is a whole arena before it is overwritten. */
  #endPosition = 0;

  readonly #batches: Batch[] = Array.from({ length: SLOTS }, () => new Batch());
  /** The number of the last batch. */
  #last = -1;
  /** The first batch that may have to be saved. */
  #unsaved = 0;
  /** The read that the last batch is a whole line of, and where that ends there. */
  #begun: Uint8Array | undefined;
  #begunEnd = 0;
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

  /** Receives at most `maxBytes`, half a mebibyte at most; returns how many came, 0 at the end. */
  receive(source: ByteSource, maxBytes: number): number {
    this.#claim(maxBytes);
    this.#inputPosition = this.#position;
    const start = this.#inputPosition % ARENA_BYTES;
    return source.recvInto(this.#arena, start, start + maxBytes);
  }

  /** What came last, `count` bytes, whose place is then taken. */
  last(count: number): Uint8Array {
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
  received(
    subject: Subject,
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
    const isCounting = bytes === this.#begun && this.#framer !== undefined;
    const from = isCounting ? skipLineEnds(bytes, this.#begunEnd, start) : start;
    const to = isCounting ? bytes.length : end;
    const position = this.#positionOf(bytes, from, to);
    const batch = this.#begin(isCounting ? "lines" : isWhole ? "whole" : "cut");
    batch.subject = subject;
    batch.timeMs = timeMs;
    batch.position = position;
    batch.length = to - from;
    if (isCounting) this.#counted = bytes;
    else if (isWhole && bytes.buffer === this.#arena.buffer) this.#begun = bytes;
    this.#begunEnd = end;
  }

  /** Where bytes are; those that were not received here are copied. */
  #positionOf(bytes: Uint8Array, start: number, end: number): number {
    if (bytes.buffer === this.#arena.buffer) return this.#inputPosition + start;
    if (end - start > MAX_PLACE_BYTES) return LOST;
    this.#claim(end - start).set(bytes.subarray(start, end));
    const position = this.#position;
    this.#position += end - start;
    return position;
  }

  /** Begins a batch with its first record. */
  #begin(tag: Batch["tag"]): Batch {
    const batch = this.#batches[++this.#last & SLOT_MASK]!;
    batch.tag = tag;
    batch.first = this.#next++;
    this.#begun = undefined;
    this.#counted = undefined;
    return batch;
  }

  event(subject: Subject, event: ConnectionEvent, timeMs: number): void {
    this.#begin("made").make = () => eventJson(timeMs, subject, event);
  }

  /** Remembers what was sent. */
  sent(to: Target, sent: Sent, timeMs: number): void {
    const copy = { ...sent, bytes: sent.bytes.slice() };
    this.#begin("made").make = () => sentJson(timeMs, to, copy);
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
      if (batch.position < this.#lostPosition || batch.length > MAX_SAVED_BYTES) continue;
      if (this.#endOf(at) <= this.#next - HISTORY_RECORDS) continue;
      batch.saved = this.#bytesOf(batch).slice();
      batch.position = SAFE;
    }
    this.#unsaved = at;
  }

  /** The sequence number behind the last record of a batch. */
  #endOf(at: number): number {
    return at === this.#last ? this.#next : this.#batches[at + 1 & SLOT_MASK]!.first;
  }

  /** The JSON texts of the last records, oldest first, for somebody who has just come. */
  snapshot(): string[] {
    return this.#newest(0, HISTORY_RECORDS, SNAPSHOT_LIMITS);
  }

  /** The JSON texts of the newest records from `sequence` on, oldest first. */
  since(sequence: number, records: number): string[] {
    return this.#newest(sequence, records, LIVE_LIMITS);
  }

  #newest(sequence: number, records: number, { recordBytes, totalBytes }: Limits): string[] {
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
        yield batch.make!();
      } else if (batch.position >= this.#lostPosition) {
        const bytes = this.#bytesOf(batch);
        const frames = this.#framesOf(batch, bytes, end - batch.first);
        for (const frame of frames.slice(Math.max(0, first - batch.first)).reverse()) {
          const text = textOf(batch, bytes, frame, maxBytes);
          if (text !== undefined) yield text;
        }
      }
      end = batch.first;
    }
  }

  #bytesOf({ position, length, saved }: Batch): Uint8Array {
    const start = position % ARENA_BYTES;
    return position === SAFE ? saved : this.#arena.subarray(start, start + length);
  }

  /** The frames of a batch of `count` records. */
  #framesOf({ tag }: Batch, bytes: Uint8Array, count: number): Frame[] {
    if (tag !== "lines") return [{ start: 0, end: bytes.length, isWhole: tag === "whole" }];
    const frames: Frame[] = [];
    this.#framer?.().push(bytes, {
      // What comes after `count` is the rest of the read, which its client's framer holds.
      frame(_, start, end, isWhole) {
        if (frames.length < count) frames.push({ start, end, isWhole });
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

function textOf(
  { timeMs, subject }: Batch,
  bytes: Uint8Array,
  { start, end, isWhole }: Frame,
  maxBytes: number,
): string | undefined {
  // JSON is no shorter than what it is made of.
  if (end - start > maxBytes) return undefined;
  const text = lineJson(timeMs, subject, bytes, start, end, isWhole);
  return Buffer.byteLength(text) > maxBytes ? undefined : text;
}

/** Behind the line ends, or up to `end`: between two frames there are only these, and a count. */
function skipLineEnds(bytes: Uint8Array, at: number, end: number): number {
  while (at < end && (bytes[at] === LF || bytes[at] === CR || bytes[at] === NUL)) at++;
  return at;
}
