/**
 * One connection: what it says is read, framed and recorded, and answered with
 * an echo or typed lines.
 *
 * @module
 */

import { POLLIN, POLLOUT, type Socket } from "../../poller.ts";
import { NO_BYTES } from "../bytes.ts";
import { isReset, reasonOf } from "../errors.ts";
import type { Framer, FrameSink } from "../framing/framing.ts";
import type { Ending } from "../records/ending.ts";
import type { Recorder, SubjectRecorder } from "../records/recorder.ts";
import { type DisconnectReason, type Sent, sentWhole, type Subject } from "../records/records.ts";
import type { Stats } from "../stats.ts";
import type { ClientHints } from "./client_hints.ts";
import type { Input } from "./input.ts";
import { Answering, type Replies } from "./replies.ts";
import { sendWhole } from "./send_whole.ts";

/** What one read may add to the log, about: a line end alone becomes fifty bytes of it or more. */
const READ_LOG_BYTES = 64 * 1024;
const MIN_READ_BYTES = 256;

/** Finds where the last frame ends. */
export interface LastFrame {
  readonly ending: Ending;
  /** Up to where bytes can be framed, from `at` on, without a frame behind that. */
  readonly stepEnd: (bytes: Uint8Array, at: number) => number;
}

/** What all clients of a server share. */
export interface ClientContext {
  readonly recorder: Recorder;
  readonly stats: Stats;
  readonly isEchoing: boolean;
  /** Answers what clients say, by rules. */
  readonly replies: Replies | undefined;
  /** How much of a frame that is recorded in pieces is kept for the rules. */
  readonly maxLineBytes: number;
  /** What a client may leave unread before it is no longer read itself. */
  readonly maxUnreadBytes: number;
  /** Makes the framer of a client; `undefined` where reads are recorded as they come. */
  readonly createFramer: (() => Framer) | undefined;
  readonly input: Input;
  /** Whether the input is the log's own memory, as raw has it. */
  readonly isReceivedIntoLog: boolean;
  readonly maxReadBytes: number;
  /** Which record is the last, if that depends on what clients say. */
  readonly ending: LastFrame | undefined;
  readonly hints: ClientHints;
}

/** The connection to the server that a client is forwarded to. */
export interface Upstream {
  /** Bytes that the server has not taken yet. */
  readonly unsentBytes: number;
  /** Whether these are so many that the client should not be read. */
  readonly isFull: boolean;
  /** Whether the server says no more. */
  readonly hasEnded: boolean;
  /** When the server last talked, for the log writer. */
  talkedAtMs: number;
  /** Sends on all that the client has said. */
  send(bytes: Uint8Array): void;
  /** The client says no more: half-closes. Settles when all that it said has left. */
  shutdown(): Promise<void>;
  /** Records what is left of what the server said. */
  finish(): void;
  /** Waits for what is wanted now of the server. */
  update(): void;
  close(): void;
}

/** How a read went: `more` if more may have arrived, `failed` if nothing can be read any more. */
export type ReadResult =
  | { readonly tag: "more" | "read" | "nothing" | "ended" }
  | { readonly tag: "failed"; readonly reason: DisconnectReason };

const MORE = { tag: "more" } as const;
const READ = { tag: "read" } as const;
const NOTHING = { tag: "nothing" } as const;
const ENDED = { tag: "ended" } as const;

export class Client implements FrameSink {
  readonly subject: Subject & { readonly number: number };
  readonly socket: Socket;
  readonly connectedAtMs: number;
  readonly #context: ClientContext;
  /** The next three are made when they are first needed: a quiet client costs little. */
  #framer: Framer | undefined;
  #records: SubjectRecorder | undefined;
  #answering: Answering | undefined;
  #wasAnswered = false;
  /** Whether it is still sent anything; a failure to send ends the sending, not the reading. */
  #isSending = true;
  /** Whether the last frame was a piece of a line that goes on. */
  #isInLine = false;
  /** The most that is read of it at once. */
  #maxReadBytes: number;
  bytes = 0;
  lines = 0;
  /** Common name of the certificate that it has shown. */
  certificate: string | undefined;
  /** The connection to the server that it is forwarded to, if it is. */
  upstream: Upstream | undefined;
  /** Whether it says no more. */
  hasEnded = false;
  /** Why it leaves, which waits for what it is still to be sent. */
  departure: DisconnectReason | undefined;
  /** The events that its socket is registered for. */
  registered = POLLIN;
  /** When it last talked; -Infinity if it never did. */
  talkedAtMs = -Infinity;

