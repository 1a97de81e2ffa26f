/**
 * The newest records by their positions: of a line only its place in the arena is noted,
 * and of a run of lines whom they are about, and when they came.
 *
 * @module
 */

import type { Account } from "./account.ts";
import { Arena, NOWHERE } from "./arena.ts";
import type { ByteSource } from "./log.ts";
import type { ConnectionEvent, Subject } from "./records.ts";
import type { Content, Remembered } from "./remembered.ts";

/** Powers of two, for masks. */
const LINES = 64 * 1024;
const LINE_MASK = LINES - 1;
const RUNS = 64 * 1024;
const RUN_MASK = RUNS - 1;

/** Room is made for so many lines at once. */
const LINE_BLOCK = 4 * 1024;
/** A run of lines that had to be copied ends when they are longer. */
const MAX_RUN_BYTES = 256 * 1024;

/** Marks the length of a line that is cut; no line is so long. */
const CUT = 1 << 30;
const LENGTH_MASK = CUT - 1;

/** What the records of a run are. */
export const SAID = 0;
export const SENT = 1;
export const SENT_TO_ALL = 2;
export const EVENT = 3;
export type RunKind = typeof SAID | typeof SENT | typeof SENT_TO_ALL | typeof EVENT;

/** What few runs have: an event, a list of those who took it, or another subject than its account's. */
interface RunDetail {
  readonly subject?: Subject;
  readonly event?: ConnectionEvent;
  /** How many clients took what was sent to all, and which are known. */
  readonly clients?: number;
  readonly takers?: readonly Account[];
}

/** Ring buffers, a column each: objects that live for a while would cost each collection. */
export class Window {
  readonly #arena = new Arena((lostPosition) => this.#retireBefore(lostPosition));
  readonly #onRetire: (run: number) => void;

  readonly #positions = new Float64Array(LINES);
  readonly #lengths = new Int32Array(LINES);

  readonly #first = new Float64Array(RUNS);
  readonly #timeMs = new Float64Array(RUNS);
  readonly #floor = new Float64Array(RUNS);
  readonly #ordinal = new Float64Array(RUNS);
  readonly #kind = new Uint8Array(RUNS);
  readonly #account: (Account | undefined)[] = [];
  /** By the number of the run. */
  readonly #details = new Map<number, RunDetail>();

  /** The sequence number of the next record. */
  next = 0;
  /** Up to here lines can be noted without forgetting others. */
  #roomEnd = 0;
  /** The numbers of the oldest and the last run; numbers only grow. */
  oldestRun = 0;
  lastRun = -1;
  /** What lies behind this position is another run. */
  limitPosition = 0;

  /** `onRetire` is told of each run right before it is forgotten. */
  constructor(onRetire: (run: number) => void) {
    this.#onRetire = onRetire;
  }

  receive(source: ByteSource, maxBytes: number): number {
    return this.#arena.receive(source, maxBytes);
  }

  last(count: number): Uint8Array {
    return this.#arena.last(count);
  }

