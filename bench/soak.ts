/**
 * Soak test: everything at once, for half an hour. Clients come and go, well and
 * badly behaved, over TCP, TLS, UDP, a Unix socket and through `--forward`, while
 * files rotate, SIGHUP opens them anew, and pages are watched. What the well-behaved
 * said must be in the log, once, and neither memory nor descriptors may grow. Linux
 * only, for /proc.
 *
 * ```sh
 * deno task soak
 * deno task soak --minutes 2 --scale 0.5 --multiplexer select
 * ```
 */

import { parseArgs } from "@std/cli/parse-args";
import { checkFiles } from "./soak/files.ts";
import { Load } from "./soak/load.ts";
import { seed } from "./soak/random.ts";
import { sleep } from "./soak/servers.ts";
import { setStage, type Stage } from "./soak/stage.ts";
import {
  counts,
  exactly,
  experiences,
  leftOpen,
  remarks,
  Table,
  tableOf,
  type Verdict,
} from "./soak/table.ts";
import { udpDrops } from "./soak/udp.ts";

const USAGE = `Usage: deno task soak [options]

  --minutes <n>         how long, 30 by default
  --scale <n>           how many clients; with 1, the default, all takes about half a core
  --multiplexer <kind>  poll, the default, or select
  --seed <n>            of what clients do

A row every 30 s: RSS, heap and descriptors of the three servers (plain, TLS, forward), their CPU,
connections, visits of clients that behave, lines logged, lines checked, what was lost, doubled or
damaged, and what else went wrong. Ctrl-C ends it early, with the verdicts.
`;

const SAMPLE_SECONDS = 5;
const SAMPLES_PER_ROW = 6;
const SETTLE_SECONDS = 40;

interface Options {
  readonly minutes: number;
  readonly scale: number;
  readonly multiplexer: string;
}

function print(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}

function parseOptions(args: string[]): Options | undefined {
  const flags = parseArgs(args, {
    string: ["minutes", "scale", "multiplexer", "seed"],
    boolean: ["help"],
    default: { minutes: "30", scale: "1", multiplexer: "poll", seed: "1" },
  });
  seed(Number(flags.seed));
  const [minutes, scale] = [Number(flags.minutes), Number(flags.scale)];
  if (flags.help || !(minutes > 0) || !(scale > 0)) return undefined;
  return { minutes, scale, multiplexer: String(flags.multiplexer) };
}

/** Says whether it is over, at the end of the time or by a signal. */
function startClock(minutes: number): () => boolean {
  let endsAtMs = performance.now() + minutes * 60_000;
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => endsAtMs = 0);
  }
  return () => performance.now() >= endsAtMs;
}

/** Samples and rows until it is over. */
async function watchServers(stage: Stage, table: Table, isOver: () => boolean): Promise<void> {
  for (let count = 1; !isOver(); count++) {
    await sleep(1000 * SAMPLE_SECONDS);
    table.sample();
    for (const ledger of Object.values(stage.ledgers)) ledger.giveUp();
    if (count % SAMPLES_PER_ROW > 0) continue;
    print(await table.row().catch((error) => `(no row: ${error})`));
  }
}

async function openConnections(servers: Stage["servers"]): Promise<number> {
  const metrics = await Promise.all(servers.map((server) => server.metrics()));
  return metrics.reduce((sum, of) => sum + of("connections"), 0);
}

/** Waits until all clients have left; returns how many have not. */
async function settle({ servers }: Stage): Promise<number> {
  for (let seconds = 1;; seconds++) {
    await sleep(1000);
    const open = await openConnections(servers).catch(() => NaN);
    if (open === 0 || seconds >= SETTLE_SECONDS) return open;
  }
}

async function stop({ servers, ledgers }: Stage): Promise<Verdict[]> {
  const verdicts: Verdict[] = [];
  for (const server of servers) {
    server.kill("SIGTERM");
    verdicts.push(exactly(`${server.name}: exit status`, 0, await server.ended()));
  }
  for (const ledger of Object.values(ledgers)) ledger.giveUp(true);
  return verdicts;
}

async function soak(stage: Stage, { minutes, scale }: Options): Promise<readonly Verdict[]> {
  const isOver = startClock(minutes);
  const load = new Load(stage, scale, isOver);
  const table = new Table(stage, load);
  const atStart = stage.servers.map((server) => server.sample());
  print(table.header);
  try {
    await Promise.all([load.run(), watchServers(stage, table, isOver)]);
  } catch (error) {
    print(remarks(stage, load).join("\n"));
    throw error;
  }
  const open = exactly("connections left open", 0, await settle(stage));
  const left = leftOpen(stage.servers, atStart);
  const drops = await udpDrops(stage.ports.udp);
  const statuses = await stop(stage);
  const files = await checkFiles([stage.logs, stage.moved], stage.ledgers);
  const verdicts = [
    ...table.trends(minutes),
    open,
    ...left,
    ...counts(stage, files, drops),
    ...experiences(load),
    ...statuses,
  ];
  print(`\n${tableOf(verdicts)}\n`);
  for (const remark of remarks(stage, load)) print(`- ${remark}`);
  return verdicts;
}

async function main(args: string[]): Promise<number> {
  const options = parseOptions(args);
  if (!options) {
    print(USAGE);
    return args.includes("--help") ? 0 : 2;
  }
  const folder = await Deno.makeTempDir({ prefix: "earshot-soak-" });
  const stage = await setStage(folder, options.minutes, options.multiplexer);
  try {
    const verdicts = await soak(stage, options);
    return verdicts.every(([, , , isFine]) => isFine) ? 0 : 1;
  } finally {
    for (const server of stage.servers) server.kill("SIGKILL");
    stage.target.close();
    await Deno.remove(folder, { recursive: true });
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args));
