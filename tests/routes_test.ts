import { stripVTControlCharacters as stripAnsiCode } from "node:util";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { encode } from "../lib/bytes.ts";
import { Failure } from "../main.ts";
import { writeAll } from "../lib/io.ts";
import { FILES, IPV6, PROC, UDP, UNIX } from "./support/needs.ts";
import { Capture } from "./support/capture.ts";
import { connectTo } from "./support/connections.ts";
import { noSpace } from "./support/disks.ts";
import { exists, makeFifo, readerOf, tempDir } from "./support/files.ts";
import { GatedOutput } from "./support/gated_output.ts";
import { spawnCli } from "./support/processes.ts";
import { replaced } from "./support/replaced.ts";
import { serve } from "./support/serving.ts";
import { untilTrue } from "./support/waiting.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** What the files below a folder contain, by path; ports and durations made equal. */
function filesIn(folder: string, prefix = ""): Record<string, string[]> {
  const all: Record<string, string[]> = {};
  for (const { name, isDirectory } of Deno.readDirSync(`${folder}/${prefix}`)) {
    const path = `${prefix}${name}`;
    if (isDirectory) Object.assign(all, filesIn(folder, `${path}/`));
    else all[path] = linesOf(Deno.readTextFileSync(`${folder}/${path}`));
  }
  return all;
}

function linesOf(text: string): string[] {
  const capture = new Capture();
  capture.writeSync(encode(text));
  return capture.lines;
}

async function talk(port: number, ...lines: string[]): Promise<void> {
  using conn = await connectTo(port);
  await writeAll(conn, encode(lines.map((line) => `${line}\n`).join("")));
  await conn.closeWrite();
  while (await conn.read(new Uint8Array(100)) !== null);
}

Deno.test({
  ...FILES,
  name: "--output with %n is a file for each connection, and one for what concerns nobody",
  async fn() {
    using dir = tempDir();
    const args = ["-t", "none", "-o", `${dir.path}/new/logs/%n.log`];
    {
      await using running = await serve(args);
      await talk(running.port, "one", "two");
      await talk(running.port, "three");
      assertEquals(running.out.text, "");
    }
    const { "all.log": all, ...clients } = filesIn(`${dir.path}/new/logs`);
    assertEquals(clients, {
      "1.log": [
        "#1 127.0.0.1:PORT connected",
        "#1 127.0.0.1:PORT | one",
        "#1 127.0.0.1:PORT | two",
        "#1 127.0.0.1:PORT disconnected: 8 bytes, 2 lines, 0.0 s",
      ],
      "2.log": [
        "#2 127.0.0.1:PORT connected",
        "#2 127.0.0.1:PORT | three",
        "#2 127.0.0.1:PORT disconnected: 6 bytes, 1 line, 0.0 s",
      ],
    });
    assert(/^\* started: earshot \S+, listening on 127\.0\.0\.1:PORT$/.test(all![0]!), all![0]);
    assertEquals(all!.slice(1), ["* stopped: 3 lines of 2 clients"]);
    if (Deno.build.os === "windows") return;
    assertEquals(Deno.statSync(`${dir.path}/new/logs`).mode! & 0o777, 0o750);
  },
});

Deno.test({
  ...FILES,
  name: "--output with %h is a file for each address, of IPv6, too, and of datagrams",
  ignore: FILES.ignore || IPV6.ignore || UDP.ignore || Deno.build.os !== "linux",
  async fn() {
    using dir = tempDir();
    const hosts = ["-H", "127.0.0.1", "-H", "::1", "-p", "0", "--udp", "0"];
    {
      await using running = await serve([
        ..."-q -t none -o".split(" "),
        `${dir.path}/%h`,
        ...hosts,
      ]);
      const [ipv4, ipv6, udp] = running.server.addrs as Deno.NetAddr[];
      await talk(ipv4!.port, "from 1");
      const sender = Deno.listenDatagram({ hostname: "127.0.0.1", port: 0, transport: "udp" });
      await sender.send(encode("a datagram\n"), udp!);
      sender.close();
      using other = await Deno.connect({ hostname: "::1", port: ipv6!.port });
      await writeAll(other, encode("from ::1\n"));
      await untilTrue(() => exists(`${dir.path}/__1`) && exists(`${dir.path}/127.0.0.1`));
      await untilTrue(() => filesIn(dir.path)["127.0.0.1"]!.length === 2);
    }
    const files = filesIn(dir.path);
    files["127.0.0.1"] = files["127.0.0.1"]!.map((line) => line.replace(/ to :\d+/, ""));
    assertEquals(files, {
      "127.0.0.1": ["#1 127.0.0.1:PORT | from 1", "udp 127.0.0.1:PORT | a datagram"],
      "__1": ["#2 [::1]:PORT | from ::1"],
    });
  },
});

