import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import type { ServerResponse } from "node:http";
import { decode, encode } from "../bytes.ts";
import { Failure } from "../errors.ts";
import { History } from "../records/history.ts";
import { untilTrue } from "../../tests/support/testing.ts";
import { EventStreams, type Watched } from "./event_stream.ts";
import { Web, type WebOptions } from "./web.ts";
import { NET } from "../../tests/support/needs.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const ALICE = {
  subject: { number: 1, peer: { kind: "ip", host: "127.0.0.1", port: 5001 } },
  connectedAtMs: 0,
  lines: 2,
  bytes: 25,
} as const satisfies Watched;

// -- A server without a log --

class Stage implements AsyncDisposable {
  readonly history = new History();
  trouble: string | undefined;
  readonly web: Web;

  constructor(options: Partial<WebOptions> = {}) {
    this.web = new Web({
      host: "127.0.0.1",
      port: 0,
      history: this.history,
      clients: [ALICE],
      totals: () => ({ open: 1, lines: 2 }),
      metrics: () => "earshot_lines_total 2\n",
      trouble: () => this.trouble,
      isLogShort: () => false,
      say: () => {},
      example: "nc 127.0.0.1 1234",
      now: Date.now,
      ...options,
    });
  }

  get port(): number {
    return this.web.addr.port;
  }

  say(text: string): void {
    const bytes = encode(text);
    this.history.received(ALICE.subject, bytes, 0, bytes.length, true, Date.now());
  }

  connect(): Promise<Deno.TcpConn> {
    return Deno.connect({ hostname: "127.0.0.1", port: this.port });
  }

  /** The whole answer to a request as it stands. */
  async ask(request: string): Promise<string> {
    using conn = await this.connect();
    await conn.write(encode(request));
    return await new Response(conn.readable).text();
  }

