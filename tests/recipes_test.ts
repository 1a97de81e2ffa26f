/** The shell commands of the pages, run as they stand in a folder of their own. */

import { assert, assertEquals } from "@std/assert";
import { needs, READ } from "./support/needs.ts";
import { blocksOf, sectionsOf } from "./support/pages.ts";
import { commandsIn, commandsOf, obstacleOf, runSection } from "./support/recipes.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const RECIPES = needs("bash", "timeout");
const PAGES = ["README.md", "docs/recipes.md", "docs/library.md"];
const SECTIONS = RECIPES.ignore ? [] : PAGES.flatMap(sectionsOf);

for (const section of SECTIONS) {
  if (commandsOf(section).length === 0) continue;
  Deno.test({
    ...RECIPES,
    name: `${section.page}#${section.anchor} runs as it stands`,
    async fn() {
      assertEquals(await runSection(section), []);
    },
  });
}

Deno.test({
  ...READ,
  name: "Most commands of the pages can run",
  fn() {
    const all = SECTIONS.flatMap(({ text }) => blocksOf(text))
      .filter(({ language }) => language === "sh").flatMap(({ code }) => commandsIn(code));
    const left = all.filter(obstacleOf);
    assert(left.length < all.length / 2, left.join("\n"));
  },
});

Deno.test({
  ...RECIPES,
  name: "commandsIn() takes a command with all its lines",
  fn() {
    const commands = [
      "uptime | nc -N 127.0.0.1 1234   # what a program prints",
      "for name in a b; do\n  echo $name\ndone",
      "earshot --format json |\n  cat",
      "earshot \\\n  --quiet",
      "cat > file <<'END'\none\n\ntwo\nEND",
      "jq 'a\n  | b' file",
    ];
    assertEquals(commandsIn(commands.join("\n") + "\n\n# a comment\n"), commands);
  },
});
