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
  readonly floodLines: number;
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
  /** Left out of a quick run. */
  readonly isLong?: boolean;
  /** The servers that all are compared with. */
  readonly references: readonly string[];
  readonly metrics: readonly Metric[];
  /** Arguments of `load`; `output` is where a flood goes. */
  args(port: number, scale: Scale, output: string): (string | number)[];
}

const LOOP_PEERS = ["node-net", "py-epoll"];

const TALK_METRICS: readonly Metric[] = [
  { key: "cpuUs", title: "CPU µs/event", digits: 2, isCompared: true },
  { key: "eventsPerSecond", title: "1,000 events/s", digits: 0, unit: 1000, isCompared: true },
  { key: "p50Us", title: "p50 ms", digits: 2, unit: 1000 },
  { key: "p999Us", title: "p99.9 ms", digits: 1, unit: 1000 },
  { key: "evenness", title: "worst/best", digits: 2 },
];

const FLOOD_METRICS: readonly Metric[] = [
  { key: "linesPerSecond", title: "1,000 lines/s", digits: 0, unit: 1000, isCompared: true },
  { key: "mbPerSecond", title: "MB/s in", digits: 0 },
  { key: "cpuUs", title: "CPU µs/line", digits: 2, isCompared: true },
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
  talk("talk-50", 0, 50),
  { ...talk("talk-300", 0, 300), isLong: true },
  talk("talk-1000", 0, 1000),
  { ...talk("talk-4000", 0, 4000), isLong: true },
  talk("quiet-1000", 1000, 50),
  talk("quiet-10000", 10_000, 50),
  {
    name: "flood",
    title: "Flood: 8 clients, lines of 100 bytes, to a file",
    clients: 8,
    isCrowd: false,
    references: [...LOOP_PEERS, "rsyslog"],
    metrics: FLOOD_METRICS,
    args: (port, { floodLines }, output) => ["flood", port, 8, 100, floodLines, output],
  },
  connect("burst", "Burst: 10,000 clients connect, say a line and stay", 10_000, 500),
  connect("brief", "Brief: 5,000 clients connect, say a line and leave", 5000, 200),
];

function talk(name: string, quiet: number, talking: number): Load {
  const count = (n: number) => n.toLocaleString("en");
  return {
    name,
    title: quiet > 0
      ? `${count(talking)} talking beside ${count(quiet)} quiet clients`
      : `${count(talking)} talking clients`,
    clients: quiet + talking,
    isCrowd: false,
    references: LOOP_PEERS,
    metrics: TALK_METRICS,
    args: (port, { seconds }) => ["talk", port, quiet, talking, seconds],
  };
}

function connect(name: "burst" | "brief", title: string, clients: number, inFlight: number): Load {
  return {
    name,
    title,
    clients: name === "burst" ? clients : inFlight,
    isCrowd: true,
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
