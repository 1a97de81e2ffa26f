import { assertEquals, assertMatch } from "@std/assert";
import { RawFormat } from "./raw.ts";
import type { Time } from "./records.ts";
import { Timestamp } from "./timestamp.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const START_MS = Date.UTC(2026, 10, 22, 23, 31, 5, 123);

/** What a format is told when a record is made at each of these moments. */
function wordsAt(time: Time, ...moments: number[]): string[] {
  const told: string[] = [];
  const format = Object.assign(new RawFormat(), {
    setTime: (_: Time, words: string) => void told.push(words),
  });
  const timestamp = new Timestamp(time, START_MS, [format]);
  for (const ms of moments) {
    timestamp.set(ms);
    timestamp.beginRecord();
  }
  return told;
}

Deno.test("Timestamp makes words for the first record of a millisecond", () => {
  assertEquals(wordsAt("utc", START_MS, START_MS, START_MS + 1, START_MS + 1), [
    "2026-11-22T23:31:05.123Z",
    "2026-11-22T23:31:05.124Z",
  ]);
});

Deno.test("Timestamp counts elapsed time from the start, and not back before it", () => {
  const words = wordsAt(
    "elapsed",
    START_MS,
    START_MS + 1234,
    START_MS - 5000,
    START_MS + 86_400_000,
  );
  assertEquals(words, ["0.000", "1.234", "0.000", "86400.000"]);
});

Deno.test("Timestamp says the offset of local time, so that it can be read back", () => {
  const [words] = wordsAt("local", START_MS);
  assertMatch(words!, /^2026-11-2\dT\d\d:\d\d:05\.123[+-]\d\d:\d\d$/);
  assertEquals(Date.parse(words!), START_MS);
});

Deno.test("Timestamp has no words for no time", () => {
  assertEquals(wordsAt("none", START_MS, START_MS + 1), ["", ""]);
});

Deno.test("Timestamp counts from the last record for delta, also within a millisecond", () => {
  const words = wordsAt("delta", START_MS + 5, START_MS + 5, START_MS + 5, START_MS + 7);
  assertEquals(words, ["+0.000", "+0.000", "+0.002"]);
  assertEquals(wordsAt("delta", START_MS, START_MS + 7, START_MS + 7, START_MS + 8), [
    "+0.000",
    "+0.007",
    "+0.000",
    "+0.001",
  ]);
});

Deno.test("Timestamp makes no words where no record is made", () => {
  const told: string[] = [];
  const format = Object.assign(new RawFormat(), {
    setTime: (_: Time, words: string) => void told.push(words),
  });
  const timestamp = new Timestamp("utc", START_MS, [format]);
  for (let ms = 0; ms < 10; ms++) timestamp.set(START_MS + ms);
  assertEquals(told, []);
});
