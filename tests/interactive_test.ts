import { assert, assertEquals, assertMatch } from "@std/assert";
import { type ByteStream, DatagramSocket, select } from "../poller.ts";
import { encode } from "../lib/bytes.ts";
import { connectTo, readUpTo } from "./support/connections.ts";
import { latin1 } from "./support/data.ts";
import { makeFifo, tempDir } from "./support/files.ts";
import { Feed, MemoryStream } from "./support/memory.ts";
import { spawnCli } from "./support/processes.ts";
import { serve } from "./support/serving.ts";
import { turn, untilTrue } from "./support/waiting.ts";
import { writeAll } from "../lib/io.ts";
import { needs, NET, PROC, UDP } from "./support/needs.ts";

Deno.test.sanitizer({ ops: true, resources: true });

// -- In this process --

type Server = Awaited<ReturnType<typeof serve>>;

/** A server, with what is typed into it: portions of any size if `stdin` is a `Feed`. */
async function serveTyping<S extends ByteStream>(args: readonly string[], stdin: S) {
  const running = await serve(["--time", "none", "--interactive", ...args], { stdin });
  return { ...running, stdin };
}

/** Connects clients 1 to `count`, one after the other. */
async function connectAll({ out, connect }: Server, count: number) {
  const all = new DisposableStack();
  const conns: Deno.TcpConn[] = [];
  for (let i = 1; i <= count; i++) {
    conns.push(all.use(await connect()));
    await out.until(" connected", i);
  }
  return { conns, [Symbol.dispose]: () => all.dispose() };
}

/** Connects a client; `connected` is in the record that tells of it. */
async function connectOne({ out, connect }: Server, connected: string) {
  const conn = await connect();
  await out.until(connected);
  return conn;
}

async function heard(conn: Deno.Conn, text: string): Promise<void> {
  assertEquals(latin1(await readUpTo(conn, text.length)), text);
}

function complaints({ err }: Server): string[] {
  return err.text.split("\n").filter((line) => line.startsWith("earshot: "));
}

Deno.test({
  ...NET,
  name: "a typed line goes to all, one with @3 to client 3 alone",
  async fn() {
    await using running = await serveTyping([], new MemoryStream());
    using clients = await connectAll(running, 3);
    running.stdin.push("hello\n@3 reset\n@@home\n\n@2 \n");
    const [first, second, third] = clients.conns as [Deno.TcpConn, Deno.TcpConn, Deno.TcpConn];
    await heard(first, "hello\n@home\n\n");
    await heard(second, "hello\n@home\n\n\n");
    await heard(third, "hello\nreset\n@home\n\n");
    await running.out.until(" < ", 5);
    assertEquals(running.out.lines.slice(3), [
      "* all < hello",
      "#3 127.0.0.1:PORT < reset",
      "* all < @home",
      "* all < ",
      "#2 127.0.0.1:PORT < ",
    ]);
    assertEquals(complaints(running), []);
  },
});

Deno.test({
  ...NET,
  name: "a typed line that nobody can take is told, and not recorded",
  async fn() {
    await using running = await serveTyping([], new MemoryStream());
    running.stdin.push("hello\n");
    await running.err.until("nobody is connected");
    using clients = await connectAll(running, 1);
    running.stdin.push("@2 x\n@\n@x\n@01 x\n@0 x\n@1x\nlast\n");
    await heard(clients.conns[0]!, "last\n");
    await running.out.until("last");
    const usage = "expected @<number> <text>, @<address>:<port> <text>, @<number>, " +
      "@<number>!, @all, @?, or @@ for a line that begins with @";
    assertEquals(complaints(running), [
      "earshot: Cannot send to anybody: nobody is connected",
      "earshot: Cannot send to #2: no such client",
      ...["@", "@x", "@01 x", "@0 x", "@1x"].map((typed) =>
        `earshot: Cannot send "${typed}": ${usage}`
      ),
    ]);
    assertEquals(running.out.lines.slice(1), ["* all < last"]);
  },
});

Deno.test({
  ...NET,
  name: "half a line waits for its end, or for the end of stdin",
  async fn() {
    await using running = await serveTyping([], new MemoryStream());
    using clients = await connectAll(running, 1);
    running.stdin.push("he");
    await turn();
    await turn();
    assertEquals(running.out.count(" < "), 0);
    running.stdin.push("llo\nhalf");
    await heard(clients.conns[0]!, "hello\n");
    running.stdin.end();
    await heard(clients.conns[0]!, "half\n");
    await clients.conns[0]!.write(encode("still heard\n"));
    await running.out.until("| still heard");
  },
});