  /** Makes room for a line, and returns where it is; it is copied if it is not of the last read. */
  place(bytes: Uint8Array, start: number, end: number): number {
    if (this.next === this.#roomEnd) this.#makeRoom();
    return this.#arena.positionOf(bytes, start, end);
  }

  /** Counts what is held for the window elsewhere: old runs go as if it were in the arena. */
  useUp(bytes: number): void {
    this.#arena.skip(bytes);
  }

  /** Begins a run, whose lines are noted next. */
  begin(kind: RunKind, subject: Subject, account: Account, timeMs: number): void {
    if (this.lastRun - this.oldestRun >= RUNS - 1) this.#retire();
    const slot = ++this.lastRun & RUN_MASK;
    const floor = this.#arena.floorPosition;
    this.#first[slot] = this.next;
    this.#timeMs[slot] = timeMs;
    this.#floor[slot] = floor;
    this.#ordinal[slot] = account.records;
    this.#kind[slot] = kind;
    this.#account[slot] = account;
    if (subject !== account.subject) this.#details.set(this.lastRun, { subject });
    this.limitPosition = floor + MAX_RUN_BYTES;
  }

  note(position: number, length: number, isWhole: boolean): void {
    const slot = this.next++ & LINE_MASK;
    this.#positions[slot] = position;
    this.#lengths[slot] = isWhole ? length : length | CUT;
  }

  /** Notes a record that has no bytes. */
  noteEvent(subject: Subject, event: ConnectionEvent): void {
    this.#details.set(this.lastRun, { subject, event });
    this.note(NOWHERE, 0, true);
  }

  /** Notes who took what is sent to all. */
  noteTakers(clients: number, takers: readonly Account[]): void {
    this.#details.set(this.lastRun, { clients, takers });
  }

  // -- What is forgotten --

  #makeRoom(): void {
    const needed = this.next + LINE_BLOCK - LINES;
    while (this.#isBefore(this.#first, needed)) this.#retire();
    this.#roomEnd = this.next + LINE_BLOCK;
  }

  #retireBefore(position: number): void {
    while (this.#isBefore(this.#floor, position)) this.#retire();
  }

  /** Whether the oldest run begins before a place. */
  #isBefore(column: Float64Array, place: number): boolean {
    return this.oldestRun <= this.lastRun && column[this.oldestRun & RUN_MASK]! < place;
  }

  #retire(): void {
    this.#onRetire(this.oldestRun);
    this.#account[this.oldestRun & RUN_MASK] = undefined;
    if (this.#details.size > 0) this.#details.delete(this.oldestRun);
    this.oldestRun++;
  }

  // -- What is known of a run --

  firstOf(run: number): number {
    return this.#first[run & RUN_MASK]!;
  }

  countOf(run: number): number {
    const end = run === this.lastRun ? this.next : this.#first[run + 1 & RUN_MASK]!;
    return end - this.#first[run & RUN_MASK]!;
  }

  /** How many records its account had before it. */
  ordinalOf(run: number): number {
    return this.#ordinal[run & RUN_MASK]!;
  }

  accountOf(run: number): Account {
    return this.#account[run & RUN_MASK]!;
  }

  /** Who took what was sent to all; `undefined` for other runs. */
  takersOf(run: number): readonly Account[] | undefined {
    return this.#kind[run & RUN_MASK] === SENT_TO_ALL ? this.#details.get(run)?.takers : undefined;
  }

  bytesOf(run: number): number {
    const first = this.firstOf(run);
    let bytes = 0;
    for (let i = this.countOf(run) - 1; i >= 0; i--) {
      bytes += this.#lengths[first + i & LINE_MASK]! & LENGTH_MASK;
    }
    return bytes;
  }

  /** A copy of one of its records; `undefined` if that was too long to be placed. */
  recordOf(run: number, index: number): Remembered | undefined {
    const slot = run & RUN_MASK;
    const sequence = this.#first[slot]! + index;
    const content = this.#contentOf(run, sequence & LINE_MASK);
    return content && { sequence, timeMs: this.#timeMs[slot]!, content };
  }

  #contentOf(run: number, lineSlot: number): Content | undefined {
    const slot = run & RUN_MASK;
    const detail = this.#details.get(run) ?? {};
    const { subject = this.#account[slot]!.subject, event, clients } = detail;
    if (event) return { tag: "event", subject, event };
    const position = this.#positions[lineSlot]!;
    if (position === NOWHERE) return;
    const length = this.#lengths[lineSlot]!;
    const bytes = this.#arena.slice(position, length & LENGTH_MASK);
    const isWhole = (length & CUT) === 0;
    if (clients !== undefined) return { tag: "sentToAll", clients, bytes, isWhole };
    return { tag: this.#kind[slot] === SENT ? "sent" : "said", subject, bytes, isWhole };
  }
}
