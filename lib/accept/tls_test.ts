import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { Duplex } from "node:stream";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from "node:tls";
import type { ByteStream } from "../../poller.ts";
import { encode } from "../bytes.ts";
import {
  type CertificateFiles,
  type ClientOptions,
  makeAuthority,
  makeCertificate,
  makeClientCertificate,
} from "../../tests/support/certificates.ts";
import { Failure } from "../errors.ts";
import { type Sink, writeAll } from "../io.ts";
import { listenLocal, readUpTo, tcpPair } from "../../tests/support/connections.ts";
import { bytesOf } from "../../tests/support/data.ts";
import { tempDir } from "../../tests/support/files.ts";
import { type Random, withSeeds } from "../../tests/support/random.ts";
import { assertPending, turn, untilTrue } from "../../tests/support/waiting.ts";
import { HandshakeError, SilentEnd } from "./handshake_faults.ts";
import { Tls } from "./tls.ts";
import { TLS } from "../../tests/support/needs.ts";

Deno.test.sanitizer({ ops: true, resources: true });

// -- Certificates, made once for all tests --

interface Authorities {
  readonly folder: string;
  readonly server: CertificateFiles;
  readonly authority: CertificateFiles;
  readonly stranger: CertificateFiles;
  readonly client: CertificateFiles;
}

let made: Authorities | undefined;

function certificates(): Authorities {
  if (made) return made;
  const folder = Deno.makeTempDirSync({ prefix: "earshot-" });
  globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));
  const authority = makeAuthority(folder);
  return made = {
    folder,
    server: makeCertificate(folder),
    authority,
    stranger: makeAuthority(folder, "stranger"),
    client: makeClientCertificate(folder, authority, "/CN=sensor 7"),
  };
}

function newTls(withClientCa = false): Tls {
  const { server, authority } = certificates();
  const files = { certFile: server.cert, keyFile: server.key };
  return new Tls(withClientCa ? { ...files, clientCaFile: authority.cert } : files);
}

function pem({ cert, key }: CertificateFiles) {
  return { cert: textOf(cert), key: textOf(key) };
}

function textOf(path: string): string {
  return Deno.readTextFileSync(path);
}

/** Writes a file; returns its path. */
function fileOf(path: string, text: string): string {
  Deno.writeTextFileSync(path, text);
  return path;
}

// -- A client in memory --

/** The kind of all records after the handshake of TLS 1.3. */
const APPLICATION_DATA = 23;

/** One end of a connection in memory: the server reads what the test lets through. */
class HeldStream implements ByteStream {
  readonly remoteAddr = { transport: "tcp", hostname: "192.0.2.7", port: 4711 } as const;
  readonly localAddr = { transport: "tcp", hostname: "192.0.2.1", port: 1234 } as const;
  /** Sent by the client and not let through yet. */
  held: Uint8Array[] = [];
  reads = 0;
  /** The kind of the TLS record that each write of the server began with. */
  readonly kinds: number[] = [];
  isClosed = false;
  isFinished = false;
  hasWritingEnded = false;
  fault: Error | undefined;
  /** While it is set, what the server writes is not taken. */
  gate: Promise<void> | undefined;
  #arrived: Uint8Array[] = [];
  #reader: PromiseWithResolvers<void> | undefined;
  readonly duplex = new Duplex({
    read() {},
    write: (chunk: Uint8Array, _encoding, done) => {
      this.held.push(chunk.slice());
      if (this.isOpen) this.letThrough();
      done();
    },
  });

  /** Whether all is let through as it comes. */
  isOpen = true;

  letThrough(pieceBytes = Infinity): void {
    const bytes = new Uint8Array(this.held.flatMap((chunk) => [...chunk]));
    this.held = [];
    for (let at = 0; at < bytes.length; at += pieceBytes) {
      this.#arrived.push(bytes.subarray(at, Math.min(at + pieceBytes, bytes.length)));
    }
    this.#reader?.resolve();
  }

  /** Brings bytes that the client did not send. */
  inject(bytes: Uint8Array): void {
    this.#arrived.push(bytes);
    this.#reader?.resolve();
  }

  /** Ends the input, with or without a fault. */
  endInput(fault?: Error): void {
    this.isFinished = true;
    this.fault = fault;
    this.#reader?.resolve();
  }

