import { assert, assertEquals, assertMatch } from "@std/assert";
import { encode } from "./bytes.ts";
import { makeCertificate } from "./certificates.ts";
import { Feed, MemoryListener } from "./fakes.ts";
import { writeAll } from "./io.ts";
import { logOf, NOW_MS, serve, serveFrom, spawnCli } from "./serving.ts";
import {
  bytesOf,
  connectAndReset,
  connectTo,
  exists,
  hasProgram,
  latin1,
  noNet,
  noProc,
  noRun,
  noSignals,
  pause,
  tempDir,
  untilTrue,
  upTo,
} from "./testing.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const MULTIPLEXERS = ["poll", "select"] as const;

Deno.test({
  name: "main() writes every line once when the reader of its pipe stops for a while",
  ignore: noSignals,
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
      await pause(50);
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

/** Figures of a process from /proc: memory in KB, and processor time in ticks of 10 ms. */
function figuresOf(pid: number) {
  const status = Deno.readTextFileSync(`/proc/${pid}/status`);
  const field = (name: string) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)![1]);
  const stat = Deno.readTextFileSync(`/proc/${pid}/stat`).replace(/^.*\) /, "").split(" ");
  return {
    rssKb: field("VmRSS"),
    peakKb: field("VmHWM"),
    ticks: Number(stat[11]) + Number(stat[12]),
  };
}

for (const multiplexer of MULTIPLEXERS) {
  Deno.test({
    name:
      `startServer() outlives hundreds of clients that reset before they are accepted (${multiplexer})`,
    ignore: noNet,
    timeout: 120_000,
    async fn() {
      await using running = await serve(["-t", "none", "--multiplexer", multiplexer]);
      await Promise.all(Array.from({ length: 300 }, () => connectAndReset(running.port)));
      using client = await running.connect();
      await writeAll(client, encode("still there?\n"));
      await running.out.until("| still there?\n");
      running.server.reportStats();
      const [, total, errors] = /open (\d+) total.* (\d+) accept errors?/
        .exec(running.err.lines.at(-1)!)!.map(Number);
      assertEquals(total! + errors!, 301);
    },
  });

  Deno.test({
    name: `startServer() serves a fast client among hundreds that drip (${multiplexer})`,
    ignore: noNet,
    timeout: 120_000,
    async fn() {
      await using running = await serve(["-q", "-t", "none", "--multiplexer", multiplexer]);
      using stack = new DisposableStack();
      const drips: Deno.Conn[] = [];
      for (let i = 0; i < 300; i++) drips.push(stack.use(await running.connect()));
      using fast = await running.connect();
      for (let round = 0; round < 10; round++) {
        await Promise.all(drips.map((conn) => writeAll(conn, encode("d"))));
        await writeAll(fast, encode(`fast ${round}\n`.repeat(100)));
        await running.out.until(`| fast ${round}\n`, 100);
      }
      assertEquals(running.out.count("\n"), 1000);
      await Promise.all(drips.map((conn) => writeAll(conn, encode("\n"))));
      await running.out.until("| dddddddddd\n", 300);
    },
  });
}

Deno.test({
  name: "startServer() hears 2,000 clients at once",
  ignore: noNet,
  timeout: 120_000,
  async fn() {
    await using running = await serve(["-q", "-t", "none", "-m", "2000"]);
    await Promise.all(Array.from({ length: 2000 }, async (_, i) => {
      using client = await running.connect();
      await writeAll(client, encode(`client ${i}\nand its end`));
    }));
    await running.out.until("+ and its end\n", 2000);
    const heard = new Set(running.out.text.match(/(?<=\| client )\d+$/gm));
    assertEquals([heard.size, running.out.count("\n")], [2000, 4000]);
  },
});

