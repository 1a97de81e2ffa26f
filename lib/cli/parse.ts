/**
 * From the words of a command line to a {@linkcode Config}.
 *
 * @module
 */

import { isIPv4 } from "node:net";
import { parseArgs } from "@std/cli/parse-args";
import type { MulticastGroup } from "../addresses.ts";
import { argumentHint, optionHint } from "./hints.ts";
import { type Option, UsageError } from "./option.ts";
import { ALL, BY_LETTER, BY_NAME, type Config, HELP, OPTIONS, VERSION } from "./options.ts";
import { assertCompatible } from "./rules.ts";

/**
 * Parses a command line.
 *
 * @param args Arguments as in `Deno.args`.
 * @returns A complete configuration, defaults filled in; or `"help"` or `"version"`
 * if one of these is asked for, whatever else is given. If an option that takes one
 * value is given twice, the last counts.
 * @throws {UsageError} If an option is unknown, a value is missing or malformed, an
 * argument is no option, or two options do not go together.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 *
 * const config = parseConfig(["-p", "5140", "--max-line=64k"]);
 * if (typeof config === "object") assertEquals(config.ports, [5140]);
 * assertEquals(parseConfig(["--help"]), "help");
 * ```
 */
export function parseConfig(args: readonly string[]): Config | "help" | "version" {
  const { words, problem } = canonical(args);
  const given = collect(words);
  if (given(HELP).length > 0) return "help";
  if (given(VERSION).length > 0) return "version";
  if (problem !== undefined) throw new UsageError(problem);
  const taken = Object.entries<Option<unknown>>(OPTIONS).map(([field, option]) => {
    return [field, option.take(given(option), option.name)];
  });
  // The type of the table has each field take the type that Config gives it.
  const config = settle(Object.fromEntries(taken) as Config, given);
  assertCompatible(config, (field) => given(OPTIONS[field]).length > 0);
  return config;
}

/** A configuration with the command line's defaults for what is left out. */
export function completeConfig(config: Partial<Config>): Config {
  const defaults = parseConfig([]);
  if (typeof defaults === "string") throw new TypeError("The defaults are no configuration");
  const { unixPaths = [], udpPorts = [] } = config;
  const standsAlone = unixPaths.length > 0 || udpPorts.length > 0;
  return { ...defaults, ...standsAlone && { ports: [] }, ...config };
}

type Given = (option: Option<unknown>) => readonly string[];

/** What was given to each option: its values, or of a flag "true" for each time. */
function collect(words: string[]): Given {
  const names = (options: typeof ALL) => options.map(({ name }) => name);
  const parsed: Record<string, unknown> = parseArgs(words, {
    string: names(ALL.filter(({ expected }) => expected)),
    boolean: names(ALL.filter(({ expected }) => !expected)),
    collect: names(ALL),
  });
  return ({ name }) => (parsed[name] as unknown[]).map(String);
}

/** Without --port, other listeners stand alone; `-` is stdout. */
function settle(config: Config, given: Given): Config {
  const hasOthers = config.unixPaths.length > 0 || config.udpPorts.length > 0;
  const isTcp = given(OPTIONS.ports).length > 0 || !hasOthers;
  const output = config.output === "-" ? undefined : config.output;
  const interfaces = given(OPTIONS.hosts).length > 0 ? config.hosts : [];
  const udpPorts = config.udpPorts.map((port) =>
    typeof port === "number" ? port : { ...port, interfaces: interfaces.filter(sameFamily(port)) }
  );
  return { ...config, ports: isTcp ? config.ports : [], udpPorts, output };
}

/** Whether a group can be joined on an interface with that address. */
function sameFamily({ group }: MulticastGroup): (address: string) => boolean {
  return (address) => isIPv4(address) === isIPv4(group);
}

type Word = { readonly word: string } | { readonly problem: string };

/**
 * Says each option as `--name` or `--name=value`, which parseArgs cannot misread.
 * It takes `--port -1` for two options, `-q5` and `--echo=no` for a flag that is
 * set, and `--q` for `-q`; it gives `--port` alone an empty value, and the next
 * word to an unknown option.
 */
function canonical(args: readonly string[]): { words: string[]; problem: string | undefined } {
  const all = [...wordsOf([...args])];
  return {
    words: all.flatMap((item) => "word" in item ? [item.word] : []),
    problem: all.flatMap((item) => "problem" in item ? [item.problem] : [])[0],
  };
}

function* wordsOf(rest: string[]): Generator<Word> {
  let before = "";
  for (let arg; (arg = rest.shift()) !== undefined; before = arg) {
    if (arg === "--") return yield* rest.map((word) => stray(word));
    if (arg.startsWith("--")) yield long(arg, rest);
    else if (/^-./s.test(arg)) yield* letters(arg, rest);
    else yield stray(arg, before, rest[0]);
  }
}

function long(arg: string, rest: string[]): Word {
  const [, name = "", value] = /^--([^=]*)(?:=(.*))?$/s.exec(arg) ?? [];
  const option = BY_NAME.get(name);
  return option ? bind(option, value, rest) : stranger(arg, rest);
}

/** Letters may be joined; behind the last a value may follow that is not a letter. */
function* letters(arg: string, rest: string[]): Generator<Word> {
  const [, joined = "", value] = /^-([A-Za-z]+)([^A-Za-z].*)?$/s.exec(arg) ?? [];
  const options = [...joined].map((letter) => BY_LETTER.get(letter));
  const last = options.pop();
  // `-ofoo.log` is no four options, whatever letters its value has.
  const isJoined = options[0]?.expected !== undefined && arg.length > 3;
  if (!last || isJoined || options.includes(undefined)) return yield stranger(arg, rest);
  for (const option of options) yield bind(option!, undefined, []);
  yield bind(last, value?.replace(/^=/, ""), rest);
}

function stray(arg: string, before?: string, next?: string): Word {
  const hint = argumentHint(arg, before, next) ?? "only options are taken";
  return { problem: `Cannot use argument "${arg}": ${hint}` };
}

function stranger(arg: string, [next]: string[]): Word {
  const hint = optionHint(arg, next, ALL);
  return { problem: `Unknown option "${arg}"${hint ? `: ${hint}` : ""}` };
}

/** Ties an option to its value: the one that is joined to it, or else the next word. */
function bind({ name, expected }: Option<unknown>, joined: string | undefined, rest: string[]) {
  if (!expected && joined === undefined) return { word: `--${name}` };
  if (!expected) return { problem: `Option "--${name}" takes no value: got "${joined}"` };
  const isNext = rest[0] !== undefined && !/^--?[A-Za-z]/.test(rest[0]);
  const value = joined ?? (isNext ? rest.shift() : undefined);
  if (value) return { word: `--${name}=${value}` };
  const hint = joined === undefined ? joinedHint(name, rest[0]) : "";
  return { problem: `Option "--${name}" needs a value: ${expected}${hint}` };
}

/** What looks like an option is a value only if it is joined. */
function joinedHint(name: string, next = ""): string {
  const isValue = /^-[^-]/.test(next) && !BY_LETTER.has(next.slice(1));
  return isValue ? `; one that begins with "-" is joined: --${name}=${next}` : "";
}
