/**
 * The loads, and which figures count for each.
 *
 * @module
 */

/** What one run has measured, as `load.c` names it, and what follows from it. */
export type Figures = Readonly<Record<string, number>>;

/** A figure that a table shows. */
export interface Metric {
  readonly key: string;
  readonly title: string;
  /** Digits after the point. */
  readonly digits: number;
  /** Divides the figure, for a larger unit. */
  readonly unit?: number;
  /** Whether to show the ratio to the references, too. */
  readonly isCompared?: boolean;
}

/** How much is sent, and how long. */
export interface Scale {
  readonly seconds: number;
  readonly lines: number;
}

/** Where and how a load is put on a server. */
export interface Place {
  readonly port: number;
  /** Of the target that the server forwards to, if it does. */
  readonly sidePort: number;
  readonly scale: Scale;
  /** Where the log goes: a file, or the folder of a load that has many. */
  readonly output: string;
  /** What the server wants a flood to be made of, if it does. */
  readonly kind: string | undefined;
  /** The server's certificate, in loads of TLS. */
  readonly cert: string;
}

/** One load. */
export interface Load {
  /** Name in filters and in the JSON. */
  readonly name: string;
  /** Title of its table. */
  readonly title: string;
  /** Connections at once, as far as a server's limit is concerned. */
  readonly clients: number;
  /** Whether they connect faster than a short backlog can hold. */
  readonly isCrowd: boolean;
  /** Left out unless it is asked for by name. */
  readonly isExtra?: boolean;
  /** Who takes part: the others cannot, or tell nothing that another load does not. */
  readonly servers: readonly string[];
  /** What earshot is told besides its format. */
  readonly options?: readonly string[];
  readonly transport: "tcp" | "udp";
  /** The servers that all are compared with. */
  readonly references: readonly string[];
  readonly metrics: readonly Metric[];
  /** Whether `load_tls.ts` makes the load, not `load.c`. */
  readonly isTls?: boolean;
  /** Arguments of `load`. */
  args(place: Place): (string | number)[];
}

const EVERYBODY = [
  "earshot-raw",
  "earshot-text",
  "earshot-json",
  "node-net",
  "deno-loops",
  "py-select",
  "py-poll",
  "py-epoll",
  "c-epoll",
  "ncat",
  "socat",
  "rsyslog",
];
const CROWD_SERVERS = [
  "earshot-raw",
  "earshot-text",
  "node-net",
  "deno-loops",
  "py-epoll",
  "c-epoll",
  "rsyslog",
];
const QUIET_SERVERS = CROWD_SERVERS.filter((name) => name !== "c-epoll");
const CONNECT_SERVERS = ["earshot-raw", "earshot-text", "node-net", "deno-loops", "py-epoll"];
const PAGE_SERVERS = ["earshot-text", "earshot-web", "earshot-watched"];
const LINE_SERVERS = ["earshot-text", "earshot-json"];
const SYSLOG_SERVERS = ["earshot-text", "rsyslog"];

const LOOP_PEERS = ["node-net", "deno-loops", "py-epoll"];

const TALK_METRICS: readonly Metric[] = [
  { key: "cpuUs", title: "CPU µs/event", digits: 2, isCompared: true },
  { key: "eventsPerSecond", title: "1,000 events/s", digits: 0, unit: 1000 },
  { key: "p50Us", title: "p50 ms", digits: 2, unit: 1000 },
  { key: "p999Us", title: "p99.9 ms", digits: 1, unit: 1000 },
  { key: "evenness", title: "worst/best", digits: 2 },
];

const FLOOD_METRICS: readonly Metric[] = [
  { key: "linesPerSecond", title: "1,000 lines/s", digits: 0, unit: 1000, isCompared: true },
  { key: "mbPerSecond", title: "MB/s in", digits: 0 },
  { key: "cpuUs", title: "CPU µs/line", digits: 2, isCompared: true },
  { key: "peakKb", title: "peak MB", digits: 0, unit: 1024 },
  { key: "grownKb", title: "grown by MB", digits: 0, unit: 1024 },
];

const DATAGRAM_METRICS: readonly Metric[] = [
  { key: "heardPerSecond", title: "1,000 heard/s", digits: 0, unit: 1000, isCompared: true },
  { key: "heardShare", title: "of those sent", digits: 2 },
  { key: "cpuUs", title: "CPU µs/datagram", digits: 2, isCompared: true },
  { key: "peakKb", title: "peak MB", digits: 0, unit: 1024 },
];