Deno.test({
  name: "startServer() never lets a client forge a label",
  ignore: noNet,
  timeout: 120_000,
  async fn() {
    for (const color of ["always", "never"]) {
      const forgeries = [
        "\r#1 127.0.0.1:1 | forged",
        "\x1B[2K\x1B[1G#1 127.0.0.1:1 | forged",
        "\x1B]0;title\x07\x1B]52;c;Zm9yZ2Vk\x07",
        latin1(encode("\u2028#1 127.0.0.1:1 | forged\u2029")),
        latin1(encode("\u202E|\u2066#1\u2069 \u0085#1 127.0.0.1:1 | forged \u009B2J")),
        "#1 127.0.0.1:1 | forged",
        "\b\b\b\b\b\b\b\b\x7F\x7F+ forged",
        "\x0B\x0C#1 127.0.0.1:1 connected",
      ];
      const input = bytesOf(forgeries.map((text) => `${text}\n`).join("") + "\r\rlast");
      const lines = await logOf(["--color", color], input);
      assertEquals(lines.length, forgeries.length + 3);
      const label = color === "always"
        ? "\x1B[38;5;166m#1 127.0.0.1:PORT\x1B[0m"
        : "#1 127.0.0.1:PORT";
      for (const [i, line] of lines.entries()) {
        assert(line.startsWith(`${label} `), line);
        const said = line.slice(label.length + 1);
        assertMatch(said, /^([|+] |connected$|disconnected: )/);
        // deno-lint-ignore no-control-regex -- control characters are what it is about
        assert(!/[\0-\x1F\x7F-\x9F\u2028-\u202E\u2066-\u2069]/.test(said), `${i}: ${said}`);
      }
    }
  },
});

Deno.test({
  name: "startServer() goes on when the clock jumps back",
  ignore: noNet,
  timeout: 120_000,
  async fn() {
    let nowMs = NOW_MS;
    await using running = await serve(["-t", "elapsed", "-i", "1000"], { now: () => nowMs });
    using client = await running.connect();
    for (const jump of [0, 5000, -3_600_000, 1]) {
      nowMs += jump;
      await writeAll(client, encode(`${jump}\n`));
      await running.out.until(`| ${jump}\n`);
    }
    const said = running.out.lines.slice(1).map((line) => line.replace(/#.*\|/, "|"));
    assertEquals(said, ["0.000 | 0", "5.000 | 5000", "0.000 | -3600000", "0.000 | 1"]);
    assertEquals(running.out.count("disconnected"), 0);
  },
});

Deno.test({
  name: "startServer() hears TLS clients beside silence, junk and half a handshake",
  ignore: noRun || !hasProgram("openssl"),
  timeout: 120_000,
  async fn() {
    using dir = tempDir();
    const { cert, key } = makeCertificate(dir.path);
    await using running = await serve(["--tls-cert", cert, "--tls-key", key, "-t", "none"]);
    using stack = new DisposableStack();
    const hello = "\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03";
    const openings = [
      "",
      "",
      "\x16",
      hello,
      hello + "\0".repeat(200),
      "\xFF".repeat(3000),
      "GET /\n",
    ];
    for (let i = 0; i < 70; i++) {
      const conn = stack.use(await running.connect());
      await conn.write(bytesOf(openings[i % openings.length]!)).catch(() => {});
    }
    await running.out.until("TLS handshake failed", 20);
    const caCerts = [Deno.readTextFileSync(cert)];
    for (let i = 0; i < 3; i++) {
      using client = await Deno.startTls(await running.connect() as Deno.TcpConn, {
        hostname: "localhost",
        caCerts,
      });
      await writeAll(client, encode(`secret ${i}\n`));
      await running.out.until(`| secret ${i}\n`);
    }
    // Only then can the server close the handshakes that it has given up.
    stack.dispose();
    running.server.stop();
    await running.server.finished;
    assertEquals(running.out.count(" connected\n"), 3);
    assertEquals(running.out.count(" disconnected: "), 73);
  },
});

Deno.test({
  name: "main() waits without spinning when descriptors run out, and goes on when some are free",
  ignore: noProc,
  timeout: 120_000,
  async fn() {
    await using cli = spawnCli(["-p", "0", "-t", "none"], { descriptors: 60 });
    const port = await cli.port();
    const conns: Deno.Conn[] = [];
    for (let i = 0; i < 100; i++) conns.push(await connectTo(port));
    await cli.err.until("new clients wait\n");
    // The one figure of time in these tests: a spin takes a whole core, waiting nearly nothing.
    const before = figuresOf(cli.pid).ticks;
    await pause(1000);
    const ticks = figuresOf(cli.pid).ticks - before;
    assert(ticks < 30, `${ticks} ticks of 100 while there is nothing to do`);
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
  name: "main() holds no more memory when 100 MB come without a line end",
  ignore: noProc,
  timeout: 120_000,
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
    assertEquals(log.match(/ \+ x+$/gm)!.join("").replace(/[^x]/g, "").length, 100_000_000);
  },
});

Deno.test({
  name: "main() logs all that has arrived when it is stopped in the middle of a burst",
  ignore: noSignals,
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
      conns.map((conn) => writeAll(conn, encode(`${"x".repeat(99)}\n`.repeat(500)))),
    );
    cli.kill("SIGTERM");
    assertEquals(await cli.ended(), 0);
    assertEquals(cli.out.count(`| ${"x".repeat(99)}\n`), 25_000);
    assertEquals(cli.out.count("50000 bytes, 500 lines, "), 50);
  },
});

