/**
 * The table of figures in the project's README.
 *
 * @module
 */

import { figureOf, memorySlopeKb, ratioOf, type Run } from "./figures.ts";
import { tableOf } from "./markdown.ts";

const COLUMNS = [
  ["earshot raw", "earshot-raw"],
  ["earshot text", "earshot-text"],
  ["node:net", "node-net"],
  ["Deno loops", "deno-loops"],
  ["Python epoll", "py-epoll"],
  ["rsyslog", "rsyslog"],
] as const;
const REFERENCE = "node-net";

type Cell = (server: string) => string;

/** The table, and the version that it is of, in place of those that are in the page. */
export function withFigures(page: string, runs: readonly Run[], version: string): string {
  const old = /^\| clients .*\n(?:\|.*\n)+/m;
  const measured = /measured on \d+\.\d+\.\d+/;
  if (!old.test(page) || !measured.test(page)) throw new Error("README.md has no table of figures");
  return page.replace(old, () => readmeTable(runs)).replace(measured, `measured on ${version}`);
}

function readmeTable(runs: readonly Run[]): string {
  const rows: [title: string, cell: Cell][] = [
    ["50 talking, CPU", cpu(runs, "talk-50")],
    ["1,000 talking, CPU", cpu(runs, "talk-1000")],
    ["the same, worst / best", evenness(runs)],
    ["10,000 quiet + 50, CPU", cpu(runs, "quiet-10000")],
    ["8 flooding, lines/s", linesPerSecond(runs)],
    ["memory per quiet client", memory(runs)],
  ];
  return tableOf(
    ["clients", ...COLUMNS.map(([title]) => title)],
    rows.map(([title, cell]) => [title, ...COLUMNS.map(([, server]) => cell(server))]),
    "left",
  );
}

/** In µs, with the ratio to the reference in brackets. */
function cpu(runs: readonly Run[], load: string): Cell {
  return (server) => {
    const us = figureOf(runs, load, server, "cpuUs");
    if (us === undefined) return "-";
    const ratio = ratioOf(runs, "cpuUs", [load, server], [load, REFERENCE]);
    const shown = us.toFixed(us < 9.95 ? 1 : 0);
    return server === REFERENCE || !ratio ? shown : `${shown} (${ratio.toFixed(2)})`;
  };
}

function evenness(runs: readonly Run[]): Cell {
  return (server) => figureOf(runs, "talk-1000", server, "evenness")?.toFixed(2) ?? "-";
}

/** To two digits. */
function linesPerSecond(runs: readonly Run[]): Cell {
  return (server) => {
    const lines = figureOf(runs, "flood-ascii", server, "linesPerSecond");
    return lines?.toLocaleString("en", { maximumSignificantDigits: 2 }) ?? "-";
  };
}

function memory(runs: readonly Run[]): Cell {
  return (server) => {
    const kb = memorySlopeKb(runs, server);
    return kb === undefined ? "-" : `${kb.toFixed(1)} KB`;
  };
}
