/** Who is let in: PROXY headers, rules, limits. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { encode } from "../lib/bytes.ts";
import { writeAll } from "../lib/io.ts";
import { connectAndReset, readUpTo } from "./support/connections.ts";
import { bytesOf } from "./support/data.ts";
import { serve } from "./support/serving.ts";
import { pause, turn } from "./support/waiting.ts";
import { IPV6, NET } from "./support/needs.ts";

Deno.test.sanitizer({ ops: true, resources: true });

type Running = Awaited<ReturnType<typeof serve>>;

const FROM_LOCAL = ["--time", "none", "--proxy-from", "127.0.0.0/8"];

/** What a client says, and nothing more. */
async function say(running: Running, text: string): Promise<void> {
  using conn = await running.connect();
  await writeAll(conn, bytesOf(text));
  await conn.closeWrite();
  await readUpTo(conn, 1);
}

function tcp4(host: string, port = 4711): string {
  return `PROXY TCP4 ${host} 10.0.0.9 ${port} 1234\r\n`;
}

const V2 = "\r\n\r\n\0\r\nQUIT\n";

function v2Local(): string {
  return `${V2}\x20\0\0\0`;
}

function v2Tcp4(host: string, port: number, more = ""): string {
  const source = host.split(".").map((part) => String.fromCharCode(Number(part))).join("");
  const addresses = `${source}\x0A\0\0\x09${String.fromCharCode(port >> 8, port & 0xFF)}\x04\xD2`;
  const length = addresses.length + more.length;
  return `${V2}\x21\x11\0${String.fromCharCode(length)}${addresses}${more}`;
}

function v2Unix(path: string): string {
  return `${V2}\x21\x31\0\xD8${path.padEnd(108, "\0")}${"\0".repeat(108)}`;
}

// -- Who it is --

Deno.test({
  ...NET,
  name: "a server logs the client that a PROXY header names",
  async fn() {
    await using running = await serve(FROM_LOCAL);
    await say(running, `${tcp4("192.0.2.7")}hello\nhalf`);
    await running.out.until("disconnected");
    assertEquals(running.out.lines, [
      "#1 192.0.2.7:4711 connected (through 127.0.0.1:PORT)",
      "#1 192.0.2.7:4711 | hello",
      "#1 192.0.2.7:4711 + half",
      "#1 192.0.2.7:4711 disconnected: 10 bytes, 2 lines, 0.0 s",
    ]);
  },
});

Deno.test({
  ...NET,
  name: "a server names the proxy in json, and the path of a Unix source",
  async fn() {
    await using running = await serve([...FROM_LOCAL, "--format", "json"]);
    await say(running, `${v2Tcp4("192.0.2.7", 4711, "\xE0\0\x03abc")}hello\n`);
    await say(running, `${v2Unix("/run/app.sock")}hello\n`);
    await running.out.until(`"disconnected"`, 2);
    const records = running.out.text.trim().split("\n").map((line) => JSON.parse(line));
    const [connected, line, disconnected, ...ofUnix] = records;
    assertMatch(connected.proxy, /^127\.0\.0\.1:\d+$/);
    const client = { connection: 1, host: "192.0.2.7", port: 4711 };
    assertEquals(line, { event: "line", ...client, message: "hello" });
    const { seconds, ...rest } = disconnected;
    assert(seconds >= 0);
    const totals = { bytes: 6, lines: 1, reason: "closed" };
    assertEquals(rest, { event: "disconnected", ...client, ...totals });
    assertEquals(ofUnix.map(({ path }) => path), Array(3).fill("/run/app.sock"));
    assert(ofUnix.every((record) => !("host" in record)));
  },
});

Deno.test({
  ...NET,
  name: "a server counts the offsets of hex from the data behind a PROXY header",
  async fn() {
    await using running = await serve([...FROM_LOCAL, "--format", "hex"]);
    using conn = await running.connect();
    await conn.write(bytesOf(`${v2Tcp4("192.0.2.7", 4711)}hello`));
    await running.out.until("> 5 bytes");
    await conn.write(encode("world"));
    await running.out.until("> 5 bytes", 2);
    assertMatch(running.out.text, /> 5 bytes\n00000000 +68 65 6c 6c 6f/);
    assertMatch(running.out.text, /> 5 bytes\n00000005 +77 6f 72 6c 64/);
    assert(!running.out.text.includes("QUIT"));
  },
});

