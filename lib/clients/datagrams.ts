/**
 * Datagrams: each is a record of its own, and nothing is kept of its sender.
 *
 * @module
 */

import { type DatagramSocket, POLLIN } from "../../poller.ts";
import { type Networks, peerOf } from "../addresses.ts";
import { CR, LF, NUL } from "../bytes.ts";
import { cutPieces } from "../framing/partial_frame.ts";
import { reasonOf } from "../errors.ts";
import type { Say } from "../messages.ts";
import type { Recorder, SubjectRecorder } from "../records/recorder.ts";
import type { Subject } from "../records/records.ts";
import type { Multiplexer } from "../loop/selector.ts";
import type { Deadline } from "../loop/deadlines.ts";
import { FaultPause } from "../loop/fault_pause.ts";
import type { Stats } from "../stats.ts";

/** Nothing larger arrives by UDP. */
const MAX_DATAGRAM_BYTES = 64 * 1024;
/** The most that is heard of one socket before others have their turn. */
const MAX_TURN_BYTES = 256 * 1024;
/** How long a socket that failed is left alone: if it fails each time, the loop would spin. */
const PAUSE_MS = 100;

export interface DatagramOptions {
  readonly recorder: Recorder;
  readonly stats: Stats;
  readonly allowed: Networks | undefined;
  readonly denied: Networks | undefined;
  /** A longer datagram comes in pieces; `undefined` where each is recorded as it came. */
  readonly maxLineBytes: number | undefined;
  /** What the sockets are registered with. */
  readonly multiplexer: Pick<Multiplexer, "register" | "unregister">;
  readonly say: Say;
}

export class Datagrams implements Deadline {
  readonly #options: DatagramOptions;
  /** Each datagram is received into it. */
  readonly #input = new Uint8Array(MAX_DATAGRAM_BYTES);
  #sender: Sender | undefined;
  /** Sockets that are left alone during the pause. */
  readonly #paused = new Set<DatagramSocket>();
  readonly #pause: FaultPause;

  constructor(options: DatagramOptions) {
    this.#options = options;
    const onEnd = () => this.#resume();
    this.#pause = new FaultPause({ pauseMs: PAUSE_MS, say: options.say, onEnd });
  }

  /**
   * Takes what waits in the socket, which bounds it. Up to the limit of a turn nothing is left
   * there: the next wait would take a turn of the loop, and the kernel drops what comes meanwhile.
   */
  onReadable(socket: DatagramSocket): void {
    if (this.#paused.has(socket)) return;
    let received = 0;
    try {
      do received += this.#receive(socket); while (socket.waiting > 0 && received < MAX_TURN_BYTES);
    } catch (error) {
      if (!(error instanceof Deno.errors.WouldBlock)) this.#onFault(socket, error);
    }
  }

  #onFault(socket: DatagramSocket, error: unknown): void {
    this.#paused.add(socket);
    this.#options.multiplexer.unregister(socket);
    const reason = reasonOf(error);
    this.#pause.begin(reason, `earshot: Cannot receive datagrams for now: ${reason}`);
  }

  #resume(): void {
    for (const socket of this.#paused) this.#options.multiplexer.register(socket, POLLIN);
    this.#paused.clear();
  }

  get dueAtMs(): number {
    return this.#pause.dueAtMs;
  }

  onDue(nowMs: number): void {
    this.#pause.onDue(nowMs);
  }

  #receive(socket: DatagramSocket): number {
    const [count, from] = socket.recvFromInto(this.#input);
    const { stats, allowed, denied } = this.#options;
    const sender = this.#senderAt(from as Deno.NetAddr);
    // No record: those who are kept out could flood the log.
    if (denied?.has(sender.subject.peer) || allowed?.has(sender.subject.peer) === false) {
      stats.refused++;
      return count;
    }
    stats.datagrams++;
    stats.bytes += count;
    this.#record(sender, count);
    return count;
  }

  #record({ records }: Sender, count: number): void {
    const { stats, maxLineBytes } = this.#options;
    const input = this.#input;
    if (maxLineBytes === undefined) return records.read(input.subarray(0, count), 0);
    const end = endOf(input, count);
    const start = cutPieces(
      input,
      0,
      end,
      { maxBytes: maxLineBytes, keepsCharacters: true },
      records,
    );
    if (start > 0) stats.cut++;
    records.frame(input, start, end, true);
  }

  /** A burst comes from one sender: what its records begin with is made once. */
  #senderAt({ hostname, port }: Deno.NetAddr): Sender {
    const last = this.#sender;
    if (last?.port === port && last.hostname === hostname) return last;
    const subject = { peer: peerOf({ transport: "udp", hostname, port }) };
    this.#sender = { hostname, port, subject, records: this.#options.recorder.child(subject) };
    return this.#sender;
  }
}

/** Who has sent a datagram. */
interface Sender {
  readonly hostname: string;
  readonly port: number;
  readonly subject: Subject;
  readonly records: SubjectRecorder;
}

/** Where a datagram ends but for one LF, CRLF or NUL: many senders add one, and it says nothing. */
function endOf(bytes: Uint8Array, count: number): number {
  const last = bytes[count - 1];
  if (count === 0 || last !== LF && last !== NUL) return count;
  return last === LF && count > 1 && bytes[count - 2] === CR ? count - 2 : count - 1;
}
