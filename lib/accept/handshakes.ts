/**
 * What a connection goes through before it is a client: the PROXY header, if its
 * peer is a proxy, and then TLS, in the order in which HAProxy sends them. It runs
 * beside the loop. One limit holds for all of it, from the accept on, and nothing
 * that comes in extends that.
 *
 * @module
 */

import type { ByteStream } from "../../poller.ts";
import type { Networks, Peer } from "../addresses.ts";
import { closeQuietly } from "./farewell.ts";
import { HandshakeError, type HandshakeFault, SilentEnd } from "./handshake_faults.ts";
import { MAX_PROXY_HEADER_BYTES, parseProxyHeader } from "./proxy_protocol.ts";
import type { Tls } from "./tls.ts";

/** A connection as it was accepted. */
export interface Accepted {
  readonly stream: ByteStream;
  readonly peer: Peer;
}

/** What became of a connection; its stream is closed unless it arrived. */
export type HandshakeOutcome =
  /** A client. If it came through a proxy, `peer` is the address that this one names. */
  | {
    readonly tag: "arrived";
    readonly stream: ByteStream;
    readonly peer: Peer;
    readonly through?: Peer;
    readonly certificate?: string;
  }
  /** Worth a record with a number: it ended before it was a client. */
  | {
    readonly tag: "failed";
    readonly peer: Peer;
    readonly through?: Peer;
    readonly reason: string;
    /** What to count it as; `undefined` if it is no failure. */
    readonly fault?: HandshakeFault;
  }
  /** Kept out for what `whyRefused` said. */
  | {
    readonly tag: "refused";
    readonly peer: Peer;
    readonly through?: Peer;
    readonly reason: string;
  }
  /** Somebody who only looked whether anybody is there. */
  | { readonly tag: "checked" };

/** Takes what became of a connection. */
export type Done = (outcome: HandshakeOutcome) => void;

/** Settings of {@linkcode Handshakes}. */
export interface HandshakeOptions {
  /** How long header and TLS may take together, from the first byte of a header on. */
  readonly limitMs: number;
  /**
   * How long a health check, or a proxy that has no data to send its header with, may stay
   * connected without a word; `Infinity` is for ever.
   */
  readonly idleMs: number;
  readonly proxies: Networks | undefined;
  /** Why the peer that a proxy speaks for is kept out, if it is; asked before TLS. */
  readonly whyRefused?: (peer: Peer) => string | undefined;
}

/** The handshakes under way. */
export class Handshakes implements Disposable {
  readonly #options: HandshakeOptions;
  readonly #underWay = new Set<Handshake>();

  constructor(options: HandshakeOptions) {
    this.#options = options;
  }

  /** Whether a connection of this peer begins with a PROXY header. */
  isProxy(peer: Peer): boolean {
    return this.#options.proxies?.has(peer) ?? false;
  }

  /** How many are under way; each holds the place of a connection. */
  get size(): number {
    return this.#underWay.size;
  }

  /**
   * Begins one. `done` is called beside the loop, once, with what became of it,
   * and it is no longer under way by then.
   */
  start(accepted: Accepted, tls: Tls | undefined, done: Done): void {
    const handshake = new Handshake(accepted, this.#options, (outcome) => {
      this.#underWay.delete(handshake);
      done(outcome);
    });
    this.#underWay.add(handshake);
    handshake.run(this.isProxy(accepted.peer), tls);
  }

  /** Ends all that are under way, for this reason. */
  endAll(reason: string): void {
    for (const handshake of this.#underWay) handshake.end(reason);
  }

  [Symbol.dispose](): void {
    this.endAll("shutting down");
  }
}

/** The longest delay of a timer, 24.8 days; with a longer one it would fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * What a handshake waits for: the first byte of a proxy, the rest of its header, the first
 * byte behind the header of what may be a check, or TLS.
 */
type Phase = "first byte" | "header" | "check" | "TLS";

const CHECKED: HandshakeOutcome = { tag: "checked" };

/** One handshake. Its stream and peer change on the way. */
class Handshake {
  readonly #options: HandshakeOptions;
  readonly #done: Done;
  #stream: ByteStream;
  #peer: Peer;
  #through: { readonly through?: Peer } = {};
  /** What the proxy says of the client's certificate. */
  #certificate: { readonly certificate?: string } = {};
  #phase: Phase = "TLS";
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isOver = false;

  constructor({ stream, peer }: Accepted, options: HandshakeOptions, done: Done) {
    this.#stream = stream;
    this.#peer = peer;
    this.#options = options;
    this.#done = done;
  }

  async run(isProxy: boolean, tls: Tls | undefined): Promise<void> {
    if (!isProxy) this.#limit(this.#options.limitMs);
    const early = isProxy ? await this.#passHeader() : undefined;
    this.#finish(early ?? await this.#passTls(tls));
  }

  /** Ends it at once; the reason is for the record, if it is worth one. */
  end(reason: string): void {
    const isSilent = this.#phase === "check" || this.#phase === "first byte";
    this.#finish(isSilent ? CHECKED : this.#failed(reason));
  }

  #limit(ms: number): void {
    clearTimeout(this.#timer);
    if (ms <= MAX_TIMER_MS) this.#timer = setTimeout(() => this.#onLate(ms), ms);
  }

