import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { encode } from "../bytes.ts";
import { Failure } from "../errors.ts";
import { NET } from "../../tests/support/needs.ts";
import { Stage, statusOf } from "../../tests/support/watching.ts";

Deno.test.sanitizer({ ops: true, resources: true });

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

// -- The end --

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
