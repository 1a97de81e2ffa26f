// The pages: what they link to, name and show exists and works.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { parseConfig } from "../main.ts";
import { FILES } from "./support/needs.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const ROOT = new URL("..", import.meta.url);
const PAGES = [
  "README.md",
  "CHANGELOG.md",
  "docs/recipes.md",
  "docs/library.md",
  "docs/comparison.md",
  "docs/internals.md",
  "bench/README.md",
];

function read(path: string): string {
  return Deno.readTextFileSync(new URL(path, ROOT));
}

/** A page without its fenced blocks. */
function proseOf(path: string): string {
  return read(path).replaceAll(/^```.*?^```$/gms, "");
}

/** What a forge makes of the headings of a page. */
function anchorsOf(path: string, level = "#+"): string[] {
  return [...proseOf(path).matchAll(RegExp(`^${level} (.+)$`, "gm"))].map(([, heading = ""]) =>
    heading.toLowerCase().replaceAll(/[^\w\s-]/g, "").replaceAll(" ", "-")
  );
}

/** Links of a page into the project, as path and anchor. */
function linksOf(page: string): { path: string; anchor: string }[] {
  return [...proseOf(page).matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, link = ""]) => new URL(link, new URL(page, ROOT)))
    .filter(({ protocol }) => protocol === ROOT.protocol)
    .map(({ href, hash }) => {
      const path = href.slice(ROOT.href.length, href.length - hash.length);
      return { path, anchor: hash.slice(1) };
    });
}

/** Command lines of earshot in the shell blocks and tables of a page, without what is around them. */
function commandsOf(page: string): string[] {
  const text = read(page);
  const fenced = [...text.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, block = ""]) => block);
  const inline = [...proseOf(page).matchAll(/`([^`\n]+)`/g)].map(([, code = ""]) => code);
  const lines = [...fenced, ...inline].flatMap((block) =>
    block.replaceAll("\\\n", " ").split("\n")
  );
  return lines.flatMap((line) => /^earshot(?: (-[^|&>#]*)|$)/.exec(line)?.[1]?.trim() ?? []);
}

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
  name: "README and every page of docs/ can be reached from README",
  fn() {
    const linked = linksOf("README.md").map(({ path }) => path);
    const pages = [...Deno.readDirSync(new URL("docs", ROOT))].map(({ name }) => `docs/${name}`);
    assertEquals(pages.filter((page) => !linked.includes(page)), []);
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
    const commands = PAGES.filter((page) => page !== "CHANGELOG.md").flatMap(commandsOf);
    assert(commands.length > 20);
    for (const command of commands) parseConfig(command.split(/\s+/));
  },
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
