/**
 * What the server uses of the process: streams, a clock, an exit.
 *
 * @module
 */

import type { ByteStream } from "../poller.ts";

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
  /** Told when all of a round is written: what comes next begins a record. */
  endRound?(): void;
}

/**
 * The most that a sink takes at once if somebody has to read it: what a pipe
 * holds. With larger writes, a reader that is slow would look like one that is stuck.
 */
export const PIPE_BYTES = 64 * 1024;

/** A terminal on which lines can be edited while others write to it. */
export interface Terminal {
  /** What is typed, key by key once it is raw. */
  readonly keys: ByteStream;
  /** Where the line is drawn. */
  readonly screen: Sink;
  /** Whether {@linkcode Io.stdout} is the same terminal. */
  readonly hasStdout: boolean;
  /** Whether keys come as they are pressed; Ctrl-C and Ctrl-Z make signals all the same. */
  setRaw(isRaw: boolean): void;
  /** The width now. */
  columns(): number;
  /** Tells when the width has changed, and when the process goes on after Ctrl-Z. */
  listen(on: { resized(): void; continued(): void }): Disposable;
}

/** A record as `--format json` writes it. */
export interface LogRecord {
  /** What it tells. */
  readonly event:
    | "connected"
    | "line"
    | "datagram"
    | "sent"
    | "disconnected"
    | "refused"
    | "started"
    | "stopped";
  /** When, in UTC or with the offset of a local time; without it if `time` is of another kind. */
  readonly timestamp?: string;
  /** Seconds since the start, if `time` is `elapsed`. */
  readonly elapsed?: number;
  /** Seconds since the record before, if `time` is `delta`. */
  readonly delta?: number;
  /** Number of the connection, from 1. */
  readonly connection?: number;
  /** Address of the peer; a Unix peer has `path` instead. */
  readonly host?: string;
  /** Port of the peer. */
  readonly port?: number;
  /** Path of the Unix socket that the peer came by. */
  readonly path?: string;
  /** What was said or sent, without its line end. */
  readonly message?: string;
  /** The same in base64 where it is not UTF-8. */
  readonly "message_base64"?: string;
  /** Whether it has no line end of its own. */
  readonly cut?: boolean;
  /** Why a peer was refused, or a client left. */
  readonly reason?: string;
  /** Bytes that a client has sent in all. */
  readonly bytes?: number;
  /** Lines that a client has sent in all. */
  readonly lines?: number;
  /** How long a client was connected. */
  readonly seconds?: number;
  /** Whatever else such a record has. */
  readonly [member: string]: unknown;
}

/** What the server uses of the process. Whoever embeds or tests it brings their own. */
export interface Io {
  /** What is typed; read only with `--interactive`. */
  readonly stdin: ByteStream;
  /** Where records go without `--output`. */
  readonly stdout: Sink;
  /** Where messages to the operator go, one line each. */
  readonly stderr: Sink;
  /** The terminal that stdin and stderr are, if they are one. */
  readonly terminal?: Terminal | undefined;
  /** Whether stdout is a terminal that wants colours. */
  readonly wantsColor: boolean;
  /** Whether stdout is a terminal, where text is brief; false unless given. */
  readonly isTerminal?: boolean;
  /**
   * Is called with each record, as `--format json` would write it, before it is written.
   * The server goes on only when it returns; what it throws is said on stderr.
   */
  onRecord?(record: LogRecord): void;
  /** Wall clock, milliseconds since 1970. */
  now(): number;
  /** Ends the process at once, for a second signal. */
  exit(code: number): void;
}

/** Writes all of `bytes`, in as many writes as it takes. */
export async function writeAll(sink: Pick<Sink, "write">, bytes: Uint8Array): Promise<void> {
  for (let sent = 0; sent < bytes.length;) sent += await sink.write(bytes.subarray(sent));
}

/** Whether /proc may be read, which takes `--allow-all`; nobody is asked for it. */
export function maySeeProcess(): boolean {
  const names = ["read", "write", "net", "env", "sys", "run", "ffi", "import"] as const;
  return Deno.build.os === "linux" &&
    names.every((name) => Deno.permissions.querySync({ name }).state === "granted");
}
