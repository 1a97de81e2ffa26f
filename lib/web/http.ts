/**
 * HTTP beside the log, which comes first: a bounded number of connections, none of
 * which may be silent for long, and a bounded number of requests a second.
 *
 * `Deno.serve` has no such limits, and ends when descriptors run out; a `node:http`
 * server that listens goes deaf then. So connections are accepted here, as those of
 * the log are, and `node:http` speaks on a `Duplex` over each.
 *
 * @module
 */

import {
  createServer,
  type IncomingMessage,
  METHODS,
  type Server,
  type ServerResponse,
} from "node:http";
import { bracketed } from "../addresses.ts";
import { acceptFaultOf } from "../accept/accept_errors.ts";
import type { DescriptorReserve } from "../descriptor_reserve.ts";
import { Failure, reasonOf } from "../errors.ts";
import { FaultPause } from "../loop/fault_pause.ts";
import type { InternalErrors, Say } from "../messages.ts";
import { HttpTransport } from "./http_transport.ts";

/** Connections at a time; the longest unanswered one makes room for another. */
const MAX_CONNECTIONS = 128;

/** Connections that wait to be accepted; most of a flood's have been left by then. */
const BACKLOG = 128;

/** What a connection without an open stream has for a request and its answer. */
const REQUEST_MS = 10_000;
/** The same while descriptors are short. */
const HURRIED_REQUEST_MS = 1_000;
const SWEEP_MS = 1_000;

/** What is spent at once, and how fast more may be. A connection costs one, and its answer: */
const BURST_TOKENS = 100;
const TOKENS_PER_SECOND = 400;
/** its making, which keeps the log waiting, */
const TOKENS_PER_MS = 4;
/** and its sending. A flood of any kind takes a few percent of a core. */
const TOKENS_PER_BYTE = 1 / (64 * 1024);
/** What node:http cannot read is an error, with a stack. */
const WRONG_TOKENS = 1;
/** How long nobody is accepted at least when all of these are spent. */
const REFILL_MS = 20;

/** After a failure to accept, for example without descriptors, or while the log cannot accept. */
const PAUSE_MS = 1_000;

/** How long answers may still take to be sent at the end. */
const FAREWELL_MS = 300;

const MAX_HEADER_BYTES = 8 * 1024;

const NOT_ALLOWED = "405 Method Not Allowed\r\nallow: GET, HEAD";

/** Answers a request; returns whether the answer is a stream without an end. */
export type Answer = (request: IncomingMessage, response: ServerResponse) => boolean;

export interface HttpOptions {
  readonly host: string;
  readonly port: number;
  readonly answer: Answer;
  /** Whether the log cannot accept connections: what is held here may be what it lacks. */
  isLogShort(): boolean;
  /** What is accepted with when clients hold all descriptors. */
  readonly reserve: DescriptorReserve;
  readonly say: Say;
  readonly internalErrors: InternalErrors;
}

/** A port for HTTP. */
export class HttpPort {
  readonly #isLogShort: () => boolean;
  readonly #reserve: DescriptorReserve;
  readonly #listener: Deno.TcpListener;
  readonly #server: Server;
  /** In the order in which they came. */
  readonly #wires = new Set<HttpTransport>();
  readonly #accepting: Promise<void>;
  #sweeper: ReturnType<typeof setInterval> | undefined;
  #endPause: (() => void) | undefined;
  readonly #faultPause: FaultPause;
  readonly #answer: Answer;
  readonly #internalErrors: InternalErrors;
  readonly #budget = new Budget();
  #isClosed = false;

