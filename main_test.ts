import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { once } from "node:events";
import { createConnection } from "node:net";
import { Failure, type Io, main, usage } from "./main.ts";
import type { ByteStream } from "./poller.ts";
import { decode, encode } from "./lib/bytes.ts";
import { contentOf, FORMATS } from "./lib/records/records.ts";
import { Capture } from "./tests/support/capture.ts";
import { connectTo, readUpTo } from "./tests/support/connections.ts";
import { bytesOf, latin1 } from "./tests/support/data.ts";
import { byteOf, FaultyListener, FaultyStream } from "./tests/support/faulty.ts";
import { exists, tempDir } from "./tests/support/files.ts";
import { Feed, MemoryListener, MemoryStream } from "./tests/support/memory.ts";
import { spawnCli } from "./tests/support/processes.ts";
import { lag, pick, type Random, randomNumbers, withSeeds } from "./tests/support/random.ts";
import { heardIn, logOf, NOW_MS, serve, serveFrom } from "./tests/support/serving.ts";
import { pause, turn, untilTrue } from "./tests/support/waiting.ts";
import { writeAll } from "./lib/io.ts";
import { IPV6, lacks, needs, NET, RUN, TLS, UNIX } from "./tests/support/needs.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const lacksPermissions = lacks("net", "read", "write", "run", "sys");
if (lacksPermissions) {
  Deno.test.ignore("Tests that need permissions are ignored: `deno task test` runs all", () => {});
}

// -- server: helpers --

const MULTIPLEXERS = ["poll", "select"] as const;

// -- records --

Deno.test({
  ...NET,
  name: "startServer() shows control characters and does not obey them",
  async fn() {
    const shown: [sent: string, logged: string][] = [
      ["tab\there", "tab\there"],
      ["a\x1B[2Jb\rc\x7F", "a\\x1B[2Jb\\x0Dc\\x7F"],
      [
        "\xFF\xFE \xC0\xAF \xED\xA0\x80 \xE2\x82",
        "\\xFF\\xFE \\xC0\\xAF \\xED\\xA0\\x80 \\xE2\\x82",
      ],
      ["\xF4\x90\x80\x80", "\\xF4\\x90\\x80\\x80"],
      [latin1(encode("é€😀")), "é€😀"],
      [latin1(encode("\uFEFFbom")), "\\u{FEFF}bom"],
      [latin1(encode("\u{E0041}\u200D\uFE0F")), "\\u{E0041}\u200D\uFE0F"],
    ];
    for (let code = 0; code <= 0x1F; code++) {
      const name = code.toString(16).toUpperCase().padStart(2, "0");
      if (code !== 0x09 && code !== 0x0A) {
        shown.push([`<${String.fromCharCode(code)}>`, `<\\x${name}>`]);
      }
    }
    const unsafe = [0x2028, 0x2029, 0x061C, 0x200E, 0x200F];
    for (let code = 0x80; code <= 0x9F; code++) unsafe.push(code);
    for (let code = 0x202A; code <= 0x202E; code++) unsafe.push(code);
    for (let code = 0x2066; code <= 0x2069; code++) unsafe.push(code);
    for (const code of unsafe) {
      const name = code.toString(16).toUpperCase().padStart(4, "0");
      shown.push([latin1(encode(`<${String.fromCharCode(code)}>`)), `<\\u{${name}}>`]);
    }
    const lines = await logOf([], bytesOf(shown.map(([sent]) => `${sent}\n`).join("")));
    assertEquals(
      lines.slice(1, -1),
      shown.map(([, logged]) => `#1 127.0.0.1:PORT | ${logged}`),
    );
  },
});

Deno.test({
  ...NET,
  name: "startServer() shows line ends inside a record when lines end otherwise",
  async fn() {
    const lines = await logOf(["--framing", "nul"], encode("a\r\nb\0rest\n"));
    assertEquals(lines, [
      "#1 127.0.0.1:PORT connected",
      "#1 127.0.0.1:PORT | a\\x0D\\x0Ab",
      "#1 127.0.0.1:PORT + rest\\x0A",
      "#1 127.0.0.1:PORT disconnected: 10 bytes, 2 lines, 0.0 s",
    ]);
    const reads = await logOf(["--framing", "none"], encode("a\nb"));
    assertEquals(reads[1], "#1 127.0.0.1:PORT | a\\x0Ab");
  },
});

Deno.test({
  ...NET,
  name: "startServer() counts the pieces of a cut line as one",
  async fn() {
    assertEquals(await logOf(["--max-line", "4"], encode("123456\r\nabcdefg")), [
      "#1 127.0.0.1:PORT connected",
      "#1 127.0.0.1:PORT + 1234",
      "#1 127.0.0.1:PORT | 56",
      "#1 127.0.0.1:PORT + abcd",
      "#1 127.0.0.1:PORT + efg",
      "#1 127.0.0.1:PORT disconnected: 15 bytes, 2 lines, 0.0 s",
    ]);
  },
});

Deno.test({
  ...NET,
  name: "startServer() disconnects when an octet count is bad",
  async fn() {
    assertEquals(await logOf(["--framing", "octet"], encode("2 hi hello")), [
      "#1 127.0.0.1:PORT connected",
      "#1 127.0.0.1:PORT | hi",
      "#1 127.0.0.1:PORT +  hello",
      "#1 127.0.0.1:PORT disconnected: 10 bytes, 2 lines, 0.0 s (bad octet count)",
    ]);
  },
});

Deno.test({
  ...NET,
  name: "startServer() writes an object a line when the format is json",
  async fn() {
    const input = bytesOf(`plain\nq"\\\t${latin1(encode("é\u2028\x9B"))}\n\xFF\x00\ncut`);
    const peer = `"connection":1,"host":"127.0.0.1","port":1`;
    assertEquals(await logOf(["--format", "json"], input), [
      `{"event":"connected",${peer}}`,
      `{"event":"line",${peer},"message":"plain"}`,
      `{"event":"line",${peer},"message":"q\\"\\\\\\té\\u2028\\u009B"}`,
      `{"event":"line",${peer},"message_base64":"/wA="}`,
      `{"event":"line",${peer},"message":"cut","cut":true}`,
      `{"event":"disconnected",${peer},"bytes":${input.length},"lines":4,"seconds":0,"reason":"closed"}`,
    ]);
  },
});

Deno.test({
  ...NET,
  name: "startServer() writes json that can be parsed and loses nothing, whatever comes",
  async fn() {
    const random = randomNumbers(3);
    const input = Uint8Array.from({ length: 50_000 }, () => {
      return random(20) === 0 ? random(256) : random(8) === 0 ? 0 : 0x20 + random(0x60);
    });
    const lines = await logOf(["--format", "json", "--framing", "nul"], input);
    const records = lines.map((line) => JSON.parse(line)).filter(({ event }) => event === "line");
    const messages = records.map(({ message, message_base64, cut }) => {
      const bytes = message_base64 ? Uint8Array.fromBase64(message_base64) : encode(message);
      return latin1(bytes) + (cut ? "" : "\0");
    });
    assertEquals(messages.join("") === latin1(input), true);
    assert(records.some(({ message_base64 }) => message_base64));
    assert(records.some(({ message }) => message));
  },
});

