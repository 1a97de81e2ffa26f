/** A server that speaks TLS. */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { Duplex } from "node:stream";
import { connect as connectTls } from "node:tls";
import { decode, encode } from "../lib/bytes.ts";
import { type CertificateFiles, makeCertificate } from "./support/certificates.ts";
import { writeAll } from "../lib/io.ts";
import { heldAt, readUpTo } from "./support/connections.ts";
import { bytesOf } from "./support/data.ts";
import { tempDir } from "./support/files.ts";
import { serve } from "./support/serving.ts";
import { pause, untilTrue } from "./support/waiting.ts";
import { PROC, TLS } from "./support/needs.ts";

Deno.test.sanitizer({ ops: true, resources: true });

type Running = Awaited<ReturnType<typeof serve>>;

type TlsRunning = Running & { readonly folder: string; readonly files: CertificateFiles };

/** A server that speaks TLS; its certificate lies in `folder`. */
async function serveTls(args: readonly string[]): Promise<TlsRunning> {
  const folder = tempDir();
  const files = makeCertificate(folder.path);
  const tls = ["--tls-cert", files.cert, "--tls-key", files.key];
  const running = await serve(["--time", "none", ...tls, ...args]);
  return {
    ...running,
    folder: folder.path,
    files,
    async [Symbol.asyncDispose]() {
      await running[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    },
  };
}

function caOf({ files }: TlsRunning): string {
  return Deno.readTextFileSync(files.cert);
}

function connectSecurely(running: TlsRunning, caCerts = [caOf(running)]): Promise<Deno.TlsConn> {
  return Deno.connectTls({ hostname: "localhost", port: running.port, caCerts });
}

Deno.test({
  ...TLS,
  name: "a TLS server hears a client to its end, in order",
  async fn() {
    await using running = await serveTls(["--echo"]);
    using conn = await connectSecurely(running);
    const text = Array.from({ length: 20_000 }, (_, i) => `line ${i}\n`).join("");
    const writing = writeAll(conn, encode(text));
    const echo = await readUpTo(conn, text.length);
    await writing;
    assertEquals(decode(echo), text);
    await writeAll(conn, encode("half a line"));
    await conn.closeWrite();
    assertEquals(decode(await readUpTo(conn, 100)), "half a line");
    await running.out.until("disconnected");
    const lines = running.out.lines.slice(1, -2).map((line) => line.split(" | ")[1]);
    assertEquals(lines.join("\n") + "\n", text);
    assertMatch(running.out.lines.at(-2)!, / \+ half a line$/);
    assertMatch(running.out.lines.at(-1)!, / 20001 lines, \d+\.\d s$/);
  },
});

Deno.test({
  ...TLS,
  name: "a TLS server says what a plain client is",
  async fn() {
    await using running = await serveTls([]);
    using plain = await running.connect();
    await plain.write(encode("GET / HTTP/1.0\r\n\r\n"));
    await running.out.until("disconnected");
    assertEquals(running.out.lines, [
      "#1 127.0.0.1:PORT disconnected: 0 bytes, 0 lines, 0.0 s (TLS handshake failed: not TLS)",
    ]);
  },
});

Deno.test({
  ...TLS,
  name: "--max-per-host counts TLS clients from accept on",
  async fn() {
    await using running = await serveTls(["--max-per-host", "1"]);
    using _silent = await running.connect();
    using second = await running.connect();
    assertEquals((await readUpTo(second, 1)).length, 0);
    await running.out.until("refused");
    assertEquals(running.out.lines, ["refused 127.0.0.1:PORT (1 connection already)"]);
  },
});

Deno.test({
  ...TLS,
  name: "--idle-timeout begins when the handshake has ended",
  async fn() {
    await using running = await serveTls(["--idle-timeout", "0.6", "--format", "json"]);
    using conn = await running.connect();
    await pause(300);
    using secure = await Deno.startTls(conn, {
      hostname: "localhost",
      caCerts: [caOf(running)],
    });
    await secure.handshake();
    assertEquals((await readUpTo(secure, 1)).length, 0);
    await running.out.until("disconnected");
    const { reason, seconds } = JSON.parse(running.out.text.trim().split("\n").at(-1)!);
    assertEquals(reason, "idle for 0.6 s");
    assert(seconds >= 0.6, `${seconds}`);
  },
});

Deno.test({
  ...TLS,
  name: "a TLS server frees every handshake that hangs, and hears others meanwhile",
  async fn() {
    await using running = await serveTls(["--idle-timeout", "0.5"]);
    const hanging = await Promise.all(Array.from({ length: 50 }, () => running.connect()));
    await Promise.all(hanging.map((conn, i) => i % 2 && conn.write(bytesOf("\x16\x03\x01"))));
    {
      using conn = await connectSecurely(running);
      await conn.write(encode("heard\n"));
      await running.out.until("| heard");
      assertEquals(running.out.count("no TLS handshake"), 0);
    }
    await running.out.until("no TLS handshake within 0.5 s", 50);
    await running.out.until("disconnected", 51);
    if (!PROC.ignore) await untilTrue(() => heldAt(running.port) === 0);
    for (const conn of hanging) conn.close();
  },
});

Deno.test({
  ...TLS,
  name: "a TLS server that is stopped ends handshakes, and logs whoever is through",
  async fn() {
    await using running = await serveTls([]);
    using hanging = await running.connect();
    using conn = await connectSecurely(running);
    await conn.write(encode("half"));
    await running.out.until("connected");
    running.server.stop();
    await running.server.finished;
    assertEquals((await readUpTo(hanging, 1)).length, 0);
    const { lines } = running.out;
    assertEquals(lines.filter((line) => line.endsWith("(shutting down)")).length, 2);
    assertEquals(running.out.count("+ half"), 1);
  },
});

Deno.test({
  ...TLS,
  name: "a TLS server takes the PROXY header before the handshake",
  async fn() {
    await using running = await serveTls(["--proxy-from", "127.0.0.0/8"]);
    using conn = await running.connect();
    await conn.write(encode("PROXY TCP4 192.0.2.7 10.0.0.9 4711 1234\r\n"));
    using secure = await Deno.startTls(conn, {
      hostname: "localhost",
      caCerts: [caOf(running)],
    });
    await secure.write(encode("secret\n"));
    await running.out.until("| secret");
    assertEquals(running.out.lines, [
      "#1 192.0.2.7:4711 connected (through 127.0.0.1:PORT)",
      "#1 192.0.2.7:4711 | secret",
    ]);
  },
});

/** Connects until it is told to stop; returns the serial number that each connection was shown. */
async function keepConnecting(running: TlsRunning, isOver: () => boolean): Promise<string[]> {
  const serials: string[] = [];
  while (!isOver()) serials.push(await serialShown(running));
  return serials;
}

function serialShown({ port }: Running): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const client = connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false }, () => {
    const { serialNumber } = client.getPeerCertificate();
    client.end("hello\n");
    client.on("close", () => resolve(serialNumber)).resume();
  });
  client.on("error", reject);
  return promise;
}

