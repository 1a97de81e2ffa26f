import { assertEquals } from "@std/assert";
import { TaskQueue } from "./task_queue.ts";

Deno.test.sanitizer({ ops: true, resources: true });

Deno.test("TaskQueue.open() does what was posted, once and in order", () => {
  let wakes = 0;
  const tasks = new TaskQueue(() => wakes++);
  const done: string[] = [];
  tasks.post(() => done.push("one"));
  tasks.post(() => done.push("two"));
  assertEquals([wakes, done.length], [2, 0]);
  tasks.open();
  tasks.open();
  assertEquals(done, ["one", "two"]);
});

Deno.test("TaskQueue.open() leaves what is posted meanwhile to the next time", () => {
  const tasks = new TaskQueue(() => {});
  const done: string[] = [];
  tasks.post(() => {
    done.push("first");
    tasks.post(() => done.push("second"));
  });
  tasks.open();
  assertEquals(done, ["first"]);
  tasks.open();
  assertEquals(done, ["first", "second"]);
});

Deno.test("TaskQueue.open() leaves the rest for later when that is enough", () => {
  const tasks = new TaskQueue(() => {});
  const done: string[] = [];
  for (const name of ["one", "two", "three"]) tasks.post(() => done.push(name));
  assertEquals([tasks.open(() => done.length === 2), done], [false, ["one", "two"]]);
  assertEquals([tasks.open(), done.length], [true, 3]);
});
