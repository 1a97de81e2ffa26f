/**
 * The accounts of all who speak: of connections as long as they are open, and of those
 * that spoke last.
 *
 * @module
 */

import { Account, type Key, LastSpeakers } from "./account.ts";
import type { Subject } from "./records.ts";

/** Of so many of those who spoke last, their own last records are remembered. */
const MAX_CONNECTIONS = 1000;
const MAX_SENDERS = 200;

export class Accounts {
  readonly #connections = new LastSpeakers(MAX_CONNECTIONS, (account) => this.#forget(account));
  readonly #senders = new LastSpeakers(MAX_SENDERS, (account) => this.#forget(account));
  readonly #accounts = new Map<Key, Account>();

  get(key: Key): Account | undefined {
    return this.#accounts.get(key);
  }

  /** Hosts that sent datagrams, the last first. */
  get senders(): LastSpeakers {
    return this.#senders;
  }

  /** The account of a subject, which may be new. */
  of(subject: Subject, timeMs: number): Account {
    const key = keyOf(subject);
    const known = this.#accounts.get(key);
    if (known) return known;
    const account = new Account(key, subject, timeMs);
    this.#accounts.set(key, account);
    return account;
  }

  spoke(account: Account): void {
    if (typeof account.key === "number") this.#connections.spoke(account);
    else this.#senders.spoke(account);
  }

  /** A connection is gone. Its last records stay as long as it is among the last to speak. */
  left({ number }: Subject): void {
    const account = this.#accounts.get(number ?? "");
    if (!account) return;
    account.isOpen = false;
    if (!account.isListed) this.#accounts.delete(account.key);
  }

  #forget(account: Account): void {
    account.forget();
    if (!account.isOpen || typeof account.key === "string") this.#accounts.delete(account.key);
  }
}

function keyOf({ number, peer }: Subject): Key {
  if (number !== undefined) return number;
  return peer.kind === "ip" ? peer.host : peer.path;
}
