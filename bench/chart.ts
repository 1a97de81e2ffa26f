/**
 * Draws two claims from the JSON of `deno task bench --json FILE`:
 * `deno task bench:chart FILE` writes docs/performance.svg.
 *
 * @module
 */

import { parseArgs } from "@std/cli/parse-args";
import { figureOf, type Run } from "./figures.ts";
import type { Report } from "./report.ts";

const ROOT = new URL("..", import.meta.url).pathname;
const OUTPUT = `${ROOT}docs/performance.svg`;

/** A server, and the class that gives it its colour. */
const SERIES = [
  { server: "earshot-text", title: "earshot", style: "a" },
  { server: "earshot-raw", title: "earshot (raw)", style: "f" },
  { server: "node-net", title: "node:net", style: "b" },
  { server: "deno-loops", title: "Deno loops", style: "c" },
  { server: "rsyslog", title: "rsyslog", style: "d" },
  { server: "py-epoll", title: "Python epoll", style: "e" },
] as const;

type Series = (typeof SERIES)[number];

const QUIET_LOADS = [
  { load: "talk-50", quiet: "0" },
  { load: "quiet-1000", quiet: "1,000" },
  { load: "quiet-10000", quiet: "10,000" },
] as const;
const FAIRNESS_LOAD = "talk-1000";

const WIDTH = 860;
const HEIGHT = 340;
const TOP = 62;
const BOTTOM = 280;
/** The plot on the left, and the bars on the right. */
const LEFT_PLOT = { left: 48, right: 340 };
const RIGHT_PLOT = { left: 600, right: 810 };
const LABEL_DISTANCE = 16;
const TICKS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];

const STYLE = `text { font: 13px sans-serif; fill: #57606a; }
.title { font-size: 15px; font-weight: bold; }
.end { text-anchor: end; }
.middle { text-anchor: middle; }
.grid { stroke: #8c959f; stroke-opacity: 0.35; }
path { fill: none !important; stroke-width: 2; }
path.a { stroke-width: 4; }
.a { stroke: #cf222e; fill: #cf222e; }
.f { stroke: #e5737a; fill: #e5737a; }
.b { stroke: #2da44e; fill: #2da44e; }
.c { stroke: #bf8700; fill: #bf8700; }
.d { stroke: #8250df; fill: #8250df; }
.e { stroke: #218bff; fill: #218bff; }
text { stroke: none !important; }
text.a { font-weight: bold; }
@media (prefers-color-scheme: dark) {
  text { fill: #9198a1; }
  .a { stroke: #ff7b72; fill: #ff7b72; }
  .d { stroke: #b392f0; fill: #b392f0; }
}`;

// -- CPU against quiet clients --

type Point = { readonly x: number; readonly y: number };
type Line = { readonly series: Series; readonly values: readonly (number | undefined)[] };

function quietPanel(runs: readonly Run[]): string[] {
  const lines = SERIES.map((series): Line => ({
    series,
    values: QUIET_LOADS.map(({ load }) => figureOf(runs, load, series.server, "cpuUs")),
  }));
  const ticks = ticksFor(lines.flatMap(({ values }) => values.filter((v) => v !== undefined)));
  const drawn = lines.map((line) => ({ series: line.series, points: pointsOf(line, ticks) }))
    .filter(({ points }) => points.length > 0);
  return [
    text(LEFT_PLOT.left - 36, 20, "CPU per line, µs (log scale)", "title"),
    text(LEFT_PLOT.left - 36, 40, "50 clients talk beside so many that are quiet"),
    ...ticks.flatMap((tick) => tickLine(tick, ticks)),
    ...QUIET_LOADS.map(({ quiet }, i) => text(xOf(i), BOTTOM + 20, quiet, "middle")),
    text((LEFT_PLOT.left + LEFT_PLOT.right) / 2, BOTTOM + 42, "quiet clients", "middle"),
    ...drawn.flatMap(({ series, points }) => curve(series, points)),
    ...labels(drawn),
  ];
}

/** From the last below all values to the first above them. */
function ticksFor(values: readonly number[]): number[] {
  const low = TICKS.findLastIndex((tick) => tick <= Math.min(...values));
  const high = TICKS.findIndex((tick) => tick >= Math.max(...values));
  return TICKS.slice(Math.max(0, low), high < 0 ? undefined : high + 1);
}

function tickLine(tick: number, ticks: readonly number[]): string[] {
  const y = yOf(tick, ticks);
  return [
    `<line class="grid" x1="${LEFT_PLOT.left}" y1="${y}" x2="${LEFT_PLOT.right}" y2="${y}" />`,
    text(LEFT_PLOT.left - 8, y + 4, `${tick}`, "end"),
  ];
}

function xOf(i: number): number {
  const { left, right } = LEFT_PLOT;
  return round(left + 20 + i * (right - left - 30) / (QUIET_LOADS.length - 1));
}

