/**
 * What is aimed at, and how near a benchmark has come.
 *
 * @module
 */

import { figureOf, memorySlopeKb, type Place, ratioOf, type Run } from "./figures.ts";
import { show, tableOf } from "./markdown.ts";

/** One aim. */
interface Target {
  readonly what: string;
  readonly must: string;
  readonly reach: string;
  /** A figure, or a median of ratios; `undefined` if it was not measured. */
  measure(runs: readonly Run[]): number | undefined;
}

const RAW_50 = "talk-50/earshot-raw";
const RAW_1000 = "talk-1000/earshot-raw";
const TEXT_FLOOD = "flood-ascii/earshot-text";
const KINDS = ["accent", "cyrillic", "colors", "quotes", "invalid"];

/** All of them, in the order of the table. Where `must` is empty there is one with another base. */
export const TARGETS: readonly Target[] = [
  ratio(
    "CPU per event, 50 talking, raw, over node:net",
    "cpuUs",
    RAW_50,
    "talk-50/node-net",
    "≤ 0.9",
  ),
  ratio(
    "CPU per event, 50 talking, raw, over Python epoll",
    "cpuUs",
    RAW_50,
    "talk-50/py-epoll",
    "",
    "≤ 1.0",
  ),
  ratio(
    "CPU per event, 50 talking, raw, over Deno loops",
    "cpuUs",
    RAW_50,
    "talk-50/deno-loops",
    "≤ 1.08",
    "≤ 1.0",
  ),
  ratio(
    "CPU per event, 1,000 talking, raw, over node:net",
    "cpuUs",
    RAW_1000,
    "talk-1000/node-net",
    "≤ 0.9",
  ),
  ratio(
    "CPU per event, 1,000 talking, raw, over Python epoll",
    "cpuUs",
    RAW_1000,
    "talk-1000/py-epoll",
    "",
    "≤ 1.1",
  ),
  ratio(
    "events/s, 1,000 talking, over node:net",
    "eventsPerSecond",
    RAW_1000,
    "talk-1000/node-net",
    "≥ 1.1",
    "≥ 1.4",
  ),
  figure("fairness, 1,000 talking: worst/best served", "evenness", RAW_1000, "≥ 0.9", "≥ 0.95"),
  figure("fairness, 1,000 talking: p99.9/p50", "tail", RAW_1000, "≤ 6", "≤ 4"),
  figure("fairness, 300 talking: p99.9/p50", "tail", "talk-300/earshot-raw", "≤ 6", "≤ 4"),
  ratio(
    "CPU per event, 10,000 quiet + 50 talking over 50 talking",
    "cpuUs",
    "quiet-10000/earshot-raw",
    RAW_50,
    "≤ 1.15",
    "≤ 1.05",
  ),
  ratio(
    "CPU per event, 19,000 quiet + 50 talking over 50 talking",
    "cpuUs",
    "quiet-19000/earshot-raw",
    RAW_50,
    "≤ 1.2",
    "≤ 1.05",
  ),
  {
    what: "KB per quiet client: slope from 1,000 to 10,000",
    must: "≤ 6.6",
    reach: "≤ 6.2",
    measure: (runs) => memorySlopeKb(runs, "earshot-raw"),
  },
  ratio(
    "raw bulk over C epoll, MB/s",
    "mbPerSecond",
    "flood-ascii/earshot-raw",
    "flood-ascii/c-epoll",
    "≥ 0.75",
    "≥ 0.95",
  ),
  ratio(
    "text lines over rsyslog, lines/s",
    "linesPerSecond",
    TEXT_FLOOD,
    "flood-ascii/rsyslog",
    "≥ 2.5",
    "≥ 3.5",
  ),
  ratio(
    "text lines over rsyslog, CPU per line",
    "cpuUs",
    TEXT_FLOOD,
    "flood-ascii/rsyslog",
    "≤ 0.5",
    "≤ 0.3",
  ),
  ratio(
    "json lines over rsyslog, lines/s",
    "linesPerSecond",
    "flood-ascii/earshot-json",
    "flood-ascii/rsyslog",
    "≥ 1.7",
    "≥ 2.5",
  ),
  worstKind("text"),
  worstKind("json"),
  garbage("text"),
  garbage("json"),
  ratio(
    "10,000 connects in a burst over node:net, seconds",
    "seconds",
    "burst/earshot-raw",
    "burst/node-net",
    "≤ 1.25",
    "≤ 1.0",
  ),
  {
    what: "empty lines of 50 clients: MB grown",
    must: "< 60",
    reach: "< 40",
    measure(runs) {
      const grownKb = figureOf(runs, "flood-empty", "earshot-text", "grownKb");
      return grownKb && grownKb / 1024;
    },
  },
  ratio(
    "datagrams/s over rsyslog imudp",
    "heardPerSecond",
    "udp/earshot-text",
    "udp/rsyslog",
    "≥ 1",
    "≥ 2",
  ),
  ratio(
    "CPU per datagram over rsyslog imudp",
    "cpuUs",
    "udp/earshot-text",
    "udp/rsyslog",
    "≤ 1",
    "≤ 0.5",
  ),
  ratio(
    "text with a page watching over none, lines/s",
    "linesPerSecond",
    "flood-watched/earshot-watched",
    "flood-watched/earshot-text",
    "≥ 0.9",
    "≥ 0.97",
  ),
  ratio(
    "`--web` at rest over none, CPU per line, flood",
    "cpuUs",
    "flood-watched/earshot-web",
    "flood-watched/earshot-text",
    "≤ 1.03",
    "≤ 1.01",
  ),
  ratio(
    "`--web` at rest over none, CPU per line, 50 talking",
    "cpuUs",
    "talk-watched/earshot-web",
    "talk-watched/earshot-text",
    "≤ 1.03",
    "≤ 1.01",
  ),
  ratio(
    "`--reply`, 50 clients: CPU per answered line over `--echo`",
    "cpuUs",
    "reply/earshot-reply",
    "reply/earshot-echo",
    "≤ 1.5",
    "≤ 1.1",
  ),
  ratio(
    "`--forward`: a byte there and back over socat, p50",
    "p50Us",
    "forward-byte/earshot-forward",
    "forward-byte/socat-forward",
    "≤ 1.6",
    "≤ 1.2",
  ),
  ratio(
    "`--forward`: MB/s over socat",
    "mbPerSecond",
    "forward-bulk/earshot-forward",
    "forward-bulk/socat-forward",
    "≥ 0.6",
    "≥ 1.0",
  ),
  ratio(
    "`end:;` over newline, CPU per frame",
    "cpuUs",
    "flood-framing/earshot-end",
    "flood-framing/earshot-text",
    "≤ 1.3",
    "≤ 1.0",
  ),
  ratio(
    "`length:2` over newline, CPU per frame",
    "cpuUs",
    "flood-framing/earshot-length",
    "flood-framing/earshot-text",
    "≤ 1.3",
    "≤ 1.0",
  ),
  ratio(
    "a file per client over one file, 300 clients, lines/s",
    "linesPerSecond",
    "files/earshot-files",
    "files/earshot-file",
    "≥ 0.3",
    "≥ 0.6",
  ),
  ratio(
    "TLS over `Deno.listenTls`, CPU per MB",
    "cpuMs",
    "tls-bulk/earshot-tls",
    "tls-bulk/deno-tls",
    "≤ 1.3",
    "≤ 1.0",
  ),
  ratio(
    "TLS over `Deno.listenTls`, CPU per handshake",
    "cpuUs",
    "tls-shake/earshot-tls",
    "tls-shake/deno-tls",
    "≤ 2",
    "≤ 1.6",
  ),
  figure("TLS: KB per quiet client", "quietKb", "tls-quiet/earshot-tls", "≤ 36", "≤ 24"),
];

