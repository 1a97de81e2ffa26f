import { assertEquals, assertMatch } from "@std/assert";
import { encode } from "../lib/bytes.ts";
import { writeAll } from "../lib/io.ts";
import { Capture } from "../tests/support/capture.ts";
import { connectTo, readUpTo } from "../tests/support/connections.ts";
import { latin1 } from "../tests/support/data.ts";
import { needs, RUN } from "../tests/support/needs.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** One of the examples as a process. Disposing kills it. */
function spawnExample(name: string, ...args: string[]) {
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--quiet",
      "--no-prompt",
      "--allow-net",
      `${import.meta.dirname}/${name}`,
      ...args,
    ],
    env: { NO_COLOR: "1" },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const [out, err] = [new Capture(), new Capture()];
  const collecting = [[child.stdout, out] as const, [child.stderr, err] as const].map(
    async ([stream, capture]) => {
      for await (const bytes of stream) capture.writeSync(bytes);
    },
  );
  const stdin = child.stdin.getWriter();
  return {
    out,
    err,
    type: (text: string) => stdin.write(encode(text)),
    endTyping: () => stdin.close(),
    async port(): Promise<number> {
      await err.until("\n");
      return Number(/listening on 127\.0\.0\.1:(\d+)/.exec(err.text)![1]);
    },
    async ended(): Promise<number> {
      const { code } = await child.status;
      await Promise.all(collecting);
      return code;
    },
    async [Symbol.asyncDispose]() {
      await stdin.abort().catch(() => {});
      try {
        child.kill("SIGKILL");
      } catch {
        // It has ended.
      }
      await child.status;
      await Promise.all(collecting);
    },
  };
}

/** Says something and reads as many bytes. */
async function echoed(conn: Deno.Conn, text: string): Promise<string> {
  const [, bytes] = await Promise.all([
    writeAll(conn, encode(text)),
    readUpTo(conn, encode(text).length),
  ]);
  return latin1(bytes);
}

for (const name of ["select_server.ts", "poll_server.ts"]) {
  Deno.test({
    ...RUN,
    name: `${name} echoes to several clients at once, to their end`,
    async fn() {
      await using server = spawnExample(name, "0");
      const port = await server.port();
      using one = await connectTo(port);
      using two = await connectTo(port);
      assertEquals(await echoed(two, "second first\n"), "second first\n");
      assertEquals(await echoed(one, "hello\n"), "hello\n");
      const much = "x".repeat(500_000);
      assertEquals(await echoed(one, much), much);
      await writeAll(two, encode("last words"));
      await two.closeWrite();
      assertEquals(await new Response(two.readable).text(), "last words");
      await server.out.until("closing");
      assertEquals(await echoed(one, "still there"), "still there");
    },
  });

  Deno.test({
    ...needs("python3"),
    name: `${name} outlives a client that is reset`,
    async fn() {
      await using server = spawnExample(name, "0");
      const port = await server.port();
      const script =
        "import socket,struct,sys;c=socket.create_connection(('127.0.0.1',int(sys.argv[1])));" +
        "c.send(b'x');c.recv(1);c.setsockopt(socket.SOL_SOCKET,socket.SO_LINGER,struct.pack('ii',1,0));c.close()";
      await new Deno.Command("python3", { args: ["-c", script, `${port}`] }).output();
      await server.err.until("ConnectionReset");
      using client = await connectTo(port);
      assertEquals(await echoed(client, "hello"), "hello");
    },
  });
}