Deno.test({
  ...NET,
  name: "startServer() writes exactly the bytes received when the format is raw",
  async fn() {
    await using running = await serve(["--format", "raw", "--time", "none"]);
    const bytes = Uint8Array.from({ length: 300_000 }, (_, i) => i * 7);
    {
      using client = await running.connect();
      await writeAll(client, bytes);
    }
    await running.err.until("disconnected");
    assertEquals(running.out.binary === latin1(bytes), true);
    assertEquals(running.err.lines.slice(1), [
      "#1 127.0.0.1:PORT connected",
      "#1 127.0.0.1:PORT disconnected: 300000 bytes, 0.0 s",
    ]);
  },
});

Deno.test({
  ...NET,
  name: "startServer() shows chunks with offsets when the format is hex",
  async fn() {
    await using running = await serve(["--format", "hex", "--time", "none", "--quiet"]);
    using client = await running.connect();
    await writeAll(client, bytesOf("GET / HTTP/1.1\r\n\x7F~\xFF"));
    await running.out.until("|.~.|\n");
    await writeAll(client, encode("x"));
    await running.out.until("|x|\n");
    assertEquals(running.out.lines, [
      "#1 127.0.0.1:PORT > 19 bytes",
      "00000000  47 45 54 20 2f 20 48 54  54 50 2f 31 2e 31 0d 0a  |GET / HTTP/1.1..|",
      "00000010  7f 7e ff                                          |.~.|",
      "#1 127.0.0.1:PORT > 1 byte",
      "00000013  78                                                |x|",
    ]);
  },
});

