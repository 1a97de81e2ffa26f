import { assert, assertEquals, assertThrows } from "@std/assert";
import { TaskQueue } from "./task_queue.ts";

Deno.test.sanitizer({ ops: true, resources: true });

Deno.test("TaskQueue.run() does what was posted, once and in order", () => {
  let wakes = 0;
  const done: string[] = [];
  const tasks = new TaskQueue(() => wakes++);
  assert(tasks.isEmpty);
  tasks.post(() => done.push("one"));
  tasks.post(() => done.push("two"));
  assertEquals([wakes, done.length, tasks.isEmpty], [2, 0, false]);
  assertEquals([...tasks.run()].length, 2);
  assertEquals([...tasks.run()].length, 0);
  assertEquals(done, ["one", "two"]);
});

Deno.test("TaskQueue.run() leaves what is posted meanwhile to the next time", () => {
  const done: string[] = [];
  const tasks = new TaskQueue(() => {});
  tasks.post(() => {
    done.push("first");
    tasks.post(() => done.push("second"));
  });
  assertEquals([...tasks.run()].length, 1);
  assertEquals(done, ["first"]);
  assertEquals([...tasks.run()].length, 1);
  assertEquals(done, ["first", "second"]);
});

Deno.test("TaskQueue.run() goes on behind a task that has thrown", () => {
  const done: string[] = [];
  const tasks = new TaskQueue(() => {});
  tasks.post(() => {
    throw new TypeError("a fault of ours");
  });
  tasks.post(() => done.push("second"));
  assertThrows(() => [...tasks.run()], TypeError);
  assertEquals([...tasks.run()].length, 1);
  assertEquals(done, ["second"]);
});
