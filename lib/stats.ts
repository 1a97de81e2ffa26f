/**
 * What the server has counted, and the summary of it on stderr.
 *
 * @module
 */

import { plural } from "./messages.ts";

/** What the live page tells of all clients together. */
export interface Totals {
  /** Connections that are open now. */
  readonly open: number;
  readonly connections: number;
  readonly refused: number;
  readonly lines: number;
  readonly bytes: number;
  readonly cut: number;
  readonly datagrams: number;
}

export class Stats {
  /** Clients that came in; those kept out are `refused`. */
  connections = 0;
  refused = 0;
  lines = 0;
  /** Received from connections and in datagrams. */
  bytes = 0;
  /** Lines that were longer than allowed. */
  cut = 0;
  datagrams = 0;
  /** Failures to accept; a client that was gone is none, see {@linkcode lostClients}. */
  acceptErrors = 0;
  /** Handshakes that failed, by what was wrong. */
  readonly handshakeFailures = new Map<string, number>();
  readonly #countLost: () => number;
  readonly #startedAtMs: number;
  readonly #hearsDatagrams: boolean;
  /** When the last summary was made, and the lines at that time. */
  #last: { readonly atMs: number; readonly lines: number };

  /**
   * `nowMs` is `performance.now()`, here and in {@linkcode summary}; `countLost` says how
   * many clients were gone before they were accepted.
   */
  constructor(nowMs: number, hearsDatagrams: boolean, countLost = () => 0) {
    this.#startedAtMs = nowMs;
    this.#countLost = countLost;
    this.#hearsDatagrams = hearsDatagrams;
    this.#last = { atMs: nowMs, lines: 0 };
  }

  /** Clients that were gone before they were accepted. */
  get lostClients(): number {
    return this.#countLost();
  }

  /** Counts a handshake that failed; `fault` is one of a few fixed words. */
  countHandshakeFailure(fault: string): void {
    this.handshakeFailures.set(fault, (this.handshakeFailures.get(fault) ?? 0) + 1);
  }

  /** What was heard in all: `14 lines of 2 clients`. */
  get heard(): string {
    const { lines, connections } = this;
    return `${plural(lines, "line")} of ${plural(connections, "client")}${this.#heardDatagrams}`;
  }

  get #heardDatagrams(): string {
    return this.#hearsDatagrams ? `, ${plural(this.datagrams, "datagram")}` : "";
  }

  /** One line for the operator; the rate is that since the last summary. */
  summary(open: number, nowMs: number): string {
    const { connections, refused, lines, bytes, cut } = this;
    const acceptErrors = this.acceptErrors + this.lostClients;
    const linesPerSecond = 1000 * (lines - this.#last.lines) /
      Math.max(1, nowMs - this.#last.atMs);
    this.#last = { atMs: nowMs, lines };
    const upSeconds = Math.round((nowMs - this.#startedAtMs) / 1000);
    return `stats: up ${upSeconds} s, connections ${open} open, ${connections} total, ` +
      `${refused} refused, ${plural(lines, "line")}, ${plural(bytes, "byte")}, ${cut} cut, ` +
      `${plural(acceptErrors, "accept error")}, ${linesPerSecond.toFixed(1)} lines/s` +
      this.#heardDatagrams;
  }

  totals(open: number): Totals {
    const { connections, refused, lines, bytes, cut, datagrams } = this;
    return { open, connections, refused, lines, bytes, cut, datagrams };
  }
}