  get(path: string, host = "localhost", method = "GET"): Promise<string> {
    return this.ask(`${method} ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.web.finish();
  }
}

interface ServerEvent {
  readonly name: string;
  // deno-lint-ignore no-explicit-any -- what was sent is what is tested
  readonly data: any;
}

/** Reads the events of one stream. */
class EventStream implements Disposable {
  readonly #conn: Deno.TcpConn;
  readonly #chunks: ReadableStreamDefaultReader<string>;
  #text = "";

  private constructor(conn: Deno.TcpConn) {
    this.#conn = conn;
    this.#chunks = conn.readable.pipeThrough(new TextDecoderStream()).getReader();
  }

  static async open(stage: Stage): Promise<EventStream> {
    const conn = await stage.connect();
    await conn.write(encode("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    const stream = new EventStream(conn);
    assertMatch(await stream.#block(), /^HTTP\/1.1 200 OK[^]*content-type: text\/event-stream/i);
    return stream;
  }

  async #block(): Promise<string> {
    for (;;) {
      const [, block, rest] = /^([^]*?)\r?\n\r?\n([^]*)$/.exec(this.#text) ?? [];
      if (block !== undefined) {
        this.#text = rest!;
        return block;
      }
      const { value, done } = await this.#chunks.read();
      if (done) return "event: end\ndata: null";
      this.#text += value;
    }
  }

  async next(): Promise<ServerEvent> {
    const [, name, data] = /^event: (.*)\ndata: (.*)$/.exec(await this.#block()) ?? [];
    return { name: name!, data: JSON.parse(data!) };
  }

  /** The next event of this name. */
  async nextOf(name: string): Promise<ServerEvent["data"]> {
    for (;;) {
      const event = await this.next();
      if (event.name === name) return event.data;
      assert(event.name !== "end", `the stream ended before ${name}`);
    }
  }

  [Symbol.dispose](): void {
    this.#chunks.cancel().catch(() => {});
    this.#conn[Symbol.dispose]();
  }
}

function statusOf(answer: string): number {
  return Number(answer.split(" ")[1]);
}

function messagesOf(records: { message: string }[]): string[] {
  return records.map(({ message }) => message);
}

// -- Pages --

Deno.test({
  ...NET,
  name: "Web serves the page with a policy that allows no other script",
  async fn() {
    await using stage = new Stage();
    const answer = await stage.get("/");
    assertEquals(statusOf(answer), 200);
    assertMatch(answer, /content-security-policy: default-src 'none'; script-src 'sha256-[^ ]*';/);
    assertStringIncludes(answer, "frame-ancestors 'none'");
    assert(!answer.includes("unsafe-inline"));
    assertStringIncludes(answer, "x-content-type-options: nosniff");
    assertStringIncludes(answer, "</html>");
    assert(!/access-control-allow/i.test(answer));
  },
});

Deno.test({
  ...NET,
  name: "Web answers HEAD without a body",
  async fn() {
    await using stage = new Stage();
    for (const path of ["/", "/events", "/metrics", "/healthz"]) {
      const answer = await stage.get(path, "localhost", "HEAD");
      assertEquals(statusOf(answer), 200);
      assert(answer.endsWith("\r\n\r\n"), path);
    }
  },
});

Deno.test({
  ...NET,
  name: "Web refuses other paths and methods",
  async fn() {
    await using stage = new Stage();
    assertEquals(statusOf(await stage.get("/nothing")), 404);
    assertEquals(statusOf(await stage.get("/constructor")), 404);
    assertEquals(statusOf(await stage.get("/?a=b")), 200);
    const answer = await stage.get("/", "localhost", "DELETE");
    assertEquals(statusOf(answer), 405);
    assertStringIncludes(answer, "allow: GET, HEAD\r\n");
  },
});

Deno.test({
  ...NET,
  name: "Web says what is wrong with a request that it cannot read",
  async fn() {
    await using stage = new Stage();
    assertEquals(statusOf(await stage.get("/", "localhost", "FOO")), 405);
    assertEquals(statusOf(await stage.get("localhost:80", "localhost", "CONNECT")), 405);
    assertEquals(statusOf(await stage.ask("what is this?\r\n\r\n")), 400);
    assertEquals(statusOf(await stage.ask("GET / HTTP/1.1\r\nHost\r\n\r\n")), 400);
    assertEquals(statusOf(await stage.get(`/${"a".repeat(9_000)}`)), 431);
  },
});

Deno.test({
  ...NET,
  name: "Web ends a stream whose client sends what is no request",
  async fn() {
    await using stage = new Stage();
    using conn = await stage.connect();
    await conn.write(
      encode("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\nwhat is this?\r\n\r\n"),
    );
    const answer = await new Response(conn.readable).text();
    assert(!answer.includes("400 Bad Request"), answer);
  },
});

Deno.test({
  ...NET,
  name: "Web answers only to names that nobody else can own",
  async fn() {
    await using stage = new Stage({ host: "localhost" });
    for (const host of ["localhost", "LOCALHOST:80", "127.0.0.1:8080", "[::1]:8080", "10.1.2.3"]) {
      assertEquals(statusOf(await stage.get("/", host)), 200, host);
    }
    for (
      const host of ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "a@b"]
    ) {
      assertEquals(statusOf(await stage.get("/", host)), 421, host);
      assertEquals(statusOf(await stage.get("/events", host)), 421, host);
      assertEquals(statusOf(await stage.get("/metrics", host)), 200, host);
      assertEquals(statusOf(await stage.get("/healthz", host)), 200, host);
    }
  },
});

Deno.test({
  ...NET,
  name: "Web takes the name in an absolute target as the host, too",
  async fn() {
    await using stage = new Stage();
    assertEquals(statusOf(await stage.get("http://evil.example/")), 421);
    assertEquals(statusOf(await stage.get("http://localhost/", "evil.example")), 421);
    assertEquals(statusOf(await stage.get("http://localhost/")), 200);
    assertEquals(statusOf(await stage.ask("GET / HTTP/1.0\r\n\r\n")), 421);
  },
});

Deno.test({
  ...NET,
  name: "Web gives metrics to Prometheus",
  async fn() {
    await using stage = new Stage();
    const answer = await stage.get("/metrics", "scraped.example");
    assertStringIncludes(answer, "content-type: text/plain; version=0.0.4; charset=utf-8\r\n");
    assertStringIncludes(answer, "\r\n\r\nearshot_lines_total 2\n");
  },
});

Deno.test({
  ...NET,
  name: "Web is healthy until there is trouble",
  async fn() {
    await using stage = new Stage();
    assertMatch(await stage.get("/healthz"), /^HTTP\/1.1 200 [^]*\r\n\r\nok\n$/);
    stage.trouble = "the output is stalled";
    assertMatch(await stage.get("/healthz"), /^HTTP\/1.1 503 [^]*\r\n\r\nthe output is stalled\n$/);
  },
});

Deno.test({
  ...NET,
  name: "Web says where to watch, and warns where others can",
  async fn() {
    await using stage = new Stage();
    assertEquals(stage.web.greeting, `watch at http://127.0.0.1:${stage.port}/`);
    await using open = new Stage({ host: "0.0.0.0" });
    assertStringIncludes(open.web.greeting, "no password");
  },
});

Deno.test({
  ...NET,
  name: "Web throws a Failure when the port is taken",
  async fn() {
    await using stage = new Stage();
    const { port } = stage;
    assertThrows(
      () => new Stage({ port }),
      Failure,
      `Cannot listen on 127.0.0.1:${port}: address already in use`,
    );
  },
});

// -- Events --

Deno.test({
  ...NET,
  name: "Web sends a snapshot, then records and stats",
  async fn() {
    await using stage = new Stage();
    stage.say("before");
    using stream = await EventStream.open(stage);
    const { name, data } = await stream.next();
    assertEquals(name, "snapshot");
    assertEquals(messagesOf(data.records), ["before"]);
    assertEquals(data.totals, { open: 1, lines: 2 });
    const { since, ...client } = data.clients[0];
    assertEquals(client, { connection: 1, host: "127.0.0.1", port: 5001, lines: 2, bytes: 25 });
    assertMatch(since, /^\d{4}-.*Z$/);
    stage.say("after");
    assertEquals(messagesOf(await stream.nextOf("records")), ["after"]);
    assertEquals((await stream.nextOf("stats")).skipped, 0);
  },
});

