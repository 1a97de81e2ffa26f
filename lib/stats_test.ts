import { assertEquals, assertStringIncludes } from "@std/assert";
import { Stats } from "./stats.ts";

Deno.test.sanitizer({ ops: true, resources: true });

Deno.test("Stats.summary() says what was counted", () => {
  const stats = new Stats(1000, false);
  stats.connections = 3;
  stats.refused = 4;
  stats.lines = 1;
  stats.bytes = 1;
  stats.cut = 5;
  assertEquals(
    stats.summary(2, 3500),
    "stats: up 3 s, connections 2 open, 3 total, 4 refused, 1 line, 1 byte, 5 cut, " +
      "0 accept errors, 0.4 lines/s",
  );
});

Deno.test("Stats.summary() gives the rate since the last summary", () => {
  const stats = new Stats(0, false);
  stats.lines = 100;
  stats.summary(0, 1000);
  stats.lines = 150;
  assertStringIncludes(stats.summary(0, 1500), "150 lines, ");
  stats.lines = 175;
  assertStringIncludes(stats.summary(0, 2000), ", 50.0 lines/s");
});

Deno.test("Stats.summary() counts datagrams when they are heard", () => {
  const stats = new Stats(0, true);
  stats.datagrams = 7;
  assertStringIncludes(stats.summary(0, 1000), "lines/s, 7 datagrams");
});

Deno.test("Stats.totals() counts all clients, not those that are listed", () => {
  const stats = new Stats(0, false);
  stats.connections = 3;
  stats.lines = 9;
  stats.bytes = 90;
  assertEquals(stats.totals(2), {
    open: 2,
    connections: 3,
    refused: 0,
    lines: 9,
    bytes: 90,
    cut: 0,
    datagrams: 0,
  });
});
