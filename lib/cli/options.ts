/**
 * The command line: one table says all of each option. Parsing, `--help`, error
 * messages and defaults are read from it.
 *
 * @module
 */

import { isIPv4 } from "node:net";
import { parseArgs } from "@std/cli/parse-args";
import manifest from "../../deno.json" with { type: "json" };
import {
  bracketed,
  isMulticast,
  type MulticastGroup,
  type NamedNetwork,
  type Network,
  parseNetwork,
  type UnixSocket,
} from "../addresses.ts";
import { decode } from "../bytes.ts";
import { isUtf16 } from "../framing/encodings.ts";
import type { Framing } from "../framing/framing.ts";
import { optionHint, placeHint } from "./hints.ts";
import { FORMATS, TIMES } from "../records/records.ts";
import {
  address,
  bytes,
  encoding,
  framing,
  hostName,
  integer,
  type Kind,
  logPath,
  named,
  path,
  pattern,
  ports,
  replyRule,
  seconds,
  size,
  socketAddress,
  target,
  udpPorts,
  unixSocket,
  word,
} from "./values.ts";

/**
 * What a command line asks for, a field for each option. {@linkcode parseConfig}
 * makes it; whoever changes it keeps to the same limits, which nothing checks again.
 */
export interface Config {
  /** TCP ports, 0 for any free one. Empty if only Unix sockets or UDP ports are listened on. */
  readonly ports: readonly number[];
  /** UDP ports, 0 for any free one, and multicast groups; empty for none. */
  readonly udpPorts: readonly (number | MulticastGroup)[];
  /** Addresses, or names to look up, that every TCP and UDP port is opened on. */
  readonly hosts: readonly string[];
  /** Paths of Unix sockets, or more of them than that; empty for none. */
  readonly unixPaths: readonly (string | UnixSocket)[];
  /** Path of a file in PEM format, with which the TCP ports speak TLS; needs `tlsKey`. */
  readonly tlsCert: string | undefined;
  /** Path of a file in PEM format: the key of `tlsCert`. */
  readonly tlsKey: string | undefined;
  /** Path of a file in PEM format: who signs the certificates that clients must show. */
  readonly tlsClientCa: string | undefined;
  /** Connections that may wait to be accepted, at each TCP port; 1 at least. */
  readonly backlog: number;
  /** Whether several processes may share the TCP ports. */
  readonly reusePort: boolean;
  /** With so many connections no more are accepted, and the others wait; 1 at least. */
  readonly maxConnections: number;
  /** Connections that one IPv4 address or IPv6 /64 may have; `undefined` for any number. */
  readonly maxPerHost: number | undefined;
  /**
   * Networks whose peers are proxies, and say in a PROXY header for whom they speak; `"unix"`
   * is where the peers of Unix sockets are.
   */
  readonly proxyFrom: readonly (Network | "unix")[];
  /** Networks let in; empty for all. */
  readonly allow: readonly Network[];
  /** Networks kept out, even if let in by `allow`. */
  readonly deny: readonly Network[];
  /** Silence after which a client is disconnected; 0 for never. */
  readonly idleTimeoutMs: number;
  /** Where frames end; `undefined` is newline, but with raw, hex and hexline each read as it comes. */
  readonly framing: Framing | undefined;
  /**
   * What clients speak, by its name in the Encoding Standard; `undefined` is UTF-8. Of no
   * effect where `format` is raw, hex or hexline.
   */
  readonly encoding: string | undefined;
  /** Whether each line of a datagram is a record of its own. */
  readonly udpLines: boolean;
  /** Longest line in one piece, from 1 to 64 MiB; of no effect where reads are taken as they come. */
  readonly maxLineBytes: number;
  /** Silence after which the beginning of a line is logged without its end; 0 for never. */
  readonly flushAfterMs: number;
  /** How records are written. */
  readonly format: "text" | "json" | "raw" | "hex" | "hexline";
  /** How records are dated; `elapsed` is seconds since the start, `delta` since the last record. */
  readonly time: "utc" | "local" | "elapsed" | "delta" | "none";
  /** Whether clients have colours; `auto` if they go to a terminal that wants them. */
  readonly color: "auto" | "always" | "never";
  /** Path of a file to append to, with fields such as `%h` of many; `undefined` for stdout. */
  readonly output: string | undefined;
  /** Whether records go to stdout, too; needs `output`. */
  readonly tee: boolean;
  /** Size that an output file does not exceed, unless one write does; `undefined` for any. */
  readonly rotateSizeBytes: number | undefined;
  /** How many output files that reached that size are kept, from 1 to 1000. */
  readonly rotateKeep: number;
  /** Names for addresses and networks; the longest prefix counts. */
  readonly names: readonly NamedNetwork[];
  /** Path of a file with more of them, a line each. */
  readonly namesFile: string | undefined;
  /** Whether records of connects, disconnects and refusals are left out. */
  readonly quiet: boolean;
  /** Whether what is typed goes to the clients. */
  readonly interactive: boolean;
  /** Whether typed lines end in CR LF. */
  readonly crlf: boolean;
  /** Whether typed lines are bytes with escapes, to which no line end is added. */
  readonly escapes: boolean;
  /** What each client is sent when it is connected; empty for nothing. */
  readonly greet: Uint8Array;
  /** Rules, `[pattern=>]answer`, for frames and datagrams; the first that matches answers. */
  readonly replies: readonly string[];
  /** Where each client is connected to, by TLS if asked for; `undefined` for nowhere. */
  readonly forward:
    | { readonly host: string; readonly port: number; readonly isTls: boolean }
    | undefined;
  /** Path of a file in PEM format: who may have signed the certificate of a TLS target. */
  readonly forwardCa: string | undefined;
  /** Whether clients get back what they send. */
  readonly echo: boolean;
  /** Patterns that end the server when each was seen; none for no such end. */
  readonly until: readonly string[];
  /** So many whole lines, datagrams or reads end it; `undefined` for any number. */
  readonly count: number | undefined;
  /** It ends after so long; 0 for never. */
  readonly forMs: number;
  /** Where the live page is served, on port 0 for any free one; `undefined` for nowhere. */
  readonly web: { readonly host: string; readonly port: number } | undefined;
  /** Names that the live page may be asked for by, beside localhost and addresses. */
  readonly webHosts: readonly string[];
  /** Time between two summaries on stderr; 0 for none. */
  readonly statsMs: number;
  /** Which of the two front ends of `poller.ts` waits for the clients. */
  readonly multiplexer: "poll" | "select";
}