  async read(p: Uint8Array): Promise<number | null> {
    assert(!this.#reader, "two reads at once");
    while (this.#arrived.length === 0 && !this.isFinished && !this.isClosed) {
      this.#reader = Promise.withResolvers();
      await this.#reader.promise;
      this.#reader = undefined;
    }
    if (this.isClosed) throw new Deno.errors.Interrupted("operation canceled");
    if (this.#arrived.length === 0 && this.fault) throw this.fault;
    const [first] = this.#arrived;
    if (!first) return null;
    this.reads++;
    const count = Math.min(p.length, first.length);
    p.set(first.subarray(0, count));
    if (count === first.length) this.#arrived.shift();
    else this.#arrived[0] = first.subarray(count);
    return count;
  }

  async write(p: Uint8Array): Promise<number> {
    await this.gate;
    if (this.isClosed) throw new Deno.errors.Interrupted("operation canceled");
    this.kinds.push(p[0]!);
    this.duplex.push(p.slice());
    return p.length;
  }

  closeWrite(): void {
    this.hasWritingEnded = true;
    this.duplex.push(null);
  }

  close(): void {
    this.isClosed = true;
    this.#reader?.resolve();
  }
}

interface Pair {
  readonly held: HeldStream;
  readonly client: TLSSocket;
  readonly stream: ByteStream & Sink;
  readonly certificate?: string;
  /** What the client has heard. */
  heard(): string;
  hasEnded(): boolean;
  [Symbol.dispose](): void;
}

async function securePair(tls = newTls(), options: ConnectionOptions = {}): Promise<Pair> {
  const held = new HeldStream();
  const client = connectTls({ socket: held.duplex, rejectUnauthorized: false, ...options });
  client.on("error", () => {});
  let heard = "";
  let ended = false;
  client.on("data", (bytes: Uint8Array) => heard += new TextDecoder().decode(bytes));
  client.on("end", () => ended = true);
  const { stream, ...rest } = await tls.secure(held);
  return {
    held,
    client,
    ...rest,
    stream: stream as ByteStream & Sink,
    heard: () => heard,
    hasEnded: () => ended,
    [Symbol.dispose]() {
      stream.close!();
      client.destroy();
    },
  };
}

/** The same over TCP, with Deno's own client. */
async function tcpSecurePair() {
  const pair = await tcpPair();
  const caCerts = [textOf(certificates().server.cert)];
  const [client, { stream, certificate }] = await Promise.all([
    Deno.startTls(pair.client, { hostname: "localhost", caCerts }).then(shakenHands),
    newTls().secure(pair.server),
  ]);
  return {
    server: pair.server,
    client: client as ByteStream & Sink,
    stream: stream as ByteStream & Sink,
    certificate,
    [Symbol.dispose]() {
      stream.close!();
      client.close();
    },
  };
}

async function shakenHands(client: Deno.TlsConn): Promise<Deno.TlsConn> {
  await client.handshake();
  return client;
}

async function readText(stream: ByteStream, max = 1000): Promise<string | null> {
  const bytes = new Uint8Array(max);
  const count = await stream.read(bytes);
  return count === null ? null : new TextDecoder().decode(bytes.subarray(0, count));
}

async function readAll(stream: ByteStream, nextMax = () => 65536): Promise<Uint8Array> {
  const chunks: number[] = [];
  for (;;) {
    const bytes = new Uint8Array(nextMax());
    const count = await stream.read(bytes);
    if (count === null) return Uint8Array.from(chunks);
    for (const byte of bytes.subarray(0, count)) chunks.push(byte);
  }
}

// -- Streams --

Deno.test({
  ...TLS,
  name: "Tls.secure() gives the plain text of both directions over TCP",
  async fn() {
    using pair = await tcpSecurePair();
    const { client, stream } = pair;
    assertEquals(pair.certificate, undefined);
    assertEquals(stream.remoteAddr, pair.server.remoteAddr);
    assertEquals(stream.localAddr, pair.server.localAddr);
    await client.write(encode("hello"));
    assertEquals(await readText(stream, 3), "hel");
    assertEquals(await readText(stream, 3), "lo");
    await writeAll(stream, encode("world"));
    assertEquals(await readText(client), "world");
    await stream.closeWrite!();
    assertEquals(await readText(client), null);
    await client.write(encode("still heard"));
    assertEquals(await readText(stream), "still heard");
  },
});

Deno.test({
  ...TLS,
  name: "Tls.secure() keeps what comes together with the end of the handshake",
  async fn() {
    const held = new HeldStream();
    held.isOpen = false;
    const client = connectTls({ socket: held.duplex, rejectUnauthorized: false });
    const secured = newTls().secure(held);
    await untilTrue(() => held.held.length > 0);
    held.letThrough();
    await untilTrue(() => held.held.length > 0);
    client.end("early words");
    await untilTrue(() => held.held.length >= 3);
    held.letThrough();
    const { stream } = await secured;
    assertEquals(await readText(stream), "early words");
    assertEquals(await readText(stream), null, "close_notify came in the same read");
    stream.close!();
    client.destroy();
  },
});

Deno.test({
  ...TLS,
  name: "a secure stream reads the same whatever pieces the ciphertext comes in",
  async fn() {
    for (const pieceBytes of [1, 2, 7, 1000]) {
      using pair = await securePair();
      pair.held.isOpen = false;
      const text = "0123456789".repeat(2000);
      pair.client.end(text);
      await turn();
      await untilTrue(() => pair.held.held.length >= 2);
      pair.held.letThrough(pieceBytes);
      const bytes = await readAll(pair.stream);
      assertEquals(new TextDecoder().decode(bytes), text);
    }
  },
});

Deno.test({
  ...TLS,
  name: "a secure stream moves random bytes both ways unchanged",
  async fn() {
    await withSeeds(10, async (random) => {
      using pair = await tcpSecurePair();
      const { client, stream } = pair;
      const [up, down] = [randomBytes(random), randomBytes(random)];
      const [heardUp, heardDown] = await Promise.all([
        readAll(stream, () => 1 + random(70_000)),
        readAll(client),
        sendAll(client, up, random),
        sendAll(stream, down, random),
      ]);
      assertEquals(heardUp.length, up.length);
      assert(heardUp.every((byte, at) => byte === up[at]));
      assertEquals(heardDown.length, down.length);
      assert(heardDown.every((byte, at) => byte === down[at]));
    });
  },
});

function randomBytes(random: Random): Uint8Array {
  return Uint8Array.from({ length: random(400_000) }, () => random(256));
}

async function sendAll(
  stream: ByteStream & Sink,
  bytes: Uint8Array,
  random: Random,
): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const count = 1 + random(100_000);
    await writeAll(stream, bytes.subarray(at, at + count));
    at += count;
  }
  await stream.closeWrite!();
}