function figure(what: string, key: string, place: string, must: string, reach = ""): Target {
  return { what, must, reach, measure: (runs) => figureOf(runs, ...placeOf(place), key) };
}

/** The median over the rounds; a round may have both under different loads. */
function ratio(
  what: string,
  key: string,
  place: string,
  base: string,
  must: string,
  reach = "",
): Target {
  return {
    what,
    must,
    reach,
    measure: (runs) => ratioOf(runs, key, placeOf(place), placeOf(base)),
  };
}

function worstKind(format: "text" | "json"): Target {
  return {
    what: `each kind of ${format} over ASCII, CPU per line: the worst`,
    must: "≤ 1.6",
    reach: "≤ 1.3",
    measure(runs) {
      const ratios = KINDS.map((kind) => overAscii(runs, kind, format));
      return ratios.includes(undefined) ? undefined : Math.max(...ratios as number[]);
    },
  };
}

function garbage(format: "text" | "json"): Target {
  return {
    what: `99 invalid bytes a line over ASCII, ${format}, CPU per line`,
    must: "≤ 3",
    reach: "≤ 2",
    measure: (runs) => overAscii(runs, "garbage", format),
  };
}

function overAscii(runs: readonly Run[], kind: string, format: string): number | undefined {
  const server = `earshot-${format}`;
  return ratioOf(runs, "cpuUs", [`flood-${kind}`, server], ["flood-ascii", server]);
}

/** Of `LOAD/SERVER`. */
function placeOf(text: string): Place {
  const [load = "", server = ""] = text.split("/");
  return [load, server];
}

/** A table of those that were measured; empty if none was. */
export function targetsSection(runs: readonly Run[]): string {
  const rows = TARGETS.flatMap(({ what, must, reach, measure }) => {
    const value = measure(runs);
    return value === undefined ? [] : [[what, show(value, 2), must, reach]];
  });
  if (rows.length === 0) return "";
  return `## Targets\n\n${tableOf(["what", "measured", "must", "reach"], rows)}`;
}