/** A command line that cannot be obeyed; its message says what is wrong and what would be right. */
export class UsageError extends Error {
  /** "UsageError". */
  override readonly name = "UsageError";
}

// -- The table --

const MAX_LINE_BYTES = 64 * 1024 ** 2;
const MAX_FILE_BYTES = 1024 ** 4;
/** Each rotation renames all of them. */
const MAX_OLD_FILES = 1000;
const WEB_HOST = "127.0.0.1";

const host: Kind<string> = { ...address, hint: placeHint };
const GROUP_PORT = 5000;
const pemFile = path("expected a file in PEM format");
const network: Kind<Network> = {
  expected: "expected an address or a network, such as 10.0.0.0/8 or fd00::/8",
  read: parseNetwork,
  hint: networkHint,
};

/** Says what to write for a name or a pattern of addresses. */
function networkHint(text: string): string | undefined {
  if (text === "localhost") return "use 127.0.0.0/8, and ::1 beside it for IPv6";
  if (text === "*") return "use 0.0.0.0/0 for all IPv4, and ::/0 for all IPv6";
  const [, fixed] = /^((?:\d{1,3}\.){1,3})(?:\*\.)*\*$/.exec(text) ?? [];
  if (fixed === undefined) return undefined;
  const count = fixed.split(".").length - 1;
  const right = `${fixed}${Array(4 - count).fill("0").join(".")}/${8 * count}`;
  return parseNetwork(right) && `use ${right}`;
}

const proxyNetwork: Kind<Network | "unix"> = {
  expected: `${network.expected}, or unix`,
  read: (text) => text === "unix" ? text : network.read(text),
  hint: (text, option) => network.hint?.(text, option),
};

