import { assertEquals } from "@std/assert";
import { POLLIN, POLLOUT, Socket } from "../../poller.ts";
import { MemoryStream } from "../../tests/support/memory.ts";
import { assertPending } from "../../tests/support/waiting.ts";
import { Selector } from "./selector.ts";

Deno.test.sanitizer({ ops: true, resources: true });

Deno.test("Selector.poll() reports all bits of a source in one entry", async () => {
  const selector = new Selector();
  using socket = new Socket(new MemoryStream("x"));
  selector.register(socket, POLLIN | POLLOUT);
  await selector.poll(Infinity);
  assertEquals(await selector.poll(0), [[socket, POLLIN | POLLOUT]]);
  selector.modify(socket, POLLOUT);
  assertEquals(await selector.poll(0), [[socket, POLLOUT]]);
  selector.unregister(socket);
  assertEquals(await selector.poll(0), []);
  selector.close();
});

Deno.test("Selector.wake() ends the current poll, or else the next one, once", async () => {
  const selector = new Selector();
  const waiting = selector.poll(Infinity);
  await assertPending(waiting);
  selector.wake();
  assertEquals(await waiting, []);
  selector.wake();
  selector.wake();
  assertEquals(await selector.poll(Infinity), []);
  const again = selector.poll(Infinity);
  await assertPending(again);
  selector.wake();
  await again;
  selector.close();
});

Deno.test("Selector.poll() ends without an entry when its time has passed", async () => {
  const selector = new Selector();
  assertEquals(await selector.poll(1), []);
  selector.close();
});