Deno.test({
  ...NET,
  name: "a server takes a PROXY header byte by byte",
  async fn() {
    await using running = await serve(FROM_LOCAL);
    using conn = await running.connect();
    for (const byte of bytesOf(`${tcp4("192.0.2.7")}hi\n`)) {
      await conn.write(Uint8Array.of(byte));
      await turn();
    }
    await running.out.until("| hi\n");
    assertEquals(running.out.lines, [
      "#1 192.0.2.7:4711 connected (through 127.0.0.1:PORT)",
      "#1 192.0.2.7:4711 | hi",
    ]);
  },
});

Deno.test({
  ...NET,
  name: "a header is data when its peer is no proxy",
  async fn() {
    await using running = await serve(["--time", "none", "--proxy-from", "10.0.0.0/8"]);
    await say(running, tcp4("192.0.2.7"));
    await running.out.until("disconnected");
    assertEquals(running.out.lines.slice(0, 2), [
      "#1 127.0.0.1:PORT connected",
      "#1 127.0.0.1:PORT | PROXY TCP4 192.0.2.7 10.0.0.9 4711 1234",
    ]);
  },
});

Deno.test({
  ...NET,
  name: "a second PROXY header is data",
  async fn() {
    await using running = await serve(FROM_LOCAL);
    await say(running, tcp4("192.0.2.7") + tcp4("192.0.2.8"));
    await running.out.until("disconnected");
    const [, line] = running.out.lines;
    assertEquals(line, "#1 192.0.2.7:4711 | PROXY TCP4 192.0.2.8 10.0.0.9 4711 1234");
  },
});

Deno.test({
  ...NET,
  name: "a server records a bad PROXY header with the next number",
  async fn() {
    await using running = await serve(FROM_LOCAL);
    await say(running, "GET / HTTP/1.1\r\n\r\n");
    await say(running, `${tcp4("192.0.2.7")}hi\n`);
    await running.out.until("| hi");
    const [bad, connected] = running.out.lines;
    assertEquals(bad, "#1 127.0.0.1:PORT disconnected: 0 bytes, 0 lines, 0.0 s (bad PROXY header)");
    assertEquals(connected, "#2 192.0.2.7:4711 connected (through 127.0.0.1:PORT)");
  },
});

Deno.test({
  ...NET,
  name: "a server disconnects a proxy that sends no header in time, though it dribbles",
  async fn() {
    await using running = await serve([...FROM_LOCAL, "--idle-timeout", "0.3"]);
    using conn = await running.connect();
    await conn.write(encode("PROXY "));
    await pause(100);
    await conn.write(encode("TCP4 "));
    assertEquals((await readUpTo(conn, 1)).length, 0);
    await running.out.until("disconnected");
    assertMatch(
      running.out.text,
      /^#1 127\.0\.0\.1:\d+ disconnected: 0 bytes, 0 lines, 0\.3 s \(no PROXY header within 0\.3 s\)\n$/,
    );
  },
});

// -- Checks --

const CHECKS: [string, (running: Running) => Promise<void>][] = [
  ["nothing, with an end", (running) => say(running, "")],
  ["nothing, with a reset", ({ port }) => connectAndReset(port)],
  ["the beginning of a header", (running) => say(running, "PROXY TCP4 192.0.2")],
  ["LOCAL", (running) => say(running, v2Local())],
  ["UNKNOWN", (running) => say(running, "PROXY UNKNOWN\r\n")],
  ["UNSPEC", (running) => say(running, `${V2}\x21\0\0\0`)],
  ["its own address", sayOwnAddress],
];

async function sayOwnAddress(running: Running): Promise<void> {
  using conn = await running.connect();
  const { port } = conn.localAddr as Deno.NetAddr;
  await conn.write(encode(`PROXY TCP4 127.0.0.1 127.0.0.1 ${port} ${running.port}\r\n`));
  await conn.closeWrite();
  await readUpTo(conn, 1);
}

for (const [what, check] of CHECKS) {
  Deno.test({
    ...NET,
    name: `a proxy's check that sends ${what} leaves no record and takes no number`,
    async fn() {
      await using running = await serve([
        ...FROM_LOCAL,
        "--max-connections",
        "1",
        "--max-per-host",
        "1",
        "--allow",
        "192.0.2.0/24",
      ]);
      await check(running);
      await say(running, `${tcp4("192.0.2.7")}hi\n`);
      await running.out.until("disconnected");
      assertEquals(running.out.lines, [
        "#1 192.0.2.7:4711 connected (through 127.0.0.1:PORT)",
        "#1 192.0.2.7:4711 | hi",
        "#1 192.0.2.7:4711 disconnected: 3 bytes, 1 line, 0.0 s",
      ]);
    },
  });
}

