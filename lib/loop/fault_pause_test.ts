import { assertEquals } from "@std/assert";
import { FaultPause } from "./fault_pause.ts";

/** A pause of a second, and what happens around it. */
function newPause() {
  const events: string[] = [];
  const pause = new FaultPause({
    pauseMs: 1000,
    say: (message) => events.push(message),
    onEnd: () => events.push("goes on"),
  });
  return { pause, events };
}

Deno.test("FaultPause.begin() stands still until its time is over, and says why", () => {
  const { pause, events } = newPause();
  assertEquals([pause.reason, pause.dueAtMs], [undefined, Infinity]);
  pause.begin("no room", "waits: no room", 5000);
  assertEquals([pause.reason, pause.dueAtMs], ["no room", 6000]);
  pause.onDue(5999);
  assertEquals(pause.reason, "no room");
  pause.onDue(6000);
  assertEquals([pause.reason, pause.dueAtMs], [undefined, Infinity]);
  assertEquals(events, ["waits: no room", "goes on"]);
});

Deno.test("FaultPause.begin() says no more than once a minute that it stands still", () => {
  const { pause, events } = newPause();
  for (const atMs of [0, 1000, 59_999, 60_000]) pause.begin("a", `at ${atMs}`, atMs);
  assertEquals(events, ["at 0", "at 60000"]);
});

Deno.test("FaultPause.end() goes on at once, and does nothing without a pause", () => {
  const { pause, events } = newPause();
  pause.end();
  assertEquals(events, []);
  pause.begin("a", "waits", 0);
  pause.end();
  pause.end();
  assertEquals(events, ["waits", "goes on"]);
});
