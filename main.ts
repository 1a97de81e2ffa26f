#!/usr/bin/env -S deno run --allow-net
/**
 * earshot listens on a port and logs what its clients say, whichever has data
 * first: one process, one event loop, whole lines labelled by who said them.
 *
 * ```sh
 * deno run --allow-net main.ts                    # 127.0.0.1:1234, to stdout
 * deno run --allow-net main.ts --host 0.0.0.0     # every IPv4 interface
 * deno run --allow-net main.ts --help
 * ```
 *
 * A record is one line and one write unit:
 *
 * ```text
 * 2026-11-22T23:31:05.123Z #2 127.0.0.1:53122 connected
 * 2026-11-22T23:31:05.130Z #2 127.0.0.1:53122 | hello world
 * 2026-11-22T23:31:05.131Z #2 127.0.0.1:53122 + a cut line, or the last one without an end
 * 2026-11-22T23:31:05.990Z #2 127.0.0.1:53122 disconnected: 25 bytes, 1 line, 0.9 s
 * ```
 *
 * After `| ` or `+ ` everything is the client's; control characters are shown,
 * not obeyed. Exit status: 0 ended by a signal, `--help` or `--version`; 1 cannot
 * listen, cannot write or another failure at run time; 2 wrong usage.
 *
 * @module
 */

import { parseArgs } from "@std/cli/parse-args";
import { BlockList, isIP, isIPv4, Socket as NodeSocket } from "node:net";
import manifest from "./deno.json" with { type: "json" };
import {
  type Acceptor,
  Poller,
  POLLERR,
  POLLHUP,
  POLLIN,
  POLLOUT,
  select,
  ServerSocket,
  Socket,
  type Source,
} from "./poller.ts";

/** Every default of the command line, in the words of the command line. */
export const DEFAULTS = {
  "port": "1234",
  "host": "127.0.0.1",
  "backlog": "4096",
  "max-connections": "1000",
  "idle-timeout": "0",
  "framing": "newline",
  "max-line": "65536",
  "format": "text",
  "time": "utc",
  "color": "auto",
  "stats": "0",
  "multiplexer": "poll",
} as const;

type ChoiceName = "framing" | "format" | "time" | "color" | "multiplexer";

const CHOICES: { readonly [Name in ChoiceName]: readonly Config[Name][] } = {
  framing: ["newline", "nul", "octet", "none"],
  format: ["text", "json", "raw", "hex"],
  time: ["utc", "local", "elapsed", "none"],
  color: ["auto", "always", "never"],
  multiplexer: ["poll", "select"],
};

const FLAGS = ["reuse-port", "echo", "quiet", "help", "version"] as const;
const REPEATABLE = ["port", "unix", "allow", "deny"] as const;
const VALUED = [
  ...REPEATABLE,
  "host",
  "tls-cert",
  "tls-key",
  "backlog",
  "max-connections",
  "idle-timeout",
  "framing",
  "max-line",
  "format",
  "time",
  "color",
  "output",
  "stats",
  "multiplexer",
] as const;
const ALIASES: Record<string, string> = {
  p: "port",
  H: "host",
  u: "unix",
  m: "max-connections",
  i: "idle-timeout",
  f: "format",
  t: "time",
  o: "output",
  e: "echo",
  q: "quiet",
  h: "help",
  V: "version",
};

/** Exit status of the process. */
const EXIT = { ok: 0, failure: 1, usage: 2, signal: 128 } as const;

/** One receive; also the most that one client can take of one round. */
const READ_BYTES = 64 * 1024;
/** Above this number of clients that talk, a real turn of the loop is what keeps them equal. */
const FEW_TALKERS = 100;
/** Who has talked in this or the last span counts as talking. */
const TALK_SPAN_MS = 500;
/** Output of a round is written early when it gets longer than this. */
const ROUND_BYTES = 1024 * 1024;
/** From this size on it pays to write a round while the next is read. */
const BULK_BYTES = 16 * 1024;
/** Echo that a client may leave unread before it is not read any more. */
const MAX_ECHO_BYTES = 1024 * 1024;
const ACCEPT_PAUSE_MS = 1000;
const ACCEPT_REPORT_MS = 60_000;
const HANDSHAKE_TIMEOUT_MS = 10_000;
const RETRY_OUTPUT_MS = 1000;
/** How long to take what has arrived after a stop signal, and then to write it. */
const DRAIN_MS = 1000;
const FINAL_WRITE_MS = 1000;
/** 2^31-1 is the longest timer; far above any sensible number here. */
const MAX_COUNT = 2 ** 31 - 1;
const MAX_SECONDS = 1e9;
const OUTPUT_MODE = 0o640;

/** What a command line asks for; {@linkcode parseConfig} makes it. */
export interface Config {
  /** What to do: serve, or print and exit. */
  readonly action: "serve" | "help" | "version";
  /** TCP ports, 0 for any free one. Empty if only Unix sockets are listened on. */
  readonly ports: readonly number[];
  /** Address the TCP ports are opened on. */
  readonly host: string;
  /** Paths of Unix sockets. */
  readonly unixPaths: readonly string[];
  /** Files in PEM format; without them the TCP ports are plain. */
  readonly tls: { readonly certFile: string; readonly keyFile: string } | undefined;
  /** Connections that may wait to be accepted. */
  readonly backlog: number;
  /** Whether several processes may share the ports. */
  readonly reusePort: boolean;
  /** At this number nothing is accepted. */
  readonly maxConnections: number;
  /** Addresses and networks let in; empty for all. */
  readonly allow: readonly string[];
  /** Addresses and networks kept out. */
  readonly deny: readonly string[];
  /** Silence after which a client is disconnected; 0 for never. */
  readonly idleTimeoutMs: number;
  /** How data is cut into lines. */
  readonly framing: "newline" | "nul" | "octet" | "none";
  /** Longest line in one piece. */
  readonly maxLineBytes: number;
  /** How records are written. */
  readonly format: "text" | "json" | "raw" | "hex";
  /** How records are dated. */
  readonly time: "utc" | "local" | "elapsed" | "none";
  /** Whether clients have colours. */
  readonly color: "auto" | "always" | "never";
  /** File to append to; stdout if `undefined`. */
  readonly output: string | undefined;
  /** Whether clients get back what they send. */
  readonly echo: boolean;
  /** Whether records of connects, disconnects and refusals are left out. */
  readonly quiet: boolean;
  /** Time between two summaries; 0 for none. */
  readonly statsMs: number;
  /** What waits for the clients. */
  readonly multiplexer: "poll" | "select";
}

/** A command line that cannot be obeyed. The message says what is wrong and what is right. */
export class UsageError extends Error {
  /** "UsageError". */
  override readonly name = "UsageError";
}

/** The environment that fails the server: a port that is taken, a closed output. */
export class Failure extends Error {
  /** "Failure". */
  override readonly name = "Failure";
}

// -- Command line --

type Parsed = Record<string, string | boolean | string[] | undefined>;

/**
 * Parses a command line.
 *
 * @param args Arguments as in `Deno.args`.
 * @returns A complete configuration. Of a single-valued option given twice the
 * last counts; `--help` and `--version` win over everything else.
 * @throws {UsageError} For unknown options, stray arguments, missing or
 * malformed values, and options that exclude each other.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(parseConfig(["-p", "5140", "--framing", "octet"]).ports, [5140]);
 * ```
 */
export function parseConfig(args: readonly string[]): Config {
  const parsed = parseOptions(args);
  if (args.length > 0 && (parsed.help || parsed.version)) {
    const action = parsed.help ? "help" : "version";
    return { ...parseConfig([]), action };
  }
  const given = (name: string) => parsed[name] !== undefined && parsed[name] !== false;
  const config: Config = {
    action: "serve",
    ports: list(parsed, "port").map((port) => parseCount("port", port, 0, 65535)),
    host: single(parsed, "host").replace(/^\[(.*)\]$/, "$1"),
    unixPaths: list(parsed, "unix"),
    tls: given("tls-cert") && given("tls-key")
      ? { certFile: single(parsed, "tls-cert"), keyFile: single(parsed, "tls-key") }
      : undefined,
    backlog: parseCount("backlog", single(parsed, "backlog"), 1, MAX_COUNT),
    reusePort: given("reuse-port"),
    maxConnections: parseCount("max-connections", single(parsed, "max-connections"), 1, MAX_COUNT),
    allow: list(parsed, "allow"),
    deny: list(parsed, "deny"),
    idleTimeoutMs: parseSeconds("idle-timeout", single(parsed, "idle-timeout")),
    framing: parseChoice("framing", parsed),
    maxLineBytes: parseCount("max-line", single(parsed, "max-line"), 1, MAX_COUNT),
    format: parseChoice("format", parsed),
    time: parseChoice("time", parsed),
    color: parseChoice("color", parsed),
    output: given("output") ? single(parsed, "output") : undefined,
    echo: given("echo"),
    quiet: given("quiet"),
    statsMs: parseSeconds("stats", single(parsed, "stats")),
    multiplexer: parseChoice("multiplexer", parsed),
  };
  assertCompatible(config, given);
  for (const name of ["allow", "deny"] as const) addressRules(name, config[name]);
  const alone = config.unixPaths.length > 0 || config.ports.length > 0;
  return alone ? config : { ...config, ports: [Number(DEFAULTS.port)] };
}

function parseOptions(args: readonly string[]): Parsed {
  const strangers: string[] = [];
  const parsed = parseArgs(bindValues(args), {
    string: [...VALUED, "_"],
    boolean: [...FLAGS],
    collect: [...REPEATABLE],
    alias: ALIASES,
    unknown: (arg: string) => {
      strangers.push(arg);
      return false;
    },
  }) as Parsed & { _: (string | number)[] };
  const [stranger] = [...strangers, ...parsed._.map(String)];
  if (stranger === undefined || parsed.help || parsed.version) return parsed;
  if (/^-./.test(stranger)) throw new UsageError(`Unknown option "${stranger}"`);
  throw new UsageError(`Cannot use argument "${stranger}": only options are taken`);
}

/**
 * Ties each value to its option with `=`. parseArgs takes `--port -1` for two
 * options, `--echo=no` for a true one, and gives `--port` alone an empty value.
 */
