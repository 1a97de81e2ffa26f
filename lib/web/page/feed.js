/**
 * What is remembered of the log, for each choice apart.
 *
 * @module
 */

import { choiceOf, isOfChoice, labelOf } from "./record.js";

export const MAX_REMEMBERED = 2000;
const MAX_CHARACTERS = 16 * 1024 * 1024;
const MAX_FEEDS = 8;

let lastNumber = 0;

/** A record with what only showing it needs; or a note that stands between records. */
export function entryOf(record) {
  return {
    record,
    label: labelOf(record),
    timeMs: Date.parse(record.timestamp),
    number: ++lastNumber,
    row: undefined,
    isOpen: false,
  };
}

export function noteOf(note) {
  return { note, number: ++lastNumber, row: undefined };
}

function sizeOf({ record }) {
  return (record?.message ?? record?.message_base64 ?? "").length;
}

function whoseIs({ record }) {
  return record ? choiceOf(record) : "";
}

function tally(amounts, entry, amount) {
  const whose = whoseIs(entry);
  amounts.set(whose, (amounts.get(whose) ?? 0) + amount);
}

/** The most that each may have so that all have no more than the limit: max-min fairness. */
function fairShare(amounts, limit) {
  const rising = [...amounts].sort((a, b) => a - b);
  let left = limit;
  for (const [i, amount] of rising.entries()) {
    const share = left / (rising.length - i);
    if (amount > share) return share;
    left -= amount;
  }
  return Infinity;
}

/** The records of one choice. */
export class Feed {
  entries = [];
  /** Where its stream goes on; of the server's choosing. */
  id;
  skipped = 0;
  skippedBefore = 0;
  /** Whether older ones were forgotten. */
  isFull = false;

  constructor(choice) {
    this.choice = choice;
  }

  push(entries) {
    this.entries.push(...entries);
    this.#forget(() => 1, MAX_REMEMBERED);
    this.#forget(sizeOf, MAX_CHARACTERS);
  }

  /** Forgets the oldest of those who said most: a flood leaves what others have said. */
  #forget(measure, limit) {
    let excess = this.entries.reduce((sum, entry) => sum + measure(entry), -limit);
    if (excess <= 0) return;
    const amounts = new Map();
    for (const entry of this.entries) tally(amounts, entry, measure(entry));
    const share = fairShare(amounts.values(), limit);
    this.entries = this.entries.filter((entry) => {
      entry.isForgotten = excess > 0 && amounts.get(whoseIs(entry)) > share;
      if (!entry.isForgotten) return true;
      excess -= measure(entry);
      tally(amounts, entry, -measure(entry));
    });
    this.isFull = true;
  }

  replace(entries) {
    this.entries = [];
    this.isFull &&= entries.length > 0;
    this.push(entries);
  }

  /**
   * Takes the server's last records, which are complete from the first on. What is
   * remembered from before that stays.
   */
  merge(entries) {
    const [first] = entries;
    if (!first) return;
    const text = JSON.stringify(first.record);
    const end = this.entries.findIndex(({ record, timeMs }) =>
      timeMs > first.timeMs || timeMs === first.timeMs && JSON.stringify(record) === text
    );
    this.replace([...end < 0 ? this.entries : this.entries.slice(0, end), ...entries]);
  }

  /** A stream has ended: its count of skipped records begins anew. */
  endStream() {
    this.skippedBefore += this.skipped;
    this.skipped = 0;
  }
}

const feeds = new Map();

/** The feed of a choice. A new one begins with what is remembered of all. */
export function feedOf(choice) {
  let feed = feeds.get(choice);
  if (!feed) {
    feed = new Feed(choice);
    const known = feeds.get("")?.entries ?? [];
    feed.push(known.filter(({ record }) => record && isOfChoice(record, choice, false)));
  }
  // Least lately used first.
  feeds.delete(choice);
  feeds.set(choice, feed);
  for (const other of feeds.keys()) {
    if (feeds.size > MAX_FEEDS && other !== "") feeds.delete(other);
  }
  return feed;
}

/** Forgets all feeds but one. */
export function forgetOthers(feed) {
  feeds.clear();
  feeds.set(feed.choice, feed);
}
