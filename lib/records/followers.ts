/**
 * Those who want to have records as they come: all of them, or those of some accounts.
 *
 * @module
 */

import type { Account, Key } from "./account.ts";
import type { Remembered } from "./remembered.ts";
import type { Window } from "./window.ts";

/** Records of one account that follow each other in the log. */
export interface Run {
  readonly account: Account;
  readonly count: number;
  /** A copy of one of its records; `undefined` if that was too long. Valid during the call. */
  record(index: number): Remembered | undefined;
}

export interface Follower {
  /** Takes what came since the last time, in the order of the log. */
  take(runs: readonly Run[]): void;
}

export class Followers {
  readonly #window: Window;
  readonly #ofAll = new Set<Follower>();
  readonly #ofKey = new Map<Key, Set<Follower>>();
  /** The first run that they have not been given. */
  #uncollected = 0;

  constructor(window: Window) {
    this.#window = window;
  }

  /** Whether a run still has to be given before it is forgotten. */
  isUncollected(run: number): boolean {
    return run >= this.#uncollected && !this.#isEmpty;
  }

  get #isEmpty(): boolean {
    return this.#ofAll.size === 0 && this.#ofKey.size === 0;
  }

  add(follower: Follower, keys: Iterable<Key> | undefined): void {
    if (!keys) return void this.#ofAll.add(follower);
    for (const key of keys) this.#ofKey.set(key, (this.#ofKey.get(key) ?? new Set()).add(follower));
  }

  delete(follower: Follower): void {
    this.#ofAll.delete(follower);
    for (const [key, followers] of this.#ofKey) {
      followers.delete(follower);
      if (followers.size === 0) this.#ofKey.delete(key);
    }
  }

  /** Gives what has come since the last time. */
  collect(): void {
    const { lastRun } = this.#window;
    const taken = new Map<Follower, Run[]>();
    if (this.#isEmpty) this.#uncollected = lastRun + 1;
    while (this.#uncollected <= lastRun) this.#offer(this.#uncollected++, taken);
    for (const [follower, runs] of taken) follower.take(runs);
  }

  #offer(run: number, taken: Map<Follower, Run[]>): void {
    let view: Run | undefined;
    for (const follower of this.#followersOf(run)) {
      view ??= this.#viewOf(run);
      const runs = taken.get(follower);
      if (runs) runs.push(view);
      else taken.set(follower, [view]);
    }
  }

  #followersOf(run: number): ReadonlySet<Follower> {
    if (this.#ofKey.size === 0) return this.#ofAll;
    const accounts = this.#window.takersOf(run) ?? [this.#window.accountOf(run)];
    let followers = this.#ofAll;
    for (const { key } of accounts) {
      const own = this.#ofKey.get(key);
      if (own) followers = followers.union(own);
    }
    return followers;
  }

  #viewOf(run: number): Run {
    return {
      account: this.#window.accountOf(run),
      count: this.#window.countOf(run),
      record: (index) => this.#window.recordOf(run, index),
    };
  }
}
