import { assertEquals } from "@std/assert";
import { Clock } from "../../tests/support/waiting.ts";
import { Watchdog } from "./watchdog.ts";

Deno.test.sanitizer({ ops: true, resources: true });

function watchdog() {
  const calls: string[] = [];
  return { calls, dog: new Watchdog(1000, () => calls.push("over")) };
}

Deno.test("Watchdog calls when nobody has restarted it for as long as it was told", async () => {
  using clock = new Clock();
  const { calls, dog } = watchdog();
  await clock.pass(5000);
  assertEquals(calls, []);
  dog.restart();
  await clock.pass(900);
  dog.restart();
  await clock.pass(999);
  assertEquals(calls, []);
  await clock.pass(1);
  assertEquals(calls, ["over"]);
  await clock.pass(5000);
  assertEquals([calls.length, clock.timers], [1, 0]);
});

Deno.test("Watchdog.stop() leaves no timer", async () => {
  using clock = new Clock();
  const { calls, dog } = watchdog();
  dog.restart();
  dog.stop();
  await clock.pass(5000);
  assertEquals([calls.length, clock.timers], [0, 0]);
});
