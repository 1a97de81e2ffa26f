import { assert, assertEquals, assertMatch } from "@std/assert";
import { decode, encode } from "../lib/bytes.ts";
import { makeCertificate } from "./support/certificates.ts";
import { connectAndReset } from "./support/connections.ts";
import { bytesOf, latin1 } from "./support/data.ts";
import { tempDir } from "./support/files.ts";
import { Feed, MemoryListener } from "./support/memory.ts";
import { logOf, NOW_MS, serve, serveFrom } from "./support/serving.ts";
import { turn, untilTrue } from "./support/waiting.ts";
import { writeAll } from "../lib/io.ts";
import { NET, TLS } from "./support/needs.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const MULTIPLEXERS = ["poll", "select"] as const;

for (const multiplexer of MULTIPLEXERS) {
  Deno.test({
    ...NET,
    name:
      `startServer() outlives hundreds of clients that reset before they are accepted (${multiplexer})`,
    timeout: 120_000,
    async fn() {
      await using running = await serve(["-t", "none", "--multiplexer", multiplexer]);
      await Promise.all(Array.from({ length: 300 }, () => connectAndReset(running.port)));
      using client = await running.connect();
      await writeAll(client, encode("still there?\n"));
      await running.out.until("| still there?\n");
      running.server.reportStats();
      const [, total, errors] = /open, (\d+) total.* (\d+) accept errors?/
        .exec(running.err.lines.at(-1)!)!.map(Number);
      assertEquals(total! + errors!, 301);
    },
  });

  Deno.test({
    ...NET,
    name: `startServer() serves a fast client among hundreds that drip (${multiplexer})`,
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
  ...NET,
  name: "startServer() hears 2,000 clients at once",
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
  ...NET,
  name: "startServer() never lets a client forge a label",
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
  ...NET,
  name: "startServer() goes on when the clock jumps back",
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
  ...TLS,
  name: "startServer() hears TLS clients beside silent ones, junk and half a handshake",
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
    // Those 20 that said nothing are probes, and leave no record.
    assertEquals(running.out.count(" disconnected: "), 53);
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
    // It waits for news by now.
    for (let i = 0; i < 3; i++) await turn();
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
    ...NET,
    name: `startServer() bounds what it holds when many with half a line ${moment}`,
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

/** A client in memory that nothing can be sent to. */
class Deaf extends Feed {
  write(): Promise<number> {
    return Promise.reject(new Deno.errors.ConnectionReset("Connection reset by peer"));
  }
}

/** A slow reader of the log, which counts the records of each client. */
class CountingOutput {
  readonly counts = new Map<string, number>();
  /** By how many records the client that was heard most was ahead of the one that was heard least. */
  largestLead = 0;
  #rest = "";

  constructor(clients: number) {
    for (let number = 1; number <= clients; number++) this.counts.set(`#${number}`, 0);
  }

  write(bytes: Uint8Array): Promise<number> {
    // A write may end anywhere in a record.
    const text = this.#rest + decode(bytes);
    this.#rest = text.slice(text.lastIndexOf("\n") + 1);
    for (const [, number = ""] of text.matchAll(/^(#\d+).*\n/gm)) {
      this.counts.set(number, this.counts.get(number)! + 1);
    }
    // Longer than a round may take.
    for (const untilMs = performance.now() + 60; performance.now() < untilMs;);
    const counts = [...this.counts.values()];
    this.largestLead = Math.max(this.largestLead, Math.max(...counts) - Math.min(...counts));
    return Promise.resolve(bytes.length);
  }
}

for (const multiplexer of MULTIPLEXERS) {
  Deno.test(`startServer() hears a client on that cannot be sent its echo (${multiplexer})`, async () => {
    const listener = new MemoryListener();
    const args = ["-t", "none", "--echo", "--multiplexer", multiplexer];
    await using running = await serveFrom(listener, args);
    const deaf = new Deaf();
    listener.connect(deaf);
    for (let i = 0; i < 10; i++) {
      deaf.push(`line ${i}\n`);
      await running.out.until(`| line ${i}\n`);
    }
    deaf.push("the last");
    deaf.end();
    await running.out.until(" disconnected: ");
    assertEquals(running.out.count("+ the last\n"), 1);
  });

  Deno.test(`startServer() starves nobody when each round is cut short (${multiplexer})`, async () => {
    const listener = new MemoryListener();
    const stdout = new CountingOutput(8);
    const args = ["-q", "-t", "none", "--multiplexer", multiplexer];
    await using running = await serveFrom(listener, args, { stdout });
    const turnBytes = 64 * 1024;
    for (let i = 0; i < 8; i++) {
      const feed = new Feed();
      feed.push("\n".repeat(3 * turnBytes));
      feed.end();
      listener.connect(feed);
    }
    const isComplete = () => [...stdout.counts.values()].every((count) => count === 3 * turnBytes);
    await untilTrue(isComplete);
    assert(stdout.largestLead <= 2 * turnBytes, `${stdout.largestLead} records ahead`);
    running.server.stop();
  });
}

Deno.test({
  ...TLS,
  name: "startServer() has a place for an honest TLS client after silent ones took all",
  async fn() {
    using dir = tempDir();
    const { cert, key } = makeCertificate(dir.path);
    const args = ["--tls-cert", cert, "--tls-key", key, "-t", "none", "-m", "5", "-i", "1"];
    await using running = await serve(args);
    using stack = new DisposableStack();
    for (let i = 0; i < 5; i++) stack.use(await running.connect());
    await running.err.until("5 connections, no more are accepted");
    using honest = await Deno.startTls(await running.connect() as Deno.TcpConn, {
      hostname: "localhost",
      caCerts: [Deno.readTextFileSync(cert)],
    });
    await writeAll(honest, encode("heard\n"));
    await running.out.until("| heard\n");
    await running.out.until("(no TLS handshake within 1 s)\n", 5);
  },
});
