/**
 * Keepalive, which finds out peers that vanished. To switch it on takes a tenth of the time that
 * a connection costs, so it waits until no more come, and who leaves before that costs nothing.
 *
 * @module
 */

import type { Socket } from "../../poller.ts";
import type { Deadline, Steps } from "../loop/deadlines.ts";

/** How long nobody may have come, and how long it waits at most. */
const CALM_MS = 100;
const PATIENCE_MS = 2000;
/** So many at once take 2 ms. */
const AT_ONCE = 256;

/** Those for whom it is not on yet. */
export class KeepAlive implements Deadline {
  readonly #sockets = new Set<Socket>();
  #firstAtMs = 0;
  #lastAtMs = 0;

  /** Takes in one who has come at `nowMs`, by `performance.now()`. */
  add(socket: Socket, nowMs: number): void {
    if (this.#sockets.size === 0) this.#firstAtMs = nowMs;
    this.#lastAtMs = nowMs;
    this.#sockets.add(socket);
  }

  delete(socket: Socket): void {
    this.#sockets.delete(socket);
  }

  get dueAtMs(): number {
    if (this.#sockets.size === 0) return Infinity;
    return Math.min(this.#lastAtMs + CALM_MS, this.#firstAtMs + PATIENCE_MS);
  }

  *onDue(): Steps {
    let left = AT_ONCE;
    for (const socket of this.#sockets) {
      this.#sockets.delete(socket);
      keepAlive(socket);
      if (--left === 0) return;
      yield;
    }
  }
}

/** That takes two hours: Deno can only switch it on or off. */
function keepAlive({ stream }: Socket): void {
  try {
    (stream as Partial<Deno.TcpConn>).setKeepAlive?.(true);
  } catch {
    // The peer is gone already; reading tells.
  }
}
