/**
 * The names that the page may be asked for by.
 *
 * @module
 */

import { isIP } from "node:net";

/**
 * A page of somebody else's can make its own name point here (DNS rebinding). So only
 * names are known that nobody else can own: addresses, localhost, and the operator's.
 */
export class KnownHosts {
  readonly #names: ReadonlySet<string>;
  /** Those by which a proxy in front is asked. */
  readonly #others: ReadonlySet<string>;

  /** `host` is the one that is listened on; `others` are in lower case. */
  constructor(host: string, others: readonly string[]) {
    this.#names = new Set(["localhost", host.toLowerCase(), ...others]);
    this.#others = new Set(others);
  }

  /** Whether the host of a request, with or without a port, is one of them. */
  has(host: string | undefined): boolean {
    const name = nameOf(host);
    return isIP(name) !== 0 || this.#names.has(name);
  }

  /** Whether a script from `origin` is one of the page's own: that was asked for at the same host. */
  isOwn(origin: string, host: string | undefined): boolean {
    const [, authority] = /^https?:\/\/([^/?#]+)$/i.exec(origin) ?? [];
    if (authority === undefined) return false;
    const isSame = authority.toLowerCase() === host?.toLowerCase();
    return isSame || this.#others.has(nameOf(authority));
  }
}

/** What is asked for. */
interface Target {
  readonly host: string | undefined;
  readonly path: string;
  readonly query: URLSearchParams;
}

/** Reads the target of a request; an absolute one has a host of its own. */
export function targetOf(url: string, header: string | undefined): Target {
  const [, host, rest = "/"] = /^https?:\/\/([^/?#]*)([^#]*)$/i.exec(url) ?? [, header, url];
  const [, path, query] = /^([^?]*)\??(.*)$/s.exec(rest) ?? [];
  return { host, path: path || "/", query: new URLSearchParams(query) };
}

/** A host without its port, brackets and a user's name. */
function nameOf(host = ""): string {
  const [, ipv6, name = ""] = /^(?:\[([^\]]*)\]|([^:@]*))(?::\d*)?$/.exec(host) ?? [];
  return (ipv6 ?? name).toLowerCase();
}