Deno.test({
  ...FILES,
  name: "--output with %h and %l names the operator's names and the port, with one port, too",
  async fn() {
    using dir = tempDir();
    const args = ["-q", "-t", "none", "-o", `${dir.path}/%l/%h`, "--name", "127.0.0.0/8=pump"];
    for (const ports of [[], ["-p", "0"]]) {
      await using running = await serve([...args, ...ports]);
      const addrs = running.server.addrs as Deno.NetAddr[];
      for (const { port } of addrs) {
        await talk(port, "hello");
        await untilTrue(() => exists(`${dir.path}/${port}/pump`));
      }
    }
    assertEquals(Object.keys(filesIn(dir.path)).length, 3);
  },
});

Deno.test({
  ...FILES,
  name: "--output with %n keeps what happens to refused clients with what concerns nobody",
  async fn() {
    using dir = tempDir();
    {
      const args = ["-t", "none", "-o", `${dir.path}/%n`, "--deny", "127.0.0.0/8"];
      await using running = await serve(args);
      await talk(running.port, "hello").catch(() => {});
      await untilTrue(() => filesIn(dir.path)["all"]!.length === 2);
    }
    assertEquals(filesIn(dir.path)["all"]?.[1], "refused 127.0.0.1:PORT");
    assertEquals(Object.keys(filesIn(dir.path)), ["all"]);
  },
});

Deno.test({
  ...FILES,
  name: "--output with a date begins another file when the hour changes",
  async fn() {
    using dir = tempDir();
    let nowMs = Date.UTC(2026, 10, 22, 23, 59, 59, 999);
    const args = ["-q", "-t", "utc", "-o", `${dir.path}/%Y-%m-%d/%H.log`];
    {
      await using running = await serve(args, { now: () => nowMs });
      using conn = await connectTo(running.port);
      await writeAll(conn, encode("before\n"));
      await untilTrue(() => exists(`${dir.path}/2026-11-22/23.log`));
      nowMs++;
      await writeAll(conn, encode("after\n"));
      await untilTrue(() => exists(`${dir.path}/2026-11-23/00.log`));
    }
    assertEquals(filesIn(dir.path), {
      "2026-11-22/23.log": ["2026-11-22T23:59:59.999Z #1 127.0.0.1:PORT | before"],
      "2026-11-23/00.log": ["2026-11-23T00:00:00.000Z #1 127.0.0.1:PORT | after"],
    });
  },
});

