import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { encode } from "../lib/bytes.ts";
import { writeAll } from "../lib/io.ts";
import { NET, UDP } from "./support/needs.ts";
import { serve } from "./support/serving.ts";
import { bodyOf, messagesOf, statusOf, Watcher } from "./support/watching.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** A server with its page, and requests to that. */
async function serveWeb(...args: string[]) {
  const running = await serve(["--time", "none", "--web", "0", ...args], { now: Date.now });
  const { port } = running.server.webAddr!;
  const connect = () => Deno.connect({ hostname: "127.0.0.1", port });
  const ask = async (request: string, body?: Uint8Array) => {
    using conn = await connect();
    await writeAll(conn, encode(request));
    if (body) await writeAll(conn, body);
    return await new Response(conn.readable).text();
  };
  return {
    ...running,
    ask,
    get: (path: string) => ask(`GET ${path} HTTP/1.1\r\nHost: localhost:${port}\r\n\r\n`),
    watch: (query?: string, id?: string) => Watcher.open({ connect }, query, id),
    /** Has the page's reply box send something. */
    post(body: unknown, headers: Record<string, string> = {}) {
      const bytes = body instanceof Uint8Array
        ? body
        : encode(typeof body === "string" ? body : JSON.stringify(body));
      const lines = Object.entries({
        "Host": `localhost:${port}`,
        "Content-Type": "application/json",
        "Content-Length": String(bytes.length),
        "X-Earshot-Key": /#key=([\w-]+)/.exec(running.err.text)?.[1] ?? "",
        ...headers,
      }).map(([name, value]) => `${name}: ${value}\r\n`);
      return ask(`POST /send HTTP/1.1\r\n${lines.join("")}\r\n`, bytes);
    },
    [Symbol.asyncDispose]: () => running[Symbol.asyncDispose](),
  };
}

// -- Watching --

Deno.test({
  ...NET,
  name: "The page's events tell what clients say, whatever --time and --format",
  async fn() {
    for (const format of ["text", "json", "raw", "hex"]) {
      await using web = await serveWeb("--format", format, "--quiet");
      using stream = await web.watch();
      await stream.nextOf("snapshot");
      using client = await web.connect();
      await client.write(encode("hello\n"));
      const [record] = await stream.nextOf("records");
      assertMatch(record.timestamp, /^20\d\d-.*Z$/);
      const isRead = format === "raw" || format === "hex";
      assertEquals([record.connection, record.message], [1, isRead ? "hello\n" : "hello"], format);
      const { clients, total } = JSON.parse(bodyOf(await web.get("/clients")));
      assertEquals([clients[0].connection, clients[0].rate, total], [1, 0.1, 1]);
    }
  },
});

Deno.test({
  ...NET,
  name: "A chosen client is complete while another floods",
  async fn() {
    await using web = await serveWeb();
    using flood = await web.connect();
    using quiet = await web.connect();
    await web.out.until("connected", 2);
    using stream = await web.watch("?connection=2");
    await stream.nextOf("snapshot");
    const lines = encode("flood flood flood flood flood\n".repeat(2000));
    for (let i = 0; i < 30; i++) {
      await writeAll(flood, lines);
      await quiet.write(encode(`quiet ${i}\n`));
    }
    assertEquals(await stream.messages(30), Array.from({ length: 30 }, (_, i) => `quiet ${i}`));
    await quiet.closeWrite();
    const [record] = await stream.nextOf("records");
    assertEquals([record.event, record.lines], ["disconnected", 30]);
  },
});

Deno.test({
  ...UDP,
  name: "A sender of datagrams is in the list, and can be chosen",
  async fn() {
    await using web = await serveWeb("--udp", "0", "--port", "0", "--name", "127.0.0.1=pump");
    const [, addr] = web.server.addrs as Deno.NetAddr[];
    using stream = await web.watch("?host=127.0.0.1");
    await stream.nextOf("snapshot");
    using client = await web.connect();
    await client.write(encode("not this\n"));
    const sender = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
    using _ = { [Symbol.dispose]: () => sender.close() };
    await sender.send(encode("datagram"), addr!);
    const [record] = await stream.nextOf("records");
    assertEquals([record.event, record.message, record.name], ["datagram", "datagram", "pump"]);
    const { clients } = JSON.parse(bodyOf(await web.get("/clients?search=udp")));
    const { transport, host, port, name, to, lines, connection } = clients[0];
    assertEquals([transport, host, port, name, to, lines, connection], [
      "udp",
      "127.0.0.1",
      (sender.addr as Deno.NetAddr).port,
      "pump",
      addr!.port,
      1,
      undefined,
    ]);
  },
});