function bindValues(args: readonly string[]): string[] {
  const bound: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    if (arg === "--") return [...bound, ...args.slice(i)];
    // parseArgs keeps its stray arguments under this name.
    if (/^-(-_(=|$)|[A-Za-z]*_)/.test(arg)) throw new UsageError(`Unknown option "${arg}"`);
    const [, long, , inline] = /^--([^=]+)(=([^]*))?$/.exec(arg) ?? [];
    const [, cluster, letter] = /^-([A-Za-z]*)([A-Za-z])$/.exec(arg) ?? [];
    const name = long ?? (letter && ALIASES[letter]) ?? "";
    if (inline !== undefined && isOneOf(FLAGS, name)) {
      throw new UsageError(`Option "--${name}" takes no value: got "${inline}"`);
    }
    const isFlagCluster = [...cluster ?? ""].every((flag) => isOneOf(FLAGS, ALIASES[flag] ?? ""));
    if (inline !== undefined || !isOneOf(VALUED, name) || !isFlagCluster) {
      bound.push(arg);
      continue;
    }
    const value = args[++i];
    if (value === undefined || /^--?[A-Za-z]/.test(value)) throw missingValue(name);
    if (cluster) bound.push(`-${cluster}`);
    bound.push(`--${name}=${value}`);
  }
  return bound;
}

function missingValue(name: string): UsageError {
  return new UsageError(`Option "--${name}" needs a value: ${EXPECTED[name]}`);
}

/** What is right, by option. */
const EXPECTED: Record<string, string> = {
  "port": "expected an integer from 0 to 65535",
  "host": "expected an address, such as 127.0.0.1, 0.0.0.0 or ::",
  "unix": "expected the path of a socket",
  "tls-cert": "expected a file in PEM format",
  "tls-key": "expected a file in PEM format",
  "backlog": `expected an integer from 1 to ${MAX_COUNT}`,
  "max-connections": `expected an integer from 1 to ${MAX_COUNT}`,
  "allow": "expected an address or a network, such as 10.0.0.0/8 or fd00::/8",
  "deny": "expected an address or a network, such as 10.0.0.0/8 or fd00::/8",
  "idle-timeout": "expected a number of seconds, 0 for never",
  "max-line": `expected an integer from 1 to ${MAX_COUNT}`,
  "output": "expected the path of a file",
  "stats": "expected a number of seconds, 0 for never",
  ...Object.fromEntries(
    Object.entries(CHOICES).map(([name, words]) => [name, `expected ${orList(words)}`]),
  ),
};

function malformed(name: string, value: string): UsageError {
  return new UsageError(`Cannot use --${name} "${value}": ${EXPECTED[name]}`);
}

function list(parsed: Parsed, name: typeof REPEATABLE[number]): string[] {
  const values = (parsed[name] ?? []) as string[];
  if (values.includes("")) throw missingValue(name);
  return values;
}

/** The last value given, or else the default. */
function single(parsed: Parsed, name: typeof VALUED[number]): string {
  const value = parsed[name];
  if (value === "") throw missingValue(name);
  return typeof value === "string" ? value : DEFAULTS[name as keyof typeof DEFAULTS];
}

function parseCount(name: string, text: string, min: number, max: number): number {
  const count = /^\d{1,10}$/.test(text) ? Number(text) : NaN;
  if (count >= min && count <= max) return count;
  throw malformed(name, text);
}

function parseSeconds(name: string, text: string): number {
  const seconds = /^(\d+(\.\d*)?|\.\d+)$/.test(text) ? Number(text) : NaN;
  if (seconds <= MAX_SECONDS) return Math.ceil(seconds * 1000);
  throw malformed(name, text);
}

function parseChoice<Name extends ChoiceName>(name: Name, parsed: Parsed): Config[Name] {
  const word = single(parsed, name);
  const known: readonly Config[Name][] = CHOICES[name];
  const choice = known.find((choice) => choice === word);
  if (choice !== undefined) return choice;
  throw malformed(name, word);
}

function assertCompatible(config: Config, given: (name: string) => boolean): void {
  const onlyUnix = config.unixPaths.length > 0 && config.ports.length === 0;
  const problems: [boolean, string][] = [
    [
      given("tls-cert") !== given("tls-key"),
      "--tls-cert and --tls-key go together: give both or neither",
    ],
    [onlyUnix && given("tls-cert"), "--tls-cert is for TCP ports: add --port"],
    [onlyUnix && config.reusePort, "--reuse-port is for TCP ports: add --port"],
    [
      !isFramed(config) && given("framing"),
      `--framing does not go with --format ${config.format}: it takes reads as they come`,
    ],
    [
      !isFramed(config) && given("max-line"),
      `--max-line does not go with --format ${config.format}: it takes reads as they come`,
    ],
  ];
  for (const [isWrong, message] of problems) if (isWrong) throw new UsageError(message);
}

/** Whether lines are logged, not reads as they come. */
function isFramed(config: Config): boolean {
  return config.format === "text" || config.format === "json";
}

/**
 * Makes a list of addresses and networks that answers in one look-up.
 * IPv4-mapped IPv6 networks become IPv4, as the peers do.
 */
function addressRules(name: "allow" | "deny", rules: readonly string[]): BlockList {
  const blockList = new BlockList();
  for (const rule of rules) {
    const [, address = "", bits] = /^([^/]*)(?:\/(\d{1,3}))?$/.exec(rule) ?? [];
    const mapped = unmapped(address);
    const family = isIP(mapped);
    const width = family === 4 ? 32 : 128;
    const prefix = Number(bits ?? (isIP(address) === 4 ? 32 : 128)) - (mapped === address ? 0 : 96);
    if (family === 0 || address.includes("%") || prefix < 0 || prefix > width) {
      throw malformed(name, rule);
    }
    blockList.addSubnet(mapped, prefix, family === 4 ? "ipv4" : "ipv6");
  }
  return blockList;
}

/** `::ffff:10.1.2.3` is what a socket for both families calls the IPv4 peer 10.1.2.3. */
function unmapped(address: string): string {
  const [, ipv4 = ""] = /^::ffff:([\d.]+)$/i.exec(address) ?? [];
  return isIPv4(ipv4) ? ipv4 : address;
}

/**
 * The text of `--help`.
 *
 * @returns Usage, options in groups, examples, signals and exit status, in lines
 * of at most 100 columns.
 */
export function usage(): string {
  const d = DEFAULTS;
  return `earshot ${manifest.version}: listen on a port and log what every client says, in whole lines

Usage: earshot [options]

Listening
  -p, --port <n>             TCP port, 0 for any free one; repeatable (default ${d.port})
  -H, --host <address>       address to listen on; 0.0.0.0 all IPv4, :: all IPv4 and IPv6
                             (default ${d.host}, this machine only)
  -u, --unix <path>          listen on a Unix socket, alone if no --port is given; repeatable
      --tls-cert <file>      certificate for the TCP ports (PEM), together with
      --tls-key <file>       its key (PEM)
      --backlog <n>          connections that may wait to be accepted (default ${d.backlog})
      --reuse-port           let several processes share the port (Linux)

Who may connect
  -m, --max-connections <n>  accept no more at this number, the others wait (default ${
    d["max-connections"]
  })
      --allow <cidr>         let in 10.0.0.0/8, 10.1.2.3 or fd00::/8 and nobody else; repeatable
      --deny <cidr>          keep out; repeatable, wins over --allow
  -i, --idle-timeout <s>     disconnect a client silent for so many seconds (default ${
    d["idle-timeout"]
  }, never)

How data is cut
      --framing <kind>       newline (LF or CRLF), nul, octet (RFC 6587 counts), none (each read)
                             (default ${d.framing})
      --max-line <bytes>     log longer lines in pieces of this size (default ${d["max-line"]})

How it is written
  -f, --format <kind>        text, json (an object a line), raw (bytes as they come), hex
                             (default ${d.format})
  -t, --time <kind>          utc, local, elapsed (seconds since start), none (default ${d.time})
      --color <when>         auto (on a terminal, unless NO_COLOR is set), always, never
                             (default ${d.color})
  -o, --output <file>        append to a file instead of stdout; SIGHUP opens it anew
  -q, --quiet                no records of connects, disconnects and refusals

And
  -e, --echo                 send every client its own bytes back
      --stats <s>            a summary on stderr every so many seconds (default ${d.stats}, never)
      --multiplexer <kind>   wait with poll or select (default ${d.multiplexer})
  -h, --help                 print this
  -V, --version              print the version

Examples
  earshot --host 0.0.0.0 --port 5140                        hear a network's devices
  earshot --quiet --format json | jq -r .message            feed another program
  earshot -H 0.0.0.0 -p 5140 --framing octet -o remote.log  receive syslog over TCP

Signals: INT and TERM end it after what has arrived is logged, a second one at once; HUP opens
--output anew, or else ends it; USR2 prints a summary.
Exit status: 0 ended by a signal, 1 cannot listen or write, 2 wrong usage, 128 and its number
after a second signal.
`;
}

// -- Framing --

/**
 * Receives the frames that a {@linkcode Framer} finds: `bytes[start..end)`, valid
 * during the call. `isWhole` is false where there is no line end: a piece of a
 * long line, or the end of input.
 */
export type FrameSink = (bytes: Uint8Array, start: number, end: number, isWhole: boolean) => void;

/**
 * Cuts one client's bytes into frames. Each byte is looked at once, however
 * slowly it comes, and memory is bounded by `maxBytes` and one read.
 */
export interface Framer {
  /**
   * Takes the next bytes.
   *
   * @returns Why the client cannot be understood any more, or `undefined`.
   */
  push(bytes: Uint8Array, sink: FrameSink): string | undefined;
  /** Ends the input: what is held becomes a frame that is not whole. */
  end(sink: FrameSink): void;
}

/**
 * Makes the framer for one client.
 *
 * @param framing How frames end: at LF or CRLF, at NUL, by RFC 6587 octet
 * counts, or with each read.
 * @param maxBytes Longest frame in one piece, without its line end. Longer ones
 * come in pieces of that size, up to 3 bytes fewer rather than split a UTF-8
 * character.
 * @returns A framer with no memory yet.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 *
 * const framer = createFramer("newline", 8);
 * const frames: [string, boolean][] = [];
 * framer.push(new TextEncoder().encode("one\r\ntwo"), (bytes, start, end, isWhole) => {
 *   frames.push([new TextDecoder().decode(bytes.subarray(start, end)), isWhole]);
 * });
 * assertEquals(frames, [["one", true]]);
 * ```
 */
