/**
 * One connection of a client, well-behaved or not.
 *
 * @module
 */

import { connect, type NetConnectOpts, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { tokenIn } from "./ledger.ts";

const ANSWER_LIMIT_MS = 30_000;
const CONNECT_LIMIT_MS = 30_000;
const CLOSE_LIMIT_MS = 30_000;

/** A client's end: says lines, and counts the answers that come in their order. */
export class Caller {
  readonly #socket: Socket;
  #rest = "";
  #answers = 0;
  #awaited = Infinity;
  #onAnswered = () => {};
  #error: string | undefined;
  /** Settles when the connection is closed, whoever closed it. */
  readonly closed: Promise<void>;
  /** Bytes that were received. */
  receivedBytes = 0;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (data: Uint8Array) => this.#receive(data));
    socket.on("error", (error) => this.#error ??= error.message);
    this.closed = new Promise((resolve) => socket.on("close", () => resolve()));
  }

  /** Connects; `isTls` takes any certificate. */
  static async open(options: NetConnectOpts, isTls = false): Promise<Caller> {
    const socket = isTls
      ? connectTls({ socket: connect(options), rejectUnauthorized: false })
      : connect(options);
    const caller = new Caller(socket);
    const event = isTls ? "secureConnect" : "connect";
    const isOpen = await new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => resolve(false), CONNECT_LIMIT_MS);
      socket.once(event, () => (clearTimeout(timer), resolve(true)));
      socket.once("close", () => (clearTimeout(timer), resolve(false)));
    });
    if (isOpen) return caller;
    socket.destroy();
    throw new Error(`cannot connect: ${caller.#error ?? `not within ${CONNECT_LIMIT_MS} ms`}`);
  }

  #receive(data: Uint8Array): void {
    this.receivedBytes += data.length;
    if (this.#awaited === 0) return;
    const lines = (this.#rest + new TextDecoder().decode(data)).split("\n");
    this.#rest = lines.pop()!.slice(-1000);
    for (const line of lines) {
      if (tokenIn(line)?.number === this.#answers) this.#answers++;
    }
    if (this.#answers >= this.#awaited) this.#onAnswered();
  }

  /**
   * Settles when it is on its way, or the connection has ended. Nothing may not be
   * written: in Deno an empty write to a TLS socket never calls back.
   */
  write(data: string | Uint8Array): Promise<void> {
    return new Promise((resolve) => {
      if (this.#socket.destroyed) return resolve();
      this.#socket.write(data, () => resolve());
    });
  }

  /** Whether so many answers came in time, in their order. */
  async answered(count: number): Promise<boolean> {
    if (this.#answers < count) {
      this.#awaited = count;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, ANSWER_LIMIT_MS);
        this.#onAnswered = () => (clearTimeout(timer), resolve());
        this.#socket.once("close", this.#onAnswered);
      });
    }
    return this.#answers >= count;
  }

  /** Ends in an orderly manner; the reason if that was not possible. */
  async end(): Promise<string | undefined> {
    this.#socket.end();
    const isClosed = await this.#closedInTime();
    return isClosed ? this.#error : "not closed in time";
  }

  /** Whether the connection is closed in time; otherwise it is left. */
  async #closedInTime(): Promise<boolean> {
    const limit = Promise.withResolvers<false>();
    const timer = setTimeout(() => limit.resolve(false), CLOSE_LIMIT_MS);
    const isClosed = await Promise.race([this.closed.then(() => true), limit.promise]);
    clearTimeout(timer);
    if (!isClosed) this.#socket.destroy();
    return isClosed;
  }

  /** Does not read any more. */
  pause(): void {
    this.#socket.pause();
  }

  async reset(): Promise<void> {
    this.#socket.resetAndDestroy();
    await this.#closedInTime();
  }
}
