/**
 * What an argument that is no option may have been meant for: habits of other
 * programs, and near misses.
 *
 * @module
 */

import { isIP } from "node:net";
import { port as portKind } from "./values.ts";

/** An option as it can be missed. */
interface Named {
  readonly name: string;
  readonly letter: string | undefined;
  /** What is right as a value; absent for a flag. */
  readonly expected?: string;
}

const MAX_EDITS = 2;

const RUNS_NOTHING = "earshot runs no program: --reply answers, --forward relays";

/** Habits of nc, ncat, socat and Deno. Of letters that are joined the first that fits is enough. */
const HABITS: readonly [typed: RegExp, hint: string][] = [
  [/^-\w*[lk]|^--(listen|keep-open)$/, "earshot always listens, for many clients"],
  [/^--no-colou?rs?$/, "use --color never"],
  [/^--colou?rs?$/, "use --color always"],
  [
    /^-d$|^--(daemon|detach|background|fork)$/,
    "it stays in the foreground: leave that to systemd, or to &",
  ],
  [
    /^--(timeout|wait|duration)$/,
    "--for ends after so long, --idle-timeout disconnects the silent",
  ],
  [/^-[Tw]$|^--idle$/, "use --idle-timeout"],
  [/^-s$/, "use --host"],
  [/^--hex-dump$/, "use --format hex"],
  [/^--json$/, "use --format json"],
  [/^-m$|^--max-conns$/, "use --max-connections"],
  [/^--(max-count|lines|limit)$/, "--count ends after so many lines"],
  [/^--(expect|grep|match)$/, "--until ends when that was seen"],
  [/^--(log|log-?file|output-?file|file)$/, "use --output"],
  [/^--rotate$/, "use --rotate-size"],
  [/^-c$|^--(exec|sh-exec|lua-exec)$/, RUNS_NOTHING],
  [/^--(bind|addr|address|bind-addr(ess)?|listen-addr(ess)?)(=|$)/, "use --host"],
  [/^--ssl\b|^--tls(=|$)/, "use --tls-cert and --tls-key"],
  [/^-C$|^--crlf-lines$/, "typed lines end in CR LF with --interactive --crlf"],
  [/^-\w*v|^--verbose$/, "who comes and goes is always recorded; -V prints the version"],
  [/^-\w*n/, "names are never looked up"],
  [/^--allow-(all|env|net|read|run|sys|write)/, "Deno's permissions go before main.ts"],
];

/** Says what the argument `text` may have been meant for, between `before` and `next`. */
export function argumentHint(text: string, before = "", next = ""): string | undefined {
  const place = placeHint(text, next);
  // With nc, -e has a value: the program to run.
  if (place !== undefined || !/^-\w*e$/.test(before)) return place;
  return /^(.*\/)?cat$/.test(text) ? "-e alone sends back what comes" : RUNS_NOTHING;
}

/**
 * Says how to name a place to listen that stands where nc takes it, or where a host belongs;
 * `next` is the argument behind it.
 */
export function placeHint(text: string, next = ""): string | undefined {
  const isName = /^[a-z][\w.-]*$/i.test(text);
  if ((isName || isIP(text)) && isPort(next)) return `use --host ${text} --port ${next}`;
  // A single digit is rather what somebody wanted to give to a flag.
  if (/^\d{2,}$/.test(text) && isPort(text)) return `use --port ${text}`;
  if (isIP(text)) return `use --host ${text}`;
  if (text === "*") return "use --host 0.0.0.0 for every IPv4 interface, --host :: for every one";
  const [, kind, socatPort] = /^(TCP|UDP)[46]?-(?:LISTEN|L|RECV|RECVFROM):(\d+)/i.exec(text) ?? [];
  if (kind) return `use --${kind.toUpperCase() === "UDP" ? "udp" : "port"} ${socatPort}`;
  const [, host, port] = /^([^:]+|\[.*\]):(\d+)$/.exec(text) ?? [];
  return host && `use --host ${host} --port ${port}`;
}

/** Says which of `options` was meant by the unknown `arg`; `next` is the argument behind it. */
export function optionHint(
  arg: string,
  next: string | undefined,
  options: readonly Named[],
): string | undefined {
  return habitHint(arg, next) ?? joinedHint(arg, options) ?? nearMissHint(arg, options);
}

/** A value that begins with a letter cannot be joined to the letter of its option. */
function joinedHint(arg: string, options: readonly Named[]): string | undefined {
  const [, typed, value] = /^-([a-z])(\w.+)$/i.exec(arg) ?? [];
  if (typed === undefined) return undefined;
  const option = options.find(({ letter, expected }) => letter === typed && expected);
  return option && `did you mean -${typed} ${value}?`;
}

function habitHint(arg: string, next = ""): string | undefined {
  const [, letters, digits] = /^-([lkvnpuC]+)(\d*)$/.exec(arg) ?? [];
  if (letters === undefined && !/^--|^-[dCcTwsm]$/.test(arg)) return undefined;
  const [, hint] = HABITS.find(([typed]) => typed.test(arg)) ?? [];
  const port = digits || next;
  if (!hint || !letters || !isPort(port)) return hint;
  return `${hint}; use --${letters.includes("u") ? "udp" : "port"} ${port}`;
}

function isPort(text: string): boolean {
  return portKind.read(text) !== undefined;
}

/** A name is near if it is at most two edits, and less than half of what was typed, away. */
function nearMissHint(arg: string, options: readonly Named[]): string | undefined {
  const [, dashes, typed = ""] = /^(--?)([^=]*)/.exec(arg.toLowerCase().replaceAll("_", "-")) ?? [];
  const sameLetter = options.find(({ letter }) => letter?.toLowerCase() === typed);
  if (dashes === "-" && sameLetter) return `did you mean -${sameLetter.letter}?`;
  for (let edits = 0; edits <= MAX_EDITS && 2 * edits < typed.length; edits++) {
    const near = options.find(({ name }) => isWithin(edits, typed, name));
    if (near) return `did you mean --${near.name}?`;
  }
  return undefined;
}

/** Whether at most so many edits make `to` of `from`; a swap of neighbours is one. */
function isWithin(edits: number, from: string, to: string): boolean {
  if (from === to) return true;
  if (from[0] === to[0]) return isWithin(edits, from.slice(1), to.slice(1));
  if (edits === 0) return false;
  const isSwapped = from[0] === to[1] && from[1] === to[0];
  return isWithin(edits - 1, from.slice(1), to.slice(1)) ||
    isWithin(edits - 1, from.slice(1), to) ||
    isWithin(edits - 1, from, to.slice(1)) ||
    (isSwapped && isWithin(edits - 1, from.slice(2), to.slice(2)));
}
