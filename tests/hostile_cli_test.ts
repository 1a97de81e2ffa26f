import { assert, assertEquals, assertMatch } from "@std/assert";
import { encode } from "../lib/bytes.ts";
import { writeAll } from "../lib/io.ts";
import { Capture } from "./support/capture.ts";
import { connectTo } from "./support/connections.ts";
import { upTo } from "./support/data.ts";
import { exists, tempDir } from "./support/files.ts";
import { figuresOf, spawnCli } from "./support/processes.ts";
import { pause, turn, untilTrue } from "./support/waiting.ts";
import { PROC, UNIX } from "./support/needs.ts";

Deno.test.sanitizer({ ops: true, resources: true });

Deno.test({
  ...UNIX,
  name: "main() writes every line once when the reader of its pipe stops for a while",
  timeout: 120_000,
  async fn() {
    // Few clients, then many: stdout is written in two ways.
    await using cli = spawnCli(["-p", "0", "-q", "-t", "none"], { stdout: "unread" });
    const port = await cli.port();
    using clients = new DisposableStack();
    const conns: Deno.Conn[] = [];
    const talk = async (round: number) => {
      await Promise.all(conns.map((conn, i) => {
        return writeAll(conn, encode(`client ${i} round ${round} ${"x".repeat(300)}\n`.repeat(20)));
      }));
    };
    for (let i = 0; i < 150; i++) {
      conns.push(clients.use(await connectTo(port)));
      if (i === 5) await talk(0);
    }
    for (let round = 1; round <= 5; round++) await talk(round);
    const reading = cli.read();
    for (let round = 6; round <= 10; round++) {
      await talk(round);
      await cli.out.until(`round ${round} `);
    }
    const expected = conns.length * 10 * 20 + 6 * 20;
    await untilTrue(() => cli.out.count("\n") >= expected);
    cli.kill("SIGTERM");
    assertEquals(await cli.ended(), 0);
    await reading;
    const said = Map.groupBy(cli.out.text.split("\n").slice(0, -1), (line) => line.split(" ")[0]!);
    assertEquals(said.size, 150);
    for (const lines of said.values()) {
      const found = lines.map((line) => /\| client \d+ round (\d+) x{300}$/.exec(line)?.[1]);
      const first = lines.length > 200 ? 0 : 1;
      const rounds = Array.from({ length: 11 - first }, (_, i) => `${first + i}`);
      assertEquals(found, rounds.flatMap((round) => Array(20).fill(round)));
    }
  },
});

for (
  const [to, redirection, more] of [
    ["stdout", `exec > "$LOG"`, []],
    ["stdout with stderr", `exec > "$LOG" 2>&1`, ["--stats", "0.1"]],
    ["the end of a file with stderr", `exec >> "$LOG" 2>&1`, ["--stats", "0.1"]],
    ["--output", "", ["--output", "$LOG"]],
  ] as const
) {
  Deno.test({
    ...PROC,
    name: `main() writes every line once to ${to} when the file may not grow for a while`,
    async fn() {
      using dir = tempDir();
      const path = `${dir.path}/log`;
      const before = redirection.replace("$LOG", path);
      const args = more.map((word) => word.replace("$LOG", path));
      await using cli = spawnCli(["-p", "0", "-q", "-t", "none", ...args], { before });
      const said = () => cli.err.text + (exists(path) ? Deno.readTextFileSync(path) : "");
      await untilTrue(() => /listening on .*\n/.test(said()));
      // A limit of the file's size fails as a full disk does. Deno itself must have begun.
      const limitSize = async (limit: string) => {
        const args = ["--pid", `${cli.pid}`, `--fsize=${limit}`];
        assert((await new Deno.Command("prlimit", { args }).output()).success);
      };
      await limitSize("50000:unlimited");
      using conn = await connectTo(Number(/listening on 127\.0\.0\.1:(\d+)/.exec(said())![1]));
      const numbers = Array.from({ length: 3000 }, (_, i) => `${i}`);
      await writeAll(
        conn,
        encode(numbers.map((number) => `${number} ${"x".repeat(100)}\n`).join("")),
      );
      await untilTrue(() => exists(path) && Deno.statSync(path).size === 50_000);
      // Of a stderr that cannot grow either nothing can be read.
      await (redirection.includes("2>&1") ? pause(300) : cli.err.until("clients wait"));
      await limitSize("unlimited");
      await untilTrue(() => Deno.readTextFileSync(path).includes("| 2999 "));
      cli.kill("SIGTERM");
      assertEquals(await cli.ended(), 0);
      const lines = Deno.readTextFileSync(path).split("\n").slice(0, -1);
      const records = lines.filter((line) => line.startsWith("#1 "));
      assertEquals(records.map((line) => /\| (\d+) x{100}$/.exec(line)?.[1]), numbers);
      const others = lines.filter((line) => !line.startsWith("#1 "));
      assertEquals(others.filter((line) => !/^(earshot: |stats: |listening on )/.test(line)), []);
      assertMatch(said(), /file too large; clients wait[^]*works again/);
    },
  });
}