Deno.test({
  ...NET,
  name: "the end of stdin costs nothing afterwards",
  fn: async () => {
    const stdin = new MemoryStream("half");
    stdin.end();
    let rounds = 0;
    const now = () => (rounds++, 0);
    await using running = await serve(["--time", "none", "-I"], { stdin, now });
    await running.err.until("nobody is connected");
    for (let i = 0; i < 5; i++) await turn();
    const before = rounds;
    for (let i = 0; i < 50; i++) await turn();
    assertEquals(rounds, before);
  },
});

Deno.test({
  ...NET,
  name: "a stdin that cannot be read is told once, and the server goes on",
  async fn() {
    await using running = await serveTyping([], new MemoryStream());
    running.stdin.fail(new Error("Is a directory (os error 21)"));
    await running.err.until("nothing can be typed");
    using clients = await connectAll(running, 1);
    await clients.conns[0]!.write(encode("hello\n"));
    await running.out.until("| hello");
    assertEquals(complaints(running), [
      "earshot: Cannot read stdin: is a directory; nothing can be typed",
    ]);
  },
});

Deno.test({
  ...NET,
  name: "--crlf ends typed lines in CR LF, which no record has",
  async fn() {
    await using running = await serveTyping(["--crlf"], new MemoryStream());
    using clients = await connectAll(running, 1);
    running.stdin.push("one\n@1 two\n\n");
    await heard(clients.conns[0]!, "one\r\ntwo\r\n\r\n");
    await running.out.until(" < ", 3);
    assertEquals(running.out.lines.slice(1), [
      "* all < one",
      "#1 127.0.0.1:PORT < two",
      "* all < ",
    ]);
  },
});

Deno.test({
  ...NET,
  name: "--quiet leaves the records of what was typed",
  async fn() {
    await using running = await serveTyping(["--quiet"], new MemoryStream());
    using conn = await running.connect();
    await conn.write(encode("ready\n"));
    await running.out.until("ready");
    running.stdin.push("go\n");
    await running.out.until("go\n");
    assertEquals(running.out.lines, ["#1 127.0.0.1:PORT | ready", "* all < go"]);
  },
});

Deno.test({
  ...NET,
  name: "what is typed is sent as it is, whatever its bytes",
  async fn() {
    await using running = await serveTyping([], new Feed());
    using clients = await connectAll(running, 1);
    const typed = latin1(Uint8Array.from({ length: 513 }, (_, i) => i));
    running.stdin.push(`${typed}\n`);
    await heard(clients.conns[0]!, `${typed}\n`);
  },
});

Deno.test({
  ...NET,
  name: "a typed line of 64 KiB is sent, a longer one told and dropped",
  async fn() {
    await using running = await serveTyping([], new Feed());
    using clients = await connectAll(running, 1);
    const longest = "x".repeat(64 * 1024);
    running.stdin.push(`${longest}x\n${longest}\nshort\n`);
    await heard(clients.conns[0]!, `${longest}\nshort\n`);
    assertEquals(complaints(running), [
      "earshot: Cannot send a line of more than 65536 bytes: it is dropped",
    ]);
  },
});

Deno.test({
  ...NET,
  name: "what was typed is a record of its own kind in json",
  async fn() {
    await using running = await serveTyping(["-f", "json"], new MemoryStream());
    using _ = await connectOne(running, `"connected"`);
    running.stdin.push("all \x01\n@1 one\n");
    await running.out.until(`"sent"`, 2);
    const [, all, one] = running.out.text.trim().split("\n").map((line) => JSON.parse(line));
    assertEquals(all, { event: "sent", clients: 1, message: "all \x01" });
    const { port, ...rest } = one;
    assert(port > 0);
    assertEquals(rest, { event: "sent", connection: 1, host: "127.0.0.1", message: "one" });
  },
});

Deno.test({
  ...NET,
  name: "what was typed has a header and a dump of every byte in hex",
  async fn() {
    await using running = await serveTyping(["-f", "hex"], new MemoryStream());
    using _ = await connectOne(running, " connected");
    running.stdin.push("@1 one\n");
    await running.out.until("|one");
    const [, header, dump] = running.out.lines;
    assertEquals(header, "#1 127.0.0.1:PORT < 4 bytes");
    assertMatch(dump!, /^00000000 +6f 6e 65 0a +\|one\.\|$/);
  },
});

