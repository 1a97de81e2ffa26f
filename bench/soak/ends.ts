/**
 * Servers that end by themselves or by a signal, again and again.
 *
 * @module
 */

import { Caller } from "./caller.ts";
import { random } from "./random.ts";
import { ServerProcess, sleep } from "./servers.ts";

const CLIENTS = 4;
const LINES = 10;
const END_LIMIT_MS = 15_000;

/** How one is ended, and what it must have done then. */
interface End {
  readonly options: readonly string[];
  readonly signal?: Deno.Signal;
  readonly code: number;
  /** Lines in its log. */
  readonly lines: number;
}

/** The last client sends READY in its last line. */
const ENDS: readonly End[] = [
  { options: ["--count=17"], code: 0, lines: 17 },
  { options: ["--until=READY"], code: 0, lines: CLIENTS * LINES },
  { options: ["--until=NEVER", "--for=5"], code: 3, lines: CLIENTS * LINES },
  { options: [], signal: "SIGTERM", code: 0, lines: CLIENTS * LINES },
  { options: [], signal: "SIGINT", code: 0, lines: CLIENTS * LINES },
];

/** Runs one server after the other until it is over. */
export class Ends {
  runs = 0;
  readonly faults: string[] = [];

  async runAll(isOver: () => boolean): Promise<void> {
    for (let i = 0; !isOver(); i++) {
      const end = ENDS[i % ENDS.length]!;
      const fault = await runOne(end).catch((error) => String(error));
      this.runs++;
      if (fault) this.faults.push(`${end.options.join(" ")} ${end.signal ?? ""}: ${fault}`);
      await sleep(4000 + random(2000));
    }
  }
}

async function runOne({ options, signal, code, lines }: End): Promise<string | undefined> {
  let logged = 0;
  const args = ["--port=0", "--time=none", "--quiet", ...options];
  const server = new ServerProcess("ends", args, (record) => {
    if (record.includes(" | ")) logged++;
  });
  const port = await server.port();
  for (let i = 0; i < CLIENTS; i++) await sayLines(port, i === CLIENTS - 1);
  if (signal) server.kill(signal);
  const timer = setTimeout(() => server.kill("SIGKILL"), END_LIMIT_MS);
  const status = await server.ended();
  clearTimeout(timer);
  if (status === code && logged === lines) return undefined;
  return `status ${status} instead of ${code}, ${logged} lines instead of ${lines}`;
}

/** The server may end meanwhile. */
async function sayLines(port: number, isLast: boolean): Promise<void> {
  const caller = await Caller.open({ host: "127.0.0.1", port }).catch(() => undefined);
  const text = "a line\n".repeat(isLast ? LINES - 1 : LINES) + (isLast ? "READY\n" : "");
  await caller?.write(text);
  await caller?.end();
}