Deno.test({
  ...PROC,
  name: "main() waits without spinning when descriptors run out, and goes on when some are free",
  async fn() {
    await using cli = spawnCli(["-p", "0", "-t", "none"], { before: "ulimit -n 60" });
    const port = await cli.port();
    const conns: Deno.Conn[] = [];
    for (let i = 0; i < 100; i++) conns.push(await connectTo(port));
    await cli.err.until("new clients wait\n");
    // The one figure of time in these tests: a spin takes a whole core, waiting nearly nothing.
    const before = figuresOf(cli.pid).ticks;
    await pause(500);
    const ticks = figuresOf(cli.pid).ticks - before;
    assert(ticks < 20, `${ticks} ticks of 50 while there is nothing to do`);
    await writeAll(conns[0]!, encode("heard meanwhile\n"));
    await cli.out.until("| heard meanwhile\n");
    for (const [i, conn] of conns.entries()) {
      await writeAll(conn, encode(`from ${i}\n`));
      conn.close();
    }
    await cli.out.until("| from ", 100);
    cli.kill("SIGTERM");
    assertEquals(await cli.ended(), 0);
    assertEquals(new Set(cli.out.text.match(/(?<=\| from )\d+$/gm)).size, 100);
    assertEquals(cli.err.count("new clients wait"), 1);
  },
});

Deno.test({
  ...PROC,
  name: "main() takes descriptors from silent HTTP connections when the log lacks them",
  async fn() {
    await using cli = spawnCli(["-p", "0", "-t", "none", "--web", "0"], { before: "ulimit -n 60" });
    const port = await cli.port();
    await cli.err.until("/\n");
    const [, webPort] = /watch at .*:(\d+)/.exec(cli.err.text)!;
    using silent = new DisposableStack();
    for (let i = 0; i < 150; i++) silent.use(await connectTo(Number(webPort)));
    const startMs = performance.now();
    using client = await connectTo(port);
    await writeAll(client, encode("hello\n"));
    await cli.out.until("| hello\n");
    // Any connection has 10 s for a request, and more of them wait than there are descriptors.
    assert(performance.now() - startMs < 10_000);
  },
});

Deno.test({
  ...PROC,
  name: "main() rotates and answers over HTTP while clients hold all descriptors",
  async fn() {
    using dir = tempDir();
    const path = `${dir.path}/log`;
    const args = ["-p", "0", "-q", "-t", "none", "--web", "0", "-o", path, "--rotate-size", "2k"];
    await using cli = spawnCli(args, { before: "ulimit -n 60" });
    const port = await cli.port();
    await cli.err.until("/\n");
    const [, webPort] = /watch at .*:(\d+)/.exec(cli.err.text)!;
    using clients = new DisposableStack();
    const conns: Deno.Conn[] = [];
    for (let i = 0; i < 100; i++) conns.push(clients.use(await connectTo(port)));
    await cli.err.until("new clients wait\n");
    for (let i = 0; i < 100; i++) {
      await writeAll(conns[i % 10]!, encode(`line ${i} ${"x".repeat(100)}\n`));
      await pause(2);
    }
    await untilTrue(() => exists(`${path}.4`));
    for (const what of ["healthz", "metrics", "healthz", "metrics"]) {
      const response = await fetch(`http://127.0.0.1:${webPort}/${what}`);
      assertEquals(response.status, what === "healthz" ? 503 : 200);
      assert((await response.text()).length > 0);
    }
    assertEquals(cli.err.count("Cannot rotate"), 0);
    assertEquals(cli.err.count("Cannot accept HTTP"), 0);
  },
});

