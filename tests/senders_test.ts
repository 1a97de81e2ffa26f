/** Programs that send, as they are installed: what they say arrives whole. */
import { assertEquals, assertMatch } from "@std/assert";
import { encode } from "../lib/bytes.ts";
import { writeAll } from "../lib/io.ts";
import { connectTo } from "./support/connections.ts";
import { tempDir } from "./support/files.ts";
import { spawnCli } from "./support/processes.ts";
import { logOf, serve } from "./support/serving.ts";
import { needs, NET, RUN, UNIX } from "./support/needs.ts";

Deno.test.sanitizer({ ops: true, resources: true });

interface Program {
  readonly args: readonly string[];
  readonly input?: string;
}

/** Runs a program to its end, which must be a good one. */
async function run(name: string, { args, input = "" }: Program): Promise<void> {
  const child = new Deno.Command(name, {
    args: [...args],
    stdin: "piped",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  try {
    await writer.write(encode(input));
    await writer.close();
  } catch {
    // It does not read its input.
  }
  const { success, stderr } = await child.output();
  assertEquals([success, new TextDecoder().decode(stderr)], [true, ""]);
}

/** What records say, without who said it. */
function messagesIn(lines: readonly string[]): string[] {
  return lines.flatMap((line) => / [|+] .*/.exec(line)?.[0].slice(1) ?? []);
}

// -- Datagrams --

const UDP_SENDERS: [program: string, args: string[], input: string, message: RegExp][] = [
  [
    "logger",
    ["--udp", "-n", "127.0.0.1", "-P", "PORT", "-t", "app", "--", "hello"],
    "",
    /^\| <13>1? ?.*app.* hello$/,
  ],
  [
    "logger",
    ["-d", "--rfc3164", "-n", "127.0.0.1", "-P", "PORT", "-t", "app", "hello"],
    "",
    /^\| <13>.* app: hello$/,
  ],
  ["nc", ["-u", "-w", "1", "127.0.0.1", "PORT"], "hello\n", /^\| hello$/],
  ["ncat", ["-u", "127.0.0.1", "PORT"], "hello\n", /^\| hello$/],
  ["socat", ["-", "UDP:127.0.0.1:PORT"], "hello\r\n", /^\| hello$/],
  ["bash", ["-c", "echo hello >/dev/udp/127.0.0.1/PORT"], "", /^\| hello$/],
  [
    "python3",
    [
      "-c",
      "import socket;socket.socket(2,2).sendto(b'hello\\0',('127.0.0.1',PORT))",
    ],
    "",
    /^\| hello$/,
  ],
];

for (const [program, args, input, message] of UDP_SENDERS) {
  Deno.test({
    ...needs(program),
    name: `startServer() hears datagrams of ${program} ${args.join(" ")}`,
    async fn() {
      await using running = await serve(["--udp", "0", "-t", "none"]);
      await run(program, {
        args: args.map((arg) => arg.replace("PORT", `${running.port}`)),
        input,
      });
      await running.out.until("hello\n");
      const [heard, ...others] = messagesIn(running.out.lines);
      assertMatch(heard!, message);
      assertEquals(others, []);
    },
  });
}

// -- Syslog over TCP --

/** Arguments of logger for TCP; `counted` by RFC 6587. */
function loggerTo(port: number, counted: boolean, message: string): Program {
  const framing = counted ? ["--octet-count"] : [];
  const where = ["-T", "-n", "127.0.0.1", "-P", `${port}`];
  return { args: [...where, ...framing, "-t", "app", message] };
}

Deno.test({
  ...needs("logger"),
  name: "startServer() hears logger with and without --octet-count at one port",
  async fn() {
    await using running = await serve(["--framing", "syslog", "-t", "none"]);
    for (const counted of [true, false, true]) {
      await run("logger", loggerTo(running.port, counted, `counted: ${counted}`));
    }
    await running.out.until("disconnected", 3);
    const messages = messagesIn(running.out.lines);
    const said = (message: string) => messages.filter((text) => text.endsWith(` ${message}`));
    assertEquals([said("counted: true").length, said("counted: false").length], [2, 1]);
    for (const message of messages) assertMatch(message, /^\| <13>/);
    assertEquals(messages.length, 3);
  },
});

Deno.test({
  ...needs("rsyslogd", "logger"),
  name: "startServer() hears rsyslog with both framings at one port, and by UDP",
  async fn() {
    const args = ["-p", "0", "--udp", "0", "--framing", "syslog", "-t", "none"];
    await using running = await serve(args);
    const [tcp, udp] = (running.server.addrs as Deno.NetAddr[]).map(({ port }) => port);
    using dir = tempDir();
    const forwards = [
      `port="${tcp}" protocol="tcp" TCP_Framing="octet-counted"`,
      `port="${tcp}" protocol="tcp" TCP_Framing="traditional"`,
      `port="${udp}" protocol="udp"`,
    ].map((how) => `action(type="omfwd" target="127.0.0.1" template="t" ${how})\n`);
    await Deno.writeTextFile(
      `${dir.path}/conf`,
      `module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="${dir.path}/log" RateLimit.Interval="0")
template(name="t" type="string" string="<%PRI%>%syslogtag%%msg%")
${forwards.join("")}`,
    );
    const daemon = new Deno.Command("rsyslogd", {
      args: ["-n", "-f", `${dir.path}/conf`, "-i", `${dir.path}/pid`],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    try {
      while (!isSocket(`${dir.path}/log`)) await new Promise((done) => setTimeout(done, 20));
      const input = Array.from({ length: 50 }, (_, i) => `message ${i} of rsyslog\n`).join("");
      await run("logger", { args: ["-u", `${dir.path}/log`, "-t", "app"], input });
      await running.out.until("message 49 of rsyslog\n", 3);
    } finally {
      daemon.kill("SIGKILL");
      await daemon.status;
    }
    await running.out.until("disconnected", 2);
    const expected = Array.from({ length: 50 }, (_, i) => `| <13>app: message ${i} of rsyslog`);
    for (const who of ["#1 ", "#2 ", "udp "]) {
      const messages = messagesIn(running.out.lines.filter((line) => line.startsWith(who)));
      const ours = messages.filter((message) => message.includes("of rsyslog"));
      assertEquals(ours, expected, who);
    }
  },
});

function isSocket(path: string): boolean {
  try {
    return Deno.lstatSync(path).isSocket ?? false;
  } catch {
    return false;
  }
}

Deno.test({
  ...needs("logger"),
  name: "startServer() advises --framing syslog once when clients do not count",
  async fn() {
    await using running = await serve(["--framing", "octet", "-t", "none"]);
    await run("logger", loggerTo(running.port, true, "counted"));
    await running.out.until("disconnected");
    for (const disconnected of [2, 3]) {
      await run("logger", loggerTo(running.port, false, "a line"));
      await running.out.until("disconnected", disconnected);
    }
    assertEquals(running.out.count("(bad octet count)"), 2);
    const [, ...said] = running.err.lines;
    assertEquals(said, [
      "earshot: #2 does not count its messages: --framing syslog takes both ways",
    ]);
  },
});

for (const framing of ["newline", "syslog", "any", "nul"]) {
  Deno.test({
    ...NET,
    name: `startServer() gives no advice with --framing ${framing}`,
    async fn() {
      await using running = await serve(["--framing", framing, "-t", "none"]);
      {
        using client = await running.connect();
        await writeAll(client, encode("5 no count\n"));
      }
      await running.out.until("disconnected");
      assertEquals(running.err.lines.length, 1);
    },
  });
}

// -- Terminals and devices --

Deno.test({
  ...needs("telnet"),
  name: "startServer() hears telnet with --framing any",
  async fn() {
    await using running = await serve(["--framing", "any", "-t", "none"]);
    const child = new Deno.Command("telnet", {
      args: ["127.0.0.1", `${running.port}`],
      stdin: "piped",
      stdout: "null",
      stderr: "null",
    }).spawn();
    const writer = child.stdin.getWriter();
    await writer.write(encode("one\ntwo\n"));
    await running.out.until("two\n");
    await writer.close();
    await child.status;
    await running.out.until("disconnected");
    assertEquals(messagesIn(running.out.lines), ["| one", "| two"]);
  },
});

Deno.test({
  ...needs("socat"),
  name: "startServer() hears a serial line that ends its lines with CR",
  async fn() {
    await using running = await serve(["--framing", "any", "-t", "none"]);
    using dir = tempDir();
    const device = `${dir.path}/tty`;
    const child = new Deno.Command("socat", {
      args: [`PTY,link=${device},rawer`, `TCP:127.0.0.1:${running.port}`],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    try {
      await running.out.until("connected");
      while (!isThere(device)) await new Promise((done) => setTimeout(done, 20));
      using line = await Deno.open(device, { write: true });
      await writeAll(line, encode("21.5 C\r22.0 C\r\n"));
      await running.out.until("22.0 C\n");
      await writeAll(line, encode("\r23"));
      await writeAll(line, encode(".5 C\r"));
      await running.out.until("23.5 C\n");
    } finally {
      child.kill("SIGTERM");
      await child.status;
    }
    await running.out.until("disconnected");
    assertEquals(messagesIn(running.out.lines), ["| 21.5 C", "| 22.0 C", "| ", "| 23.5 C"]);
  },
});

function isThere(path: string): boolean {
  try {
    return Deno.lstatSync(path) !== undefined;
  } catch {
    return false;
  }
}

// -- Prompts --

Deno.test({
  ...NET,
  name: "startServer() shows a prompt with --flush-after, and the line that follows counts once",
  async fn() {
    await using running = await serve(["--flush-after", "0.05", "-t", "none"]);
    {
      using client = await running.connect();
      await client.write(encode("login: "));
      await running.out.until("+ login: \n");
      await client.write(encode("root\r\n"));
      await running.out.until("| root\n");
      await client.write(encode("Password: "));
      await running.out.until("+ Password: \n");
      await client.write(encode("\n"));
      await running.out.until("| \n");
      await client.write(encode("# "));
      await running.out.until("+ # \n");
    }
    await running.out.until("disconnected");
    assertEquals(running.out.lines, [
      "#1 127.0.0.1:PORT connected",
      "#1 127.0.0.1:PORT + login: ",
      "#1 127.0.0.1:PORT | root",
      "#1 127.0.0.1:PORT + Password: ",
      "#1 127.0.0.1:PORT | ",
      "#1 127.0.0.1:PORT + # ",
      "#1 127.0.0.1:PORT disconnected: 26 bytes, 3 lines, 0.0 s",
    ]);
  },
});

Deno.test({
  ...NET,
  name: "startServer() shows nothing of an unfinished line without --flush-after",
  async fn() {
    assertEquals(await logOf([], encode("login: ")), [
      "#1 127.0.0.1:PORT connected",
      "#1 127.0.0.1:PORT + login: ",
      "#1 127.0.0.1:PORT disconnected: 7 bytes, 1 line, 0.0 s",
    ]);
  },
});

Deno.test({
  ...NET,
  name: "startServer() flushes each of 300 clients that fall silent in a line, once",
  async fn() {
    await using running = await serve(["--flush-after", "0.05", "-q", "-t", "none", "-f", "json"]);
    using clients = new DisposableStack();
    for (let i = 0; i < 300; i++) {
      const client = clients.use(await connectTo(running.port));
      await client.write(encode(`prompt ${i}> `));
    }
    await running.out.until('"cut":true', 300);
    const prompts = running.out.text.trim().split("\n").map((line) => JSON.parse(line).message);
    assertEquals(
      prompts.toSorted(),
      Array.from({ length: 300 }, (_, i) => `prompt ${i}> `).toSorted(),
    );
  },
});

// -- Addresses and outputs --

Deno.test({
  ...NET,
  name: "startServer() opens every port at every --host, and writes to stdout with -o -",
  async fn() {
    const args = ["-p", "0", "-H", "127.0.0.1", "-H", "127.0.0.2", "-o", "-"];
    await using running = await serve([...args, "-q", "-t", "none"]);
    const addrs = running.server.addrs as Deno.NetAddr[];
    assertEquals(
      addrs.map(({ hostname }) => hostname),
      ["127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.2"],
    );
    for (const { hostname, port } of addrs) {
      using client = await Deno.connect({ hostname, port });
      await writeAll(client, encode(`to ${hostname}:${port}\n`));
      await running.out.until(`| to ${hostname}:${port}\n`);
    }
  },
});

const REFUSALS: [args: string[], message: string][] = [
  [
    ["--host", "*"],
    'Cannot use --host "*": use --host 0.0.0.0 for every IPv4 interface, --host :: for every one',
  ],
  [["-l"], 'Unknown option "-l": earshot always listens, for many clients'],
  [["1234"], 'Cannot use argument "1234": use --port 1234'],
  [["--quite"], 'Unknown option "--quite": did you mean --quiet?'],
  [["--max-line", "1T"], 'Cannot use --max-line "1T": '],
];

for (const [args, message] of REFUSALS) {
  Deno.test({
    ...UNIX,
    name: `main() refuses ${args.join(" ")} in one line`,
    async fn() {
      await using cli = spawnCli(args);
      assertEquals(await cli.ended(), 2);
      assertEquals(cli.out.text, "");
      assertEquals(cli.err.lines.length, 1);
      assertEquals(cli.err.text.startsWith(`earshot: ${message}`), true, cli.err.text);
      assertEquals(cli.err.text.endsWith(", see --help\n"), true);
    },
  });
}

Deno.test({
  ...RUN,
  name: "a bundle says that --udp and --reuse-port need --unstable-net",
  async fn() {
    using dir = tempDir();
    const bundle = `${dir.path}/earshot.js`;
    const main = new URL("../main.ts", import.meta.url).pathname;
    const deno = (...args: string[]) =>
      new Deno.Command(Deno.execPath(), { args, cwd: dir.path, stdin: "null" }).output();
    const config = new URL("../deno.json", import.meta.url).pathname;
    assertEquals(
      (await deno("bundle", "-q", "--config", config, "-o", bundle, main)).success,
      true,
    );
    for (const args of [["--udp", "0"], ["-p", "0", "--reuse-port"]]) {
      const { code, stderr } = await deno("run", "--allow-net", bundle, ...args);
      const option = args.find((arg) => arg === "--udp" || arg === "--reuse-port");
      assertEquals(
        [code, new TextDecoder().decode(stderr)],
        [1, `earshot: Cannot use ${option}: run again with --unstable-net\n`],
      );
    }
  },
});
