/**
 * The list of clients: who is connected, and who sends datagrams.
 *
 * @module
 */

import { peerText } from "../addresses.ts";
import type { Account } from "../records/account.ts";
import type { History } from "../records/history.ts";
import { partnerMembers } from "../records/json.ts";
import { quoted } from "../records/escape.ts";
import type { Subject } from "../records/records.ts";
import { QueryError } from "./choice.ts";

/** A connection. */
export interface Watched {
  readonly subject: Subject & { readonly number: number };
  /** Name in the certificate that it has shown. */
  readonly certificate?: string | undefined;
  /** By `performance.now()`. */
  readonly connectedAtMs: number;
  /** When it last talked; -Infinity if it never did. */
  readonly talkedAtMs: number;
  readonly lines: number;
  readonly bytes: number;
}

export interface RosterOptions {
  readonly history: History;
  /** The connections of the log, oldest first. */
  readonly clients: Iterable<Watched>;
  /** Wall clock. */
  now(): number;
}

/** So many are listed at once. */
const MAX_LISTED = 200;
/** How long a list of so many is good for: whoever scrolls asks again and again. */
const LIST_MS = 1000;
const LONG_LIST = 1000;
const MAX_LISTS = 8;

const SORTS = ["number", "name", "silence", "rate"] as const;
type Sort = typeof SORTS[number];

/** A client as the list knows it. */
interface Entry {
  readonly subject: Subject;
  readonly certificate: string | undefined;
  readonly sinceMs: number;
  readonly heardAtMs: number;
  readonly lines: number;
  readonly bytes: number;
  readonly account: Account | undefined;
}

interface List {
  readonly madeAtMs: number;
  readonly entries: readonly Entry[];
}

export class Roster {
  readonly #options: RosterOptions;
  /** When `performance.now()` was 0. */
  readonly #startMs: number;
  readonly #lists = new Map<string, List>();

  constructor(options: RosterOptions) {
    this.#options = options;
    this.#startMs = options.now() - performance.now();
  }

  /** How many there are. */
  get size(): number {
    const { clients, history } = this.#options;
    return countOf(clients) + countOf(history.senders);
  }

  /** The first, by number, as JSON; `hasMinute` is whether with the lines of the last minute. */
  first(hasMinute: boolean): string {
    const nowMs = this.#options.now();
    const texts: string[] = [];
    for (const entry of this.#entries()) {
      if (texts.push(textOf(entry, nowMs, hasMinute)) === MAX_LISTED) break;
    }
    return `[${texts.join()}]`;
  }

  /** The answer to `?from=0&sort=number&search=words`, as JSON. */
  page(query: URLSearchParams): string {
    const from = fromOf(query.get("from") ?? "0");
    const entries = this.#list(sortOf(query.get("sort") ?? "number"), query.get("search") ?? "");
    const nowMs = this.#options.now();
    const texts = entries.slice(from, from + MAX_LISTED).map((one) => textOf(one, nowMs, false));
    return `{"clients":[${texts.join()}],"from":${from},"total":${entries.length}}`;
  }

  #list(sort: Sort, search: string): readonly Entry[] {
    const nowMs = performance.now();
    const key = `${sort} ${search}`;
    const known = this.#lists.get(key);
    if (known && nowMs - known.madeAtMs < LIST_MS) return known.entries;
    const entries = this.#find(sort, search);
    if (entries.length >= LONG_LIST) this.#keep(key, { madeAtMs: nowMs, entries });
    return entries;
  }

  #find(sort: Sort, search: string): readonly Entry[] {
    const words = search.toLowerCase().split(/\s+/).filter(Boolean);
    return sorted([...this.#entries()].filter(matcherOf(words)), sort, this.#options.now());
  }

  #keep(key: string, list: List): void {
    this.#lists.delete(key);
    this.#lists.set(key, list);
    const [oldest = key] = this.#lists.keys();
    if (this.#lists.size > MAX_LISTS) this.#lists.delete(oldest);
  }

  /** Connections by number, then senders of datagrams. */
  *#entries(): Generator<Entry> {
    const { clients, history } = this.#options;
    for (const client of clients) {
      const { subject, certificate, connectedAtMs, talkedAtMs, lines, bytes } = client;
      const account = history.account(subject.number);
      const sinceMs = this.#startMs + connectedAtMs;
      const heardAtMs = this.#startMs + Math.max(connectedAtMs, talkedAtMs);
      yield { subject, certificate, sinceMs, heardAtMs, lines, bytes, account };
    }
    for (const account of history.senders) {
      yield { ...shownOf(account), certificate: undefined, account };
    }
  }
}

function shownOf({ subject, sinceMs, heardAtMs, lines, bytes }: Account) {
  return { subject, sinceMs, heardAtMs, lines, bytes };
}

function textOf(entry: Entry, nowMs: number, hasMinute: boolean): string {
  const { subject, certificate, sinceMs, heardAtMs, lines, bytes, account } = entry;
  const silent = Math.max(0, Math.round((nowMs - heardAtMs) / 100) / 10);
  const rate = account?.minute.rate(nowMs / 1000) ?? 0;
  const minute = hasMinute ? account?.minute.history(nowMs / 1000) ?? [] : [];
  return `{${partnerMembers(subject)}` +
    (certificate === undefined ? "" : `,"certificate":${quoted(certificate)}`) +
    `,"since":"${new Date(sinceMs).toISOString()}","lines":${lines},"bytes":${bytes}` +
    `,"rate":${rate},"silent":${silent}` +
    (minute.some(Boolean) ? `,"minute":${JSON.stringify(minute)}}` : "}");
}

function fromOf(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new QueryError(`from is a number from 0, not "${text}"`);
}

function sortOf(text: string): Sort {
  const sort = SORTS.find((one) => one === text);
  if (sort) return sort;
  throw new QueryError(`sort is number, name, silence or rate, not "${text}"`);
}

/** Whether each of some words in lower case is in what is shown of a client. */
function matcherOf(words: readonly string[]): (entry: Entry) => boolean {
  return ({ subject, certificate = "" }) => {
    const { number, peer, name = "" } = subject;
    const label = number === undefined ? "udp" : `#${number}`;
    const shown = [label, name, peerText(peer), certificate].join("\n").toLowerCase();
    return words.every((word) => shown.includes(word));
  };
}

function sorted(entries: Entry[], sort: Sort, nowMs: number): Entry[] {
  switch (sort) {
    case "number":
      return entries;
    case "name":
      return sortedBy(entries, ({ subject: { name } }) => name?.toLowerCase());
    case "silence":
      return sortedBy(entries, ({ heardAtMs }) => heardAtMs);
    case "rate":
      return sortedBy(entries, ({ account }) => -(account?.minute.rate(nowMs / 1000) ?? 0));
  }
}

/** In the order of a value; those without one last, equal ones as they are. */
function sortedBy(
  entries: readonly Entry[],
  valueOf: (entry: Entry) => string | number | undefined,
): Entry[] {
  const valued = entries.map((entry) => ({ entry, value: valueOf(entry) }));
  valued.sort(({ value: a }, { value: b }) => {
    if (a === undefined || b === undefined) {
      return Number(a === undefined) - Number(b === undefined);
    }
    return a < b ? -1 : a > b ? 1 : 0;
  });
  return valued.map(({ entry }) => entry);
}

function countOf(all: Iterable<unknown>): number {
  let count = 0;
  for (const _ of all) count++;
  return count;
}