Deno.test({
  name: "main() neither loses nor doubles a line in a storm of SIGHUP",
  ignore: noSignals,
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
      await pause(5);
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
  name: "main() does not call clients idle when it was stopped itself",
  ignore: noSignals,
  timeout: 120_000,
  async fn() {
    await using cli = spawnCli(["-p", "0", "-t", "none", "-i", "1.5"]);
    const port = await cli.port();
    using silent = await connectTo(port);
    using talking = await connectTo(port);
    await writeAll(talking, encode("before\n"));
    await cli.out.until("| before\n");
    cli.kill("SIGSTOP");
    await pause(1000);
    await writeAll(talking, encode("meanwhile\n"));
    await pause(2000);
    cli.kill("SIGCONT");
    await cli.out.until("| meanwhile\n");
    for (let i = 0; i < 5; i++) {
      await writeAll(talking, encode(`after ${i}\n`));
      await cli.out.until(`| after ${i}\n`);
    }
    assertEquals(await silent.read(new Uint8Array(1)), null);
    await cli.out.until(" disconnected: ");
    const ends = cli.out.lines.filter((line) => line.includes("disconnected"));
    assertEquals(ends, [
      "#1 127.0.0.1:PORT disconnected: 0 bytes, 0 lines, 0.0 s (idle for 1.5 s)",
    ]);
  },
});

for (const multiplexer of MULTIPLEXERS) {
  Deno.test(`startServer() hears what came while it stood still before it looks who is idle (${multiplexer})`, async () => {
    const listener = new MemoryListener();
    const args = ["-t", "none", "-i", "0.2", "--multiplexer", multiplexer];
    await using running = await serveFrom(listener, args);
    const feed = new Feed();
    listener.connect(feed);
    feed.push("before\n");
    await running.out.until("| before\n");
    await pause(100);
    // Across the client's deadline; what has come meanwhile is known a turn later.
    for (const untilMs = performance.now() + 300; performance.now() < untilMs;);
    setTimeout(() => feed.push("meanwhile\n"), 0);
    await running.out.until(" disconnected: ");
    assertEquals(running.out.count("| meanwhile\n"), 1);
    assertEquals(running.out.count("(idle for 0.2 s)\n"), 1);
  });
}

/** The memory of a round: 1 MiB, what came last, and room to double. */
const MAX_HELD_BYTES = 4 * 1024 * 1024;

/** A stdout that remembers how much was held to be written, and how many lines came. */
class SizedOutput {
  largestBytes = 0;
  readonly #ended = Promise.withResolvers<void>();
  #linesLeft: number;

  constructor(lines: number) {
    this.#linesLeft = lines;
  }

  write(bytes: Uint8Array): Promise<number> {
    this.largestBytes = Math.max(this.largestBytes, bytes.buffer.byteLength);
    for (let at = -1; (at = bytes.indexOf(0x0A, at + 1)) >= 0;) this.#linesLeft--;
    if (this.#linesLeft <= 0) this.#ended.resolve();
    return Promise.resolve(bytes.length);
  }

  get ended(): Promise<void> {
    return this.#ended.promise;
  }
}

for (
  const [moment, args] of [
    ["are idle at once", ["-i", "1"]],
    ["are flushed at once", ["--flush-after", "1"]],
    ["are stopped at once", []],
  ] as const
) {
  Deno.test({
    name: `startServer() bounds what it holds when many with half a line ${moment}`,
    ignore: noNet,
    timeout: 60_000,
    async fn() {
      const out = new SizedOutput(60);
      await using running = await serve(["-q", "-t", "none", ...args], { stdout: out });
      using stack = new DisposableStack();
      // Each byte becomes four of the log: 14 MB in all.
      const half = new Uint8Array(60_000).fill(0xFF);
      await Promise.all(Array.from({ length: 60 }, async () => {
        await writeAll(stack.use(await running.connect()), half);
      }));
      if (args.length === 0) running.server.stop();
      await out.ended;
      assert(out.largestBytes <= MAX_HELD_BYTES, `${out.largestBytes} bytes`);
    },
  });
}

Deno.test({
  name: "main() tells raw's stderr of each client that a stop disconnects, if it is read",
  ignore: noSignals,
  timeout: 60_000,
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
