import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import type { ServerResponse } from "node:http";
import { decode, encode } from "../bytes.ts";
import { InternalErrors } from "../messages.ts";
import { History } from "../records/history.ts";
import { sentWhole } from "../records/records.ts";
import { NET } from "../../tests/support/needs.ts";
import { untilTrue } from "../../tests/support/waiting.ts";
import {
  messagesOf,
  Stage,
  statusOf,
  subjectOf,
  watchedOf,
  Watcher,
} from "../../tests/support/watching.ts";
import { EventStreams } from "./event_stream.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const ALICE = subjectOf(1);
const BOB = subjectOf(2);

function numbered(count: number, from = 0): string[] {
  return Array.from({ length: count }, (_, i) => `line ${from + i}`);
}

// -- Snapshots, records and stats --

Deno.test({
  ...NET,
  name: "EventStreams sends a snapshot, then records and stats",
  async fn() {
    await using stage = new Stage();
    stage.say("before");
    using stream = await Watcher.open(stage);
    const { name, data, id } = await stream.next();
    assertEquals(name, "snapshot");
    assertMatch(id!, /^[!-~]{1,200}$/);
    assertEquals(messagesOf(data.records), ["before"]);
    assertEquals(data.totals, { open: 1, lines: 2 });
    assertEquals([data.total, data.interactive, data.resumed], [1, false, undefined]);
    const { since, silent, minute, ...client } = data.clients[0];
    const address = { host: "127.0.0.1", port: 5001 };
    assertEquals(client, { connection: 1, ...address, lines: 2, bytes: 25, rate: 0.1 });
    assertMatch(since, /^\d{4}-.*Z$/);
    assert(silent > 0 && silent < 100, `silent for ${silent} s`);
    assert(minute === undefined || minute.length <= 60);
    stage.say("after");
    const records = await stream.next();
    assertEquals(messagesOf(records.data), ["after"]);
    assertNotEquals(records.id, id);
    const stats = await stream.nextOf("stats");
    assertEquals([stats.skipped, stats.total, stats.clients[0].connection], [0, 1, 1]);
  },
});

Deno.test({
  ...NET,
  name: "EventStreams lists 200 clients, and tells how many there are",
  async fn() {
    const clients = new Set(Array.from({ length: 300 }, (_, i) => watchedOf(i + 1)));
    await using stage = new Stage({ clients });
    using stream = await Watcher.open(stage);
    const snapshot = await stream.nextOf("snapshot");
    assertEquals([snapshot.clients.length, snapshot.total], [200, 300]);
  },
});

Deno.test({
  ...NET,
  name: "EventStreams sends a burst of 500 whole, and of a flood the newest",
  async fn() {
    await using stage = new Stage();
    using stream = await Watcher.open(stage);
    await stream.nextOf("snapshot");
    stage.say(numbered(2000));
    const messages = messagesOf(await stream.nextOf("records"));
    assertEquals([messages.length, messages[0], messages.at(-1)], [500, "line 1500", "line 1999"]);
    assertEquals((await stream.nextOf("stats")).skipped, 1500);
  },
});

Deno.test({
  ...NET,
  name: "EventStreams leaves long records out of a snapshot",
  async fn() {
    await using stage = new Stage();
    stage.say(numbered(100));
    for (const size of [129, 127]) stage.say("x".repeat(size * 1024));
    stage.say("\x01".repeat(30_000));
    stage.say(numbered(30, 100).map((line) => `${line} ${"y".repeat(11_000)}`));
    using stream = await Watcher.open(stage);
    const messages = messagesOf((await stream.nextOf("snapshot")).records);
    assertEquals(messages.length, 30 + 1 + 100);
    assertEquals(messages[100]!.length, 127 * 1024);
  },
});

Deno.test({
  ...NET,
  name: "EventStreams sends fewer records in a snapshot when they are long",
  async fn() {
    await using stage = new Stage();
    stage.say(numbered(100).map((line) => `${line} ${"y".repeat(11_000)}`));
    using stream = await Watcher.open(stage);
    const bytes = JSON.stringify((await stream.nextOf("snapshot")).records).length;
    assert(bytes <= 513 * 1024 && bytes > 490 * 1024, `${bytes} bytes`);
  },
});

// -- A chosen client --

