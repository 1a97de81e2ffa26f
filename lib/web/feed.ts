/**
 * What the watchers of one choice of clients are sent: a bounded number of records a
 * second, shared out so that who says little is heard whole.
 *
 * @module
 */

import type { Account } from "../records/account.ts";
import type { Follower, Run } from "../records/followers.ts";
import { jsonOf, type Remembered, sizeOf } from "../records/remembered.ts";

const RECORDS_PER_SECOND = 1000;
/** So many are sent at once. */
const BURST_RECORDS = 500;
/** So many can be sent from one tick to the next. */
const TICK_RECORDS = 100;

/** Data of those that wait, and JSON of those that were given: what is beyond is skipped. */
const MAX_WAITING_BYTES = 512 * 1024;
const MAX_GIVEN_BYTES = 768 * 1024;
const MAX_GIVEN = 1000;
/** A longer record is left out. */
const MAX_RECORD_BYTES = 512 * 1024;

/** A record as watchers get it. */
export interface Given {
  readonly record: Remembered;
  /** How many records of the choice came before it. */
  readonly ordinal: number;
  readonly json: string;
}

/** Records of one account, next to each other in the log, that wait to be given. */
interface Slice {
  readonly account: Account;
  /** Of its first record. */
  ordinal: number;
  count: number;
  /** Until they are copied. */
  run: Run | undefined;
  records: (Remembered | undefined)[];
}

export class Feed implements Follower {
  /** Records of the choice so far. */
  total: number;
  /** Those that wait, in the order of the log. */
  #waiting: Slice[] = [];
  #waitingCount = 0;
  /** The last that were given, oldest first. */
  #given: Given[] = [];
  #givenBytes = 0;
  // Token bucket.
  #tokens = BURST_RECORDS;
  #filledAtMs: number;

  readonly #now: () => number;

  /** `now` is in milliseconds. */
  constructor(total: number, now: () => number) {
    this.total = total;
    this.#now = now;
    this.#filledAtMs = now();
  }

  take(runs: readonly Run[]): void {
    for (const run of runs) {
      const { account, count } = run;
      this.#waiting.push({ account, ordinal: this.total, count, run, records: [] });
      this.#waitingCount += count;
      this.total += count;
    }
    this.#fill();
    // What comes until the next tick may be spent on these.
    this.#trim(Math.min(BURST_RECORDS, this.#tokens + TICK_RECORDS));
    for (const slice of this.#waiting) copy(slice);
    this.#trimBytes();
  }

  /** Gives what may be sent now. */
  give(): void {
    this.#fill();
    this.#trim(this.#tokens);
    this.#giveAllowed();
  }

  #fill(): void {
    const nowMs = this.#now();
    const filled = this.#tokens + (nowMs - this.#filledAtMs) * RECORDS_PER_SECOND / 1000;
    this.#tokens = Math.min(BURST_RECORDS, filled);
    this.#filledAtMs = nowMs;
  }

  /** Gives all that waits. */
  giveAll(): void {
    this.#tokens = Infinity;
    this.#giveAllowed();
  }

  #giveAllowed(): void {
    while (this.#tokens >= 1 && this.#waiting.length > 0) this.#giveSome(this.#waiting[0]!);
    while (this.#given.length > MAX_GIVEN || this.#givenBytes > MAX_GIVEN_BYTES) {
      this.#givenBytes -= this.#given.shift()!.json.length;
    }
  }

  #giveSome(slice: Slice): void {
    const count = Math.min(slice.count, Math.floor(this.#tokens));
    for (let i = 0; i < count; i++) this.#giveOne(slice.records[i], slice.ordinal + i);
    this.#tokens -= count;
    this.#drop(slice, count);
    if (slice.count === 0) this.#waiting.shift();
  }

  #giveOne(record: Remembered | undefined, ordinal: number): void {
    // JSON is no shorter than what it is made of.
    if (!record || sizeOf(record) > MAX_RECORD_BYTES) return;
    const json = jsonOf(record);
    if (json.length > MAX_RECORD_BYTES) return;
    this.#given.push({ record, ordinal, json });
    this.#givenBytes += json.length;
  }

