import { assertEquals } from "@std/assert";
import { Silence } from "./silence.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** A silence of at most `limitMs`, and the list of those that were silent for longer. */
function silenceOf(limitMs: number): { silence: Silence<string>; silent: string[] } {
  const silent: string[] = [];
  return { silence: new Silence(limitMs, (one) => silent.push(one)), silent };
}

/** Calls `onDue` and returns who was silent. */
function due({ silence, silent }: ReturnType<typeof silenceOf>, nowMs: number): string[] {
  silence.onDue(nowMs);
  return silent.splice(0);
}

Deno.test("Silence is never due when nobody was heard", () => {
  const room = silenceOf(100);
  assertEquals(room.silence.dueAtMs, Infinity);
  assertEquals(due(room, 1e9), []);
});

Deno.test("Silence reports one when its time is over, not before", () => {
  const room = silenceOf(100);
  room.silence.heard("a", 1_000);
  assertEquals(room.silence.dueAtMs, 1_100);
  assertEquals(due(room, 1_099.9), []);
  assertEquals(due(room, 1_100), ["a"]);
});

Deno.test("Silence reports one once, and again when it was heard again", () => {
  const room = silenceOf(100);
  room.silence.heard("a", 0);
  assertEquals(due(room, 100), ["a"]);
  assertEquals(room.silence.dueAtMs, Infinity);
  assertEquals(due(room, 1_000), []);
  room.silence.heard("a", 2_000);
  assertEquals(room.silence.dueAtMs, 2_100);
  assertEquals(due(room, 2_100), ["a"]);
});

Deno.test("Silence counts from when one was heard last", () => {
  const room = silenceOf(100);
  room.silence.heard("a", 0);
  room.silence.heard("b", 10);
  room.silence.heard("a", 20);
  assertEquals(room.silence.dueAtMs, 110);
  assertEquals(due(room, 110), ["b"]);
  assertEquals(room.silence.dueAtMs, 120);
  assertEquals(due(room, 120), ["a"]);
});

Deno.test("Silence reports in the order in which they were heard", () => {
  const room = silenceOf(100);
  for (const [one, atMs] of [["a", 0], ["b", 1], ["c", 2], ["d", 50], ["b", 60]] as const) {
    room.silence.heard(one, atMs);
  }
  assertEquals(due(room, 155), ["a", "c", "d"]);
  assertEquals(room.silence.dueAtMs, 160);
});

Deno.test("Silence.delete() lets one be silent", () => {
  const room = silenceOf(100);
  room.silence.heard("a", 0);
  room.silence.heard("b", 10);
  room.silence.delete("a");
  room.silence.delete("stranger");
  assertEquals(room.silence.dueAtMs, 110);
  assertEquals(due(room, 1_000), ["b"]);
});

Deno.test("Silence.lost() gives everybody that time, and nobody who is heard later", () => {
  const room = silenceOf(100);
  room.silence.heard("a", 0);
  room.silence.heard("b", 40);
  room.silence.lost(200);
  room.silence.lost(300);
  assertEquals(room.silence.dueAtMs, 600);
  room.silence.heard("c", 590);
  assertEquals(due(room, 599), []);
  assertEquals(due(room, 689), ["a", "b"]);
  assertEquals(room.silence.dueAtMs, 690);
  assertEquals(due(room, 690), ["c"]);
});

Deno.test("Silence is over at exactly dueAtMs, whatever the fractions", () => {
  for (let i = 1; i < 1_000; i++) {
    const room = silenceOf(0.7 * i);
    room.silence.lost(i / 3);
    room.silence.heard("a", 1e6 * i / 7);
    room.silence.lost(i / 9);
    assertEquals(due(room, room.silence.dueAtMs), ["a"]);
  }
});

Deno.test("Silence with a limit of 0 is never due and holds nobody", () => {
  const room = silenceOf(0);
  room.silence.heard("a", 0);
  assertEquals(room.silence.dueAtMs, Infinity);
  assertEquals(due(room, 1e9), []);
});

Deno.test("Silence lets whoever is told of one forget and hear others", () => {
  const silent: string[] = [];
  const silence: Silence<string> = new Silence(100, (one) => {
    silent.push(one);
    silence.delete("b");
    silence.heard(one, 100);
  });
  for (const one of ["a", "b", "c"]) silence.heard(one, 0);
  silence.onDue(100);
  assertEquals(silent, ["a", "c"]);
  assertEquals(silence.dueAtMs, 200);
});