Deno.test({
  ...NET,
  name: "EventStreams gives all of a chosen client under any flood by others",
  async fn() {
    await using stage = new Stage();
    stage.say(numbered(5));
    stage.say(numbered(3000), BOB);
    using stream = await Watcher.open(stage, "?connection=1");
    assertEquals(messagesOf((await stream.nextOf("snapshot")).records), numbered(5));
    for (let i = 5; i < 85; i++) {
      stage.say(`line ${i}`);
      stage.say(numbered(1000), BOB);
    }
    assertEquals(await stream.messages(80), numbered(80, 5));
    assertEquals((await stream.nextOf("stats")).skipped, 0);
  },
});

Deno.test({
  ...NET,
  name: "EventStreams shares out what all say: nothing of a quiet client is skipped",
  async fn() {
    await using stage = new Stage();
    using stream = await Watcher.open(stage);
    await stream.nextOf("snapshot");
    const heard: string[] = [];
    for (let i = 0; i < 5; i++) {
      stage.say(`quiet ${i}`);
      stage.say(numbered(2000), BOB);
      do heard.push(...messagesOf(await stream.nextOf("records"))); while (
        !heard.includes(`quiet ${i}`)
      );
    }
    const quiet = heard.filter((message) => message.startsWith("quiet"));
    assertEquals(quiet, Array.from({ length: 5 }, (_, i) => `quiet ${i}`));
  },
});

Deno.test({
  ...NET,
  name: "EventStreams takes several choices, senders of datagrams and what all were sent",
  async fn() {
    await using stage = new Stage();
    const sender = { peer: { kind: "ip", host: "192.0.2.7", port: 514 } } as const;
    using stream = await Watcher.open(stage, "?connection=2&host=192.0.2.7&connection=7&other=1");
    await stream.nextOf("snapshot");
    stage.say("not this");
    stage.say("from two", BOB);
    stage.say("datagram", sender);
    const to = { clients: 2, takers: [ALICE, BOB] };
    stage.history.sent(to, sentWhole(encode("to all")), Date.now());
    stage.history.sent(ALICE, sentWhole(encode("to one")), Date.now());
    stage.say("awaited", subjectOf(7));
    const records = await stream.nextOf("records");
    assertEquals(messagesOf(records), ["from two", "datagram", "to all", "awaited"]);
    assertEquals([records[1].transport, records[2].clients], ["udp", 2]);
  },
});

Deno.test({
  ...NET,
  name: "EventStreams refuses a choice that is none",
  async fn() {
    await using stage = new Stage();
    const wrong = ["connection=0", "connection=x", "connection=", "connection=1&connection=-1"];
    for (const query of [...wrong, "host=pump", "host=", "host=10.0.0.0/8", "host=127.0.0.1:80"]) {
      assertEquals(statusOf(await stage.get(`/events?${query}`)), 400, query);
    }
    for (const host of ["::1", "[::1]", "FE80::1", "::ffff:10.0.0.1"]) {
      assertEquals(statusOf(await stage.get(`/events?host=${host}`, "localhost", "HEAD")), 200);
    }
  },
});

// -- Going on --

Deno.test({
  ...NET,
  name: "EventStreams goes on where somebody was, and tells how many are missed",
  async fn() {
    await using stage = new Stage();
    stage.say(numbered(3));
    using first = await Watcher.open(stage);
    const { id } = await first.next();
    first[Symbol.dispose]();
    stage.say("next");
    using second = await Watcher.open(stage, "", id);
    const resumed = await second.next();
    assertEquals(messagesOf(resumed.data.records), ["next"]);
    assertEquals([resumed.data.resumed, resumed.data.missed], [true, 0]);
    stage.say(numbered(700));
    using third = await Watcher.open(stage, `?after=${resumed.id}`);
    const { data } = await third.next();
    assertEquals(messagesOf(data.records), numbered(500, 200));
    assertEquals([data.resumed, data.missed], [true, 200]);
  },
});

Deno.test({
  ...NET,
  name: "EventStreams goes on with a chosen client after a flood by others",
  async fn() {
    await using stage = new Stage();
    using first = await Watcher.open(stage, "?connection=1");
    const { id } = await first.next();
    for (const line of numbered(300)) {
      stage.say(line);
      stage.say(numbered(100), BOB);
    }
    first[Symbol.dispose]();
    using second = await Watcher.open(stage, `?connection=1&after=${id}`);
    const { data } = await second.next();
    assertEquals(messagesOf(data.records), numbered(300));
    assertEquals([data.resumed, data.missed], [true, 0]);
  },
});

