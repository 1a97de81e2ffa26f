import { assert, assertEquals, assertMatch } from "@std/assert";
import { connect as connectTls } from "node:tls";
import { Duplex } from "node:stream";
import type { ByteStream } from "../../poller.ts";
import { Networks, parseNetwork, type Peer, peerOf } from "../addresses.ts";
import { encode } from "../bytes.ts";
import { makeCertificate } from "../../tests/support/certificates.ts";
import {
  type Accepted,
  type HandshakeOptions,
  type HandshakeOutcome,
  Handshakes,
} from "./handshakes.ts";
import type { Sink } from "../io.ts";
import { connect, heldAt, listenLocal, tcpPair } from "../../tests/support/connections.ts";
import { bytesOf } from "../../tests/support/data.ts";
import { tempDir } from "../../tests/support/files.ts";
import { assertPending, turn, untilTrue } from "../../tests/support/waiting.ts";
import { Tls } from "./tls.ts";
import { NET, PROC, TLS } from "../../tests/support/needs.ts";

Deno.test.sanitizer({ ops: true, resources: true });

function tlsIn(folder: string): Tls {
  const { cert, key } = makeCertificate(folder);
  return new Tls({ certFile: cert, keyFile: key });
}

// -- What a test uses --

const LOCAL = new Networks([parseNetwork("127.0.0.0/8")!]);
const CLIENT: Peer = { kind: "ip", host: "192.0.2.7", port: 4711 };
const V1 = "PROXY TCP4 192.0.2.7 192.0.2.1 4711 1234\r\n";
const V2_SIGNATURE = "\r\n\r\n\0\r\nQUIT\n";
const V2 = V2_SIGNATURE + "\x21\x11\0\x0C" + "\xC0\0\x02\x07\xC0\0\x02\x01" + "\x12\x67\x04\xD2";
const V2_LOCAL = V2_SIGNATURE + "\x20\0\0\0";
const V2_UNSPEC = V2_SIGNATURE + "\x21\0\0\0";
const V1_UNKNOWN = "PROXY UNKNOWN\r\n";

/** A connection that was accepted, its client, and what becomes of it. */
interface Started {
  readonly client: Deno.TcpConn;
  readonly peer: Peer;
  readonly handshakes: Handshakes;
  readonly outcomes: HandshakeOutcome[];
  readonly outcome: Promise<HandshakeOutcome>;
  [Symbol.dispose](): void;
}

async function started(options: Partial<HandshakeOptions>, tls?: Tls): Promise<Started> {
  const pair = await tcpPair();
  const handshakes = new Handshakes({
    limitMs: 60_000,
    idleMs: Infinity,
    proxies: LOCAL,
    ...options,
  });
  const peer = peerOf(pair.server.remoteAddr);
  const { promise: outcome, resolve } = Promise.withResolvers<HandshakeOutcome>();
  const outcomes: HandshakeOutcome[] = [];
  handshakes.start({ stream: pair.server, peer }, tls, (outcome) => {
    outcomes.push(outcome);
    resolve(outcome);
  });
  return {
    client: pair.client,
    peer,
    handshakes,
    outcomes,
    outcome,
    [Symbol.dispose]() {
      pair[Symbol.dispose]();
      handshakes[Symbol.dispose]();
      for (const outcome of outcomes) {
        if (outcome.tag !== "arrived") continue;
        try {
          outcome.stream.close!();
        } catch {
          // A plain stream was closed with the pair.
        }
      }
    },
  };
}

type Arrived = Extract<HandshakeOutcome, { tag: "arrived" }>;

function arrived(outcome: HandshakeOutcome): Arrived {
  assertEquals(outcome.tag, "arrived");
  return outcome as Arrived;
}

async function textOf(stream: ByteStream, length: number): Promise<string> {
  let text = "";
  while (text.length < length) {
    const bytes = new Uint8Array(length - text.length);
    const count = await stream.read(bytes);
    if (count === null) break;
    text += new TextDecoder().decode(bytes.subarray(0, count));
  }
  return text;
}

// -- Proxies --

Deno.test("Handshakes.isProxy() knows the networks of proxies", () => {
  using handshakes = new Handshakes({ limitMs: 1000, idleMs: Infinity, proxies: LOCAL });
  assertEquals(handshakes.isProxy({ kind: "ip", host: "127.0.0.9", port: 1 }), true);
  assertEquals(handshakes.isProxy(CLIENT), false);
  assertEquals(handshakes.isProxy({ kind: "unix", path: "/run/x" }), false);
  using without = new Handshakes({ limitMs: 1000, idleMs: Infinity, proxies: undefined });
  assertEquals(without.isProxy({ kind: "ip", host: "127.0.0.9", port: 1 }), false);
});

