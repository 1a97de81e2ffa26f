import { assertEquals } from "@std/assert";
import { trendOf } from "./trend.ts";

Deno.test("trendOf() compares the second quarter with the last, whatever the first was", () => {
  const values = [900, 900, 100, 100, 50, 50, 130, 130];
  assertEquals(trendOf(values, 0), { before: 100, after: 130, isGrowing: false });
  assertEquals(trendOf([0, 0, 100, 100, 0, 0, 131, 131], 0).isGrowing, true);
});

Deno.test("trendOf() allows for what is small, and for single peaks", () => {
  assertEquals(trendOf([0, 0, 2, 2, 0, 0, 20, 20], 20).isGrowing, false);
  assertEquals(trendOf([1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 900, 1], 0).isGrowing, false);
});
