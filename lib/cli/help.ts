/**
 * The text of `--help`, made of the table of options.
 *
 * @module
 */

import manifest from "../../deno.json" with { type: "json" };
import { type Option, PERMISSIONS } from "./option.ts";
import { ALL } from "./options.ts";

const HELP_COLUMNS = 100;
const TEXT_COLUMN = 2 + Math.max(...ALL.map((option) => labelOf(option).length));

/**
 * The text of `--help`.
 *
 * @returns Usage, options in groups, examples, permissions, signals and exit status,
 * in lines of at most 100 columns, the last of them ended.
 *
 * @example
 * ```ts
 * import { assertMatch } from "@std/assert";
 *
 * assertMatch(usage(), /--port <n>/);
 * ```
 */
export function usage(): string {
  return `earshot ${manifest.version}: logs what every client of a port says, in whole lines, and answers if told to

Usage: earshot [options], where sizes may end in k, M or G
${ALL.map(helpOf).join("")}
Examples
  earshot --host 0.0.0.0 --port 5140                 hear a network's devices
  earshot --quiet --format json | jq .message        feed another program
  earshot -p 5140 --udp 5140 --framing syslog        receive syslog over TCP and UDP
  earshot -o all.log --rotate-size 10M --web 8080    keep a bounded log and watch it
  earshot --interactive --crlf --flush-after 0.2     talk with what has a prompt

${permissions()}
Signals: INT and TERM end it after what has arrived is logged, a second one at once; HUP opens
--output anew and reads certificates and --names again, or on a terminal, without any of these,
ends it; USR2 prints a summary.
Exit status: 0 ended by a signal or as asked, 1 cannot listen or write, 2 wrong usage, 3 --until has
not been seen, 128 and its number after a second signal.
`;
}

/** `  -p, --port <n>` */
function labelOf({ letter, synopsis }: Option<unknown>): string {
  return `${letter ? "  " : "      "}${synopsis}`;
}

function helpOf(option: Option<unknown>): string {
  const heading = option.group ? `\n${option.group}\n` : "";
  const text = option.default ? `${option.help} (default\u00A0${option.default})` : option.help;
  const lines = wrapped(text, HELP_COLUMNS - TEXT_COLUMN);
  const label = labelOf(option).padEnd(TEXT_COLUMN);
  return `${heading}${label}${lines.join(`\n${" ".repeat(TEXT_COLUMN)}`)}\n`;
}

function permissions(): string {
  const beside = PERMISSIONS.map((permission) => {
    const options = ALL.filter(({ needs }) => needs?.includes(permission));
    return `; --allow-${permission} for ${options.map(({ name }) => `--${name}`).join(", ")}`;
  });
  return wrapped(`Permissions of Deno: --allow-net${beside.join("")}.`, HELP_COLUMNS).join("\n");
}

/** Cuts at spaces, not at those that do not break, into lines of at most `columns`. */
function wrapped(text: string, columns: number): string[] {
  const lines = text.match(new RegExp(`\\S(.{0,${columns - 2}}\\S)?(?= |$)`, "g")) ?? [];
  return lines.map((line) => line.replaceAll("\u00A0", " "));
}
