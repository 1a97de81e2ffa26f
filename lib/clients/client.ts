/**
 * One connection: what it says is read, framed and recorded, and answered with
 * an echo or typed lines.
 *
 * @module
 */

import { POLLIN, POLLOUT, type Socket } from "../../poller.ts";
import { NO_BYTES } from "../bytes.ts";
import { reasonOf } from "../errors.ts";
import type { Framer, FrameSink } from "../framing/framing.ts";
import type { Recorder, SubjectRecorder } from "../records/recorder.ts";
import type { DisconnectReason, Subject } from "../records/records.ts";
import type { Stats } from "../stats.ts";
import type { Input } from "./input.ts";

/** What a client may leave unread before it is no longer read itself. */
const MAX_UNREAD_BYTES = 1024 * 1024;
/** What one read may add to the log, about: a line end alone becomes fifty bytes of it or more. */
const READ_LOG_BYTES = 64 * 1024;
const MIN_READ_BYTES = 256;

/** What all clients of a server share. */
export interface ClientContext {
  readonly recorder: Recorder;
  readonly stats: Stats;
  readonly isEchoing: boolean;
  /** Makes the framer of a client; `undefined` where reads are recorded as they come. */
  readonly createFramer: (() => Framer) | undefined;
  readonly input: Input;
  /** Whether the input is the log's own memory, as raw has it. */
  readonly isReceivedIntoLog: boolean;
  readonly maxReadBytes: number;
}

/** How a read went: `more` if more may have arrived, `failed` if nothing can be read any more. */
export type ReadResult =
  | { readonly tag: "more" | "read"; readonly bytes: number }
  | { readonly tag: "nothing" | "ended" }
  | { readonly tag: "failed"; readonly reason: DisconnectReason };

const NOTHING = { tag: "nothing" } as const;
const ENDED = { tag: "ended" } as const;

export class Client implements FrameSink {
  readonly subject: Subject & { readonly number: number };
  readonly socket: Socket;
  readonly connectedAtMs: number;
  readonly #context: ClientContext;
  /** The next two are made when they are first needed: a quiet client costs little. */
  #framer: Framer | undefined;
  #records: SubjectRecorder | undefined;
  #wasAnswered = false;
  /** Whether it is still sent anything; a failure to send ends the sending, not the reading. */
  #isSending = true;
  /** Whether the last frame was a piece of a line that goes on. */
  #isInLine = false;
  /** The most that is read of it at once. */
  #maxReadBytes: number;
  bytes = 0;
  lines = 0;
  /** Whether it has sent its end of file, and only waits for what it is still to be sent. */
  isEnding = false;
  /** The events that its socket is registered for. */
  registered = POLLIN;
  /** The span in which it last talked, for the log writer. */
  talkedIn = -1;

  constructor(context: ClientContext, subject: Client["subject"], socket: Socket) {
    this.#context = context;
    this.subject = subject;
    this.socket = socket;
    this.#maxReadBytes = context.maxReadBytes;
    this.connectedAtMs = performance.now();
  }

  /** Events to wait for: a client that leaves too much unread is not read. */
  get interest(): number {
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
    return this.#take(count) ?? { tag: count < maxBytes ? "read" : "more", bytes: count };
  }

  /** Records what was received, and sends it back if that is asked for. */
  #take(count: number): ReadResult | undefined {
    const { input, isEchoing } = this.#context;
    const bytes = input.last(count);
    const fault = this.#record(bytes);
    if (fault) return { tag: "failed", reason: { tag: "unframable", fault } };
    if (isEchoing) this.answer(bytes);
  }

  #record(bytes: Uint8Array) {
    const { createFramer, recorder, isReceivedIntoLog } = this.#context;
    if (createFramer) return (this.#framer ??= createFramer()).push(bytes, this);
    this.#records ??= recorder.child(this.subject);
    if (isReceivedIntoLog) this.#records.readInPlace(bytes);
    else this.#records.read(bytes, this.bytes - bytes.length);
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
    const { recorder, stats } = this.#context;
    this.#records ??= recorder.child(this.subject);
    this.#records.frame(bytes, start, end, isWhole);
    if (!isWhole && !this.#isInLine) stats.cut++;
    this.#isInLine = !isWhole;
    if (isWhole) this.#countLine();
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
    const { socket } = this;
    this.#wasAnswered = true;
    try {
      // What was read is answered whole, however little room there is; then it is not read.
      socket.sendBufferBytes = Math.max(MAX_UNREAD_BYTES, socket.unsentBytes + bytes.length);
      socket.send(bytes);
      socket.sendBufferBytes = MAX_UNREAD_BYTES;
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
  const isReset = error instanceof Deno.errors.ConnectionReset ||
    error instanceof Deno.errors.BrokenPipe;
  return isReset ? { tag: "reset" } : { tag: "failed", words: reasonOf(error) };
}
