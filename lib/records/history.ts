/**
 * The last records, for whoever looks at the live page.
 *
 * @module
 */

import { NO_BYTES } from "../bytes.ts";
import { Account, KEPT_BYTES, KEPT_RECORDS, type Key, Minute } from "./account.ts";
import { Accounts } from "./accounts.ts";
import { type Follower, Followers } from "./followers.ts";
import type { ByteSource } from "./log.ts";
import type { RecordObserver } from "./recorder.ts";
import type { ConnectionEvent, Sent, Subject, Target, ToMany } from "./records.ts";
import { type Remembered, sizeOf } from "./remembered.ts";
import { EVENT, type RunKind, SAID, SENT, SENT_TO_ALL, Window } from "./window.ts";

/** So many of the last records of all are remembered. */
export const HISTORY_RECORDS = 500;

/** What is held with the runs of the window, about. */
const ACCOUNT_BYTES = 512;
const REFERENCE_BYTES = 8;

const NOBODY: Subject = { peer: { kind: "unix", path: "" } };

/**
 * Remembers records: the last 500 of all, and the last 20 of each of those who spoke last.
 *
 * **Positions, not copies.** Nearly all records leave the window unseen; the few that somebody
 * may still ask for are saved right before that.
 *
 * **It holds what is shown**, never the client: what that has left unsent would stay with it.
 */
export class History implements RecordObserver {
  readonly #window = new Window((run) => this.#onRetire(run));
  readonly #accounts = new Accounts();
  readonly #followers = new Followers(this.#window);
  /** Of those that have none of their own: the refused, and all together. */
  readonly #others = new Account("", NOBODY, 0);
  /** Lines a second of all. */
  readonly minute = new Minute();
  /** Of the last 500 records those that the window lost, oldest first. */
  readonly #recent: Remembered[] = [];
  #lastTakers: readonly Account[] = [];

  // The last run, if more may be added to it.
  #subject: Subject | undefined;
  #kind: RunKind = SAID;
  #timeMs = NaN;
  #cuts = 0;

  /** The sequence number of the next record; that of the first is 0. */
  get next(): number {
    return this.#window.next;
  }

  // -- What is said --

  /** Receives at most `maxBytes`, half a mebibyte at most; returns how many came, 0 at the end. */
  receive(source: ByteSource, maxBytes: number): number {
    return this.#window.receive(source, maxBytes);
  }

  /** What came last, `count` bytes, whose place is then taken. */
  last(count: number): Uint8Array {
    this.#close();
    return this.#window.last(count);
  }

  received(
    subject: Subject,
    bytes: Uint8Array,
    start: number,
    end: number,
    isWhole: boolean,
    timeMs: number,
  ): void {
    // First: making room may end the run.
    const position = this.#window.place(bytes, start, end);
    if (
      subject !== this.#subject || timeMs !== this.#timeMs || this.#kind !== SAID ||
      position > this.#window.limitPosition
    ) this.#begin(SAID, subject, this.#accountOf(subject, timeMs), timeMs);
    if (!isWhole) this.#cuts++;
    this.#window.note(position, end - start, isWhole);
  }

  sent(to: Target, sent: Sent, timeMs: number): void {
    if ("clients" in to) return this.#sentToAll(to, sent, timeMs);
    const position = this.#window.place(sent.bytes, 0, sent.lineBytes);
    this.#begin(SENT, to, this.#accountOf(to, timeMs), timeMs);
    this.#window.note(position, sent.lineBytes, sent.isWhole);
    this.#close();
  }

