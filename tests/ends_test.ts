import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { encode } from "../lib/bytes.ts";
import { writeAll } from "../lib/io.ts";
import { Failure } from "../main.ts";
import { connectTo } from "./support/connections.ts";
import { tempDir } from "./support/files.ts";
import { spawnCli } from "./support/processes.ts";
import { serve } from "./support/serving.ts";
import { FILES, NET, RUN, UDP } from "./support/needs.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** Its end, within what a person would call at once. */
async function ended(running: Awaited<ReturnType<typeof serve>>): Promise<void> {
  const startMs = performance.now();
  await running.server.finished;
  assert(performance.now() - startMs < 1000);
}

Deno.test({
  ...RUN,
  name: "--until ends at once with status 0 when the pattern has come, in two packets, too",
  async fn() {
    const args = ["-p", "0", "--until", "READY", "--for", "10", "-q", "-t", "none"];
    await using cli = spawnCli(args);
    using conn = await connectTo(await cli.port());
    await writeAll(conn, encode("starting\nit is REA"));
    await cli.out.until("starting\n");
    const startMs = performance.now();
    await writeAll(conn, encode("DY\nmore\nhalf"));
    assertEquals(await cli.ended(), 0);
    assert(performance.now() - startMs < 1000);
    assertEquals(cli.out.lines, [
      "#1 127.0.0.1:PORT | starting",
      "#1 127.0.0.1:PORT | it is READY",
    ]);
    assertEquals(cli.err.count("earshot: "), 0);
  },
});

Deno.test({
  ...RUN,
  name: "--until ends with status 3 when the time is up, and says what was not seen",
  async fn() {
    const args = ["-p", "0", "--until", "READY", "--until", "up\\x1b", "--for", "0.5", "-q"];
    await using cli = spawnCli(args);
    using conn = await connectTo(await cli.port());
    await writeAll(conn, encode("one\nup\x1B\nthree\nhalf"));
    assertEquals(await cli.ended(), 3);
    assertEquals(cli.out.count(" + half\n"), 1);
    assertEquals(
      cli.err.text.split("\n").slice(1),
      [`earshot: not seen in 0.5 s: "READY" (4 lines of 1 client)`, ""],
    );
  },
});

Deno.test({
  ...RUN,
  name: "--until ends with status 3 at a signal, so that what follows && is not done",
  async fn() {
    await using cli = spawnCli(["-p", "0", "--until", "READY"]);
    await cli.port();
    cli.kill("SIGTERM");
    assertEquals(await cli.ended(), 3);
    assertMatch(
      cli.err.text,
      /earshot: not seen in \d+\.\d s: "READY" \(0 lines of 0 clients\)\n$/,
    );
  },
});

Deno.test({
  ...NET,
  name: "--until waits for each pattern, whoever says it",
  async fn() {
    const args = ["-q", "-t", "none", "--until", "a", "--until", "/^B+$/i"];
    await using running = await serve(args);
    using one = await running.connect();
    using two = await running.connect();
    await writeAll(one, encode("bbb\n"));
    await running.out.until("bbb\n");
    await writeAll(two, encode("xb\nxax\nbb\n"));
    await ended(running);
    assertEquals(running.out.lines, [
      "#1 127.0.0.1:PORT | bbb",
      "#2 127.0.0.1:PORT | xb",
      "#2 127.0.0.1:PORT | xax",
    ]);
    assertEquals([running.server.unseen, running.err.count("not seen")], [[], 0]);
  },
});

for (
  const [framing, text, bytes] of [
    ["newline", "one\r\ntwo\nthree\nfour\nfive", 15],
    ["nul", "one\0two\0three\0four\0", 14],
    ["any", "one\rtwo\rthree\rfour\r", 14],
    ["end:;", "one;two;three;four;", 14],
    ["octet", "3 one3 two5 three4 four", 17],
    ["length:1", "\x03one\x03two\x05three\x04four", 14],
  ] as const
) {
  Deno.test({
    ...NET,
    name: `--count ends at the last line although more came with it, with --framing ${framing}`,
    async fn() {
      await using running = await serve(["-t", "none", "--count", "3", "--framing", framing]);
      using conn = await running.connect();
      using _quiet = await running.connect();
      await running.out.until("connected\n", 2);
      await writeAll(conn, encode(text));
      await ended(running);
      assertEquals(running.out.lines, [
        "#1 127.0.0.1:PORT connected",
        "#2 127.0.0.1:PORT connected",
        ...["one", "two", "three"].map((word) => `#1 127.0.0.1:PORT | ${word}`),
        `#1 127.0.0.1:PORT disconnected: ${bytes} bytes, 3 lines, 0.0 s (shutting down)`,
        "#2 127.0.0.1:PORT disconnected: 0 bytes, 0 lines, 0.0 s (shutting down)",
      ]);
      assertEquals(running.server.unseen, []);
    },
  });
}

Deno.test({
  ...NET,
  name: "--count counts no byte behind the last line in UTF-16, whose line end has two",
  async fn() {
    const args = ["-t", "none", "--count", "2", "--encoding", "utf-16le"];
    await using running = await serve(args);
    using conn = await running.connect();
    await writeAll(conn, encode([..."a\nb\nc\n"].join("\0") + "\0"));
    await ended(running);
    assertMatch(running.out.text, /disconnected: 8 bytes, 2 lines/);
  },
});