  #onLate(ms: number): void {
    const missing = this.#phase === "TLS" ? "TLS handshake" : "PROXY header";
    const late = this.#failed(`no ${missing} within ${ms / 1000} s`, "timeout");
    this.#finish(this.#phase === "check" ? CHECKED : late);
  }

  #failed(reason: string, fault?: HandshakeFault): HandshakeOutcome {
    const rest = { ...this.#through, reason, ...fault && { fault } };
    return { tag: "failed", peer: this.#peer, ...rest };
  }

  /** Frees what nobody will have. */
  #finish(outcome: HandshakeOutcome): void {
    const isTaken = !this.#isOver && outcome.tag === "arrived";
    if (!isTaken) closeQuietly(outcome.tag === "arrived" ? outcome.stream : this.#stream);
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#done(outcome);
  }

  /** Takes the header off the stream; resolves to the outcome if it was all that came. */
  async #passHeader(): Promise<HandshakeOutcome | undefined> {
    const header = await this.#readHeader().catch(() => "ended" as const);
    if (header === "ended") return CHECKED;
    if (header === "bad") return this.#failed("bad PROXY header", "bad PROXY header");
    const { source, certificate, rest } = header;
    if (rest.length > 0) this.#stream = new PushbackStream(this.#stream, rest);
    const mayBeCheck = !source || isSame(source, this.#peer);
    if (mayBeCheck && rest.length === 0 && !await this.#passCheck()) return CHECKED;
    if (certificate !== undefined) this.#certificate = { certificate };
    if (source) {
      // Both may be the same: a client on the proxy's host may have the port that the proxy has here.
      this.#through = { through: this.#peer };
      this.#peer = source;
    }
    return this.#refusal();
  }

  /** Load balancers send the header with the first data, however late that is. */
  async #readHeader(): Promise<Header | "bad" | "ended"> {
    this.#phase = "first byte";
    this.#limit(this.#options.idleMs);
    const bytes = new Uint8Array(MAX_PROXY_HEADER_BYTES);
    for (let length = 0;;) {
      const count = await this.#stream.read(bytes.subarray(length));
      if (count === null) return "ended";
      if (length === 0 && count > 0) this.#onFirstByte();
      length += count;
      const header = parseProxyHeader(bytes.subarray(0, length));
      if (header.tag === "bad") return "bad";
      if (header.tag === "header") return { ...header, rest: bytes.slice(header.length, length) };
    }
  }

  #onFirstByte(): void {
    this.#phase = "header";
    this.#limit(this.#options.limitMs);
  }

  #refusal(): HandshakeOutcome | undefined {
    const reason = this.#options.whyRefused?.(this.#peer);
    if (reason === undefined) return undefined;
    return { tag: "refused", peer: this.#peer, ...this.#through, reason };
  }

  /**
   * Waits for the first byte of what may be a health check: resolves to false if
   * it was one. It keeps its place, is not hurried, and ends without a record.
   */
  async #passCheck(): Promise<boolean> {
    this.#phase = "check";
    this.#limit(this.#options.idleMs);
    const bytes = new Uint8Array(FIRST_READ_BYTES);
    const count = await this.#stream.read(bytes).catch(() => null);
    if (count === null) return false;
    this.#stream = new PushbackStream(this.#stream, bytes.subarray(0, count));
    this.#limit(this.#options.limitMs);
    return true;
  }

  async #passTls(tls: Tls | undefined): Promise<HandshakeOutcome> {
    this.#phase = "TLS";
    const arrived = {
      tag: "arrived",
      peer: this.#peer,
      ...this.#through,
      ...this.#certificate,
    } as const;
    if (!tls) return { ...arrived, stream: this.#stream };
    try {
      return { ...arrived, ...await tls.secure(this.#stream) };
    } catch (error) {
      if (error instanceof SilentEnd) return CHECKED;
      const fault = error instanceof HandshakeError ? error.fault : "other";
      return this.#failed(`TLS handshake failed: ${(error as Error).message}`, fault);
    }
  }
}

function isSame(a: Peer, b: Peer): boolean {
  return a.kind === "ip" && b.kind === "ip" && a.host === b.host && a.port === b.port;
}

const FIRST_READ_BYTES = 4 * 1024;

interface Header {
  readonly source: Peer | undefined;
  readonly certificate?: string;
  /** What came behind the header. */
  readonly rest: Uint8Array;
}

/** A stream with bytes that were read from it and belong to the next reader. */
class PushbackStream implements ByteStream {
  readonly remoteAddr?: Deno.Addr;
  readonly localAddr?: Deno.Addr;
  readonly #below: ByteStream;
  #rest: Uint8Array;

  constructor(below: ByteStream, rest: Uint8Array) {
    const { remoteAddr, localAddr } = below;
    if (remoteAddr) this.remoteAddr = remoteAddr;
    if (localAddr) this.localAddr = localAddr;
    this.#below = below;
    this.#rest = rest;
  }

  read(p: Uint8Array): Promise<number | null> {
    if (this.#rest.length === 0) return this.#below.read(p);
    const count = Math.min(p.length, this.#rest.length);
    p.set(this.#rest.subarray(0, count));
    this.#rest = this.#rest.subarray(count);
    return Promise.resolve(count);
  }

  write(p: Uint8Array): Promise<number> {
    return this.#below.write!(p);
  }

  closeWrite(): Promise<void> | void {
    return this.#below.closeWrite?.();
  }

  close(): void {
    this.#below.close?.();
  }
}