// -- PROXY headers --

for (const [name, header] of [["version 1", V1], ["version 2", V2]] as const) {
  Deno.test({
    ...NET,
    name: `Handshakes takes the client's address from a header of ${name}`,
    async fn() {
      using it = await started({});
      await it.client.write(bytesOf(header + "first line\n"));
      const { stream, ...rest } = arrived(await it.outcome);
      assertEquals(rest, { tag: "arrived", peer: CLIENT, through: it.peer });
      await it.client.write(encode("second line\n"));
      assertEquals(await textOf(stream, 23), "first line\nsecond line\n");
      await it.client.closeWrite();
      assertEquals(await stream.read(new Uint8Array(1)), null);
      await (stream as Sink).write(encode("answer"));
      assertEquals(await textOf(it.client, 6), "answer");
      await stream.closeWrite!();
      assertEquals(await it.client.read(new Uint8Array(1)), null);
      assertEquals(stream.remoteAddr, it.client.localAddr);
      assertEquals(stream.localAddr, it.client.remoteAddr);
    },
  });

  Deno.test(`Handshakes loses nothing wherever a header of ${name} is cut`, async () => {
    const bytes = bytesOf(header + "hello");
    for (let cut = 1; cut < bytes.length; cut++) {
      const arrival = arrivalOf([bytes.subarray(0, cut), bytes.subarray(cut)]);
      const { stream, peer } = arrived(await outcomeOf(arrival));
      assertEquals(peer, CLIENT);
      assertEquals(await textOf(stream, 100), "hello", `cut at ${cut}`);
    }
    const single = arrivalOf(Array.from(bytes, (byte) => Uint8Array.of(byte)));
    assertEquals(await textOf(arrived(await outcomeOf(single)).stream, 100), "hello");
  });
}

/** A proxy's connection that brings these reads, and then its end. */
function arrivalOf(reads: Uint8Array[], fault?: Error): Accepted & { closed: () => boolean } {
  let isClosed = false;
  const stream: ByteStream = {
    read(p) {
      const next = reads.shift();
      if (!next) return fault ? Promise.reject(fault) : Promise.resolve(null);
      if (next.length > p.length) reads.unshift(next.subarray(p.length));
      p.set(next.subarray(0, p.length));
      return Promise.resolve(Math.min(next.length, p.length));
    },
    close() {
      assert(!isClosed, "closed twice");
      isClosed = true;
    },
  };
  const peer = { kind: "ip", host: "127.0.0.1", port: 50_000 } as const;
  return { stream, peer, closed: () => isClosed };
}

function outcomeOf(
  arrival: Accepted,
  options: Partial<HandshakeOptions> = {},
): Promise<HandshakeOutcome> {
  const handshakes = new Handshakes({
    limitMs: 60_000,
    idleMs: Infinity,
    proxies: LOCAL,
    ...options,
  });
  return new Promise((resolve) => handshakes.start(arrival, undefined, resolve));
}

Deno.test("Handshakes fails with a bad PROXY header", async () => {
  for (const bad of ["GET / HTTP/1.1\r\n", "PROXY TCP4 1.2.3.4\n", "\r\n\r\n\0\r\nQUIX"]) {
    const arrival = arrivalOf([bytesOf(bad)]);
    assertEquals(await outcomeOf(arrival), {
      tag: "failed",
      peer: arrival.peer,
      reason: "bad PROXY header",
      fault: "bad PROXY header",
    });
    assert(arrival.closed());
  }
});

Deno.test("Handshakes takes an end or a reset before the header is whole for a check", async () => {
  const reset = new Deno.errors.ConnectionReset("Connection reset by peer");
  for (const fault of [undefined, reset]) {
    for (const begun of ["", "P", V1.slice(0, -1), V2.slice(0, -1)]) {
      const arrival = arrivalOf(begun ? [bytesOf(begun)] : [], fault);
      assertEquals(await outcomeOf(arrival), { tag: "checked" });
      assert(arrival.closed());
    }
  }
});

Deno.test("Handshakes takes a header that names no client, without data, for a check", async () => {
  const own = "PROXY TCP4 127.0.0.1 127.0.0.1 50000 1234\r\n";
  for (const header of [V2_LOCAL, V2_UNSPEC, V1_UNKNOWN, own]) {
    for (const fault of [undefined, new Deno.errors.ConnectionReset("")]) {
      const arrival = arrivalOf([bytesOf(header)], fault);
      const whyRefused = () => "nobody is to ask";
      assertEquals(await outcomeOf(arrival, { whyRefused }), { tag: "checked" });
      assert(arrival.closed());
    }
  }
});

