/**
 * Compares earshot with its peers under the same loads. See README.md beside
 * this file.
 *
 * @module
 */

import { parseArgs } from "@std/cli/parse-args";
import manifest from "../deno.json" with { type: "json" };
import { drawChart } from "./chart.ts";
import { figureOf, type Run } from "./figures.ts";
import { derive, type Figures, type Load, LOADS, type Scale } from "./loads.ts";
import { withFigures } from "./readme.ts";
import { markdown, type Report, tables } from "./report.ts";
import {
  certificateIn,
  makeCertificate,
  PROGRAMS,
  type Server,
  SERVERS,
  sidePort,
} from "./servers.ts";

const namesOf = (all: readonly { readonly name: string }[]) =>
  all.map(({ name }) => name).join(", ");

const USAGE = `Usage: deno task bench [options] [NAME...]

  NAME            a load, or the beginning of some: talk, flood-ascii; without any all are run,
                  and bench/results.md, docs/performance.svg and the README's table written

  --servers <s>   only these, a list of names or of their beginnings: earshot,rsyslog
  --quick         one short round, for a look; nothing is written
  --reps <n>      rounds, 3 by default
  --json <file>   write all figures of all runs
  --help          print this

Loads:   ${namesOf(LOADS)}
Servers: ${namesOf(SERVERS)}
Only by name: ${namesOf([...LOADS, ...SERVERS].filter(({ isExtra }) => isExtra))}
`;

const HERE = new URL(".", import.meta.url).pathname;
const DEFAULT_REPS = 3;
const FULL: Scale = { seconds: 1, lines: 2_000_000 };
const QUICK: Scale = { seconds: 0.6, lines: 800_000 };
/** Below the ports that the kernel hands out, with those of the live pages behind them. */
const FIRST_PORT = 20_000;
const PORT_COUNT = 6000;
/** How often it is tried to watch a page that is not there yet. */
const WATCH_RETRY_MS = 50;

interface Config {
  readonly reps: number;
  readonly isQuick: boolean;
  /** Whether it is all of it, at full length, so that pages show it. */
  readonly isForPages: boolean;
  readonly loads: readonly Load[];
  readonly servers: readonly Server[];
  readonly jsonFile: string | undefined;
}

class UsageError extends Error {}

// -- Command line --

function parseConfig(args: readonly string[]): Config | "help" {
  const options = parseArgs([...args], {
    string: ["reps", "servers", "json", "_"],
    boolean: ["quick", "help"],
    unknown: (arg: string) => {
      if (arg.startsWith("-")) throw new UsageError(`Unknown option "${arg}"`);
    },
  });
  if (options.help) return "help";
  const isQuick = options.quick === true;
  const names = options._.map(String);
  const servers: string[] = (options.servers ?? "").split(",").filter((name: string) =>
    name !== ""
  );
  return {
    reps: parseReps(options.reps ?? (isQuick ? "1" : `${DEFAULT_REPS}`)),
    isQuick,
    isForPages: !isQuick && names.length === 0 && servers.length === 0,
    loads: choose(LOADS, names),
    servers: choose(SERVERS, servers),
    jsonFile: options.json,
  };
}

function parseReps(text: string): number {
  const reps = Number(text);
  if (!Number.isInteger(reps) || reps < 1) {
    throw new UsageError(`Cannot use --reps "${text}": expected an integer from 1`);
  }
  return reps;
}

/** Those whose name is a word or begins with it; without words all but extras. */
function choose<T extends { readonly name: string; readonly isExtra?: boolean }>(
  all: readonly T[],
  words: readonly string[],
): T[] {
  const matches = (name: string, word: string) => name === word || name.startsWith(`${word}-`);
  for (const word of words) {
    if (!all.some(({ name }) => matches(name, word))) throw new UsageError(`There is no "${word}"`);
  }
  if (words.length === 0) return all.filter(({ isExtra }) => !isExtra);
  return all.filter(({ name }) => words.some((word) => matches(name, word)));
}

// -- Programs --

