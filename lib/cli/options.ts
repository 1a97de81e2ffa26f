/**
 * The table of options: all that is to be said of each. Parsing, `--help`, error
 * messages and defaults are read from it.
 *
 * @module
 */

import {
  type MulticastGroup,
  type NamedNetwork,
  type Network,
  parseNetwork,
  type UnixSocket,
} from "../addresses.ts";
import type { Framing } from "../framing/framing.ts";
import { placeHint } from "./hints.ts";
import {
  dependent,
  flag,
  lists,
  type Option,
  option,
  optional,
  repeatable,
  single,
  type Taking,
} from "./option.ts";
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

const MAX_LINE_BYTES = 64 * 1024 ** 2;
const MAX_FILE_BYTES = 1024 ** 4;
/** Each rotation renames all of them. */
const MAX_OLD_FILES = 1000;
const WEB_HOST = "127.0.0.1";

const host: Kind<string> = { ...address, hint: placeHint };
export const GROUP_PORT = 5000;
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

function encodingTaking(): Taking<string | undefined> {
  const { take, ...taking } = single(encoding, "utf-8");
  return { ...taking, take: (given, name) => take(given, name).name };
}

/** Every option, in the order of `--help`. The compiler holds it against {@linkcode Config}. */
export const OPTIONS: { readonly [Field in keyof Config]: Option<Config[Field]> } = {
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

export const HELP = option("-h, --help", flag, { help: "print this" });
export const VERSION = option("-V, --version", flag, { help: "print the version" });
export const ALL: readonly Option<unknown>[] = [...Object.values(OPTIONS), HELP, VERSION];
export const BY_NAME = new Map(ALL.map((option) => [option.name, option]));
export const BY_LETTER = new Map(ALL.map((option) => [option.letter, option]));
