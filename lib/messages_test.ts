import { assert, assertEquals, assertMatch } from "@std/assert";
import { decode } from "./bytes.ts";
import type { Sink } from "./io.ts";
import { InternalErrors, Messages } from "./messages.ts";
import { Capture } from "../tests/support/capture.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** A stderr that takes nothing before `open()`. */
class Gate implements Sink {
  readonly #opened = Promise.withResolvers<void>();
  text = "";

  open(): void {
    this.#opened.resolve();
  }

  async write(bytes: Uint8Array): Promise<number> {
    await this.#opened.promise;
    this.text += decode(bytes);
    return bytes.length;
  }
}

Deno.test("Messages.say() writes messages in order, a line each", async () => {
  const stderr = new Capture();
  const messages = new Messages(stderr);
  for (const text of ["one", "two", "three"]) messages.say(text);
  await messages.settled(1000);
  assertEquals(stderr.text, "one\ntwo\nthree\n");
});

Deno.test("Messages.say() drops and counts what exceeds 64 KiB when nobody reads", async () => {
  const stderr = new Gate();
  const messages = new Messages(stderr);
  const line = "x".repeat(1023);
  for (let i = 0; i < 100; i++) messages.say(line);
  stderr.open();
  await messages.settled(1000);
  assertEquals(stderr.text, `${line}\n`.repeat(64) + "earshot: 36 messages dropped\n");
});

Deno.test("Messages.say() counts again after it has told of dropped messages", async () => {
  const stderr = new Gate();
  const messages = new Messages(stderr);
  messages.say("x".repeat(64 * 1024 - 1));
  messages.say("dropped");
  stderr.open();
  await messages.settled(1000);
  messages.say("kept");
  await messages.settled(1000);
  assertEquals(stderr.text.split("\n").slice(1), ["earshot: 1 message dropped", "kept", ""]);
});

Deno.test("Messages.settled() gives up when nobody reads", async () => {
  const messages = new Messages(new Gate());
  messages.say("unheard");
  await messages.settled(1);
});

Deno.test("Messages.taken() waits for a reader that reads", async () => {
  const stderr = new Gate();
  const messages = new Messages(stderr);
  messages.say("late");
  const taken = messages.taken();
  stderr.open();
  await taken;
  assertEquals(stderr.text, "late\n");
});

Deno.test("Messages.taken() waits once for a reader that does not read, and again when it does", async () => {
  const stderr = new Gate();
  const messages = new Messages(stderr);
  messages.say("one");
  const startedAtMs = performance.now();
  await messages.taken();
  assert(performance.now() - startedAtMs >= 99);
  let turns = 0;
  const timer = setInterval(() => turns++, 0);
  for (let i = 0; i < 100; i++) await messages.taken();
  clearInterval(timer);
  assertEquals(turns, 0);
  stderr.open();
  await messages.settled(1000);
  messages.say("two");
  await messages.taken();
  assertEquals(stderr.text, "one\ntwo\n");
});

Deno.test("Messages.say() forgets messages when stderr is closed, and goes on", async () => {
  let isClosed = true;
  const stderr = new Capture();
  const messages = new Messages({
    write: (bytes) =>
      isClosed ? Promise.reject(new Deno.errors.BrokenPipe("Broken pipe")) : stderr.write(bytes),
  });
  messages.say("lost");
  await messages.settled(1000);
  isClosed = false;
  messages.say("heard");
  await messages.settled(1000);
  assertEquals(stderr.text, "heard\n");
});

Deno.test("InternalErrors.report() says each place at most once a minute", () => {
  const said: string[] = [];
  let nowMs = 0;
  const errors = new InternalErrors((message) => said.push(message), () => nowMs);
  const make = () => new TypeError("x is undefined");
  errors.report(make());
  for (nowMs of [1, 59_999]) errors.report(make());
  errors.report(new RangeError("elsewhere"));
  assertEquals(said.length, 2);
  assertMatch(
    said[0]!,
    /^earshot: internal error: TypeError: x is undefined \(messages_test\.ts:\d+:\d+\)$/,
  );
  nowMs = 60_001;
  errors.report(make());
  assertEquals(said.length, 3);
});

Deno.test("InternalErrors.report() takes whatever was thrown", () => {
  const said: string[] = [];
  const errors = new InternalErrors((message) => said.push(message));
  errors.report("a word");
  assertEquals(said, ["earshot: internal error: a word (unknown place)"]);
});
