/**
 * Keepalive, which finds out peers that vanished. To switch it on takes a tenth of the time that
 * a connection costs, so it waits until no more come, and who leaves before that costs nothing.
 *
 * @module
 */

import type { ByteStream, Socket } from "../../poller.ts";
import type { Deadline } from "../loop/deadlines.ts";

/** How long nobody may have come, and how long it waits at most. */
const CALM_MS = 100;
const PATIENCE_MS = 2000;
/** So many at once take 2 ms. */
const AT_ONCE = 256;

interface Newcomer {
  readonly socket: Socket;
  /** What was accepted; TLS may hide it. */
  readonly connection: ByteStream;
  readonly atMs: number;
}

/** Switches it on for those who have come lately. */
export class KeepAlive implements Deadline {
  readonly #isThere: (socket: Socket) => boolean;
  readonly #newcomers: Newcomer[] = [];

  /** `isThere` tells whether one has not left. */
  constructor(isThere: (socket: Socket) => boolean) {
    this.#isThere = isThere;
  }

  /** Takes in one who has come at `nowMs`, by `performance.now()`. */
  add(socket: Socket, connection: ByteStream, nowMs: number): void {
    this.#newcomers.push({ socket, connection, atMs: nowMs });
  }

  get dueAtMs(): number {
    const first = this.#newcomers[0];
    const last = this.#newcomers.at(-1);
    if (!first || !last) return Infinity;
    return Math.min(last.atMs + CALM_MS, first.atMs + PATIENCE_MS);
  }

  onDue(): void {
    for (const { socket, connection } of this.#newcomers.splice(0, AT_ONCE)) {
      if (this.#isThere(socket)) keepAlive(connection);
    }
  }
}

/** That takes two hours: Deno can only switch it on or off. */
function keepAlive(connection: ByteStream): void {
  try {
    (connection as Partial<Deno.TcpConn>).setKeepAlive?.(true);
  } catch {
    // The peer is gone already; reading tells.
  }
}
