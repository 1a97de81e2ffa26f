import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import type { Run } from "./figures.ts";
import { LOADS } from "./loads.ts";
import { withFigures } from "./readme.ts";
import { SERVERS } from "./servers.ts";
import { TARGETS, targetsSection } from "./targets.ts";

/** All loads by all of their servers, whose figures are said by `figure`. */
function runsWith(figure: (server: string, key: string) => number): Run[] {
  return LOADS.flatMap((load) =>
    load.servers.flatMap((server) =>
      [0, 1, 2].map((round) => ({
        load: load.name,
        server,
        round,
        figures: Object.fromEntries(
          [...load.metrics.map(({ key }) => key), "quietKb", "tail"]
            .map((key) => [key, figure(server, key) + round]),
        ),
      }))
    )
  );
}

Deno.test("Loads name servers that there are, once each", () => {
  for (const { name, servers, references } of LOADS) {
    assertEquals(new Set(servers).size, servers.length, name);
    for (const server of [...servers, ...references]) {
      assert(SERVERS.some(({ name }) => name === server), `${name}: ${server}`);
    }
  }
});

Deno.test("targetsSection() has a row for each target when all loads were run", () => {
  const lines = targetsSection(runsWith(() => 10)).trim().split("\n");
  assertEquals(lines.slice(4).length, TARGETS.length);
  assert(lines.slice(4).every((line) => !/undefined|NaN/.test(line)));
});

Deno.test("targetsSection() takes the median of the ratios within each round", () => {
  const figures = [[10, 5], [10, 20], [30, 10]] as const;
  const runs = figures.flatMap(([reply, echo], round): Run[] => [
    { load: "reply", server: "earshot-reply", round, figures: { cpuUs: reply } },
    { load: "reply", server: "earshot-echo", round, figures: { cpuUs: echo } },
  ]);
  assertStringIncludes(targetsSection(runs), "|     2.00 | ≤ 1.5 | ≤ 1.1 |");
  assertEquals(targetsSection(runs.slice(0, 1)), "");
});

Deno.test({
  name: "withFigures() replaces the table of the README and the version, and nothing else",
  ignore: (await Deno.permissions.query({ name: "read" })).state !== "granted",
  async fn() {
    const page = await Deno.readTextFile(new URL("../README.md", import.meta.url));
    const runs = runsWith((server) => server === "node-net" ? 9 : 20);
    const lines = withFigures(page, runs, "9.8.7").split("\n");
    const old = page.split("\n");
    assertEquals(lines.length, old.length);
    const changed = lines.filter((line, i) => line !== old[i]);
    assertEquals(changed.filter((line) => !line.startsWith("| ")).length, 1);
    assertStringIncludes(changed.join("\n"), "measured on 9.8.7");
    assertStringIncludes(changed.join("\n"), "| 50 talking, CPU         | 21 (2.10)");
  },
});

Deno.test("withFigures() throws when there is no table to replace", () => {
  assertThrows(() => withFigures("no table", [], "1.0.0"), Error, "no table of figures");
});
