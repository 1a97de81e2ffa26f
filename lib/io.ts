/**
 * What the rooms need of the process, and how they tell its operator of trouble.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import type { ByteStream } from "../poller.ts";
import { encode } from "./bytes.ts";

/** Where bytes go: `Deno.stdout`, a file, or an object of one's own. */
export interface Sink {
  /**
   * Takes bytes from the front of `bytes`, which stay as they are meanwhile. Resolves
   * to how many, at least 1; rejects if it cannot take any.
   */
  write(bytes: Uint8Array): Promise<number>;
  /**
   * The same without a hop to another thread, for a sink that can: cheaper, but the
   * event loop may not turn. It may return or throw at once.
   */
  writeInline?(bytes: Uint8Array): number | Promise<number>;
}

/**
 * The most that a sink takes at once if somebody has to read it: what a pipe
 * holds. With larger writes, a reader that is slow would look like one that is stuck.
 */
export const PIPE_BYTES = 64 * 1024;
/** What the server uses of the process. Whoever embeds or tests it brings their own. */
export interface Io {
  /** What is typed; read only with `--interactive`. */
  readonly stdin: ByteStream;
  /** Where records go without `--output`. */
  readonly stdout: Sink;
  /** Where messages to the operator go, one line each. */
  readonly stderr: Sink;
  /** Whether stdout is a terminal that wants colours. */
  readonly wantsColor: boolean;
  /** Wall clock, milliseconds since 1970. */
  now(): number;
  /** Ends the process at once, for a second signal. */
  exit(code: number): void;
}

/** What the environment refuses to the server: a port that is taken, an output that is closed. */
export class Failure extends Error {
  /** "Failure". */
  override readonly name = "Failure";
}

/** Tells the operator something, in one line. */
export type Say = (message: string) => void;

/** What may wait to be written to stderr; the rest is dropped and counted. */
const MAX_WAITING_BYTES = 64 * 1024;
/** A reader of stderr that takes nothing for so long is not waited for. */
const UNREAD_MS = 100;

/**
 * Messages for the operator. They are written beside the loop, so that a stderr
 * that nobody reads holds up nothing. Where stderr is closed they are lost:
 * there is nowhere left to say so.
 */
export class Messages {
  readonly #stderr: Sink;
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #dropped = 0;
  #writing: Promise<void> | undefined;
  /** Whether the last wait was in vain, and nothing has been taken since. */
  #isUnread = false;

  constructor(stderr: Sink) {
    this.#stderr = stderr;
  }

  readonly say: Say = (message) => {
    if (this.#add(encode(`${message}\n`))) this.#writing ??= this.#write();
    else this.#dropped++;
  };

  #add(bytes: Uint8Array): boolean {
    if (this.#waitingBytes + bytes.length > MAX_WAITING_BYTES) return false;
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    return true;
  }

  async #write(): Promise<void> {
    try {
      while (this.#waiting.length > 0) {
        const next = Buffer.concat(this.#waiting);
        this.#waiting = [];
        await writeAll(this.#stderr, next);
        this.#waitingBytes -= next.length;
        this.#isUnread = false;
        this.#tellOfDropped();
      }
    } catch {
      this.#waiting = [];
      this.#waitingBytes = 0;
    } finally {
      this.#writing = undefined;
    }
  }

  #tellOfDropped(): void {
    if (this.#dropped === 0) return;
    const message = `earshot: ${this.#dropped} message${this.#dropped === 1 ? "" : "s"} dropped\n`;
    if (this.#add(encode(message))) this.#dropped = 0;
  }

  /** Waits until all is written, but not for a reader that does not read. */
  async taken(): Promise<void> {
    if (this.#isUnread) return;
    this.#isUnread = true;
    await this.settled(UNREAD_MS);
    this.#isUnread = this.#writing !== undefined;
  }

  /** Waits until all is written, at most `limitMs`. */
  async settled(limitMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, limitMs);
    this.#writing?.then(resolve);
    if (this.#writing) await promise;
    clearTimeout(timer);
  }
}

/** Writes all of `bytes`, in as many writes as it takes. */
export async function writeAll(sink: Pick<Sink, "write">, bytes: Uint8Array): Promise<void> {
  for (let sent = 0; sent < bytes.length;) sent += await sink.write(bytes.subarray(sent));
}

/** The system's name of an error, such as "ENOSPC". */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error ? String(error.code) : undefined;
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
