/**
 * Runs the shell blocks of a section of a page as they stand: servers in the
 * background, then what talks with them, in a folder of its own. Not published.
 *
 * @module
 */

import { Capture } from "./capture.ts";
import { freePort } from "./connections.ts";
import { exists, tempDir } from "./files.ts";
import { argumentsIn, blocksOf, inlineCodeOf, ROOT, type Section } from "./pages.ts";

/** What goes wrong when this is run here, and why that says nothing about the page. */
const CANNOT_RUN: readonly [what: RegExp, why: string][] = [
  [
    /\bdeno (task|test|install|compile|uninstall)\b|\bnpx .*\btask\b/,
    "changes the machine, or runs this",
  ],
  [
    /\b(npm|git) (install|clone|pull)\b|\bapt(-get)?\b|\bcurl .*https?:\/\/(?!127\.|localhost)/,
    "downloads",
  ],
  [
    /\b(sudo|systemctl|journalctl|certbot|logrotate|systemd-run|systemd-analyze)\b/,
    "is for the administrator of another machine",
  ],
  [/\b(docker|podman|kubectl)\b/, "needs a container engine"],
  [/\bssh\b|(?<!(allow|deny|from) )\b192\.0\.2\.|\bexample\.(org|com)\b/, "needs another machine"],
  [/\b(kcat|kafka\.ts)\b/, "needs a broker"],
  [/\bredis-cli\b/, "needs its server"],
  [/\blnav\b/, "needs a terminal"],
  [/\/dev\/tty/, "needs the device"],
];

/** Why a command cannot be run here. */
export function obstacleOf(command: string): string | undefined {
  return CANNOT_RUN.find(([what]) => what.test(command))?.[1];
}

/** The commands of a section that run here. */
export function commandsOf({ text }: Section): string[] {
  return blocksOf(text).flatMap(({ language, code }) => {
    if (language === "sh") return commandsIn(code).filter((command) => !obstacleOf(command));
    return language === "py" ? [pythonOf(code)] : [];
  });
}

function pythonOf(code: string): string {
  return `python3 - <<'END'\n${code}END`;
}

/** What is known of blocks: to ask bash about each line of all pages takes seconds. */
const known = new Map<string, readonly string[]>();

/** A block as commands, each as many lines as a shell needs to understand it. */
export function commandsIn(block: string): readonly string[] {
  const commands = known.get(block) ?? cutIntoCommands(block);
  known.set(block, commands);
  return commands;
}

