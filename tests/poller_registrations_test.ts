/** What a Poller remembers of its sources: masks, data, sleep; and who holds the process. */

import { assertEquals, assertThrows } from "@std/assert";
import {
  Poller,
  POLLERR,
  POLLHUP,
  POLLIN,
  POLLNVAL,
  POLLONESHOT,
  POLLOUT,
  POLLPRI,
  POLLRDHUP,
  ServerSocket,
  Socket,
  type Source,
} from "../poller.ts";
import { decode, encode } from "../lib/bytes.ts";
import { connect, listenLocal } from "./support/connections.ts";
import { MemoryStream, quietStream } from "./support/memory.ts";
import { closeAll, pollerOf, recvText } from "./support/sources.ts";
import { pause, turn } from "./support/waiting.ts";
import { NET, RUN } from "./support/needs.ts";

Deno.test.sanitizer({ ops: true, resources: true });

// -- Data --

Deno.test("Poller.poll() gives what was registered with a source, and its type", async () => {
  using source = new Socket(new MemoryStream("hello"));
  using poller = new Poller<Socket, { name: string }>();
  poller.register(source, POLLIN, { name: "ann" });
  for (const [ready, events, session] of await poller.poll()) {
    assertEquals([recvText(ready), events, session.name.toUpperCase()], ["hello", POLLIN, "ANN"]);
  }
  source.unrecv(encode("again"));
  for await (const [ready, , { name }] of poller) {
    assertEquals([recvText(ready), name], ["again", "ann"]);
    break;
  }
});

Deno.test("Poller without data has entries of two, as before", async () => {
  using source = new Socket(new MemoryStream("x"));
  using poller = new Poller();
  poller.register(source, POLLIN);
  const entries: [Source, number][] = await poller.poll();
  assertEquals(entries, [[source, POLLIN]]);
  assertEquals(new Map(entries).get(source), POLLIN);
  assertEquals(poller.dataOf(source), undefined);
});

Deno.test("Poller.modify() leaves the data, or replaces it; register() replaces it", async () => {
  using source = new Socket(new MemoryStream("x"));
  using poller = new Poller<Socket, string | undefined>();
  const seen = async () => (await poller.poll())[0]?.[2];
  poller.register(source, POLLIN, "first");
  poller.modify(source, POLLIN | POLLOUT);
  assertEquals([await seen(), poller.dataOf(source)], ["first", "first"]);
  poller.modify(source, POLLIN, "second");
  assertEquals([await seen(), poller.dataOf(source)], ["second", "second"]);
  poller.modify(source, POLLIN, undefined);
  assertEquals([await seen(), poller.dataOf(source)], [undefined, undefined]);
  poller.register(source, POLLIN, "third");
  assertEquals(await seen(), "third");
  poller.register(source);
  assertEquals([await seen(), poller.maskOf(source)], [undefined, POLLIN | POLLPRI]);
});

Deno.test("Poller tells its sources, masks and data", () => {
  using one = new Socket(quietStream());
  using two = new Socket(quietStream());
  using poller = new Poller<Socket, number>();
  assertEquals(poller.sources(), []);
  poller.register(one, POLLIN, 1);
  poller.register(two, POLLOUT, 2);
  poller.modify(one, POLLIN | POLLOUT);
  assertEquals(poller.sources(), [one, two]);
  assertEquals([poller.maskOf(one), poller.maskOf(two)], [POLLIN | POLLOUT, POLLOUT]);
  assertEquals([poller.dataOf(one), poller.dataOf(two)], [1, 2]);
  for (const source of poller.sources()) poller.unregister(source);
  assertEquals([poller.size, poller.maskOf(one), poller.dataOf(one)], [0, undefined, undefined]);
  assertThrows(() => poller.maskOf({} as Socket), TypeError);
  assertThrows(() => poller.dataOf({} as Socket), TypeError);
});

Deno.test("Poller keeps mask and data when a new mask is invalid", () => {
  using source = new Socket(quietStream());
  using poller = new Poller<Socket, string>();
  poller.register(source, POLLIN, "old");
  assertThrows(() => poller.modify(source, -1, "new"), RangeError);
  assertThrows(() => poller.register(source, 0.5, "new"), TypeError);
  assertEquals([poller.maskOf(source), poller.dataOf(source)], [POLLIN, "old"]);
});