Deno.test("Handshakes makes a check a client of the proxy's address when data comes", async () => {
  const own = "PROXY TCP4 127.0.0.1 127.0.0.1 50000 1234\r\n";
  for (const header of [V2_LOCAL, V2_UNSPEC, V1_UNKNOWN, own]) {
    for (const reads of [[header + "hello"], [header, "hel", "lo"]]) {
      const arrival = arrivalOf(reads.map(bytesOf));
      const { peer } = arrival;
      const { stream, ...rest } = arrived(await outcomeOf(arrival));
      assertEquals(rest, { tag: "arrived", peer, ...header === own && { through: peer } });
      assertEquals(await textOf(stream, 100), "hello");
    }
  }
});

Deno.test({
  ...NET,
  name: "Handshakes lets a check wait when the idle timeout is longer than any timer",
  async fn() {
    // A month; a timer takes 24.8 days, and fires at once when it is given more.
    using check = await started({ idleMs: 31 * 24 * 60 * 60 * 1000 });
    await check.client.write(bytesOf(V2_LOCAL));
    await assertPending(check.outcome);
    await check.client.write(bytesOf("hello"));
    assertEquals(await textOf(arrived(await check.outcome).stream, 5), "hello");
  },
});

Deno.test("Handshakes takes a second header for data", async () => {
  const { stream } = arrived(await outcomeOf(arrivalOf([bytesOf(V1 + V1)])));
  assertEquals(await textOf(stream, 100), V1);
});

Deno.test("Handshakes refuses whom the owner does not want, by the address named", async () => {
  const arrival = arrivalOf([bytesOf(V1 + "hello")]);
  const asked: Peer[] = [];
  const whyRefused = (peer: Peer) => {
    asked.push(peer);
    return "not allowed";
  };
  assertEquals(await outcomeOf(arrival, { whyRefused }), {
    tag: "refused",
    peer: CLIENT,
    through: arrival.peer,
    reason: "not allowed",
  });
  assertEquals(asked, [CLIENT]);
  assert(arrival.closed());
});

Deno.test("Handshakes fails when no PROXY header comes in time, whatever dribbles", async () => {
  const peer: Peer = { kind: "ip", host: "127.0.0.1", port: 50_000 };
  const beginning = bytesOf("PROXY UNKNOWN " + "x".repeat(80));
  let at = 0;
  let isClosed = false;
  const stream: ByteStream = {
    async read(p) {
      await turn();
      if (isClosed) throw new Deno.errors.BadResource("Bad resource ID");
      p[0] = beginning[at]!;
      return at < beginning.length - 1 ? (at++, 1) : 0;
    },
    close: () => isClosed = true,
  };
  assertEquals(await outcomeOf({ stream, peer }, { limitMs: 60 }), {
    tag: "failed",
    peer,
    reason: "no PROXY header within 0.06 s",
    fault: "timeout",
  });
  await turn();
});

Deno.test({
  ...NET,
  name: "Handshakes lets a silent check be, and ends it without a record when idle",
  async fn() {
    using it = await started({ limitMs: 20, idleMs: 200 });
    await it.client.write(bytesOf(V2_LOCAL));
    assertEquals(await it.client.read(new Uint8Array(1)), null);
    assertEquals(it.outcomes, [{ tag: "checked" }]);
    assertEquals(it.handshakes.size, 0);
  },
});

Deno.test({
  ...NET,
  name: "Handshakes hurries no check, and makes it a client whenever data comes",
  async fn() {
    using it = await started({ limitMs: 200 });
    await it.client.write(bytesOf(V2_LOCAL));
    using slow = await started({ limitMs: 200 });
    await slow.client.write(bytesOf("PROXY"));
    assertEquals((await slow.outcome).tag, "failed");
    assertEquals(it.outcomes, []);
    assertEquals(it.handshakes.size, 1);
    await it.client.write(encode("late"));
    assertEquals(await textOf(arrived(await it.outcome).stream, 4), "late");
  },
});

Deno.test({
  ...NET,
  name: "Handshakes hurries a proxy from its first byte on, and not before",
  async fn() {
    using it = await started({ limitMs: 60 });
    using other = await started({ limitMs: 60 });
    await other.client.write(bytesOf("PROXY"));
    assertEquals((await other.outcome).tag, "failed");
    await assertPending(it.outcome);
    await it.client.write(bytesOf(V1 + "late"));
    assertEquals(arrived(await it.outcome).peer, CLIENT);
  },
});

