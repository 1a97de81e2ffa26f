import { assertEquals } from "@std/assert";
import { Deadlines, IdleQueue, Interval } from "./deadlines.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** A queue of at most `limitMs`, and the list of those that were silent for longer. */
function idleQueueOf(limitMs: number): { idleQueue: IdleQueue<string>; silent: string[] } {
  const silent: string[] = [];
  return { idleQueue: new IdleQueue(limitMs, (one) => silent.push(one)), silent };
}

/** Calls `onDue` and returns who was silent. */
function due({ idleQueue, silent }: ReturnType<typeof idleQueueOf>, nowMs: number): string[] {
  for (const _ of idleQueue.onDue(nowMs));
  return silent.splice(0);
}

Deno.test("IdleQueue is never due when nobody was heard", () => {
  const given = idleQueueOf(100);
  assertEquals(given.idleQueue.dueAtMs, Infinity);
  assertEquals(due(given, 1e9), []);
});

Deno.test("IdleQueue reports one when its time is over, not before", () => {
  const given = idleQueueOf(100);
  given.idleQueue.heard("a", 1_000);
  assertEquals(given.idleQueue.dueAtMs, 1_100);
  assertEquals(due(given, 1_099.9), []);
  assertEquals(due(given, 1_100), ["a"]);
});

Deno.test("IdleQueue reports one once, and again when it was heard again", () => {
  const given = idleQueueOf(100);
  given.idleQueue.heard("a", 0);
  assertEquals(due(given, 100), ["a"]);
  assertEquals(given.idleQueue.dueAtMs, Infinity);
  assertEquals(due(given, 1_000), []);
  given.idleQueue.heard("a", 2_000);
  assertEquals(given.idleQueue.dueAtMs, 2_100);
  assertEquals(due(given, 2_100), ["a"]);
});

Deno.test("IdleQueue counts from when one was heard last", () => {
  const given = idleQueueOf(100);
  given.idleQueue.heard("a", 0);
  given.idleQueue.heard("b", 10);
  given.idleQueue.heard("a", 20);
  assertEquals(given.idleQueue.dueAtMs, 110);
  assertEquals(due(given, 110), ["b"]);
  assertEquals(given.idleQueue.dueAtMs, 120);
  assertEquals(due(given, 120), ["a"]);
});

Deno.test("IdleQueue reports in the order in which they were heard", () => {
  const given = idleQueueOf(100);
  for (const [one, atMs] of [["a", 0], ["b", 1], ["c", 2], ["d", 50], ["b", 60]] as const) {
    given.idleQueue.heard(one, atMs);
  }
  assertEquals(due(given, 155), ["a", "c", "d"]);
  assertEquals(given.idleQueue.dueAtMs, 160);
});

Deno.test("IdleQueue.delete() lets one be silent", () => {
  const given = idleQueueOf(100);
  given.idleQueue.heard("a", 0);
  given.idleQueue.heard("b", 10);
  given.idleQueue.delete("a");
  given.idleQueue.delete("stranger");
  assertEquals(given.idleQueue.dueAtMs, 110);
  assertEquals(due(given, 1_000), ["b"]);
});

Deno.test("IdleQueue.lost() gives everybody that time, and nobody who is heard later", () => {
  const given = idleQueueOf(100);
  given.idleQueue.heard("a", 0);
  given.idleQueue.heard("b", 40);
  given.idleQueue.lost(200);
  given.idleQueue.lost(300);
  assertEquals(given.idleQueue.dueAtMs, 600);
  given.idleQueue.heard("c", 590);
  assertEquals(due(given, 599), []);
  assertEquals(due(given, 689), ["a", "b"]);
  assertEquals(given.idleQueue.dueAtMs, 690);
  assertEquals(due(given, 690), ["c"]);
});

Deno.test("IdleQueue is over at exactly dueAtMs, whatever the fractions", () => {
  for (let i = 1; i < 1_000; i++) {
    const given = idleQueueOf(0.7 * i);
    given.idleQueue.lost(i / 3);
    given.idleQueue.heard("a", 1e6 * i / 7);
    given.idleQueue.lost(i / 9);
    assertEquals(due(given, given.idleQueue.dueAtMs), ["a"]);
  }
});

Deno.test("IdleQueue with a limit of 0 is never due and holds nobody", () => {
  const given = idleQueueOf(0);
  given.idleQueue.heard("a", 0);
  assertEquals(given.idleQueue.dueAtMs, Infinity);
  assertEquals(due(given, 1e9), []);
});

Deno.test("IdleQueue lets whoever is told of one forget and hear others", () => {
  const silent: string[] = [];
  const idleQueue: IdleQueue<string> = new IdleQueue(100, (one) => {
    silent.push(one);
    idleQueue.delete("b");
    idleQueue.heard(one, 100);
  });
  for (const one of ["a", "b", "c"]) idleQueue.heard(one, 0);
  for (const _ of idleQueue.onDue(100));
  assertEquals(silent, ["a", "c"]);
  assertEquals(idleQueue.dueAtMs, 200);
});

Deno.test("Deadlines are due with the first of them, and do all that is due", () => {
  const done: string[] = [];
  const one = new Interval(50, 0, () => void done.push("one"));
  const other = new Interval(70, 0, () => void done.push("other"));
  const none = new Interval(0, 0, () => void done.push("none"));
  const deadlines = new Deadlines([none, other, one]);
  assertEquals(deadlines.dueAtMs, 50);
  for (const _ of deadlines.onDue(60));
  assertEquals([done, deadlines.dueAtMs], [["one"], 70]);
  for (const _ of deadlines.onDue(120));
  assertEquals(done, ["one", "other", "one"]);
  assertEquals(new Deadlines([]).dueAtMs, Infinity);
});