Deno.test("Poller of no type takes any data and gives it back as unknown", async () => {
  using source = new Socket(new MemoryStream("x"));
  using poller = new Poller();
  const heard: number[] = [];
  poller.register(source, POLLIN, (events: number) => heard.push(events));
  for (const [, events, data] of await poller.poll()) (data as (events: number) => void)(events);
  assertEquals(heard, [POLLIN]);
  poller.modify(source, POLLIN, "text");
  assertEquals(poller.dataOf(source), "text");
  const pairs: [Source, number][] = await poller.poll();
  assertEquals(pairs.map(([one, events]) => [one, events]), [[source, POLLIN]]);
  // deno-lint-ignore no-explicit-any
  const any: Poller<any, any> = poller;
  for (const [one, , data] of await any.poll()) assertEquals([one.id, data.length], [source.id, 4]);
});

Deno.test("Poller rejects by its types what would fail", () => {
  using socket = new Socket(quietStream());
  using server = new ServerSocket({ accept: () => new Promise(() => {}), close() {} });
  using poller = new Poller<Socket, string>();
  // @ts-expect-error: a number is no string
  poller.register(socket, POLLIN, 42);
  // @ts-expect-error: where data is not to be undefined, it cannot be left out
  poller.register(socket, POLLIN);
  // @ts-expect-error: no Socket
  poller.register(server, POLLIN, "server");
  // @ts-expect-error: the source is what was registered
  const wrong: () => Promise<[ServerSocket, number, string][]> = () => poller.poll();
  assertEquals(typeof wrong, "function");
});

// -- POLLONESHOT --

Deno.test("POLLONESHOT reports once, and sleeps until modify()", async () => {
  const stream = new MemoryStream("one");
  using source = new Socket(stream);
  using poller = new Poller();
  poller.register(source, POLLIN | POLLONESHOT);
  assertEquals(await poller.poll(), [[source, POLLIN]]);
  assertEquals(await poller.poll(0), []);
  assertEquals(recvText(source), "one");
  stream.push("two");
  assertEquals(await poller.poll(5), []);
  assertEquals(poller.maskOf(source), POLLIN | POLLONESHOT);
  poller.modify(source, POLLIN | POLLONESHOT);
  assertEquals(await poller.poll(), [[source, POLLIN]]);
  assertEquals(await poller.poll(0), []);
  poller.modify(source, POLLIN);
  for (let i = 0; i < 3; i++) assertEquals(await poller.poll(), [[source, POLLIN]]);
});

Deno.test("POLLONESHOT keeps errors and closing silent, too", async () => {
  const stream = new MemoryStream("x");
  const source = new Socket(stream);
  using poller = new Poller();
  poller.register(source, POLLIN | POLLONESHOT);
  await poller.poll();
  assertEquals(recvText(source), "x");
  stream.fail();
  await turn();
  assertEquals(await poller.poll(5), []);
  poller.modify(source, POLLONESHOT);
  assertEquals(await poller.poll(0), [[source, POLLERR | POLLHUP]]);
  source.close();
  assertEquals(await poller.poll(0), []);
  poller.register(source, POLLONESHOT);
  assertEquals(await poller.poll(0), [[source, POLLNVAL]]);
});

Deno.test("POLLONESHOT is woken by modify() while poll() waits", async () => {
  using source = new Socket(new MemoryStream("x"));
  using poller = new Poller();
  poller.register(source, POLLIN | POLLONESHOT);
  await poller.poll();
  const waiting = poller.poll();
  await turn();
  poller.modify(source, POLLIN | POLLONESHOT);
  assertEquals(await waiting, [[source, POLLIN]]);
});

