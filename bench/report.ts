/**
 * What a benchmark has found: the report as JSON, and as tables in Markdown.
 *
 * @module
 */

import { figureOf, memorySlopeKb, ratioOf, type Run } from "./figures.ts";
import { type Load, LOADS, MEMORY_LOADS, type Metric } from "./loads.ts";
import { show, tableOf } from "./markdown.ts";
import { SERVERS } from "./servers.ts";
import { targetsSection } from "./targets.ts";

/** A whole benchmark. */
export interface Report {
  readonly date: string;
  readonly command: string;
  readonly minutes: number;
  readonly machine: Readonly<Record<string, string>>;
  readonly versions: Readonly<Record<string, string>>;
  readonly runs: readonly Run[];
}

// -- Tables --

type Column = { readonly title: string; readonly cell: (server: string) => string };

/** The tables of all loads that were run. */
export function tables(runs: readonly Run[]): string {
  const loads = LOADS.filter(({ name }) => runs.some(({ load }) => load === name));
  return [
    targetsSection(runs),
    ...loads.map((load) => loadSection(load, runs)),
    memorySection(runs),
  ]
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
    cell: (server: string) =>
      show(ratioOf(runs, key, [load.name, server], [load.name, reference.name]), 2),
  }));
  return isCompared ? [plain, ...ratios] : [plain];
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
  const rows = SERVERS.flatMap(({ name, title }) => {
    const perClientKb = memorySlopeKb(runs, name);
    if (perClientKb === undefined) return [];
    const [fewer, more] = MEMORY_LOADS.map((load) => figureOf(runs, load, name, "quietKb"));
    return [[title, show(perClientKb, 1), show(fewer, 1, 1024), show(more, 1, 1024)]];
  });
  if (rows.length === 0) return "";
  const header = ["server", "KB per quiet client", "MB at 1,000", "MB at 10,000"];
  return `## Memory of quiet clients\n\n${tableOf(header, rows)}`;
}

// -- Markdown --

/** The page that {@linkcode tables} is the greater part of. */
export function markdown(report: Report): string {
  const facts = Object.entries({ ...report.machine, ...report.versions })
    .map(([name, fact]) => `- ${name}: ${fact}`);
  const rounds = Math.max(0, ...report.runs.map(({ round }) => round + 1));
  return `# Results

From ${rounds} ${rounds === 1 ? "round" : "rounds"} on ${report.date}, ${
    report.minutes.toFixed(0)
  } minutes:

\`\`\`sh
${report.command}
\`\`\`

${facts.join("\n")}

[README.md](README.md) says what the loads are. Figures are medians over the rounds. Columns with × are
ratios to a peer within the same round: only these can be compared with those of another machine.

${tables(report.runs)}`;
}
