/**
 * Datagrams: each is a record of its own, and nothing is kept of its sender.
 *
 * @module
 */

import { type DatagramSocket, POLLIN, type Source } from "../../poller.ts";
import type { NameTable } from "../accept/names.ts";
import { type Networks, type Peer, peerOf, peerText } from "../addresses.ts";
import { LF, lineEndOf, NUL } from "../bytes.ts";
import { type Encoding, Transcoder } from "../framing/encodings.ts";
import { cutPieces, type FrameLimits } from "../framing/partial_frame.ts";
import { reasonOf } from "../errors.ts";
import type { Say } from "../messages.ts";
import type { Ending } from "../records/ending.ts";
import type { Recorder, SubjectRecorder } from "../records/recorder.ts";
import type { Replies } from "./replies.ts";
import { sentWhole, type Subject } from "../records/records.ts";
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
const REPORT_MS = 60_000;

/** How datagrams become text. */
export interface DatagramText {
  /** A longer record comes in pieces. */
  readonly maxLineBytes: number;
  readonly encoding: Encoding;
  /** Whether each line of a datagram is a record. */
  readonly udpLines: boolean;
}

export interface DatagramOptions {
  readonly recorder: Recorder;
  readonly stats: Stats;
  readonly allowed: Networks | undefined;
  readonly denied: Networks | undefined;
  readonly names: Pick<NameTable, "of">;
  /** Ports of the sockets, if they are several. */
  readonly ports: ReadonlyMap<Source, number>;
  /** How datagrams become text; `undefined` where each is recorded as it came. */
  readonly text: DatagramText | undefined;
  readonly replies: Replies | undefined;
  /** How many senders are remembered, so that they can be answered by their address. */
  readonly maxCorrespondents: number;
  /** Paths of those of the sockets that are Unix sockets. */
  readonly paths: ReadonlyMap<DatagramSocket, string>;
  /** What the sockets are registered with. */
  readonly multiplexer: Pick<Multiplexer, "register" | "unregister">;
  readonly say: Say;
  /** Decides which record is the last, if that depends on what is sent. */
  readonly ending: Ending | undefined;
}

export class Datagrams implements Deadline {
  readonly #options: DatagramOptions;
  /** Each datagram is received into it. */
  readonly #input = new Uint8Array(MAX_DATAGRAM_BYTES);
  #sender: Sender | undefined;
  /** Senders by their address, the least lately heard first (LRU). */
  readonly #correspondents = new Map<string, Sender>();
  /** Whether a datagram that was sent may fail yet, which the next receive would throw. */
  #mayHaveSendFault = false;
  #sendFaultSaidAtMs = -Infinity;
  #wasUnansweredSaid = false;
  /** Sockets that are left alone during the pause. */
  readonly #paused = new Set<DatagramSocket>();
  readonly #pause: FaultPause;
  readonly #limits: FrameLimits;

  constructor(options: DatagramOptions) {
    this.#options = options;
    this.#limits = { maxBytes: options.text?.maxLineBytes ?? Infinity, keepsCharacters: true };
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
      do {
        if (this.#options.ending?.isReached) return;
        received += this.#receive(socket);
      } while (socket.waiting > 0 && received < MAX_TURN_BYTES);
    } catch (error) {
      if (!(error instanceof Deno.errors.WouldBlock)) this.#onFault(socket, error);
    }
  }

