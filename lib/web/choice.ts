/**
 * Which clients a watcher wants to see.
 *
 * @module
 */

import { isIP } from "node:net";
import { parseNetwork } from "../addresses.ts";
import type { Key } from "../records/account.ts";

/** Clients whose records alone are wanted; those of all without any. */
export interface Choice {
  readonly keys: ReadonlySet<Key>;
  /** The same text for the same choice. */
  readonly name: string;
}

/** A wrong query, in words for whoever made it. */
export class QueryError extends Error {
  override readonly name = "QueryError";
}

/** Reads `connection=3` and `host=192.0.2.7`, which may be there several times. */
export function choiceOf(query: URLSearchParams): Choice {
  const numbers = query.getAll("connection").map(numberOf);
  const hosts = query.getAll("host").map(hostOf);
  const keys = new Set<Key>([...numbers.sort((a, b) => a - b), ...hosts.sort()]);
  return { keys, name: [...keys].join() };
}

function numberOf(text: string): number {
  if (/^[1-9]\d{0,14}$/.test(text)) return Number(text);
  throw new QueryError(`connection is a number from 1, not "${text}"`);
}

/** As peers are written: IPv6 in its shortest form, IPv4-mapped addresses as IPv4. */
function hostOf(text: string): string {
  const host = text.replace(/^\[(.*)\]$/, "$1");
  if (isIP(host) === 0) throw new QueryError(`host is an address, not "${text}"`);
  const address = parseNetwork(host)?.address ?? host;
  return isIP(address) === 4 || address.includes("%")
    ? address
    : new URL(`http://[${address}]`).hostname.slice(1, -1);
}