Deno.test({
  ...NET,
  name: "POLLONESHOT lets handlers await, and none runs twice for the same data",
  async fn() {
    using listener = listenLocal();
    using client = await connect(listener);
    using socket = new Socket(await listener.accept());
    using poller = new Poller<Socket>();
    poller.register(socket, POLLIN | POLLRDHUP | POLLONESHOT);
    let running = 0;
    let heard = "";
    const handle = async (source: Socket) => {
      assertEquals(++running, 1);
      await turn();
      heard += recvText(source, 3);
      running--;
      poller.modify(source, POLLIN | POLLRDHUP | POLLONESHOT);
    };
    await client.write(encode("hello world"));
    while (heard !== "hello world") {
      for (const [source] of await poller.poll(100)) void handle(source);
    }
  },
});

// -- Changes during a wait --

Deno.test({
  ...NET,
  name: "Poller.register() after Deno.connect() needs no wake()",
  async fn() {
    await using server = new ServerSocket(listenLocal());
    const { port } = server.addr as Deno.NetAddr;
    using poller = new Poller();
    const waiting = poller.poll();
    const conn = await Deno.connect({ port });
    using client = new Socket(conn);
    poller.register(client, POLLOUT);
    assertEquals(await waiting, [[client, POLLOUT]]);
  },
});

Deno.test("Poller.unregister() of all but a quiet source lets the wait go on", async () => {
  const stream = new MemoryStream("loud");
  using loud = new Socket(stream);
  using quiet = new Socket(new MemoryStream());
  using poller = pollerOf(loud, quiet);
  await poller.poll();
  const waiting = poller.poll(30);
  poller.unregister(loud);
  assertEquals(await waiting, []);
  closeAll(loud, quiet);
});

// -- Who holds the process --

/** Runs a program against a server that says nothing, or this when it has been connected for a while. */
async function run(program: string, late?: string): Promise<string> {
  using listener = listenLocal();
  const code = `
    import { Poller, POLLIN, select, ServerSocket, Socket } from "${
    import.meta.resolve("../poller.ts")
  }";
    const turn = () => new Promise((resolve) => setTimeout(resolve, 20));
    async function main() {
      const conn = await Deno.connect({ port: ${listener.addr.port} });
      const source = new Socket(conn);
      ${program}
      console.log("end");
    }
    main();`;
  const args = ["eval", "--no-lock", "--unstable-net", code];
  const child = new Deno.Command(Deno.execPath(), { args, stdout: "piped", stderr: "piped" });
  const output = child.output();
  using conn = await listener.accept();
  if (late) {
    await pause(500);
    await conn.write(encode(late));
  }
  const { stdout, stderr } = await output;
  return decode(stdout) + decode(stderr);
}

for (
  const [what, program] of [
    ["a select() that looked", "await select([source], [], [], 0);"],
    ["a select() that looked, some time after", "await select([source], [], [], 0); await turn();"],
    [
      "a source that was unregistered",
      "const p = new Poller(); p.register(source); await p.poll(0); p.unregister(source);",
    ],
    [
      "a Poller that was closed",
      "const p = new Poller(); p.register(source); await p.poll(0); p.close();",
    ],
    [
      "a listener that nobody watches",
      "const l = Deno.listen({ port: 0 }); await select([new ServerSocket(l)], [], [], 0);",
    ],
    [
      "a source that was let go, watched and let go again",
      "for (let i = 0; i < 3; i++) { await select([source], [], [], 0); await turn(); }",
    ],
  ] as const
) {
  Deno.test({
    ...RUN,
    name: `Sources do not keep the process alive: ${what}`,
    fn: async () => assertEquals(await run(program), "end\n"),
  });
}

Deno.test({
  ...RUN,
  name: "Sources keep the process alive while they are watched, again, too",
  async fn() {
    const heard = await run(
      `
      await select([source], [], [], 0);
      await turn();
      await select([source], [], []);
      console.log(new TextDecoder().decode(source.recv(100)));`,
      "late",
    );
    assertEquals(heard, "late\nend\n");
  },
});

Deno.test({
  ...RUN,
  name: "Sources that nobody watches can be closed and waited for",
  async fn() {
    const heard = await run(`
      await using server = new ServerSocket(Deno.listen({ port: 0 }));
      await select([source, server], [], [], 0);
      await turn();
      source.close();
      await source.closed;`);
    assertEquals(heard, "end\n");
  },
});