Deno.test({
  ...PROC,
  name: "main() holds no more memory when 100 MB come without a line end",
  async fn() {
    using dir = tempDir();
    await using cli = spawnCli(["-p", "0", "-t", "none", "-o", `${dir.path}/log`]);
    using client = await connectTo(await cli.port());
    await writeAll(client, encode("warm\n"));
    await untilTrue(() => Deno.statSync(`${dir.path}/log`).size > 0);
    const { rssKb } = figuresOf(cli.pid);
    const chunk = new Uint8Array(1_000_000).fill(0x78);
    for (let i = 0; i < 100; i++) await writeAll(client, chunk);
    await client.closeWrite();
    await client.read(new Uint8Array(1));
    const { peakKb } = figuresOf(cli.pid);
    assert(peakKb - rssKb < 40 * 1024, `${peakKb - rssKb} KB more than before`);
    cli.kill("SIGTERM");
    assertEquals(await cli.ended(), 0);
    const log = Deno.readTextFileSync(`${dir.path}/log`);
    assertMatch(log, / disconnected: 100000005 bytes, 2 lines, /);
    const pieces = log.match(/(?<= \+ )x+$/gm)!;
    assertEquals(pieces.reduce((sum, piece) => sum + piece.length, 0), 100_000_000);
  },
});

Deno.test({
  ...UNIX,
  name: "main() logs all that has arrived when it is stopped in the middle of a burst",
  timeout: 120_000,
  async fn() {
    await using cli = spawnCli(["-p", "0", "-t", "none"]);
    const port = await cli.port();
    using stack = new DisposableStack();
    const conns: Deno.Conn[] = [];
    for (let i = 0; i < 50; i++) conns.push(stack.use(await connectTo(port)));
    await cli.out.until(" connected\n", 50);
    // Each less than what the kernel takes at once: it has all of it when the signal comes.
    await Promise.all(
      conns.map((conn) => writeAll(conn, encode(`${"x".repeat(99)}\n`.repeat(100)))),
    );
    cli.kill("SIGTERM");
    assertEquals(await cli.ended(), 0);
    assertEquals(cli.out.count(`| ${"x".repeat(99)}\n`), 5_000);
    assertEquals(cli.out.count("10000 bytes, 100 lines, "), 50);
  },
});

Deno.test({
  ...UNIX,
  name: "main() neither loses nor doubles a line in a storm of SIGHUP",
  timeout: 120_000,
  async fn() {
    using dir = tempDir();
    const path = `${dir.path}/log`;
    await using cli = spawnCli(["-p", "0", "-t", "none", "-q", "-o", path]);
    const port = await cli.port();
    using stack = new DisposableStack();
    const conns: Deno.Conn[] = [];
    for (let i = 0; i < 5; i++) conns.push(stack.use(await connectTo(port)));
    let isSending = true;
    const sending = Promise.all(conns.map(async (conn, i) => {
      for (let at = 0; at < 300; at++) {
        const lines = Array.from({ length: 50 }, (_, k) => `${i} line ${50 * at + k}\n`);
        await writeAll(conn, encode(lines.join("")));
      }
      await conn.closeWrite();
      await conn.read(new Uint8Array(1));
    })).then(() => isSending = false);
    let files = 0;
    while (isSending) {
      if (exists(path)) Deno.renameSync(path, `${path}.${++files}`);
      for (let i = 0; i < 3; i++) cli.kill("SIGHUP");
      await untilTrue(() => exists(path) || !isSending);
    }
    await sending;
    cli.kill("SIGTERM");
    assertEquals(await cli.ended(), 0);
    const parts = Array.from({ length: files }, (_, i) => `${path}.${i + 1}`);
    const texts = [...parts, path].filter(exists).map((part) => Deno.readTextFileSync(part));
    for (const text of texts) assert(text === "" || text.endsWith("\n"));
    for (let i = 0; i < 5; i++) {
      const numbers = texts.join("").matchAll(new RegExp(`\\| ${i} line (\\d+)$`, "gm"));
      assertEquals(Array.from(numbers, ([, number]) => Number(number)), upTo(15_000));
    }
    assert(files > 2, "The file was hardly ever moved");
  },
});

