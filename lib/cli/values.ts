/**
 * What the value of an option may be, and how it is read.
 *
 * @module
 */

import { isIPv6 } from "node:net";
import {
  isMulticast,
  type MulticastGroup,
  type NamedNetwork,
  parseNamedNetwork,
  type UnixSocket,
} from "../addresses.ts";
import { parseReplyRule } from "../clients/replies.ts";
import { PathTemplate } from "../output/path_template.ts";
import type { ForwardTarget } from "../clients/target.ts";
import { type Framing, FRAMINGS } from "../framing/framing.ts";
import type { Encoding } from "../framing/encodings.ts";
import { MAX_MARK_BYTES } from "../framing/partial_frame.ts";
import { parseBytes, parsePattern } from "../patterns.ts";

/** A kind of value: what is right, in words, and how it is read. */
export interface Kind<T> {
  readonly expected: string;
  /** Returns `undefined` for a wrong value. */
  read(text: string): T | undefined;
  /** Says more than `expected` about a certain wrong value. */
  hint?(text: string, option: string): string | undefined;
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

/** The most ports that a range has: each is a listener of its own. */
const MAX_RANGE_PORTS = 1000;

/** A port, or a range of them such as `5000-5010`. */
export const ports: Kind<readonly number[]> = {
  expected: `${port.expected}, or a range such as 5000-5010`,
  read(text) {
    const [, from = text, to = text] = /^(\d+)-(\d+)$/.exec(text) ?? [];
    const [first, last] = [port.read(from), port.read(to)];
    if (first === undefined || last === undefined || last < first) return undefined;
    if (last > first && (first === 0 || last - first >= MAX_RANGE_PORTS)) return undefined;
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  },
  hint(text, option) {
    const several = /^\d+(,\d+)+$/.test(text) ? text.split(",") : [];
    if (several.length > 0) return `use ${several.map((one) => `--${option} ${one}`).join(" ")}`;
    const [, from, to] = /^(\d{1,5})(?:-|:|\.\.)(\d{1,5})$/.exec(text) ?? [];
    if (from && to && !text.includes("-")) return `use ${from}-${to}`;
    const [, host = "", digits = ""] = PLACE_REGEXP.exec(text) ?? [];
    const bare = address.read(host);
    if (bare && port.read(digits) !== undefined) return `use --host ${bare} --${option} ${digits}`;
    if (Number(from) === 0) return "a range begins at 1 at least, 0 is any free port";
    if (Number(from) > Number(to)) return `a range goes upwards: ${to}-${from}`;
    if (Number(to) - Number(from) >= MAX_RANGE_PORTS) return "a range has at most 1,000 ports";
    return undefined;
  },
};

/** UDP ports, or a multicast group. */
export const udpPorts: Kind<readonly (number | MulticastGroup)[]> = {
  expected: `${ports.expected}, or a multicast group such as 239.1.2.3:5000 or [ff02::fb]:5353`,
  read(text) {
    const [, host = "", digits = ""] = PLACE_REGEXP.exec(text) ?? [];
    if (host === "") return ports.read(text);
    const [group = "", groupPort] = [address.read(host), port.read(digits)];
    if (!isMulticast(group) || groupPort === undefined) return undefined;
    return [{ group, port: groupPort, interfaces: [] }];
  },
  hint(text, option) {
    const [, host = "", digits] = PLACE_REGEXP.exec(text) ?? [];
    const isAddress = host !== "" && address.read(host) !== undefined;
    if (isAddress) return `that is no multicast group: use --host ${host} --udp ${digits}`;
    return isMulticast(text)
      ? `use --udp ${isIPv6(text) ? `[${text}]` : text}:5000`
      : ports.hint?.(text, option);
  },
};

/** An address, in brackets if it is one of IPv6, and a port. */
const PLACE_REGEXP = /^([^:]+|\[.*\]):(\d+)$/;

/** A number of bytes from 1, also in k, M or G of 1024; `maxText` is `max` as a user writes it. */
export function size(max: number, maxText: string): Kind<number> {
  return {
    expected: `expected a size in bytes from 1 to ${maxText}, such as 4096, 64k or 10M`,
    hint(text) {
      const [, digits, unit] = /^(\d{1,15}) ?([kmg])i?b?(?:ytes?)?$/i.exec(text) ?? [];
      const right = `${digits}${unit}`;
      return this.read(right) === undefined ? undefined : `use ${right}`;
    },
    read(text) {
      const [, digits = "", unit = ""] = /^(\d{1,15})([kmg]?)$/i.exec(text) ?? [];
      const value = Number(digits) * 1024 ** ["", "k", "m", "g"].indexOf(unit.toLowerCase());
      return value >= 1 && value <= max ? value : undefined;
    },
  };
}

const UNIT_SECONDS: Record<string, number> = { ms: 0.001, s: 1, m: 60, min: 60, h: 3600, d: 86400 };

/** Seconds on the command line; read as whole milliseconds, rounded up. */
export const seconds: Kind<number> = {
  hint(text) {
    const [, amount, unit = ""] = /^(\d+(?:\.\d+)?) ?([a-z]+)$/i.exec(text) ?? [];
    const factor = UNIT_SECONDS[unit.toLowerCase()];
    return factor === undefined ? undefined : `it is in seconds, use ${Number(amount) * factor}`;
  },
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
    hint(text) {
      const meant = words.find((word) => word === text.toLowerCase());
      return meant && `use ${meant}`;
    },
  };
}

