import { assertEquals } from "@std/assert";
import { Socket } from "../../poller.ts";
import { KeepAlive } from "./keep_alive.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** Adds one whose connection calls `set` when keepalive is switched on. */
function add(keepAlive: KeepAlive, nowMs: number, set = () => {}): Socket {
  const connection = { read: () => new Promise<number>(() => {}), setKeepAlive: set };
  const socket = new Socket(connection);
  keepAlive.add(socket, connection, nowMs);
  return socket;
}

Deno.test("KeepAlive is due when nobody has come for a while", () => {
  const keepAlive = new KeepAlive(() => true);
  assertEquals(keepAlive.dueAtMs, Infinity);
  add(keepAlive, 1000);
  assertEquals(keepAlive.dueAtMs, 1100);
  add(keepAlive, 1050);
  assertEquals(keepAlive.dueAtMs, 1150);
  keepAlive.onDue();
  assertEquals(keepAlive.dueAtMs, Infinity);
});

Deno.test("KeepAlive is due within two seconds while more and more come", () => {
  const keepAlive = new KeepAlive(() => true);
  for (let ms = 1000; ms <= 2990; ms += 10) add(keepAlive, ms);
  assertEquals(keepAlive.dueAtMs, 3000);
});

Deno.test("KeepAlive switches it on once for each, a few hundred at once", () => {
  const keepAlive = new KeepAlive(() => true);
  const counts = new Array(1000).fill(0);
  for (const i of counts.keys()) add(keepAlive, i, () => counts[i]++);
  keepAlive.onDue();
  const atOnce = counts.reduce((sum, count) => sum + count, 0);
  assertEquals(atOnce > 0 && atOnce < 500, true);
  while (keepAlive.dueAtMs < Infinity) keepAlive.onDue();
  assertEquals(counts, new Array(1000).fill(1));
});

Deno.test("KeepAlive forgets who has left, and outlives who is gone", () => {
  const keepAlive = new KeepAlive((socket) => socket !== left);
  const asked: string[] = [];
  const left = add(keepAlive, 0, () => void asked.push("left"));
  add(keepAlive, 0, () => {
    asked.push("gone");
    throw new Deno.errors.ConnectionReset("Invalid argument (os error 22)");
  });
  add(keepAlive, 0, () => void asked.push("there"));
  keepAlive.onDue();
  assertEquals(asked, ["gone", "there"]);
  assertEquals(keepAlive.dueAtMs, Infinity);
});
