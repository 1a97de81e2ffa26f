/**
 * What is counted and remembered of those who speak: connections, and hosts that
 * send datagrams.
 *
 * @module
 */

import type { Subject } from "./records.ts";
import { type Remembered, sizeOf } from "./remembered.ts";

/** What finds an account: the number of a connection, or the address of a sender of datagrams. */
export type Key = number | string;

/** How many records of each are remembered, and how many bytes of them. */
export const KEPT_RECORDS = 20;
export const KEPT_BYTES = 8 * 1024;

const RATE_SECONDS = 10;
const MINUTE_SECONDS = 60;

/** Lines a second, for the last minute. */
export class Minute {
  /** The last second with lines, and how many: most are counted here alone. */
  #second = 0;
  #lines = 0;
  /** Ring buffer of those before it. */
  #before: Uint32Array | undefined;

  count(second: number, lines: number): void {
    if (second === this.#second) this.#lines += lines;
    else this.#begin(second, lines);
  }

  #begin(second: number, lines: number): void {
    // A clock that is put back counts on where it was.
    if (second < this.#second) return void (this.#lines += lines);
    const before = this.#before ??= new Uint32Array(MINUTE_SECONDS);
    before[this.#second % MINUTE_SECONDS] = this.#lines;
    const from = Math.max(this.#second + 1, second - MINUTE_SECONDS);
    for (let at = from; at < second; at++) before[at % MINUTE_SECONDS] = 0;
    this.#second = second;
    this.#lines = lines;
  }

  #linesIn(second: number): number {
    if (second === this.#second) return this.#lines;
    const isKept = second < this.#second && second >= this.#second - MINUTE_SECONDS && second >= 0;
    return isKept ? this.#before?.[second % MINUTE_SECONDS] ?? 0 : 0;
  }

  /** Lines a second over the ten seconds before `nowSecond`, which has a fraction. */
  rate(nowSecond: number): number {
    const second = Math.floor(nowSecond);
    let lines = this.#linesIn(second - RATE_SECONDS) * (1 - nowSecond + second);
    for (let at = second - RATE_SECONDS + 1; at <= second; at++) lines += this.#linesIn(at);
    return Math.round(lines / RATE_SECONDS * 10) / 10;
  }

  /** Lines in each of the last seconds before `nowSecond`, oldest first; none if there were none. */
  history(nowSecond: number): number[] {
    const second = Math.floor(nowSecond);
    const from = Math.max(0, second - MINUTE_SECONDS);
    const lines = [];
    for (let at = from; at < second; at++) lines.push(this.#linesIn(at));
    return lines;
  }
}

/** One connection, or one host that sends datagrams. */
export class Account {
  readonly key: Key;
  /** Who it was last. */
  subject: Subject;
  /** Records about it so far. */
  records = 0;
  /** Lines, datagrams or reads that it said. */
  lines = 0;
  bytes = 0;
  readonly sinceMs: number;
  /** When it last said something. */
  heardAtMs: number;
  readonly minute = new Minute();
  /** Whether it may still speak. */
  isOpen = true;
  /** The last records that are not in the history's window any more, oldest first. */
  saved: Remembered[] = [];
  #savedBytes = 0;
  // Neighbours in the list of those who spoke last.
  newer: Account | undefined;
  older: Account | undefined;
  isListed = false;

  constructor(key: Key, subject: Subject, nowMs: number) {
    this.key = key;
    this.subject = subject;
    this.sinceMs = nowMs;
    this.heardAtMs = nowMs;
  }

  /** It has said so many lines more. */
  said(lines: number, timeMs: number, second: number): void {
    this.lines += lines;
    this.heardAtMs = timeMs;
    this.minute.count(second, lines);
  }

  save(record: Remembered): void {
    this.saved.push(record);
    this.#savedBytes += sizeOf(record);
    while (this.saved.length > KEPT_RECORDS || this.#savedBytes > KEPT_BYTES) {
      this.#savedBytes -= sizeOf(this.saved.shift()!);
    }
  }

  forget(): void {
    this.saved = [];
    this.#savedBytes = 0;
  }
}

/** Those who spoke last, in that order, as an LRU list that is linked through its members. */
export class LastSpeakers implements Iterable<Account> {
  readonly #max: number;
  readonly #onDropped: (account: Account) => void;
  #newest: Account | undefined;
  #oldest: Account | undefined;
  #size = 0;

  constructor(max: number, onDropped: (account: Account) => void) {
    this.#max = max;
    this.#onDropped = onDropped;
  }

  spoke(account: Account): void {
    if (account === this.#newest) return;
    if (account.isListed) this.#unlink(account);
    else this.#size++;
    account.isListed = true;
    account.newer = undefined;
    account.older = this.#newest;
    if (this.#newest) this.#newest.newer = account;
    else this.#oldest = account;
    this.#newest = account;
    if (this.#size > this.#max) this.#drop(this.#oldest!);
  }

  #unlink({ newer, older }: Account): void {
    if (newer) newer.older = older;
    else this.#newest = older;
    if (older) older.newer = newer;
    else this.#oldest = newer;
  }

  #drop(account: Account): void {
    this.#unlink(account);
    this.#size--;
    account.isListed = false;
    account.newer = undefined;
    account.older = undefined;
    this.#onDropped(account);
  }

  /** The last to speak first. */
  *[Symbol.iterator](): Generator<Account> {
    for (let account = this.#newest; account; account = account.older) yield account;
  }
}
