/**
 * What a benchmark has found: the report as JSON, and as tables in Markdown.
 *
 * @module
 */

import { type Figures, type Load, LOADS, MEMORY_LOADS, type Metric } from "./loads.ts";
import { SERVERS } from "./servers.ts";

/** One run of one server under one load. */
export interface Run {
  readonly load: string;
  readonly server: string;
  /** Servers of one round ran one after the other. */
  readonly round: number;
  /** Absent if there is a fault. */
  readonly figures?: Figures;
  readonly fault?: string;
}

/** A whole benchmark. */
export interface Report {
  readonly date: string;
  readonly command: string;
  readonly machine: Readonly<Record<string, string>>;
  readonly versions: Readonly<Record<string, string>>;
  readonly runs: readonly Run[];
}

/** The middle one, or the mean of the two in the middle; `undefined` of nothing. */
export function median(values: readonly number[]): number | undefined {
  const sorted = values.toSorted((a, b) => a - b);
  const low = sorted[(sorted.length - 1) >> 1];
  const high = sorted[sorted.length >> 1];
  return low === undefined || high === undefined ? undefined : (low + high) / 2;
}

/** One figure of one server under one load, the median over the rounds. */
export function figureOf(
  runs: readonly Run[],
  load: string,
  server: string,
  key: string,
): number | undefined {
  return median(valuesOf(runs, load, server, key).filter((value) => value !== undefined));
}

/** By round. */
function valuesOf(
  runs: readonly Run[],
  load: string,
  server: string,
  key: string,
): (number | undefined)[] {
  const values: (number | undefined)[] = [];
  for (const run of runs) {
    if (run.load === load && run.server === server) values[run.round] = run.figures?.[key];
  }
  return values;
}

/** The median of the ratios within each round: what disturbs a round disturbs both. */
function ratioOf(
  runs: readonly Run[],
  load: string,
  server: string,
  reference: string,
  key: string,
): number | undefined {
  const below = valuesOf(runs, load, reference, key);
  const ratios = valuesOf(runs, load, server, key).map((value, round) => {
    const base = below[round];
    return value === undefined || !base ? undefined : value / base;
  });
  return median(ratios.filter((ratio) => ratio !== undefined));
}

// -- Tables --

type Column = { readonly title: string; readonly cell: (server: string) => string };

/** The tables of all loads that were run. */
export function tables(runs: readonly Run[]): string {
  const loads = LOADS.filter(({ name }) => runs.some(({ load }) => load === name));
  return [...loads.map((load) => loadSection(load, runs)), memorySection(runs)]
    .filter((section) => section !== "").join("\n");
}

function loadSection(load: Load, runs: readonly Run[]): string {
  const columns = load.metrics.flatMap((metric) => columnsOf(metric, load, runs));
  const own = runs.filter((run) => run.load === load.name);
  const isHeard = (name: string) => own.some(({ server, figures }) => server === name && figures);
  const rows = SERVERS.filter(({ name }) => isHeard(name)).map(({ name, title }) => [
    title,
    ...columns.map(({ cell }) => cell(name)),
  ]);
  const table = tableOf(["server", ...columns.map(({ title }) => title)], rows);
  return `## ${load.title}\n\n${table}${faultsOf(own)}`;
}

function columnsOf(metric: Metric, load: Load, runs: readonly Run[]): Column[] {
  const { key, title, digits, unit = 1, isCompared = false } = metric;
  const plain: Column = {
    title,
    cell: (server) => show(figureOf(runs, load.name, server, key), digits, unit),
  };
  const references = SERVERS.filter(({ name }) =>
    load.references.includes(name) && figureOf(runs, load.name, name, key) !== undefined
  );
  const ratios = references.map((reference) => ({
    title: `× ${reference.title}`,
    cell: (server: string) => show(ratioOf(runs, load.name, server, reference.name, key), 2),
  }));
  return isCompared ? [plain, ...ratios] : [plain];
}

function show(value: number | undefined, digits: number, unit = 1): string {
  if (value === undefined) return "-";
  return (value / unit).toLocaleString("en", {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

/** What did not run, each reason once. */
function faultsOf(runs: readonly Run[]): string {
  const lines = runs.filter(({ fault }) => fault !== undefined).map(({ server, fault }) =>
    `- ${titleOf(server)}: ${fault}`
  );
  return lines.length === 0 ? "" : `\nNot measured:\n\n${[...new Set(lines)].join("\n")}\n`;
}

function titleOf(name: string): string {
  return SERVERS.find((server) => server.name === name)?.title ?? name;
}

function memorySection(runs: readonly Run[]): string {
  const [fewer, more] = MEMORY_LOADS.map((name) => LOADS.find((load) => load.name === name)!);
  if (!fewer || !more) return "";
  const rows = SERVERS.flatMap(({ name, title }) => {
    const fewerKb = figureOf(runs, fewer.name, name, "quietKb");
    const moreKb = figureOf(runs, more.name, name, "quietKb");
    if (fewerKb === undefined || moreKb === undefined) return [];
    const perClientKb = (moreKb - fewerKb) / (more.clients - fewer.clients);
    return [[title, show(perClientKb, 1), show(fewerKb, 1, 1024), show(moreKb, 1, 1024)]];
  });
  if (rows.length === 0) return "";
  const header = ["server", "KB per quiet client", "MB at 1,000", "MB at 10,000"];
  return `## Memory of quiet clients\n\n${tableOf(header, rows)}`;
}

/** A table as `deno fmt` would have it. */
function tableOf(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = header.map((title, i) =>
    Math.max(3, title.length, ...rows.map((row) => row[i]?.length ?? 0))
  );
  const rule = widths.map((width, i) => i === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`);
  const pad = (cell: string, i: number) =>
    i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0);
  return [header, rule, ...rows].map((row) => `| ${row.map(pad).join(" | ")} |\n`).join("");
}

// -- Markdown --

/** The page that {@linkcode tables} is the greater part of. */
export function markdown(report: Report): string {
  const facts = Object.entries({ ...report.machine, ...report.versions })
    .map(([name, fact]) => `- ${name}: ${fact}`);
  const rounds = Math.max(0, ...report.runs.map(({ round }) => round + 1));
  return `# Results

From ${rounds} ${rounds === 1 ? "round" : "rounds"} on ${report.date}:

\`\`\`sh
${report.command}
\`\`\`

${facts.join("\n")}

[README.md](README.md) says what the loads are. Figures are medians over the rounds. Columns with × are
ratios to a peer within the same round: only these can be compared with those of another machine.

${tables(report.runs)}`;
}