/** What `--help` says of an option. */
interface About {
  readonly help: string;
  /** The heading of a group that begins here. */
  readonly group?: string;
  /** Deno's permissions that it needs beside `--allow-net`. */
  readonly needs?: readonly Permission[];
}

const PERMISSIONS = ["read", "write"] as const;
type Permission = typeof PERMISSIONS[number];

/** How the values given to an option become a field of the {@linkcode Config}. */
interface Taking<T> {
  /** What is right as a value; absent for a flag. */
  readonly expected?: string;
  /** In the words of the command line. */
  readonly default?: string | undefined;
  take(given: readonly string[], name: string): T;
}

interface Option<T> extends About, Taking<T> {
  /** As in `--help`: `-p, --port <n>`. */
  readonly synopsis: string;
  readonly letter: string | undefined;
  readonly name: string;
}

function option<T>(synopsis: string, taking: Taking<T>, about: About): Option<T> {
  const [, letter, name = ""] = /^(?:-(\w), )?--([a-z-]+)/.exec(synopsis) ?? [];
  return { synopsis, letter, name, ...taking, ...about };
}

const flag: Taking<boolean> = { take: (given) => given.length > 0 };

/** The last value given counts. */
function single<T>(kind: Kind<T>, fallback: string): Taking<T> {
  return {
    expected: kind.expected,
    default: fallback,
    take: (given, name) => read(name, kind, given.at(-1) ?? fallback),
  };
}

/** The same without a default. */
function optional<T>(kind: Kind<T>): Taking<T | undefined> {
  return {
    expected: kind.expected,
    take: (given, name) => given.slice(-1).map((text) => read(name, kind, text))[0],
  };
}

/** Each value given counts; the default only if there is none. */
function repeatable<T>(kind: Kind<T>, fallback?: string): Taking<readonly T[]> {
  const defaults = fallback === undefined ? [] : [fallback];
  return {
    expected: kind.expected,
    default: fallback,
    take: (given, name) => (given.length ? given : defaults).map((text) => read(name, kind, text)),
  };
}

/** The same of a kind whose values are lists. */
function lists<T>(kind: Kind<readonly T[]>, fallback?: string): Taking<readonly T[]> {
  const { take, ...taking } = repeatable(kind, fallback);
  return { ...taking, take: (given, name) => take(given, name).flat() };
}

/** The last value given counts; without one it depends on others what is taken. */
function dependent<T>(kind: Kind<T>, fallback: string): Taking<T | undefined> {
  return { ...optional(kind), default: fallback };
}

function read<T>(name: string, kind: Kind<T>, text: string): T {
  const value = kind.read(text);
  if (value !== undefined) return value;
  throw new UsageError(
    `Cannot use --${name} "${text}": ${kind.hint?.(text, name) ?? kind.expected}`,
  );
}

function encodingTaking(): Taking<string | undefined> {
  const { take, ...taking } = single(encoding, "utf-8");
  return { ...taking, take: (given, name) => take(given, name).name };
}

