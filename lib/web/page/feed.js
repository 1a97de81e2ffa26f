/**
 * What is remembered of the log, for each choice apart.
 *
 * @module
 */

import { isOfChoice, labelOf } from "./record.js";

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

/** The records of one choice. */
export class Feed {
  entries = [];
  /** Where its stream goes on; of the server's choosing. */
  id;
  skipped = 0;
  skippedBefore = 0;
  #characters = 0;

  constructor(choice) {
    this.choice = choice;
  }

  push(entries) {
    this.entries.push(...entries);
    for (const entry of entries) this.#characters += sizeOf(entry);
    let first = Math.max(0, this.entries.length - MAX_REMEMBERED);
    for (let i = 0; i < first; i++) this.#characters -= sizeOf(this.entries[i]);
    while (this.#characters > MAX_CHARACTERS) this.#characters -= sizeOf(this.entries[first++]);
    if (first > 0) this.entries.splice(0, first);
  }

  replace(entries) {
    this.entries = [];
    this.#characters = 0;
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
