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
  /** The command line; `folder` is a temporary one, with the compiled peers in it. */
  command(port: number, folder: string): string[];
}

/** How to ask the programs that servers need, and the C compiler, for their version. */
export const PROGRAMS: Readonly<Record<string, readonly string[]>> = {
  deno: [Deno.execPath(), "--version"],
  node: ["node", "--version"],
  python3: ["python3", "--version"],
  cc: ["cc", "--version"],
  ncat: ["ncat", "--version"],
  rsyslogd: ["rsyslogd", "-v"],
};

/** All servers, in the order of the tables. */
export const SERVERS: readonly Server[] = [
  earshot("raw"),
  earshot("text"),
  earshot("json"),
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
    command: (port, folder) => [`${folder}/epoll`, `${port}`],
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
    name: "rsyslog",
    title: "rsyslog imptcp",
    program: "rsyslogd",
    command: (port, folder) => {
      const path = `${folder}/rsyslog.conf`;
      Deno.writeTextFileSync(path, rsyslogConfig(port));
      return ["rsyslogd", "-n", "-i", "NONE", "-f", path];
    },
  },
];

function earshot(format: "raw" | "text" | "json"): Server {
  return {
    name: `earshot-${format}`,
    title: `earshot ${format}`,
    program: "deno",
    command: (port) => [
      ...denoRun(),
      `--config=${ROOT}deno.json`,
      `${ROOT}main.ts`,
      "--quiet",
      "--max-connections=20000",
      `--format=${format}`,
      `--port=${port}`,
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
function rsyslogConfig(port: number): string {
  return `global(net.enableDNS="off")
module(load="imptcp")
template(name="line" type="string"
  string="%timegenerated:::date-rfc3339% %fromhost-ip% %rawmsg%\\n")
ruleset(name="print") {
  action(type="omfile" file="/dev/stdout" template="line" ioBufferSize="64k")
}
input(type="imptcp" address="127.0.0.1" port="${port}" socketBacklog="4096" ruleset="print")
`;
}