/** Every option, in the order of `--help`. The compiler holds it against {@linkcode Config}. */
const OPTIONS: { readonly [Field in keyof Config]: Option<Config[Field]> } = {
  ports: option("-p, --port <n>", lists(ports, "1234"), {
    group: "Listening",
    help: "TCP port, 0 for any free one, or a range such as 5000-5010; repeatable",
  }),
  udpPorts: option("--udp <port>", lists(udpPorts), {
    help: "hear datagrams on a UDP port, a range or a multicast group such as 239.1.2.3:5000, " +
      "alone if no --port is given; repeatable",
  }),
  hosts: option("-H, --host <address>", repeatable(host, "127.0.0.1"), {
    help: "where to open the ports; 0.0.0.0 all IPv4, :: all IPv4 and IPv6; repeatable",
  }),
  unixPaths: option("-u, --unix <path>", repeatable(unixSocket), {
    help: "listen on a Unix socket, alone if no --port is given; @name has no file; " +
      "path,mode=0660,type=datagram; repeatable",
    needs: ["read", "write"],
  }),
  tlsCert: option("--tls-cert <file>", optional(pemFile), {
    help: "certificate for the TCP ports (PEM), together with",
    needs: ["read"],
  }),
  tlsKey: option("--tls-key <file>", optional(pemFile), { help: "its key (PEM)", needs: ["read"] }),
  tlsClientCa: option("--tls-client-ca <file>", optional(pemFile), {
    help: "let in only clients with a certificate that one of these signed (PEM)",
    needs: ["read"],
  }),
  backlog: option("--backlog <n>", single(integer(1), "4096"), {
    help: "connections that may wait to be accepted",
  }),
  reusePort: option("--reuse-port", flag, {
    help: "let several processes share the TCP ports (Linux)",
  }),
  maxConnections: option("-m, --max-connections <n>", single(integer(1), "1000"), {
    group: "Who may connect",
    help: "accept no more at this number, the others wait",
  }),
  maxPerHost: option("--max-per-host <n>", optional(integer(1)), {
    help: "close further connections of one address (IPv6: of one /64) at once",
  }),
  proxyFrom: option("--proxy-from <cidr>", repeatable(proxyNetwork), {
    help: "proxies, or unix: their connections begin with a PROXY header, v1 or v2; repeatable",
  }),
  allow: option("--allow <cidr>", repeatable(network), {
    help: "let in 10.0.0.0/8, 10.1.2.3 or fd00::/8 and nobody else; repeatable",
  }),
  deny: option("--deny <cidr>", repeatable(network), {
    help: "keep out; repeatable, wins over --allow",
  }),
  idleTimeoutMs: option("-i, --idle-timeout <s>", single(seconds, "0"), {
    help: "disconnect a client silent for so many seconds, 0 for never",
  }),
  framing: option("--framing <kind>", dependent(framing, "newline"), {
    group: "How data is cut",
    help: "newline (LF or CRLF), nul, octet (RFC 6587 counts), any (LF, CRLF or CR), " +
      "syslog (both ways of RFC 6587), none (each read), end:<bytes>, between:<start>,<end>, " +
      "length:<1|2|4>[le][+n|-n]; bytes as in \\x1c\\r",
  }),
  encoding: option("--encoding <label>", encodingTaking(), {
    help: "what clients speak, such as latin1, shift_jis, gbk or utf-16le",
  }),
  udpLines: option("--udp-lines", flag, {
    help: "make each line of a datagram a record of its own",
  }),
  maxLineBytes: option("--max-line <bytes>", single(size(MAX_LINE_BYTES, "64M"), "65536"), {
    help: "log longer lines in pieces of this size",
  }),
  flushAfterMs: option("--flush-after <s>", single(seconds, "0"), {
    help: "log an unfinished line after so many seconds of silence, 0 for never",
  }),
  format: option("-f, --format <kind>", single(word(...FORMATS), "text"), {
    group: "How it is written",
    help: "text, json (an object a line), raw (bytes as they come), hex (a dump), " +
      "hexline (a record a line)",
  }),
  time: option("-t, --time <kind>", single(word(...TIMES), "utc"), {
    help: "utc, local, elapsed (seconds since start), delta (since the record before), none",
  }),
  color: option("--color <when>", single(word("auto", "always", "never"), "auto"), {
    help: "auto (on a terminal, unless NO_COLOR is set), always, never",
  }),
  output: option("-o, --output <file>", optional(logPath), {
    help: "append to a file; - is stdout, as without; SIGHUP opens it anew; with %h (name), %a " +
      "(address), %n (number), %l (port), %Y, %m, %d or %H a file for each",
    needs: ["write"],
  }),
  tee: option("--tee", flag, { help: "with --output: to stdout, too" }),
  rotateSizeBytes: option("--rotate-size <bytes>", optional(size(MAX_FILE_BYTES, "1024G")), {
    help: "rename it to <file>.1 and begin a new one before it gets larger",
    needs: ["read", "write"],
  }),
  rotateKeep: option("--rotate-keep <n>", single(integer(1, MAX_OLD_FILES), "5"), {
    help: "how many old files --rotate-size keeps, at most 1000",
  }),
  names: option("--name <address>=<name>", repeatable(named), {
    help: "a name for an address or a network, the longest prefix wins; repeatable",
  }),
  namesFile: option("--names <file>", optional(path("expected the path of a file")), {
    help: "the same from lines of an address and a name; SIGHUP reads it again",
    needs: ["read"],
  }),
  quiet: option("-q, --quiet", flag, { help: "no records of connects, disconnects and refusals" }),
  interactive: option("-I, --interactive", flag, {
    group: "Talking back",
    help: "send what is typed to all clients, @3 text to client 3; @? lists them",
  }),
  crlf: option("--crlf", flag, { help: "end typed lines in CR LF" }),
  escapes: option("--escapes", flag, {
    help: "type bytes as \\x06, \\r, \\n or \\\\, and add no line end",
  }),
  greet: option("--greet <text>", single(bytes, ""), {
    help: "send this to each client when it is connected, with escapes such as \\r\\n",
  }),
  replies: option("--reply <rule>", repeatable(replyRule), {
    help: "answer frames and datagrams: [pattern=>]answer, /regex/ with groups $1 to $9; " +
      "repeatable, the first that matches",
  }),
  forward: option("--forward <target>", optional(target), {
    help: "connect each client to host:port or tls://host:port, and log both directions",
  }),
  forwardCa: option("--forward-ca <file>", optional(pemFile), {
    help: "who may have signed the certificate of a tls:// target (PEM)",
    needs: ["read"],
  }),
  echo: option("-e, --echo", flag, { help: "send every client its own bytes back" }),
  until: option("--until <pattern>", repeatable(pattern), {
    group: "Ending by itself",
    help: "end when this was seen, text or /regex/; repeatable: each of them",
  }),
  count: option("--count <n>", optional(integer(1)), {
    help: "end after so many lines, datagrams or reads",
  }),
  forMs: option("--for <s>", single(seconds, "0"), {
    help: "end after so many seconds, 0 for never; without what --until waits for with status 3",
  }),
  web: option("--web <[host:]port>", optional(socketAddress(WEB_HOST)), {
    group: "Watching",
    help: `live page and Prometheus metrics over HTTP, on ${WEB_HOST} unless named`,
  }),
  webHosts: option("--web-host <name>", repeatable(hostName), {
    help: "a name that the page may be asked for by, beside localhost and addresses; repeatable",
  }),
  statsMs: option("--stats <s>", single(seconds, "0"), {
    help: "a summary on stderr every so many seconds, 0 for never",
  }),
  multiplexer: option("--multiplexer <kind>", single(word("poll", "select"), "poll"), {
    group: "And",
    help: "wait with poll or select",
  }),
};

