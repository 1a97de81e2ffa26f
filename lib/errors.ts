/**
 * Failures that a user can cause or mend, and the words for what the system says.
 *
 * @module
 */

/** What the environment refuses to the server: a port that is taken, an output that is closed. */
export class Failure extends Error {
  /** "Failure". */
  override readonly name = "Failure";
}

/** The system's name of an error, such as "ENOSPC". */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error ? String(error.code) : undefined;
}

/** Whether the process, or the system, has no descriptor left. */
export function lacksDescriptor(error: unknown): boolean {
  return ["EMFILE", "ENFILE"].includes(codeOf(error) ?? "");
}

/** Whether a connection was reset by its peer. */
export function isReset(error: unknown): boolean {
  return error instanceof Deno.errors.ConnectionReset || error instanceof Deno.errors.BrokenPipe;
}

/** A reason in the words of a user: the permission flag that is missing, or what the system says. */
export function reasonOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  const [flag] = /--allow-[a-z]+/.exec(message) ?? [];
  if (error instanceof Deno.errors.NotCapable && flag) return `run again with ${flag}`;
  if (codeOf(error) === "EPIPE") return "broken pipe";
  const words = message.replace(/( \(os error \d+\)|: https?:).*$/s, "");
  return words.charAt(0).toLowerCase() + words.slice(1);
}