function yOf(value: number, ticks: readonly number[]): number {
  const low = Math.log(ticks.at(0) ?? 1);
  const high = Math.log(ticks.at(-1) ?? 1000);
  return round(BOTTOM - (BOTTOM - TOP) * (Math.log(value) - low) / (high - low || 1));
}

function pointsOf({ values }: Line, ticks: readonly number[]): Point[] {
  return values.flatMap((value, i) =>
    value === undefined ? [] : [{ x: xOf(i), y: yOf(value, ticks) }]
  );
}

function curve({ style }: Series, points: readonly Point[]): string[] {
  const path = points.map(({ x, y }, i) => `${i === 0 ? "M" : "L"}${x} ${y}`).join(" ");
  return [
    `<path class="${style}" d="${path}" />`,
    ...points.map(({ x, y }) => `<circle class="${style}" cx="${x}" cy="${y}" r="3" />`),
  ];
}

/** Beside the ends of the lines, moved apart where they would cover each other. */
function labels(drawn: readonly { series: Series; points: readonly Point[] }[]): string[] {
  const ends = drawn.map(({ series, points }) => ({ series, y: points.at(-1)!.y }))
    .toSorted((a, b) => b.y - a.y);
  let freeY = Infinity;
  return ends.map(({ series, y }) => {
    const labelY = Math.min(y + 4, freeY);
    freeY = labelY - LABEL_DISTANCE;
    return text(LEFT_PLOT.right + 8, round(labelY), series.title, series.style);
  });
}

// -- Fairness --

function fairnessPanel(runs: readonly Run[]): string[] {
  const rowHeight = (BOTTOM - TOP) / SERIES.length;
  return [
    text(RIGHT_PLOT.left - 100, 20, "Equal shares: worst served / best served", "title"),
    text(RIGHT_PLOT.left - 100, 40, "1,000 clients talk; 1 is equal"),
    ...SERIES.flatMap((series, i) => {
      const value = figureOf(runs, FAIRNESS_LOAD, series.server, "evenness");
      return bar(series, value, TOP + i * rowHeight, rowHeight);
    }),
  ];
}

function bar({ title, style }: Series, value: number | undefined, y: number, height: number) {
  const width = round((value ?? 0) * (RIGHT_PLOT.right - RIGHT_PLOT.left));
  const textY = round(y + height / 2 + 4);
  const { left } = RIGHT_PLOT;
  const rect = `x="${left}" y="${round(y + 8)}" width="${width}" height="${round(height - 16)}"`;
  return [
    text(left - 8, textY, title, `end ${style}`),
    `<rect class="${style}" ${rect} />`,
    text(left + width + 8, textY, value === undefined ? "not measured" : value.toFixed(2)),
  ];
}

// -- SVG --

function text(x: number, y: number, content: string, style?: string): string {
  const attribute = style === undefined ? "" : ` class="${style}"`;
  return `<text${attribute} x="${x}" y="${y}">${content}</text>`;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

/** The figures in words, for those who do not see them. */
function describe(runs: readonly Run[]): string {
  const sentences = SERIES.map(({ server, title }) => {
    const cpu = QUIET_LOADS.map(({ load }) => show(figureOf(runs, load, server, "cpuUs")));
    const share = show(figureOf(runs, FAIRNESS_LOAD, server, "evenness"));
    return `${title}: ${cpu.join(", ")} µs; ${share}.`;
  });
  return `CPU per line beside 0, 1,000 and 10,000 quiet clients, then worst served to best served ` +
    `of 1,000 talking clients. ${sentences.join(" ")}`;
}

function show(value: number | undefined): string {
  return value === undefined ? "not measured" : value.toFixed(2);
}

function draw({ runs }: Report): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-labelledby="title description">
<title id="title">What a line costs beside quiet clients, and how equal the shares of 1,000 clients are</title>
<desc id="description">${describe(runs)}</desc>
<style>
${STYLE}
</style>
${[...quietPanel(runs), ...fairnessPanel(runs)].join("\n")}
</svg>
`;
}

/** Writes docs/performance.svg. */
export async function drawChart(report: Report): Promise<void> {
  await Deno.mkdir(`${ROOT}docs`, { recursive: true });
  await Deno.writeTextFile(OUTPUT, draw(report));
  const args = ["fmt", "--quiet", `--config=${ROOT}deno.json`, OUTPUT];
  const { success } = await new Deno.Command(Deno.execPath(), { args }).output();
  if (!success) throw new Error(`Cannot format ${OUTPUT}`);
}

async function main(args: string[]): Promise<number> {
  const [file, ...rest] = parseArgs(args, { string: ["_"] })._;
  if (typeof file !== "string" || rest.length > 0) {
    const usage = "Usage: deno task bench:chart FILE (of deno task bench --json FILE)\n";
    Deno.stderr.writeSync(new TextEncoder().encode(usage));
    return 2;
  }
  await drawChart(JSON.parse(await Deno.readTextFile(file)));
  return 0;
}

if (import.meta.main) Deno.exitCode = await main(Deno.args);