const CONNECT_METRICS: readonly Metric[] = [
  { key: "seconds", title: "seconds", digits: 2, isCompared: true },
  { key: "cpuUs", title: "CPU µs/connection", digits: 0, isCompared: true },
  { key: "peakKb", title: "peak MB", digits: 0, unit: 1024 },
];

const EXCHANGE_METRICS = TALK_METRICS.filter(({ key }) => key !== "evenness")
  .map((metric) => metric.key === "p50Us" ? { ...metric, digits: 3, isCompared: true } : metric);

const POUR_METRICS: readonly Metric[] = [
  { key: "mbPerSecond", title: "MB/s", digits: 0, isCompared: true },
  { key: "cpuMs", title: "CPU ms/MB", digits: 2, isCompared: true },
  { key: "peakKb", title: "peak MB", digits: 0, unit: 1024 },
];

const TCP = { isCrowd: false, transport: "tcp" } as const;

/** Those in which clients are answered, or the log has many files. */
const ANSWER_LOADS: readonly Load[] = [
  {
    ...TCP,
    name: "reply",
    title: "50 clients wait for an answer to each line",
    clients: 50,
    servers: ["earshot-echo", "earshot-reply", "socat-echo"],
    references: ["earshot-echo", "socat-echo"],
    metrics: EXCHANGE_METRICS,
    args: ({ port, scale, output }) => ["answer", port, 50, scale.seconds, output],
  },
  {
    ...TCP,
    name: "forward-byte",
    title: "Through to a target and back: one client, a byte at a time",
    clients: 1,
    servers: ["earshot-forward", "earshot-forward-raw", "socat-forward"],
    references: ["socat-forward"],
    metrics: EXCHANGE_METRICS,
    args: ({ port, sidePort, scale, output }) => ["relay", port, sidePort, scale.seconds, output],
  },
  {
    ...TCP,
    name: "forward-bulk",
    title: "Through to a target: one client, lines of 100 bytes",
    clients: 1,
    servers: ["earshot-forward", "earshot-forward-raw", "socat-forward"],
    references: ["socat-forward"],
    metrics: POUR_METRICS,
    args: ({ port, sidePort, scale, output }) => ["pour", port, sidePort, 2 * scale.lines, output],
  },
  {
    ...TCP,
    name: "files",
    title: "A file per client: 300 clients, lines of 100 bytes",
    clients: 300,
    servers: ["earshot-file", "earshot-files", "rsyslog-file", "rsyslog-files"],
    references: ["earshot-file", "rsyslog-file", "rsyslog-files"],
    metrics: FLOOD_METRICS,
    args: ({ port, scale, output }) => ["files", port, 300, "ascii", scale.lines, output],
  },
];

/** What TLS costs, beside Deno's own. */
const TLS_LOADS: readonly Load[] = [
  tls("bulk", "4 clients, 64 KiB a write, to a file", POUR_METRICS, ({ lines }) => lines),
  tls(
    "lines",
    "4 clients, a record for each line, to a file",
    [
      { key: "cpuUs", title: "CPU µs/line", digits: 2, isCompared: true },
      { key: "peakKb", title: "peak MB", digits: 0, unit: 1024 },
    ],
    ({ lines }) => lines / 10,
  ),
  tls(
    "shake",
    "clients shake hands and leave",
    CONNECT_METRICS.filter(({ key }) => key !== "seconds"),
    ({ seconds }) => 1000 * seconds,
  ),
  tls(
    "quiet",
    "clients that say nothing",
    [{ key: "quietKb", title: "KB/client", digits: 1, isCompared: true }],
    ({ seconds }) => 1000 * seconds,
  ),
];

function tls(
  name: string,
  title: string,
  metrics: readonly Metric[],
  count: (scale: Scale) => number,
): Load {
  return {
    ...TCP,
    isTls: true,
    name: `tls-${name}`,
    title: `TLS: ${title}`,
    clients: 4,
    servers: ["earshot-tls", "deno-tls"],
    references: ["deno-tls"],
    metrics,
    args: ({ port, cert, scale, output }) => [name, port, cert, count(scale), output],
  };
}

/** The two loads between which memory is compared. */
export const MEMORY_LOADS = ["quiet-1000", "quiet-10000"] as const;