Deno.test({
  ...NET,
  name: "a client may have the port that its proxy has at the server",
  async fn() {
    await using running = await serve(FROM_LOCAL);
    using conn = await running.connect();
    const { port } = conn.localAddr as Deno.NetAddr;
    await conn.write(encode(`PROXY TCP4 127.0.0.1 127.0.0.1 ${port} 443\r\nhello\n`));
    await running.out.until("| hello");
    const [connected, hello] = running.out.text.split("\n");
    assertEquals(connected, `#1 127.0.0.1:${port} connected (through 127.0.0.1:${port})`);
    assertEquals(hello, `#1 127.0.0.1:${port} | hello`);
  },
});

Deno.test({
  ...NET,
  name: "what looked like a check is a client when data comes",
  async fn() {
    await using running = await serve(FROM_LOCAL);
    using conn = await running.connect();
    await conn.write(bytesOf(v2Local()));
    await say(running, `${tcp4("192.0.2.7")}heard behind it\n`);
    await running.out.until("disconnected");
    assertEquals(running.out.count("#2"), 0);
    await conn.write(encode("hello\n"));
    await running.out.until("| hello");
    assertEquals(running.out.lines.slice(-2), [
      "#2 127.0.0.1:PORT connected",
      "#2 127.0.0.1:PORT | hello",
    ]);
  },
});

// -- Rules --

Deno.test({
  ...NET,
  name: "rules ask for the address that a PROXY header names, not for the proxy's",
  async fn() {
    await using running = await serve([
      ...FROM_LOCAL,
      "--allow",
      "192.0.2.0/24",
      "--deny",
      "192.0.2.66",
    ]);
    await say(running, `${tcp4("192.0.2.66")}no\n`);
    await say(running, `${tcp4("203.0.113.1")}no\n`);
    await say(running, `${tcp4("192.0.2.7")}yes\n`);
    await running.out.until("disconnected");
    assertEquals(running.out.lines.slice(0, 4), [
      "refused 192.0.2.66:4711",
      "refused 203.0.113.1:4711",
      "#1 192.0.2.7:4711 connected (through 127.0.0.1:PORT)",
      "#1 192.0.2.7:4711 | yes",
    ]);
  },
});

Deno.test({
  ...NET,
  name: "--deny keeps a proxy out whomever it names",
  async fn() {
    await using running = await serve([...FROM_LOCAL, "--deny", "127.0.0.1"]);
    using conn = await running.connect();
    assertEquals((await readUpTo(conn, 1)).length, 0);
    await running.out.until("refused");
    assertEquals(running.out.lines, ["refused 127.0.0.1:PORT"]);
  },
});

Deno.test({
  ...NET,
  name: "--max-per-host counts proxied clients by the address named",
  async fn() {
    await using running = await serve([...FROM_LOCAL, "--max-per-host", "2"]);
    using clients = new DisposableStack();
    for (let i = 1; i <= 4; i++) {
      const conn = clients.use(await running.connect());
      await conn.write(encode(tcp4("192.0.2.7", i)));
      await running.out.until("\n", i);
    }
    const other = clients.use(await running.connect());
    await other.write(encode(tcp4("192.0.2.8")));
    await running.out.until("\n", 5);
    assertEquals(running.out.lines, [
      "#1 192.0.2.7:1 connected (through 127.0.0.1:PORT)",
      "#2 192.0.2.7:2 connected (through 127.0.0.1:PORT)",
      "refused 192.0.2.7:3 (2 connections already)",
      "refused 192.0.2.7:4 (2 connections already)",
      "#3 192.0.2.8:4711 connected (through 127.0.0.1:PORT)",
    ]);
  },
});

