import { assert, assertEquals } from "@std/assert";
import { once } from "node:events";
import { type AddressInfo, createConnection, createServer } from "node:net";
import { encode } from "../lib/bytes.ts";
import { writeAll } from "../lib/io.ts";
import { makeAuthority, makeCertificate, makeClientCertificate } from "./support/certificates.ts";
import { NET, PROC, TLS } from "./support/needs.ts";
import { connectTo, readUpTo } from "./support/connections.ts";
import { latin1, upTo } from "./support/data.ts";
import { tempDir } from "./support/files.ts";
import { spawnCli } from "./support/processes.ts";
import { serve } from "./support/serving.ts";
import { untilTrue } from "./support/waiting.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** A server that forwards, and the server that it forwards to, whose part the test plays. */
async function forwarding(...args: string[]) {
  const target = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const server = await forwardTo(`127.0.0.1:${target.addr.port}`, ...args);
  return {
    ...server,
    target,
    name: `127.0.0.1:${target.addr.port}`,
    /** A client, and the connection that it gets there. */
    async pair() {
      const [client, upstream] = await Promise.all([server.connect(), target.accept()]);
      const both = new DisposableStack();
      both.use(client);
      both.use(upstream);
      return { client, upstream, [Symbol.dispose]: () => both.dispose() };
    },
    async [Symbol.asyncDispose]() {
      target.close();
      await server[Symbol.asyncDispose]();
    },
  };
}

function forwardTo(target: string, ...args: string[]) {
  return serve(["--time", "none", "--forward", target, ...args]);
}

type Server = Awaited<ReturnType<typeof forwardTo>>;

/** What was said on both sides, without labels and connects. */
function talkOf({ out }: Server): string[] {
  return out.lines.map((line) => line.replace(/^\S+ \S+ /, ""))
    .filter((line) => line !== "connected");
}

async function say(conn: Deno.Conn, text: string): Promise<void> {
  await writeAll(conn, encode(text));
}

async function heard(conn: Deno.Conn, text: string): Promise<void> {
  assertEquals(latin1(await readUpTo(conn, text.length)), text);
}

Deno.test({
  ...NET,
  name: "--forward passes both directions on, and logs both in lines",
  async fn() {
    await using server = await forwarding();
    using one = await server.pair();
    await say(one.client, "GET\r\nkey");
    await heard(one.upstream, "GET\r\nkey");
    await say(one.upstream, "VAL");
    await heard(one.client, "VAL");
    await say(one.upstream, "UE\nhalf");
    await server.out.until("< VALUE");
    one.upstream.closeWrite();
    await heard(one.client, "UE\nhalf");
    assertEquals(await one.client.read(new Uint8Array(1)), null);
    await one.client.closeWrite();
    await server.out.until("disconnected");
    assertEquals(talkOf(server), [
      "| GET",
      "< VALUE",
      "< half",
      "+ key",
      "disconnected: 8 bytes, 2 lines, 0.0 s",
    ]);
  },
});

Deno.test({
  ...NET,
  name: "--forward passes a half-close on: an answer to the end of input arrives",
  async fn() {
    await using server = await forwarding("-f", "json");
    using one = await server.pair();
    await say(one.client, "req");
    await one.client.closeWrite();
    await heard(one.upstream, "req");
    assertEquals(await one.upstream.read(new Uint8Array(1)), null);
    await say(one.upstream, "REPLY");
    one.upstream.close();
    await heard(one.client, "REPLY");
    assertEquals(await one.client.read(new Uint8Array(1)), null);
    await server.out.until("disconnected");
    const [, request, reply, end] = server.out.lines.map((line) => JSON.parse(line));
    assertEquals([request.event, request.message, request.cut], ["line", "req", true]);
    assertEquals([reply.event, reply.message, reply.cut], ["sent", "REPLY", true]);
    assertEquals(end.reason, "closed");
  },
});

Deno.test({
  ...NET,
  name: "--forward disconnects a client when the target refuses, and logs what it said",
  async fn() {
    const refusing = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const name = `127.0.0.1:${refusing.addr.port}`;
    refusing.close();
    await using server = await forwardTo(name);
    using client = await server.connect();
    await say(client, "hello\nand");
    assertEquals(await client.read(new Uint8Array(1)), null);
    await server.out.until("disconnected");
    assertEquals(talkOf(server), [
      "| hello",
      "+ and",
      `disconnected: 9 bytes, 2 lines, 0.0 s (cannot connect to ${name}: connection refused)`,
    ]);
  },
});

Deno.test({
  ...PROC,
  name: "--forward loses nobody when clients hold all descriptors: some wait",
  async fn() {
    using target = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const echoing = (async () => {
      for await (const conn of target) conn.readable.pipeTo(conn.writable).catch(() => {});
    })();
    const args = ["-p", "0", "-t", "none", "--forward", `127.0.0.1:${target.addr.port}`];
    await using cli = spawnCli(args, { before: "ulimit -n 60" });
    const port = await cli.port();
    const answers = await Promise.all(
      upTo(100).map(async (i) => {
        using conn = await connectTo(port);
        await say(conn, `from ${i}\n`);
        await conn.closeWrite();
        return await new Response(conn.readable).text();
      }),
    );
    assertEquals(answers, upTo(100).map((i) => `from ${i}\n`));
    cli.kill("SIGTERM");
    assertEquals(await cli.ended(), 0);
    assertEquals(cli.err.count("new clients wait"), 1);
    target.close();
    await echoing;
  },
});