/** A Unix socket: a path or a name, and what is to be special about it. */
export const unixSocket: Kind<string | UnixSocket> = {
  expected: "expected the path of a socket",
  read(text) {
    const [path = "", ...settings] = text.split(",");
    const given = Object.fromEntries(settings.map((setting) => setting.split("=", 2)));
    // With nc, -u 5140 is a UDP port.
    const isWrong = /^@?$|^\d+$/.test(path) || Object.keys(given).length < settings.length ||
      !settings.every((setting) => SOCKET_SETTING_REGEXP.test(setting));
    const { mode, type = "stream" } = given;
    if (isWrong || mode !== undefined && path.startsWith("@")) return undefined;
    if (settings.length === 0) return path;
    return { path, ...mode !== undefined && { mode: parseInt(mode, 8) }, type };
  },
  hint: (text) =>
    /^\d+$/.test(text)
      ? `it is for Unix sockets: use --udp ${text}, or ./${text} for a file of that name`
      : "expected a path or @name, and perhaps ,mode=0660 or ,type=datagram behind it",
};

const SOCKET_SETTING_REGEXP = /^(mode=0?[0-7]{3}|type=(stream|datagram))$/;

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

/** A name as browsers ask for it, in lower case. */
export const hostName: Kind<string> = {
  expected: "expected a name without scheme and port, such as logs.example.com",
  read: (text) => /^[\w-]+(\.[\w-]+)*$/.test(text) ? text.toLowerCase() : undefined,
};

