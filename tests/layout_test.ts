import { assertEquals } from "@std/assert";
import { READ } from "./support/needs.ts";

const ROOT = new URL("..", import.meta.url);
/** The folders of lib/, from the ground up. What lies in lib/ itself is below all of them. */
const FLOORS = [
  "",
  "loop",
  "framing",
  "records",
  "output",
  "accept",
  "clients",
  "web",
  "cli",
];

interface Module {
  readonly path: string;
  /** Paths of the project's modules that it imports. */
  readonly imports: readonly string[];
}

function modulesOf(folder: string): Module[] {
  return [...Deno.readDirSync(new URL(folder, ROOT))].flatMap(({ name, isDirectory }) => {
    const path = `${folder}${name}`;
    if (isDirectory) return modulesOf(`${path}/`);
    return /(?<!_test)\.ts$/.test(name) ? [moduleAt(path)] : [];
  });
}

function moduleAt(path: string): Module {
  const url = new URL(path, ROOT);
  const imports = [...Deno.readTextFileSync(url).matchAll(/(?:from|import) "(\.[^"]+)"/g)]
    .map(([, target = ""]) => new URL(target, url).href.slice(ROOT.href.length));
  return { path, imports };
}

/** The folder of lib/ that a module lies in. */
function folderOf(path: string): string {
  return /^lib\/(\w+)\//.exec(path)?.[1] ?? "";
}

/** These make the parts of a server, and may import all of them. */
const WIRING = ["lib/build.ts", "lib/open.ts"];
const LIB = READ.ignore ? [] : modulesOf("lib/").filter(({ path }) => !WIRING.includes(path));

Deno.test({
  ...READ,
  name: "A module of lib/ imports only from its own folder and those below it",
  fn() {
    assertEquals([...new Set(LIB.map(({ path }) => folderOf(path)))].sort(), [...FLOORS].sort());
    const upward = LIB.flatMap(({ path, imports }) =>
      imports.filter((other) => other.startsWith("lib/"))
        .filter((other) => FLOORS.indexOf(folderOf(other)) > FLOORS.indexOf(folderOf(path)))
        .map((other) => `${path} imports ${other}`)
    );
    assertEquals(upward, []);
  },
});

Deno.test({
  ...READ,
  name: "No module of lib/ imports main.ts, build.ts or open.ts, and poller.ts imports nothing",
  fn() {
    const wiring = ["main.ts", ...WIRING];
    const upward = LIB.filter(({ imports }) => imports.some((other) => wiring.includes(other)));
    assertEquals(upward.map(({ path }) => path), []);
    assertEquals(moduleAt("poller.ts").imports, []);
  },
});

Deno.test({
  ...READ,
  name: "No circle of imports runs through lib/",
  fn() {
    const importsOf = new Map(LIB.map(({ path, imports }) => [path, imports]));
    const finished = new Set<string>();
    const visit = (path: string, above: readonly string[]) => {
      assertEquals(above.includes(path) ? [...above, path] : [], []);
      if (finished.has(path)) return;
      for (const other of importsOf.get(path) ?? []) visit(other, [...above, path]);
      finished.add(path);
    };
    for (const { path } of LIB) visit(path, []);
  },
});

Deno.test({
  ...READ,
  name: "Each file of tests is in one file of tests/together",
  fn() {
    const together = modulesOf("tests/together/").flatMap(({ imports }) => imports);
    assertEquals(together.toSorted(), testsOf("").toSorted());
  },
});

/** The files of tests below a folder. */
function testsOf(folder: string): string[] {
  return [...Deno.readDirSync(new URL(folder, ROOT))].flatMap(({ name, isDirectory }) => {
    if (isDirectory) return /^[.]|^coverage$/.test(name) ? [] : testsOf(`${folder}${name}/`);
    return name.endsWith("_test.ts") ? [`${folder}${name}`] : [];
  });
}