/** The first line that a program says of itself, `undefined` if it is missing or fails. */
async function versionOf([program = "", ...args]: readonly string[]): Promise<string | undefined> {
  try {
    const { success, stdout, stderr } = await new Deno.Command(program, { args }).output();
    const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    const line = said.split("\n").find((line) => line.trim() !== "");
    return success ? line?.replace(/ compiled with:$/, "").trim() : undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

async function findVersions(): Promise<Record<string, string>> {
  const versions: Record<string, string> = { earshot: await earshotVersion() };
  for (const [name, command] of Object.entries(PROGRAMS)) {
    const version = await versionOf(command);
    if (version !== undefined) versions[name] = version;
  }
  return versions;
}

async function earshotVersion(): Promise<string> {
  const commit = await versionOf(["git", "-C", HERE, "rev-parse", "--short", "HEAD"]);
  return manifest.version + (commit === undefined ? "" : `, commit ${commit}`);
}

async function compile(source: string, target: string): Promise<void> {
  const args = ["-O2", "-pthread", "-o", target, source];
  const { success, stderr } = await new Deno.Command("cc", { args }).output();
  if (!success) throw new Error(`Cannot compile ${source}: ${new TextDecoder().decode(stderr)}`);
}

async function describeMachine(): Promise<Record<string, string>> {
  const cpus = await Deno.readTextFile("/proc/cpuinfo");
  const model = /model name\s*: (.*)/.exec(cpus)?.[1] ?? Deno.build.arch;
  const memoryGb = Math.round(Deno.systemMemoryInfo().total / 2 ** 30);
  return {
    "machine": `${navigator.hardwareConcurrency} cores (${model}), ${memoryGb} GB of memory`,
    "kernel": `Linux ${Deno.osRelease()}`,
  };
}

// -- Runs --

/** Everything that runs have in common. */
interface Bench {
  readonly config: Config;
  readonly versions: Readonly<Record<string, string>>;
  readonly folder: string;
}

/** Why a server is not tried under a load. */
function hindrance(load: Load, server: Server, { versions }: Bench): string | undefined {
  const { program, limit, noCrowds } = server;
  if (versions[program] === undefined) return `${program} is not installed`;
  if (limit && load.clients > limit.clients) return limit.reason;
  return load.isCrowd ? noCrowds : undefined;
}

/** Every round in the other direction, so that nobody always runs after the same one. */
async function runAll(bench: Bench): Promise<Run[]> {
  const { loads, servers, reps } = bench.config;
  const runs: Run[] = [];
  for (const load of loads) {
    const takingPart = servers.filter(({ name }) => load.servers.includes(name));
    for (let round = 0; round < reps; round++) {
      for (const server of round % 2 === 0 ? takingPart : takingPart.toReversed()) {
        const run = await runOne(load, server, round, bench);
        runs.push(run);
        if (round === reps - 1) report(load, server, runs);
      }
    }
  }
  return runs;
}

async function runOne(load: Load, server: Server, round: number, bench: Bench): Promise<Run> {
  const run = { load: load.name, server: server.name, round };
  const fault = hindrance(load, server, bench);
  if (fault !== undefined) return { ...run, fault };
  try {
    return { ...run, figures: await measure(load, server, bench) };
  } catch (error) {
    return { ...run, fault: error instanceof Error ? error.message : String(error) };
  }
}

let lastPort = FIRST_PORT + Deno.pid % PORT_COUNT;

function nextPort(): number {
  lastPort = FIRST_PORT + (lastPort + 1 - FIRST_PORT) % PORT_COUNT;
  return lastPort;
}

const TLS_GENERATOR = [Deno.execPath(), "run", "--allow-all", `${HERE}load_tls.ts`];

/** `load` starts the server, and kills it whatever happens, this process's end included. */
async function measure(load: Load, server: Server, { config, folder }: Bench): Promise<Figures> {
  const port = nextPort();
  const output = `${folder}/log`;
  const place = {
    port,
    sidePort: sidePort(port),
    scale: config.isQuick ? QUICK : FULL,
    output,
    kind: server.kind,
    cert: certificateIn(folder).cert,
  };
  const task = { folder, output, transport: load.transport, options: load.options ?? [] };
  const args = [...load.args(place).map(String), "--", ...server.command(port, task)];
  using _watcher = server.isWatched ? watch(sidePort(port)) : undefined;
  const [generator, ...first] = load.isTls ? TLS_GENERATOR : [`${folder}/load`];
  const { success, stdout, stderr } = await new Deno.Command(generator!, {
    args: [...first, ...args],
  }).output();
  await Deno.remove(output, { recursive: true }).catch(() => {});
  if (!success) throw new Error(lastLine(stderr));
  const figures: Figures = JSON.parse(new TextDecoder().decode(stdout));
  if (figures.linesLogged !== figures.lines) {
    throw new Error(`${figures.linesLogged} of ${figures.lines} lines were logged`);
  }
  return derive(figures);
}

/** Reads the events of a live page, as a browser does, until it is disposed. */
function watch(port: number): Disposable {
  const controller = new AbortController();
  readEvents(`http://127.0.0.1:${port}/events`, controller.signal);
  return { [Symbol.dispose]: () => controller.abort() };
}

async function readEvents(url: string, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      const { body } = await fetch(url, { signal });
      await body?.pipeTo(new WritableStream(), { signal });
    } catch {
      // The server does not listen yet, or has ended.
      await new Promise((resolve) => setTimeout(resolve, WATCH_RETRY_MS));
    }
  }
}

