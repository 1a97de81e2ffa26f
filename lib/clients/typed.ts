/**
 * What a typed line asks for.
 *
 * @module
 */

import { decode } from "../bytes.ts";

/** Whom a line is for that names somebody: the client with a number, or whoever has an address. */
export type Addressee =
  | { readonly tag: "number"; readonly number: number }
  | { readonly tag: "address"; readonly address: string };

/** A typed line, understood. */
export type Command =
  /** Without an addressee it goes where plain lines go. */
  | { readonly tag: "line"; readonly to: Addressee | undefined; readonly text: Uint8Array }
  | { readonly tag: "stay"; readonly number: number }
  | { readonly tag: "all" }
  | { readonly tag: "disconnect"; readonly number: number }
  | { readonly tag: "list" }
  | { readonly tag: "wrong" };

/** What may stand behind an `@`, in words. */
export const FORMS = "expected @<number> <text>, @<address>:<port> <text>, @<number>, " +
  "@<number>!, @all, @?, or @@ for a line that begins with @";

/** The longest addressee, with `@` and blank: an IPv6 address with its zone and port. */
const MAX_HEAD_BYTES = 100;
const AT_SIGN = 0x40;

const NUMBER = /^[1-9]\d{0,9}$/;
/** An address or a name that the operator gave, as records show them. */
const ADDRESS = /^(?:[\w.-]{1,64}|\[[\da-f:.]+(?:%[\w.-]+)?\]):\d{1,5}$/i;

/** Reads a line without its end; of text that is sent every byte stays as it was typed. */
export function parseTyped(line: Uint8Array): Command {
  if (line[0] !== AT_SIGN) return { tag: "line", to: undefined, text: line };
  if (line[1] === AT_SIGN) return { tag: "line", to: undefined, text: line.subarray(1) };
  const head = decode(line.subarray(1, MAX_HEAD_BYTES));
  const [name = "", ...rest] = head.split(" ", 2);
  return (rest.length === 0 ? commandOf(name) : lineTo(name, line)) ?? { tag: "wrong" };
}

/** What an `@` asks for that no text follows. */
function commandOf(name: string): Command | undefined {
  if (name === "all") return { tag: "all" };
  if (name === "?") return { tag: "list" };
  if (NUMBER.test(name)) return { tag: "stay", number: Number(name) };
  const number = name.slice(0, -1);
  if (name.endsWith("!") && NUMBER.test(number)) {
    return { tag: "disconnect", number: Number(number) };
  }
}

/** The text begins behind `@`, the name, which is ASCII if it is one, and a blank. */
function lineTo(name: string, line: Uint8Array): Command | undefined {
  const text = line.subarray(name.length + 2);
  if (NUMBER.test(name)) return { tag: "line", to: { tag: "number", number: Number(name) }, text };
  if (ADDRESS.test(name)) {
    return { tag: "line", to: { tag: "address", address: name }, text };
  }
}
