import { assert, assertEquals } from "@std/assert";
import { encode } from "../bytes.ts";
import { Account } from "../records/account.ts";
import type { Run } from "../records/followers.ts";
import { subjectOf } from "../../tests/support/watching.ts";
import { fairLevel, Feed } from "./feed.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** A log of several clients that one feed follows. */
class Talk {
  nowMs = 0;
  readonly feed = new Feed(0, () => this.nowMs);
  readonly #accounts = new Map<number, Account>();
  #sequence = 0;

  /** `counts` are records that each client says, one after the other, by its number. */
  hear(...counts: readonly (readonly [number, number])[]): void {
    this.feed.take(counts.map(([number, count]) => this.#run(number, count)));
  }

  #run(number: number, count: number): Run {
    const subject = subjectOf(number);
    const account = this.#accounts.get(number) ?? new Account(number, subject, 0);
    this.#accounts.set(number, account);
    const first = this.#sequence;
    this.#sequence += count;
    const record = (index: number) => ({
      sequence: first + index,
      timeMs: 0,
      content: { tag: "said", subject, bytes: encode("hello"), isWhole: true },
    } as const);
    return { account, count, record };
  }

  /** Sequence numbers of what is given at a time, and of whom. */
  given(nowMs: number) {
    const before = this.feed.givenAfter(-1).at(-1)?.record.sequence ?? -1;
    this.nowMs = nowMs;
    this.feed.give();
    return this.feed.givenAfter(before).map(({ record, json }) => ({
      sequence: record.sequence,
      number: JSON.parse(json).connection,
    }));
  }
}

function numbersOf(given: readonly { readonly number: number }[]): Record<number, number> {
  const counts: Record<number, number> = {};
  for (const { number } of given) counts[number] = (counts[number] ?? 0) + 1;
  return counts;
}

Deno.test("fairLevel() gives the most to those who ask for least", () => {
  assertEquals(fairLevel([1, 2, 3], 100), Infinity);
  assertEquals(fairLevel([1, 500, 900], 1001), 500);
  assertEquals(fairLevel([10, 10, 10], 15), 5);
  assertEquals(fairLevel([], 15), Infinity);
});

Deno.test("Feed gives a burst of 500 at once, and what fits into a second after it", () => {
  const talk = new Talk();
  talk.hear([1, 900]);
  assertEquals(talk.given(0).length, 500);
  assertEquals(talk.given(100).length, 100);
  assertEquals(talk.given(400).length, 300);
  assertEquals(talk.given(2000), []);
});

Deno.test("Feed gives the newest of a flood", () => {
  const talk = new Talk();
  talk.hear([1, 5000]);
  const given = talk.given(0);
  assertEquals([given.length, given[0]?.sequence, given.at(-1)?.sequence], [500, 4500, 4999]);
});

Deno.test("Feed skips nothing of those who say little beside a flood, and keeps the order", () => {
  const talk = new Talk();
  const all: { sequence: number; number: number }[] = [];
  for (let tick = 0; tick < 100; tick++) {
    talk.hear([1, 300], [2 + tick % 40, 1], [1, 2000], [50, 3]);
    all.push(...talk.given(tick * 100));
  }
  all.push(...talk.given(11_000));
  const counts = numbersOf(all);
  const quiet = Object.entries(counts).filter(([number]) => number !== "1" && number !== "50");
  assertEquals(quiet.reduce((sum, [, count]) => sum + count, 0), 100);
  assertEquals(counts[50], 300);
  const total = all.length;
  assert(total <= 500 + 11_000 && total > 9_000, `${total} records in 11 s`);
  const order = all.map(({ sequence }) => sequence);
  assertEquals(order, order.toSorted((a, b) => a - b));
});

Deno.test("Feed shares out floods alike", () => {
  const talk = new Talk();
  talk.hear([1, 2000], [2, 700], [3, 900], [4, 10]);
  const counts = numbersOf(talk.given(0));
  assertEquals(counts[4], 10);
  assertEquals([counts[1], counts[2], counts[3]].toSorted(), [163, 163, 164]);
});

Deno.test("Feed loses nothing of a steady client when its ticks come late and in a clump", () => {
  const talk = new Talk();
  let heard = 0;
  let given = 0;
  for (const nowMs of [0, 100, 1100, 1101, 1102, 1103, 1200, 1700, 1701, 2000, 2500, 3000, 4000]) {
    const due = Math.floor(nowMs * 0.9);
    talk.nowMs = nowMs;
    talk.hear([1, due - heard]);
    heard = due;
    given += talk.given(nowMs).length;
  }
  for (const nowMs of [4500, 5000]) given += talk.given(nowMs).length;
  assertEquals([heard, given], [3600, 3600]);
});

Deno.test("Feed gives more clients at once than a second takes the newest", () => {
  const talk = new Talk();
  talk.hear(...Array.from({ length: 3000 }, (_, i) => [i + 1, 1] as const));
  const given = talk.given(0);
  assertEquals([given.length, given.at(-1)?.number], [500, 3000]);
});

Deno.test("Feed knows how many wait", () => {
  const talk = new Talk();
  talk.hear([1, 800]);
  assertEquals([talk.feed.waitingFrom(0), talk.feed.waitingFrom(790)], [800, 10]);
  talk.given(0);
  assertEquals([talk.feed.waitingFrom(0), talk.feed.waitingFrom(790), talk.feed.total], [
    300,
    10,
    800,
  ]);
  talk.feed.giveAll();
  assertEquals(talk.feed.waitingFrom(0), 0);
});