export function createFramer(framing: Config["framing"], maxBytes: number): Framer {
  switch (framing) {
    case "newline":
      return new DelimiterFramer(LF, maxBytes);
    case "nul":
      return new DelimiterFramer(NUL, maxBytes);
    case "octet":
      return new OctetFramer(maxBytes);
    case "none":
      return new ReadFramer(maxBytes);
  }
}

const NUL = 0x00;
const TAB = 0x09;
const LF = 0x0A;
const CR = 0x0D;
const SPACE = 0x20;
const DEL = 0x7F;
const NO_BYTES = new Uint8Array(0);
/** Shared by all that have nothing queued; never added to. */
const NO_CHUNKS: Uint8Array[] = [];

/** The unfinished frame of a client. */
class Held {
  #bytes: Uint8Array = NO_BYTES;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  get last(): number | undefined {
    return this.#bytes[this.#length - 1];
  }

  add(bytes: Uint8Array, start: number, end: number): void {
    const length = this.#length + end - start;
    if (length > this.#bytes.length) this.#grow(length);
    this.#bytes.set(bytes.subarray(start, end), this.#length);
    this.#length = length;
  }

  #grow(length: number): void {
    const grown = new Uint8Array(Math.max(length, Math.min(2 * length, READ_BYTES)));
    grown.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = grown;
  }

  /** Gives away pieces of `maxBytes` until at most that much is left, not counting `spare` bytes. */
  cut(maxBytes: number, spare: number, sink: FrameSink): void {
    const start = cutPieces(this.#bytes, 0, this.#length - spare, maxBytes, sink);
    this.#bytes.copyWithin(0, start, this.#length);
    this.#length -= start;
  }

  /** Gives away all but the last `dropped` bytes, and the memory with it. */
  release(dropped: number, maxBytes: number, isWhole: boolean, sink: FrameSink): void {
    const bytes = this.#bytes;
    const end = this.#length - dropped;
    this.#bytes = NO_BYTES;
    this.#length = 0;
    sink(bytes, cutPieces(bytes, 0, end, maxBytes, sink), end, isWhole);
  }
}

/** Gives away pieces until at most `maxBytes` are left; returns where the rest starts. */
function cutPieces(
  bytes: Uint8Array,
  start: number,
  end: number,
  maxBytes: number,
  sink: FrameSink,
): number {
  while (end - start > maxBytes) {
    const cut = characterStart(bytes, start, start + maxBytes);
    sink(bytes, start, cut, false);
    start = cut;
  }
  return start;
}

/** The start of the UTF-8 character that `at` is in, or `at` if that is no character or all there is. */
function characterStart(bytes: Uint8Array, start: number, at: number): number {
  for (let lead = at; lead > start && lead >= at - 3; lead--) {
    const byte = bytes[lead]!;
    if (byte >> 6 === 0b10) continue;
    return lead + sequenceLength(byte) > at ? lead : at;
  }
  return at;
}

/** Length of the UTF-8 sequence that a byte leads, 1 for a byte that leads none. */
function sequenceLength(lead: number): number {
  return lead < 0xC2 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 1;
}

/** Lines: LF with or without a CR before it, or NUL. */
class DelimiterFramer implements Framer {
  readonly #delimiter: number;
  readonly #maxBytes: number;
  readonly #held = new Held();

  constructor(delimiter: number, maxBytes: number) {
    this.#delimiter = delimiter;
    this.#maxBytes = maxBytes;
  }