Deno.test({
  ...NET,
  name: "what was typed goes to stderr with raw",
  async fn() {
    await using running = await serveTyping(["-f", "raw"], new MemoryStream());
    using conn = await running.connect();
    await conn.write(encode("raw"));
    await running.out.until("raw");
    running.stdin.push("@1 one\n");
    await heard(conn, "one\n");
    await running.err.until(" < one\n");
    assertMatch(running.err.text, /^#1 127\.0\.0\.1:\d+ < one$/m);
    assertEquals(running.out.binary, "raw");
  },
});

Deno.test({
  ...NET,
  name: "blanks at the end of what was typed are told, too, with raw",
  async fn() {
    await using running = await serveTyping(["-f", "raw"], new MemoryStream());
    using conn = await running.connect();
    await running.err.until(" connected");
    running.stdin.push("two  \n");
    await heard(conn, "two  \n");
    running.stdin.push("\n");
    await running.err.until(" < ", 1);
    running.stdin.push("@1 end\n");
    await running.err.until("< end");
    assertEquals(running.err.text.match(/^\* all < .*/gm), ["* all < two  ", "* all < "]);
  },
});

Deno.test({
  ...NET,
  name: "a client that does not read is left out and named, and others get the line",
  async fn() {
    await using running = await serveTyping([], new Feed());
    using clients = await connectAll(running, 2);
    const [, reader] = clients.conns as [Deno.TcpConn, Deno.TcpConn];
    const line = "x".repeat(60_000);
    let sent = 0;
    while (running.err.count("Cannot send to #1") === 0) {
      running.stdin.push(`${line}\n`);
      await heard(reader, `${line}\n`);
      assert(++sent < 1000);
    }
    assertMatch(
      complaints(running)[0]!,
      /^earshot: Cannot send to #1: it has left \d+ bytes unread$/,
    );
    running.stdin.push("@2 fine\n");
    await heard(reader, "fine\n");
    assertEquals(running.out.count("* all < "), sent);
  },
});

Deno.test({
  ...NET,
  name: "echo and typed lines leave in the order in which they came",
  async fn() {
    await using running = await serveTyping(["--echo"], new MemoryStream());
    using clients = await connectAll(running, 1);
    const [conn] = clients.conns as [Deno.TcpConn];
    const parts: string[] = [];
    for (let i = 0; i < 50; i++) {
      parts.push(`said ${i}\n`, `typed ${i}\n`);
      await conn.write(encode(`said ${i}\n`));
      await running.out.until(`| said ${i}\n`);
      running.stdin.push(`typed ${i}\n`);
      await running.out.until(`< typed ${i}\n`);
    }
    await heard(conn, parts.join(""));
  },
});

Deno.test({
  ...NET,
  name: "echo and typed lines share one send queue, in which no line is torn",
  async fn() {
    await using running = await serveTyping(["--echo"], new MemoryStream());
    using clients = await connectAll(running, 1);
    const [conn] = clients.conns as [Deno.TcpConn];
    const said = "s".repeat(4_000_000);
    const saying = writeAll(conn, encode(`${said}\n`));
    await running.err.until("listening");
    running.stdin.push("typed\n");
    const got = latin1(await readUpTo(conn, said.length + 1 + 6));
    await saying;
    assertEquals(got.replace("typed\n", ""), `${said}\n`);
  },
});

Deno.test({
  ...NET,
  name: "typing does not keep a client from being idle",
  async fn() {
    await using running = await serveTyping(
      ["--idle-timeout", "0.4", "-f", "json"],
      new MemoryStream(),
    );
    using _conn = await connectOne(running, `"connected"`);
    const typing = setInterval(() => running.stdin.push("ping\n"), 50);
    await running.out.until("disconnected");
    clearInterval(typing);
    const record = running.out.text.split("\n").find((line) => line.includes("disconnected"));
    assertEquals(JSON.parse(record!).reason, "idle for 0.4 s");
    assert(running.out.count(`"sent"`) > 0);
  },
});

Deno.test({
  ...NET,
  name: "stdin is not touched without --interactive",
  fn: async () => {
    const stdin = new MemoryStream("typed\n");
    await using running = await serve(["--time", "none"], { stdin });
    using conn = await running.connect();
    await conn.write(encode("hello\n"));
    await running.out.until("| hello");
    assertEquals(stdin.targets, []);
    assertEquals(running.out.count("typed"), 0);
  },
});

Deno.test({
  ...UDP,
  name:
    "a line goes to a client or sender of datagrams by its address, from the port that heard it",
  async fn() {
    const stdin = new MemoryStream();
    const args = ["--time", "none", "-I", "--crlf", "--udp", "0", "--udp", "0", "--port", "0"];
    await using running = await serve(args, { stdin });
    const [tcp, , second] = running.server.addrs as Deno.NetAddr[];
    using conn = await connectTo(tcp!.port);
    await running.out.until("connected");
    using sender = new DatagramSocket(
      Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 }),
    );
    sender.sendTo(encode("hello"), second!);
    await running.out.until("| hello");
    const { port } = sender.localAddr as Deno.NetAddr;
    stdin.push(
      `@127.0.0.1:${port} to you\n@127.0.0.1:${(conn.localAddr as Deno.NetAddr).port} you\n`,
    );
    await select([sender], [], []);
    const [bytes, from] = sender.recvFrom(100);
    assertEquals([latin1(bytes), (from as Deno.NetAddr).port], ["to you\r\n", second!.port]);
    await heard(conn, "you\r\n");
    await running.out.until(" < ", 2);
    assertMatch(running.out.lines[2]!, /^udp 127\.0\.0\.1:PORT( to :\d+)? < to you$/);
    assertEquals(running.out.lines[3], "#1 127.0.0.1:PORT < you");
  },
});

