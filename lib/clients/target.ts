/**
 * Where clients are forwarded to, and how a connection to it is made.
 *
 * @module
 */

import type { ByteStream } from "../../poller.ts";
import { bracketed } from "../addresses.ts";
import { Failure, reasonOf } from "../errors.ts";

/** `host:port`, or `tls://host:port`. */
export interface ForwardTarget {
  readonly host: string;
  readonly port: number;
  readonly isTls: boolean;
}

/** A target as records show it. */
export function targetText({ host, port }: ForwardTarget): string {
  return `${bracketed(host)}:${port}`;
}

/** Connects to one target, again and again. */
export class Dialer {
  readonly target: ForwardTarget;
  readonly limitMs: number;
  readonly #authorities: readonly string[];

  /**
   * @param target Where to.
   * @param limitMs How long a connection may take, its handshake included.
   * @param caFile Who may have signed the certificate of a target that speaks TLS, in PEM;
   * the system's authorities unless given.
   * @throws {Failure} If that file cannot be read, or has no certificate in it.
   */
  constructor(target: ForwardTarget, limitMs: number, caFile: string | undefined) {
    this.target = target;
    this.limitMs = limitMs;
    this.#authorities = caFile === undefined ? [] : [readAuthorities(caFile)];
  }

  /**
   * Connects. Rejects with an `Error` whose message says why not; what comes too late is closed.
   *
   * @param signal Ends the attempt.
   */
  async dial(signal: AbortSignal): Promise<ByteStream> {
    const limit = AbortSignal.timeout(this.limitMs);
    const either = AbortSignal.any([signal, limit]);
    try {
      return await this.#connect(either);
    } catch (error) {
      throw new Error(
        limit.aborted ? `no connection within ${this.limitMs / 1000} s` : wordsOf(error),
        { cause: error },
      );
    }
  }

  async #connect(signal: AbortSignal): Promise<ByteStream> {
    const { host: hostname, port, isTls } = this.target;
    const conn = await Deno.connect({ hostname, port, signal });
    conn.setNoDelay();
    return isTls ? await this.#secure(conn, signal) : conn;
  }

  async #secure(conn: Deno.TcpConn, signal: AbortSignal): Promise<ByteStream> {
    const { host: hostname } = this.target;
    const secured = await Deno.startTls(conn, { hostname, caCerts: [...this.#authorities] });
    const give = () => secured.close();
    signal.addEventListener("abort", give);
    try {
      await secured.handshake();
      signal.throwIfAborted();
      return new SecuredStream(secured);
    } catch (error) {
      if (!signal.aborted) secured.close();
      throw error;
    } finally {
      signal.removeEventListener("abort", give);
    }
  }
}

/** A stream whose peer may end without close_notify, as most do. */
class SecuredStream implements ByteStream {
  readonly #conn: Deno.TlsConn;

  constructor(conn: Deno.TlsConn) {
    this.#conn = conn;
  }

  async read(target: Uint8Array): Promise<number | null> {
    try {
      return await this.#conn.read(target);
    } catch (error) {
      if (error instanceof Deno.errors.UnexpectedEof) return null;
      throw error;
    }
  }

  write(bytes: Uint8Array): Promise<number> {
    return this.#conn.write(bytes);
  }

  closeWrite(): Promise<void> {
    return this.#conn.closeWrite();
  }

  close(): void {
    this.#conn.close();
  }
}

function readAuthorities(file: string): string {
  let text;
  try {
    text = Deno.readTextFileSync(file);
  } catch (error) {
    throw new Failure(`Cannot use --forward-ca ${file}: ${reasonOf(error)}`);
  }
  if (text.includes("-----BEGIN CERTIFICATE-----")) return text;
  throw new Failure(`Cannot use --forward-ca ${file}: no certificate in it`);
}

/** What Deno says of a certificate or a handshake, and what that means. */
const TLS_WORDS: readonly (readonly [RegExp, string])[] = [
  [
    /CaUsedAsEndEntity/,
    "its certificate is that of an authority, which Deno takes from no server: " +
    "have it sign another one for the server",
  ],
  [/UnknownIssuer/, "its certificate is signed by an unknown authority: name that by --forward-ca"],
  [/NotValidForName/, "its certificate is for another name"],
  [/Expired/, "its certificate has expired"],
  [/NotValidYet/, "its certificate is not valid yet"],
  [/InvalidContentType|corrupt message/, "it does not speak TLS"],
  [
    /HandshakeFailure|NoCipherSuites|ProtocolVersion/,
    "no version or cipher suite of TLS in common",
  ],
  [/eof|close_notify/i, "it ended the TLS handshake"],
];

function wordsOf(error: unknown): string {
  const message = String(error);
  const [, words] = TLS_WORDS.find(([pattern]) => pattern.test(message)) ?? [];
  return words ?? reasonOf(error);
}