Deno.test({
  ...FILES,
  name: "--output with %n rotates each file, and reload() opens each anew",
  async fn() {
    using dir = tempDir();
    const args = ["-q", "-t", "none", "-o", `${dir.path}/%n`, "--rotate-size", "60"];
    {
      await using running = await serve(args);
      using one = await connectTo(running.port);
      using two = await connectTo(running.port);
      for (const [i, conn] of [one, two, one, two, one].entries()) {
        await writeAll(conn, encode(`line ${i} ${"x".repeat(20)}\n`));
        const isThere = (lines: string[]) => lines.some((line) => line.includes(`line ${i} `));
        await untilTrue(() => Object.values(filesIn(dir.path)).some(isThere));
      }
      await untilTrue(() => exists(`${dir.path}/1.1`));
      Deno.renameSync(`${dir.path}/2`, `${dir.path}/two`);
      running.server.reload();
      await writeAll(two, encode("after\n"));
      await untilTrue(() => exists(`${dir.path}/2`) && Deno.statSync(`${dir.path}/2`).size > 0);
    }
    const numbers = (lines: readonly string[]) => lines.map((line) => line.split(" ")[4]);
    const { "2": moved, ...files } = filesIn(dir.path);
    assertEquals(moved, ["#2 127.0.0.1:PORT | after"]);
    assertEquals(Object.keys(files).sort(), ["1", "1.1", "1.2", "2.1", "two"]);
    assertEquals(["1.2", "1.1", "1"].map((name) => numbers(files[name]!)), [["0"], ["2"], ["4"]]);
    assertEquals(["2.1", "two"].map((name) => numbers(files[name]!)), [["1"], ["3"]]);
  },
});

Deno.test({
  ...FILES,
  name: "--output with %n says once that the disk is full, and loses nothing",
  async fn() {
    using dir = tempDir();
    let failures = 7;
    const open = Deno.openSync;
    using _open = replaced("openSync", (path: string, options: Deno.OpenOptions) => {
      const file = open(path, options);
      const writeSync = file.writeSync.bind(file);
      return Object.assign(file, {
        writeSync(bytes: Uint8Array) {
          if (failures-- > 0) throw noSpace();
          return writeSync(bytes.subarray(0, 20));
        },
      });
    });
    const args = ["-q", "-t", "none", "-o", `${dir.path}/%n`];
    {
      await using running = await serve(args);
      const conns = await Promise.all(Array.from({ length: 5 }, () => connectTo(running.port)));
      for (const conn of conns) await writeAll(conn, encode("hello\n"));
      failures = 3;
      await running.err.until("works again\n");
      for (const conn of conns) conn.close();
      assertEquals(running.err.count("clients wait"), 1);
    }
    assertEquals(Object.keys(filesIn(dir.path)).sort(), ["1", "2", "3", "4", "5"]);
    assert(Object.values(filesIn(dir.path)).every((lines) => /\| hello$/.test(lines.join("\n"))));
  },
});

Deno.test({
  ...FILES,
  name: "--output with %n makes a deleted file and its folder anew",
  async fn() {
    using dir = tempDir();
    {
      await using running = await serve(["-q", "-t", "none", "-o", `${dir.path}/%n/log`]);
      using conn = await connectTo(running.port);
      await writeAll(conn, encode("one\n"));
      await untilTrue(() => exists(`${dir.path}/1/log`));
      Deno.removeSync(`${dir.path}/1`, { recursive: true });
      await untilTrue(() => exists(`${dir.path}/1/log`));
      await writeAll(conn, encode("two\n"));
      await untilTrue(() => Deno.readTextFileSync(`${dir.path}/1/log`) !== "");
      assertEquals(running.err.lines.slice(1), [
        `earshot: ${dir.path}/1/log was gone and is made anew`,
      ]);
    }
    assertEquals(filesIn(dir.path), { "1/log": ["#1 127.0.0.1:PORT | two"] });
  },
});

Deno.test({
  ...FILES,
  name: "--output with %n takes raw bytes and dumps, too",
  async fn() {
    using dir = tempDir();
    for (const format of ["raw", "hex"]) {
      await using running = await serve(["-f", format, "-q", "-o", `${dir.path}/${format}-%n`]);
      await talk(running.port, "one");
    }
    assertEquals(Deno.readTextFileSync(`${dir.path}/raw-1`), "one\n");
    assertEquals(Deno.readTextFileSync(`${dir.path}/hex-1`).includes("6f 6e 65 0a"), true);
  },
});

Deno.test({
  name: "--output with %n asks at the start for the permission to write below its folder",
  permissions: { net: true, write: false },
  async fn() {
    for (const more of [[], ["-q"]]) {
      await assertRejects(
        () => serve(["-o", "logs/%n", ...more]),
        Failure,
        "Cannot write to logs/%n: run again with --allow-write",
      );
    }
  },
});

