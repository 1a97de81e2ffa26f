import { assert, assertEquals, assertThrows } from "@std/assert";
import { FOR_ALL, pathDate, PathTemplate } from "./path_template.ts";
import { pick, withSeeds } from "../../tests/support/random.ts";

const DATE = pathDate(Date.UTC(2026, 10, 22, 23, 31), false);
const CLIENT = { name: "pump", address: "192.0.2.7", number: "12", port: "5140" };

function filled(source: string, fields: Partial<typeof CLIENT> = {}): string {
  return new PathTemplate(source).fill({ ...CLIENT, ...fields }, DATE);
}

Deno.test("PathTemplate.fill() puts in what is known of a client and the time", () => {
  assertEquals(filled("logs/%h.log"), "logs/pump.log");
  assertEquals(filled("%a/%n-%l.log"), "192.0.2.7/12-5140.log");
  assertEquals(filled("%Y/%m/%d/%H.log"), "2026/11/22/23.log");
  assertEquals(filled("/var/log/100%%/%h%h"), "/var/log/100%/pumppump");
  assertEquals(new PathTemplate("%h-%a-%n-%l").fill(FOR_ALL, DATE), "all-all-all-all");
});

Deno.test("PathTemplate.fill() leaves only letters, digits and . _ - of a value", () => {
  assertEquals(filled("%a", { address: "::1" }), "__1");
  assertEquals(filled("%a", { address: "fe80::1%eth0" }), "fe80__1_eth0");
  assertEquals(filled("%h.log", { name: "../../etc/passwd" }), ".._.._etc_passwd.log");
  assertEquals(filled("%h", { name: "é\0\n %2f" }), "_____2f");
});

Deno.test("PathTemplate.fill() makes no name empty, . or ..", () => {
  for (const [name, expected] of [["", "_"], [".", "_"], ["..", "__"], ["...", "..."]] as const) {
    assertEquals(filled("a/%h/b", { name }), `a/${expected}/b`);
  }
  assertEquals(filled(".%h", { name: "." }), "__");
  assertEquals(filled("../%h/./x", { name: "." }), ".././x".replace("./x", "_/./x"));
});

Deno.test("PathTemplate.fill() never leads out of its folder, whatever random values are", async () => {
  await withSeeds(200, (random) => {
    const text = () =>
      Array.from(
        { length: random(6) },
        () => pick(random, ".", "..", "/", "\\", "a", "%", "\0", "é"),
      )
        .join("");
    const fields = { name: text(), address: text(), number: text(), port: text() };
    const template = pick(random, "logs/%h", "logs/%h/%a", "logs/%h%a.%n", "logs/.%l/%h.log");
    const path = new PathTemplate(template).fill(fields, DATE);
    assertEquals(path.split("/").length, template.split("/").length, path);
    assert(path.split("/").every((name) => !/^\.{0,2}$/.test(name)), path);
    assert(/^logs\/[\w./-]+$/.test(path), path);
  });
});

Deno.test("PathTemplate.only is the path that has no fields", () => {
  assertEquals(new PathTemplate("a/50%%.log").only, "a/50%.log");
  assertEquals(new PathTemplate("/dev/null").only, "/dev/null");
  assertEquals(new PathTemplate("logs/%h").only, undefined);
});

Deno.test("PathTemplate.folder is what lies above the first field", () => {
  for (
    const [source, folder] of [
      ["logs/%h.log", "logs"],
      ["%h.log", "."],
      ["/%h", "/"],
      ["/var/log/%Y/%h", "/var/log"],
      ["../a/x-%h/y", "../a"],
    ]
  ) assertEquals(new PathTemplate(source!).folder, folder);
});

Deno.test("PathTemplate.isDated is true when the path changes with the time", () => {
  assertEquals(
    ["%Y", "a%m", "%d/%h", "%H", "%h", "%%Y", "%%%H"].map((source) =>
      new PathTemplate(source).isDated
    ),
    [true, true, true, true, false, false, true],
  );
});

Deno.test("PathTemplate throws a SyntaxError when a % has no meaning or a name is missing", () => {
  for (const source of ["%x", "a%", "%", "logs/%é", "%h/%", "logs/%h/"]) {
    assertThrows(() => new PathTemplate(source), SyntaxError);
  }
});

Deno.test("pathDate() is in UTC, or here", () => {
  const here = new Date(2026, 0, 5, 7, 9);
  assertEquals(pathDate(here.getTime(), true), {
    year: "2026",
    month: "01",
    day: "05",
    hour: "07",
  });
  assertEquals(DATE, { year: "2026", month: "11", day: "22", hour: "23" });
});