Deno.test({
  ...UNIX,
  name: "main() does not call clients idle when it was stopped itself",
  timeout: 120_000,
  async fn() {
    await using cli = spawnCli(["-p", "0", "-t", "none", "-i", "0.8"]);
    const port = await cli.port();
    using silent = await connectTo(port);
    using talking = await connectTo(port);
    await writeAll(talking, encode("before\n"));
    await cli.out.until("| before\n");
    cli.kill("SIGSTOP");
    await pause(400);
    await writeAll(talking, encode("meanwhile\n"));
    await pause(600);
    cli.kill("SIGCONT");
    await cli.out.until("| meanwhile\n");
    for (let i = 0; i < 5; i++) {
      await writeAll(talking, encode(`after ${i}\n`));
      await cli.out.until(`| after ${i}\n`);
    }
    assertEquals(await silent.read(new Uint8Array(1)), null);
    await cli.out.until(" disconnected: ");
    const [first] = cli.out.lines.filter((line) => line.includes("disconnected"));
    assertEquals(
      first,
      "#1 127.0.0.1:PORT disconnected: 0 bytes, 0 lines, 0.0 s (idle for 0.8 s)",
    );
  },
});

Deno.test({
  ...UNIX,
  name: "main() tells raw's stderr of each client that a stop disconnects, if it is read",
  async fn() {
    await using cli = spawnCli(["-p", "0", "-f", "raw", "-t", "none", "-m", "2000"]);
    const port = await cli.port();
    using stack = new DisposableStack();
    await Promise.all(Array.from({ length: 1500 }, async () => {
      stack.use(await connectTo(port));
    }));
    await cli.err.until(" connected\n", 1500);
    cli.kill("SIGTERM");
    assertEquals(await cli.ended(), 0);
    assertEquals(cli.err.count("(shutting down)\n"), 1500);
  },
});

/** Sends all of it and waits until the server has heard it and closed. */
async function sayAll(conn: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  await writeAll(conn, bytes);
  await conn.closeWrite();
  await conn.read(new Uint8Array(1));
}

// Figures of time are ten times and more what it takes, and a tenth of what it once took.

Deno.test({
  ...PROC,
  name: "main() hears bytes that are no UTF-8 without a hundred times the work",
  async fn() {
    await using cli = spawnCli(["-p", "0", "-q", "-t", "none", "-o", "/dev/null"]);
    const port = await cli.port();
    const { ticks } = figuresOf(cli.pid);
    const line = new Uint8Array(100).fill(0xFF);
    line[99] = 0x0A;
    const chunk = new Uint8Array(100_000).map((_, at) => line[at % 100]!);
    await Promise.all(Array.from({ length: 100 }, async () => {
      using conn = await connectTo(port);
      await sayAll(conn, chunk);
    }));
    const spent = figuresOf(cli.pid).ticks - ticks;
    assert(spent < 300, `${spent} ticks for 10 MB`);
  },
});

Deno.test({
  ...PROC,
  name: "main() hears a line of 40 MB in time that grows with its length",
  async fn() {
    await using cli = spawnCli(["-p", "0", "-q", "--max-line", "60000000", "-o", "/dev/null"]);
    using conn = await connectTo(await cli.port());
    const { ticks } = figuresOf(cli.pid);
    await sayAll(conn, new Uint8Array(40_000_000).fill(0x78));
    const spent = figuresOf(cli.pid).ticks - ticks;
    assert(spent < 300, `${spent} ticks`);
  },
});