Deno.test({
  ...TLS,
  name: "read() gives the end at close_notify, before the connection ends",
  async fn() {
    using pair = await securePair();
    const reading = readText(pair.stream);
    await turn();
    pair.client.end();
    assertEquals(await reading, null);
    assertEquals(await readText(pair.stream), null);
  },
});

Deno.test({
  ...TLS,
  name: "read() gives a clean end when the peer leaves without close_notify",
  async fn() {
    using pair = await securePair();
    pair.client.write("half a line");
    assertEquals(await readText(pair.stream), "half a line");
    pair.held.endInput();
    assertEquals(await readText(pair.stream), null);
    assertEquals(await readText(pair.stream), null);
  },
});

Deno.test({
  ...TLS,
  name: "a client that only sends is told nothing after the handshake",
  async fn() {
    using pair = await securePair();
    for (const word of ["one", "two"]) {
      pair.client.write(word);
      assertEquals(await readText(pair.stream), word);
      await turn();
    }
    const afterwards = pair.held.kinds.filter((kind) => kind === APPLICATION_DATA);
    assertEquals(afterwards, [], "what it left unread would reset its connection");
    await writeAll(pair.stream, encode("answer"));
    await untilTrue(() => pair.heard() === "answer");
  },
});

Deno.test({
  ...TLS,
  name: "a client of TLS 1.2 is told the end of its handshake",
  async fn() {
    using pair = await securePair(newTls(), { maxVersion: "TLSv1.2" });
    pair.client.write("words");
    assertEquals(await readText(pair.stream), "words");
    await writeAll(pair.stream, encode("answer"));
    await untilTrue(() => pair.heard() === "answer");
  },
});

Deno.test({
  ...TLS,
  name: "read() rejects with ConnectionReset when the peer resets",
  async fn() {
    using pair = await securePair();
    pair.client.write("words");
    assertEquals(await readText(pair.stream), "words");
    pair.held.endInput(new Deno.errors.ConnectionReset("Connection reset by peer"));
    await assertRejects(() => readText(pair.stream), Deno.errors.ConnectionReset);
  },
});

Deno.test({
  ...TLS,
  name: "read() rejects with InvalidData when what comes is no TLS any more",
  async fn() {
    using pair = await securePair();
    pair.held.inject(bytesOf("\x17\x03\x03\x00\x20" + "junk".repeat(8)));
    await assertRejects(() => readText(pair.stream), Deno.errors.InvalidData);
  },
});

for (
  const [name, bytes] of [
    ["a damaged record", "\x17\x03\x03\x00\x20" + "junk".repeat(8)],
    ["no TLS", "GET / HTTP/1.1\r\n\r\n"],
  ] as const
) {
  Deno.test({
    ...TLS,
    name: `read() gives what came whole before ${name} in the same read`,
    async fn() {
      for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
        using pair = await securePair(newTls(), { maxVersion });
        pair.held.isOpen = false;
        pair.client.write("one\n");
        pair.client.write("two\n");
        await untilTrue(() => pair.held.held.length >= 2);
        pair.held.held.push(bytesOf(bytes));
        pair.held.letThrough();
        let heard = "";
        await assertRejects(
          async () => {
            for (;;) heard += await readText(pair.stream);
          },
          Deno.errors.InvalidData,
          "damaged TLS message",
        );
        assertEquals(heard, "one\ntwo\n");
      }
    },
  });
}