function cutIntoCommands(block: string): string[] {
  const commands: string[] = [];
  let command = "";
  for (const line of block.split("\n")) {
    if (command === "" && /^\s*(#|$)/.test(line)) continue;
    command += `${line}\n`;
    if (line.endsWith("\\") || !isWhole(command)) continue;
    commands.push(command.trimEnd());
    command = "";
  }
  return command === "" ? commands : [...commands, command.trimEnd()];
}

/** Whether bash has nothing to say: it warns when the end of a here-document is missing. */
function isWhole(command: string): boolean {
  const { success, stderr } = new Deno.Command("bash", { args: ["-n", "-c", command] })
    .outputSync();
  return success && stderr.length === 0;
}

/** A command that has been started. */
interface Started {
  readonly command: string;
  readonly err: Capture;
  readonly out: Capture;
  readonly status: Promise<number>;
  readonly kill: () => void;
}

/** How long a command that talks may take before it counts as one that stays. */
const TALK_MS = 1500;
/** How long a server may take to listen, and everything to end behind it. */
const PATIENCE_MS = 20_000;

/** Runs a section; resolves to what went wrong, a line each. */
export async function runSection(section: Section): Promise<string[]> {
  const commands = withServer(section, commandsOf(section));
  using dir = tempDir();
  await using kitchen = new Kitchen(dir.path, portsOf(commands));
  for (const command of commands) await kitchen.run(command);
  return await kitchen.close();
}

/** What talks needs somebody to talk with: a server that the text names, or one as it comes. */
function withServer({ text }: Section, commands: readonly string[]): readonly string[] {
  if (commands.length === 0 || commands.some(isServer)) return commands;
  if (!commands.some((command) => /127\.0\.0\.1|localhost/.test(command))) return commands;
  const named = inlineCodeOf(text).map((code) => code.replace(/^(?=--)/, "earshot "))
    .find((code) => code.startsWith("earshot --") && !obstacleOf(code));
  return [named ?? "earshot", ...commands];
}

function isServer(command: string): boolean {
  return argumentsIn(command).some((args) => !/^-(h|V|-help|-version)$/.test(args[0] ?? ""));
}

/** The ports that commands name, each with one that is free here. */
function portsOf(commands: readonly string[]): Map<string, number> {
  const named = commands.flatMap((command) => {
    const pattern =
      /(?:--port|-p|--udp|--web|127\.0\.0\.1|localhost)[\s:/](?:[\w.]+:)?(\d{2,5})\b/g;
    return [...command.matchAll(pattern)].map(([, port = ""]) => port);
  });
  return new Map(["1234", ...named].map((port) => [port, freePort()]));
}

/** Where the commands of one section run. */
class Kitchen implements AsyncDisposable {
  readonly #folder: string;
  readonly #ports: ReadonlyMap<string, number>;
  readonly #started: Started[] = [];
  readonly #problems: string[] = [];

  constructor(folder: string, ports: ReadonlyMap<string, number>) {
    this.#folder = folder;
    this.#ports = ports;
    Deno.mkdirSync(`${folder}/bin`);
    const clone = new URL(".", ROOT).pathname;
    const args = `run -q --no-prompt -A --config "${clone}deno.json" "${clone}main.ts"`;
    this.#addProgram("earshot", args);
    this.#addProgram("deno", "");
    Deno.writeTextFileSync(`${folder}/bin/npx`, '#!/bin/sh\nshift 2\nexec deno "$@"\n', {
      mode: 0o755,
    });
  }

  /** A name for Deno that notes its process, and takes a free port in place of 1234. */
  #addProgram(name: string, args: string): void {
    const script = `#!/bin/sh
echo $$ >> "${this.#folder}/pids"
case " ${args} $* " in
  *" --port "* | *" -p "* | *" --udp "* | *" --unix "* | *" -u "* | *" --help "* | *" -h "*) ;;
  *main.ts*) set -- "$@" --port ${this.#ports.get("1234")} ;;
esac
exec "${Deno.execPath()}" ${args} "$@"
`;
    Deno.writeTextFileSync(`${this.#folder}/bin/${name}`, script, { mode: 0o755 });
  }

  async run(command: string): Promise<void> {
    if (/\bmain\.ts\b/.test(command)) this.#makeClone();
    this.#makeSamples(command);
    const started = this.#start(command);
    const over = started.status.then((code) => code);
    if (isServer(command)) {
      const listening = started.err.until("listening on ", argumentsIn(command).length);
      if (await within(PATIENCE_MS, Promise.race([listening.then(() => -1), over])) !== -1) {
        this.#complain(started, "did not listen");
      }
      return;
    }
    const code = await within(TALK_MS, over);
    if (code !== undefined && !isGood(command, code)) this.#complain(started, `ended with ${code}`);
  }

  /**
   * A copy: Deno asks for permission to read what a link leads to. Only for those who name
   * a file of it, for each copy is compiled anew, which takes a second.
   */
  #makeClone(): void {
    const sources = ["main.ts", "poller.ts", "lib", "examples", "deno.json", "deno.lock"];
    const paths = sources.map((name) => new URL(name, ROOT).pathname);
    new Deno.Command("cp", { args: ["-r", ...paths, this.#folder] }).outputSync();
  }

  #start(command: string): Started {
    let text = command;
    for (const [port, free] of this.#ports) {
      text = text.replaceAll(RegExp(`(?<![\\w.])${port}\\b`, "g"), `${free}`);
    }
    const child = new Deno.Command("timeout", {
      args: ["--kill-after=1", "60", "bash", "-c", text],
      cwd: this.#folder,
      env: {
        HOME: this.#folder,
        PATH: `${this.#folder}/bin:${Deno.env.get("PATH")}`,
        DENO_DIR: denoDir(),
        NO_COLOR: "1",
      },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const [out, err] = [new Capture(), new Capture()];
    const reading = [collect(child.stdout, out), collect(child.stderr, err)];
    const status = child.status.then(async ({ code }) => {
      await Promise.all(reading);
      return code;
    });
    const started = { command, out, err, status, kill: () => child.kill("SIGTERM") };
    this.#started.push(started);
    return started;
  }

  /** Logs that a command reads and nothing has written. */
  #makeSamples(command: string): void {
    if (isServer(command)) return;
    for (const [name, kind] of command.matchAll(/(?<![\w/.-])[\w-]+\.(log|json)\b/g)) {
      const path = `${this.#folder}/${name}`;
      if (!exists(path)) Deno.writeTextFileSync(path, kind === "log" ? TEXT_SAMPLE : JSON_SAMPLE);
    }
  }

  #complain({ command, err }: Started, what: string): void {
    this.#problems.push(`${command}: ${what}\n${err.text}`);
  }

  /** Ends the servers, and what talks with them behind them; resolves to what went wrong. */
  async close(): Promise<string[]> {
    for (const pid of this.#pids()) signal(pid, "SIGTERM");
    for (const started of this.#started.splice(0)) {
      const code = await within(PATIENCE_MS, started.status);
      if (code === undefined) {
        started.kill();
        await started.status;
        this.#complain(started, "did not end behind its server");
      } else if (isServer(started.command) && code !== 0) {
        this.#complain(started, `ended with ${code}`);
      }
    }
    return this.#problems;
  }

  /** The servers: what else is noted has ended, and the number is not given away so soon. */
  #pids(): number[] {
    if (!exists(`${this.#folder}/pids`)) return [];
    return Deno.readTextFileSync(`${this.#folder}/pids`).trim().split("\n").map(Number);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

const TEXT_SAMPLE = `2026-11-25T14:02:14.401Z #1 127.0.0.1:54664 connected
2026-11-25T14:02:14.403Z #1 127.0.0.1:54664 | ERROR hello
2026-11-25T14:02:14.404Z #1 127.0.0.1:54664 disconnected: 12 bytes, 1 line, 0.0 s
`;
const JSON_SAMPLE =
  `{"timestamp":"2026-11-25T11:09:25.526Z","event":"line","connection":1,"host":"127.0.0.1","port":57694,"message":"a"}
{"timestamp":"2026-11-25T11:09:25.527Z","event":"disconnected","connection":1,"host":"127.0.0.1","port":57694,"bytes":2,"lines":1,"seconds":0.003,"reason":"closed"}
`;

/** Ends telnet has when the other side ends, and timeout when it is told to. */
function isGood(command: string, code: number): boolean {
  return code === 0 || code === 1 && /^telnet\b/.test(command);
}

async function collect(stream: ReadableStream<Uint8Array>, capture: Capture): Promise<void> {
  for await (const bytes of stream) capture.writeSync(bytes);
}

/** What is awaited, or `undefined` when it takes longer. */
async function within<T>(ms: number, promise: Promise<T>): Promise<T | undefined> {
  const { promise: late, resolve } = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => resolve(undefined), ms);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

function signal(pid: number, name: Deno.Signal): void {
  try {
    Deno.kill(pid, name);
  } catch {
    // It has ended.
  }
}

/** Deno's cache, which lies in the HOME that commands do not get. */
function denoDir(): string {
  return Deno.env.get("DENO_DIR") ?? `${Deno.env.get("HOME")}/.cache/deno`;
}