  /** Takes the first records out of a slice. */
  #drop(slice: Slice, count: number): void {
    if (!slice.run) slice.records.splice(0, count);
    slice.ordinal += count;
    slice.count -= count;
    this.#waitingCount -= count;
  }

  /**
   * Skips what is too much. Nothing is while all of it can be sent within a second: a limit that
   * looks at each tick by itself loses records of steady clients when ticks come late. Of those
   * who say more than a fair share of that second, the newest stay that can be sent now.
   */
  #trim(tokens: number): void {
    const capacity = RECORDS_PER_SECOND + tokens;
    if (this.#waitingCount <= capacity) return;
    const counts = new Map<Account, number>();
    for (const { account, count } of this.#waiting) {
      counts.set(account, (counts.get(account) ?? 0) + count);
    }
    const level = fairLevel(counts.values(), capacity);
    const floods = new Map<Account, number>();
    let room = Math.max(tokens, TICK_RECORDS) | 0;
    for (const [account, count] of counts) {
      if (count > level) floods.set(account, 0);
      else room -= count;
    }
    this.#keepNewest(floods, Math.max(0, room));
  }

  /** Of floods keeps `room` records together: each the same, and of what is left over the newest. */
  #keepNewest(kept: Map<Account, number>, room: number): void {
    const each = Math.floor(room / kept.size);
    let spare = room % kept.size;
    for (let i = this.#waiting.length - 1; i >= 0; i--) {
      const slice = this.#waiting[i]!;
      const already = kept.get(slice.account);
      if (already === undefined) continue;
      const left = each - already;
      let count = Math.max(0, Math.min(slice.count, left));
      if (count === left && count < slice.count && spare > 0) {
        count++;
        spare--;
      }
      kept.set(slice.account, already + count);
      this.#drop(slice, slice.count - count);
    }
    this.#waiting = this.#waiting.filter(({ count }) => count > 0);
  }

  #trimBytes(): void {
    let bytes = 0;
    for (let i = this.#waiting.length - 1; i >= 0; i--) {
      const slice = this.#waiting[i]!;
      for (let left = slice.count; left > 0; left--) {
        const record = slice.records[left - 1];
        bytes += record ? sizeOf(record) : 0;
        if (bytes <= MAX_WAITING_BYTES) continue;
        this.#drop(slice, left);
        for (const older of this.#waiting.splice(0, i)) this.#waitingCount -= older.count;
        return;
      }
    }
  }

  // -- What was given --

  /** Records behind a sequence number that were given and are still here, oldest first. */
  givenAfter(sequence: number): readonly Given[] {
    const given = this.#given;
    let from = given.length;
    while (from > 0 && given[from - 1]!.record.sequence > sequence) from--;
    return given.slice(from);
  }

  /** How many records from an ordinal on wait for their turn. */
  waitingFrom(ordinal: number): number {
    let count = 0;
    for (const slice of this.#waiting) {
      count += Math.max(0, Math.min(slice.count, slice.ordinal + slice.count - ordinal));
    }
    return count;
  }

  /** All that it remembers, oldest first. */
  *remembered(): Generator<Remembered> {
    for (const { record } of this.#given) yield record;
    for (const { records } of this.#waiting) for (const one of records) if (one) yield one;
  }
}

/** What is forgotten next is copied. */
function copy(slice: Slice): void {
  const { run, count } = slice;
  if (!run) return;
  for (let i = run.count - count; i < run.count; i++) slice.records.push(run.record(i));
  slice.run = undefined;
}

/** The most that each may have for all to have no more than `capacity`: max-min fairness. */
export function fairLevel(counts: Iterable<number>, capacity: number): number {
  const ascending = [...counts].sort((a, b) => a - b);
  let left = capacity;
  for (let i = 0; i < ascending.length; i++) {
    const share = left / (ascending.length - i);
    if (ascending[i]! > share) return share;
    left -= ascending[i]!;
  }
  return Infinity;
}