const HELP = option("-h, --help", flag, { help: "print this" });
const VERSION = option("-V, --version", flag, { help: "print the version" });
const ALL: readonly Option<unknown>[] = [...Object.values(OPTIONS), HELP, VERSION];
const BY_NAME = new Map(ALL.map((option) => [option.name, option]));
const BY_LETTER = new Map(ALL.map((option) => [option.letter, option]));

// -- Parsing --

/**
 * Parses a command line.
 *
 * @param args Arguments as in `Deno.args`.
 * @returns A complete configuration, defaults filled in; or `"help"` or `"version"`
 * if one of these is asked for, whatever else is given. If an option that takes one
 * value is given twice, the last counts.
 * @throws {UsageError} If an option is unknown, a value is missing or malformed, an
 * argument is no option, or two options do not go together.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 *
 * const config = parseConfig(["-p", "5140", "--max-line=64k"]);
 * if (typeof config === "object") assertEquals(config.ports, [5140]);
 * assertEquals(parseConfig(["--help"]), "help");
 * ```
 */
export function parseConfig(args: readonly string[]): Config | "help" | "version" {
  const { words, problem } = canonical(args);
  const given = collect(words);
  if (given(HELP).length > 0) return "help";
  if (given(VERSION).length > 0) return "version";
  if (problem !== undefined) throw new UsageError(problem);
  const taken = Object.entries<Option<unknown>>(OPTIONS).map(([field, option]) => {
    return [field, option.take(given(option), option.name)];
  });
  // The type of the table has each field take the type that Config gives it.
  const config = settle(Object.fromEntries(taken) as Config, given);
  assertCompatible(config, given);
  return config;
}