  constructor(context: ClientContext, subject: Client["subject"], socket: Socket) {
    this.#context = context;
    this.subject = subject;
    this.socket = socket;
    this.#maxReadBytes = context.maxReadBytes;
    this.connectedAtMs = performance.now();
  }

  /**
   * Events to wait for: a client that leaves too much unread is not read, nor is one whose
   * server does.
   */
  get interest(): number {
    if (this.departure) return 0;
    if (this.unsentBytes >= this.#context.maxUnreadBytes) return POLLOUT;
    return this.hasEnded || this.upstream?.isFull ? 0 : POLLIN;
  }

  /** Bytes that it has not made room for yet. */
  get unsentBytes(): number {
    return this.#wasAnswered ? this.socket.unsentBytes : 0;
  }

  /** Records what it says, and is told. */
  get #recorder(): SubjectRecorder {
    return this.#records ??= this.#context.recorder.child(this.subject);
  }

  get isSending(): boolean {
    return this.#isSending;
  }

  /** Whether it has said something that --flush-after may record: a line without an end yet. */
  get isHolding(): boolean {
    return this.#framer?.isHolding ?? false;
  }

  /** Reads what has arrived, once. */
  read(): ReadResult {
    const { input, stats } = this.#context;
    const maxBytes = this.#maxReadBytes;
    this.#noticeBrokenSending();
    let count;
    try {
      count = input.receive(this.socket, maxBytes);
    } catch (error) {
      if (error instanceof Deno.errors.WouldBlock) return NOTHING;
      return { tag: "failed", reason: reasonToLeave(error) };
    }
    if (count === 0) return ENDED;
    this.bytes += count;
    stats.bytes += count;
    return this.#take(count) ?? (count < maxBytes ? READ : MORE);
  }