Deno.test({
  ...TLS,
  name: "read() goes on with a client that changes its keys and wants new ones",
  async fn() {
    using listener = listenLocal();
    await using client = new Deno.Command("openssl", {
      args: ["s_client", "-connect", `127.0.0.1:${listener.addr.port}`, "-tls1_3"],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const { stream } = await newTls().secure(await listener.accept());
    const writer = client.stdin.getWriter();
    let said = "";
    const listening = [client.stdout, client.stderr].map((output) =>
      output.pipeThrough(new TextDecoderStream())
        .pipeTo(new WritableStream({ write: (text) => void (said += text) }))
    );
    await writer.write(encode("one\n"));
    assertEquals(await readText(stream), "one\n");
    // To openssl that is a command, at the beginning of what it reads at once.
    await writer.write(encode("K\n"));
    const reading = readText(stream);
    await untilTrue(() => said.includes("KEYUPDATE"));
    await writer.write(encode("two\n"));
    assertEquals(await reading, "two\n");
    await writeAll(stream as ByteStream & Sink, encode("answer\n"));
    await untilTrue(() => said.includes("answer"));
    stream.close!();
    await writer.close();
    await Promise.all([...listening, client.status]);
  },
});

Deno.test({
  ...TLS,
  name: "a secure stream takes nothing from below that nobody reads",
  async fn() {
    using pair = await securePair();
    pair.held.isOpen = false;
    pair.client.write(new Uint8Array(300_000).fill(65));
    await untilTrue(() => pair.held.held.reduce((sum, { length }) => sum + length, 0) > 300_000);
    const { reads } = pair.held;
    pair.held.letThrough(1000);
    await turn();
    assertEquals(pair.held.reads, reads);
    assertEquals(await readText(pair.stream, 10), "A".repeat(10));
    const { reads: once } = pair.held;
    assertEquals(await readText(pair.stream, 10), "A".repeat(10));
    assertEquals(pair.held.reads, once, "the second was held");
  },
});

Deno.test({
  ...TLS,
  name: "write() resolves when the stream below has taken the bytes",
  async fn() {
    using pair = await securePair();
    const gate = Promise.withResolvers<void>();
    pair.held.gate = gate.promise;
    const writing = pair.stream.write(new Uint8Array(200_000).fill(65));
    await assertPending(writing);
    gate.resolve();
    const count = await writing;
    assert(count > 0 && count <= 64 * 1024, `${count}`);
    await untilTrue(() => pair.heard().length === count);
  },
});

Deno.test({
  ...TLS,
  name: "closeWrite() sends all that was written, close_notify, and then the end",
  async fn() {
    using pair = await tcpSecurePair();
    const { client, stream } = pair;
    const sent = new Uint8Array(6_000_000).fill(65);
    const sending = writeAll(stream, sent).then(() => stream.closeWrite!());
    await assertPending(sending);
    assertEquals((await readAll(client)).length, sent.length);
    await sending;
  },
});

Deno.test({
  ...TLS,
  name: "closeWrite() sends close_notify when nothing was written",
  async fn() {
    using pair = await securePair();
    await pair.stream.closeWrite!();
    await untilTrue(pair.hasEnded);
    await assertRejects(() => pair.stream.write(encode("x")), Deno.errors.BrokenPipe);
    pair.client.write("the other direction goes on");
    assertEquals(await readText(pair.stream), "the other direction goes on");
  },
});

Deno.test({
  ...TLS,
  name: "closeWrite() ends the stream below only when close_notify is taken",
  async fn() {
    using pair = await securePair();
    const gate = Promise.withResolvers<void>();
    pair.held.gate = gate.promise;
    const closing = pair.stream.closeWrite!();
    await assertPending(Promise.resolve(closing));
    assert(!pair.held.hasWritingEnded);
    gate.resolve();
    await closing;
    assert(pair.held.hasWritingEnded);
    await untilTrue(pair.hasEnded);
  },
});

Deno.test({
  ...TLS,
  name: "close() frees the stream below and rejects what is pending",
  async fn() {
    const pair = await securePair();
    pair.held.gate = new Promise(() => {});
    const reading = readText(pair.stream);
    const writing = pair.stream.write(new Uint8Array(100_000));
    await turn();
    pair.stream.close!();
    assert(pair.held.isClosed);
    await assertRejects(() => reading, Deno.errors.Interrupted);
    await assertRejects(() => writing, Deno.errors.Interrupted);
    await assertRejects(() => readText(pair.stream), Deno.errors.BadResource);
    await assertRejects(() => pair.stream.write(encode("x")), Deno.errors.BadResource);
    pair.client.destroy();
  },
});

Deno.test({
  ...TLS,
  name: "write() rejects with what was wrong below",
  async fn() {
    using pair = await securePair();
    pair.held.gate = Promise.reject(new Deno.errors.BrokenPipe("Broken pipe"));
    await assertRejects(
      () => pair.stream.write(encode("x")),
      Deno.errors.BrokenPipe,
      "Broken pipe",
    );
    await assertRejects(() => pair.stream.write(encode("y")), Deno.errors.BrokenPipe);
  },
});

// -- Handshakes --

Deno.test({
  ...TLS,
  name: "Tls.secure() says why a handshake failed, and closes the stream",
  async fn() {
    const hello = "\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03";
    const cases: [name: string, sent: string, reason: RegExp][] = [
      ["plain text", "GET / HTTP/1.1\r\n\r\n", /^not TLS$/],
      ["a syslog line", "<13>hello\n", /^not TLS$/],
      ["bytes of 0xFF", "\xFF".repeat(3000), /^not TLS$/],
      ["a PROXY header", "PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n", /^not TLS$/],
      ["one byte", "\x16", /^closed by the client$/],
      ["half a hello", hello + "\0".repeat(200), /^closed by the client$/],
      ["a hello of zeros", hello + "\0".repeat(600), /^[a-z].*\w$/],
    ];
    for (const [name, sent, reason] of cases) {
      const stream = new HeldStream();
      const securing = newTls().secure(stream);
      securing.catch(() => {});
      stream.inject(bytesOf(sent));
      stream.endInput();
      const error = await assertRejects(() => securing, Error, undefined, name);
      assertMatch(error.message, reason, name);
      assert(stream.isClosed, name);
    }
  },
});

Deno.test({
  ...TLS,
  name: "Tls.secure() says that the peer has reset, or what else ended the stream",
  async fn() {
    for (
      const [fault, reason] of [
        [new Deno.errors.ConnectionReset("Connection reset by peer"), "reset by peer"],
        [new Deno.errors.TimedOut("Operation timed out (os error 110)"), "operation timed out"],
      ] as const
    ) {
      const stream = new HeldStream();
      stream.inject(bytesOf("\x16"));
      stream.endInput(fault);
      const error = await assertRejects(() => newTls().secure(stream), Error);
      assertEquals(error.message, reason);
    }
  },
});

Deno.test({
  ...TLS,
  name: "Tls.secure() tells a client that leaves without a word from one that fails",
  async fn() {
    for (const fault of [undefined, new Deno.errors.ConnectionReset("Connection reset by peer")]) {
      const stream = new HeldStream();
      stream.endInput(fault);
      await assertRejects(() => newTls().secure(stream), SilentEnd);
      assert(stream.isClosed);
    }
  },
});

/** What openssl's client says of a connection that the server refuses. */
async function refusedWith(tls: Tls, args: readonly string[]): Promise<[string, HandshakeError]> {
  using listener = listenLocal();
  await using client = new Deno.Command("openssl", {
    args: ["s_client", "-connect", `127.0.0.1:${listener.addr.port}`, "-quiet", ...args],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const secured = tls.secure(await listener.accept());
  const error = await assertRejects(() => secured, HandshakeError);
  return [await new Response(client.stderr).text(), error];
}

const IN_COMMON =
  "no cipher suite in common (earshot has ECDHE with GCM or ChaCha20, TLS 1.2 and 1.3)";

for (
  const [name, args, alert, reason] of [
    ["TLS 1.1", ["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"], /alert/, IN_COMMON],
    ["RSA key exchange", ["-tls1_2", "-cipher", "AES128-GCM-SHA256"], /alert/, IN_COMMON],
    ["CBC", ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"], /alert handshake/, IN_COMMON],
    ["P-521 only", ["-tls1_3", "-groups", "P-521"], /alert/, IN_COMMON],
    ["no certificate", ["-tls1_2"], /alert.* 116|certificate required/, "no client certificate"],
    ["no certificate in 1.3", ["-tls1_3"], /certificate required/, "no client certificate"],
  ] as const
) {
  Deno.test({
    ...TLS,
    name: `Tls.secure() tells a client by an alert why it is refused: ${name}`,
    async fn() {
      const [said, error] = await refusedWith(newTls(name.includes("certificate")), args);
      assertMatch(said, alert);
      assertEquals(error.message, reason);
    },
  });
}

const OF_STRANGER = { issuer: "stranger" } as const;
const OUTDATED = { valid: ["20240101000000Z", "20240201000000Z"] } as const;
const EARLY = { valid: ["20900101000000Z", "20910101000000Z"] } as const;
const FOR_SERVERS = { usage: "serverAuth" } as const;

for (
  const [options, alert, reason] of [
    [OF_STRANGER, /alert unknown ca/, "client certificate of an unknown authority"],
    [OUTDATED, /alert certificate expired/, "client certificate expired"],
    [EARLY, /alert bad certificate/, "client certificate not valid yet"],
    [
      FOR_SERVERS,
      /alert unsupported certificate/,
      "client certificate not made for clients (no clientAuth among its key usages)",
    ],
  ] as const
) {
  Deno.test({
    ...TLS,
    name: `Tls.secure() tells its owner by an alert: ${reason}`,
    async fn() {
      const { issuer = "authority", ...rest }: ClientOptions & {
        readonly issuer?: "authority" | "stranger";
      } = options;
      const { folder, [issuer]: authority } = certificates();
      const { cert, key } = makeClientCertificate(folder, authority, "/CN=x", {
        name: "refused",
        ...rest,
      });
      const shown = ["-cert", cert, "-key", key];
      const [said, error] = await refusedWith(newTls(true), ["-tls1_2", ...shown]);
      assertMatch(said, alert);
      assertEquals(error.message, reason);
      const [saidIn13, same] = await refusedWith(newTls(true), ["-tls1_3", ...shown]);
      assertEquals(/unexpected eof|mac/.test(saidIn13), false, `it gets close_notify: ${saidIn13}`);
      assertEquals(same.message, reason);
    },
  });
}

Deno.test({
  ...TLS,
  name: "Tls.secure() sends plain text an alert, too",
  async fn() {
    using pair = await tcpPair();
    const secured = newTls().secure(pair.server);
    await pair.client.write(bytesOf("GET / HTTP/1.1\r\n\r\n"));
    const [type, , , , , level] = await readUpTo(pair.client, 100);
    assertEquals([type, level], [21, 2]);
    await assertRejects(() => secured, HandshakeError, "not TLS");
  },
});

Deno.test({
  ...TLS,
  name: "Tls.secure() does not wait for a client that reads no alert",
  async fn() {
    using pair = await tcpPair();
    const secured = newTls().secure(pair.server);
    await pair.client.write(bytesOf("GET / HTTP/1.1\r\n\r\n"));
    await assertRejects(() => secured, HandshakeError, "not TLS");
  },
});

Deno.test({
  ...TLS,
  name: "Tls.secure() ends when its stream is closed",
  async fn() {
    const stream = new HeldStream();
    const securing = newTls().secure(stream);
    await assertPending(securing);
    stream.close();
    await assertRejects(() => securing, Error);
  },
});

Deno.test({
  ...TLS,
  name: "Tls.secure() names the client that an authority has signed",
  async fn() {
    const { folder, authority, client } = certificates();
    const make = (subject: string, altName = "") =>
      pem(makeClientCertificate(folder, authority, subject, { name: "named", altName }));
    for (
      const [options, name] of [
        [pem(client), "sensor 7"],
        [make("/O=Works/CN=a\tb"), "a\tb"],
        [make("/CN=first/CN=second"), "first, second"],
        [make("/O=Works", "DNS:pump.example"), "DNS:pump.example"],
        [make("/O=Works", "IP:192.0.2.7,DNS:pump.example"), "IP Address:192.0.2.7"],
        [make("/O=Works"), undefined],
      ] as const
    ) {
      using pair = await securePair(newTls(true), options);
      assertEquals(pair.certificate, name);
      pair.client.write("x");
      assertEquals(await readText(pair.stream), "x");
    }
  },
});

Deno.test({
  ...TLS,
  name: "Tls.secure() takes the certificates of every authority in the file",
  async fn() {
    const { folder, server, authority, stranger } = certificates();
    const both = fileOf(`${folder}/both.pem`, textOf(stranger.cert) + textOf(authority.cert));
    const tls = new Tls({ certFile: server.cert, keyFile: server.key, clientCaFile: both });
    for (const issuer of [authority, stranger]) {
      const files = makeClientCertificate(folder, issuer, "/CN=one of two", { name: "two" });
      using pair = await securePair(tls, pem(files));
      assertEquals(pair.certificate, "one of two");
    }
  },
});

Deno.test({
  ...TLS,
  name: "Tls.secure() refuses a client without a certificate, or with a wrong one",
  async fn() {
    const { folder, authority, stranger } = certificates();
    const make = (issuer: CertificateFiles, options: ClientOptions = {}) =>
      pem(makeClientCertificate(folder, issuer, "/CN=x", { name: "refused", ...options }));
    const cases: [options: ConnectionOptions, reason: string][] = [
      [{}, "no client certificate"],
      [make(stranger), "client certificate of an unknown authority"],
      [pem(makeCertificate(folder, "own")), "client certificate of an unknown authority"],
      [make(authority, OUTDATED), "client certificate expired"],
      [make(authority, EARLY), "client certificate not valid yet"],
    ];
    for (const [options, reason] of cases) {
      for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
        const error = await assertRejects(
          () => securePair(newTls(true), { ...options, maxVersion }),
          Error,
        );
        assertEquals(error.message, reason, maxVersion);
      }
    }
  },
});

/** A connection of openssl's client that waits for the end; resolves to what became of it. */
async function securedWith(tls: Tls, args: readonly string[]) {
  using listener = listenLocal();
  await using client = new Deno.Command("openssl", {
    args: ["s_client", "-connect", `127.0.0.1:${listener.addr.port}`, "-quiet", ...args],
    stdin: "piped",
    stdout: "null",
    stderr: "null",
  }).spawn();
  try {
    const { stream, certificate } = await tls.secure(await listener.accept());
    stream.close!();
    return certificate;
  } catch (error) {
    return (error as Error).message;
  } finally {
    await client.status;
    await client.stdin.close().catch(() => {});
  }
}

Deno.test({
  ...TLS,
  name: "Tls.secure() lets nobody resume a session that was refused",
  async fn() {
    using dir = tempDir();
    const tls = newTls(true);
    const session = `${dir.path}/session`;
    const { cert, key } = makeClientCertificate(dir.path, certificates().stranger, "/CN=x");
    const shown = ["-tls1_3", "-cert", cert, "-key", key];
    const reason = await securedWith(tls, [...shown, "-sess_out", session]);
    assertEquals(reason, "client certificate of an unknown authority");
    for (const server of [tls, newTls(true)]) {
      const again = await securedWith(server, [...shown, "-sess_in", session]);
      assertMatch(again ?? "", /^resumed session/);
    }
  },
});

Deno.test({
  ...TLS,
  name: "Tls.secure() refuses an authority of X.509 version 1 that comes as a client",
  async fn() {
    using dir = tempDir();
    const { server } = certificates();
    const [key, request, cert] = ["key", "csr", "cert"].map((name) => `${dir.path}/${name}.pem`);
    for (
      const command of [
        `req -new -newkey rsa:2048 -nodes -subj /CN=old -keyout ${key} -out ${request}`,
        `x509 -req -in ${request} -signkey ${key} -days 2 -out ${cert}`,
      ]
    ) {
      const { success } = await new Deno.Command("openssl", { args: command.split(" ") }).output();
      assert(success);
    }
    const files = { certFile: server.cert, keyFile: server.key, clientCaFile: cert! };
    const reason = await securedWith(new Tls(files), ["-cert", cert!, "-key", key!]);
    assertEquals(reason, "client certificate of X.509 version 1");
  },
});

Deno.test({
  ...TLS,
  name: "Tls.secure() answers a client that has shown a certificate",
  async fn() {
    for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
      using pair = await securePair(newTls(true), { ...pem(certificates().client), maxVersion });
      await writeAll(pair.stream, encode("answer"));
      await untilTrue(() => pair.heard() === "answer");
      await pair.stream.closeWrite!();
      await untilTrue(pair.hasEnded);
    }
  },
});

Deno.test({
  ...TLS,
  name: "Tls.reload() has no session resumed whose certificate it has not verified",
  async fn() {
    using dir = tempDir();
    const { server, authority, stranger, client } = certificates();
    const clientCaFile = fileOf(`${dir.path}/ca.pem`, textOf(authority.cert));
    const tls = new Tls({ certFile: server.cert, keyFile: server.key, clientCaFile });
    const shown = ["-tls1_2", "-cert", client.cert, "-key", client.key];
    const session = `${dir.path}/session`;
    assertEquals(await securedWith(tls, [...shown, "-sess_out", session]), "sensor 7");
    assertEquals(await securedWith(tls, [...shown, "-sess_in", session]), "sensor 7");

    fileOf(clientCaFile, textOf(stranger.cert));
    tls.reload();
    assertMatch(await securedWith(tls, [...shown, "-sess_in", session]) ?? "", /^resumed session/);
  },
});

Deno.test({
  ...TLS,
  name: "Tls.secure() says that the client does not trust the certificate",
  async fn() {
    using pair = await tcpPair();
    const securing = newTls().secure(pair.server);
    securing.catch(() => {});
    using client = await Deno.startTls(pair.client, { hostname: "localhost" });
    await assertRejects(() => client.handshake());
    const error = await assertRejects(() => securing, Error);
    assertEquals(error.message, "the client says: unknown CA");
  },
});

Deno.test({
  ...TLS,
  name: "Tls.secure() serves one client while others are silent",
  async fn() {
    const tls = newTls();
    const silent = Array.from({ length: 50 }, () => new HeldStream());
    const waiting = silent.map((stream) => tls.secure(stream).catch(({ message }) => message));
    for (const stream of silent) stream.inject(bytesOf("\x16\x03\x01"));
    {
      using pair = await securePair(tls);
      pair.client.write("heard");
      assertEquals(await readText(pair.stream), "heard");
    }
    for (const stream of silent) stream.endInput();
    assertEquals(new Set(await Promise.all(waiting)), new Set(["closed by the client"]));
  },
});

for (const version of ["tls1", "tls1_1", "tls1_2", "tls1_3"]) {
  Deno.test({
    ...TLS,
    name: `Tls.secure() answers openssl's client with ${version}`,
    async fn() {
      using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      const { port } = listener.addr;
      await using client = new Deno.Command("openssl", {
        args: [
          ...["s_client", "-connect", `127.0.0.1:${port}`, `-${version}`, "-quiet"],
          ...["-cipher", "DEFAULT@SECLEVEL=0"],
        ],
        stdin: "piped",
        stdout: "null",
        stderr: "null",
      }).spawn();
      const writer = client.stdin.getWriter();
      writer.write(encode("hello\n")).catch(() => {});
      const secured = newTls().secure(await listener.accept());
      if (version < "tls1_2") {
        const error = await assertRejects(() => secured, Error);
        assertMatch(error.message, /^no cipher suite in common \(earshot has .*1\.3\)$/);
        await writer.close().catch(() => {});
      } else {
        const { stream } = await secured;
        assertEquals(await readText(stream), "hello\n");
        await writer.close();
        stream.close!();
      }
    },
  });
}

Deno.test({
  ...TLS,
  name: "Tls.secure() keeps nothing of a handshake that failed",
  async fn() {
    const tls = newTls();
    const refs: WeakRef<HeldStream>[] = [];
    for (let i = 0; i < 20; i++) {
      const stream = new HeldStream();
      refs.push(new WeakRef(stream));
      stream.inject(bytesOf("GET / HTTP/1.1\r\n\r\n"));
      await assertRejects(() => tls.secure(stream), Error, "not TLS");
    }
    setFlagsFromString("--expose-gc");
    const collect: () => void = runInNewContext("gc");
    const left = () => refs.filter((ref) => ref.deref()).length;
    // The last of them may still be on the stack.
    for (let i = 0; i < 20 && left() > 1; i++) {
      await turn();
      collect();
    }
    assert(left() <= 1, `${left()} of 20 are left`);
  },
});

// -- Files --

Deno.test({
  ...TLS,
  name: "new Tls() takes RSA and Ed25519 keys, and no kind that TLS does not have",
  async fn() {
    const { folder } = certificates();
    for (const kind of ["rsa:2048", "ed25519"]) {
      const { cert, key } = makeCertificate(folder, "other", ["-newkey", kind, "-nodes"]);
      using pair = await securePair(new Tls({ certFile: cert, keyFile: key }));
      pair.client.write(kind);
      assertEquals(await readText(pair.stream), kind);
    }
    const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp256k1", "-nodes"];
    const { cert, key } = makeCertificate(folder, "odd", curve);
    const error = assertThrows(() => new Tls({ certFile: cert, keyFile: key }), Failure);
    assertMatch(error.message, /^Cannot use --tls-key \S+odd\.key: TLS cannot use such a key: \S/);
  },
});

Deno.test({
  ...TLS,
  name: "Tls.reload() gives new clients the new certificate and lets old ones be",
  async fn() {
    using dir = tempDir();
    const { cert, key } = makeCertificate(dir.path);
    const tls = new Tls({ certFile: cert, keyFile: key });
    using old = await securePair(tls);
    const first = old.client.getPeerCertificate().fingerprint256;
    makeCertificate(dir.path);
    tls.reload();
    using young = await securePair(tls);
    const second = young.client.getPeerCertificate().fingerprint256;
    assert(first && second && first !== second);
    old.client.write("old");
    assertEquals(await readText(old.stream), "old");

    fileOf(cert, "");
    const error = assertThrows(() => tls.reload(), Failure);
    assertEquals(error.message, `Cannot use --tls-cert ${cert}: no certificate in it`);
    using third = await securePair(tls);
    assertEquals(third.client.getPeerCertificate().fingerprint256, second);
  },
});