Deno.test({
  ...PROC,
  name: "main() holds little more memory when 50 clients send 200,000 empty lines each",
  async fn() {
    await using cli = spawnCli(["-p", "0", "-q", "-o", "/dev/null"]);
    const port = await cli.port();
    using first = await connectTo(port);
    await sayAll(first, encode("warm\n".repeat(10_000)));
    const { rssKb } = figuresOf(cli.pid);
    const empty = new Uint8Array(200_000).fill(0x0A);
    await Promise.all(Array.from({ length: 50 }, async () => {
      using conn = await connectTo(port);
      await sayAll(conn, empty);
    }));
    const grownKb = figuresOf(cli.pid).peakKb - rssKb;
    assert(grownKb < 60 * 1024, `${grownKb} KB more than before`);
  },
});

Deno.test({
  ...UNIX,
  name: "main() ends in time, and complains of nobody, when hundreds flood hex",
  async fn() {
    using dir = tempDir();
    const fifo = `${dir.path}/fifo`;
    new Deno.Command("mkfifo", { args: [fifo] }).outputSync();
    // A reader of its own: this process is busy with flooding. Open at both ends it waits for nobody.
    using _held = Deno.openSync(fifo, { read: true, write: true });
    const reader = new Deno.Command("cat", { args: [fifo], stdout: "null" }).spawn();
    await using cli = spawnCli(["-p", "0", "-f", "hex", "-o", fifo]);
    const port = await cli.port();
    using stack = new DisposableStack();
    const chunk = new Uint8Array(64 * 1024);
    const conns = await Promise.all(Array.from({ length: 800 }, () => connectTo(port)));
    for (const conn of conns) stack.use(conn);
    const flooding = Promise.allSettled(conns.map(async (conn) => {
      while (true) await conn.write(chunk);
    }));
    const heardMb = () => Number(/(\d+) bytes/.exec(cli.err.lines.at(-1)!)?.[1] ?? 0) / 1e6;
    while (heardMb() < 5) {
      const summaries = cli.err.count("stats: ");
      cli.kill("SIGUSR2");
      await cli.err.until("stats: ", summaries + 1);
    }
    cli.kill("SIGTERM");
    assertEquals(await cli.ended(), 0);
    await flooding;
    reader.kill("SIGKILL");
    await reader.status;
    assertEquals(cli.err.count("nobody takes it"), 0);
  },
});

Deno.test({
  ...UNIX,
  name: "main() hears all that has arrived of a client that leaves its echo unread and goes",
  async fn() {
    await using cli = spawnCli(["-p", "0", "-t", "none", "--echo"]);
    const conn = await connectTo(await cli.port());
    await writeAll(conn, encode("first\n"));
    await cli.out.until("| first\n");
    cli.kill("SIGSTOP");
    await writeAll(conn, encode(upTo(1000).map((i) => `line ${i} ${"x".repeat(40)}\n`).join("")));
    conn.close();
    cli.kill("SIGCONT");
    await cli.out.until(" disconnected: ");
    const heard = cli.out.text.match(/(?<=\| line )\d+(?= x{40}$)/gm)!.map(Number);
    assertEquals(heard, upTo(1000));
  },
});

/** A Unix socket refuses a client before it listens and while its backlog is full. */
async function connectPatiently(path: string): Promise<Deno.UnixConn> {
  const { WouldBlock, ConnectionRefused } = Deno.errors;
  while (true) {
    try {
      return await Deno.connect({ transport: "unix", path });
    } catch (error) {
      if (!(error instanceof WouldBlock || error instanceof ConnectionRefused)) throw error;
      await turn();
    }
  }
}

Deno.test({
  ...UNIX,
  name: "main() hears, and ends at a signal, while nobody reads its stderr",
  async fn() {
    using dir = tempDir();
    const [path, log] = [`${dir.path}/socket`, `${dir.path}/log`];
    const script = new URL("../main.ts", import.meta.url).href;
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-q", "--allow-all", script, "-u", path, "-f", "raw", "-o", log],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    await untilTrue(() => exists(path));
    // Two notices each, more than a pipe holds.
    for (let i = 0; i < 1500; i++) (await connectPatiently(path)).close();
    using conn = await connectPatiently(path);
    await writeAll(conn, encode("heard\n"));
    await untilTrue(() => Deno.statSync(log).size > 0);
    child.kill("SIGTERM");
    assertEquals((await child.status).code, 0);
    await child.stderr.cancel();
    assertEquals(Deno.readTextFileSync(log), "heard\n");
  },
});