Deno.test({
  ...NET,
  name: "--forward says when the target resets, after what it said",
  async fn() {
    const target = createServer((socket) => {
      socket.write("sorry\n");
      socket.on("data", () => socket.resetAndDestroy());
    });
    target.listen(0, "127.0.0.1");
    await once(target, "listening");
    const name = `127.0.0.1:${(target.address() as AddressInfo).port}`;
    await using server = await forwardTo(name);
    using client = await server.connect();
    await heard(client, "sorry\n");
    await say(client, "quit\n");
    assertEquals(await client.read(new Uint8Array(1)), null);
    await server.out.until("disconnected");
    assertEquals(talkOf(server).slice(1), [
      "| quit",
      `disconnected: 5 bytes, 1 line, 0.0 s (reset by ${name})`,
    ]);
    target.close();
    await once(target, "close");
  },
});

Deno.test({
  ...NET,
  name: "--forward ends the connection to the target when the client resets its own",
  async fn() {
    await using server = await forwarding();
    const client = createConnection(server.port, "127.0.0.1");
    client.on("error", () => {});
    using upstream = await server.target.accept();
    client.write("hello\n");
    await heard(upstream, "hello\n");
    client.resetAndDestroy();
    assertEquals(await upstream.read(new Uint8Array(1)), null);
    await server.out.until("(reset by peer)");
  },
});

Deno.test({
  ...NET,
  name: "--forward carries bulk in both directions at once, whole",
  async fn() {
    for (const args of [["-f", "raw"], ["--framing", "none", "--quiet"], ["-f", "hex"]]) {
      await using server = await forwarding(...args);
      using one = await server.pair();
      const bulk = crypto.getRandomValues(new Uint8Array(60_000));
      const rounds = args[1] === "hex" ? 3 : 20;
      const sendAll = async (conn: Deno.Conn) => {
        for (let i = 0; i < rounds; i++) await writeAll(conn, bulk);
        await conn.closeWrite();
      };
      const [there, back] = await Promise.all([
        readUpTo(one.upstream, rounds * bulk.length + 1),
        readUpTo(one.client, rounds * bulk.length + 1),
        sendAll(one.client),
        sendAll(one.upstream),
      ]);
      for (const got of [there, back]) {
        assertEquals(got.length, rounds * bulk.length);
        for (let i = 0; i < rounds; i++) {
          assertEquals(got.subarray(i * bulk.length, (i + 1) * bulk.length), bulk);
        }
      }
    }
  },
});

Deno.test({
  ...NET,
  name: "--forward stops who sends when the other side does not read",
  async fn() {
    for (const isClientSending of [true, false]) {
      await using server = await forwarding("-f", "raw");
      using one = await server.pair();
      const sender = isClientSending ? one.client : one.upstream;
      const reader = isClientSending ? one.upstream : one.client;
      const chunk = new Uint8Array(1_000_000);
      let sent = 0;
      const total = 48;
      const sending = (async () => {
        for (let i = 0; i < total; i++, sent++) await writeAll(sender, chunk);
        await sender.closeWrite();
      })();
      let before = -1;
      await untilTrue(() => {
        const isStill = sent === before && sent > 0;
        before = sent;
        return isStill;
      });
      // Two kernels' buffers, and a little here.
      assert(sent < total / 2, `${sent} MB`);
      const got = await readUpTo(reader, total * chunk.length + 1);
      await sending;
      assertEquals(got.length, total * chunk.length);
    }
  },
});

Deno.test({
  ...NET,
  name: "--forward logs nothing of the target with raw, and a dump with hex",
  async fn() {
    await using raw = await forwarding("-f", "raw");
    using first = await raw.pair();
    await say(first.client, "said");
    await say(first.upstream, "answered");
    await heard(first.client, "answered");
    await raw.out.until("said");
    assertEquals(raw.out.binary, "said");
    assert(!raw.err.text.includes("answered"));
    await using hex = await forwarding("-f", "hex");
    using second = await hex.pair();
    await say(second.upstream, "ok\r\n");
    await hex.out.until("|ok..|");
    await say(second.upstream, "x");
    await hex.out.until("|x|");
    assertEquals(talkOf(hex).map((line) => line.replace(/ {2,}.*/, "")), [
      "< 4 bytes",
      "00000000  6f 6b 0d 0a                                       |ok..|".replace(/ {2,}.*/, ""),
      "< 1 byte",
      "00000004",
    ]);
  },
});

