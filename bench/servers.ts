/**
 * The servers that are compared: earshot in three formats and with what it can do, and
 * peers that do the same job with other means.
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
  /** Left out unless it is asked for by name. */
  readonly isExtra?: boolean;
  /** What floods are made of for it, a kind of `load/flood.h`, if not what the load says. */
  readonly kind?: string;
  /** The command line. */
  command(port: number, task: Task): string[];
}

/** What a command line depends on. */
export interface Task {
  /** A temporary one, with the compiled peers in it. */
  readonly folder: string;
  /** Below that one: a file for stdout, or a folder that the server writes to. */
  readonly output: string;
  readonly transport: "tcp" | "udp";
  /** More of earshot's options. */
  readonly options: readonly string[];
}

/** As many files as rsyslog keeps open: all of them. By itself it keeps ten. */
const DYNA_FILES = 400;

/** How to ask the programs that servers need, and the C compiler, for their version. */
export const PROGRAMS: Readonly<Record<string, readonly string[]>> = {
  deno: [Deno.execPath(), "--version"],
  node: ["node", "--version"],
  python3: ["python3", "--version"],
  cc: ["cc", "--version"],
  ncat: ["ncat", "--version"],
  socat: ["sh", "-c", "socat -V | grep version"],
  rsyslogd: ["rsyslogd", "-v"],
  openssl: ["openssl", "version"],
};

/** All servers, in the order of the tables. */
export const SERVERS: readonly Server[] = [
  earshot("raw"),
  earshot("text"),
  earshot("json"),
  earshotWith("web", "--web", ({ side }) => [`--web=${side}`]),
  { ...earshotWith("watched", "--web, watched", ({ side }) => [`--web=${side}`]), isWatched: true },
  { ...earshotWith("end", "--framing end:;", () => ["--framing=end:;"]), kind: "end" },
  { ...earshotWith("length", "--framing length:2", () => ["--framing=length:2"]), kind: "length" },
  earshotWith("echo", "--echo", () => ["--echo"]),
  earshotWith("reply", "--reply", () => ["--reply=@=>OK\\n"]),
  earshotWith("forward", "--forward", ({ side }) => [`--forward=127.0.0.1:${side}`]),
  earshotWith(
    "forward-raw",
    "--forward, raw",
    ({ side }) => [`--forward=127.0.0.1:${side}`, "--format=raw"],
  ),
  {
    ...earshot("raw", ({ folder }) => {
      const { cert, key } = certificateIn(folder);
      return [`--tls-cert=${cert}`, `--tls-key=${key}`];
    }),
    name: "earshot-tls",
    title: "earshot TLS, raw",
    program: "openssl",
  },
  earshotWith("file", "to one file", ({ output }) => [`--output=${output}/all.log`]),
  earshotWith("files", "to a file per client", ({ output }) => [`--output=${output}/%h.log`]),
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
    name: "deno-tls",
    title: "Deno.listenTls",
    program: "openssl",
    command: (port, { folder }) => {
      const { cert, key } = certificateIn(folder);
      return [
        ...denoRun(),
        `--allow-read=${folder}`,
        `${HERE}peers/deno_tls.ts`,
        `${port}`,
        cert,
        key,
      ];
    },
  },
  {
    ...python("select"),
    limit: { clients: 1000, reason: "select() ends at 1,024 descriptors" },
    isExtra: true,
  },
  { ...python("poll"), isExtra: true },
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
    command: (port) => ["socat", "-u", socatListen(port), "STDOUT"],
  },
  {
    name: "socat-echo",
    title: "socat PIPE",
    program: "socat",
    command: (port) => ["socat", socatListen(port), "PIPE"],
  },
  {
    name: "socat-forward",
    title: "socat TCP",
    program: "socat",
    command: (port) => ["socat", socatListen(port), `TCP:127.0.0.1:${sidePort(port)}`],
  },
  rsyslog("rsyslog", "rsyslog", () => 'file="/dev/stdout"'),
  rsyslog("rsyslog-file", "rsyslog to one file", ({ output }) => `file="${output}/all.log"`),
  rsyslog(
    "rsyslog-files",
    "rsyslog dynaFile",
    () => `dynaFile="path" dynaFileCacheSize="${DYNA_FILES}"`,
  ),
];

/** What a server that is told more than its format may need. */
interface Place extends Task {
  /** Of the live page, or of the target to forward to. */
  readonly side: number;
}

function earshot(
  format: "raw" | "text" | "json",
  more: (place: Place) => string[] = () => [],
): Server {
  return {
    name: `earshot-${format}`,
    title: `earshot ${format}`,
    program: "deno",
    command: (port, task) => [
      ...denoRun(),
      `--allow-write=${task.folder}`,
      `--allow-read=${task.folder}`,
      `--config=${ROOT}deno.json`,
      `${ROOT}main.ts`,
      "--quiet",
      "--max-connections=20000",
      `--format=${format}`,
      task.transport === "udp" ? `--udp=${port}` : `--port=${port}`,
      ...task.options,
      ...more({ ...task, side: sidePort(port) }),
    ],
  };
}

function earshotWith(name: string, title: string, more: (place: Place) => string[]): Server {
  return { ...earshot("text", more), name: `earshot-${name}`, title: `earshot ${title}` };
}

function socatListen(port: number): string {
  return `TCP-LISTEN:${port},bind=127.0.0.1,reuseaddr,fork,backlog=1000`;
}

function rsyslog(name: string, title: string, files: (task: Task) => string): Server {
  return {
    name,
    title,
    program: "rsyslogd",
    command: (port, task) => {
      const path = `${task.folder}/rsyslog.conf`;
      Deno.writeTextFileSync(path, rsyslogConfig(port, task, files(task)));
      return ["rsyslogd", "-n", "-i", "NONE", "-f", path];
    },
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

/** Time, address and message of each line, as earshot's text; looks up no names. */
function rsyslogConfig(port: number, { transport, output }: Task, files: string): string {
  const input = transport === "udp" ? "imudp" : "imptcp";
  const backlog = transport === "udp" ? "" : ` socketBacklog="4096"`;
  return `global(net.enableDNS="off")
module(load="${input}")
template(name="line" type="string"
  string="%timegenerated:::date-rfc3339% %fromhost-ip% %rawmsg%\\n")
template(name="path" type="string" string="${output}/%fromhost-ip%.log")
ruleset(name="print") {
  action(type="omfile" ${files} template="line" ioBufferSize="64k")
}
input(type="${input}" address="127.0.0.1" port="${port}"${backlog} ruleset="print")
`;
}

/** Of the servers that speak TLS. */
export function certificateIn(folder: string): { readonly cert: string; readonly key: string } {
  return { cert: `${folder}/cert.pem`, key: `${folder}/key.pem` };
}

/** Makes it, with a key of the kind that costs least. */
export async function makeCertificate(folder: string): Promise<void> {
  const { cert, key } = certificateIn(folder);
  const args = [
    ..."req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2".split(" "),
    ..."-subj /CN=localhost -addext subjectAltName=IP:127.0.0.1".split(" "),
    ...["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", cert],
  ];
  await new Deno.Command("openssl", { args }).output();
}

/** Where the live page of the server at a port is, or the target behind it. */
export function sidePort(port: number): number {
  return port + 6000;
}