Deno.test({
  ...NET,
  name: "Web lists 200 clients",
  async fn() {
    const clients = Array.from(
      { length: 300 },
      (_, i) => ({ ...ALICE, subject: { ...ALICE.subject, number: i + 1 } }),
    );
    await using stage = new Stage({ clients });
    using stream = await EventStream.open(stage);
    assertEquals((await stream.nextOf("snapshot")).clients.length, 200);
  },
});

Deno.test({
  ...NET,
  name: "Web sends a burst of 500 whole, and of a flood the newest",
  async fn() {
    await using stage = new Stage();
    using stream = await EventStream.open(stage);
    await stream.nextOf("snapshot");
    for (let i = 0; i < 2000; i++) stage.say(`line ${i}`);
    const messages = messagesOf(await stream.nextOf("records"));
    assertEquals([messages.length, messages[0], messages.at(-1)], [500, "line 1500", "line 1999"]);
    assertEquals((await stream.nextOf("stats")).skipped, 1500);
  },
});

Deno.test({
  ...NET,
  name: "Web refuses the 51st stream until one has left",
  async fn() {
    await using stage = new Stage();
    using streams = new DisposableStack();
    for (let i = 0; i < 50; i++) streams.use(await EventStream.open(stage));
    assertEquals(statusOf(await stage.get("/events")), 503);
    assertEquals(statusOf(await stage.get("/")), 200);
    streams.dispose();
    while (statusOf(await stage.get("/events", "localhost", "HEAD")) === 503);
  },
});

Deno.test({
  ...NET,
  name: "Web holds nothing back from a stream that reads beside one that does not",
  async fn() {
    await using stage = new Stage();
    using deaf = await stage.connect();
    await deaf.write(encode("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    using stream = await EventStream.open(stage);
    await stream.nextOf("snapshot");
    for (let i = 0; i < 20; i++) {
      stage.say(`${i} ${"x".repeat(400_000)}`);
      assertMatch(messagesOf(await stream.nextOf("records"))[0]!, new RegExp(`^${i} x`));
    }
  },
});

/** A response as a stream uses it, of which nothing is taken while it is full. */
class FakeResponse {
  writableLength = 0;
  readonly events: string[] = [];
  write(event: Uint8Array): boolean {
    this.events.push(decode(event));
    return true;
  }
  on(_close: string, listener: () => void): void {
    this.end = listener;
  }
  end(): void {}
}

Deno.test("EventStreams makes records for a stream that is full only when it has read", async () => {
  const asked: number[] = [];
  const history = new class extends History {
    override since(sequence: number, records: number): string[] {
      asked.push(sequence);
      return super.since(sequence, records);
    }
  }();
  const streams = new EventStreams({
    history,
    clients: [],
    totals: () => ({}),
    example: "",
    now: Date.now,
  });
  const [deaf, reader] = [new FakeResponse(), new FakeResponse()];
  for (const one of [deaf, reader]) streams.add(one as unknown as ServerResponse);
  deaf.writableLength = 1024 * 1024;
  for (const word of ["one", "two", "three"]) {
    const bytes = encode(word);
    history.received(ALICE.subject, bytes, 0, bytes.length, true, Date.now());
    await untilTrue(() => reader.events.some((event) => event.includes(`"${word}"`)));
  }
  assertEquals(asked, [0, 1, 2]);
  deaf.writableLength = 0;
  await untilTrue(() => deaf.events.some((event) => /"one".*"two".*"three"/.test(event)));
  streams.finish();
});

Deno.test({
  ...NET,
  name: "Web.finish() sends the last records and ends the streams",
  async fn() {
    const stage = new Stage();
    using stream = await EventStream.open(stage);
    await stream.nextOf("snapshot");
    stage.say("last words");
    const finished = stage.web.finish();
    assertEquals(messagesOf(await stream.nextOf("records")), ["last words"]);
    while ((await stream.next()).name !== "end");
    await finished;
  },
});

Deno.test({
  ...NET,
  name: "Web.finish() does not wait for those who do not read, ask or end",
  async fn() {
    const stage = new Stage();
    using _silent = await stage.connect();
    using half = await stage.connect();
    await half.write(encode("GET / HT"));
    using deaf = await stage.connect();
    await deaf.write(encode("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    assertEquals(statusOf(await stage.get("/")), 200);
    await stage.web.finish();
    Deno.listen({ hostname: "127.0.0.1", port: stage.port }).close();
  },
});

Deno.test({
  ...NET,
  name: "Web makes room for who asks when silent connections take all places",
  async fn() {
    await using stage = new Stage();
    using silent = new DisposableStack();
    for (let i = 0; i < 300; i++) silent.use(await stage.connect());
    assertEquals(statusOf(await stage.get("/")), 200);
  },
});