Deno.test({
  ...PROC,
  name: "a program that types without an end holds up neither clients nor the end",
  async fn() {
    using dir = tempDir();
    const fifo = `${dir.path}/typed`;
    makeFifo(fifo);
    const before = `yes > ${fifo} & exec 0< ${fifo}`;
    await using cli = spawnCli(["-p", "0", "-t", "none", "-I", "-q"], { before });
    const port = await cli.port();
    using all = new DisposableStack();
    for (let i = 0; i < 300; i++) all.use(await connectTo(port));
    using fair = await connectTo(port);
    await fair.write(encode("hello\n"));
    await cli.out.until("| hello");
    const startedAtMs = performance.now();
    cli.kill("SIGTERM");
    assertEquals(await cli.ended(), 0);
    assert(performance.now() - startedAtMs < 5000);
  },
});

// -- In a terminal --

/** A shell in a terminal of its own, which a test types into and looks at. */
class Terminal {
  readonly #folder = tempDir();

  static async open(columns = 200): Promise<Terminal> {
    const terminal = new Terminal(columns);
    await terminal.until("$");
    return terminal;
  }

  constructor(columns: number) {
    const shell = "env PS1='$ ' bash --norc";
    this.#tmux("new-session", "-d", "-x", `${columns}`, "-y", "50", shell);
  }

  #tmux(...args: string[]): string {
    const { stdout } = new Deno.Command("tmux", {
      args: ["-S", `${this.#folder.path}/tmux`, "-f", "/dev/null", ...args],
      stdin: "null",
      stderr: "null",
    }).outputSync();
    return new TextDecoder().decode(stdout);
  }

  /** Types keys, by their names in tmux. */
  press(...keys: string[]): void {
    this.#tmux("send-keys", ...keys);
  }

  get screen(): string {
    return this.#tmux("capture-pane", "-p", "-S", "-200");
  }

  /** Waits until the screen has this text. */
  async until(text: string): Promise<void> {
    await untilTrue(() => this.screen.includes(text));
  }

  /** Runs a command with these arguments; resolves to its port. */
  async start(args: string, background = ""): Promise<number> {
    const script = new URL("../main.ts", import.meta.url).pathname;
    const command = `${Deno.execPath()} run --quiet --allow-all ${script} --port 0 --time none`;
    this.press(`NO_COLOR=1 ${command} ${args} ${background}`, "Enter");
    await this.until("listening on 127.0.0.1:");
    return Number(/listening on 127\.0\.0\.1:(\d+)/.exec(this.screen)![1]);
  }

  [Symbol.dispose](): void {
    this.#tmux("kill-server");
    this.#folder[Symbol.dispose]();
  }
}