  #sentToAll({ clients, takers = [] }: ToMany, sent: Sent, timeMs: number): void {
    const accounts = this.#takersOf(takers, timeMs);
    const position = this.#window.place(sent.bytes, 0, sent.lineBytes);
    this.#begin(SENT_TO_ALL, NOBODY, this.#others, timeMs);
    this.#window.noteTakers(clients, accounts);
    this.#window.note(position, sent.lineBytes, sent.isWhole);
    this.#close();
    for (const account of accounts) {
      account.records++;
      this.#accounts.spoke(account);
    }
  }

  /** An account of its own is as much as a long line: it uses up the window in the same way. */
  #accountOf(subject: Subject, timeMs: number): Account {
    const account = this.#accounts.of(subject, timeMs);
    if (account.records === 0) this.#window.useUp(ACCOUNT_BYTES);
    return account;
  }

  /** Mostly the same take the next line: one list of them is enough. */
  #takersOf(takers: readonly Subject[], timeMs: number): readonly Account[] {
    const last = this.#lastTakers;
    const accounts = takers.map((subject) => this.#accountOf(subject, timeMs));
    if (accounts.length === last.length && accounts.every((one, i) => one === last[i])) return last;
    this.#window.useUp(REFERENCE_BYTES * accounts.length);
    return this.#lastTakers = accounts;
  }

  event(subject: Subject, event: ConnectionEvent, timeMs: number): void {
    const isOther = subject.number === undefined;
    const account = isOther ? this.#others : this.#accountOf(subject, timeMs);
    this.#window.place(NO_BYTES, 0, 0);
    this.#begin(EVENT, subject, account, timeMs);
    this.#window.noteEvent(subject, event);
    this.#close();
  }

  left(subject: Subject): void {
    this.#close();
    this.#accounts.left(subject);
  }

  #begin(kind: RunKind, subject: Subject, account: Account, timeMs: number): void {
    this.#close();
    this.#window.begin(kind, subject, account, timeMs);
    this.#subject = subject;
    this.#kind = kind;
    this.#timeMs = timeMs;
    this.#cuts = 0;
    if (account !== this.#others) this.#accounts.spoke(account);
  }

  /** Ends the last run: nothing is added to it any more. */
  #close(): void {
    const subject = this.#subject;
    if (!subject) return;
    this.#subject = undefined;
    const { lastRun } = this.#window;
    const account = this.#window.accountOf(lastRun);
    const count = this.#window.countOf(lastRun);
    account.records += count;
    if (this.#kind !== SAID) return;
    const lines = count - this.#cuts;
    const second = Math.floor(this.#timeMs / 1000);
    this.minute.count(second, lines);
    account.said(lines, this.#timeMs, second);
    if (subject.number !== undefined) return;
    // Of all who send datagrams from there the last is shown.
    account.subject = subject;
    account.bytes += this.#window.bytesOf(lastRun);
  }

  // -- What is forgotten --

  /** A run leaves the window. What of it may still be asked for is saved. */
  #onRetire(run: number): void {
    if (run === this.#window.lastRun) this.#close();
    if (this.#followers.isUncollected(run)) this.collect();
    const count = this.#window.countOf(run);
    const ofAll = this.#window.firstOf(run) + count - this.next + HISTORY_RECORDS;
    const ofOwn = this.#keptOf(run, count);
    for (let left = Math.min(count, Math.max(ofAll, ofOwn)); left > 0; left--) {
      const record = this.#window.recordOf(run, count - left);
      if (!record || sizeOf(record) > KEPT_BYTES) continue;
      if (left <= ofAll) this.#saveRecent(record);
      if (left <= ofOwn) this.#saveOwn(run, record);
    }
  }

  /** How many of the last records of a run are among the last of its account. */
  #keptOf(run: number, count: number): number {
    // Each of those who took it keeps as many as it may.
    if (this.#window.takersOf(run)) return count;
    const account = this.#window.accountOf(run);
    if (!account.isListed) return 0;
    return KEPT_RECORDS - (account.records - this.#window.ordinalOf(run) - count);
  }

  #saveRecent(record: Remembered): void {
    this.#recent.push(record);
    while (this.#recent[0]!.sequence < this.next - HISTORY_RECORDS) this.#recent.shift();
  }

  #saveOwn(run: number, record: Remembered): void {
    for (const account of this.#accountsOf(run)) if (account.isListed) account.save(record);
  }

  /** Whom a run is about. */
  #accountsOf(run: number): readonly Account[] {
    return this.#window.takersOf(run) ?? [this.#window.accountOf(run)];
  }

  // -- What is asked --

  /** What is known of a connection or of a host that sends datagrams. */
  account(key: Key): Account | undefined {
    this.#close();
    return this.#accounts.get(key);
  }

  /** Hosts that sent datagrams, the last first. */
  get senders(): Iterable<Account> {
    this.#close();
    return this.#accounts.senders;
  }

  /** The last records of all that are remembered, the newest first. */
  *backwards(): Generator<Remembered> {
    this.#close();
    const { lastRun, oldestRun } = this.#window;
    for (let run = lastRun; run >= oldestRun; run--) yield* this.#backwardsIn(run);
    for (let i = this.#recent.length - 1; i >= 0; i--) yield this.#recent[i]!;
  }

  /** The same of some accounts. */
  *backwardsOf(accounts: ReadonlySet<Account>): Generator<Remembered> {
    this.#close();
    const { lastRun, oldestRun } = this.#window;
    for (let run = lastRun; run >= oldestRun; run--) {
      if (this.#accountsOf(run).some((one) => accounts.has(one))) yield* this.#backwardsIn(run);
    }
    const saved = new Set([...accounts].flatMap((account) => account.saved));
    yield* [...saved].sort((a, b) => b.sequence - a.sequence);
  }

  *#backwardsIn(run: number): Generator<Remembered> {
    for (let index = this.#window.countOf(run) - 1; index >= 0; index--) {
      const record = this.#window.recordOf(run, index);
      if (record) yield record;
    }
  }

  // -- Who follows --

  /** Gives a follower all records from now on, or those of some accounts. */
  follow(follower: Follower, keys?: Iterable<Key>): void {
    this.collect();
    this.#followers.add(follower, keys);
  }

  unfollow(follower: Follower): void {
    this.#followers.delete(follower);
  }

  /** Gives followers what has come since the last time; also before any of it is forgotten. */
  collect(): void {
    this.#close();
    this.#followers.collect();
  }
}