Deno.test({
  ...NET,
  name: "Handshakes lets a silent proxy wait as long as a client may be idle",
  async fn() {
    using it = await started({ limitMs: 20, idleMs: 150 });
    const reason = "no PROXY header within 0.15 s";
    assertEquals(await it.outcome, { tag: "failed", peer: it.peer, reason, fault: "timeout" });
    using stopped = await started({});
    stopped.handshakes.endAll("shutting down");
    assertEquals(await stopped.outcome, { tag: "checked" });
  },
});

Deno.test("Handshakes gives the certificate that a proxy names", async () => {
  const name = "sensor 7";
  const value = `\x07\0\0\0\0\x22\0${String.fromCharCode(name.length)}${name}`;
  const ssl = `\x20\0${String.fromCharCode(value.length)}${value}`;
  const addresses = "\xC0\0\x02\x07\xC0\0\x02\x01\x12\x67\x04\xD2";
  const length = String.fromCharCode(addresses.length + ssl.length);
  const header = `${V2_SIGNATURE}\x21\x11\0${length}${addresses}${ssl}`;
  const { certificate, peer } = arrived(await outcomeOf(arrivalOf([bytesOf(header + "x")])));
  assertEquals([certificate, peer], [name, CLIENT]);
});

// -- TLS --

Deno.test({
  ...TLS,
  name: "Handshakes puts TLS behind a PROXY header, even in one packet",
  async fn() {
    using dir = tempDir();
    const tls = tlsIn(dir.path);
    for (const header of ["", V1, V2, V2_LOCAL]) {
      using it = await started(header ? {} : { proxies: undefined }, tls);
      let before = bytesOf(header);
      const duplex = duplexOver(it.client, (bytes) => {
        const all = new Uint8Array([...before, ...bytes]);
        before = new Uint8Array(0);
        return all;
      });
      const socket = connectTls({ socket: duplex, rejectUnauthorized: false });
      socket.on("error", () => {});
      socket.write("secret");
      const { stream, peer, through } = arrived(await it.outcome);
      assertEquals(await textOf(stream, 6), "secret");
      const isNamed = header === V1 || header === V2;
      assertEquals([peer, through], isNamed ? [CLIENT, it.peer] : [it.peer, undefined]);
      stream.close!();
      socket.destroy();
      await duplex.over;
    }
  },
});

/** A stream for `node:tls`, over a connection, that may change what is sent. */
function duplexOver(conn: Deno.Conn, change: (bytes: Uint8Array) => Uint8Array) {
  const duplex = new Duplex({
    read() {},
    write(chunk: Uint8Array, _encoding, done) {
      conn.write(change(chunk)).then(() => done(), () => done());
    },
  });
  const over = (async () => {
    const bytes = new Uint8Array(65536);
    for (let count; (count = await conn.read(bytes).catch(() => null)) !== null;) {
      duplex.push(bytes.slice(0, count));
    }
  })();
  return Object.assign(duplex, { over });
}

Deno.test({
  ...TLS,
  name: "Handshakes fails with the reason of a TLS handshake",
  async fn() {
    using dir = tempDir();
    const tls = tlsIn(dir.path);
    for (
      const [sent, reason, fault] of [
        ["GET / HTTP/1.1\r\n\r\n", "not TLS", "not TLS"],
        ["\x16\x03\x01\x02\0\x01\0", "closed by the client", "closed"],
      ] as const
    ) {
      using it = await started({ proxies: undefined }, tls);
      await it.client.write(bytesOf(sent));
      await it.client.closeWrite();
      assertEquals(await it.outcome, {
        tag: "failed",
        peer: it.peer,
        reason: `TLS handshake failed: ${reason}`,
        fault,
      });
    }
    using it = await started({}, tls);
    await it.client.write(bytesOf(V1 + "<13>hello\n"));
    assertEquals(await it.outcome, {
      tag: "failed",
      peer: CLIENT,
      through: it.peer,
      reason: "TLS handshake failed: not TLS",
      fault: "not TLS",
    });
  },
});

