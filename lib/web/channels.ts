/**
 * The feeds that are watched, and a few that were: whoever comes back goes on where it was.
 *
 * @module
 */

import type { Account } from "../records/account.ts";
import type { History } from "../records/history.ts";
import type { Choice } from "./choice.ts";
import { Feed } from "./feed.ts";

/** So many that nobody watches any more are followed all the same. */
const MAX_LEFT = 16;
const ALL = 0;

/** A choice, its feed, and how many watch that. */
export interface Channel {
  /** Never used twice in a run. */
  readonly id: number;
  readonly choice: Choice;
  readonly feed: Feed;
  watchers: number;
}

/** A place in a channel. */
export interface Place {
  readonly sequence: number;
  /** How many records of the choice lie before it. */
  readonly ordinal: number;
}

export class Channels {
  readonly #history: History;
  /** By their choice's name; the last that was asked for is the last. */
  readonly #channels = new Map<string, Channel>();
  #lastId = ALL;

  constructor(history: History) {
    this.#history = history;
  }

  /** Those that somebody watches. */
  *watched(): Generator<Channel> {
    for (const channel of this.#channels.values()) if (channel.watchers > 0) yield channel;
  }

  /** The channel of a choice, followed from now on. */
  open(choice: Choice): Channel {
    const known = this.#channels.get(choice.name);
    if (known) {
      this.#channels.delete(choice.name);
      this.#channels.set(choice.name, known);
      return known;
    }
    const { size } = choice.keys;
    // Where all are wanted, the ordinal of a record is its sequence number.
    this.#history.collect();
    const feed = new Feed(size === 0 ? this.#history.next : 0, () => performance.now());
    const id = size === 0 ? ALL : ++this.#lastId;
    const channel = { id, choice, feed, watchers: 0 };
    this.#channels.set(choice.name, channel);
    this.#history.follow(feed, size === 0 ? undefined : choice.keys);
    return channel;
  }

  /** Forgets the channels that nobody watches, but for the last ones of choices. */
  forgetUnwatched(): void {
    const unwatched = [...this.#channels.values()].filter(({ watchers }) => watchers === 0);
    const choices = unwatched.filter(({ id }) => id !== ALL);
    for (const channel of choices.slice(0, -MAX_LEFT)) this.#forget(channel);
    // What is remembered of all needs no feed.
    for (const channel of unwatched) if (channel.id === ALL) this.#forget(channel);
  }

  #forget({ choice, feed }: Channel): void {
    this.#channels.delete(choice.name);
    this.#history.unfollow(feed);
  }

  /** Those of a choice that are known now. */
  accountsOf({ choice }: Channel): ReadonlySet<Account> {
    const accounts = new Set<Account>();
    for (const key of choice.keys) {
      const account = this.#history.account(key);
      if (account) accounts.add(account);
    }
    return accounts;
  }
}