  push(bytes: Uint8Array, sink: FrameSink): undefined {
    let start = 0;
    for (let at; (at = bytes.indexOf(this.#delimiter, start)) >= 0; start = at + 1) {
      if (this.#held.length > 0) this.#finishHeld(bytes, start, at, sink);
      else this.#finish(bytes, start, at, sink);
    }
    if (start === bytes.length) return;
    this.#held.add(bytes, start, bytes.length);
    // A CR at the end may be half of a CRLF.
    this.#held.cut(this.#maxBytes, this.#isCr(this.#held.last) ? 1 : 0, sink);
  }

  #finish(bytes: Uint8Array, start: number, at: number, sink: FrameSink): void {
    const end = at > start && this.#isCr(bytes[at - 1]) ? at - 1 : at;
    if (end - start > this.#maxBytes) start = cutPieces(bytes, start, end, this.#maxBytes, sink);
    sink(bytes, start, end, true);
  }

  #finishHeld(bytes: Uint8Array, start: number, at: number, sink: FrameSink): void {
    this.#held.add(bytes, start, at);
    this.#held.release(this.#isCr(this.#held.last) ? 1 : 0, this.#maxBytes, true, sink);
  }

  #isCr(byte: number | undefined): boolean {
    return byte === CR && this.#delimiter === LF;
  }

  end(sink: FrameSink): void {
    if (this.#held.length > 0) this.#held.release(0, this.#maxBytes, false, sink);
  }
}

/** RFC 6587 octet counting: `MSG-LEN SP MSG`, at most 8 digits. */
class OctetFramer implements Framer {
  readonly #maxBytes: number;
  readonly #held = new Held();
  #state:
    | { readonly tag: "start" | "between" }
    | { readonly tag: "count"; readonly digits: string }
    | { readonly tag: "message"; missing: number } = { tag: "start" };

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  push(bytes: Uint8Array, sink: FrameSink): string | undefined {
    for (let at = 0; at < bytes.length;) {
      const state = this.#state;
      if (state.tag === "message") {
        at = this.#takeMessage(state, bytes, at, sink);
      } else if (!this.#takeCountByte(bytes[at]!)) {
        this.#reject(bytes, at, sink);
        return "bad octet count";
      } else {
        at++;
      }
    }
  }

  #takeMessage(
    state: { missing: number },
    bytes: Uint8Array,
    start: number,
    sink: FrameSink,
  ): number {
    const end = Math.min(bytes.length, start + state.missing);
    state.missing -= end - start;
    if (this.#held.length === 0 && state.missing === 0) {
      sink(bytes, cutPieces(bytes, start, end, this.#maxBytes, sink), end, true);
    } else {
      this.#held.add(bytes, start, end);
      if (state.missing === 0) this.#held.release(0, this.#maxBytes, true, sink);
      else this.#held.cut(this.#maxBytes, 0, sink);
    }
    if (state.missing === 0) this.#state = { tag: "between" };
    return end;
  }

  /** Takes one byte before a message; returns false if it cannot stand there. */
  #takeCountByte(byte: number): boolean {
    const state = this.#state;
    const digits = state.tag === "count" ? state.digits : "";
    const isDigit = byte >= 0x30 && byte <= 0x39;
    if (isDigit && digits.length < 8 && (byte > 0x30 || digits !== "")) {
      this.#state = { tag: "count", digits: digits + String.fromCharCode(byte) };
    } else if (byte === SPACE && digits !== "") {
      this.#state = { tag: "message", missing: Number(digits) };
    } else if (byte === LF && state.tag === "between") {
      this.#state = { tag: "start" };
    } else {
      return false;
    }
    return true;
  }

  #reject(bytes: Uint8Array, at: number, sink: FrameSink): void {
    this.#holdDigits();
    this.#state = { tag: "start" };
    this.#held.add(bytes, at, bytes.length);
    this.#held.release(0, this.#maxBytes, false, sink);
  }

  #holdDigits(): void {
    if (this.#state.tag !== "count") return;
    const digits = new TextEncoder().encode(this.#state.digits);
    this.#held.add(digits, 0, digits.length);
  }

  end(sink: FrameSink): void {
    this.#holdDigits();
    if (this.#held.length > 0) this.#held.release(0, this.#maxBytes, false, sink);
  }
}

/** Each read as it comes. */
class ReadFramer implements Framer {
  readonly #maxBytes: number;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  push(bytes: Uint8Array, sink: FrameSink): undefined {
    sink(bytes, cutPieces(bytes, 0, bytes.length, this.#maxBytes, sink), bytes.length, true);
  }

  end(): void {}
}

// -- Records --

/** Who is at the other end. */
type Peer =
  | { readonly kind: "ip"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

/** What is known of a connection in its records. */
interface Party {
  /** Number of the connection, from 1; none for one that was refused. */
  readonly number?: number;
  readonly peer: Peer;
}

/** What a record without client data tells. */
type Notice =
  | { readonly event: "connected" }
  | { readonly event: "refused" }
  | {
    readonly event: "disconnected";
    readonly bytes: number;
    readonly lines: number;
    readonly seconds: number;
    readonly reason: string;
  };

/** Bytes in growing memory that is used again. */
class ByteBuffer {
  bytes = new Uint8Array(READ_BYTES);
  length = 0;

  /** Makes room for `count` more bytes. */
  reserve(count: number): void {
    const needed = this.length + count;
    if (needed <= this.bytes.length) return;
    const grown = new Uint8Array(Math.max(needed, 2 * this.bytes.length));
    grown.set(this.bytes.subarray(0, this.length));
    this.bytes = grown;
  }

  append(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    this.bytes.set(bytes, this.length);
    this.length += bytes.length;
  }

  appendText(text: string): void {
    this.reserve(3 * text.length);
    this.length += ENCODER.encodeInto(text, this.bytes.subarray(this.length)).written;
  }

  clear(): void {
    this.length = 0;
    if (this.bytes.length > 2 * ROUND_BYTES) this.bytes = new Uint8Array(READ_BYTES);
  }
}

const ENCODER = new TextEncoder();
const STRICT_DECODER = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** C0 except TAB, DEL, C1, the line separators that are not ASCII, and the 12 bidi controls. */
const UNSAFE_REGEXP =
  // deno-lint-ignore no-control-regex -- control characters are what it is for
  /[\0-\x08\x0A-\x1F\x7F-\x9F\u061C\u200E\u200F\u2028-\u202E\u2066-\u2069]/g;

/** Dates records; what one millisecond needs is made once. */
class Clock {
  readonly #kind: Config["time"];
  readonly #startMs: number;
  #nowMs = NaN;
  /** The time in words, "" for `none`. */
  text = "";

  constructor(kind: Config["time"], startMs: number) {
    this.#kind = kind;
    this.#startMs = startMs;
  }

  /** Returns whether the time has changed. */
  set(nowMs: number): boolean {
    if (nowMs === this.#nowMs) return false;
    this.#nowMs = nowMs;
    this.text = this.#format(nowMs);
    return true;
  }

  #format(nowMs: number): string {
    switch (this.#kind) {
      case "utc":
        return new Date(nowMs).toISOString();
      case "local":
        return localTime(nowMs);
      case "elapsed":
        return (Math.max(0, nowMs - this.#startMs) / 1000).toFixed(3);
      case "none":
        return "";
    }
  }
}

function localTime(nowMs: number): string {
  const minutes = -new Date(nowMs).getTimezoneOffset();
  const two = (n: number) => String(Math.trunc(n)).padStart(2, "0");
  const offset = `${minutes < 0 ? "-" : "+"}${two(Math.abs(minutes) / 60)}:${
    two(Math.abs(minutes) % 60)
  }`;
  return new Date(nowMs + minutes * 60_000).toISOString().replace("Z", offset);
}

/** Readable on dark and on light ground. */
const PALETTE = [32, 166, 71, 133, 37, 167, 97, 136] as const;

function textLabel({ number = 0, peer }: Party, isColored: boolean): string {
  const label = `#${number} ${peerText(peer)}`;
  return isColored ? `\x1B[38;5;${PALETTE[number % PALETTE.length]}m${label}\x1B[0m` : label;
}

function peerText(peer: Peer): string {
  if (peer.kind === "unix") return "unix";
  return `${bracketed(peer.host)}:${peer.port}`;
}

function bracketed(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}

function textStamp(time: string): string {
  return time && `${time} `;
}

const WHOLE_MARK = ENCODER.encode("| ");
const CUT_MARK = ENCODER.encode("+ ");

function writeTextLine(out: ByteBuffer, ...frame: Parameters<FrameSink>): void {
  const [bytes, start, end, isWhole] = frame;
  out.append(isWhole ? WHOLE_MARK : CUT_MARK);
  appendEscaped(out, bytes, start, end);
  out.bytes[out.length++] = LF;
}

/** Appends a client's bytes so that none of them is obeyed; leaves room for a line end. */
function appendEscaped(out: ByteBuffer, bytes: Uint8Array, start: number, end: number): void {
  out.reserve(end - start + 1);
  const target = out.bytes;
  let length = out.length;
  for (let at = start; at < end; at++) {
    const byte = bytes[at]!;
    if (byte < SPACE && byte !== TAB || byte >= DEL) {
      return appendUnsafe(out, bytes.subarray(start, end));
    }
    target[length++] = byte;
  }
  out.length = length;
}

/** The same for bytes that are not all printable ASCII. */
function appendUnsafe(out: ByteBuffer, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) {
    const end = validEnd(bytes, at);
    const text = STRICT_DECODER.decode(bytes.subarray(at, end));
    out.appendText(text.replace(UNSAFE_REGEXP, escapeCharacter));
    if (end < bytes.length) out.appendText(escapeByte(bytes[end]!));
    at = end + 1;
  }
  out.reserve(1);
}

function escapeCharacter(character: string): string {
  const code = character.charCodeAt(0);
  return code <= DEL ? escapeByte(code) : `\\u{${hex(code, 4)}}`;
}

function escapeByte(byte: number): string {
  return `\\x${hex(byte, 2)}`;
}

function hex(value: number, digits: number): string {
  return value.toString(16).toUpperCase().padStart(digits, "0");
}

/** The end of the longest run of whole UTF-8 characters from `start` on. */
function validEnd(bytes: Uint8Array, start: number): number {
  for (let at = start; at < bytes.length;) {
    const lead = bytes[at]!;
    const length = sequenceLength(lead);
    if (lead >= DEL + 1 && (length === 1 || !isContinued(bytes, at, length))) return at;
    at += length;
  }
  return bytes.length;
}

/** Whether the right bytes follow a leading one: no overlong forms, surrogates or code points past the last. */
function isContinued(bytes: Uint8Array, at: number, length: number): boolean {
  const lead = bytes[at];
  const second = bytes[at + 1] ?? 0;
  const low = lead === 0xE0 ? 0xA0 : lead === 0xF0 ? 0x90 : 0x80;
  const high = lead === 0xED ? 0x9F : lead === 0xF4 ? 0x8F : 0xBF;
  if (second < low || second > high) return false;
  for (let i = 2; i < length; i++) if ((bytes[at + i] ?? 0) >> 6 !== 0b10) return false;
  return true;
}

function noticeText(notice: Notice, withLines: boolean): string {
  if (notice.event !== "disconnected") return notice.event;
  const lines = withLines ? `${plural(notice.lines, "line")}, ` : "";
  const reason = notice.reason === "closed" ? "" : ` (${notice.reason})`;
  return `disconnected: ${plural(notice.bytes, "byte")}, ${lines}${
    notice.seconds.toFixed(1)
  } s${reason}`;
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

function jsonStamp(kind: Config["time"], time: string): string {
  if (kind === "none") return "";
  return kind === "elapsed" ? `"elapsed":${Number(time)},` : `"timestamp":"${time}",`;
}

function jsonPeer(peer: Peer): string {
  if (peer.kind === "unix") return `"path":${jsonText(peer.path)}`;
  return `"host":${jsonText(peer.host)},"port":${peer.port}`;
}

/** JSON in which no character can drive a terminal or end a line. */
function jsonText(text: string): string {
  return JSON.stringify(text).replace(UNSAFE_REGEXP, (c) => `\\u${hex(c.charCodeAt(0), 4)}`);
}

const JSON_MESSAGE = ENCODER.encode(`"message":"`);
const JSON_WHOLE_END = ENCODER.encode(`"}\n`);
const JSON_CUT_END = ENCODER.encode(`","cut":true}\n`);
const QUOTE = 0x22;
const BACKSLASH = 0x5C;

function writeJsonLine(out: ByteBuffer, ...frame: Parameters<FrameSink>): void {
  const [bytes, start, end, isWhole] = frame;
  if (!appendPlainJson(out, bytes, start, end)) {
    return out.appendText(
      `${jsonMessage(bytes.subarray(start, end))}${isWhole ? "" : `,"cut":true`}}\n`,
    );
  }
  out.append(isWhole ? JSON_WHOLE_END : JSON_CUT_END);
}

/** Appends a message of printable ASCII that needs no escape; returns false if it is none. */
function appendPlainJson(out: ByteBuffer, bytes: Uint8Array, start: number, end: number): boolean {
  out.reserve(JSON_MESSAGE.length + end - start);
  const target = out.bytes;
  let length = out.length + JSON_MESSAGE.length;
  for (let at = start; at < end; at++) {
    const byte = bytes[at]!;
    if (byte < SPACE || byte >= DEL || byte === QUOTE || byte === BACKSLASH) return false;
    target[length++] = byte;
  }
  target.set(JSON_MESSAGE, out.length);
  out.length = length;
  return true;
}

function jsonMessage(bytes: Uint8Array): string {
  if (validEnd(bytes, 0) < bytes.length) return `"message_base64":"${bytes.toBase64()}"`;
  return `"message":${jsonText(STRICT_DECODER.decode(bytes))}`;
}

function jsonNotice(notice: Notice): string {
  if (notice.event !== "disconnected") return "";
  const { bytes, lines, seconds, reason } = notice;
  return `,"bytes":${bytes},"lines":${lines},"seconds":${seconds},"reason":${jsonText(reason)}`;
}

/** A chunk as `hexdump -vC` shows it, without its last line, under a header of its own. */
function writeHexChunk(out: ByteBuffer, head: string, offset: number, bytes: Uint8Array): void {
  const rows = [`${head}> ${plural(bytes.length, "byte")}\n`];
  for (let at = 0; at < bytes.length; at += 16) {
    rows.push(hexRow(offset + at, bytes.subarray(at, at + 16)));
  }
  out.appendText(rows.join(""));
}

function hexRow(offset: number, bytes: Uint8Array): string {
  const pairs = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0"));
  const halves = `${pairs.slice(0, 8).join(" ")}  ${pairs.slice(8).join(" ")}`;
  const text = Array.from(
    bytes,
    (byte) => byte < SPACE || byte >= DEL ? "." : String.fromCharCode(byte),
  );
  return `${offset.toString(16).padStart(8, "0")}  ${halves.padEnd(48)}  |${text.join("")}|\n`;
}

/** Turns what happens into records, in the format that the user chose. */
class RecordWriter {
  readonly #config: Config;
  readonly #isColored: boolean;
  readonly #clock: Clock;
  /** Records to be written to the output. */
  out = new ByteBuffer();
  #spare = new ByteBuffer();
  /** How every record starts now. */
  #stamp = "";
  #stampBytes: Uint8Array = NO_BYTES;
  /** What `raw` must keep out of the output, for stderr. */
  readonly aside = new ByteBuffer();

  constructor(config: Config, isColored: boolean, startMs: number) {
    this.#config = config;
    this.#isColored = isColored;
    this.#clock = new Clock(config.time, startMs);
  }

  /** Dates the records from here on. */
  setTime(nowMs: number): void {
    if (!this.#clock.set(nowMs)) return;
    const { format, time } = this.#config;
    const { text } = this.#clock;
    this.#stamp = format === "json" ? `{${jsonStamp(time, text)}` : textStamp(text);
    this.#stampBytes = ENCODER.encode(this.#stamp);
  }

  /** Gives the records away; they stay as they are until the next call. */
  takeOut(): Uint8Array {
    const full = this.out;
    this.out = this.#spare;
    this.out.clear();
    this.#spare = full;
    return full.bytes.subarray(0, full.length);
  }

  /** What stands between the time and the data in every line of a client. */
  labelOf(party: Party): Uint8Array {
    return ENCODER.encode(
      this.#config.format === "json"
        ? `"event":"line","connection":${party.number},${jsonPeer(party.peer)},`
        : `${this.#textLabel(party)} `,
    );
  }

  #textLabel(party: Party): string {
    return textLabel(party, this.#isColored);
  }

  readonly line = (label: Uint8Array, ...frame: Parameters<FrameSink>): void => {
    this.out.append(this.#stampBytes);
    this.out.append(label);
    if (this.#config.format === "json") writeJsonLine(this.out, ...frame);
    else writeTextLine(this.out, ...frame);
  };

  /** Bytes as they came, for `hex`. */
  chunk(party: Party, offset: number, bytes: Uint8Array): void {
    writeHexChunk(this.out, `${this.#stamp}${this.#textLabel(party)} `, offset, bytes);
  }

  notice(party: Party, notice: Notice): void {
    if (this.#config.quiet) return;
    if (this.#config.format === "json") return this.#jsonNotice(party, notice);
    const text = notice.event === "refused"
      ? `refused ${peerText(party.peer)}`
      : `${this.#textLabel(party)} ${noticeText(notice, isFramed(this.#config))}`;
    const target = this.#config.format === "raw" ? this.aside : this.out;
    target.appendText(`${this.#stamp}${text}\n`);
  }

  #jsonNotice({ number, peer }: Party, notice: Notice): void {
    const connection = number === undefined ? "" : `"connection":${number},`;
    const details = jsonNotice(notice);
    this.out.appendText(
      `${this.#stamp}"event":"${notice.event}",${connection}${jsonPeer(peer)}${details}}\n`,
    );
  }
}

// -- Output --

/** Where bytes go: `Deno.stdout`, a file, or an object of one's own. */
export interface Sink {
  /** Takes bytes from the front of `bytes`; resolves to how many. */
  write(bytes: Uint8Array): Promise<number>;
  /** The same without a hop to another thread, if the sink can: cheaper, but the loop may not turn. */
  writeInline?(bytes: Uint8Array): Promise<number>;
}

/** What the server uses of the process; tests bring their own. */
export interface Io {
  /** Where records go without `--output`. */
  readonly stdout: Sink;
  /** Where messages go. */
  readonly stderr: { writeSync(bytes: Uint8Array): number };
  /** Whether stdout is a terminal that wants colours. */
  readonly wantsColor: boolean;
  /** Wall clock, milliseconds since 1970. */
  now(): number;
  /** Ends the process at once. */
  exit(code: number): void;
}

/** Prints a message for the operator; where nobody hears it, it is lost. */
function say(io: Io, message: string): void {
  try {
    const bytes = ENCODER.encode(`${message}\n`);
    for (let sent = 0; sent < bytes.length;) sent += io.stderr.writeSync(bytes.subarray(sent));
  } catch {
    // stderr is closed or full: there is nowhere left to say so.
  }
}

/** The end of the log: stdout or a file that can be opened anew. Waits for a full disk, not for a closed pipe. */
class Output {
  readonly #io: Io;
  readonly #path: string | undefined;
  #sink: Sink & Partial<Disposable>;
  #mustReopen = false;
  /** Ends what write() waits for; it is called once. */
  #interrupt: ((error?: Error) => void) | undefined;
  #abandoned = false;

  constructor(io: Io, path: string | undefined) {
    this.#io = io;
    this.#path = path;
    this.#sink = path === undefined ? io.stdout : openOutput(path);
  }

  /** Writes all of it, however long that takes; `isSmall` if a hop to another thread would not pay. */
  async write(bytes: Uint8Array, isSmall: boolean): Promise<void> {
    let isFailing = false;
    for (let sent = 0; sent < bytes.length;) {
      try {
        sent += await this.#interruptible(this.#writeSome(bytes.subarray(sent), isSmall));
        if (isFailing) say(this.#io, `earshot: ${this.#name} works again`);
        isFailing = false;
      } catch (error) {
        if (error instanceof Failure) throw error;
        if (isGone(error)) throw new Failure(`Cannot write to ${this.#name}: ${reasonOf(error)}`);
        if (!isFailing) {
          say(this.#io, `earshot: Cannot write to ${this.#name}: ${reasonOf(error)}; clients wait`);
        }
        isFailing = true;
        await this.#pause();
        if (this.#mustReopen) this.#reopenNow();
      }
    }
    if (this.#mustReopen) this.#reopenNow();
  }

  #writeSome(bytes: Uint8Array, isSmall: boolean): Promise<number> {
    return isSmall && this.#sink.writeInline
      ? this.#sink.writeInline(bytes)
      : this.#sink.write(bytes);
  }

  get #name(): string {
    return this.#path ?? "stdout";
  }

  /** Waits for `work` unless abandon() comes first. A promise of its own: a race would leave reactions behind. */
  #interruptible<T>(work: Promise<T>): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    if (this.#abandoned) reject(this.#abandonment());
    this.#interrupt = (error) => error && reject(error);
    work.then(resolve, reject);
    return promise;
  }

  async #pause(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, RETRY_OUTPUT_MS);
    this.#interrupt = () => resolve();
    await promise;
    clearTimeout(timer);
    if (this.#abandoned) throw this.#abandonment();
  }

  #abandonment(): Failure {
    return new Failure(
      `Cannot write to ${this.#name}: nobody takes it; what was not written is lost`,
    );
  }

  /** Gives up on a reader that does not read, or a disk that stays full. */
  abandon(): void {
    this.#abandoned = true;
    this.#interrupt?.(this.#abandonment());
  }

  get isFile(): boolean {
    return this.#path !== undefined;
  }

  /** Opens the file anew before the next record. */
  reopen(): void {
    this.#mustReopen = true;
    this.#interrupt?.();
  }

  #reopenNow(): void {
    this.#mustReopen = false;
    try {
      const sink = openOutput(this.#path!);
      this.close();
      this.#sink = sink;
    } catch (error) {
      say(this.#io, `earshot: ${(error as Error).message}; the old file stays open`);
    }
  }

  close(): void {
    if (this.isFile) this.#sink[Symbol.dispose]?.();
  }
}

function openOutput(path: string): Deno.FsFile {
  try {
    return Deno.openSync(path, { append: true, create: true, mode: OUTPUT_MODE });
  } catch (error) {
    throw new Failure(`Cannot write to ${path}: ${reasonOf(error)}`);
  }
}

/** Whether nobody will ever read what is written: a closed pipe or descriptor. */
function isGone(error: unknown): boolean {
  return error instanceof Deno.errors.BrokenPipe || error instanceof Deno.errors.BadResource ||
    isOneOf(["EPIPE", "EBADF"], codeOf(error) ?? "");
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error ? String(error.code) : undefined;
}

/** A reason in the words of a user: the permission flag that is missing, or what the system says. */
function reasonOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  const [flag] = /--allow-[a-z]+/.exec(message) ?? [];
  if (error instanceof Deno.errors.NotCapable && flag) return `run again with ${flag}`;
  if (codeOf(error) === "EPIPE") return "broken pipe";
  const words = message.replace(/( \(os error \d+\)|: https?:).*$/, "");
  return words.charAt(0).toLowerCase() + words.slice(1);
}

// -- Server --

/** A running server. Disposing stops it and waits for its end. */
export interface Server extends AsyncDisposable {
  /** Addresses listened on, with the real ports. */
  readonly addrs: readonly Deno.Addr[];
  /** Settles when the server has ended; rejects with a {@linkcode Failure} if it had to. */
  readonly finished: Promise<void>;
  /** Stops accepting, logs what has arrived, and ends within about two seconds. */
  stop(): void;
  /** Opens the output file anew, for logrotate; returns false if there is no file. */
  reopenOutput(): boolean;
  /** Prints a summary to stderr. */
  reportStats(): void;
}

/** What both multiplexers do; {@linkcode Poller} does it as it is. */
interface Multiplexer {
  register(source: Source, mask: number): void;
  modify(source: Source, mask: number): void;
  unregister(source: Source): void;
  poll(timeoutMs: number | undefined): Promise<[Source, number][]>;
  wake(): void;
  close(): void;
}

/** A poll object made of select(), as in the classic listing. */
class Selector implements Multiplexer {
  readonly #masks = new Map<Source, number>();
  #wake = Promise.withResolvers<void>();
  /** The self-pipe: its one byte comes when wake() is called. */
  readonly #alarm = new Socket({
    read: async () => {
      await this.#wake.promise;
      this.#wake = Promise.withResolvers();
      return 1;
    },
  });

  register(source: Source, mask: number): void {
    this.#masks.set(source, mask);
  }

  modify(source: Source, mask: number): void {
    this.#masks.set(source, mask);
  }

  unregister(source: Source): void {
    this.#masks.delete(source);
  }

  async poll(timeoutMs: number | undefined): Promise<[Source, number][]> {
    const wanting = (mask: number) => [...this.#masks].filter(([, m]) => m & mask).map(([s]) => s);
    const readers = [this.#alarm, ...wanting(POLLIN)];
    const timeout = timeoutMs === undefined ? undefined : timeoutMs / 1000;
    const lists = await select(readers, wanting(POLLOUT), this.#masks.keys(), timeout);
    const events = new Map<Source, number>();
    for (const [i, bit] of [POLLIN, POLLOUT, POLLERR].entries()) {
      for (const source of lists[i]!) events.set(source, (events.get(source) ?? 0) | bit);
    }
    if (events.delete(this.#alarm)) this.#alarm.recv(1);
    return [...events];
  }

  wake(): void {
    this.#wake.resolve();
  }

  close(): void {
    this.#alarm.close();
    this.wake();
  }
}

/** One connection. */
interface Client {
  readonly number: number;
  readonly peer: Peer;
  readonly socket: Socket;
  /** Made when it first sends, for a quiet client shall cost little. */
  framer: Framer | undefined;
  label: Uint8Array | undefined;
  readonly connectedAtMs: number;
  /** On the server's clock of attention. */
  heardAtMs: number;
  bytes: number;
  lines: number;
  /** The last span in which it talked, for {@linkcode Talkers}. */
  talkedIn: number;
  /** Whether the last frame was a piece of a line that goes on. */
  isInLine: boolean;
  /** Bytes to be sent back that the socket did not take, and their number. */
  echo: Uint8Array[];
  echoBytes: number;
  /** Whether the client has sent its end of file and only waits for its echo. */
  isEnding: boolean;
}

/** Counts the clients that talk. */
class Talkers {
  #span = 0;
  #count = 0;
  #lastCount = 0;

  setTime(nowMs: number): void {
    const span = Math.ceil(nowMs / TALK_SPAN_MS);
    if (span === this.#span) return;
    this.#lastCount = span === this.#span + 1 ? this.#count : 0;
    this.#count = 0;
    this.#span = span;
  }

  add(client: Client): void {
    if (client.talkedIn === this.#span) return;
    client.talkedIn = this.#span;
    this.#count++;
  }

  get areFew(): boolean {
    return Math.max(this.#count, this.#lastCount) <= FEW_TALKERS;
  }
}

/** Numbers for the summary. */
interface Totals {
  connections: number;
  refused: number;
  lines: number;
  bytes: number;
  cut: number;
  acceptErrors: number;
}

/**
 * Starts a server.
 *
 * @param config What to do, from {@linkcode parseConfig}.
 * @param io Output, clock and exit; those of the process by default.
 * @returns The server, accepting connections.
 * @throws {Failure} If it cannot listen, read its certificate or open its output.
 */
export async function startServer(config: Config, io: Io = processIo()): Promise<Server> {
  const output = new Output(io, config.output);
  const listeners: Listening[] = [];
  try {
    for (const port of config.ports) listeners.push(listenTcp(config, port));
    for (const path of config.unixPaths) listeners.push(await listenUnix(path));
  } catch (error) {
    await Promise.all(listeners.map(({ socket }) => socket[Symbol.asyncDispose]()));
    output.close();
    throw error;
  }
  for (const { greeting } of listeners) say(io, greeting);
  return new LogServer(config, io, output, listeners);
}

/** A listening socket, with what its peers share. */
interface Listening {
  readonly socket: ServerSocket;
  readonly greeting: string;
  /** Path of the Unix socket. */
  readonly path?: string;
  readonly isTls: boolean;
}

function listenTcp(config: Config, port: number): Listening {
  const { host: hostname, backlog: tcpBacklog, reusePort, tls } = config;
  const options = { hostname, port, tcpBacklog, reusePort };
  const pem = tls && { cert: readPem(tls.certFile), key: readPem(tls.keyFile) };
  const where = `${bracketed(hostname)}:${port}`;
  const listener = listening(
    where,
    () => pem ? Deno.listenTls({ ...options, ...pem }) : Deno.listen(options),
  );
  const { hostname: address, port: realPort } = listener.addr as Deno.NetAddr;
  const notes = [pem && "TLS", reachOf(address)].filter(Boolean).join("; ");
  const greeting = `listening on ${bracketed(address)}:${realPort}${notes && ` (${notes})`}`;
  return { socket: new ServerSocket(listener), greeting, isTls: pem !== undefined };
}

function reachOf(address: string): string {
  if (address === "0.0.0.0") return "every IPv4 interface";
  if (address === "::") return "every interface";
  const isLocal = address.startsWith("127.") || address === "::1";
  return isLocal ? "this machine only; --host 0.0.0.0 for every interface" : "";
}

async function listenUnix(path: string): Promise<Listening> {
  await removeStaleSocket(path);
  const listener = listening(path, () => Deno.listen({ transport: "unix", path }));
  return {
    socket: new ServerSocket(listener),
    greeting: `listening on ${path}`,
    path,
    isTls: false,
  };
}

function listening<L extends Acceptor>(where: string, listen: () => L): L {
  try {
    return listen();
  } catch (error) {
    throw new Failure(`Cannot listen on ${where}: ${reasonOf(error)}`);
  }
}

/** A crash leaves the socket's file behind: one that nobody answers at is removed. */
async function removeStaleSocket(path: string): Promise<void> {
  try {
    if (!await isStaleSocket(path)) throw new Failure("another process listens there");
    await Deno.remove(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    throw new Failure(`Cannot listen on ${path}: ${reasonOf(error)}`);
  }
}

async function isStaleSocket(path: string): Promise<boolean> {
  if (!(await Deno.lstat(path)).isSocket) throw new Failure("a file that is no socket is there");
  try {
    (await Deno.connect({ transport: "unix", path })).close();
    return false;
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionRefused) return true;
    throw error;
  }
}

function readPem(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    throw new Failure(`Cannot read ${path}: ${reasonOf(error)}`);
  }
}

/** The server: listen, poll, dispatch. */
class LogServer implements Server {
  readonly #config: Config;
  readonly #io: Io;
  readonly #output: Output;
  readonly #records: RecordWriter;
  readonly #multiplexer: Multiplexer;
  readonly #listeners: Map<ServerSocket, Listening>;
  readonly #allowed: BlockList | undefined;
  readonly #denied: BlockList | undefined;
  /** In the order in which they were last heard, if there is an idle timeout. */
  readonly #clients = new Map<Socket, Client>();
  readonly #input = new Uint8Array(READ_BYTES);
  readonly #totals: Totals = {
    connections: 0,
    refused: 0,
    lines: 0,
    bytes: 0,
    cut: 0,
    acceptErrors: 0,
  };
  readonly #startedAtMs = performance.now();
  readonly addrs: readonly Deno.Addr[];
  readonly finished: Promise<void>;
  /** What is done beside the loop and comes back to it. */
  readonly #returned: (() => void)[] = [];
  #handshakes = 0;
  readonly #talkers = new Talkers();
  /** Whose input is being framed. */
  #speaker: Client | undefined;
  #state: "running" | "stopping" | "ended" = "running";
  #accepting: "yes" | "full" | "paused" = "yes";
  /** Why it ends, if that is not because it was asked to. */
  #failure: Failure | undefined;
  #isFull = false;
  #resumeAcceptAtMs = Infinity;
  #acceptReportedAtMs = -Infinity;
  /** Time in which nobody was listened to does not make a client idle. */
  #inattentiveMs = 0;
  #nextStatsAtMs: number;
  #lastStats = { atMs: this.#startedAtMs, lines: 0 };
  #finalTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(config: Config, io: Io, output: Output, listeners: readonly Listening[]) {
    this.#config = config;
    this.#io = io;
    this.#output = output;
    this.#records = new RecordWriter(config, wantsColor(config, io), io.now());
    this.#multiplexer = config.multiplexer === "poll" ? new Poller() : new Selector();
    this.#listeners = new Map(listeners.map((listening) => [listening.socket, listening]));
    this.#allowed = config.allow.length > 0 ? addressRules("allow", config.allow) : undefined;
    this.#denied = config.deny.length > 0 ? addressRules("deny", config.deny) : undefined;
    this.#nextStatsAtMs = config.statsMs > 0 ? this.#startedAtMs + config.statsMs : Infinity;
    this.addrs = listeners.map(({ socket }) => socket.addr!);
    this.#setAccepting("yes");
    this.finished = this.#serve();
    // Whoever does not look must not be ended by it; whoever awaits it still gets the error.
    this.finished.catch(() => {});
  }

  async #serve(): Promise<void> {
    try {
      while (this.#state === "running") await this.#round(this.#msToNextDeadline());
      await this.#drain();
      if (this.#failure) throw this.#failure;
    } finally {
      await this.#close();
    }
  }

  /** One round: whoever is ready is heard, then the log is written. */
  async #round(timeoutMs: number | undefined): Promise<number> {
    const calledAtMs = performance.now();
    const ready = await this.#multiplexer.poll(timeoutMs);
    const oversleptMs = performance.now() - calledAtMs - (timeoutMs ?? Infinity);
    if (oversleptMs > RETRY_OUTPUT_MS) this.#inattentiveMs += oversleptMs;
    this.#records.setTime(this.#io.now());
    this.#talkers.setTime(calledAtMs);
    for (const [source, events] of ready) {
      if (source instanceof ServerSocket) this.#onAcceptable(source);
      else if (source instanceof Socket) this.#onReady(source, events);
      if (this.#records.out.length >= ROUND_BYTES) await this.#flush();
    }
    for (const back of this.#returned.splice(0)) back();
    this.#onDeadlines(ready.length > 0, calledAtMs);
    await this.#flush();
    return ready.length;
  }

  #onReady(socket: Socket, events: number): void {
    const client = this.#clients.get(socket);
    if (!client) return;
    try {
      if (events & POLLOUT) this.#sendEcho(client);
      if (client.isEnding) {
        if (events & (POLLERR | POLLHUP)) this.#disconnect(client, "closed");
      } else if (events & (POLLIN | POLLERR | POLLHUP)) {
        this.#hear(client);
      }
    } catch (error) {
      this.#disconnect(client, disconnectReason(error));
    }
  }

  #hear(client: Client): void {
    const input = this.#receive(client);
    if (input.length === 0) return this.#onEnd(client);
    this.#talkers.add(client);
    client.bytes += input.length;
    this.#totals.bytes += input.length;
    this.#touch(client);
    const fault = this.#log(client, input);
    if (fault) return this.#disconnect(client, fault);
    if (this.#config.echo) this.#queueEcho(client, input);
  }

  /** Receives into the output itself where nothing has to be done to the bytes. */
  #receive(client: Client): Uint8Array {
    if (this.#config.format !== "raw") {
      return this.#input.subarray(0, client.socket.recvInto(this.#input));
    }
    const out = this.#records.out;
    out.reserve(READ_BYTES);
    const start = out.length;
    out.length += client.socket.recvInto(out.bytes.subarray(start, start + READ_BYTES));
    return out.bytes.subarray(start, out.length);
  }

  #log(client: Client, input: Uint8Array): string | undefined {
    switch (this.#config.format) {
      case "raw":
        return;
      case "hex":
        this.#records.chunk(client, client.bytes - input.length, input);
        return;
      case "text":
      case "json":
        client.framer ??= createFramer(this.#config.framing, this.#config.maxLineBytes);
        this.#speaker = client;
        return client.framer.push(input, this.#sink);
    }
  }

  #onEnd(client: Client): void {
    if (client.echoBytes === 0 && !this.#config.echo) return this.#disconnect(client, "closed");
    client.isEnding = true;
    this.#sendEcho(client);
    if (client.echoBytes > 0) this.#multiplexer.modify(client.socket, POLLOUT);
  }

  #touch(client: Client): void {
    if (this.#config.idleTimeoutMs === 0) return;
    client.heardAtMs = this.#attentiveNowMs();
    this.#clients.delete(client.socket);
    this.#clients.set(client.socket, client);
  }

  #attentiveNowMs(): number {
    return performance.now() - this.#inattentiveMs;
  }

  // -- Echo --

  #queueEcho(client: Client, input: Uint8Array): void {
    if (client.echo === NO_CHUNKS) client.echo = [];
    client.echo.push(input.slice());
    client.echoBytes += input.length;
    this.#sendEcho(client);
    if (client.echoBytes === 0) return;
    const mayRead = client.echoBytes < MAX_ECHO_BYTES;
    this.#multiplexer.modify(client.socket, mayRead ? POLLIN | POLLOUT : POLLOUT);
  }

  /** Hands the queue to the socket as far as it takes it, then ends a client that waited for that. */
  #sendEcho(client: Client): void {
    const wasQueued = client.echoBytes > 0;
    while (client.echo.length > 0 && this.#sendChunk(client));
    if (client.echoBytes > 0) {
      if (!client.isEnding && client.echoBytes < MAX_ECHO_BYTES) {
        this.#multiplexer.modify(client.socket, POLLIN | POLLOUT);
      }
    } else if (client.isEnding) {
      this.#multiplexer.modify(client.socket, 0);
      client.socket.shutdown().then(() => this.#comeBack(() => this.#disconnect(client, "closed")));
    } else if (wasQueued) {
      this.#multiplexer.modify(client.socket, POLLIN);
    }
  }

  #sendChunk(client: Client): boolean {
    const [chunk] = client.echo;
    try {
      const sent = client.socket.send(chunk!);
      client.echoBytes -= sent;
      if (sent === chunk!.length) client.echo.shift();
      else client.echo[0] = chunk!.subarray(sent);
      return true;
    } catch (error) {
      if (error instanceof Deno.errors.WouldBlock) return false;
      throw error;
    }
  }

  /** Has the loop do what became due beside it. */
  #comeBack(action: () => void): void {
    this.#returned.push(action);
    this.#multiplexer.wake();
  }

  // -- Connections --

  #onAcceptable(listener: ServerSocket): void {
    const { isTls, path } = this.#listeners.get(listener)!;
    for (let socket; this.#accepting === "yes" && (socket = this.#accept(listener));) {
      this.#admit(socket, peerOf(socket, path), isTls);
    }
  }

  #admit(socket: Socket, peer: Peer, isTls: boolean): void {
    if (!this.#isWelcome(peer)) {
      socket.close();
      this.#totals.refused++;
      return this.#records.notice({ peer }, { event: "refused" });
    }
    const client = this.#newClient(socket, peer);
    if (peer.kind === "ip") keepAlive(socket);
    if (isTls) this.#startHandshake(client);
    else this.#connect(client);
    this.#onPlacesChanged();
  }

  #accept(listener: ServerSocket): Socket | undefined {
    try {
      return listener.accept();
    } catch (error) {
      if (error instanceof Deno.errors.WouldBlock) return;
      this.#totals.acceptErrors++;
      if (isClientFault(error)) return;
      if (isExhaustion(error)) this.#pauseAccepting(error);
      else this.#giveUp(new Failure(`Cannot accept connections: ${reasonOf(error)}`));
    }
  }

  /** Ends as after a signal, for what has arrived is to be logged, and then fails. */
  #giveUp(failure: Failure): void {
    this.#failure ??= failure;
    this.#setAccepting("full");
    this.stop();
  }

  /** Out of descriptors or memory: a bare retry would spin. */
  #pauseAccepting(error: unknown): void {
    const nowMs = performance.now();
    if (nowMs - this.#acceptReportedAtMs >= ACCEPT_REPORT_MS) {
      this.#acceptReportedAtMs = nowMs;
      say(
        this.#io,
        `earshot: Cannot accept connections for now: ${reasonOf(error)}; new clients wait`,
      );
    }
    this.#resumeAcceptAtMs = nowMs + ACCEPT_PAUSE_MS;
    this.#setAccepting("paused");
  }

  #isWelcome(peer: Peer): boolean {
    if (peer.kind === "unix" || !this.#allowed && !this.#denied) return true;
    const family = isIPv4(peer.host) ? "ipv4" : "ipv6";
    if (this.#denied?.check(peer.host, family)) return false;
    return this.#allowed?.check(peer.host, family) ?? true;
  }

  #newClient(socket: Socket, peer: Peer): Client {
    const nowMs = performance.now();
    return {
      number: ++this.#totals.connections,
      peer,
      socket,
      framer: undefined,
      label: undefined,
      connectedAtMs: nowMs,
      heardAtMs: nowMs - this.#inattentiveMs,
      bytes: 0,
      lines: 0,
      echo: NO_CHUNKS,
      echoBytes: 0,
      talkedIn: 0,
      isInLine: false,
      isEnding: false,
    };
  }

  /** Gives a frame of the speaker's to the log. One for all clients, as memory counts. */
  readonly #sink: FrameSink = (bytes, start, end, isWhole) => {
    const client = this.#speaker!;
    client.label ??= this.#records.labelOf(client);
    this.#records.line(client.label, bytes, start, end, isWhole);
    this.#countFrame(client, isWhole);
  };

  /** The pieces of a cut line count as one, at its end. */
  #countFrame(client: Client, isWhole: boolean): void {
    if (!isWhole && !client.isInLine) this.#totals.cut++;
    client.isInLine = !isWhole;
    if (isWhole) this.#countLine(client);
  }

  #countLine(client: Client): void {
    client.lines++;
    this.#totals.lines++;
  }

  #connect(client: Client): void {
    this.#clients.set(client.socket, client);
    this.#multiplexer.register(client.socket, POLLIN);
    this.#records.notice(client, { event: "connected" });
  }

  /** The handshake runs beside the loop; a silent client holds its place until its time is over. */
  #startHandshake(client: Client): void {
    this.#handshakes++;
    const conn = client.socket.stream as Deno.TlsConn;
    const limitMs = Math.min(HANDSHAKE_TIMEOUT_MS, this.#config.idleTimeoutMs || Infinity);
    let isOver = false;
    const end = (reason: string | undefined) => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      this.#endHandshakes.delete(end);
      this.#comeBack(() => this.#onHandshake(client, reason));
    };
    const timer = setTimeout(end, limitMs, `no TLS handshake within ${limitMs / 1000} s`);
    this.#endHandshakes.add(end);
    conn.handshake().then(
      () => end(undefined),
      (error) => end(`TLS handshake failed: ${reasonOf(error)}`),
    );
  }

  readonly #endHandshakes = new Set<(reason: string) => void>();

  #onHandshake(client: Client, fault: string | undefined): void {
    this.#handshakes--;
    if (fault === undefined) return this.#connect(client);
    client.socket.close();
    this.#logDisconnect(client, fault);
    this.#onPlacesChanged();
  }

  #disconnect(client: Client, reason: string): void {
    if (!this.#clients.delete(client.socket)) return;
    this.#speaker = client;
    client.framer?.end(this.#sink);
    if (client.isInLine) this.#countLine(client);
    this.#multiplexer.unregister(client.socket);
    client.socket.close();
    this.#logDisconnect(client, reason);
    if (this.#accepting === "paused") this.#resumeAcceptAtMs = 0;
    this.#onPlacesChanged();
  }

  #logDisconnect({ number, peer, bytes, lines, connectedAtMs }: Client, reason: string): void {
    const seconds = Math.round(performance.now() - connectedAtMs) / 1000;
    this.#records.notice({ number, peer }, {
      event: "disconnected",
      bytes,
      lines,
      seconds,
      reason,
    });
  }