Deno.test({
  ...NET,
  name: "--web-host lets a name in, whatever its case",
  async fn() {
    await using web = await serveWeb("--web-host", "Logs.Example");
    const statusFor = async (host: string) =>
      statusOf(await web.ask(`GET /clients HTTP/1.1\r\nHost: ${host}\r\n\r\n`));
    assertEquals(await statusFor("logs.example"), 200);
    assertEquals(await statusFor("LOGS.EXAMPLE:8443"), 200);
    assertEquals(await statusFor("other.example"), 421);
  },
});

Deno.test({
  ...NET,
  name: "/healthz says 503 while all places are taken",
  async fn() {
    await using web = await serveWeb("--max-connections", "1");
    assertEquals(statusOf(await web.get("/healthz")), 200);
    using client = await web.connect();
    await client.write(encode("hello\n"));
    await web.out.until("hello");
    assertEquals(statusOf(await web.get("/healthz")), 503);
  },
});

// -- Answering --

Deno.test({
  ...NET,
  name: "POST /send sends to one or all, and is logged at once as a typed line is",
  async fn() {
    await using web = await serveWeb("--interactive", "--quiet");
    using one = await web.connect();
    using two = await web.connect();
    for (const conn of [one, two]) await conn.write(encode("hi\n"));
    await web.out.until("| hi", 2);
    const answer = await web.post({ to: 2, text: "@1 reset" });
    assertEquals(statusOf(answer), 200);
    assertEquals(JSON.parse(bodyOf(answer)), { clients: 1 });
    await web.out.until("< @1 reset\n");
    assertEquals(JSON.parse(bodyOf(await web.post({ to: "all", text: "ü" }))), { clients: 2 });
    await web.out.until("* all < ü\n".replace("ü", "\xC3\xBC"));
    await web.post({ to: "all", text: "\\x06\\r", escapes: true });
    await web.out.until("* all < \\x06\\x0D\n");
    const buffer = new Uint8Array(100);
    const count = await one.read(buffer);
    assertEquals(buffer.subarray(0, count!), encode("ü\n\x06\r"));
    const taken = await two.read(buffer);
    assertEquals(buffer.subarray(0, taken!), encode("@1 reset\nü\n\x06\r"));
  },
});

Deno.test({
  ...NET,
  name: "POST /send ends lines as --crlf says",
  async fn() {
    await using web = await serveWeb("--interactive", "--crlf");
    using conn = await web.connect();
    await web.out.until("connected");
    assertEquals(statusOf(await web.post({ to: 1, text: "x" })), 200);
    const buffer = new Uint8Array(100);
    assertEquals(buffer.subarray(0, (await conn.read(buffer))!), encode("x\r\n"));
  },
});

Deno.test({
  ...NET,
  name: "POST /send tells what is wrong, and sends nothing then",
  async fn() {
    await using web = await serveWeb("--interactive", "--quiet");
    using client = await web.connect();
    await client.write(encode("hi\n"));
    await web.out.until("| hi");
    const good = { to: 1, text: "x" };
    const wrong: [status: number, body: unknown, headers?: Record<string, string>][] = [
      [400, ""],
      [400, "{"],
      [400, "null"],
      [400, { text: "x" }],
      [400, { to: 0, text: "x" }],
      [400, { to: "1", text: "x" }],
      [400, { to: 1.5, text: "x" }],
      [400, { to: 1, text: 7 }],
      [400, { to: 1, text: "half a \ud83d" }],
      [400, Uint8Array.from(`{"to":1,"text":"\xff"}`, (one) => one.charCodeAt(0))],
      [400, { to: 1, text: "x", escapes: 1 }],
      [400, { to: 1, text: "\\q", escapes: true }],
      [400, { to: 1, text: "", escapes: true }],
      [403, good, { "X-Earshot-Key": "" }],
      [403, good, { "X-Earshot-Key": "A".repeat(22) }],
      [403, good, { "X-Earshot-Key": "é".repeat(11) }],
      [403, good, { Origin: "http://evil.example" }],
      [403, good, { Origin: "null" }],
      [403, good, { Origin: "http://localhost:1" }],
      [403, good, { Origin: "http://127.0.0.1" }],
      [409, { to: 2, text: "x" }],
      [413, { to: 1, text: "x".repeat(65537) }],
      [413, { to: 1, text: "x".repeat(500_000) }],
      [415, good, { "Content-Type": "text/plain" }],
      [415, good, { "Content-Type": "application/jsonx" }],
      [421, good, { Host: "evil.example" }],
    ];
    for (const [status, body, headers] of wrong) {
      const answer = await web.post(body, headers);
      assertEquals(statusOf(answer), status, `${JSON.stringify(body).slice(0, 60)} ${answer}`);
      assertMatch(bodyOf(answer), /^[^\n]+\n$/);
    }
    const got = await web.get("/send");
    assertEquals(statusOf(got), 405);
    assertStringIncludes(got, "allow: POST\r\n");
    const { port } = web.server.webAddr!;
    const own = {
      Origin: `http://localhost:${port}`,
      "Content-Type": "Application/JSON; charset=x",
    };
    assertEquals(statusOf(await web.post({ to: 1, text: "x".repeat(65536) }, own)), 200);
    assertEquals(web.out.count("<"), 1);
  },
});

