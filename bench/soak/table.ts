/**
 * The rows of a run, and the verdicts at its end.
 *
 * @module
 */

import type { FileCheck } from "./files.ts";
import type { Load } from "./load.ts";
import type { Sample, ServerProcess } from "./servers.ts";
import type { Stage } from "./stage.ts";
import { trendOf } from "./trend.ts";

const COLUMNS = [
  "minute",
  "     RSS MB",
  "     heap MB",
  " descriptors",
  "CPU %",
  "open",
  "visits",
  "    lines",
  "checked",
  "lost",
  "doubled",
  "damaged",
  "faults",
];
/** Log files, and connections of pages, beside what was open at the start. */
const SPARE_DESCRIPTORS = 64 + 8;
/** The first quarter is to warm up, which takes the histories of clients and V8 two minutes. */
const LEAST_MINUTES = 8;
const MORE_RSS_KB = 20 * 1024;
const MORE_HEAP_KB = 20 * 1024;
const MORE_DESCRIPTORS = 32;

/** What is looked at, what it should be, what it is, and whether that is fine. */
export type Verdict = readonly [what: string, expected: string, actual: string, isFine: boolean];

export function exactly(what: string, expected: number, actual: number): Verdict {
  return [what, `${expected}`, `${actual}`, expected === actual];
}

// -- Rows --

/** What the servers use: samples every few seconds, and a row now and then. */
export class Table {
  readonly #stage: Stage;
  readonly #load: Load;
  readonly #startedAtMs = performance.now();
  readonly #samples: readonly Sample[][];
  #cpu = { atMs: performance.now(), seconds: 0 };

  constructor(stage: Stage, load: Load) {
    this.#stage = stage;
    this.#load = load;
    this.#samples = stage.servers.map(() => []);
    this.#cpu.seconds = this.#cpuSeconds();
  }

  get header(): string {
    return `${rowOf(COLUMNS)}\n${rowOf(COLUMNS.map(({ length }) => `${"-".repeat(length - 1)}:`))}`;
  }

  sample(): void {
    for (const [i, server] of this.#stage.servers.entries()) {
      if (server.hasEnded) throw new Error(`${server.name} has ended`);
      this.#samples[i]!.push(server.sample());
    }
  }