for (const header of [tcp4("192.0.2.7"), v2Local()]) {
  const whose = header.startsWith("PROXY") ? "a named client" : "the proxy itself";
  Deno.test({
    ...NET,
    name: `--max-per-host counts connections of ${whose} that come at the same moment`,
    async fn() {
      await using running = await serve([...FROM_LOCAL, "--max-per-host", "3"]);
      using clients = new DisposableStack();
      const conns = await Promise.all(Array.from({ length: 12 }, () => running.connect()));
      for (const conn of conns) clients.use(conn);
      await Promise.all(conns.map((conn) => conn.write(bytesOf(`${header}hi\n`))));
      await running.out.until("\n", 15);
      const count = (part: string) => running.out.count(part);
      assertEquals([count(" connected"), count("| hi"), count("refused")], [3, 3, 9]);
      assertEquals(count("(3 connections already)"), 9);
    },
  });
}

Deno.test({
  ...NET,
  name: "a place is taken from accept on, also by a proxy that says nothing",
  async fn() {
    await using running = await serve([
      ...FROM_LOCAL,
      "--max-connections",
      "1",
      "--idle-timeout",
      "0.2",
    ]);
    using silent = await running.connect();
    using waiting = await running.connect();
    await waiting.write(encode(`${tcp4("192.0.2.7")}hi\n`));
    assertEquals((await readUpTo(silent, 1)).length, 0);
    await running.out.until("| hi");
    const [first, second] = running.out.lines;
    assertMatch(
      first!,
      /^#1 127\.0\.0\.1:PORT disconnected: .* \(no PROXY header within 0\.2 s\)$/,
    );
    assertEquals(second, "#2 192.0.2.7:4711 connected (through 127.0.0.1:PORT)");
  },
});

Deno.test({
  ...IPV6,
  name: "--max-per-host leaves others their places when one address connects 2,000 times",
  fn: async () => {
    const args = ["--time", "none", "--host", "::", "--max-per-host", "5"];
    await using running = await serve([...args, "--max-connections", "10"]);
    using clients = new DisposableStack();
    for (let i = 0; i < 20; i++) {
      const batch = Array.from({ length: 100 }, () => running.connect());
      for (const conn of await Promise.all(batch)) clients.use(conn);
    }
    using other = await Deno.connect({ hostname: "::1", port: running.port });
    await other.write(encode("heard\n"));
    await running.out.until("| heard");
    assertEquals(running.out.count("(5 connections already)"), 1995);
    assertEquals(running.out.count(" connected\n"), 6);
    assertEquals(running.err.count("no more are accepted"), 0);
  },
});

Deno.test({
  ...NET,
  name: "--max-per-host gives a place back when a client leaves",
  async fn() {
    await using running = await serve(["--time", "none", "--max-per-host", "1"]);
    for (let i = 1; i <= 3; i++) {
      await say(running, "hi\n");
      await running.out.until("disconnected", i);
    }
    assertEquals(running.out.count("| hi"), 3);
    using _ = await running.connect();
    await running.out.until(" connected", 4);
    using second = await running.connect();
    assertEquals((await readUpTo(second, 1)).length, 0);
    assertEquals(running.out.lines.at(-1), "refused 127.0.0.1:PORT (1 connection already)");
  },
});

// -- The end --

Deno.test({
  ...NET,
  name: "a server that is stopped logs what has arrived behind PROXY headers",
  async fn() {
    await using running = await serve(FROM_LOCAL);
    const conns = await Promise.all(Array.from({ length: 30 }, () => running.connect()));
    using clients = new DisposableStack();
    for (const conn of conns) clients.use(conn);
    await Promise.all(conns.map((conn) => conn.write(encode(`${tcp4("192.0.2.7")}last words\n`))));
    running.server.stop();
    await running.server.finished;
    assertEquals(running.out.count("| last words"), 30);
  },
});

Deno.test({
  ...NET,
  name: "a server that is stopped ends connections that have named nobody, but checks silently",
  async fn() {
    await using running = await serve(FROM_LOCAL);
    using silent = await running.connect();
    using check = await running.connect();
    await silent.write(encode("PROXY "));
    await check.write(bytesOf(v2Local()));
    await say(running, `${tcp4("192.0.2.7")}heard behind them\n`);
    await running.out.until("disconnected");
    running.server.stop();
    await running.server.finished;
    assertEquals([(await readUpTo(silent, 1)).length, (await readUpTo(check, 1)).length], [0, 0]);
    const [line, ...more] = running.out.lines.filter((line) => !line.includes("192.0.2.7"));
    assertMatch(line!, /^#2 127\.0\.0\.1:PORT disconnected: .* \(shutting down\)$/);
    assertEquals(more, []);
  },
});