  #onFault(socket: DatagramSocket, error: unknown): void {
    // A sender that cannot be answered must not keep others from being heard.
    if (this.#mayHaveSendFault) {
      this.#mayHaveSendFault = false;
      return this.#onSendFault(error);
    }
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
    const { stats } = this.#options;
    const sender = this.#senderAt(socket, from);
    // No record: those who are kept out could flood the log.
    if (this.#isRefused(sender.subject.peer)) {
      stats.refused++;
      return count;
    }
    stats.datagrams++;
    stats.bytes += count;
    const said = this.#saidIn(count);
    this.#record(sender, said);
    this.#reply(sender, said);
    return count;
  }

  /** Who may use a Unix socket is a matter of its file. */
  #isRefused(peer: Peer): boolean {
    const { allowed, denied } = this.#options;
    return peer.kind === "ip" && (denied?.has(peer) || allowed?.has(peer) === false);
  }

  /** What a datagram of so many bytes says, in UTF-8 and without the line end that many senders add. */
  #saidIn(count: number): Uint8Array {
    const bytes = this.#input.subarray(0, count);
    const { text } = this.#options;
    if (!text) return bytes;
    const { encoding } = text;
    // A datagram is a text of its own.
    const utf8 = encoding ? new Transcoder(encoding).convert(bytes, false) : bytes;
    return utf8.subarray(0, endOf(utf8));
  }

  #record({ records }: Sender, said: Uint8Array): void {
    const { text } = this.#options;
    if (!text) return records.read(said, 0);
    let start = 0;
    if (text.udpLines) {
      for (let lf; (lf = said.indexOf(LF, start)) >= 0; start = lf + 1) {
        this.#recordLine(records, said, start, lineEndOf(said, start, lf + 1));
      }
    }
    this.#recordLine(records, said, start, said.length);
  }

  #recordLine(records: SubjectRecorder, said: Uint8Array, start: number, end: number): void {
    if (this.#options.ending?.isReached) return;
    const rest = cutPieces(said, start, end, this.#limits, records);
    if (rest > start) this.#options.stats.cut++;
    records.frame(said, rest, end, true);
  }

  /** Answers a datagram by the rules: the whole of it, however it was recorded. */
  #reply(sender: Sender, said: Uint8Array): void {
    const answer = this.#options.replies?.answerTo(said, 0, said.length);
    if (!answer || answer.length === 0) return;
    if (sender.addr.transport === "udp") this.#answer(sender, answer);
    else this.#sayUnanswered();
  }

  /** The receive that always waits has the socket to itself: Deno throws Busy. */
  #sayUnanswered(): void {
    if (this.#wasUnansweredSaid) return;
    this.#wasUnansweredSaid = true;
    this.#options.say(
      "earshot: Cannot answer a Unix datagram: Deno sends none by a socket that receives",
    );
  }

  /** A burst comes from one sender: what its records begin with is made once. */
  #senderAt(socket: DatagramSocket, addr: Deno.Addr): Sender {
    const last = this.#sender;
    if (last?.socket === socket && isSame(last.addr, addr)) return last;
    const { recorder, names, paths, ports } = this.#options;
    const peer = peerOf(addr, paths.get(socket));
    const subject = { peer, name: names.of(peer), to: ports.get(socket) };
    this.#sender = { socket, addr, subject, records: recorder.child(subject) };
    if (addr.transport === "udp") this.#remember(this.#sender);
    return this.#sender;
  }

  /** Has senders be named anew. */
  forgetNames(): void {
    this.#sender = undefined;
  }

  #remember(sender: Sender): void {
    const { maxCorrespondents } = this.#options;
    if (maxCorrespondents === 0) return;
    const address = peerText(sender.subject.peer);
    this.#correspondents.delete(address);
    this.#correspondents.set(address, sender);
    if (this.#correspondents.size <= maxCorrespondents) return;
    for (const least of this.#correspondents.keys()) {
      this.#correspondents.delete(least);
      return;
    }
  }

  /**
   * Sends a datagram to the sender with an address, from the port that heard it.
   *
   * @returns False if none of those who are remembered has that address.
   */
  answerTo(address: string, bytes: Uint8Array): boolean {
    const sender = this.#correspondents.get(address);
    if (sender) this.#answer(sender, bytes);
    return sender !== undefined;
  }

  /** Sends a datagram, if there is room for it; the network may lose it in any case. */
  #answer({ socket, addr, records }: Sender, bytes: Uint8Array): void {
    const fault = this.#takeFault(() => socket.sendTo(bytes, addr)) &&
      // That may have been the failure of an earlier one, which is thrown once.
      this.#takeFault(() => socket.sendTo(bytes, addr));
    if (fault) return this.#onSendFault(fault.error);
    this.#mayHaveSendFault = true;
    records.answered(sentWhole(bytes));
  }

  #takeFault(send: () => void): { readonly error: unknown } | undefined {
    try {
      send();
    } catch (error) {
      return { error };
    }
  }

  #onSendFault(error: unknown): void {
    const nowMs = performance.now();
    if (nowMs - this.#sendFaultSaidAtMs < REPORT_MS) return;
    this.#sendFaultSaidAtMs = nowMs;
    this.#options.say(`earshot: Cannot send a datagram: ${reasonOf(error)}`);
  }
}

/** Who has sent a datagram. */
interface Sender {
  readonly socket: DatagramSocket;
  readonly addr: Deno.Addr;
  readonly subject: Subject;
  readonly records: SubjectRecorder;
}

/** Whether two datagrams come from one sender. Those that have no name of their own are all one. */
function isSame(a: Deno.Addr, b: Deno.Addr): boolean {
  if ("hostname" in a && "hostname" in b) return a.port === b.port && a.hostname === b.hostname;
  return "path" in a && "path" in b && a.path === b.path;
}

/** Where a datagram ends but for one LF, CRLF, NUL or LF NUL. */
function endOf(bytes: Uint8Array): number {
  return lineEndOf(bytes, 0, bytes.length - (bytes.at(-1) === NUL ? 1 : 0));
}