  // -- Limits and deadlines --

  get #places(): number {
    return this.#config.maxConnections - this.#clients.size - this.#handshakes;
  }

  #onPlacesChanged(): void {
    if (this.#places > 0) {
      if (this.#accepting === "full") this.#setAccepting("yes");
      return;
    }
    if (this.#accepting === "yes") this.#setAccepting("full");
    if (this.#isFull) return;
    this.#isFull = true;
    say(
      this.#io,
      `earshot: ${this.#config.maxConnections} connections, no more are accepted (--max-connections)`,
    );
  }

  #setAccepting(accepting: "yes" | "full" | "paused"): void {
    const wasOn = this.#accepting === "yes";
    this.#accepting = accepting;
    const isOn = accepting === "yes";
    for (const listener of this.#listeners.keys()) {
      if (isOn) this.#multiplexer.register(listener, POLLIN);
      else if (wasOn) this.#multiplexer.unregister(listener);
    }
  }

  #onDeadlines(wasBusy: boolean, polledAtMs: number): void {
    const nowMs = performance.now();
    if (this.#resumeAcceptAtMs <= nowMs) {
      this.#resumeAcceptAtMs = Infinity;
      this.#setAccepting(this.#places > 0 ? "yes" : "full");
    }
    if (this.#isFull && this.#places > 0 && !wasBusy) {
      this.#isFull = false;
      say(this.#io, "earshot: connections are accepted again");
    }
    if (this.#nextStatsAtMs <= nowMs) {
      this.#nextStatsAtMs = nowMs + this.#config.statsMs;
      this.reportStats();
    }
    this.#disconnectIdle(polledAtMs);
  }

  /**
   * The clients are in the order in which they were heard, so only the silent ones are looked at.
   * Their time must have been over before they were polled: while the process stood still, what they
   * sent waited in the kernel.
   */
  #disconnectIdle(polledAtMs: number): void {
    const { idleTimeoutMs } = this.#config;
    if (idleTimeoutMs === 0) return;
    const limitMs = polledAtMs - this.#inattentiveMs - idleTimeoutMs;
    for (const client of this.#clients.values()) {
      if (client.heardAtMs > limitMs) return;
      this.#disconnect(client, `idle for ${idleTimeoutMs / 1000} s`);
    }
  }

  #msToNextDeadline(): number | undefined {
    const nowMs = performance.now();
    let nextMs = Math.min(this.#resumeAcceptAtMs, this.#nextStatsAtMs);
    if (this.#config.idleTimeoutMs > 0) {
      const [silent] = this.#clients.values();
      if (silent) {
        nextMs = Math.min(
          nextMs,
          silent.heardAtMs + this.#inattentiveMs + this.#config.idleTimeoutMs,
        );
      }
    }
    if (this.#isFull && this.#places > 0) nextMs = Math.min(nextMs, nowMs + ACCEPT_PAUSE_MS);
    return nextMs === Infinity ? undefined : Math.max(0, Math.ceil(nextMs - nowMs));
  }

  // -- Output --

  /**
   * Writes the records of a round. With few clients and much to write, the next
   * round is read meanwhile; otherwise the wait is the turn of the loop that
   * keeps many clients equal.
   */
  async #flush(): Promise<void> {
    const { out, aside } = this.#records;
    if (aside.length > 0) {
      say(this.#io, new TextDecoder().decode(aside.bytes.subarray(0, aside.length - 1)));
      aside.clear();
    }
    const startedAtMs = performance.now();
    await this.#writing;
    if (out.length > 0 || this.#mustReopen) {
      const { areFew } = this.#talkers;
      this.#writing = this.#output.write(this.#records.takeOut(), areFew);
      this.#mustReopen = false;
      // Its failure shows when it is awaited, which must not take until somebody talks again.
      if (areFew && out.length >= BULK_BYTES) this.#writing.catch(() => this.#multiplexer.wake());
      else await this.#writing;
    }
    this.#inattentiveMs += performance.now() - startedAtMs;
  }

  /** The write of the last round. */
  #writing = Promise.resolve();

  #mustReopen = false;

  reopenOutput(): boolean {
    if (!this.#output.isFile) return false;
    this.#mustReopen = true;
    this.#output.reopen();
    this.#multiplexer.wake();
    return true;
  }

  reportStats(): void {
    const { connections, refused, lines, bytes, cut, acceptErrors } = this.#totals;
    const nowMs = performance.now();
    const linesPerSecond = (lines - this.#lastStats.lines) /
      ((nowMs - this.#lastStats.atMs) / 1000);
    this.#lastStats = { atMs: nowMs, lines };
    const upSeconds = Math.round((nowMs - this.#startedAtMs) / 1000);
    say(
      this.#io,
      `stats: up ${upSeconds} s, connections ${this.#clients.size} open ${connections} total ` +
        `${refused} refused, ${plural(lines, "line")}, ${plural(bytes, "byte")}, ${cut} cut, ` +
        `${plural(acceptErrors, "accept error")}, ${linesPerSecond.toFixed(1)} lines/s`,
    );
  }

  // -- End --

  stop(): void {
    if (this.#state !== "running") return;
    this.#state = "stopping";
    this.#finalTimer = setTimeout(() => this.#output.abandon(), DRAIN_MS + FINAL_WRITE_MS);
    this.#multiplexer.wake();
  }

  /** Takes what had arrived when the server was stopped: until nothing comes, but not for ever. */
  async #drain(): Promise<void> {
    const untilMs = performance.now() + DRAIN_MS;
    // The wake-up of stop() may end the first poll before anything is seen.
    for (let quiet = 0; quiet < 2 && performance.now() < untilMs;) {
      quiet = await this.#round(0) === 0 ? quiet + 1 : 0;
      if (quiet > 0 && this.#accepting === "yes") this.#setAccepting("full");
    }
    for (const end of this.#endHandshakes) end("shutting down");
    for (const back of this.#returned.splice(0)) back();
    this.#records.setTime(this.#io.now());
    for (const client of this.#clients.values()) this.#disconnect(client, "shutting down");
    await this.#flush();
    await this.#writing;
  }

  /** Frees everything; a Unix socket's file is gone only when its pending accept has settled. */
  async #close(): Promise<void> {
    this.#state = "ended";
    clearTimeout(this.#finalTimer);
    for (const end of this.#endHandshakes) end("shutting down");
    for (const back of this.#returned.splice(0)) back();
    for (const socket of this.#clients.keys()) socket.close();
    this.#multiplexer.close();
    for (const listener of this.#listeners.keys()) listener.close();
    await Promise.all([...this.#listeners.keys()].map((listener) => listener.closed));
    this.#output.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stop();
    await this.finished.catch(() => {});
  }
}

function wantsColor(config: Config, io: Io): boolean {
  if (config.color === "auto") return config.output === undefined && io.wantsColor;
  return config.color === "always";
}

function peerOf(socket: Socket, path: string | undefined): Peer {
  const addr = socket.remoteAddr;
  if (addr && "hostname" in addr) {
    return { kind: "ip", host: unmapped(addr.hostname), port: addr.port };
  }
  return { kind: "unix", path: path ?? "" };
}

/** A peer that vanished is found out after two hours; all that Deno offers is on or off. */
function keepAlive(socket: Socket): void {
  try {
    (socket.stream as Partial<Deno.TcpConn>).setKeepAlive?.(true);
  } catch {
    // The peer is gone already; reading tells.
  }
}

/** Faults of one client that show in accept(): it was gone before its turn came. */
function isClientFault(error: unknown): boolean {
  const { NotConnected, ConnectionReset, ConnectionAborted, Interrupted } = Deno.errors;
  return [NotConnected, ConnectionReset, ConnectionAborted, Interrupted].some((kind) =>
    error instanceof kind
  ) ||
    isOneOf(["EPROTO", "ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH"], codeOf(error) ?? "");
}

function isExhaustion(error: unknown): boolean {
  return isOneOf(["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"], codeOf(error) ?? "");
}

function disconnectReason(error: unknown): string {
  if (error instanceof Failure) throw error;
  if (error instanceof Deno.errors.ConnectionReset || error instanceof Deno.errors.BrokenPipe) {
    return "reset by peer";
  }
  return reasonOf(error);
}

function isOneOf(words: readonly string[], word: string): boolean {
  return words.includes(word);
}

function orList(words: readonly string[]): string {
  return `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
}

// -- Process --

/**
 * The command: parses, serves until a signal or a failure, and says what went
 * wrong.
 *
 * @param args Arguments as in `Deno.args`.
 * @param io Output, clock and exit; those of the process by default.
 * @returns The exit status: 0, 1 or 2.
 */
export async function main(args: readonly string[], io: Io = processIo()): Promise<number> {
  try {
    const config = parseConfig(args);
    if (config.action === "help") return await print(usage(), io);
    if (config.action === "version") return await print(`earshot ${manifest.version}\n`, io);
    // Started after the handlers are in place: a script may signal as soon as it sees the greeting.
    const starting = Promise.resolve().then(() => startServer(config, io));
    using _signals = handleSignals(starting, io);
    await using server = await starting;
    await server.finished;
    return EXIT.ok;
  } catch (error) {
    if (error instanceof UsageError) {
      say(io, `earshot: ${error.message.replace(UNSAFE_REGEXP, escapeCharacter)}, see --help`);
      return EXIT.usage;
    }
    say(
      io,
      `earshot: ${error instanceof Failure ? error.message : `Cannot go on: ${reasonOf(error)}`}`,
    );
    return EXIT.failure;
  }
}

/** Prints to stdout; a reader that has seen enough, such as head, is no failure. */
async function print(text: string, io: Io): Promise<number> {
  const bytes = ENCODER.encode(text);
  try {
    for (let sent = 0; sent < bytes.length;) sent += await io.stdout.write(bytes.subarray(sent));
  } catch (error) {
    if (!(error instanceof Deno.errors.BrokenPipe)) {
      throw new Failure(`Cannot write to stdout: ${reasonOf(error)}`);
    }
  }
  return EXIT.ok;
}

const SIGNAL_NUMBERS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15, SIGUSR2: 12 } as const;

/** Signals only set flags and wake the loop; a second stop signal ends the process. */
function handleSignals(starting: Promise<Server>, io: Io): Disposable {
  // A start that failed is told by main().
  const tell = (action: (server: Server) => void) => void starting.then(action, () => {});
  let isStopping = false;
  const stop = (signal: keyof typeof SIGNAL_NUMBERS) => {
    if (isStopping) io.exit(EXIT.signal + SIGNAL_NUMBERS[signal]);
    isStopping = true;
    tell((server) => server.stop());
  };
  const handlers: Partial<Record<Deno.Signal, () => void>> = {
    SIGINT: () => stop("SIGINT"),
    SIGTERM: () => stop("SIGTERM"),
    SIGHUP: () => tell((server) => server.reopenOutput() || stop("SIGHUP")),
    SIGUSR2: () => tell((server) => server.reportStats()),
  };
  const stack = new DisposableStack();
  for (const [name, handler] of Object.entries(handlers)) {
    const signal = name as Deno.Signal;
    if (Deno.build.os === "windows" && signal === "SIGUSR2") continue;
    Deno.addSignalListener(signal, handler);
    stack.defer(() => Deno.removeSignalListener(signal, handler));
  }
  return stack;
}

/**
 * Standard output. Deno writes to it on another thread, which costs more than
 * hearing a few clients; a pipe can be written from here without blocking.
 */
class StandardOutput implements Sink {
  /** Made with the first small write: whoever prints no records needs none. */
  #pipe: NodeSocket | "none" | undefined;

  async write(bytes: Uint8Array): Promise<number> {
    if (!this.#pipe || this.#pipe === "none") return await Deno.stdout.write(bytes);
    // The pipe does not block any more: what does not fit at once Deno.stdout would keep, and
    // write again later. A write of nothing through it is still a turn of the loop.
    const count = await this.writeInline(bytes);
    await Deno.stdout.write(NO_BYTES);
    return count;
  }

  writeInline(bytes: Uint8Array): Promise<number> {
    const pipe = this.#pipe ??= openPipe();
    if (pipe === "none") return Deno.stdout.write(bytes);
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    pipe.write(bytes, (error) => error ? reject(error) : resolve(bytes.length));
    return promise;
  }
}

function openPipe(): NodeSocket | "none" {
  try {
    const pipe = new NodeSocket({ fd: 1, readable: false, writable: true });
    // Told by the callback of the write.
    return pipe.on("error", () => {});
  } catch {
    return "none";
  }
}

/** The real thing. */
function processIo(): Io {
  return {
    stdout: new StandardOutput(),
    stderr: Deno.stderr,
    wantsColor: Deno.stdout.isTerminal() && !Deno.noColor,
    now: Date.now,
    exit: Deno.exit,
  };
}

// Deno.exit, not Deno.exitCode: a write that nobody takes would keep the process alive.
if (import.meta.main) Deno.exit(await main(Deno.args));