Deno.test({
  ...NET,
  name: "--count echoes what was read up to the last line, and nothing behind it",
  async fn() {
    await using running = await serve(["-q", "--echo", "--count", "2"]);
    using conn = await running.connect();
    await writeAll(conn, encode("one\ntwo\nthree\n"));
    await ended(running);
    assertEquals(await new Response(conn.readable).text(), "one\ntwo\n");
  },
});

Deno.test({
  ...NET,
  name: "--count counts the pieces of a long line, and one without an end, as no line",
  async fn() {
    await using running = await serve(["-q", "-t", "none", "--count", "2", "--max-line", "4"]);
    {
      using conn = await running.connect();
      await writeAll(conn, encode("long line\nhalf"));
    }
    await running.out.until("+ half\n");
    using conn = await running.connect();
    await writeAll(conn, encode("a\nb\n"));
    await ended(running);
    assertEquals(running.out.lines.map((line) => line.split("PORT ")[1]), [
      ...["+ long", "+  lin", "| e", "+ half", "| a"],
    ]);
  },
});

Deno.test({
  ...NET,
  name:
    "--count counts what no client says after the end, such as a prompt that is due, as nothing",
  async fn() {
    const args = ["-t", "none", "--count", "1", "--flush-after", "0.01", "--framing", "none"];
    for (const format of ["text", "json", "hex", "raw"]) {
      const framing = format === "raw" || format === "hex" ? args.slice(0, 4) : args;
      await using running = await serve([...framing, "-f", format]);
      using conn = await running.connect();
      await writeAll(conn, encode("half"));
      await ended(running);
      assertEquals(running.out.count(format === "hex" ? "> 4 bytes" : "half"), 1);
    }
  },
});

Deno.test({
  ...UDP,
  name: "--count and --until take datagrams",
  async fn() {
    for (const end of [["--count", "2"], ["--until", "two"]]) {
      await using running = await serve(["-t", "none", "--udp", "0", ...end]);
      const sender = Deno.listenDatagram({ hostname: "127.0.0.1", port: 0, transport: "udp" });
      for (const text of ["one", "two", "six"]) {
        await sender.send(encode(text), running.server.addrs[0] as Deno.NetAddr);
      }
      await ended(running);
      sender.close();
      assertEquals(running.out.lines.map((line) => line.split("PORT ")[1]), ["| one", "| two"]);
    }
  },
});

Deno.test({
  ...NET,
  name:
    "--count ends with the patterns that are missing, and without any when the last line has them",
  async fn() {
    for (const [last, unseen] of [["no\n", ["x"]], ["x\n", []]] as const) {
      await using running = await serve(["-q", "--count", "2", "--until", "x"]);
      using conn = await running.connect();
      await writeAll(conn, encode(`a\n${last}`));
      await ended(running);
      assertEquals(running.server.unseen, unseen);
      const said = running.err.count(`s: "x" (2 lines of 1 client)\n`);
      assertEquals(said, unseen.length);
    }
  },
});

Deno.test({
  ...NET,
  name: "--for alone ends as a signal does, also after longer than a timer can wait",
  async fn() {
    await using brief = await serve(["-t", "none", "--for", "0.2"]);
    using conn = await brief.connect();
    await writeAll(conn, encode("one\nhalf"));
    await brief.server.finished;
    assertEquals(brief.out.lines.map((line) => line.split("PORT ")[1]), [
      "connected",
      "| one",
      "+ half",
      "disconnected: 8 bytes, 2 lines, 0.0 s (shutting down)",
    ]);
    await using long = await serve(["-q", "-t", "none", "--for", "9999999"]);
    using other = await long.connect();
    await writeAll(other, encode("heard\n"));
    await long.out.until("heard\n");
  },
});

Deno.test({
  ...FILES,
  name: "--until ends a file with the record that completed it and with how it stopped",
  async fn() {
    using dir = tempDir();
    const path = `${dir.path}/log`;
    await using running = await serve(["-t", "none", "-o", path, "--until", "b"]);
    using conn = await running.connect();
    await writeAll(conn, encode("a\nb\nc\n"));
    await ended(running);
    const lines = (await Deno.readTextFile(path)).split("\n").slice(0, -1);
    assertMatch(lines[0]!, /^\* started: /);
    assertEquals(lines.slice(2).map((line) => line.replace(/.*:\d+ |\d+\.\d s.*/g, "")), [
      ...["| a", "| b", "disconnected: 4 bytes, 2 lines, ", "* stopped: 2 lines of 1 client"],
    ]);
  },
});

Deno.test({
  ...RUN,
  name: "--until does not hide a failure: a stdout that nobody reads is still status 1",
  async fn() {
    await using cli = spawnCli(["-p", "0", "-q", "--until", "b"], { stdout: "closed" });
    using conn = await connectTo(await cli.port());
    await writeAll(conn, encode("a\n"));
    assertEquals(await cli.ended(), 1);
  },
});

for (const [args, sent] of [[["--for", "0.3"], "a\n"], [["--until", "b"], "b\n"]] as const) {
  Deno.test({
    ...NET,
    name: `${args[0]} ends with a failure when nobody takes the log, as a signal does`,
    async fn() {
      const stuck = { write: () => new Promise<number>(() => {}) };
      await using running = await serve(["-q", ...args], { stdout: stuck });
      using conn = await running.connect();
      await writeAll(conn, encode(sent));
      await assertRejects(() => running.server.finished, Failure, "nobody");
    },
  });
}