function lastLine(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes).trim().split("\n").at(-1) ?? "";
}

/** Says that something has been measured, for whoever waits. */
function report(load: Load, server: Server, runs: readonly Run[]): void {
  const figures = load.metrics.slice(0, 1).map(({ key, title, unit = 1, digits }) => {
    const value = figureOf(runs, load.name, server.name, key);
    return value === undefined ? "not measured" : `${(value / unit).toFixed(digits)} ${title}`;
  });
  print(Deno.stderr, `${load.name} ${server.name}: ${figures}\n`);
}

// -- Start --

function print(output: typeof Deno.stdout | typeof Deno.stderr, text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let done = 0; done < bytes.length;) done += output.writeSync(bytes.subarray(done));
}

async function runBench(config: Config, folder: string): Promise<Report> {
  await compile(`${HERE}load.c`, `${folder}/load`);
  await compile(`${HERE}peers/epoll.c`, `${folder}/epoll`);
  const versions = await findVersions();
  if (versions.openssl !== undefined) await makeCertificate(folder);
  const startedAtMs = performance.now();
  const runs = await runAll({ config, versions, folder });
  const minutes = (performance.now() - startedAtMs) / 60_000;
  print(Deno.stderr, `${runs.length} runs in ${minutes.toFixed(1)} minutes\n`);
  return {
    date: new Date().toISOString().slice(0, 10),
    command: ["deno task bench", ...Deno.args].join(" "),
    minutes,
    machine: await describeMachine(),
    versions,
    runs,
  };
}

async function save(report: Report, { jsonFile, isForPages }: Config): Promise<void> {
  if (jsonFile !== undefined) {
    await Deno.writeTextFile(jsonFile, JSON.stringify(report, null, 2) + "\n");
  }
  if (!isForPages) return;
  await writePage(`${HERE}results.md`, markdown(report));
  const readme = `${HERE}../README.md`;
  const page = withFigures(await Deno.readTextFile(readme), report.runs, manifest.version);
  await writePage(readme, page);
  await drawChart(report);
}

async function writePage(path: string, text: string): Promise<void> {
  await Deno.writeTextFile(path, text);
  const args = ["fmt", "--quiet", `--config=${HERE}../deno.json`, path];
  await new Deno.Command(Deno.execPath(), { args }).output();
}

/** Ctrl-C takes the folder along; `load` ends with this process, or by its own Ctrl-C. */
function removeWhenInterrupted(folder: string): Disposable {
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  const end = () => {
    Deno.removeSync(folder, { recursive: true });
    Deno.exit(1);
  };
  for (const signal of signals) Deno.addSignalListener(signal, end);
  return {
    [Symbol.dispose]: () => {
      for (const signal of signals) Deno.removeSignalListener(signal, end);
    },
  };
}

async function main(args: readonly string[]): Promise<number> {
  const config = parseConfig(args);
  if (config === "help") {
    print(Deno.stdout, USAGE);
    return 0;
  }
  if (Deno.build.os !== "linux") throw new UsageError("The load generator needs Linux");
  const folder = await Deno.makeTempDir({ prefix: "earshot-bench-" });
  using _signals = removeWhenInterrupted(folder);
  try {
    const report = await runBench(config, folder);
    print(Deno.stdout, tables(report.runs));
    await save(report, config);
    return report.runs.some(({ figures }) => figures) ? 0 : 1;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

if (import.meta.main) {
  try {
    Deno.exitCode = await main(Deno.args);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    print(Deno.stderr, `bench: ${error.message}, see --help\n`);
    Deno.exitCode = 2;
  }
}
