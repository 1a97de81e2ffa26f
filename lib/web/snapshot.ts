/**
 * The last records, for somebody who has just come.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import type { Account } from "../records/account.ts";
import { type History, HISTORY_RECORDS } from "../records/history.ts";
import { jsonOf, type Remembered, sizeOf } from "../records/remembered.ts";
import type { Feed } from "./feed.ts";

/** Bytes of JSON of one record; a longer one is left out. */
const MAX_RECORD_BYTES = 128 * 1024;
/** Bytes of JSON of all; the newest are kept. */
const MAX_TOTAL_BYTES = 512 * 1024;

/** The JSON of the last records behind a sequence number, oldest first. */
export function lastRecords(records: Iterable<Remembered>, behind: number): string[] {
  const texts: string[] = [];
  let bytes = 0;
  let looked = 0;
  for (const record of records) {
    if (record.sequence <= behind || looked++ === HISTORY_RECORDS) break;
    // JSON is no shorter than what it is made of.
    if (sizeOf(record) > MAX_RECORD_BYTES) continue;
    const text = jsonOf(record);
    const size = Buffer.byteLength(text);
    if (size > MAX_RECORD_BYTES) continue;
    bytes += size;
    if (bytes > MAX_TOTAL_BYTES) break;
    texts.push(text);
  }
  return texts.reverse();
}

/** What is remembered of some accounts, by the history and by the feed of their choice; newest first. */
export function rememberedOf(
  history: History,
  feed: Feed,
  accounts: ReadonlySet<Account>,
): Remembered[] {
  const bySequence = new Map<number, Remembered>();
  for (const record of feed.remembered()) bySequence.set(record.sequence, record);
  let looked = 0;
  for (const record of history.backwardsOf(accounts)) {
    bySequence.set(record.sequence, record);
    if (++looked === HISTORY_RECORDS) break;
  }
  return [...bySequence.values()].sort((a, b) => b.sequence - a.sequence);
}
