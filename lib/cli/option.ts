/**
 * What an option is: how it is written, and how the values that are given to it
 * become a value.
 *
 * @module
 */

import type { Kind } from "./values.ts";

/** A command line that cannot be obeyed; its message says what is wrong and what would be right. */
export class UsageError extends Error {
  /** "UsageError". */
  override readonly name = "UsageError";
}

/** What `--help` says of an option. */
export interface About {
  readonly help: string;
  /** The heading of a group that begins here. */
  readonly group?: string;
  /** Deno's permissions that it needs beside `--allow-net`. */
  readonly needs?: readonly Permission[];
}

export const PERMISSIONS = ["read", "write"] as const;
type Permission = typeof PERMISSIONS[number];

/** How the values given to an option become a field of the {@linkcode Config}. */
export interface Taking<T> {
  /** What is right as a value; absent for a flag. */
  readonly expected?: string;
  /** In the words of the command line. */
  readonly default?: string | undefined;
  take(given: readonly string[], name: string): T;
}

export interface Option<T> extends About, Taking<T> {
  /** As in `--help`: `-p, --port <n>`. */
  readonly synopsis: string;
  readonly letter: string | undefined;
  readonly name: string;
}

export function option<T>(synopsis: string, taking: Taking<T>, about: About): Option<T> {
  const [, letter, name = ""] = /^(?:-(\w), )?--([a-z-]+)/.exec(synopsis) ?? [];
  return { synopsis, letter, name, ...taking, ...about };
}

export const flag: Taking<boolean> = { take: (given) => given.length > 0 };

/** The last value given counts. */
export function single<T>(kind: Kind<T>, fallback: string): Taking<T> {
  return {
    expected: kind.expected,
    default: fallback,
    take: (given, name) => read(name, kind, given.at(-1) ?? fallback),
  };
}

/** The same without a default. */
export function optional<T>(kind: Kind<T>): Taking<T | undefined> {
  return {
    expected: kind.expected,
    take: (given, name) => given.slice(-1).map((text) => read(name, kind, text))[0],
  };
}

/** Each value given counts; the default only if there is none. */
export function repeatable<T>(kind: Kind<T>, fallback?: string): Taking<readonly T[]> {
  const defaults = fallback === undefined ? [] : [fallback];
  return {
    expected: kind.expected,
    default: fallback,
    take: (given, name) => (given.length ? given : defaults).map((text) => read(name, kind, text)),
  };
}

/** The same of a kind whose values are lists. */
export function lists<T>(kind: Kind<readonly T[]>, fallback?: string): Taking<readonly T[]> {
  const { take, ...taking } = repeatable(kind, fallback);
  return { ...taking, take: (given, name) => take(given, name).flat() };
}

/** The last value given counts; without one it depends on others what is taken. */
export function dependent<T>(kind: Kind<T>, fallback: string): Taking<T | undefined> {
  return { ...optional(kind), default: fallback };
}

function read<T>(name: string, kind: Kind<T>, text: string): T {
  const value = kind.read(text);
  if (value !== undefined) return value;
  throw new UsageError(
    `Cannot use --${name} "${text}": ${kind.hint?.(text, name) ?? kind.expected}`,
  );
}