  /** Listens at once; throws a {@linkcode Failure} if it cannot. */
  constructor({ host, port, answer, isLogShort, reserve, say, internalErrors }: HttpOptions) {
    this.#reserve = reserve;
    this.#answer = answer;
    this.#internalErrors = internalErrors;
    this.#isLogShort = isLogShort;
    this.#faultPause = new FaultPause({ pauseMs: PAUSE_MS, say, onEnd: () => this.#endPause?.() });
    this.#listener = listen(host, port);
    this.#server = createServer(
      { maxHeaderSize: MAX_HEADER_BYTES },
      (request, response) => this.#onRequest(request, response),
    );
    this.#server.on("clientError", (error, wire) => {
      this.#budget.spend(WRONG_TOKENS);
      refuse(wire as HttpTransport, statusOf(error));
    });
    this.#server.on("connect", (_request, wire) => refuse(wire as HttpTransport, NOT_ALLOWED));
    this.#accepting = this.#accept();
  }

  /** The address listened on, with the real port. */
  get addr(): Deno.NetAddr {
    return this.#listener.addr;
  }

  #onRequest(request: IncomingMessage, response: ServerResponse): void {
    const wire = request.socket as unknown as HttpTransport;
    // Behind a body a part of the next request may have come; the connection ends before it.
    if (wire.isAsked) return;
    wire.isAsked = true;
    response.shouldKeepAlive = false;
    if (request.method === "POST") wire.takeBody();
    const startMs = performance.now();
    try {
      wire.isStreaming = this.#answer(request, response);
      // What stands behind a stream can never be answered.
      if (wire.isStreaming) wire.whenMore(() => response.end());
    } catch (error) {
      this.#internalErrors.report(error);
      wire.destroy();
    }
    const tokens = (performance.now() - startMs) * TOKENS_PER_MS;
    this.#budget.spend(tokens + wire.writableLength * TOKENS_PER_BYTE);
  }

  async #accept(): Promise<void> {
    while (!this.#isClosed) {
      try {
        this.#admit(await this.#listener.accept());
        if (this.#isLogShort()) await this.#pause(PAUSE_MS);
      } catch (error) {
        const fault = acceptFaultOf(error);
        if (fault === "shortage" && this.#reserve.release()) continue;
        if (fault !== "lost client") await this.#onFault(error);
      }
      this.#budget.spend(1);
      while (!this.#isClosed && !this.#budget.hasSome) await this.#pause(REFILL_MS);
    }
  }

  /** Most likely there are no descriptors. */
  async #onFault(error: unknown): Promise<void> {
    if (this.#isClosed) return;
    this.#endOlderThan(HURRIED_REQUEST_MS);
    const reason = reasonOf(error);
    this.#faultPause.begin(reason, `earshot: Cannot accept HTTP connections for now: ${reason}`);
    await this.#pause(PAUSE_MS);
    this.#reserve.refill();
    this.#faultPause.end();
  }

  async #pause(ms: number): Promise<void> {
    if (this.#isClosed) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#endPause = resolve;
    const timer = setTimeout(resolve, ms);
    await promise;
    clearTimeout(timer);
  }

  #admit(conn: Deno.TcpConn): void {
    if (this.#isClosed || !this.#makeRoom()) return conn.close();
    const wire = new HttpTransport(conn);
    this.#wires.add(wire);
    wire.on("error", () => {});
    wire.on("close", () => this.#forget(wire));
    this.#sweeper ??= setInterval(() => this.#sweep(), SWEEP_MS);
    this.#server.emit("connection", wire);
  }

  #forget(wire: HttpTransport): void {
    this.#wires.delete(wire);
    this.#reserve.refill();
    if (this.#wires.size > 0) return;
    clearInterval(this.#sweeper);
    this.#sweeper = undefined;
  }

  #makeRoom(): boolean {
    if (this.#wires.size < MAX_CONNECTIONS) return true;
    for (const wire of this.#wires) {
      if (wire.isStreaming) continue;
      this.#wires.delete(wire);
      wire.destroy();
      return true;
    }
    return false;
  }

  #sweep(): void {
    this.#endOlderThan(this.#isLogShort() ? HURRIED_REQUEST_MS : REQUEST_MS);
  }

  #endOlderThan(ms: number): void {
    const beforeMs = performance.now() - ms;
    for (const wire of this.#wires) {
      if (!wire.isStreaming && wire.acceptedAtMs < beforeMs) wire.destroy();
    }
  }

  /** Stops accepting, lets answers that are ended be sent, and frees everything. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#listener.close();
    this.#endPause?.();
    const wires = [...this.#wires];
    for (const wire of wires) if (!wire.writableEnded && !wire.isStreaming) wire.destroy();
    await this.#settled(wires);
    for (const wire of wires) wire.destroy();
    await this.#accepting;
    await Promise.all(wires.map((wire) => wire.freed));
  }

  async #settled(wires: readonly HttpTransport[]): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, FAREWELL_MS);
    Promise.all(wires.map((wire) => wire.freed)).then(() => resolve());
    await promise;
    clearTimeout(timer);
  }
}

function listen(hostname: string, port: number): Deno.TcpListener {
  try {
    return Deno.listen({ hostname, port, tcpBacklog: BACKLOG });
  } catch (error) {
    throw new Failure(`Cannot listen on ${bracketed(hostname)}:${port}: ${reasonOf(error)}`);
  }
}

/** The status of a request that `node:http` cannot read; it knows no methods but its own. */
function statusOf(error: Error): string {
  const { code, rawPacket } = error as Error & { code?: string; rawPacket?: Uint8Array };
  if (code === "HPE_HEADER_OVERFLOW") return "431 Request Header Fields Too Large";
  const [, method] = /^([A-Z]+) \S+ HTTP\/1/.exec(new TextDecoder().decode(rawPacket)) ?? [];
  return method === undefined || METHODS.includes(method) ? "400 Bad Request" : NOT_ALLOWED;
}

/** Answers in the place of a handler, unless one has begun to. */
function refuse(wire: HttpTransport, status: string): void {
  if (wire.isAsked) return void wire.destroy();
  const head = `HTTP/1.1 ${status}\r\nx-content-type-options: nosniff\r\n`;
  wire.end(`${head}content-length: 0\r\nconnection: close\r\n\r\n`, () => wire.destroy());
}

/** What requests may cost, as a token bucket. More may be spent than there is, which is paid back. */
class Budget {
  #tokens = BURST_TOKENS;
  #filledAtMs = performance.now();

  spend(tokens: number): void {
    this.#tokens -= tokens;
  }

  get hasSome(): boolean {
    const nowMs = performance.now();
    const filled = this.#tokens + (nowMs - this.#filledAtMs) * TOKENS_PER_SECOND / 1000;
    this.#tokens = Math.min(BURST_TOKENS, filled);
    this.#filledAtMs = nowMs;
    return this.#tokens >= 1;
  }
}
