/**
 * The servers that are compared: earshot in three formats, and peers that do the
 * same job with other means.
 *
 * @module
 */

const HERE = new URL(".", import.meta.url).pathname;
const ROOT = new URL("..", import.meta.url).pathname;

/** One server, and how it is started. */
export interface Server {
  /** Name in filters and in the JSON. */
  readonly name: string;
  /** Name in tables. */
  readonly title: string;
  /** The program it needs, a key of {@linkcode PROGRAMS}. */
  readonly program: string;
  /** Clients beyond which it is not tried, and why. */
  readonly limit?: { readonly clients: number; readonly reason: string };
  /** Why it is not tried where clients connect by the thousand. */
  readonly noCrowds?: string;
  /** Whether its live page, if it has one, is watched. */
  readonly isWatched?: boolean;
  /** The command line. */
  command(port: number, task: Task): string[];
}

/** What a command line depends on. */
export interface Task {
  /** A temporary one, with the compiled peers in it. */
  readonly folder: string;
  readonly transport: "tcp" | "udp";
  /** More of earshot's options. */
  readonly options: readonly string[];
}

/** How to ask the programs that servers need, and the C compiler, for their version. */
export const PROGRAMS: Readonly<Record<string, readonly string[]>> = {
  deno: [Deno.execPath(), "--version"],
  node: ["node", "--version"],
  python3: ["python3", "--version"],
  cc: ["cc", "--version"],
  ncat: ["ncat", "--version"],
  socat: ["sh", "-c", "socat -V | grep version"],
  rsyslogd: ["rsyslogd", "-v"],
};

/** All servers, in the order of the tables. */
export const SERVERS: readonly Server[] = [
  earshot("raw"),
  earshot("text"),
  earshot("json"),
  { ...earshot("text", (port) => [webOption(port)]), name: "earshot-web", title: "earshot --web" },
  {
    ...earshot("text", (port) => [webOption(port)]),
    name: "earshot-watched",
    title: "earshot --web, watched",
    isWatched: true,
  },
  {
    name: "node-net",
    title: "node:net",
    program: "node",
    command: (port) => ["node", `${HERE}peers/node_net.mjs`, `${port}`],
  },
  {
    name: "deno-loops",
    title: "Deno loops",
    program: "deno",
    command: (port) => [...denoRun(), `${HERE}peers/deno_loops.ts`, `${port}`],
  },
  {
    ...python("select"),
    limit: { clients: 1000, reason: "select() ends at 1,024 descriptors" },
  },
  python("poll"),
  python("epoll"),
  {
    name: "c-epoll",
    title: "C epoll",
    program: "cc",
    command: (port, { folder }) => [`${folder}/epoll`, `${port}`],
  },
  {
    name: "ncat",
    title: "ncat",
    program: "ncat",
    limit: { clients: 300, reason: "its backlog is 10 connections" },
    noCrowds: "its backlog is 10 connections",
    command: (port) => [..."ncat -n -l -k --recv-only -m 2000 127.0.0.1".split(" "), `${port}`],
  },
  {
    name: "socat",
    title: "socat",
    program: "socat",
    limit: { clients: 300, reason: "it is a process per client" },
    noCrowds: "it is a process per client",
    command: (port) => [
      "socat",
      "-u",
      `TCP-LISTEN:${port},bind=127.0.0.1,reuseaddr,fork,backlog=1000`,
      "STDOUT",
    ],
  },
  {
    name: "rsyslog",
    title: "rsyslog",
    program: "rsyslogd",
    command: (port, { folder, transport }) => {
      const path = `${folder}/rsyslog.conf`;
      Deno.writeTextFileSync(path, rsyslogConfig(port, transport));
      return ["rsyslogd", "-n", "-i", "NONE", "-f", path];
    },
  },
];

function earshot(
  format: "raw" | "text" | "json",
  more: (port: number) => string[] = () => [],
): Server {
  return {
    name: `earshot-${format}`,
    title: `earshot ${format}`,
    program: "deno",
    command: (port, { transport, options }) => [
      ...denoRun(),
      `--config=${ROOT}deno.json`,
      `${ROOT}main.ts`,
      "--quiet",
      "--max-connections=20000",
      `--format=${format}`,
      transport === "udp" ? `--udp=${port}` : `--port=${port}`,
      ...options,
      ...more(port),
    ],
  };
}

function denoRun(): string[] {
  return [Deno.execPath(), "run", "--no-prompt", "--allow-net"];
}

function python(call: "select" | "poll" | "epoll"): Server {
  return {
    name: `py-${call}`,
    title: `Python ${call}`,
    program: "python3",
    command: (port) => ["python3", `${HERE}peers/py_${call}.py`, `${port}`],
  };
}

/** Time, address and message of each line to stdout, as earshot's text; looks up no names. */
function rsyslogConfig(port: number, transport: "tcp" | "udp"): string {
  const input = transport === "udp" ? "imudp" : "imptcp";
  const backlog = transport === "udp" ? "" : ` socketBacklog="4096"`;
  return `global(net.enableDNS="off")
module(load="${input}")
template(name="line" type="string"
  string="%timegenerated:::date-rfc3339% %fromhost-ip% %rawmsg%\\n")
ruleset(name="print") {
  action(type="omfile" file="/dev/stdout" template="line" ioBufferSize="64k")
}
input(type="${input}" address="127.0.0.1" port="${port}"${backlog} ruleset="print")
`;
}

/** Where the live page of the server at a port is. */
export function webPort(port: number): number {
  return port + 6000;
}

function webOption(port: number): string {
  return `--web=${webPort(port)}`;
}
