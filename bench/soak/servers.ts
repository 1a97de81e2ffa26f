/**
 * The servers that are soaked, as processes: what they log, say on stderr and use.
 *
 * @module
 */

const MAIN = new URL("../../main.ts", import.meta.url).pathname;
const HEAP = new URL("heap.ts", import.meta.url).pathname;
const START_LIMIT_MS = 20_000;
const METRICS_LIMIT_MS = 20_000;

/** What is expected on stderr, whatever happens. */
const EXPECTED = /^(listening on|watch at|heap:|\s|earshot: SIGHUP: )/;

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** What a server uses at one moment. */
export interface Sample {
  readonly rssKb: number;
  readonly heapKb: number;
  readonly descriptors: number;
}

/** Calls `onLine` for each line of a stream, and throws none of it away. */
export async function eachLine(
  stream: ReadableStream<Uint8Array>,
  onLine: (line: string) => void,
): Promise<void> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    for (const line of lines) onLine(line);
  }
  if (rest !== "") onLine(rest);
}

/** One server. Its log comes by stdout, a call for each record. */
export class ServerProcess {
  readonly name: string;
  readonly #child: Deno.ChildProcess;
  readonly #reading: Promise<unknown>;
  readonly #said: string[] = [];
  #heapKb = 0;
  #hasEnded = false;
  /** What was said on stderr beside what is expected, numbers left out, and how often. */
  readonly messages = new Map<string, number>();

  constructor(name: string, args: readonly string[], onRecord: (record: string) => void) {
    this.name = name;
    this.#child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--no-prompt", "--allow-all", `--preload=${HEAP}`, MAIN, ...args],
      env: { NO_COLOR: "1" },
      // Ctrl-C is for the soak, which then ends its clients first.
      detached: true,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#reading = Promise.all([
      eachLine(this.#child.stdout, onRecord),
      eachLine(this.#child.stderr, (line) => this.#hearMessage(line)),
    ]);
    this.#child.status.then(() => this.#hasEnded = true);
  }

  #hearMessage(line: string): void {
    if (line.startsWith("heap: ")) this.#heapKb = Number(line.slice(6)) / 1024;
    else this.#said.push(line);
    if (EXPECTED.test(line)) return;
    const kind = line.replace(/\d+/g, "n");
    this.messages.set(kind, (this.messages.get(kind) ?? 0) + 1);
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** What `pattern` finds in the greeting, once it is there. */
  async greeting(pattern: RegExp): Promise<string> {
    const limitMs = performance.now() + START_LIMIT_MS;
    while (performance.now() < limitMs && !this.#hasEnded) {
      const found = this.#said.map((line) => pattern.exec(line)?.[1]).find(Boolean);
      if (found) return found;
      await sleep(20);
    }
    throw new Error(`${this.name} did not start: ${this.#said.join("; ")}`);
  }

  async port(): Promise<number> {
    return Number(await this.greeting(/^listening on 127\.0\.0\.1:(\d+)/));
  }

  async udpPort(): Promise<number> {
    return Number(await this.greeting(/^listening on udp 127\.0\.0\.1:(\d+)/));
  }

  webUrl(): Promise<string> {
    return this.greeting(/^watch at (\S+)/);
  }

  /** Figures of `/metrics` by name, the sum where there are labels. */
  async metrics(): Promise<(name: string) => number> {
    const signal = AbortSignal.timeout(METRICS_LIMIT_MS);
    const response = await fetch(`${await this.webUrl()}metrics`, { signal });
    const text = await response.text();
    return (name) => Number(new RegExp(`^earshot_${name} (\\S+)$`, "m").exec(text)?.[1]);
  }

  sample(): Sample {
    const status = Deno.readTextFileSync(`/proc/${this.#child.pid}/status`);
    return {
      rssKb: Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]),
      heapKb: this.#heapKb,
      descriptors: [...Deno.readDirSync(`/proc/${this.#child.pid}/fd`)].length,
    };
  }

  /** Seconds of processor time so far. */
  cpuSeconds(): number {
    const stat = Deno.readTextFileSync(`/proc/${this.#child.pid}/stat`).replace(/^.*\) /, "");
    const [user, system] = stat.split(" ").slice(11, 13).map(Number);
    return (user! + system!) / 100;
  }

  kill(signal: Deno.Signal): void {
    if (!this.#hasEnded) this.#child.kill(signal);
  }

  /** The exit status, when all output was read. */
  async ended(): Promise<number> {
    const { code } = await this.#child.status;
    await this.#reading;
    return code;
  }
}