Deno.test({
  ...NET,
  name: "POST /send is not there without --interactive, nor a key in the greeting",
  async fn() {
    await using web = await serveWeb();
    assertEquals(statusOf(await web.post({ to: 1, text: "x" })), 404);
    assertEquals(statusOf(await web.get("/send")), 404);
    assert(!web.err.text.includes("key="));
    using stream = await web.watch();
    assertEquals((await stream.nextOf("snapshot")).interactive, false);
    await using talking = await serveWeb("--interactive", "--web-host", "logs.example");
    assertMatch(talking.err.text, /watch at http:\/\/127\.0\.0\.1:\d+\/#key=[\w-]{22}\n/);
    using other = await talking.watch();
    assertEquals((await other.nextOf("snapshot")).interactive, true);
    const named = { Host: "logs.example", Origin: "https://logs.example" };
    assertEquals(statusOf(await talking.post({ to: 1, text: "x" }, named)), 409);
  },
});

// -- Rude clients --

Deno.test({
  ...NET,
  name: "50 streams asked for on one connection take one place at most, whether it stays or leaves",
  async fn() {
    await using web = await serveWeb();
    const request = "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n";
    using staying = new DisposableStack();
    for (let i = 0; i < 20; i++) {
      const conn = staying.use(await Deno.connect({ port: web.server.webAddr!.port }));
      await writeAll(
        conn,
        encode(`GET / HTTP/1.1\r\nHost: localhost\r\n\r\n${request.repeat(50)}`),
      );
      const leaving = await Deno.connect({ port: web.server.webAddr!.port });
      await writeAll(leaving, encode(request.repeat(50)));
      leaving.close();
    }
    using streams = new DisposableStack();
    for (let i = 0; i < 40; i++) streams.use(await web.watch());
    const answer = await web.ask(request.repeat(2));
    assertEquals(answer.split("HTTP/1.1 200 OK").length - 1, 1);
    assertEquals(answer.split("event: snapshot").length - 1, 1);
  },
});

Deno.test({
  ...NET,
  name: "What stands behind a request is not read while that is answered",
  async fn() {
    await using web = await serveWeb();
    using conn = await Deno.connect({ port: web.server.webAddr!.port });
    await writeAll(conn, encode("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: 1\r"));
    await writeAll(conn, encode("\n\r\nGET /clients HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    const answers = await new Response(conn.readable).text();
    assertEquals(bodyOf(answers), "ok\n");
    assertEquals(answers.split("HTTP/1.1").length - 1, 1);
  },
});

Deno.test({
  ...NET,
  name: "A body that comes bit by bit is taken, one that never ends does not hold the server up",
  async fn() {
    const web = await serveWeb("--interactive");
    using _client = await web.connect();
    await web.out.until("connected");
    const key = /#key=([\w-]+)/.exec(web.err.text)![1];
    const head = `POST /send HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n` +
      `X-Earshot-Key: ${key}\r\n`;
    const body = `{"to":1,"text":"slow"}`;
    using slow = await Deno.connect({ port: web.server.webAddr!.port });
    for (
      const piece of `${head}Content-Length: ${body.length}\r\n\r\n${body}`.match(/[^]{1,7}/g)!
    ) {
      await slow.write(encode(piece));
    }
    assertEquals(statusOf(await new Response(slow.readable).text()), 200);
    await web.out.until("< slow");
    const chunked = `${head}Transfer-Encoding: chunked\r\n\r\n`;
    const answer = await web.ask(`${chunked}${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`);
    assertEquals(statusOf(answer), 200);
    using endless = await Deno.connect({ port: web.server.webAddr!.port });
    await writeAll(endless, encode(`${chunked}ffffff\r\n${"x".repeat(10_000)}`));
    using half = await Deno.connect({ port: web.server.webAddr!.port });
    await writeAll(half, encode(`${head}Content-Length: 100\r\n\r\n{"to"`));
    await web[Symbol.asyncDispose]();
  },
});

Deno.test({
  ...NET,
  name: "The last records reach watchers before the server ends",
  async fn() {
    const web = await serveWeb();
    using client = await web.connect();
    using stream = await web.watch();
    await stream.nextOf("snapshot");
    await client.write(encode("one\nrest"));
    await web.out.until("| one");
    const ended = web[Symbol.asyncDispose]();
    const messages: unknown[] = [];
    for (let event; (event = await stream.next()).name !== "end";) {
      if (event.name === "records") messages.push(...messagesOf(event.data));
    }
    assertEquals(messages.filter(Boolean), ["one", "rest"]);
    await ended;
  },
});
