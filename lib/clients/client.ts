/**
 * One connection: what it says is heard, framed and logged, and answered with
 * an echo or typed lines.
 *
 * @module
 */

import { POLLIN, POLLOUT, type Socket } from "../../poller.ts";
import type { Peer } from "../addresses.ts";
import { NO_BYTES } from "../bytes.ts";
import type { Framer, FrameSink } from "../framing/framing.ts";
import { reasonOf } from "../errors.ts";
import type { Log } from "../records/log.ts";
import type { History } from "../records/history.ts";
import type { Subject } from "../records/records.ts";
import type { Stats } from "../stats.ts";

/** What a client may leave unread before it is no longer heard. */
const MAX_UNREAD_BYTES = 1024 * 1024;

/** What all clients of a server share. */
export interface ClientContext {
  readonly log: Log;
  readonly stats: Stats;
  /** What the live page remembers, if there is one. */
  readonly history: History | undefined;
  readonly isEchoing: boolean;
  /** Makes the framer of a client; `undefined` where reads are logged as they come. */
  readonly createFramer: (() => Framer) | undefined;
  readonly input: Input;
  readonly maxReadBytes: number;
  /** Whether the input is the log's own memory, as raw has it. */
  readonly isReceivedIntoLog: boolean;
}

/** Where clients' bytes are received, one client at a time. */
export interface Input {
  /** Receives at most `maxReadBytes` from a socket; returns how many came, 0 at its end. */
  receive(socket: Socket): number;
  /** What came last, `count` bytes; valid until the next call. */
  last(count: number): Uint8Array;
}

/**
 * How a client is after it was heard: `more` if more may have arrived; `failed`
 * says why it cannot be heard any more.
 */
export type ReadResult =
  | { readonly tag: "more" | "heard" | "nothing" | "ended" }
  | { readonly tag: "failed"; readonly reason: string };

const MORE = { tag: "more" } as const;
const HEARD = { tag: "heard" } as const;
const NOTHING = { tag: "nothing" } as const;
const ENDED = { tag: "ended" } as const;

export class Client implements FrameSink, Subject {
  readonly number: number;
  readonly peer: Peer;
  readonly socket: Socket;
  readonly connectedAtMs: number;
  readonly #context: ClientContext;
  /** The next two are made when they are first needed: a quiet client costs little. */
  #framer: Framer | undefined;
  #label: Uint8Array | undefined;
  #wasAnswered = false;
  /** Whether it is still sent anything; a failure to send ends the sending, not the hearing. */
  #isSending = true;
  /** Whether the last frame was a piece of a line that goes on. */
  #isInLine = false;
  bytes = 0;
  lines = 0;
  /** Whether it has sent its end of file, and only waits for what it is still to be sent. */
  isEnding = false;
  /** The events that its socket is watched for. */
  watched = POLLIN;
  /** The span in which it last talked, for the logWriter. */
  talkedIn = -1;

  constructor(context: ClientContext, number: number, peer: Peer, socket: Socket) {
    this.#context = context;
    this.number = number;
    this.peer = peer;
    this.socket = socket;
    this.connectedAtMs = performance.now();
  }

  /** Events to wait for: a client that leaves too much unread is not heard. */
  get wants(): number {
    if (this.isEnding) return 0;
    return this.unsentBytes < MAX_UNREAD_BYTES ? POLLIN : POLLOUT;
  }

  /** Bytes that it has not made room for yet. */
  get unsentBytes(): number {
    return this.socket.unsentBytes;
  }

  get isSending(): boolean {
    return this.#isSending;
  }

  /** Whether it has said something that --flush-after may log: a line without an end yet. */
  get isHolding(): boolean {
    return this.#framer?.isHolding ?? false;
  }

  /** Hears what has arrived, once. */
  hear(): ReadResult {
    const { input, stats, maxReadBytes } = this.#context;
    this.#noticeBrokenSending();
    let count;
    try {
      count = input.receive(this.socket);
    } catch (error) {
      if (error instanceof Deno.errors.WouldBlock) return NOTHING;
      return { tag: "failed", reason: reasonToLeave(error) };
    }
    if (count === 0) return ENDED;
    this.bytes += count;
    stats.bytes += count;
    const fault = this.#take(count);
    if (fault) return { tag: "failed", reason: fault };
    return count < maxReadBytes ? HEARD : MORE;
  }

  /** Logs what was received, and sends it back if that is asked for. */
  #take(count: number): string | undefined {
    const { input, isReceivedIntoLog, isEchoing } = this.#context;
    // It is logged already, and nobody else asks for it.
    if (isReceivedIntoLog && !isEchoing) return;
    const bytes = input.last(count);
    const fault = this.#log(bytes);
    if (!fault && isEchoing) this.answer(bytes);
    return fault;
  }

  #log(bytes: Uint8Array): string | undefined {
    const { createFramer, log, history, isReceivedIntoLog } = this.#context;
    if (createFramer) return (this.#framer ??= createFramer()).push(bytes, this);
    if (!isReceivedIntoLog) log.chunk(this, this.bytes - bytes.length, bytes);
    history?.line(this, bytes, 0, bytes.length, true, log.timeMs);
  }

  /** Takes a frame from the framer: a line, or a piece of one. */
  frame(bytes: Uint8Array, start: number, end: number, isWhole: boolean): void {
    const { log, stats, history } = this.#context;
    this.#label ??= log.labelOf(this);
    log.line(this.#label, bytes, start, end, isWhole);
    history?.line(this, bytes, start, end, isWhole, log.timeMs);
    if (!isWhole && !this.#isInLine) stats.cut++;
    this.#isInLine = !isWhole;
    if (isWhole) this.#countLine();
  }

  /** The pieces of a cut line count as one, at its end. */
  #countLine(): void {
    this.lines++;
    this.#context.stats.lines++;
  }

  /** Logs what it has said without a line end. */
  flush(): void {
    this.#framer?.flush(this);
  }

  /** Sends all of it; a failure ends the sending. */
  answer(bytes: Uint8Array): void {
    if (!this.#isSending) return;
    const { socket } = this;
    this.#wasAnswered = true;
    try {
      // What was heard is answered whole, however little room there is; then it is not heard.
      socket.sendBufferBytes = Math.max(MAX_UNREAD_BYTES, socket.unsentBytes + bytes.length);
      socket.send(bytes);
      socket.sendBufferBytes = MAX_UNREAD_BYTES;
    } catch {
      this.#isSending = false;
    }
  }

  /** Picks up the failure of a write in the background, or receiving would throw it. */
  #noticeBrokenSending(): void {
    if (this.#wasAnswered) this.answer(NO_BYTES);
  }

  /** Logs what is left of its input; it says no more. */
  finish(): void {
    const framer = this.#framer;
    this.#framer = undefined;
    framer?.end(this);
    if (this.#isInLine) this.#countLine();
    this.#isInLine = false;
  }
}

/** Why a client whose connection failed has left, in the words of a record. */
export function reasonToLeave(error: unknown): string {
  const isReset = error instanceof Deno.errors.ConnectionReset ||
    error instanceof Deno.errors.BrokenPipe;
  return isReset ? "reset by peer" : reasonOf(error);
}