Deno.test({
  ...NET,
  name: "--forward: both directions keep a client from being idle, and are flushed",
  async fn() {
    await using server = await forwarding("--idle-timeout", "0.5", "--flush-after", "0.05");
    using one = await server.pair();
    for (let i = 0; i < 4; i++) {
      await say(one.upstream, `tick ${i}`);
      await server.out.until(`< tick ${i}`);
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    assertEquals(server.out.count("disconnected"), 0);
    await server.out.until("(idle for 0.5 s)");
  },
});

Deno.test({
  ...NET,
  name: "--forward ends both sides when the server is stopped",
  async fn() {
    const server = await forwarding();
    using one = await server.pair();
    await say(one.upstream, "half");
    await heard(one.client, "half");
    await server[Symbol.asyncDispose]();
    assertEquals(talkOf(server).slice(-2), [
      "< half",
      "disconnected: 0 bytes, 0 lines, 0.0 s (shutting down)",
    ]);
    assertEquals(await one.upstream.read(new Uint8Array(1)), null);
  },
});

Deno.test({
  ...NET,
  name: "--forward: what is typed goes to the client beside what the target says",
  async fn() {
    let type = (_text: string) => {};
    const typed = new ReadableStream<Uint8Array>({
      start: (controller) => {
        type = (text) => controller.enqueue(encode(text));
      },
    }).getReader();
    const stdin = {
      async read(into: Uint8Array) {
        const { value } = await typed.read();
        if (value) into.set(value);
        return value?.length ?? null;
      },
      close: () => void typed.cancel(),
    };
    using target = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    await using server = await serve(
      ["--time", "none", "-I", "--forward", `127.0.0.1:${target.addr.port}`],
      { stdin },
    );
    using client = await server.connect();
    using _upstream = await target.accept();
    await server.out.until("connected");
    type("@1 from here\n");
    await heard(client, "from here\n");
  },
});

// -- TLS --

/** A target that speaks TLS and answers each connection with `text`, then closes. */
function tlsTarget(files: { cert: string; key: string }) {
  const listener = Deno.listenTls({
    hostname: "127.0.0.1",
    port: 0,
    cert: Deno.readTextFileSync(files.cert),
    key: Deno.readTextFileSync(files.key),
  });
  return { listener, name: `tls://localhost:${listener.addr.port}` };
}

/** The reason for which a client of this target is disconnected. */
async function reasonOf(target: string, ...args: string[]): Promise<string> {
  await using server = await forwardTo(target, "-f", "json", ...args);
  using client = await server.connect();
  await client.read(new Uint8Array(1));
  await server.out.until("disconnected");
  return JSON.parse(server.out.text.trim().split("\n").at(-1)!).reason;
}

Deno.test({
  ...TLS,
  name: "--forward tls:// speaks TLS to the target, which may end without close_notify",
  async fn() {
    using dir = tempDir();
    const authority = makeAuthority(dir.path);
    const files = makeClientCertificate(dir.path, authority, "/CN=localhost", {
      name: "target",
      altName: "DNS:localhost",
      usage: "serverAuth",
    });
    const { listener, name } = tlsTarget(files);
    using _listener = listener;
    await using server = await forwardTo(name, "--forward-ca", authority.cert);
    using client = await server.connect();
    using upstream = await listener.accept();
    await say(client, "hello\n");
    await heard(upstream, "hello\n");
    await say(upstream, "over TLS\n");
    await heard(client, "over TLS\n");
    upstream.close();
    assertEquals(await client.read(new Uint8Array(1)), null);
    await client.closeWrite();
    await server.out.until("disconnected");
    assertEquals(talkOf(server), [
      "| hello",
      "< over TLS",
      "disconnected: 6 bytes, 1 line, 0.0 s",
    ]);
  },
});

Deno.test({
  ...TLS,
  name: "--forward tls:// says what is wrong with the target's certificate",
  async fn() {
    using dir = tempDir();
    const self = makeAuthority(dir.path, "self");
    const authority = tlsTarget(self);
    const stranger = tlsTarget(makeCertificate(dir.path, "stranger"));
    const accepting = [authority, stranger].map(async ({ listener }) => {
      for await (const conn of listener) {
        await conn.handshake().catch(() => {});
        conn.close();
      }
    });
    using plain = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const answering = plain.accept().then(async (conn) => {
      await say(conn, "220 ready\r\n");
      await conn.read(new Uint8Array(1000));
      conn.close();
    });
    const because = (name: string) => `cannot connect to ${name.replace("tls://", "")}: `;
    assertEquals(
      await reasonOf(authority.name, "--forward-ca", self.cert),
      `${because(authority.name)}its certificate is that of an authority, which Deno takes from ` +
        "no server: have it sign another one for the server",
    );
    assertEquals(
      await reasonOf(stranger.name),
      `${because(stranger.name)}its certificate is signed by an unknown authority: ` +
        "name that by --forward-ca",
    );
    const plainName = `tls://localhost:${plain.addr.port}`;
    assertEquals(await reasonOf(plainName), `${because(plainName)}it does not speak TLS`);
    await answering;
    authority.listener.close();
    stranger.listener.close();
    await Promise.allSettled(accepting);
  },
});