/** All loads, in the order of the tables. */
export const LOADS: readonly Load[] = [
  talk("talk-50", 0, 50, EVERYBODY),
  talk("talk-300", 0, 300, ["earshot-raw", "earshot-text", "node-net"]),
  talk("talk-1000", 0, 1000, CROWD_SERVERS),
  { ...talk("talk-4000", 0, 4000, CROWD_SERVERS), isExtra: true },
  talk("quiet-1000", 1000, 50, QUIET_SERVERS),
  talk("quiet-10000", 10_000, 50, QUIET_SERVERS),
  talk("quiet-19000", 19_000, 50, ["earshot-raw", "node-net"]),
  {
    ...flood("ascii", "lines of 100 bytes", EVERYBODY),
    references: ["node-net", "py-epoll", "rsyslog"],
  },
  flood("accent", "lines with one é", LINE_SERVERS),
  flood("cyrillic", "Cyrillic", LINE_SERVERS),
  flood("colors", "lines with ANSI colours", LINE_SERVERS),
  flood("quotes", "JSON objects", LINE_SERVERS),
  flood("invalid", "lines with one byte that is no UTF-8", LINE_SERVERS),
  flood("garbage", "lines of 99 bytes that are no UTF-8", LINE_SERVERS),
  { ...flood("octet", "counted frames (RFC 6587)", SYSLOG_SERVERS), options: ["--framing=octet"] },
  { ...flood("syslog", "syslog messages", SYSLOG_SERVERS), options: ["--framing=syslog"] },
  {
    ...flood("empty", "empty lines", LINE_SERVERS.slice(0, 1)),
    title: "Flood: 50 clients, empty lines, to a file",
    clients: 50,
    args: ({ port, scale, output }) => ["flood", port, 50, "empty", 4 * scale.lines, output],
  },
  {
    ...flood("ascii", "lines of 100 bytes, with the live page", PAGE_SERVERS),
    name: "flood-watched",
    references: ["earshot-text"],
    args: ({ port, scale, output }) => ["flood", port, 8, "ascii", 2 * scale.lines, output],
  },
  {
    ...talk("talk-watched", 0, 50, PAGE_SERVERS),
    title: "50 talking clients, with the live page",
    references: ["earshot-text"],
  },
  {
    ...flood("framing", "frames of 100 bytes", ["earshot-text", "earshot-end", "earshot-length"]),
    references: ["earshot-text"],
    args: ({ port, scale, output, kind = "ascii" }) => {
      return ["flood", port, 8, kind, scale.lines, output];
    },
  },
  {
    name: "udp",
    title: "Datagrams of 100 bytes from 8 senders, as fast as they can, to a file",
    clients: 8,
    isCrowd: false,
    servers: SYSLOG_SERVERS,
    transport: "udp",
    references: ["rsyslog"],
    metrics: DATAGRAM_METRICS,
    args: ({ port, scale, output }) => ["udp", port, 8, scale.seconds, output],
  },
  connect("burst", "Burst: 10,000 clients connect, say a line and stay", 10_000, 500),
  connect("brief", "Brief: 5,000 clients connect, say a line and leave", 5000, 200),
  ...ANSWER_LOADS,
  ...TLS_LOADS,
];

function talk(name: string, quiet: number, talking: number, servers: readonly string[]): Load {
  const count = (n: number) => n.toLocaleString("en");
  return {
    name,
    title: quiet > 0
      ? `${count(talking)} talking beside ${count(quiet)} quiet clients`
      : `${count(talking)} talking clients`,
    clients: quiet + talking,
    isCrowd: false,
    servers,
    transport: "tcp",
    references: LOOP_PEERS,
    metrics: TALK_METRICS,
    args: ({ port, scale }) => ["talk", port, quiet, talking, scale.seconds],
  };
}

function flood(kind: string, what: string, servers: readonly string[]): Load {
  return {
    name: `flood-${kind}`,
    title: `Flood: 8 clients, ${what}, to a file`,
    clients: 8,
    isCrowd: false,
    servers,
    transport: "tcp",
    references: ["rsyslog"],
    metrics: FLOOD_METRICS,
    args: ({ port, scale, output, kind: other = kind }) => {
      return ["flood", port, 8, other, scale.lines, output];
    },
  };
}

function connect(name: "burst" | "brief", title: string, clients: number, inFlight: number): Load {
  return {
    name,
    title,
    clients: name === "burst" ? clients : inFlight,
    isCrowd: true,
    servers: CONNECT_SERVERS,
    transport: "tcp",
    references: LOOP_PEERS,
    metrics: CONNECT_METRICS,
    args: ({ port }) => [name, port, clients, inFlight],
  };
}

/** Adds what follows from the figures. */
export function derive(figures: Figures): Figures {
  const { worstServed, bestServed, p999Us, p50Us } = figures;
  const more: Record<string, number> = {};
  if (worstServed !== undefined && bestServed) more.evenness = worstServed / bestServed;
  if (p999Us !== undefined && p50Us) more.tail = p999Us / p50Us;
  return { ...figures, ...more };
}