  async row(): Promise<string> {
    const metrics = await Promise.all(this.#stage.servers.map((server) => server.metrics()));
    const total = (name: string) => metrics.reduce((sum, of) => sum + of(name), 0);
    const ledgers = Object.values(this.#stage.ledgers);
    const sum = (key: "heard" | "lost" | "doubled" | "damaged") =>
      ledgers.reduce((sum, ledger) => sum + ledger[key], 0);
    return rowOf([
      ((performance.now() - this.#startedAtMs) / 60_000).toFixed(1),
      this.#each(({ rssKb }) => rssKb / 1024),
      this.#each(({ heapKb }) => heapKb / 1024),
      this.#each(({ descriptors }) => descriptors),
      this.#cpuPercent(),
      total("connections"),
      this.#load.complaints.visits,
      total("lines_total") + total("datagrams_total"),
      sum("heard"),
      sum("lost"),
      sum("doubled"),
      sum("damaged"),
      this.#load.faults,
    ]);
  }

  /** Of all servers, in their order. */
  #each(valueOf: (sample: Sample) => number): string {
    return this.#samples.map((samples) => valueOf(samples.at(-1)!).toFixed(0)).join(" / ");
  }

  #cpuSeconds(): number {
    return this.#stage.servers.reduce((sum, server) => sum + server.cpuSeconds(), 0);
  }

  /** Of the servers together, since the last row. */
  #cpuPercent(): number {
    const now = { atMs: performance.now(), seconds: this.#cpuSeconds() };
    const before = this.#cpu;
    this.#cpu = now;
    return Math.round(100_000 * (now.seconds - before.seconds) / (now.atMs - before.atMs));
  }

  /** Whether memory or descriptors grow; a short run only shows the figures. */
  trends(minutes: number): Verdict[] {
    const canTell = minutes >= LEAST_MINUTES;
    return this.#stage.servers.flatMap(({ name }, i) => {
      const of = (
        what: string,
        valueOf: (sample: Sample) => number,
        allowance: number,
      ): Verdict => {
        const { before, after, isGrowing } = trendOf(this.#samples[i]!.map(valueOf), allowance);
        const title = `${name}: ${what}, second and last quarter`;
        const remark = canTell ? "" : " (too early to tell)";
        return [title, before.toFixed(0), after.toFixed(0) + remark, !isGrowing || !canTell];
      };
      return [
        of("RSS in KB", ({ rssKb }) => rssKb, MORE_RSS_KB),
        of("heap in KB", ({ heapKb }) => heapKb, MORE_HEAP_KB),
        of("descriptors", ({ descriptors }) => descriptors, MORE_DESCRIPTORS),
      ];
    });
  }
}

function rowOf(cells: readonly (string | number)[]): string {
  const padded = cells.map((cell, i) => `${cell}`.padStart(COLUMNS[i]!.length));
  return `| ${padded.join(" | ")} |`;
}

// -- Verdicts --

/** When all clients have left. */
export function leftOpen(servers: readonly ServerProcess[], atStart: readonly Sample[]): Verdict[] {
  return servers.map((server, i): Verdict => {
    const before = atStart[i]!.descriptors;
    const after = server.sample().descriptors;
    const title = `${server.name}: descriptors, before and when all have left`;
    return [title, `${before}`, `${after}`, after <= before + SPARE_DESCRIPTORS];
  });
}

/** What was said against what was logged; as many datagrams may be missing as the kernel dropped. */
export function counts({ ledgers }: Stage, files: FileCheck, drops: number): Verdict[] {
  const { udp, ...streams } = ledgers;
  const verdicts = Object.entries(streams).flatMap(([name, { heard, lost, doubled, damaged }]) => [
    exactly(`${name}: lost, of ${heard}`, 0, lost),
    exactly(`${name}: doubled, damaged`, 0, doubled + damaged),
  ]);
  return [
    ...verdicts,
    [`udp: lost, of ${udp.heard}`, `<= ${drops}`, `${udp.lost}`, udp.lost <= drops],
    exactly("udp: doubled, damaged", 0, udp.doubled + udp.damaged),
    exactly(`lines in ${files.files} files`, files.expected - udp.lost, files.tokens),
    ["lines in files: out of order", `<= ${udp.lost}`, `${files.jumps}`, files.jumps <= udp.lost],
  ];
}

/** What clients and watchers have met. */
export function experiences({ complaints, watching, ends }: Load): Verdict[] {
  return [
    exactly(`visits that were not answered, of ${complaints.visits}`, 0, complaints.unanswered),
    exactly("visits that broke", 0, complaints.broken),
    exactly(`pages: gaps in chosen hosts, ${watching.records} records`, 0, watching.gaps),
    exactly(`pages: failures, of ${watching.visits}`, 0, watching.failures.length),
    exactly(`servers that end: failures, of ${ends.runs}`, 0, ends.faults.length),
  ];
}

export function tableOf(verdicts: readonly Verdict[]): string {
  const rows = verdicts.map(([what, expected, actual, isFine]) =>
    `| ${what} | ${expected} | ${actual} | ${isFine ? "" : "WRONG"} |`
  );
  const header = [
    "| what | expected, or before | actual, or after | |",
    "| --- | ---: | ---: | --- |",
  ];
  return [...header, ...rows].join("\n");
}

/** What there is to say beside figures: the first faults, and what was said on stderr. */
export function remarks({ ledgers, servers }: Stage, load: Load): string[] {
  const { complaints, ends, watching } = load;
  const faults = Object.entries(ledgers).flatMap(([name, { faults }]) =>
    faults.map((fault) => `${name}: ${fault}`)
  );
  const reasons = [...complaints.reasons].map(([reason, count]) => `${count} visits: ${reason}`);
  const said = servers.flatMap(({ name, messages }) =>
    [...messages].map(([message, count]) => `${name} said ${count} times: ${message}`)
  );
  return [...faults, ...reasons, ...ends.faults, ...watching.failures, ...said];
}
