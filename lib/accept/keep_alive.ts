/**
 * Keepalive, which finds out peers that vanished. To switch it on takes a tenth of the time that
 * a connection costs, so it waits until no more come, and who leaves before that costs nothing.
 *
 * @module
 */

import type { ByteStream, Socket } from "../../poller.ts";
import type { Deadline, Steps } from "../loop/deadlines.ts";

/** How long nobody may have come, and how long it waits at most. */
const CALM_MS = 100;
const PATIENCE_MS = 2000;
/** So many at once take 2 ms. */
const AT_ONCE = 256;

/** Those for whom it is not on yet. */
export class KeepAlive implements Deadline {
  /** With their connections, which TLS may hide. */
  readonly #connections = new Map<Socket, ByteStream>();
  #firstAtMs = 0;
  #lastAtMs = 0;

  /** Takes in one who has come at `nowMs`, by `performance.now()`. */
  add(socket: Socket, connection: ByteStream, nowMs: number): void {
    if (this.#connections.size === 0) this.#firstAtMs = nowMs;
    this.#lastAtMs = nowMs;
    this.#connections.set(socket, connection);
  }

  /** It has left. */
  delete(socket: Socket): void {
    this.#connections.delete(socket);
  }

  get dueAtMs(): number {
    if (this.#connections.size === 0) return Infinity;
    return Math.min(this.#lastAtMs + CALM_MS, this.#firstAtMs + PATIENCE_MS);
  }

  *onDue(): Steps {
    let left = AT_ONCE;
    for (const [socket, connection] of this.#connections) {
      this.#connections.delete(socket);
      keepAlive(connection);
      if (--left === 0) return;
      yield;
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