/** A configuration with the command line's defaults for what is left out. */
export function completeConfig(config: Partial<Config>): Config {
  const defaults = parseConfig([]);
  if (typeof defaults === "string") throw new TypeError("The defaults are no configuration");
  const { unixPaths = [], udpPorts = [] } = config;
  const standsAlone = unixPaths.length > 0 || udpPorts.length > 0;
  return { ...defaults, ...standsAlone && { ports: [] }, ...config };
}

type Given = (option: Option<unknown>) => readonly string[];

/** What was given to each option: its values, or of a flag "true" for each time. */
function collect(words: string[]): Given {
  const names = (options: typeof ALL) => options.map(({ name }) => name);
  const parsed: Record<string, unknown> = parseArgs(words, {
    string: names(ALL.filter(({ expected }) => expected)),
    boolean: names(ALL.filter(({ expected }) => !expected)),
    collect: names(ALL),
  });
  return ({ name }) => (parsed[name] as unknown[]).map(String);
}

/** Without --port, other listeners stand alone; `-` is stdout. */
function settle(config: Config, given: Given): Config {
  const hasOthers = config.unixPaths.length > 0 || config.udpPorts.length > 0;
  const isTcp = given(OPTIONS.ports).length > 0 || !hasOthers;
  const output = config.output === "-" ? undefined : config.output;
  const interfaces = given(OPTIONS.hosts).length > 0 ? config.hosts : [];
  const udpPorts = config.udpPorts.map((port) =>
    typeof port === "number" ? port : { ...port, interfaces: interfaces.filter(sameFamily(port)) }
  );
  return { ...config, ports: isTcp ? config.ports : [], udpPorts, output };
}

/** Whether a group can be joined on an interface with that address. */
function sameFamily({ group }: MulticastGroup): (address: string) => boolean {
  return (address) => isIPv4(address) === isIPv4(group);
}

function isStreamSocket(socket: string | UnixSocket): boolean {
  return typeof socket === "string" || socket.type === "stream";
}

/** Rules that tie two options together, in words that name both. */
function assertCompatible(config: Config, given: Given): void {
  const isGiven = (field: keyof Config) => given(OPTIONS[field]).length > 0;
  const isTcp = config.ports.length > 0;
  const hearsStreams = isTcp || config.unixPaths.some(isStreamSocket);
  const { format, framing, hosts, udpPorts } = config;
  const hearsDatagrams = udpPorts.length > 0 || !config.unixPaths.every(isStreamSocket);
  const isHex = format === "hex" || format === "hexline";
  const isRaw = format === "raw";
  const isEncoded = config.encoding !== undefined;
  const rules: [fields: (keyof Config)[], isWrong: boolean, problem: string][] = [
    [["tlsClientCa"], !isGiven("tlsCert"), "needs a certificate: add --tls-cert and --tls-key"],
    [["tlsCert", "reusePort"], !isTcp, "is for TCP ports: add --port"],
    [
      ["framing", "maxLineBytes", "flushAfterMs"],
      isRaw,
      `does not go with --format raw: it takes reads as they come`,
    ],
    [
      ["maxLineBytes", "flushAfterMs"],
      isHex && !isGiven("framing"),
      `does not go with --format ${format}, which takes reads as they come: add --framing`,
    ],
    [
      ["encoding"],
      isEncoded && (isRaw || isHex),
      `does not go with --format ${format}: it shows bytes, not text`,
    ],
    [
      ["encoding"],
      isUtf16(config.encoding) && countsBytes(framing),
      `${config.encoding} does not go with a --framing that counts bytes`,
    ],
    [
      ["framing"],
      isUtf16(config.encoding) && hasBinaryMark(framing),
      `needs text with --encoding ${config.encoding}, such as end:; or end:\\u{e9}`,
    ],
    [["hosts"], hosts.some(isMulticast), groupHint(hosts, udpPorts)],
    [["udpLines"], !hearsDatagrams, "is for datagrams: add --udp"],
    [["udpLines"], isRaw || isHex, `does not go with --format ${format}: it has datagrams whole`],
    [["rotateKeep"], !isGiven("rotateSizeBytes"), "is for files that rotate: add --rotate-size"],
    [
      ["rotateSizeBytes", "tee"],
      config.output === undefined,
      "is for a file: name one with --output",
    ],
    [["crlf", "escapes"], !config.interactive, "is for lines that are typed: add --interactive"],
    [["crlf"], config.escapes, "does not go with --escapes: lines end as they are typed"],
    [["forward"], !hearsStreams, "is for connections: add --port"],
    [
      ["echo", "greet", "replies"],
      config.forward !== undefined,
      "does not go with --forward: the target answers",
    ],
    [["webHosts"], config.web === undefined, "is for the page: add --web"],
    [["forwardCa"], !config.forward?.isTls, "is for a target that speaks TLS: --forward tls://..."],
  ];
  if (isGiven("tlsCert") !== isGiven("tlsKey")) {
    throw new UsageError("--tls-cert and --tls-key go together: give both or neither");
  }
  for (const [fields, isWrong, problem] of rules) {
    const field = fields.find(isGiven);
    if (isWrong && field) throw new UsageError(`--${OPTIONS[field].name} ${problem}`);
  }
}