Deno.test({
  ...TLS,
  name: "reload() changes the certificate under clients that keep connecting, and none fails",
  async fn() {
    await using running = await serveTls([]);
    let isOver = false;
    const first = await serialShown(running);
    using open = await connectSecurely(running);
    await open.handshake();
    const connecting = Array.from({ length: 20 }, () => keepConnecting(running, () => isOver));
    await running.out.until("disconnected", 40);
    makeCertificate(running.folder);
    assert(running.server.reload());
    const second = await serialShown(running);
    await running.out.until("disconnected", running.out.count("disconnected") + 40);
    isOver = true;
    const shown = await Promise.all(connecting);
    assert(first !== second);
    for (const serials of shown) {
      const change = serials.indexOf(second);
      assert(serials.every((serial, i) => serial === (change < 0 || i < change ? first : second)));
    }
    assert(shown.every((serials) => serials.at(-1) === second));
    await open.write(encode("still open\n"));
    await running.out.until("| still open");
    assertEquals(running.out.count("TLS handshake failed"), 0);
  },
});

Deno.test({
  ...TLS,
  name: "reload() keeps the old certificate if the new one is of no use",
  async fn() {
    await using running = await serveTls([]);
    const first = await serialShown(running);
    await Deno.writeTextFile(running.files.cert, "damaged");
    assert(running.server.reload());
    await running.err.until("the old certificates stay");
    const [, complaint] = running.err.text.trim().split("\n");
    assertEquals(
      complaint,
      `earshot: Cannot use --tls-cert ${running.files.cert}: no certificate in it; the old certificates stay`,
    );
    assertEquals(await serialShown(running), first);
  },
});

Deno.test({
  ...TLS,
  name: "startServer() names the option of a file that is of no use for TLS",
  fn: async () => {
    using folder = tempDir();
    const { cert, key } = makeCertificate(folder.path);
    await assertRejects(
      () => serve(["--tls-cert", key, "--tls-key", cert]),
      Error,
      `Cannot use --tls-cert ${key}: no certificate in it`,
    );
  },
});

