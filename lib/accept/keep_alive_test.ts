import { assertEquals } from "@std/assert";
import { Socket } from "../../poller.ts";
import { KeepAlive } from "./keep_alive.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** A connection that notes when keepalive is switched on. */
function socketNoting(set: () => void): Socket {
  const stream = { read: () => new Promise<number>(() => {}), setKeepAlive: set };
  return new Socket(stream);
}

function run(keepAlive: KeepAlive): void {
  for (const _ of keepAlive.onDue());
}

Deno.test("KeepAlive is due when nobody has come for a while", () => {
  const keepAlive = new KeepAlive();
  assertEquals(keepAlive.dueAtMs, Infinity);
  keepAlive.add(socketNoting(() => {}), 1000);
  assertEquals(keepAlive.dueAtMs, 1100);
  keepAlive.add(socketNoting(() => {}), 1050);
  assertEquals(keepAlive.dueAtMs, 1150);
  run(keepAlive);
  assertEquals(keepAlive.dueAtMs, Infinity);
});

Deno.test("KeepAlive is due within two seconds while more and more come", () => {
  const keepAlive = new KeepAlive();
  for (let ms = 1000; ms <= 2990; ms += 10) keepAlive.add(socketNoting(() => {}), ms);
  assertEquals(keepAlive.dueAtMs, 3000);
});

Deno.test("KeepAlive switches it on once for each, a few hundred at once", () => {
  const keepAlive = new KeepAlive();
  const counts = new Array(1000).fill(0);
  for (const i of counts.keys()) keepAlive.add(socketNoting(() => counts[i]++), i);
  run(keepAlive);
  const atOnce = counts.reduce((sum, count) => sum + count, 0);
  assertEquals(atOnce > 0 && atOnce < 500, true);
  while (keepAlive.dueAtMs < Infinity) run(keepAlive);
  assertEquals(counts, new Array(1000).fill(1));
});

Deno.test("KeepAlive forgets who has left, and outlives who is gone", () => {
  const keepAlive = new KeepAlive();
  const asked: string[] = [];
  const left = socketNoting(() => void asked.push("left"));
  const gone = socketNoting(() => {
    asked.push("gone");
    throw new Deno.errors.ConnectionReset("Invalid argument (os error 22)");
  });
  const there = socketNoting(() => void asked.push("there"));
  for (const socket of [left, gone, there]) keepAlive.add(socket, 0);
  keepAlive.delete(left);
  run(keepAlive);
  assertEquals(asked, ["gone", "there"]);
  assertEquals(keepAlive.dueAtMs, Infinity);
});