Deno.test({
  ...TLS,
  name: "Handshakes takes a client that leaves without a word for a check",
  async fn() {
    using dir = tempDir();
    const tls = tlsIn(dir.path);
    for (const leave of ["closeWrite", "close"] as const) {
      using it = await started({ proxies: undefined }, tls);
      await it.client[leave]();
      assertEquals(await it.outcome, { tag: "checked" });
    }
    using named = await started({}, tls);
    await named.client.write(bytesOf(V1));
    await named.client.closeWrite();
    assertEquals(await named.outcome, { tag: "checked" });
  },
});

Deno.test({
  ...TLS,
  name: "Handshakes gives header and TLS one limit together",
  async fn() {
    using dir = tempDir();
    const tls = tlsIn(dir.path);
    using silent = await started({ proxies: undefined, limitMs: 50 }, tls);
    assertEquals(await silent.outcome, {
      tag: "failed",
      peer: silent.peer,
      reason: "no TLS handshake within 0.05 s",
      fault: "timeout",
    });
    using late = await started({ limitMs: 50 }, tls);
    await late.client.write(bytesOf(V1));
    assertEquals(await late.outcome, {
      tag: "failed",
      peer: CLIENT,
      through: late.peer,
      reason: "no TLS handshake within 0.05 s",
      fault: "timeout",
    });
    assertEquals(await late.client.read(new Uint8Array(1)), null);
  },
});

Deno.test({
  ...TLS,
  name: "Handshakes.endAll() ends each once, with the reason",
  async fn() {
    using dir = tempDir();
    const tls = tlsIn(dir.path);
    const underWay = await Promise.all([
      started({}, tls),
      started({ proxies: undefined }, tls),
      started({}, tls),
    ]);
    const [header, hello, check] = underWay as [Started, Started, Started];
    await header.client.write(bytesOf("PROXY"));
    await check.client.write(bytesOf(V2_LOCAL));
    // It reads the header in one of them.
    for (let i = 0; i < 5; i++) await turn();
    for (const it of underWay) {
      assertEquals(it.handshakes.size, 1);
      it.handshakes.endAll("shutting down");
      assertEquals(it.handshakes.size, 0);
      it.handshakes.endAll("shutting down");
      assertEquals(await it.client.read(new Uint8Array(1)).catch(() => null), null);
      await turn();
    }
    const reason = "shutting down";
    assertEquals(header.outcomes, [{ tag: "failed", peer: header.peer, reason }]);
    assertEquals(hello.outcomes, [{ tag: "failed", peer: hello.peer, reason }]);
    assertEquals(check.outcomes, [{ tag: "checked" }]);
    for (const it of underWay) it[Symbol.dispose]();
  },
});

Deno.test({
  ...PROC,
  name: "Handshakes frees the descriptors of 500 that hang, and nobody waits for them",
  async fn() {
    using dir = tempDir();
    const { cert, key } = makeCertificate(dir.path);
    const tls = new Tls({ certFile: cert, keyFile: key });
    const caCerts = [await Deno.readTextFile(cert)];
    using listener = listenLocal();
    using handshakes = new Handshakes({ limitMs: 300, idleMs: Infinity, proxies: undefined });
    const reasons: string[] = [];
    const hello = "\x16\x03\x01\x02\0\x01\0\x01\xFC\x03\x03" + "\0".repeat(100);
    const clients: Deno.TcpConn[] = [];
    for (let i = 0; i < 500; i++) {
      const [client, stream] = await Promise.all([connect(listener), listener.accept()]);
      clients.push(client);
      await client.write(bytesOf([hello, "\x16", hello.slice(0, 5)][i % 3]!));
      handshakes.start({ stream, peer: peerOf(stream.remoteAddr) }, tls, (outcome) => {
        reasons.push(outcome.tag === "failed" ? outcome.reason : outcome.tag);
      });
    }
    {
      const patient = new Handshakes({ limitMs: 60_000, idleMs: Infinity, proxies: undefined });
      const [raw, stream] = await Promise.all([connect(listener), listener.accept()]);
      const { promise, resolve } = Promise.withResolvers<HandshakeOutcome>();
      patient.start({ stream, peer: peerOf(stream.remoteAddr) }, tls, resolve);
      using client = await Deno.startTls(raw, { hostname: "localhost", caCerts });
      await client.write(encode("heard"));
      const { stream: secured } = arrived(await promise);
      assertEquals(await textOf(secured, 5), "heard");
      secured.close!();
    }
    await untilTrue(() => handshakes.size === 0);
    assertEquals(reasons.length, 500);
    for (const reason of reasons) assertMatch(reason, /^no TLS handshake within 0\.3 s$/);
    await untilTrue(() => heldAt(listener.addr.port) === 0);
    for (const client of clients) client.close();
  },
});