  /** Records what was received, and sends it back if that is asked for. */
  #take(count: number): ReadResult | undefined {
    const { input, isEchoing, hints } = this.#context;
    if (this.#isForLogOnly) {
      if (hints.wants(this, count)) hints.heard(this, input.last(count));
      return;
    }
    const received = input.last(count);
    const receivedBytes = this.bytes;
    const fault = this.#record(received);
    // Behind the last record nothing counts as read.
    const unreadBytes = receivedBytes - this.bytes;
    const bytes = unreadBytes > 0 ? received.subarray(0, -unreadBytes) : received;
    hints.heard(this, bytes);
    if (fault) return { tag: "failed", reason: { tag: "unframable", fault } };
    if (isEchoing) this.answer(bytes);
    this.upstream?.send(bytes);
  }

  /** Whether nobody but the log, which has it already, is to have what was read. */
  get #isForLogOnly(): boolean {
    const { isReceivedIntoLog, isEchoing, replies, ending } = this.#context;
    return isReceivedIntoLog && !isEchoing && !replies && !ending && !this.upstream;
  }

  #record(bytes: Uint8Array) {
    const { createFramer, isReceivedIntoLog, ending } = this.#context;
    if (createFramer) {
      this.#framer ??= createFramer();
      return ending ? this.#frameUntil(bytes, ending) : this.#framer.push(bytes, this);
    }
    if (isReceivedIntoLog) this.#recorder.readInPlace(bytes);
    else this.#recorder.read(bytes, this.bytes - bytes.length);
    this.#reply(bytes, 0, bytes.length, true);
  }

  /** Frames up to the last record: what stands behind it counts as never read. */
  #frameUntil(bytes: Uint8Array, { ending, stepEnd }: LastFrame) {
    let at = 0;
    while (at < bytes.length && !ending.isReached) {
      const next = stepEnd(bytes, at);
      const fault = this.#framer!.push(bytes.subarray(at, next), this);
      if (fault) return fault;
      at = next;
    }
    this.bytes -= bytes.length - at;
    this.#context.stats.bytes -= bytes.length - at;
  }

  /**
   * Adapts how much is read at once to what `read` bytes have added to the log: nobody's
   * line ends may fill it before others have their turn.
   */
  adaptRead(readBytes: number, loggedBytes: number): void {
    const { maxReadBytes } = this.#context;
    if (loggedBytes <= READ_LOG_BYTES && this.#maxReadBytes === maxReadBytes) return;
    const fitting = Math.trunc(readBytes * READ_LOG_BYTES / Math.max(1, loggedBytes));
    this.#maxReadBytes = Math.min(maxReadBytes, Math.max(MIN_READ_BYTES, fitting));
  }

  /** Takes a frame from the framer: a line, or a piece of one. */
  frame(bytes: Uint8Array, start: number, end: number, isWhole: boolean): void {
    const { stats, ending } = this.#context;
    if (ending?.ending.isReached) return;
    this.#recorder.frame(bytes, start, end, isWhole);
    if (!isWhole && !this.#isInLine && this.#isPiece(end - start)) stats.cut++;
    this.#isInLine = !isWhole;
    if (isWhole) this.#countLine();
    this.#reply(bytes, start, end, isWhole);
  }

  /** Whether so many bytes without an end are a piece of a line that is too long. */
  #isPiece(length: number): boolean {
    // A piece has up to 3 bytes fewer rather than split a character.
    return length > this.#context.maxLineBytes - 4;
  }

  /** Answers a frame by the rules, at its end. */
  #reply(bytes: Uint8Array, start: number, end: number, isWhole: boolean): void {
    const { replies, maxLineBytes } = this.#context;
    if (!replies) return;
    this.#answering ??= new Answering(replies, maxLineBytes);
    const answer = this.#answering.answerTo(bytes, start, end, isWhole);
    if (answer.length > 0) this.tell(answer);
  }

  /** Sends it something as a whole, and records that. */
  tell(bytes: Uint8Array): void {
    this.answer(bytes);
    if (!this.#isSending) return;
    this.#recorder.answered(sentWhole(bytes));
  }

  /** Records what its server has said to it. */
  forwarded(sent: Sent): void {
    this.#recorder.forwarded(sent);
  }

  /** Takes what stands between frames: it is recorded, but is no line. */
  outside(bytes: Uint8Array, start: number, end: number): void {
    const { ending } = this.#context;
    if (ending?.ending.isReached) return;
    this.#recorder.frame(bytes, start, end, false);
  }

  /** The pieces of a cut line count as one, at its end. */
  #countLine(): void {
    this.lines++;
    this.#context.stats.lines++;
  }

  /** Records what it has said without a line end. */
  flush(): void {
    this.#framer?.flush(this);
  }

  /** Sends all of it; a failure ends the sending. */
  answer(bytes: Uint8Array): void {
    if (!this.#isSending) return;
    this.#wasAnswered = true;
    try {
      // What was read is answered whole; then it is not read.
      sendWhole(this.socket, bytes, this.#context.maxUnreadBytes);
    } catch {
      this.#isSending = false;
    }
  }

  /** Takes the error of a failed background write now; otherwise the next receive would throw it. */
  #noticeBrokenSending(): void {
    if (this.#wasAnswered) this.answer(NO_BYTES);
  }

  /** Records what is left of its input; it says no more. */
  finish(): void {
    const framer = this.#framer;
    this.#framer = undefined;
    framer?.end(this);
    if (this.#isInLine) this.#countLine();
    this.#isInLine = false;
  }
}

/** Why a client whose connection failed has left. */
function reasonToLeave(error: unknown): DisconnectReason {
  return isReset(error) ? { tag: "reset" } : { tag: "failed", words: reasonOf(error) };
}