Deno.test({
  ...needs("telnet"),
  name: "select_server.ts talks to telnet",
  async fn() {
    await using server = spawnExample("select_server.ts", "0");
    const port = await server.port();
    await using telnet = new Deno.Command("telnet", {
      args: ["127.0.0.1", `${port}`],
      stdin: "piped",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    const writer = telnet.stdin.getWriter();
    const out = new Capture();
    const reading = (async () => {
      for await (const bytes of telnet.stdout) out.writeSync(bytes);
    })();
    await out.until("Escape character");
    await writer.write(encode("typed into telnet\n"));
    await out.until("typed into telnet");
    await writer.close();
    telnet.kill("SIGTERM");
    await reading;
  },
});

Deno.test({
  ...RUN,
  name: "chat.ts passes lines on, and puts out who says nothing",
  async fn() {
    await using chat = spawnExample("chat.ts", "0", "2");
    using guests = await twoGuests(await chat.port());
    const { ann, bob } = guests;
    await writeAll(ann.conn, encode("hello "));
    await writeAll(ann.conn, encode("Bob\r\nhow are you?\n"));
    await bob.heard.until("how are you?\r\n");
    assertMatch(bob.heard.text, /^(\* .*\r\n)?(\d+): hello Bob\r\n\2: how are you\?\r\n/);
    assertEquals(ann.heard.count("hello"), 0);
    await Promise.all([ann.reading, bob.reading]);
    assertEquals([ann.heard, bob.heard].filter((heard) => heard.count("asleep") > 0).length, 1);
  },
});

/** Two who have come in, one after the other. */
async function twoGuests(port: number) {
  const ann = await guestOf(port);
  await ann.heard.until("comes in, now 1\r\n");
  const bob = await guestOf(port);
  await ann.heard.until("comes in, now 2\r\n");
  const leave = () => [ann, bob].forEach(({ conn }) => conn[Symbol.dispose]());
  return { ann, bob, [Symbol.dispose]: leave };
}

async function guestOf(port: number) {
  const conn = await connectTo(port);
  const heard = new Capture();
  return { conn, heard, reading: hear(conn, heard) };
}

async function hear(conn: Deno.Conn, capture: Capture): Promise<void> {
  for await (const bytes of conn.readable) capture.writeSync(bytes);
}

Deno.test({
  ...RUN,
  name: "asyncore_chat.ts passes lines on, says who comes and leaves, and answers /quit",
  async fn() {
    await using chat = spawnExample("asyncore_chat.ts", "0");
    using guests = await twoGuests(await chat.port());
    const { ann, bob } = guests;
    await writeAll(ann.conn, encode("hello Bob\r\nhow are "));
    await writeAll(ann.conn, encode("you?\n/quit\n"));
    await ann.reading;
    assertMatch(ann.heard.text, /bye\r\n$/);
    await bob.heard.until("leaves, now 1\r\n");
    assertMatch(bob.heard.text, /(guest \d+): hello Bob\r\n\1: how are you\?\r\n\* \1 leaves/);
    await writeAll(bob.conn, encode("/quit\n"));
    await bob.reading;
  },
});

Deno.test({
  ...RUN,
  name: "proxy.ts passes on both directions, their ends, and more than buffers hold",
  async fn() {
    using origin = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    await using proxy = spawnExample("proxy.ts", "127.0.0.1", `${origin.addr.port}`, "0");
    using client = await connectTo(await proxy.port());
    using service = await origin.accept();
    const sending = (async () => {
      for (let i = 0; i < 9; i++) await writeAll(client, new Uint8Array(2 ** 20));
      await client.closeWrite();
    })();
    let heard = 0;
    for (const buffer = new Uint8Array(65_536);;) {
      const count = await service.read(buffer);
      if (count === null) break;
      heard += count;
    }
    await sending;
    await writeAll(service, encode(`${heard} bytes`));
    await service.closeWrite();
    assertEquals(await new Response(client.readable).text(), `${9 * 2 ** 20} bytes`);
  },
});

Deno.test({
  ...RUN,
  name: "proxy.ts hangs up when the target cannot be reached, and goes on",
  async fn() {
    const gone = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    gone.close();
    await using proxy = spawnExample("proxy.ts", "127.0.0.1", `${gone.addr.port}`, "0");
    const port = await proxy.port();
    for (let i = 0; i < 2; i++) {
      using client = await connectTo(port);
      assertEquals(await client.read(new Uint8Array(1)), null);
    }
  },
});

Deno.test({
  ...RUN,
  name: "netcat.ts sends what is typed, prints what is heard, and ends with the server",
  async fn() {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    await using netcat = spawnExample("netcat.ts", `${listener.addr.port}`);
    using server = await listener.accept();
    await netcat.type("typed\n");
    assertEquals(latin1(await readUpTo(server, 6)), "typed\n");
    await writeAll(server, encode("said\n"));
    await netcat.out.until("said\n");
    await netcat.endTyping();
    assertEquals(await server.read(new Uint8Array(1)), null);
    await writeAll(server, encode("last words\n"));
    await server.closeWrite();
    assertEquals(await netcat.ended(), 0);
    assertEquals(netcat.out.text, "said\nlast words\n");
  },
});

Deno.test({
  ...RUN,
  name: "waiting.ts ends with 0 when the device is ready, and with 3 when it is not",
  async fn() {
    for (const [said, code] of [["READY", 0], ["no", 3]] as const) {
      await using example = spawnExample("waiting.ts", "0", "READY", code === 0 ? "30" : "0.5");
      using conn = await connectTo(await example.port());
      await writeAll(conn, encode(`${said}\n`));
      assertEquals(await example.ended(), code);
      assertMatch(example.out.text, /^a device at 127\.0\.0\.1\n/m);
      assertEquals(example.out.count(`| ${said}\n`), 1);
    }
  },
});