Deno.test({
  ...PROC,
  name: "--output with %n has every line of 2,000 clients with 256 descriptors",
  async fn() {
    using dir = tempDir();
    const args = ["-p", "0", "-q", "-t", "none", "-o", `${dir.path}/%n`];
    await using cli = spawnCli(args, { before: "ulimit -n 256" });
    const port = await cli.port();
    let next = 0;
    const worker = async () => {
      for (let number; (number = next++) < 2000;) {
        using conn = await connectTo(port);
        for (let part = 0; part < 3; part++) {
          const lines = [0, 1, 2, 3].map((i) => `client ${number} line ${4 * part + i}\n`);
          await writeAll(conn, encode(lines.join("")));
        }
        await conn.closeWrite();
        while (await conn.read(new Uint8Array(100)) !== null);
      }
    };
    // More than there are descriptors: some wait in the backlog.
    await Promise.all(Array.from({ length: 300 }, worker));
    cli.kill("SIGTERM");
    assertEquals(await cli.ended(), 0);
    const seen = new Set<string>();
    for (const lines of Object.values(filesIn(dir.path))) {
      const found = lines.map((line) => /\| client (\d+) line (\d+)$/.exec(line)!.slice(1));
      assertEquals(new Set(found.map(([client]) => client)).size, 1);
      assertEquals(found.map(([, line]) => line), Array.from({ length: 12 }, (_, i) => `${i}`));
      seen.add(found[0]![0]!);
    }
    assertEquals(seen.size, 2000);
    assertEquals(cli.err.count("Cannot write"), 0);
  },
});

// -- With --tee --

Deno.test({
  ...FILES,
  name: "--tee has the same records on stdout, coloured for a terminal only there",
  async fn() {
    using dir = tempDir();
    const path = `${dir.path}/log`;
    {
      await using running = await serve(["-t", "none", "-o", path, "--tee"], { wantsColor: true });
      await talk(running.port, "one");
      await running.out.until("disconnected");
      const plain = stripAnsiCode(running.out.text);
      assert(plain.length < running.out.text.length);
      assertEquals(linesOf(plain), filesIn(dir.path)["log"]!.slice(1));
    }
    assertEquals(
      filesIn(dir.path)["log"]!.map((line) => line.split(" ", 3).slice(0, 2).join(" ")),
      [
        "* started:",
        "#1 127.0.0.1:PORT",
        "#1 127.0.0.1:PORT",
        "#1 127.0.0.1:PORT",
        "* stopped:",
      ],
    );
  },
});

Deno.test({
  ...UNIX,
  name: "--tee ends with what the file has when nobody reads stdout any more",
  async fn() {
    using dir = tempDir();
    const path = `${dir.path}/log`;
    await using cli = spawnCli(["-p", "0", "-q", "-o", path, "--tee"], { stdout: "closed" });
    using conn = await connectTo(await cli.port());
    await writeAll(conn, encode("one\n"));
    assertEquals(await cli.ended(), 1);
    assert(Deno.readTextFileSync(path).endsWith("| one\n"));
    assertEquals(cli.err.count("earshot: Cannot write to stdout: broken pipe\n"), 1);
  },
});

Deno.test({
  ...FILES,
  name: "--tee brings into the file what waited when nobody takes stdout at the end",
  async fn() {
    using dir = tempDir();
    const stdout = new GatedOutput();
    const args = ["-t", "none", "-o", `${dir.path}/log`, "--tee"];
    await using running = await serve(args, { stdout });
    using conn = await connectTo(running.port);
    await stdout.size();
    await writeAll(conn, encode("one\ntwo"));
    running.server.stop();
    await assertRejects(() => running.server.finished, Failure, "Cannot write to stdout: nobody");
    assertEquals(filesIn(dir.path)["log"]!.slice(1), [
      "#1 127.0.0.1:PORT connected",
      "#1 127.0.0.1:PORT | one",
      "#1 127.0.0.1:PORT + two",
      "#1 127.0.0.1:PORT disconnected: 7 bytes, 2 lines, 0.0 s (shutting down)",
      "* stopped: 2 lines of 1 client",
    ]);
  },
});