Deno.test({
  ...NET,
  name: "EventStreams tells how many of a chosen client are not remembered",
  async fn() {
    await using stage = new Stage();
    using first = await Watcher.open(stage, "?connection=1");
    const { id } = await first.next();
    for (let i = 0; i < 30; i++) {
      stage.say(numbered(200, 200 * i));
      stage.say(numbered(2000), BOB);
    }
    using second = await Watcher.open(stage, "?connection=1", id);
    const { data } = await second.next();
    const messages = messagesOf(data.records);
    assertEquals(messages, numbered(6000).slice(-messages.length));
    assertEquals([data.resumed, data.missed], [true, 6000 - messages.length]);
  },
});

Deno.test({
  ...NET,
  name: "EventStreams sends a whole snapshot for an id of another choice or run, or none at all",
  async fn() {
    await using stage = new Stage();
    await using other = new Stage();
    for (const one of [stage, other]) one.say("hello");
    const idOf = async (from: Stage, query: string) => {
      using stream = await Watcher.open(from, query);
      return (await stream.next()).id!;
    };
    const ids = [
      await idOf(other, ""),
      await idOf(stage, "?connection=1"),
      "x",
      "",
      "9".repeat(300),
    ];
    for (const id of ids) {
      using stream = await Watcher.open(stage, `?after=${id}`);
      const { data } = await stream.next();
      assertEquals([data.resumed, data.missed, messagesOf(data.records)], [
        undefined,
        undefined,
        ["hello"],
      ]);
    }
    const both = await idOf(stage, "?connection=1&host=192.0.2.7");
    using same = await Watcher.open(stage, "?host=192.0.2.7&connection=1", both);
    assertEquals((await same.next()).data.resumed, true);
  },
});

// -- Many, and slow ones --

Deno.test({
  ...NET,
  name: "EventStreams refuses the 51st stream until one has left",
  async fn() {
    await using stage = new Stage();
    using streams = new DisposableStack();
    for (let i = 0; i < 50; i++) streams.use(await Watcher.open(stage));
    assertEquals(statusOf(await stage.get("/events")), 503);
    assertEquals(statusOf(await stage.get("/")), 200);
    streams.dispose();
    while (statusOf(await stage.get("/events", "localhost", "HEAD")) === 503);
  },
});

Deno.test({
  ...NET,
  name: "EventStreams holds nothing back from a stream that reads beside one that does not",
  async fn() {
    await using stage = new Stage();
    using deaf = await stage.connect();
    await deaf.write(encode("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    using stream = await Watcher.open(stage);
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
  on(): void {}
  end(): void {}
}

Deno.test("EventStreams gives a stream that was full what it has missed when it has read", async () => {
  const history = new History();
  const streams = new EventStreams({
    history,
    clients: new Set<never>(),
    totals: () => ({}),
    example: "",
    isInteractive: true,
    internalErrors: new InternalErrors(() => {}),
    now: Date.now,
  });
  const [deaf, reader] = [new FakeResponse(), new FakeResponse()];
  const all = { keys: new Set<number>(), name: "" };
  for (const one of [deaf, reader]) streams.add(one as unknown as ServerResponse, all, null);
  deaf.writableLength = 1024 * 1024;
  for (const word of ["one", "two", "three"]) {
    const bytes = encode(word);
    history.received(ALICE, bytes, 0, bytes.length, true, Date.now());
    await untilTrue(() => reader.events.some((event) => event.includes(`"${word}"`)));
  }
  assertEquals(deaf.events.length, 1);
  deaf.writableLength = 0;
  await untilTrue(() => deaf.events.some((event) => /"one".*"two".*"three"/.test(event)));
  streams.finish();
});

// -- The end --

Deno.test({
  ...NET,
  name: "EventStreams.finish() sends the last records and ends the streams",
  async fn() {
    const stage = new Stage();
    using stream = await Watcher.open(stage);
    await stream.nextOf("snapshot");
    stage.say(numbered(700));
    const finished = stage.web.finish();
    assertEquals(await stream.messages(700), numbered(700));
    while ((await stream.next()).name !== "end");
    await finished;
  },
});