Deno.test({
  ...TLS,
  name: "reload() says what went well, when it is done",
  async fn() {
    using dir = tempDir();
    const log = `${dir.path}/log`;
    const names = `${dir.path}/names`;
    Deno.writeTextFileSync(names, "192.0.2.7 pump\n");
    await using running = await serveTls(["--output", log, "--names", names]);
    running.server.reload();
    await running.err.until("SIGHUP");
    Deno.writeTextFileSync(names, "nonsense\n");
    Deno.renameSync(log, `${log}.old`);
    Deno.mkdirSync(log);
    running.server.reload();
    await running.err.until("stay", 2);
    await Deno.writeTextFile(running.files.cert, "damaged");
    await Deno.remove(log);
    running.server.reload();
    await running.err.until("SIGHUP", 2);
    const said = running.err.text.split("\n").filter((line) => line.includes("SIGHUP"));
    assertEquals(said, [
      "earshot: SIGHUP: output opened anew, certificates read, names read",
      "earshot: SIGHUP: output opened anew",
    ]);
  },
});

/** The counters of handshakes that failed, those above 0. */
async function failuresOf({ server }: TlsRunning): Promise<string[]> {
  const { hostname, port } = server.webAddr!;
  const response = await fetch(`http://${hostname}:${port}/metrics`);
  return (await response.text()).split("\n").filter((row) => /^earshot_hand.* [1-9]/.test(row));
}

Deno.test({
  ...TLS,
  name: "a TLS server leaves no record of who leaves without a word, and gives them no number",
  async fn() {
    await using running = await serveTls(["--web", "0"]);
    for (let i = 0; i < 3; i++) (await running.connect()).close();
    using half = await running.connect();
    await half.closeWrite();
    await readUpTo(half, 1);
    using conn = await connectSecurely(running);
    await conn.write(encode("hello\n"));
    await running.out.until("| hello");
    assertMatch(running.out.text, /^#1 \S+ connected\n#1 \S+ \| hello\n$/);
    assertEquals(await failuresOf(running), []);
  },
});

Deno.test({
  ...TLS,
  name: "a TLS server counts the handshakes that fail, with --quiet, too",
  async fn() {
    await using running = await serveTls(["--web", "0", "--quiet"]);
    for (let i = 0; i < 2; i++) {
      using plain = await running.connect();
      await plain.write(encode("<13>hello\n"));
      const alert = await readUpTo(plain, 100);
      assertEquals([alert[0], alert.length], [21, 7]);
    }
    await untilTrueOf(async () => (await failuresOf(running)).join().endsWith("2"));
    assertEquals(await failuresOf(running), [
      'earshot_handshake_failures_total{reason="not TLS"} 2',
    ]);
    assertEquals(running.out.text, "");
  },
});

async function untilTrueOf(condition: () => Promise<boolean>): Promise<void> {
  while (!await condition()) await pause(10);
}

Deno.test({
  ...TLS,
  name: "a TLS server keeps the lines that came whole before a damaged record",
  async fn() {
    await using running = await serveTls([]);
    using conn = await running.connect();
    const { client, appended, ended } = clientOver(conn);
    client.write("one\n");
    await running.out.until("| one");
    appended.push(...bytesOf("\x17\x03\x03\0\x20" + "junk".repeat(8)));
    client.write("two\nthree\n");
    await running.out.until("disconnected");
    client.destroy();
    await ended;
    const [, ...records] = running.out.lines.map((line) => line.replace(/^#1 \S+ /, ""));
    const end = "disconnected: 14 bytes, 3 lines, 0.0 s (damaged TLS message)";
    assertEquals(records, ["| one", "| two", "| three", end]);
  },
});

/** A client of TLS over a connection; what it writes is sent together with what is appended. */
function clientOver(conn: Deno.TcpConn) {
  const appended: number[] = [];
  const ended = Promise.withResolvers<void>();
  const duplex = new Duplex({
    read() {},
    write(chunk: Uint8Array, _encoding, done) {
      writeAll(conn, Uint8Array.of(...chunk, ...appended.splice(0))).then(() => done(), done);
    },
  });
  const client = connectTls({ socket: duplex, rejectUnauthorized: false });
  client.on("error", () => {});
  const receive = async () => {
    const bytes = new Uint8Array(65536);
    for (let count; (count = await conn.read(bytes).catch(() => null)) !== null;) {
      duplex.push(bytes.slice(0, count));
    }
    ended.resolve();
  };
  receive();
  return { client, appended, ended: ended.promise };
}
