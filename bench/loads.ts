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
  /** Arguments of `load`; `output` is where a flood goes. */
  args(port: number, scale: Scale, output: string): (string | number)[];
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
const CONNECT_SERVERS = ["earshot-raw", "earshot-text", "node-net", "deno-loops", "py-epoll"];
const LINE_SERVERS = ["earshot-text", "earshot-json", "rsyslog"];

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

/** The two loads between which memory is compared. */
export const MEMORY_LOADS = ["quiet-1000", "quiet-10000"] as const;

/** All loads, in the order of the tables. */
export const LOADS: readonly Load[] = [
  talk("talk-50", 0, 50, EVERYBODY),
  { ...talk("talk-300", 0, 300, EVERYBODY), isExtra: true },
  talk("talk-1000", 0, 1000, CROWD_SERVERS),
  { ...talk("talk-4000", 0, 4000, CROWD_SERVERS), isExtra: true },
  talk("quiet-1000", 1000, 50, CROWD_SERVERS),
  talk("quiet-10000", 10_000, 50, CROWD_SERVERS),
  talk("quiet-19000", 19_000, 50, ["earshot-raw", "node-net"]),
  {
    ...flood("ascii", "lines of 100 bytes", EVERYBODY),
    references: ["node-net", "py-epoll", "rsyslog"],
  },
  flood("accent", "lines with one é", LINE_SERVERS.slice(0, 2)),
  flood("cyrillic", "Cyrillic", LINE_SERVERS.slice(0, 2)),
  flood("colors", "lines with ANSI colours", LINE_SERVERS.slice(0, 2)),
  flood("quotes", "JSON objects", LINE_SERVERS.slice(0, 2)),
  flood("invalid", "lines with one byte that is no UTF-8", LINE_SERVERS.slice(0, 2)),
  flood("garbage", "lines of 99 bytes that are no UTF-8", LINE_SERVERS.slice(0, 2)),
  { ...flood("octet", "counted frames (RFC 6587)", LINE_SERVERS), options: ["--framing=octet"] },
  { ...flood("syslog", "syslog messages", LINE_SERVERS), options: ["--framing=syslog"] },
  {
    ...flood("empty", "empty lines", LINE_SERVERS.slice(0, 1)),
    title: "Flood: 50 clients, empty lines, to a file",
    clients: 50,
    args: (port, { lines }, output) => ["flood", port, 50, "empty", 4 * lines, output],
  },
  {
    ...flood("ascii", "lines of 100 bytes, with the live page", [
      "earshot-text",
      "earshot-web",
      "earshot-watched",
    ]),
    name: "flood-watched",
    references: ["earshot-text"],
  },
  {
    name: "udp",
    title: "Datagrams of 100 bytes from 8 senders, as fast as they can, to a file",
    clients: 8,
    isCrowd: false,
    servers: ["earshot-text", "earshot-json", "rsyslog"],
    transport: "udp",
    references: ["rsyslog"],
    metrics: DATAGRAM_METRICS,
    args: (port, { seconds }, output) => ["udp", port, 8, seconds, output],
  },
  connect("burst", "Burst: 10,000 clients connect, say a line and stay", 10_000, 500),
  connect("brief", "Brief: 5,000 clients connect, say a line and leave", 5000, 200),
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
    args: (port, { seconds }) => ["talk", port, quiet, talking, seconds],
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
    args: (port, { lines }, output) => ["flood", port, 8, kind, lines, output],
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
    args: (port) => [name, port, clients, inFlight],
  };
}

/** Adds what follows from the figures. */
export function derive(figures: Figures): Figures {
  const { worstServed, bestServed } = figures;
  if (worstServed === undefined || bestServed === undefined) return figures;
  return { ...figures, evenness: worstServed / bestServed };
}