Deno.test({
  ...needs("hexdump"),
  name: "startServer() shows what hexdump -vC shows",
  async fn() {
    const bytes = Uint8Array.from({ length: 300 }, (_, i) => i < 260 ? i : 0);
    await using hexdump = new Deno.Command("hexdump", {
      args: ["-vC"],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    const writer = hexdump.stdin.getWriter();
    await writer.write(bytes);
    await writer.close();
    const expected = (await hexdump.stdout.text()).split("\n").slice(0, -2);
    const lines = await logOf(["--format", "hex"], bytes);
    assertEquals(lines.slice(2, -1), expected);
  },
});

Deno.test({
  ...NET,
  name: "startServer() dates records in each kind of time",
  async fn() {
    const stamps: string[] = [];
    const objects: unknown[] = [];
    for (const time of ["utc", "local", "elapsed", "none"]) {
      for (const format of ["text", "json"]) {
        let nowMs = NOW_MS - 1234;
        await using running = await serve(["-t", time, "-f", format], { now: () => nowMs });
        nowMs = NOW_MS;
        using _client = await running.connect();
        await running.out.until("connected");
        if (format === "text") stamps.push(running.out.text.split("#")[0]!);
        else objects.push(JSON.parse(running.out.text));
      }
    }
    assertEquals([stamps[0], stamps[2], stamps[3]], ["2026-11-22T23:31:05.123Z ", "1.234 ", ""]);
    assertMatch(stamps[1]!, /^2026-11-2\dT\d\d:\d\d:05\.123[+-]\d\d:\d\d $/);
    assertEquals(Date.parse(stamps[1]!.trim()), NOW_MS);
    const [utc, local, elapsed, none] = objects as Record<string, unknown>[];
    assertEquals(utc?.timestamp, "2026-11-22T23:31:05.123Z");
    assertEquals(`${local?.timestamp} `, stamps[1]);
    assertEquals([elapsed?.elapsed, elapsed?.timestamp], [1.234, undefined]);
    assertEquals([none?.elapsed, none?.timestamp], [undefined, undefined]);
  },
});

Deno.test({
  ...NET,
  name: "startServer() colours labels and nothing else when it is wanted",
  async fn() {
    for (const wantsColor of [true, false]) {
      for (const color of ["auto", "always", "never"]) {
        await using running = await serve(["--color", color, "-t", "none"], { wantsColor });
        using client = await running.connect();
        await writeAll(client, encode("\x1B[31mred\n"));
        await running.out.until("red\n");
        const line = running.out.lines[1]!;
        if (color === "always" || color === "auto" && wantsColor) {
          assertMatch(
            line,
            // deno-lint-ignore no-control-regex -- colours are control characters
            /^\x1B\[38;5;\d+m#1 127\.0\.0\.1:PORT\x1B\[0m \| \\x1B\[31mred$/,
          );
        } else {
          assertEquals(line, "#1 127.0.0.1:PORT | \\x1B[31mred");
        }
      }
    }
  },
});

Deno.test({
  ...IPV6,
  name: "startServer() brackets IPv6 peers and shows mapped ones as IPv4",
  async fn() {
    await using six = await serve(["--host", "::1", "-t", "none"]);
    using _six = await six.connect();
    await six.out.until("connected\n");
    assertEquals(six.out.lines, ["#1 [::1]:PORT connected"]);
    assertMatch(six.err.text, /^listening on \[::1\]:\d+ \(this machine only; /);

    await using both = await serve(["--host", "::", "--allow", "127.0.0.0/8", "-t", "none"]);
    using _four = await both.connect();
    await both.out.until("connected\n");
    assertEquals(both.out.lines, ["#1 127.0.0.1:PORT connected"]);
  },
});

// -- server --

for (const multiplexer of MULTIPLEXERS) {
  const extra = ["--multiplexer", multiplexer, "--time", "none"];

  Deno.test({
    ...NET,
    name: `startServer() gives whole labelled lines when clients are interleaved (${multiplexer})`,
    async fn() {
      await using running = await serve(extra);
      using clients = new DisposableStack();
      const conns: Deno.Conn[] = [];
      for (let i = 0; i < 8; i++) conns.push(clients.use(await running.connect()));
      const [talkers, rounds] = [conns.length, 20];
      for (let round = 0; round < rounds; round++) {
        await Promise.all(conns.map((conn, i) => writeAll(conn, encode(`from ${i}, `))));
        await Promise.all(
          conns.map((conn, i) => writeAll(conn, encode(`round ${round} of ${i}\n`))),
        );
      }
      await running.out.until(" | from", talkers * rounds);
      const said = Map.groupBy(running.out.text.split("\n").slice(0, -1), (line) => {
        return line.split(" ").slice(0, 2).join(" ");
      });
      assertEquals(said.size, talkers);
      for (const [i, conn] of conns.entries()) {
        const { port } = conn.localAddr as Deno.NetAddr;
        const [label, lines] = [...said].find(([label]) => label.endsWith(`:${port}`))!;
        const expected = Array.from(
          { length: rounds },
          (_, round) => `${label} | from ${i}, round ${round} of ${i}`,
        );
        assertEquals(lines, [`${label} connected`, ...expected]);
      }
    },
  });

  Deno.test({
    ...NET,
    name:
      `startServer() logs the last line without an end when a client half-closes (${multiplexer})`,
    async fn() {
      await using running = await serve(extra);
      using client = await running.connect();
      await writeAll(client, encode("whole\nlast"));
      await client.closeWrite();
      assertEquals(await client.read(new Uint8Array(1)), null);
      await running.out.until("disconnected");
      assertEquals(running.out.lines, [
        "#1 127.0.0.1:PORT connected",
        "#1 127.0.0.1:PORT | whole",
        "#1 127.0.0.1:PORT + last",
        "#1 127.0.0.1:PORT disconnected: 10 bytes, 2 lines, 0.0 s",
      ]);
    },
  });

  Deno.test({
    ...NET,
    name: `startServer() logs the cut line and the reason when a client resets (${multiplexer})`,
    async fn() {
      await using running = await serve(extra);
      const client = createConnection(running.port, "127.0.0.1");
      client.write("whole\npart");
      await running.out.until("| whole\n");
      const closed = once(client, "close");
      client.resetAndDestroy();
      await closed;
      await running.out.until("disconnected");
      assertEquals(running.out.lines, [
        "#1 127.0.0.1:PORT connected",
        "#1 127.0.0.1:PORT | whole",
        "#1 127.0.0.1:PORT + part",
        "#1 127.0.0.1:PORT disconnected: 10 bytes, 2 lines, 0.0 s (reset by peer)",
      ]);
    },
  });

  Deno.test({
    ...NET,
    name:
      `startServer() holds the third client of two until one leaves, and loses nothing (${multiplexer})`,
    async fn() {
      await using running = await serve(["--max-connections", "2", ...extra]);
      using first = await running.connect();
      using second = await running.connect();
      await running.out.until("connected\n", 2);
      await running.err.until("2 connections, no more are accepted (--max-connections)\n");
      {
        using third = await running.connect();
        await writeAll(third, encode("from the third\n"));
      }
      for (const client of [first, second, first]) await writeAll(client, encode("hello\n"));
      await running.out.until("| hello\n", 3);
      assertEquals(running.out.count("#3"), 0);
      await first.closeWrite();
      await running.out.until("disconnected", 2);
      assertEquals(running.out.lines.slice(-3), [
        "#3 127.0.0.1:PORT connected",
        "#3 127.0.0.1:PORT | from the third",
        "#3 127.0.0.1:PORT disconnected: 15 bytes, 1 line, 0.0 s",
      ]);
      await running.err.until("earshot: connections are accepted again\n");
      assertEquals(running.err.count("no more are accepted"), 1);
    },
  });

  Deno.test({
    ...NET,
    name: `startServer() disconnects the silent client and keeps the talking one (${multiplexer})`,
    async fn() {
      await using running = await serve(["--idle-timeout", "0.3", ...extra]);
      using talking = await running.connect();
      using _silent = await running.connect();
      while (!running.out.text.includes("disconnected")) {
        await writeAll(talking, encode("x\n"));
        await pause(10);
      }
      const ends = running.out.lines.filter((line) => line.includes("disconnected"));
      assertEquals(ends, [
        "#2 127.0.0.1:PORT disconnected: 0 bytes, 0 lines, 0.0 s (idle for 0.3 s)",
      ]);
    },
  });

  Deno.test({
    ...NET,
    name: `startServer() refuses peers kept out by the rules (${multiplexer})`,
    async fn() {
      const rules: [rules: string[], isWelcome: boolean][] = [
        [["--deny", "127.0.0.0/8"], false],
        [["--deny", "127.0.0.1"], false],
        [["--deny", "0.0.0.0/0"], false],
        [["--deny", "::ffff:127.0.0.0/104"], false],
        [["--allow", "10.0.0.0/8"], false],
        [["--allow", "::/0"], false],
        [["--allow", "127.0.0.0/8", "--deny", "127.0.0.1"], false],
        [["--allow", "10.0.0.0/8", "--allow", "127.0.0.1"], true],
        [["--allow", "0.0.0.0/0"], true],
        [["--deny", "127.0.0.2", "--deny", "::/0"], true],
      ];
      for (const [args, isWelcome] of rules) {
        await using running = await serve([...args, ...extra]);
        using _client = await running.connect();
        await running.out.until("\n");
        const expected = isWelcome ? "#1 127.0.0.1:PORT connected" : "refused 127.0.0.1:PORT";
        assertEquals(running.out.lines, [expected], args.join(" "));
      }
      await using running = await serve(["--deny", "127.0.0.1", "-f", "json", ...extra]);
      using _client = await running.connect();
      await running.out.until("\n");
      assertEquals(running.out.lines, [
        `{"event":"refused","host":"127.0.0.1","port":1,"reason":"not allowed"}`,
      ]);
    },
  });

  Deno.test({
    ...NET,
    name:
      `startServer() writes no records of connects, disconnects and refusals when quiet (${multiplexer})`,
    async fn() {
      await using running = await serve(["--quiet", ...extra]);
      {
        using client = await running.connect();
        await writeAll(client, encode("one\ntwo"));
      }
      await running.out.until("two\n");
      await running.server[Symbol.asyncDispose]();
      assertEquals(running.out.lines, ["#1 127.0.0.1:PORT | one", "#1 127.0.0.1:PORT + two"]);
    },
  });

  Deno.test({
    ...NET,
    name: `startServer() sends 3 MB back as they came (${multiplexer})`,
    async fn() {
      await using running = await serve(["--echo", "--format", "hex", ...extra], {
        stdout: { write: (bytes) => Promise.resolve(bytes.length) },
      });
      using client = await running.connect();
      const random = randomNumbers(4);
      const sent = Uint8Array.from({ length: 3_000_000 }, () => random(256));
      const sending = writeAll(client, sent).then(() => client.closeWrite());
      const received = await readUpTo(client, sent.length + 1);
      await sending;
      assertEquals(received.length, sent.length);
      assert(received.every((byte, i) => byte === sent[i]));
    },
  });

  Deno.test({
    ...NET,
    name: `startServer() serves others when a client never reads its echo (${multiplexer})`,
    async fn() {
      await using running = await serve(["--echo", "--format", "raw", "--quiet", ...extra], {
        stdout: { write: (bytes) => Promise.resolve(bytes.length) },
      });
      using greedy = await running.connect();
      using other = await running.connect();
      const size = 20_000_000;
      let isSent = false;
      const sending = writeAll(greedy, new Uint8Array(size)).then(() => isSent = true);
      for (let i = 0; i < 200; i++) {
        await writeAll(other, encode("ping\n"));
        assertEquals(latin1(await readUpTo(other, 5)), "ping\n");
      }
      assertEquals(isSent, false);
      assertEquals((await readUpTo(greedy, size)).length, size);
      await sending;
    },
  });

  Deno.test({
    ...NET,
    name: `startServer() logs what had arrived when it is stopped (${multiplexer})`,
    async fn() {
      await using running = await serve(extra);
      using client = await running.connect();
      await writeAll(client, encode("one\ntwo"));
      running.server.stop();
      await running.server.finished;
      assertEquals(running.out.lines, [
        "#1 127.0.0.1:PORT connected",
        "#1 127.0.0.1:PORT | one",
        "#1 127.0.0.1:PORT + two",
        "#1 127.0.0.1:PORT disconnected: 7 bytes, 2 lines, 0.0 s (shutting down)",
      ]);
    },
  });

  Deno.test({
    ...NET,
    name:
      `startServer() logs what had arrived when it is stopped, though the runtime is late (${multiplexer})`,
    async fn() {
      const texts = ["one\n"];
      const late: ByteStream = {
        async read(target) {
          const text = texts.shift();
          await (text ? pause(5) : new Promise(() => {}));
          target.set(encode(text!));
          return text!.length;
        },
        close() {},
      };
      const listener = new MemoryListener();
      await using running = await serveFrom(listener, extra);
      listener.connect(late);
      await running.out.until(" connected\n");
      running.server.stop();
      await running.server.finished;
      assertEquals(running.out.count(" | one\n"), 1);
    },
  });

  Deno.test({
    ...NET,
    name: `startServer() loses nothing and says so once when the disk is full (${multiplexer})`,
    async fn() {
      const out = new Capture();
      let failures = 2;
      const fullDisk = {
        write(bytes: Uint8Array): Promise<number> {
          if (failures-- <= 0) return out.write(bytes.subarray(0, 100));
          const error = new Error("No space left on device (os error 28)");
          return Promise.reject(Object.assign(error, { code: "ENOSPC" }));
        },
      };
      await using running = await serve(extra, { stdout: fullDisk });
      using client = await running.connect();
      for (let i = 0; i < 100; i++) await writeAll(client, encode(`line ${i}\n`));
      await out.until("line 99\n");
      assertEquals(
        out.lines.slice(1),
        Array.from({ length: 100 }, (_, i) => `#1 127.0.0.1:PORT | line ${i}`),
      );
      assertEquals(running.err.lines.slice(1), [
        "earshot: Cannot write to stdout: no space left on device; clients wait",
        "earshot: stdout works again",
      ]);
    },
  });

  Deno.test({
    ...NET,
    name: `startServer() ends with a Failure when the disk is full until the end (${multiplexer})`,
    async fn() {
      const { promise: tried, resolve } = Promise.withResolvers<void>();
      const fullDisk = {
        write(): Promise<number> {
          resolve();
          return Promise.reject(Object.assign(new Error("No space left"), { code: "ENOSPC" }));
        },
      };
      await using running = await serve(extra, { stdout: fullDisk });
      using _client = await running.connect();
      await tried;
      running.server.stop();
      await assertRejects(() => running.server.finished, Failure, "Cannot write to stdout");
    },
  });

  Deno.test({
    ...NET,
    name: `startServer() ends with a Failure when nobody takes its output (${multiplexer})`,
    async fn() {
      const { promise: tried, resolve } = Promise.withResolvers<void>();
      const stuck = {
        write(): Promise<number> {
          resolve();
          return new Promise(() => {});
        },
      };
      await using running = await serve(extra, { stdout: stuck });
      using _client = await running.connect();
      await tried;
      running.server.stop();
      await assertRejects(() => running.server.finished, Failure, "nobody takes it");
    },
  });

  Deno.test({
    ...NET,
    name: `startServer() ends with a Failure when its output is a broken pipe (${multiplexer})`,
    async fn() {
      const broken = { write: () => Promise.reject(new Deno.errors.BrokenPipe("Broken pipe")) };
      await using running = await serve(extra, { stdout: broken });
      using _client = await running.connect();
      await assertRejects(
        () => running.server.finished,
        Failure,
        "Cannot write to stdout: broken pipe",
      );
    },
  });

  Deno.test({
    ...NET,
    name: `startServer() prints a summary when asked to (${multiplexer})`,
    async fn() {
      await using running = await serve(extra);
      using client = await running.connect();
      await writeAll(client, encode("one\ntwo\n"));
      await running.out.until("| two\n");
      running.server.reportStats();
      assertMatch(
        running.err.lines.at(-1)!,
        /^stats: up \d+ s, connections 1 open, 1 total, 0 refused, 2 lines, 8 bytes, 0 cut, 0 accept errors, [\d.]+ lines\/s$/,
      );
    },
  });
}

Deno.test({
  ...NET,
  name: "startServer() counts lines as cut that were too long, not those without an end",
  async fn() {
    await using running = await serve(["--max-line", "20", "--flush-after", "0.01"]);
    using client = await running.connect();
    await writeAll(client, encode("login: "));
    await running.out.until("+ login: ");
    await writeAll(client, encode("\nlonger than twenty bytes\nrest"));
    await running.out.until("+ rest");
    running.server.reportStats();
    assertMatch(running.err.lines.at(-1)!, / 2 lines, 37 bytes, 1 cut, /);
  },
});

Deno.test({
  ...NET,
  name: "startServer() takes mapped IPv4 rules in hexadecimal, too",
  async fn() {
    for (const rule of ["::ffff:7f00:1", "::ffff:7f00:0/104", "::ffff:0:0/96"]) {
      await using running = await serve(["--deny", rule, "-t", "none"]);
      using _client = await running.connect();
      await running.out.until("\n");
      assertEquals(running.out.lines, ["refused 127.0.0.1:PORT"], rule);
    }
  },
});

Deno.test({
  ...NET,
  name: "startServer() listens on every port and says where",
  async fn() {
    await using running = await serve(["--port", "0"]);
    const ports = running.server.addrs.map((addr) => (addr as Deno.NetAddr).port);
    assertEquals(
      running.err.text,
      ports.map((port) =>
        `listening on 127.0.0.1:${port} (this machine only; --host 0.0.0.0 for every interface)\n`
      ).join(""),
    );
    for (const port of ports) {
      using client = await connectTo(port);
      await writeAll(client, encode("hello\n"));
    }
    await running.out.until("| hello\n", 2);
  },
});

Deno.test({
  ...UNIX,
  name: "startServer() replaces a stale socket file and removes its own",
  async fn() {
    using dir = tempDir();
    const path = `${dir.path}/socket`;
    // A file that has moved is not found, and so not removed, by the one that made it.
    const stale = Deno.listen({ transport: "unix", path: `${path}.old` });
    Deno.renameSync(`${path}.old`, path);
    stale.close();
    assert(exists(path));
    await using running = await serve(["--unix", path, "-t", "none"]);
    assertEquals(running.err.text, `listening on ${path}\n`);
    using client = await Deno.connect({ transport: "unix", path });
    await writeAll(client, encode("hello\n"));
    await running.out.until("| hello\n");
    assertEquals(running.out.lines, ["#1 unix connected", "#1 unix | hello"]);
    await running.server[Symbol.asyncDispose]();
    assert(!exists(path));
  },
});

Deno.test({
  ...UNIX,
  name: "startServer() names the path of a Unix socket when the format is json",
  async fn() {
    using dir = tempDir();
    const path = `${dir.path}/socket`;
    await using running = await serve(["--unix", path, "-t", "none", "-f", "json"]);
    using _client = await Deno.connect({ transport: "unix", path });
    await running.out.until("\n");
    assertEquals(JSON.parse(running.out.text), { event: "connected", connection: 1, path });
  },
});

Deno.test({
  ...UNIX,
  name: "startServer() tells each thing in one line, whatever is in a path",
  async fn() {
    using dir = tempDir();
    const [socket, log] = [`${dir.path}/a\n\x1b[2J`, `${dir.path}/b\nlistening on`];
    await using running = await serve(["--unix", socket, "-o", log]);
    Deno.renameSync(log, `${log}.old`);
    Deno.mkdirSync(log);
    running.server.reload();
    await running.err.until("stays open");
    assertEquals(running.err.text.split("\n"), [
      `listening on ${dir.path}/a\\x0A\\x1B[2J`,
      `earshot: Cannot write to ${dir.path}/b\\x0Alistening on: is a directory; the old file stays open`,
      "",
    ]);
  },
});

Deno.test({
  ...UNIX,
  name: "startServer() fails when a socket is in use or another file is there",
  async fn() {
    using dir = tempDir();
    const [path, file] = [`${dir.path}/socket`, `${dir.path}/file`];
    Deno.writeTextFileSync(file, "precious");
    await using _running = await serve(["--unix", path]);
    const live = await assertRejects(() => serve(["--unix", path]), Failure);
    assertEquals(live.message, `Cannot listen on ${path}: another process listens there`);
    const other = await assertRejects(() => serve(["--unix", file]), Failure);
    assertEquals(other.message, `Cannot listen on ${file}: a file that is no socket is there`);
    assertEquals(Deno.readTextFileSync(file), "precious");
    assert(exists(path));
  },
});

/** Makes a certificate for localhost; returns the paths of it and of its key. */
function makeCertificate(folder: string): [cert: string, key: string] {
  const [cert, key] = [`${folder}/cert.pem`, `${folder}/key.pem`];
  const { success } = new Deno.Command("openssl", {
    args: [
      ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"],
      ...["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
      ...["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", cert],
    ],
    stdout: "null",
    stderr: "null",
  }).outputSync();
  assert(success);
  return [cert, key];
}

Deno.test({
  ...TLS,
  name: "startServer() serves TLS, and junk costs one record",
  async fn() {
    using dir = tempDir();
    const [cert, key] = makeCertificate(dir.path);
    await using running = await serve(["--tls-cert", cert, "--tls-key", key, "-t", "none"]);
    assertMatch(running.err.text, /^listening on 127\.0\.0\.1:\d+ \(TLS; this machine only; /);
    {
      using junk = await running.connect();
      await writeAll(junk, encode("GET / HTTP/1.1\r\n\r\n"));
      await running.out.until("\n");
    }
    assertMatch(
      running.out.lines[0]!,
      /^#1 127\.0\.0\.1:PORT disconnected: 0 bytes, 0 lines, 0\.0 s \(TLS handshake failed: .+\)$/,
    );
    const caCerts = [Deno.readTextFileSync(cert)];
    {
      using client = await Deno.startTls(await running.connect() as Deno.TcpConn, {
        hostname: "localhost",
        caCerts,
      });
      await writeAll(client, encode("secret\n"));
      await running.out.until("| secret\n");
    }
    await running.out.until("#2", 3);
    assertEquals(running.out.lines.slice(1, 3), [
      "#2 127.0.0.1:PORT connected",
      "#2 127.0.0.1:PORT | secret",
    ]);
    assertEquals(running.out.lines.length, 4);
  },
});

Deno.test({
  ...TLS,
  name: "startServer() gives a silent TLS client no longer than the idle timeout",
  async fn() {
    using dir = tempDir();
    const [cert, key] = makeCertificate(dir.path);
    const tls = ["--tls-cert", cert, "--tls-key", key, "-t", "none", "-i", "0.2"];
    await using running = await serve(tls);
    using _silent = await running.connect();
    await running.out.until("\n");
    assertEquals(running.out.lines, [
      "#1 127.0.0.1:PORT disconnected: 0 bytes, 0 lines, 0.0 s (no TLS handshake within 0.2 s)",
    ]);
  },
});

Deno.test({
  name: "main() says what is wrong in one line and gives 2 when the usage is wrong",
  async fn() {
    for (const args of [["-p", "x"], ["-q_"], ["--allow", "fe80::1%eth0"], ["two\nlines"]]) {
      const err = new Capture();
      const io: Io = {
        stdin: new MemoryStream(),
        stdout: new Capture(),
        stderr: err,
        wantsColor: false,
        now: () => NOW_MS,
        exit: () => {},
      };
      assertEquals(await main(args, io), 2, err.text);
      assertMatch(err.text, /^earshot: .+, see --help\n$/);
    }
  },
});

// -- CLI --

Deno.test({
  ...RUN,
  name: "main() prints help and version to stdout",
  async fn() {
    for (const [option, start] of [["--help", usage()], ["--version", "earshot "]] as const) {
      await using cli = spawnCli([option], { permissions: [] });
      assertEquals(await cli.ended(), 0);
      assert(cli.out.text.startsWith(start));
      assertEquals(cli.err.text, "");
    }
  },
});

Deno.test({
  ...RUN,
  name: "main() exits with 2 and prints one line to stderr for an unknown option",
  async fn() {
    await using cli = spawnCli(["--prot", "1"], { permissions: [] });
    assertEquals(await cli.ended(), 2);
    assertEquals(
      cli.err.text,
      `earshot: Unknown option "--prot": did you mean --port?, see --help\n`,
    );
    assertEquals(cli.out.text, "");
  },
});

Deno.test({
  ...RUN,
  name: "main() exits with 1 when the port is in use",
  async fn() {
    using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = taken.addr as Deno.NetAddr;
    await using cli = spawnCli(["--port", `${port}`]);
    assertEquals(await cli.ended(), 1);
    assertMatch(
      cli.err.text,
      new RegExp(`^earshot: Cannot listen on 127\\.0\\.0\\.1:${port}: address already in use\\n$`),
    );
  },
});

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  Deno.test({
    ...UNIX,
    name: `main() logs what has arrived and exits with 0 at ${signal}`,
    async fn() {
      await using cli = spawnCli(["-p", "0", "-t", "none"], { permissions: ["--allow-net"] });
      using client = await connectTo(await cli.port());
      await cli.out.until("connected");
      await writeAll(client, encode("one\ntwo"));
      cli.kill(signal);
      assertEquals(await cli.ended(), 0);
      assertEquals(cli.out.lines, [
        "#1 127.0.0.1:PORT connected",
        "#1 127.0.0.1:PORT | one",
        "#1 127.0.0.1:PORT + two",
        "#1 127.0.0.1:PORT disconnected: 7 bytes, 2 lines, 0.0 s (shutting down)",
      ]);
      assertEquals(cli.err.lines.length, 1);
    },
  });
}

Deno.test({
  ...UNIX,
  name: "main() obeys a signal as soon as it says that it listens",
  async fn() {
    for (let run = 0; run < 5; run++) {
      await using cli = spawnCli(["-p", "0"], { permissions: ["--allow-net"] });
      await cli.port();
      cli.kill("SIGTERM");
      assertEquals(await cli.ended(), 0);
    }
  },
});

/** A process that cannot get rid of its output, because it has heard much and stdout is not read. */
async function spawnStuckCli() {
  const cli = spawnCli(["-p", "0", "--echo"], { stdout: "unread" });
  const client = await connectTo(await cli.port());
  await writeAll(client, encode("x\n"));
  // The echo tells that the loop turns.
  await readUpTo(client, 2);
  const flooding = writeAll(client, encode(`${"x".repeat(999)}\n`.repeat(20_000))).catch(() => {});
  /** Has a summary printed: what was signalled before has been heard, too. Resolves to the bytes. */
  const summarize = async () => {
    const count = cli.err.count("lines/s\n");
    cli.kill("SIGUSR2");
    await cli.err.until("lines/s\n", count + 1);
    return Number(/(\d+) bytes/.exec(cli.err.lines.at(-1)!)![1]);
  };
  let last = 0;
  for (let same = 0; same < 5;) {
    await pause(20);
    const heard = await summarize();
    same = heard === last && heard > 40_000 ? same + 1 : 0;
    last = heard;
  }
  return {
    ...cli,
    summarize,
    async [Symbol.asyncDispose]() {
      await cli[Symbol.asyncDispose]();
      await flooding;
      client.close();
    },
  };
}

Deno.test({
  ...UNIX,
  name: "main() exits with 1 when nobody reads stdout after a signal",
  async fn() {
    await using cli = await spawnStuckCli();
    cli.kill("SIGTERM");
    assertEquals(await cli.ended(), 1);
    assertEquals(cli.err.lines.slice(1).filter((line) => !line.startsWith("stats: ")), [
      "earshot: Cannot write to stdout: nobody takes it; what was not written is lost",
    ]);
  },
});

Deno.test({
  ...UNIX,
  name: "main() exits with 128 and the signal's number at a second signal",
  async fn() {
    for (const [signal, number] of [["SIGINT", 2], ["SIGTERM", 15]] as const) {
      await using cli = await spawnStuckCli();
      cli.kill("SIGTERM");
      await cli.summarize();
      await cli.summarize();
      cli.kill(signal);
      assertEquals(await cli.ended(), 128 + number);
    }
  },
});

Deno.test({
  ...UNIX,
  name: "main() exits with 1 and one line when stdout is closed",
  async fn() {
    await using cli = spawnCli(["-p", "0"], { stdout: "closed" });
    using _client = await connectTo(await cli.port());
    assertEquals(await cli.ended(), 1);
    assertEquals(cli.err.lines.slice(1), ["earshot: Cannot write to stdout: broken pipe"]);
  },
});

Deno.test({
  ...UNIX,
  name: "main() opens --output anew at SIGHUP and neither loses nor doubles a line",
  async fn() {
    using dir = tempDir();
    const [path, moved] = [`${dir.path}/log`, `${dir.path}/log.1`];
    await using cli = spawnCli(["-p", "0", "-t", "none", "-q", "-o", path]);
    using client = await connectTo(await cli.port());
    let count = 0;
    const send = () => writeAll(client, encode(`line ${count++}\n`));
    const size = (file: string) => exists(file) ? Deno.statSync(file).size : 0;
    while (size(path) < 2000) await send();
    assertEquals(Deno.statSync(path).mode! & 0o777, 0o640 & ~Deno.umask());
    Deno.renameSync(path, moved);
    cli.kill("SIGHUP");
    while (size(path) < 2000) await send();
    cli.kill("SIGTERM");
    assertEquals(await cli.ended(), 0);
    const text = Deno.readTextFileSync(moved) + Deno.readTextFileSync(path);
    assertEquals(
      text.replaceAll(/^#1 127\.0\.0\.1:\d+ \| /gm, ""),
      Array.from({ length: count }, (_, i) => `line ${i}\n`).join(""),
    );
    assertEquals(Deno.statSync(path).mode! & 0o777, 0o640 & ~Deno.umask());
  },
});

Deno.test({
  ...UNIX,
  name: "main() keeps the old file when --output cannot be opened anew",
  async fn() {
    using dir = tempDir();
    const [path, moved] = [`${dir.path}/log`, `${dir.path}/log.1`];
    await using cli = spawnCli(["-p", "0", "-t", "none", "-q", "-o", path]);
    using client = await connectTo(await cli.port());
    await writeAll(client, encode("before\n"));
    await untilTrue(() => Deno.readTextFileSync(path).includes("before"));
    Deno.renameSync(path, moved);
    Deno.mkdirSync(path);
    cli.kill("SIGHUP");
    await cli.err.until("the old file stays open\n");
    await writeAll(client, encode("after\n"));
    await untilTrue(() => Deno.readTextFileSync(moved).includes("after"));
    cli.kill("SIGTERM");
    assertEquals(await cli.ended(), 0);
  },
});

Deno.test({
  ...RUN,
  name: "main() names the flag to add when a permission is missing",
  async fn() {
    using dir = tempDir();
    const file = `${dir.path}/file`;
    const cases: [args: string[], permissions: string[], message: string][] = [
      [["-o", file], ["--allow-net"], `Cannot write to ${file}: run again with --allow-write`],
      [[], [], "Cannot listen on 127.0.0.1:0: run again with --allow-net"],
      [
        ["--tls-cert", file, "--tls-key", file],
        ["--allow-net"],
        `Cannot read ${file}: run again with --allow-read`,
      ],
    ];
    for (const [args, permissions, message] of cases) {
      await using cli = spawnCli(["-p", "0", ...args], { permissions });
      assertEquals(await cli.ended(), 1);
      assertEquals(cli.err.text, `earshot: ${message}\n`);
    }
  },
});

/** Programs that talk to a port, each saying "hello"; `PORT` stands for its number. */
const CLIENTS: [program: string, args: string[], framing: "newline" | "octet"][] = [
  ["nc", ["127.0.0.1", "PORT"], "newline"],
  ["ncat", ["127.0.0.1", "PORT"], "newline"],
  ["socat", ["-", "TCP:127.0.0.1:PORT"], "newline"],
  ["bash", ["-c", "echo hello >/dev/tcp/127.0.0.1/PORT"], "newline"],
  ["logger", ["-T", "-n", "127.0.0.1", "-P", "PORT", "hello"], "newline"],
  ["logger", ["-T", "--octet-count", "-n", "127.0.0.1", "-P", "PORT", "hello"], "octet"],
];

for (const [program, args, framing] of CLIENTS) {
  Deno.test({
    ...needs(program),
    name: `startServer() hears ${program} ${args.join(" ")}`,
    async fn() {
      await using running = await serve(["--framing", framing, "-t", "none"]);
      await using client = new Deno.Command(program, {
        args: args.map((arg) => arg.replace("PORT", `${running.port}`)),
        stdin: "piped",
        stdout: "null",
        stderr: "null",
      }).spawn();
      const writer = client.stdin.getWriter();
      try {
        await writer.write(encode("hello\n"));
        await writer.close();
      } catch {
        // It does not read its input.
      }
      await running.out.until("hello\n");
      assertMatch(running.out.lines[1]!, /^#1 127\.0\.0\.1:PORT \| (.* )?hello$/);
    },
  });
}

// -- Faults --

/** Output that takes what it wants and when it wants. */
function slowOutput(random: Random) {
  const out = new Capture();
  let isWriting = false;
  const write = async (bytes: Uint8Array): Promise<number> => {
    assertEquals(isWriting, false);
    isWriting = true;
    await lag(random);
    isWriting = false;
    return out.writeSync(
      bytes.subarray(0, pick(random, 1, Math.ceil(bytes.length / 2), bytes.length)),
    );
  };
  return { out, write, writeInline: write };
}

Deno.test("startServer() accounts for every byte when clients, listener and output fail at random", async () => {
  await withSeeds(15, async (random) => {
    const streams = Array.from({ length: 1 + random(40) }, (_, id) => {
      return new FaultyStream(random, id, random(10) === 0 ? Infinity : 500);
    });
    const stuck = streams.filter(({ end, writeEnd }) => end === "hangs" || writeEnd === "hangs");
    const isEchoing = random(3) === 0;
    const args = [
      ...["-f", "json", "--multiplexer", pick(random, ...MULTIPLEXERS)],
      ...["--max-connections", `${stuck.length + 1 + random(10)}`],
      ...["--max-line", `${pick(random, 50, 1000, 65536)}`],
      ...(isEchoing ? ["--echo"] : []),
    ];
    const listener = new FaultyListener(random, streams);
    const output = slowOutput(random);
    await using running = await serveFrom(listener, args, { stdout: output });
    const isSettled = () =>
      listener.handedOver.size === streams.length &&
      streams.every(({ closed, isStuck }) => closed || isStuck);
    for (let turns = 0; !isSettled(); turns++) {
      assert(turns < 20_000, "It never ends");
      await turn();
    }
    running.server.stop();
    await running.server.finished;
    assertEquals(listener.accepting, 0);
    for (const stream of streams) {
      for (let i = 0; stream.reading + stream.writing > 0 && i < 100; i++) await turn();
      stream.assertLeftAlone();
    }
    const heard = heardIn(output.out.text.split("\n").slice(0, -1));
    assertEquals(heard.size, streams.length);
    let [bytes, lines] = [0, 0];
    for (const stream of streams) {
      const { bytes: logged, end } = heard.get(stream.remoteAddr.port)!;
      // The last LF may be one that the record stands for.
      logged.forEach((byte, at) => assertEquals(byte, byteOf(stream.id, at)));
      assertEquals(logged.length, end!.bytes);
      assert(end!.bytes <= stream.delivered);
      if (!isEchoing) {
        assertEquals(end!.bytes, stream.delivered);
        assertEquals(end!.reason === "closed", stream.end === "eof", end!.reason);
      }
      assertEquals(stream.written, logged.slice(0, stream.written.length));
      bytes += end!.bytes;
      lines += end!.lines;
    }
    running.server.reportStats();
    const [, ...counts] =
      /(\d+) open, (\d+) total, 0 refused, (\d+) lines?, (\d+) bytes?, .* (\d+) accept/
        .exec(running.err.lines.at(-1)!)!;
    assertEquals(counts.map(Number), [0, streams.length, lines, bytes, listener.errors]);
  });
});

Deno.test("startServer() logs what it has heard when accepting fails for good", async () => {
  const listener = new MemoryListener();
  await using running = await serveFrom(listener, ["-q", "-t", "none"]);
  const feed = new Feed();
  listener.connect(feed);
  feed.push("first\n");
  await running.out.until("first\n");
  feed.push("second\n");
  listener.fail(new Deno.errors.BadResource("no more"));
  await assertRejects(() => running.server.finished, Failure, "Cannot accept connections: no more");
  assertEquals(running.out.count("| second\n"), 1);
});

for (const multiplexer of MULTIPLEXERS) {
  Deno.test(`startServer() hears those who wait ahead when a place gets free (${multiplexer})`, async () => {
    const listener = new MemoryListener();
    const args = ["-m", "2", "-t", "none", "--multiplexer", multiplexer];
    await using running = await serveFrom(listener, args);
    const feeds = Array.from({ length: 40 }, () => new Feed());
    for (const [i, feed] of feeds.entries()) {
      listener.connect(feed);
      feed.push(`from ${i}\n`);
    }
    for (const [i, feed] of feeds.entries()) {
      await running.out.until(`| from ${i}\n`);
      const open = running.out.count(" connected\n") - running.out.count(" disconnected");
      assert(open <= 2, `${open} connections`);
      feed.end();
    }
    await running.out.until("disconnected", 40);
    assertEquals(running.out.count("| from "), 40);
  });

  Deno.test(`startServer() closes those who wait ahead when it is stopped at the limit (${multiplexer})`, async () => {
    const listener = new MemoryListener();
    const args = ["-m", "1", "-t", "none", "--multiplexer", multiplexer];
    await using running = await serveFrom(listener, args);
    const streams = Array.from({ length: 10 }, () => new MemoryStream());
    for (const stream of streams) {
      listener.connect(Object.assign(stream, { remoteAddr: new Feed().remoteAddr }));
    }
    await running.out.until(" connected\n");
    await turn();
    running.server.stop();
    await running.server.finished;
    assertEquals(running.out.count(" connected\n"), 1);
    const taken = streams.filter(({ closed }) => closed).length;
    assert(taken >= 1);
    // Nobody else was taken from the backlog and forgotten.
    for (const { targets, closed } of streams) assert(closed || targets.length === 0);
  });
}

// -- Fuzz --

/** A frame as one character a byte, and whether its end came. */
type Frame = [text: string, isWhole: boolean];

/** What framing must find, in the plainest way: whole input at once, no limit. */
function framesExpected(framing: "newline" | "nul", input: string): Frame[] {
  const parts = input.split(framing === "nul" ? "\0" : "\n");
  const rest = parts.pop()!;
  const whole = parts.map((line): Frame => {
    return [framing === "newline" ? line.replace(/\r$/, "") : line, true];
  });
  return rest === "" ? whole : [...whole, [rest, false]];
}

/** Puts the pieces of cut frames together. */
function joinPieces(frames: readonly Frame[]): Frame[] {
  const joined: Frame[] = [];
  let held = "";
  for (const [text, isWhole] of frames) {
    held += text;
    if (!isWhole) continue;
    joined.push([held, true]);
    held = "";
  }
  return held === "" ? joined : [...joined, [held, false]];
}

/** Bytes that are likely to hit something: delimiters, digits, controls, parts of UTF-8 characters. */
function nastyBytes(random: Random, length: number): Uint8Array<ArrayBuffer> {
  const parts = [
    "\n",
    "\r\n",
    "\r",
    "\0",
    "plain text ",
    "5 hello",
    "99999999 ",
    `"\\\t`,
    "\x1B[31m",
    "#1 127.0.0.1:1 | ",
    ...["é", "€", "😀", "\u2028", "\u2029", "\u202E", "\u2066", "\u061C", "\u009B", "\uFEFF"]
      .map((character) => latin1(encode(character))),
    "\xFF",
    "\xC0\xAF",
    "\xED\xA0\x80",
    "\xF4\x90\x80\x80",
    "\xE2\x82",
    "\x7F",
  ];
  let text = "";
  while (text.length < length) {
    text += random(3) === 0 ? String.fromCharCode(random(256)) : pick(random, ...parts);
  }
  return bytesOf(text.slice(0, length));
}

/** What can drive a terminal, or cannot be seen, listed by hand. */
const UNSAFE_REGEXP =
  /[\p{Cc}\u2028\u2029]|\p{Bidi_Control}|[\xAD\u180E\u200B\u2060-\u2064\u206A-\u206F\uFEFF\uFFF9-\uFFFB\uFFFE\uFFFF]|[\u{E0000}-\u{E007F}\u{E0100}-\u{E01EF}]/u;

/** What a text record shows of a client's bytes, in the plainest way. */
function shownExpected(bytes: Uint8Array): string {
  let shown = "";
  for (let at = 0; at < bytes.length;) {
    const character = characterAt(bytes, at);
    if (character === undefined) {
      shown += `\\x${bytes[at]!.toString(16).toUpperCase().padStart(2, "0")}`;
      at++;
      continue;
    }
    const code = character.codePointAt(0)!;
    const isUnsafe = UNSAFE_REGEXP.test(character) && character !== "\t";
    if (!isUnsafe) shown += character;
    else if (code < 0x80) shown += `\\x${code.toString(16).toUpperCase().padStart(2, "0")}`;
    else shown += `\\u{${code.toString(16).toUpperCase().padStart(4, "0")}}`;
    at += encode(character).length;
  }
  return shown;
}

/** The character that starts there, if that is valid UTF-8. */
function characterAt(bytes: Uint8Array, at: number): string | undefined {
  for (let length = 1; length <= 4; length++) {
    try {
      const options = { fatal: true, ignoreBOM: true };
      return new TextDecoder("utf-8", options).decode(bytes.subarray(at, at + length));
    } catch {
      // Longer, or none.
    }
  }
}

/** All that is logged of one client that sends `input`, one character a byte. */
async function outputOf(args: readonly string[], input: Uint8Array): Promise<string> {
  const listener = new MemoryListener();
  await using running = await serveFrom(listener, ["-q", "-t", "none", ...args]);
  const feed = new Feed();
  feed.push(latin1(input));
  feed.end();
  listener.connect(Object.assign(feed, { remoteAddr: { ...feed.remoteAddr, port: 1 } }));
  const { promise: end, resolve } = Promise.withResolvers<void>();
  const close = feed.close.bind(feed);
  feed.close = () => {
    close();
    resolve();
  };
  await end;
  running.server.stop();
  await running.server.finished;
  return running.out.binary;
}

Deno.test("startServer() shows every byte of random lines and obeys none", async () => {
  await withSeeds(60, async (random) => {
    const input = nastyBytes(random, random(2000));
    const output = await outputOf([], input);
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytesOf(output));
    assert(!/(?![\t\n])[\p{Cc}\u2028\u2029]|\p{Bidi_Control}/u.test(text));
    const expected = framesExpected("newline", latin1(input)).map(([line, isWhole]) => {
      return `#1 127.0.0.1:1 ${isWhole ? "|" : "+"} ${shownExpected(bytesOf(line))}\n`;
    });
    assertEquals(text, expected.join(""));
  });
});

Deno.test("startServer() shows every character of Unicode that can drive a terminal", async () => {
  const characters = [];
  for (let code = 0; code <= 0xFFFF; code++) {
    if (code === 0x0A || code >= 0xD800 && code < 0xE000) continue;
    characters.push(String.fromCharCode(code));
  }
  for (const format of FORMATS.filter((format) => contentOf(format) === "text")) {
    const args = ["--format", format, "--max-line", "1000000"];
    const output = await outputOf(args, encode(characters.join("")));
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytesOf(output));
    assertEquals(text.match(/(?![\t\n])[\p{Cc}\u2028\u2029]|\p{Bidi_Control}/gu), null);
    assertEquals(text.split("\n").length, 2);
  }
});

Deno.test("startServer() writes json that gives every random byte back, in every framing", async () => {
  await withSeeds(60, async (random) => {
    const framing = pick(random, "newline", "nul", "none" as const);
    const input = nastyBytes(random, random(2000));
    const maxLine = `${pick(random, 1, 7, 100, 65536)}`;
    const output = await outputOf(
      ["-f", "json", "--framing", framing, "--max-line", maxLine],
      input,
    );
    const frames = bytesOf(output).length === 0 ? [] : decode(bytesOf(output))
      .slice(0, -1).split("\n").map((line): Frame => {
        const { event, connection, message, message_base64, cut } = JSON.parse(line);
        assertEquals([event, connection], ["line", 1]);
        assertEquals((message === undefined) !== (message_base64 === undefined), true);
        const bytes = message_base64 ? Uint8Array.fromBase64(message_base64) : encode(message);
        return [latin1(bytes), !cut];
      });
    const joined = joinPieces(frames);
    if (framing === "none") {
      assertEquals(joined.map(([text]) => text).join(""), latin1(input));
    } else {
      assertEquals(joined, framesExpected(framing, latin1(input)));
    }
  });
});

// -- Bundle --

Deno.test({
  ...UNIX,
  name: "deno task bundle makes one file that runs in an empty folder",
  async fn() {
    using dir = tempDir();
    const deno = (args: string[], cwd: string | URL) =>
      new Deno.Command(Deno.execPath(), {
        args,
        cwd,
        env: { NO_COLOR: "1" },
        stdin: "null",
        stdout: "piped",
        stderr: "piped",
      });
    const here = new URL(".", import.meta.url);
    const { bundle } = JSON.parse(await Deno.readTextFile(new URL("./deno.json", here))).tasks;
    const args = bundle.command.replace("earshot.js", `${dir.path}/earshot.js`).split(" ").slice(1);
    const made = await deno(args, here).output();
    assertEquals(made.code, 0, decode(made.stderr));

    await using child = deno(["run", "--allow-net", "earshot.js", "-p", "0"], dir.path).spawn();
    const [err, out] = [new Capture(), new Capture()];
    const reading = [[child.stderr, err] as const, [child.stdout, out] as const].map(
      async ([stream, capture]) => {
        for await (const bytes of stream) capture.writeSync(bytes);
      },
    );
    await err.until("every interface)\n");
    using client = await connectTo(Number(/127\.0\.0\.1:(\d+)/.exec(err.text)![1]));
    await writeAll(client, encode("hello\n"));
    await out.until("| hello\n");
    child.kill("SIGTERM");
    assertEquals((await child.status).code, 0);
    await Promise.all(reading);
  },
});

Deno.test({
  ...needs("bash"),
  name: "main() prints help to a reader that has seen enough, and does not complain",
  async fn() {
    const script = new URL("./main.ts", import.meta.url).href;
    const { stdout, stderr } = await new Deno.Command("bash", {
      args: [
        "-c",
        '"$0" run "$1" --help | head -n 1; echo "${PIPESTATUS[0]}"',
        Deno.execPath(),
        script,
      ],
      env: { NO_COLOR: "1" },
      stdin: "null",
    }).output();
    const text = decode(stdout);
    assertMatch(text, /^earshot .+\n0\n$/);
    assertEquals(decode(stderr), "");
  },
});