/** What to write for a group that is given as an address to listen on. */
function groupHint(hosts: Config["hosts"], udpPorts: Config["udpPorts"]): string {
  const group = hosts.find(isMulticast) ?? "";
  const port = udpPorts.find((port) => typeof port === "number") || GROUP_PORT;
  return `takes no multicast group: use --udp ${bracketed(group)}:${port}`;
}

/** Whether its frames have lengths in bytes. */
function countsBytes(framing: Config["framing"]): boolean {
  if (typeof framing === "object") return framing.kind === "length";
  return framing === "octet" || framing === "syslog";
}

/** Whether its frames are marked by bytes that no text has. */
function hasBinaryMark(framing: Config["framing"]): boolean {
  if (typeof framing !== "object" || framing.kind === "length") return false;
  const marks = framing.kind === "end" ? [framing.end] : [framing.start, framing.end];
  return marks.some((mark) => decode(mark).includes("\uFFFD"));
}

type Word = { readonly word: string } | { readonly problem: string };

/**
 * Says each option as `--name` or `--name=value`, which parseArgs cannot misread.
 * It takes `--port -1` for two options, `-q5` and `--echo=no` for a flag that is
 * set, and `--q` for `-q`; it gives `--port` alone an empty value, and the next
 * word to an unknown option.
 */
function canonical(args: readonly string[]): { words: string[]; problem: string | undefined } {
  const all = [...wordsOf([...args])];
  return {
    words: all.flatMap((item) => "word" in item ? [item.word] : []),
    problem: all.flatMap((item) => "problem" in item ? [item.problem] : [])[0],
  };
}

function* wordsOf(rest: string[]): Generator<Word> {
  for (let arg; (arg = rest.shift()) !== undefined;) {
    if (arg === "--") return yield* rest.map((word) => stray(word));
    if (arg.startsWith("--")) yield long(arg, rest);
    else if (/^-./s.test(arg)) yield* letters(arg, rest);
    else yield stray(arg, rest[0]);
  }
}

function long(arg: string, rest: string[]): Word {
  const [, name = "", value] = /^--([^=]*)(?:=(.*))?$/s.exec(arg) ?? [];
  const option = BY_NAME.get(name);
  return option ? bind(option, value, rest) : stranger(arg, rest);
}

/** Letters may be joined; behind the last a value may follow that is not a letter. */
function* letters(arg: string, rest: string[]): Generator<Word> {
  const [, joined = "", value] = /^-([A-Za-z]+)([^A-Za-z].*)?$/s.exec(arg) ?? [];
  const options = [...joined].map((letter) => BY_LETTER.get(letter));
  const last = options.pop();
  if (!last || options.includes(undefined)) return yield stranger(arg, rest);
  for (const option of options) yield bind(option!, undefined, []);
  yield bind(last, value?.replace(/^=/, ""), rest);
}

