import { assert, assertEquals, assertThrows } from "@std/assert";
import { encode } from "../bytes.ts";
import { History } from "../records/history.ts";
import { subjectOf, watchedOf } from "../../tests/support/watching.ts";
import { Roster, type Watched } from "./roster.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const SENDER = { peer: { kind: "ip", host: "192.0.2.7", port: 514 }, name: "Pump" } as const;

/** A list of clients, and of those who send datagrams. */
function rosterOf(clients: readonly Watched[], nowMs = 1_000_000_000) {
  const history = new History();
  const clock = { nowMs };
  const roster = new Roster({ history, clients, now: () => clock.nowMs });
  const say = (from: Watched["subject"] | typeof SENDER, count: number) => {
    for (let i = 0; i < count; i++) history.received(from, encode("hi"), 0, 2, true, clock.nowMs);
  };
  const ask = (query: string) => JSON.parse(roster.page(new URLSearchParams(query)));
  const numbers = (query: string) =>
    ask(query).clients.map(({ connection }: { connection?: number }) => connection ?? "udp");
  return { roster, history, clock, say, ask, numbers };
}

Deno.test("Roster gives at most 200 clients from a place on", () => {
  const { ask } = rosterOf(Array.from({ length: 450 }, (_, i) => watchedOf(i + 1)));
  const { clients, from, total } = ask("from=200");
  assertEquals([clients.length, clients[0].connection, from, total], [200, 201, 200, 450]);
  assertEquals(ask("from=400").clients.length, 50);
  assertEquals(ask("from=9999"), { clients: [], from: 9999, total: 450 });
  assertEquals(ask("").clients[0].connection, 1);
});

Deno.test("Roster tells what is known of a client and of a sender of datagrams", () => {
  const named = { ...subjectOf(3), name: "press", to: 5141 };
  const { ask, say, clock } = rosterOf([
    watchedOf(3, {
      subject: named,
      certificate: "press.example",
      connectedAtMs: performance.now(),
    }),
  ]);
  say(named, 40);
  say(SENDER, 2);
  clock.nowMs += 5_000;
  const [client, sender] = ask("").clients;
  const { since, silent, ...rest } = client;
  const address = { host: "127.0.0.1", port: 5003, name: "press", to: 5141 };
  const figures = { lines: 2, bytes: 25, rate: 4 };
  assertEquals(rest, { connection: 3, ...address, certificate: "press.example", ...figures });
  assertEquals([typeof since, Math.floor(silent)], ["string", 5]);
  assertEquals(sender, {
    transport: "udp",
    host: "192.0.2.7",
    port: 514,
    name: "Pump",
    since: new Date(1_000_000_000).toISOString(),
    lines: 2,
    bytes: 4,
    rate: 0.2,
    silent: 5,
  });
});

Deno.test("Roster sorts by number, name, silence and rate", () => {
  const subjects = ["pump", "Ant", undefined, "bee"].map((name, i) => ({
    ...subjectOf(i + 1),
    name,
  }));
  const clients = subjects.map((subject, i) =>
    watchedOf(subject.number, { subject, talkedAtMs: [3, 1, 4, 2][i]! })
  );
  const { say, numbers, clock } = rosterOf(clients, performance.timeOrigin + performance.now());
  say(subjects[2]!, 5);
  say(subjects[1]!, 7);
  say(SENDER, 6);
  clock.nowMs += 1000;
  assertEquals(numbers("sort=number"), [1, 2, 3, 4, "udp"]);
  assertEquals(numbers("sort=name"), [2, 4, 1, "udp", 3]);
  assertEquals(numbers("sort=silence"), [2, 4, 1, 3, "udp"]);
  assertEquals(numbers("sort=rate"), [2, "udp", 3, 1, 4]);
});

Deno.test("Roster finds those that have each word", () => {
  const pump = { ...subjectOf(12), name: "Pump" };
  const { say, numbers } = rosterOf([
    watchedOf(1, { certificate: "Valve CN" }),
    watchedOf(12, { subject: pump }),
    watchedOf(21),
  ]);
  say(SENDER, 1);
  assertEquals(numbers("search=%2312"), [12]);
  assertEquals(numbers("search=%231"), [1, 12]);
  assertEquals(numbers("search=PUMP"), [12, "udp"]);
  assertEquals(numbers("search=udp"), ["udp"]);
  assertEquals(numbers("search=127.0.0.1:5021"), [21]);
  assertEquals(numbers("search=valve+127"), [1]);
  assertEquals(numbers("search=.*"), []);
  assertEquals(numbers("search=++"), [1, 12, 21, "udp"]);
});

Deno.test("Roster refuses a place or an order that is none", () => {
  const { ask } = rosterOf([]);
  for (const query of ["from=-1", "from=x", "from=", "from=1.5", "sort=size", "sort="]) {
    assertThrows(() => ask(query), Error, query.slice(0, 4));
  }
});

Deno.test("Roster keeps a long list for those who scroll, and few of them", () => {
  const clients = [watchedOf(1)];
  const { ask } = rosterOf(clients);
  assertEquals(ask("search=127").total, 1);
  while (clients.length < 1000) clients.push(watchedOf(clients.length + 1));
  assertEquals(ask("search=127").total, 1000);
  clients.push(watchedOf(1001));
  assertEquals(ask("search=127").total, 1000);
  for (let blanks = 1; blanks < 10; blanks++) ask(`search=127${"+".repeat(blanks)}`);
  assertEquals(ask("search=127").total, 1001);
});

Deno.test("Roster gives rates over ten seconds, and the lines of the last minute", () => {
  const one = watchedOf(1);
  const { roster, say, ask, clock } = rosterOf([one], 1_000_000_000);
  for (let second = 0; second < 100; second++) {
    say(one.subject, 3);
    clock.nowMs += 1000;
  }
  assertEquals(ask("").clients[0].rate, 3);
  const { minute } = JSON.parse(roster.first(true))[0];
  assertEquals(minute, Array(60).fill(3));
  clock.nowMs += 5_500;
  assertEquals(ask("search=127").clients[0].rate, 1.4);
  clock.nowMs += 5_000;
  assertEquals(JSON.parse(roster.first(true))[0].minute.slice(-11), [3, ...Array(10).fill(0)]);
  clock.nowMs += 60_000;
  const [silent] = JSON.parse(roster.first(true));
  assert(!("minute" in silent));
});
