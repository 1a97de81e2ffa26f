// The pages: what they link to, name and show exists and works.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { parseConfig } from "../main.ts";
import { FILES } from "./support/needs.ts";
import {
  anchorsOf,
  argumentsIn,
  blocksOf,
  inlineCodeOf,
  linksOf,
  PAGES,
  read,
  ROOT,
  wordsOf,
} from "./support/pages.ts";

Deno.test.sanitizer({ ops: true, resources: true });

Deno.test({
  ...FILES,
  name: "The pages name only tasks that exist",
  fn() {
    const { tasks } = JSON.parse(read("deno.json"));
    const named = PAGES.flatMap((page) => [...read(page).matchAll(/\bdeno task ([a-z:]+[a-z])/g)])
      .map(([, name = ""]) => name);
    assert(named.length > 5);
    assertEquals(named.filter((name) => !(name in tasks)), []);
  },
});

Deno.test({
  ...FILES,
  name: "The pages link only to files and headings that exist",
  fn() {
    const links = PAGES.flatMap(linksOf);
    assert(links.length > 40);
    for (const { path, anchor } of links) {
      assert(Deno.statSync(new URL(path, ROOT)).isFile, path);
      if (anchor) assert(anchorsOf(path).includes(anchor), `${path}#${anchor}`);
    }
  },
});

Deno.test({
  ...FILES,
  name: "Every page of docs/ can be reached from README, and other files from these pages",
  fn() {
    const fromReadme = linksOf("README.md").map(({ path }) => path);
    const fromPages = PAGES.filter((page) => fromReadme.includes(page)).flatMap(linksOf)
      .map(({ path }) => path).filter((path) => !path.endsWith(".md"));
    const files = [...Deno.readDirSync(new URL("docs", ROOT))].map(({ name }) => `docs/${name}`);
    assertEquals(files.filter((file) => ![...fromReadme, ...fromPages].includes(file)), []);
  },
});

Deno.test({
  ...FILES,
  name: "Every section of a page is in its list of contents",
  fn() {
    for (const page of ["README.md", "docs/recipes.md", "docs/library.md", "docs/internals.md"]) {
      const listed = linksOf(page).filter(({ path }) => path === page).map(({ anchor }) => anchor);
      const missing = anchorsOf(page, "##").filter((anchor) => !listed.includes(anchor));
      assertEquals(missing.filter((anchor) => anchor !== "license"), [], page);
    }
  },
});

Deno.test({
  ...FILES,
  name: "parseConfig() takes every command line of the pages",
  fn() {
    const pages = PAGES.filter((page) => page !== "CHANGELOG.md");
    const commands = pages.flatMap((page) => {
      const code = [...blocksOf(read(page)).map(({ code }) => code), ...inlineCodeOf(read(page))];
      return code.flatMap(argumentsIn);
    });
    assert(commands.length > 40);
    for (const args of commands) parseConfig(args);
  },
});

Deno.test("wordsOf() takes a command apart as a shell does", () => {
  const line = String.raw`--greet '220 hi\r\n' --reply "a \"b\"=>c d" -o'x y' a#b # a comment`;
  assertEquals(wordsOf(line), [
    ...["--greet", String.raw`220 hi\r\n`, "--reply", 'a "b"=>c d', "-ox y", "a#b"],
  ]);
  assertEquals(wordsOf(" --quiet | jq ."), ["--quiet"]);
  assertEquals(wordsOf(" --quiet 2> file"), ["--quiet"]);
});

Deno.test({
  ...FILES,
  name: "The unit and the logrotate stanza of the recipes write and move the same file",
  fn() {
    const recipes = read("docs/recipes.md");
    const [, output] = /^ExecStart=.* --output (\S+)$/m.exec(recipes)!;
    assert(recipes.includes(`\n${output} {\n`));
    assertMatch(recipes, /^ExecReload=.* -HUP /m);
  },
});

Deno.test({
  ...FILES,
  name: "CHANGELOG begins with the version of deno.json",
  fn() {
    const { version } = JSON.parse(read("deno.json"));
    const versions = [...read("CHANGELOG.md").matchAll(/^## (\S+)$/gm)].map(([, name]) => name);
    assert(versions.slice(0, 2).includes(version), version);
  },
});

Deno.test({
  ...FILES,
  name: "CI installs every program that a test needs",
  fn() {
    const listed = /^clients='\n([^']+)'$/m.exec(read(".ci/run"))![1]!.trim().split("\n")
      .map((line) => line.split(/\s+/)[0]);
    const files = [
      "main_test.ts",
      "poller_test.ts",
      ...testsBelow("lib"),
      ...testsBelow("tests"),
      ...testsBelow("examples"),
    ];
    const needed = files.flatMap((file) => [...read(file).matchAll(/\.\.\.needs\(([^)]*)\)/g)])
      .flatMap(([, programs = ""]) => [...programs.matchAll(/"([^"]+)"/g)].map(([, name]) => name));
    assert(needed.length > 10);
    const basic = ["bash", "timeout"];
    assertEquals(needed.filter((name) => !listed.includes(name) && !basic.includes(name!)), []);
  },
});

function testsBelow(folder: string): string[] {
  return [...Deno.readDirSync(new URL(folder, ROOT))].flatMap(({ name, isDirectory }) => {
    if (isDirectory) return testsBelow(`${folder}/${name}`);
    return name.endsWith("_test.ts") ? [`${folder}/${name}`] : [];
  });
}
