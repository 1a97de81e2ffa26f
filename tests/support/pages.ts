/**
 * The pages of the project: what they link to, and the command lines that they show.
 * Not published.
 *
 * @module
 */

export const ROOT = new URL("../..", import.meta.url);

export const PAGES = [
  "README.md",
  "CONTRIBUTING.md",
  "CHANGELOG.md",
  "docs/recipes.md",
  "docs/library.md",
  "docs/comparison.md",
  "docs/internals.md",
  "bench/README.md",
];

export function read(path: string): string {
  return Deno.readTextFileSync(new URL(path, ROOT));
}

/** A page without its fenced blocks. */
function proseOf(path: string): string {
  return read(path).replaceAll(/^```.*?^```$/gms, "");
}

/** What a forge makes of the headings of a page. */
export function anchorsOf(path: string, level = "#+"): string[] {
  return [...proseOf(path).matchAll(RegExp(`^${level} (.+)$`, "gm"))].map(([, heading = ""]) =>
    anchorOf(heading)
  );
}

function anchorOf(heading: string): string {
  return heading.toLowerCase().replaceAll(/[^\w\s-]/g, "").replaceAll(" ", "-");
}

/** Links of a page into the project, as path and anchor. */
export function linksOf(page: string): { path: string; anchor: string }[] {
  return [...proseOf(page).matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, link = ""]) => new URL(link, new URL(page, ROOT)))
    .filter(({ protocol }) => protocol === ROOT.protocol)
    .map(({ href, hash }) => {
      const path = href.slice(ROOT.href.length, href.length - hash.length);
      return { path, anchor: hash.slice(1) };
    });
}

export interface Section {
  readonly page: string;
  readonly anchor: string;
  readonly text: string;
}

/** The parts of a page between headings of any level. */
export function sectionsOf(page: string): Section[] {
  const text = read(page);
  // A comment of a shell block is no heading.
  const masked = text.replaceAll(/^```.*?^```$/gms, (block) => block.replaceAll("#", "-"));
  const starts = [...masked.matchAll(/^#+ (.+)$/gm)];
  return starts.map(({ index, 1: heading = "" }, i) => ({
    page,
    anchor: anchorOf(heading),
    text: text.slice(index, starts[i + 1]?.index),
  }));
}

/** A fenced block, and in which language it says that it is. */
export interface Block {
  readonly language: string;
  readonly code: string;
}

export function blocksOf(text: string): Block[] {
  return [...text.matchAll(/^```(\w*)[^\n]*\n(.*?)^```$/gms)]
    .map(([, language = "", code = ""]) => ({ language, code }));
}

/** Code between single backticks of running text. */
export function inlineCodeOf(text: string): string[] {
  const prose = text.replaceAll(/^```.*?^```$/gms, "");
  return [...prose.matchAll(/`([^`\n]+)`/g)].map(([, code = ""]) => code);
}

/** Where a command line of ours begins: the command, or a run of main.ts in whatever way. */
const COMMAND_REGEXP =
  /(?<![\w.$:-]|-n )(?:(?:\.|\/usr\/local\/bin)?\/?earshot(?:\.js)?|deno(?:@\S+)? run\b[^\n|]*?\bmain\.ts)(?= -|$|\s*[|&>)#])/gm;

/** The arguments of each command line of earshot in code, up to a pipe or the like. */
export function argumentsIn(code: string): string[][] {
  const text = code.replaceAll(/\\\n\s*/g, " ");
  return [...text.matchAll(COMMAND_REGEXP)].map(({ index, 0: { length } }) =>
    wordsOf(text.slice(index + length).split("\n")[0]!)
  );
}

/** The words of a simple command, as a shell takes them apart. */
export function wordsOf(line: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  const parts = line.matchAll(
    /'([^']*)'|"((?:\\.|[^"\\])*)"|\\(.)|(\s+)|([|&;<>()#])|([^\s'"\\])/g,
  );
  for (const [, single, double, escaped, space, end, plain] of parts) {
    if (end && (end !== "#" || word === undefined)) {
      // As in `2> file`.
      if (/[<>]/.test(end) && /^\d$/.test(word ?? "")) word = undefined;
      break;
    }
    if (space) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else {
      word = (word ?? "") +
        (single ?? double?.replaceAll(/\\([$`"\\])/g, "$1") ?? escaped ?? plain ?? end);
    }
  }
  if (word !== undefined) words.push(word);
  return words;
}
