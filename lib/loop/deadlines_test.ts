import { assertEquals } from "@std/assert";
import { IdleQueue } from "./deadlines.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** A idleQueue of at most `limitMs`, and the list of those that were silent for longer. */
function idleQueueOf(limitMs: number): { idleQueue: IdleQueue<string>; silent: string[] } {
  const silent: string[] = [];
  return { idleQueue: new IdleQueue(limitMs, (one) => silent.push(one)), silent };
}

/** Calls `onDue` and returns who was silent. */
function due({ idleQueue, silent }: ReturnType<typeof idleQueueOf>, nowMs: number): string[] {
  idleQueue.onDue(nowMs);
  return silent.splice(0);
}

Deno.test("IdleQueue is never due when nobody was heard", () => {
  const room = idleQueueOf(100);
  assertEquals(room.idleQueue.dueAtMs, Infinity);
  assertEquals(due(room, 1e9), []);
});

Deno.test("IdleQueue reports one when its time is over, not before", () => {
  const room = idleQueueOf(100);
  room.idleQueue.heard("a", 1_000);
  assertEquals(room.idleQueue.dueAtMs, 1_100);
  assertEquals(due(room, 1_099.9), []);
  assertEquals(due(room, 1_100), ["a"]);
});

Deno.test("IdleQueue reports one once, and again when it was heard again", () => {
  const room = idleQueueOf(100);
  room.idleQueue.heard("a", 0);
  assertEquals(due(room, 100), ["a"]);
  assertEquals(room.idleQueue.dueAtMs, Infinity);
  assertEquals(due(room, 1_000), []);
  room.idleQueue.heard("a", 2_000);
  assertEquals(room.idleQueue.dueAtMs, 2_100);
  assertEquals(due(room, 2_100), ["a"]);
});

Deno.test("IdleQueue counts from when one was heard last", () => {
  const room = idleQueueOf(100);
  room.idleQueue.heard("a", 0);
  room.idleQueue.heard("b", 10);
  room.idleQueue.heard("a", 20);
  assertEquals(room.idleQueue.dueAtMs, 110);
  assertEquals(due(room, 110), ["b"]);
  assertEquals(room.idleQueue.dueAtMs, 120);
  assertEquals(due(room, 120), ["a"]);
});

Deno.test("IdleQueue reports in the order in which they were heard", () => {
  const room = idleQueueOf(100);
  for (const [one, atMs] of [["a", 0], ["b", 1], ["c", 2], ["d", 50], ["b", 60]] as const) {
    room.idleQueue.heard(one, atMs);
  }
  assertEquals(due(room, 155), ["a", "c", "d"]);
  assertEquals(room.idleQueue.dueAtMs, 160);
});

Deno.test("IdleQueue.delete() lets one be silent", () => {
  const room = idleQueueOf(100);
  room.idleQueue.heard("a", 0);
  room.idleQueue.heard("b", 10);
  room.idleQueue.delete("a");
  room.idleQueue.delete("stranger");
  assertEquals(room.idleQueue.dueAtMs, 110);
  assertEquals(due(room, 1_000), ["b"]);
});

Deno.test("IdleQueue.lost() gives everybody that time, and nobody who is heard later", () => {
  const room = idleQueueOf(100);
  room.idleQueue.heard("a", 0);
  room.idleQueue.heard("b", 40);
  room.idleQueue.lost(200);
  room.idleQueue.lost(300);
  assertEquals(room.idleQueue.dueAtMs, 600);
  room.idleQueue.heard("c", 590);
  assertEquals(due(room, 599), []);
  assertEquals(due(room, 689), ["a", "b"]);
  assertEquals(room.idleQueue.dueAtMs, 690);
  assertEquals(due(room, 690), ["c"]);
});

Deno.test("IdleQueue is over at exactly dueAtMs, whatever the fractions", () => {
  for (let i = 1; i < 1_000; i++) {
    const room = idleQueueOf(0.7 * i);
    room.idleQueue.lost(i / 3);
    room.idleQueue.heard("a", 1e6 * i / 7);
    room.idleQueue.lost(i / 9);
    assertEquals(due(room, room.idleQueue.dueAtMs), ["a"]);
  }
});

Deno.test("IdleQueue with a limit of 0 is never due and holds nobody", () => {
  const room = idleQueueOf(0);
  room.idleQueue.heard("a", 0);
  assertEquals(room.idleQueue.dueAtMs, Infinity);
  assertEquals(due(room, 1e9), []);
});

Deno.test("IdleQueue lets whoever is told of one forget and hear others", () => {
  const silent: string[] = [];
  const idleQueue: IdleQueue<string> = new IdleQueue(100, (one) => {
    silent.push(one);
    idleQueue.delete("b");
    idleQueue.heard(one, 100);
  });
  for (const one of ["a", "b", "c"]) idleQueue.heard(one, 0);
  idleQueue.onDue(100);
  assertEquals(silent, ["a", "c"]);
  assertEquals(idleQueue.dueAtMs, 200);
});
