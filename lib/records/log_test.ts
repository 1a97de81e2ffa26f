import { assertEquals, assertThrows } from "@std/assert";
import { decode, encode, NO_BYTES } from "../bytes.ts";
import { Log } from "./log.ts";
import { RawFormat } from "./raw.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** A format that fails in the middle of a record that says so. */
class BrittleFormat extends RawFormat {
  override received(...args: Parameters<RawFormat["received"]>): void {
    super.received(...args);
    if (decode(args[2]).startsWith("bad")) throw new TypeError("in the middle of a record");
  }
}

function say(log: Log, text: string): void {
  const bytes = encode(text);
  log.received(NO_BYTES, bytes, 0, bytes.length, true, 0);
}

Deno.test("Log keeps nothing of a record that fails, and all of the others", () => {
  const log = new Log(new BrittleFormat());
  say(log, "one\n");
  assertThrows(() => say(log, "bad\n"), TypeError);
  say(log, "two\n");
  assertEquals([log.length, decode(log.take()), log.length], [8, "one\ntwo\n", 0]);
});

Deno.test("Log fills one buffer while the other is written", () => {
  const log = new Log(new RawFormat());
  say(log, "first\n");
  const first = log.take();
  say(log, "second, which is longer\n");
  assertEquals(decode(first), "first\n");
  assertEquals(decode(log.take()), "second, which is longer\n");
  assertEquals(decode(log.take()), "");
});

Deno.test("Log.last() is what was appended last, in place", () => {
  const log = new Log(new RawFormat());
  say(log, "one\n");
  say(log, "two\n");
  assertEquals(decode(log.last(4)), "two\n");
});
