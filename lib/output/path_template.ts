/**
 * Paths with fields, such as `logs/%h.log`: which file the records of a client go to.
 *
 * @module
 */

/** What is known of whom a record is about; any text is safe. */
export interface PathFields {
  readonly name: string;
  readonly address: string;
  readonly number: string;
  readonly port: string;
}

/** The fields of a record that concerns nobody. */
export const FOR_ALL: PathFields = { name: "all", address: "all", number: "all", port: "all" };

/** A date in a time zone, in digits. */
export interface PathDate {
  readonly year: string;
  readonly month: string;
  readonly day: string;
  readonly hour: string;
}

type Field = keyof PathFields | keyof PathDate;

const FIELDS: Readonly<Record<string, Field>> = {
  h: "name",
  a: "address",
  n: "number",
  l: "port",
  Y: "year",
  m: "month",
  d: "day",
  H: "hour",
};
const DATE_LETTERS = /%[YmdH]/;

/** What may stand behind a `%`, in words. */
const FIELD_WORDS = "%h (name), %a (address), %n (number), %l (port), %Y %m %d %H or %%";

/** One name of a path: literal texts and fields in turn. */
type Component = readonly (string | { readonly field: Field })[];

/**
 * A path with fields. What they stand for can never lead out of its folder: it has only
 * letters, digits, `.`, `_` and `-`, and no name of the path becomes empty, `.` or `..` by it.
 */
export class PathTemplate {
  /** As it was typed. */
  readonly source: string;
  readonly #components: readonly Component[];

  /** @throws {SyntaxError} If a `%` has no meaning, or the path has no name at its end. */
  constructor(source: string) {
    this.source = source;
    this.#components = source.split("/").map(parseComponent);
    const isNamed = !/(^|\/)\.{0,2}$/.test(source);
    if (!isNamed && this.only === undefined) {
      throw new SyntaxError("a file needs a name, such as %h.log");
    }
  }

  /** The path of all records, if it has no fields. */
  get only(): string | undefined {
    if (this.#components.some(hasFields)) return undefined;
    return this.#components.map((component) => component.join("")).join("/");
  }

  /** The folder that everything lies below. */
  get folder(): string {
    const first = this.#components.findIndex(hasFields);
    const above = this.#components.slice(0, first < 0 ? -1 : first);
    return above.map((component) => component.join("")).join("/") || this.#root;
  }

  get #root(): string {
    return this.source.startsWith("/") ? "/" : ".";
  }

  /** Whether the path changes with the time. */
  get isDated(): boolean {
    return DATE_LETTERS.test(this.source.replaceAll("%%", ""));
  }

  fill(fields: PathFields, date: PathDate): string {
    const values: Readonly<Record<Field, string>> = { ...fields, ...date };
    return this.#components.map((component) => filled(component, values)).join("/");
  }
}

function parseComponent(text: string): Component {
  const parts: (string | { field: Field })[] = [];
  for (const [token] of text.matchAll(/%(.?)|[^%]+/gsu)) {
    const field = token[0] === "%" ? FIELDS[token.slice(1)] : undefined;
    if (field) parts.push({ field });
    else if (token === "%%") parts.push("%");
    else if (token[0] === "%") throw new SyntaxError(`"${token}" is no field: use ${FIELD_WORDS}`);
    else parts.push(token);
  }
  return parts;
}

function hasFields(component: Component): boolean {
  return component.some((part) => typeof part !== "string");
}

function filled(component: Component, values: Readonly<Record<Field, string>>): string {
  const text = component.map((part) => typeof part === "string" ? part : safe(values[part.field]))
    .join("");
  const isUnsafe = hasFields(component) && /^\.{0,2}$/.test(text);
  return isUnsafe ? text.replaceAll(".", "_") || "_" : text;
}

function safe(value: string): string {
  return value.replace(/[^A-Za-z0-9._-]/g, "_");
}

/** The date of a moment, milliseconds since 1970, here or in UTC. */
export function pathDate(atMs: number, isLocal: boolean): PathDate {
  const offsetMs = isLocal ? -60_000 * new Date(atMs).getTimezoneOffset() : 0;
  const [year = "", month = "", day = "", hour = ""] = new Date(atMs + offsetMs).toISOString()
    .split(/[-T:]/);
  return { year, month, day, hour };
}