Deno.test({
  ...UNIX,
  name: "main() does not wait for a FIFO that nobody reads, at the start and at SIGHUP",
  async fn() {
    using dir = tempDir();
    const [fifo, log] = [`${dir.path}/fifo`, `${dir.path}/log`];
    new Deno.Command("mkfifo", { args: [fifo] }).outputSync();
    await using refused = spawnCli(["-p", "0", "-o", fifo]);
    assertEquals(await refused.ended(), 1);
    const complaint = `Cannot write to ${fifo}: a FIFO that nobody reads`;
    assertEquals(refused.err.text, `earshot: ${complaint}\n`);
    await using cli = spawnCli(["-p", "0", "-q", "-t", "none", "-o", log]);
    using conn = await connectTo(await cli.port());
    Deno.renameSync(log, `${log}.old`);
    Deno.symlinkSync(fifo, log);
    cli.kill("SIGHUP");
    await cli.err.until("a FIFO that nobody reads; the old file stays open\n");
    await writeAll(conn, encode("heard\n"));
    await untilTrue(() => Deno.readTextFileSync(`${log}.old`).endsWith("| heard\n"));
    cli.kill("SIGTERM");
    assertEquals(await cli.ended(), 0);
  },
});

Deno.test({
  ...UNIX,
  name: "main() keeps its file when the directory is gone at SIGHUP, and comes back with it",
  async fn() {
    using dir = tempDir();
    const [folder, link] = [`${dir.path}/logs`, `${dir.path}/link`];
    Deno.mkdirSync(folder);
    // A symbolic link to what does not exist yet.
    Deno.symlinkSync(`${folder}/log`, link);
    await using cli = spawnCli(["-p", "0", "-q", "-t", "none", "-o", link]);
    using conn = await connectTo(await cli.port());
    await writeAll(conn, encode("one\n"));
    await untilTrue(() => Deno.statSync(link).size > 0);
    Deno.linkSync(`${folder}/log`, `${dir.path}/old`);
    Deno.removeSync(folder, { recursive: true });
    cli.kill("SIGHUP");
    await cli.err.until("; the old file stays open\n");
    await writeAll(conn, encode("two\n"));
    await untilTrue(() => Deno.readTextFileSync(`${dir.path}/old`).endsWith("| two\n"));
    Deno.mkdirSync(folder);
    cli.kill("SIGHUP");
    await untilTrue(() => exists(`${folder}/log`));
    await writeAll(conn, encode("three\n"));
    await untilTrue(() => Deno.readTextFileSync(link).endsWith("| three\n"));
    cli.kill("SIGTERM");
    assertEquals(await cli.ended(), 0);
    assertEquals(Deno.readTextFileSync(`${dir.path}/old`).split("\n").length, 3);
  },
});

Deno.test({
  ...UNIX,
  name: "main() outlives the hang-up of a service without --output, and says so once",
  async fn() {
    await using cli = spawnCli(["-p", "0", "-q", "-t", "none"]);
    const port = await cli.port();
    for (let i = 0; i < 3; i++) cli.kill("SIGHUP");
    using conn = await connectTo(port);
    await writeAll(conn, encode("heard\n"));
    await cli.out.until("| heard\n");
    cli.kill("SIGTERM");
    assertEquals(await cli.ended(), 0);
    assertEquals(cli.err.count("earshot: SIGHUP: "), 1);
  },
});

Deno.test({
  ...PROC,
  name: "main() exits with 1 when stdout was closed at the start",
  async fn() {
    const script = new URL("../main.ts", import.meta.url).href;
    const child = new Deno.Command("sh", {
      args: ["-c", `exec "$0" run -q --allow-all "$1" -p 0 >&-`, Deno.execPath(), script],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    const err = new Capture();
    const collecting = (async () => {
      for await (const bytes of child.stderr) err.writeSync(bytes);
    })();
    await err.until("\n");
    using _conn = await connectTo(Number(/127\.0\.0\.1:(\d+)/.exec(err.text)![1]));
    assertEquals((await child.status).code, 1);
    await collecting;
    assertMatch(err.text, /Cannot write to stdout: it is closed\n$/);
  },
});
