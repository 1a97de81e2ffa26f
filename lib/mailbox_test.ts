import { assertEquals } from "@std/assert";
import { Mailbox } from "./mailbox.ts";

Deno.test.sanitizer({ ops: true, resources: true });

Deno.test("Mailbox.open() does what was posted, once and in order", () => {
  let wakes = 0;
  const mailbox = new Mailbox(() => wakes++);
  const done: string[] = [];
  mailbox.post(() => done.push("one"));
  mailbox.post(() => done.push("two"));
  assertEquals([wakes, done.length], [2, 0]);
  mailbox.open();
  mailbox.open();
  assertEquals(done, ["one", "two"]);
});

Deno.test("Mailbox.open() leaves what is posted meanwhile to the next time", () => {
  const mailbox = new Mailbox(() => {});
  const done: string[] = [];
  mailbox.post(() => {
    done.push("first");
    mailbox.post(() => done.push("second"));
  });
  mailbox.open();
  assertEquals(done, ["first"]);
  mailbox.open();
  assertEquals(done, ["first", "second"]);
});

Deno.test("Mailbox.open() leaves the rest for later when that is enough", () => {
  const mailbox = new Mailbox(() => {});
  const done: string[] = [];
  for (const name of ["one", "two", "three"]) mailbox.post(() => done.push(name));
  assertEquals([mailbox.open(() => done.length === 2), done], [false, ["one", "two"]]);
  assertEquals([mailbox.open(), done.length], [true, 3]);
});