function stray(arg: string, next?: string): Word {
  const hint = placeHint(arg, next) ?? "only options are taken";
  return { problem: `Cannot use argument "${arg}": ${hint}` };
}

function stranger(arg: string, [next]: string[]): Word {
  const hint = optionHint(arg, next, ALL);
  return { problem: `Unknown option "${arg}"${hint ? `: ${hint}` : ""}` };
}

/** Ties an option to its value: the one that is joined to it, or else the next word. */
function bind({ name, expected }: Option<unknown>, joined: string | undefined, rest: string[]) {
  if (!expected && joined === undefined) return { word: `--${name}` };
  if (!expected) return { problem: `Option "--${name}" takes no value: got "${joined}"` };
  const isNext = rest[0] !== undefined && !/^--?[A-Za-z]/.test(rest[0]);
  const value = joined ?? (isNext ? rest.shift() : undefined);
  if (value) return { word: `--${name}=${value}` };
  return { problem: `Option "--${name}" needs a value: ${expected}` };
}

// -- Help --

const HELP_COLUMNS = 100;
const TEXT_COLUMN = 2 + Math.max(...ALL.map((option) => labelOf(option).length));

/**
 * The text of `--help`.
 *
 * @returns Usage, options in groups, examples, permissions, signals and exit status,
 * in lines of at most 100 columns, the last of them ended.
 *
 * @example
 * ```ts
 * import { assertMatch } from "@std/assert";
 *
 * assertMatch(usage(), /--port <n> .* \(default 1234\)/);
 * ```
 */
export function usage(): string {
  return `earshot ${manifest.version}: logs what every client of a port says, in whole lines, and answers if told to

Usage: earshot [options], where sizes may end in k, M or G
${ALL.map(helpOf).join("")}
Examples
  earshot --host 0.0.0.0 --port 5140                 hear a network's devices
  earshot --quiet --format json | jq -r .message     feed another program
  earshot -p 5140 --udp 5140 --framing syslog        receive syslog over TCP and UDP
  earshot -o all.log --rotate-size 10M --web 8080    keep a bounded log and watch it
  earshot --interactive --crlf --flush-after 0.2     talk with what has a prompt

${permissions()}
Signals: INT and TERM end it after what has arrived is logged, a second one at once; HUP opens
--output anew and reads certificates and --names again, or on a terminal, without any of these,
ends it; USR2 prints a summary.
Exit status: 0 ended by a signal or as asked, 1 cannot listen or write, 2 wrong usage, 3 --until has
not been seen, 128 and its number after a second signal.
`;
}

/** `  -p, --port <n>` */
function labelOf({ letter, synopsis }: Option<unknown>): string {
  return `${letter ? "  " : "      "}${synopsis}`;
}

function helpOf(option: Option<unknown>): string {
  const heading = option.group ? `\n${option.group}\n` : "";
  const text = option.default ? `${option.help} (default\u00A0${option.default})` : option.help;
  const lines = wrapped(text, HELP_COLUMNS - TEXT_COLUMN);
  const label = labelOf(option).padEnd(TEXT_COLUMN);
  return `${heading}${label}${lines.join(`\n${" ".repeat(TEXT_COLUMN)}`)}\n`;
}

function permissions(): string {
  const beside = PERMISSIONS.map((permission) => {
    const options = ALL.filter(({ needs }) => needs?.includes(permission));
    return `; --allow-${permission} for ${options.map(({ name }) => `--${name}`).join(", ")}`;
  });
  return wrapped(`Permissions of Deno: --allow-net${beside.join("")}.`, HELP_COLUMNS).join("\n");
}

/** Cuts at spaces, not at those that do not break, into lines of at most `columns`. */
function wrapped(text: string, columns: number): string[] {
  const lines = text.match(new RegExp(`\\S(.{0,${columns - 2}}\\S)?(?= |$)`, "g")) ?? [];
  return lines.map((line) => line.replaceAll("\u00A0", " "));
}