/** A port, alone or behind an address. */
export function socketAddress(defaultHost: string): Kind<{ host: string; port: number }> {
  return {
    hint(text) {
      const [, place = ""] = /^https?:\/\/([^/]+)\/?$/.exec(text) ?? [];
      return this.read(place) && `use ${place}`;
    },
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

/** A pattern; it is kept as it is written. */
export const pattern: Kind<string> = written(
  (text) => parsePattern(text) && text,
  "expected text or /regex/",
);

/** The path of a file, with fields; it is kept as it is written. */
export const logPath: Kind<string> = written(
  (text) => new PathTemplate(text).source,
  "expected the path of a file",
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

// -- How data is cut --

const FRAMING_WORDS = `${FRAMINGS.slice(0, -1).join(", ")}, none`;

/** What people write for the line ends that have names here. */
const FRAMING_HINTS: readonly [typed: RegExp, hint: string][] = [
  [/^(cr-?lf|lf|nl|line|lines|\\r?\\n)$/i, "use newline, which takes both LF and CRLF"],
  [/^(cr|\\r)$/i, "use any, which ends lines at LF, CRLF and CR"],
  [/^(null|zero|\\0|\\x00)$/i, "use nul"],
  [/^(raw|read|reads|chunk|chunks)$/i, "use none, which takes each read"],
  [/^(rfc.?6587|octet.?counting|octets|count|counted)$/i, "use octet, or syslog for both ways"],
  [/^(mllp|hl7)$/i, "use between:\\x0b,\\x1c\\r"],
  [/^(stx.?etx)$/i, "use between:\\x02,\\x03"],
];

/** Where frames end: a word, or `end:`, `between:` or `length:` and what belongs to it. */
export const framing: Kind<Framing> = {
  expected:
    `expected ${FRAMING_WORDS}, end:<bytes>, between:<start>,<end> or length:<1|2|4>[le][+n|-n]`,
  read(text) {
    const word = FRAMINGS.find((word) => word === text);
    if (word) return word;
    const [, kind, rest = ""] = /^(end|between|length):(.*)$/s.exec(text) ?? [];
    if (kind === "length") return lengthFraming(rest);
    const marks = (kind === "between" ? rest.split(",") : [rest]).map(markOf);
    const [first, second] = marks;
    if (kind === "end" && first) return { kind, end: first };
    if (kind !== "between" || marks.length !== 2 || !first || !second) return undefined;
    return { kind, start: first, end: second };
  },
  hint(text) {
    const [, hint] = FRAMING_HINTS.find(([typed]) => typed.test(text)) ?? [];
    const [, kind, rest = ""] = /^(end|between):(.*)$/s.exec(text) ?? [];
    return hint ?? (kind === "end" ? markHint(rest) : kind && betweenHint(rest));
  },
};

/** `undefined` for what is no mark. */
function markOf(text: string): Uint8Array | undefined {
  try {
    const bytes = parseBytes(text);
    return bytes.length >= 1 && bytes.length <= MAX_MARK_BYTES ? bytes : undefined;
  } catch {
    return undefined;
  }
}

function betweenHint(text: string): string | undefined {
  const marks = text.split(",");
  if (marks.length !== 2) {
    return "expected a start and an end with one comma between; a comma is \\x2c";
  }
  return marks.map(markHint).find((hint) => hint);
}

/** Says what is wrong with a mark. */
function markHint(text: string): string | undefined {
  try {
    const { length } = parseBytes(text);
    return length >= 1 && length <= MAX_MARK_BYTES
      ? undefined
      : `a mark has 1 to 16 bytes, this ${length}`;
  } catch (error) {
    return (error as Error).message;
  }
}

function lengthFraming(text: string): Framing | undefined {
  const [, width, le, offset = "0"] = /^([124])(le)?([+-]\d{1,9})?$/.exec(text) ?? [];
  if (!width) return undefined;
  const isLittleEndian = le !== undefined;
  return {
    kind: "length",
    width: Number(width) as 1 | 2 | 4,
    isLittleEndian,
    offset: Number(offset),
  };
}

/** A label of the Encoding Standard; UTF-8 is `undefined`, as if none were given. */
export const encoding: Kind<{ readonly name: Encoding }> = {
  expected: "expected a label of the Encoding Standard, such as latin1, shift_jis, gbk or utf-16le",
  read(text) {
    try {
      const name = new TextDecoder(text).encoding;
      return { name: name === "utf-8" ? undefined : name };
    } catch {
      return undefined;
    }
  },
};

/** A name for an address or a network, such as `10.1.0.0/16=plant`. */
export const named: Kind<NamedNetwork> = {
  expected: "expected an address or a network and a name, such as 192.0.2.7=pump; " +
    "names have 1 to 64 letters, digits, ., _ and -",
  read(text) {
    const [, network = "", name = ""] = /^([^=]*)=(.*)$/s.exec(text) ?? [];
    return parseNamedNetwork(network, name);
  },
};
