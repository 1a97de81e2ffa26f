/**
 * What the value of an option may be, and how it is read.
 *
 * @module
 */

import { isIPv6 } from "node:net";
import { parseReplyRule } from "../clients/replies.ts";
import type { ForwardTarget } from "../clients/target.ts";
import { parseBytes } from "../patterns.ts";

/** A kind of value: what is right, in words, and how it is read. */
export interface Kind<T> {
  readonly expected: string;
  /** Returns `undefined` for a wrong value. */
  read(text: string): T | undefined;
  /** Says more than `expected` about a certain wrong value. */
  hint?(text: string): string | undefined;
}

const MAX_COUNT = 2 ** 31 - 1;
const MAX_SECONDS = 1e9;

/** A number in decimal digits. */
export function integer(min: number, max = MAX_COUNT): Kind<number> {
  return {
    expected: `expected an integer from ${min} to ${max}`,
    read(text) {
      const value = /^\d{1,10}$/.test(text) ? Number(text) : NaN;
      return value >= min && value <= max ? value : undefined;
    },
  };
}

/** A TCP or UDP port, 0 for any free one. */
export const port: Kind<number> = integer(0, 65535);

/** A number of bytes from 1, also in k, M or G of 1024; `maxText` is `max` as a user writes it. */
export function size(max: number, maxText: string): Kind<number> {
  return {
    expected: `expected a size in bytes from 1 to ${maxText}, such as 4096, 64k or 10M`,
    read(text) {
      const [, digits = "", unit = ""] = /^(\d{1,15})([kmg]?)$/i.exec(text) ?? [];
      const value = Number(digits) * 1024 ** ["", "k", "m", "g"].indexOf(unit.toLowerCase());
      return value >= 1 && value <= max ? value : undefined;
    },
  };
}

/** Seconds on the command line; read as whole milliseconds, rounded up. */
export const seconds: Kind<number> = {
  expected: "expected a number of seconds, 0 for never",
  read(text) {
    const value = /^(\d+(\.\d*)?|\.\d+)$/.test(text) ? Number(text) : NaN;
    return value <= MAX_SECONDS ? Math.ceil(value * 1000) : undefined;
  },
};

/** One of a few words. */
export function word<Word extends string>(...words: readonly Word[]): Kind<Word> {
  return {
    expected: `expected ${words.slice(0, -1).join(", ")} or ${words.at(-1)}`,
    read: (text) => words.find((word) => word === text),
  };
}

/** A path; whether it is of use, the file system will say. */
export function path(expected: string): Kind<string> {
  return { expected, read: (text) => text };
}

/** An IP address or a name to look up; an IPv6 address may have brackets, and loses them. */
export const address: Kind<string> = {
  expected: "expected an address, such as 127.0.0.1, 0.0.0.0 or ::",
  read(text) {
    const bare = text.replace(/^\[(.*:.*)\]$/, "$1");
    return isIPv6(bare) || /^(?!\d+$)[^\s:/*[\]]+$/.test(bare) ? bare : undefined;
  },
};

/** A port, alone or behind an address. */
export function socketAddress(defaultHost: string): Kind<{ host: string; port: number }> {
  return {
    expected: "expected a port, alone or with a host, such as 8080, 0.0.0.0:8080 or [::1]:8080",
    read(text) {
      const [, before = defaultHost, after = ""] = /^(?:([^:]*|\[.*\]):)?(\d+)$/.exec(text) ?? [];
      const [hostRead, portRead] = [address.read(before), port.read(after)];
      if (hostRead === undefined || portRead === undefined) return undefined;
      return { host: hostRead, port: portRead };
    },
  };
}

/** Where clients are forwarded to. */
export const target: Kind<ForwardTarget> = {
  expected: "expected host:port or tls://host:port, such as 10.0.0.5:80 or [::1]:80",
  read(text) {
    const [, tls, host = "", after = ""] = /^(tls:\/\/)?([^:]*|\[.*\]):(\d+)$/.exec(text) ?? [];
    const [hostRead, portRead] = [address.read(host), integer(1, 65535).read(after)];
    if (hostRead === undefined || portRead === undefined) return undefined;
    return { host: hostRead, port: portRead, isTls: tls !== undefined };
  },
};

/** Bytes, with escapes for those that have no character. */
export const bytes: Kind<Uint8Array> = written(parseBytes, "expected text");

/** A rule that answers clients; it is kept as it is written. */
export const replyRule: Kind<string> = written(
  (text) => parseReplyRule(text) && text,
  "expected [pattern=>]answer",
);

/** What `parse` reads, which throws a SyntaxError that says what is wrong. */
function written<T>(parse: (text: string) => T, expected: string): Kind<T> {
  return {
    expected,
    read(text) {
      try {
        return parse(text);
      } catch {
        return undefined;
      }
    },
    hint(text) {
      try {
        parse(text);
      } catch (error) {
        return (error as SyntaxError).message;
      }
    },
  };
}
