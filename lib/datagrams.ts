/**
 * Datagrams: each is a record of its own, and nothing is kept of its sender.
 *
 * @module
 */

import type { DatagramSocket } from "../poller.ts";
import { type Networks, type Peer, peerOf } from "./addresses.ts";
import { CR, LF, NUL } from "./bytes.ts";
import { createFramer, type Framer, type FrameSink } from "./framing.ts";
import { reasonOf, type Say } from "./io.ts";
import type { Log, Party } from "./log.ts";
import type { Recent } from "./recent.ts";
import type { Stats } from "./stats.ts";

/** Nothing larger arrives by UDP. */
const MAX_DATAGRAM_BYTES = 64 * 1024;
/** What one socket is heard of in a row, before others have their turn. */
const MAX_IN_A_ROW = 128;
const REPORT_MS = 60_000;

export interface DatagramOptions {
  readonly log: Log;
  readonly stats: Stats;
  readonly recent: Recent | undefined;
  readonly allowed: Networks | undefined;
  readonly denied: Networks | undefined;
  /** A longer datagram comes in pieces. */
  readonly maxLineBytes: number;
  readonly say: Say;
}

export class Datagrams {
  readonly #options: DatagramOptions;
  /** Cuts a datagram into pieces; it keeps nothing. */
  readonly #framer: Framer;
  #sender: Sender | undefined;
  #reportedAtMs = -Infinity;

  constructor(options: DatagramOptions) {
    this.#options = options;
    this.#framer = createFramer("none", options.maxLineBytes);
  }

  /** Hears what has arrived, but not for ever. */
  hear(socket: DatagramSocket): void {
    try {
      // Where none waits, there is an error to pick up.
      const count = Math.max(1, Math.min(socket.waiting, MAX_IN_A_ROW));
      for (let heard = 0; heard < count; heard++) {
        const [bytes, from] = socket.recvFrom(MAX_DATAGRAM_BYTES);
        this.#onDatagram(bytes, from);
      }
    } catch (error) {
      if (!(error instanceof Deno.errors.WouldBlock)) this.#report(error);
    }
  }

  #onDatagram(bytes: Uint8Array, from: Deno.Addr): void {
    const { stats, log, recent, allowed, denied } = this.#options;
    const sender = this.#senderAt(from as Deno.NetAddr);
    const { peer } = sender;
    // A flood of records of those kept out would be a flood of the log.
    if (denied?.has(peer) || allowed?.has(peer) === false) {
      stats.refused++;
      return;
    }
    stats.datagrams++;
    stats.bytes += bytes.length;
    if (log.takesLines) return void this.#framer.push(withoutEnd(bytes), sender);
    log.chunk(sender, 0, bytes);
    recent?.line(sender, bytes, 0, bytes.length, true, log.timeMs);
  }

  /** A burst comes from one sender: what its records begin with is made once. */
  #senderAt({ hostname, port }: Deno.NetAddr): Sender {
    const last = this.#sender;
    if (last?.hostname === hostname && last.port === port) return last;
    this.#sender = new Sender(this.#options, hostname, port);
    return this.#sender;
  }

  #report(error: unknown): void {
    const nowMs = performance.now();
    if (nowMs - this.#reportedAtMs < REPORT_MS) return;
    this.#reportedAtMs = nowMs;
    this.#options.say(`earshot: Cannot receive datagrams for now: ${reasonOf(error)}`);
  }
}

/** Who has sent a datagram: takes its pieces as records. */
class Sender implements FrameSink, Party {
  readonly peer: Peer;
  readonly hostname: string;
  readonly port: number;
  readonly #log: Log;
  readonly #recent: Recent | undefined;
  readonly #label: Uint8Array;

  constructor({ log, recent }: DatagramOptions, hostname: string, port: number) {
    this.hostname = hostname;
    this.port = port;
    this.peer = peerOf({ transport: "udp", hostname, port });
    this.#log = log;
    this.#recent = recent;
    this.#label = log.labelOf(this);
  }

  frame(bytes: Uint8Array, start: number, end: number, isWhole: boolean): void {
    this.#log.line(this.#label, bytes, start, end, isWhole);
    this.#recent?.line(this, bytes, start, end, isWhole, this.#log.timeMs);
  }
}

/** Without exactly one line end, LF or CRLF, or NUL: many senders add one, which says nothing. */
function withoutEnd(bytes: Uint8Array): Uint8Array {
  const last = bytes.at(-1);
  if (last !== LF && last !== NUL) return bytes;
  return bytes.subarray(0, last === LF && bytes.at(-2) === CR ? -2 : -1);
}