Deno.test({
  ...FILES,
  name: "--tee tells the file how everybody left when stdout has failed",
  async fn() {
    using dir = tempDir();
    const write = () => Promise.reject(new Deno.errors.BrokenPipe("Broken pipe (os error 32)"));
    const args = ["-t", "none", "-o", `${dir.path}/log`, "--tee"];
    await using running = await serve(args, { stdout: { write } });
    using _conn = await connectTo(running.port);
    const { finished } = running.server;
    await assertRejects(() => finished, Failure, "Cannot write to stdout: broken pipe");
    assertEquals(filesIn(dir.path)["log"]!.slice(1), [
      "#1 127.0.0.1:PORT connected",
      "#1 127.0.0.1:PORT disconnected: 0 bytes, 0 lines, 0.0 s (shutting down)",
      "* stopped: 0 lines of 1 client",
    ]);
  },
});

Deno.test({
  ...UNIX,
  name: "--tee goes on with stdout when nobody reads the FIFO that is its file",
  async fn() {
    using dir = tempDir();
    const path = `${dir.path}/fifo`;
    makeFifo(path);
    const reader = readerOf(path);
    await using running = await serve(["-t", "none", "-o", path, "--tee"]);
    reader[Symbol.dispose]();
    using _conn = await connectTo(running.port);
    const { finished } = running.server;
    await assertRejects(() => finished, Failure, `Cannot write to ${path}: broken pipe`);
    assertEquals(running.out.lines, [
      "#1 127.0.0.1:PORT connected",
      "#1 127.0.0.1:PORT disconnected: 0 bytes, 0 lines, 0.0 s (shutting down)",
    ]);
  },
});

// -- How files begin and end --

Deno.test({
  ...FILES,
  name: "files begin and end with a record, in JSON, too, but not raw ones nor with --quiet",
  async fn() {
    using dir = tempDir();
    const textOf = async (name: string, ...args: string[]) => {
      const path = `${dir.path}/${name}`;
      {
        await using running = await serve(["-t", "none", "-o", path, ...args]);
        await talk(running.port, "a", "b");
      }
      return await Deno.readTextFile(path);
    };
    const records = (await textOf("json", "-f", "json")).trim().split("\n").map((line) =>
      JSON.parse(line)
    );
    const { version, listening, ...started } = records[0];
    assertEquals(started, { event: "started" });
    assert(/^\d+\.\d+\.\d+/.test(version) && /^127\.0\.0\.1:\d+$/.test(listening.join()));
    assertEquals(records.at(-1), { event: "stopped", lines: 2, connections: 1 });
    assertEquals(await textOf("raw", "-f", "raw"), "a\nb\n");
    assertEquals(linesOf(await textOf("quiet", "-q")).length, 2);
    assert(
      /^\* started: .*\n(.*\n)+\* stopped: 0 lines of 1 client\n$/.test(
        await textOf("hex", "-f", "hex"),
      ),
    );
  },
});

Deno.test({
  ...FILES,
  name: "--time delta counts from the last record of any client",
  async fn() {
    let nowMs = 1000;
    const now = () => nowMs;
    for (const [format, expected] of [["text", "+0.250"], ["json", `{"delta":0.25,`]] as const) {
      await using running = await serve(["-q", "-f", format, "-t", "delta"], { now });
      using one = await connectTo(running.port);
      using two = await connectTo(running.port);
      await writeAll(one, encode("a\n"));
      await running.out.until("\n");
      nowMs += 250;
      await writeAll(two, encode("b\nc\n"));
      await running.out.until("\n", 3);
      const zero = expected.replace(/0\.250?/, format === "json" ? "0" : "0.000");
      const starts = running.out.text.split("\n").slice(0, 3).map((line) =>
        line.slice(0, line.indexOf(format === "json" ? '"event' : " "))
      );
      assertEquals(starts, [zero, expected, zero]);
    }
  },
});