Deno.test({
  ...needs("tmux"),
  name: "in a terminal, Ctrl-Z stops the command and fg goes on",
  async fn() {
    using terminal = await Terminal.open();
    const port = await terminal.start("--interactive");
    using conn = await connectTo(port);
    await terminal.until("connected");
    terminal.press("before", "Enter");
    await heard(conn, "before\n");
    terminal.press("C-z");
    await terminal.until("Stopped");
    await conn.write(encode("said meanwhile\n"));
    terminal.press("fg", "Enter");
    await terminal.until("| said meanwhile");
    terminal.press("after", "Enter");
    await heard(conn, "after\n");
    await terminal.until("* all < after");
  },
});

Deno.test({
  ...needs("tmux"),
  name: "in a terminal, Ctrl-D ends the typing and Ctrl-C the server",
  async fn() {
    using terminal = await Terminal.open();
    const port = await terminal.start("--interactive");
    using conn = await connectTo(port);
    await terminal.until("connected");
    // The first Ctrl-D hands over what has been typed of the line, the second is the end.
    terminal.press("half", "C-d", "C-d");
    await heard(conn, "half\n");
    await conn.write(encode("still heard\n"));
    await terminal.until("| still heard");
    terminal.press("C-c");
    await terminal.until("(shutting down)");
    terminal.press("echo status $?", "Enter");
    await terminal.until("status 0");
  },
});

/** Says a line every 5 ms until it is disposed. */
function chatter(conn: Deno.Conn): Disposable {
  let count = 0;
  const timer = setInterval(() => void conn.write(encode(`line ${count++} of many\n`)), 5);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

/** Without blanks and rows: tmux leaves out those at the end of a row. */
function bare(text: string): string {
  return text.replaceAll(/\s/g, "");
}

Deno.test({
  ...needs("tmux"),
  name: "in a terminal, the line that is typed stays whole while records arrive",
  async fn() {
    for (
      const [columns, typed] of [[200, "hello wor"], [30, "a line that wraps twice ".repeat(3)]]
    ) {
      using terminal = await Terminal.open(Number(columns));
      const port = await terminal.start("--interactive");
      using conn = await connectTo(port);
      await terminal.until("connected");
      using _ = chatter(conn);
      for (const key of String(typed)) terminal.press("-l", key);
      const shown = `all> ${typed}`.trimEnd();
      for (let i = 0; i < 10; i++) {
        await terminal.until("of many");
        const { screen } = terminal;
        assert(bare(screen).includes(bare(shown)), screen);
        assertEquals(screen.split("all>").length, 2, screen);
        assertEquals(screen.match(/all>.*\|/), null, screen);
      }
      terminal.press("-l", "ld");
      terminal.press("Enter");
      await heard(conn, `${typed}ld\n`);
      terminal.press("@1", "Enter");
      await terminal.until("#1>");
      terminal.press("Up", "Up", "C-a", "C-k", "-l", "x");
    }
  },
});

Deno.test({
  ...needs("tmux"),
  name: "in a terminal, Ctrl-D says that typing has ended, and the terminal is as before",
  async fn() {
    using terminal = await Terminal.open();
    const port = await terminal.start("--interactive");
    using conn = await connectTo(port);
    await terminal.until("all>");
    terminal.press("C-d");
    await terminal.until("earshot: typing has ended");
    await conn.write(encode("still heard\n"));
    await terminal.until("| still heard");
    terminal.press("C-c");
    await terminal.until("(shutting down)");
    terminal.press("stty -a", "Enter");
    await terminal.until(" icanon ");
    assert(terminal.screen.includes(" echo "));
    assert(!terminal.screen.slice(terminal.screen.indexOf("typing has ended")).includes("all>"));
  },
});

Deno.test({
  ...needs("tmux"),
  name: "in a terminal, a second Ctrl-C ends the editing, too",
  async fn() {
    using terminal = await Terminal.open();
    await terminal.start("--interactive");
    await terminal.until("all>");
    terminal.press("C-c", "C-c");
    await untilTrue(() => terminal.screen.trimEnd().endsWith("$"));
    terminal.press("stty -a", "Enter");
    await terminal.until(" icanon ");
  },
});

Deno.test({
  ...needs("tmux"),
  name: "in the background, a server that is not to be typed to runs on",
  async fn() {
    using terminal = await Terminal.open();
    const port = await terminal.start("", "&");
    terminal.press("echo for the shell", "Enter");
    using conn = await connectTo(port);
    await conn.write(encode("hello\n"));
    await terminal.until("| hello");
    terminal.press("jobs", "Enter");
    await terminal.until("Running");
    terminal.press("kill %1", "Enter");
    await terminal.until("(shutting down)");
  },
});
