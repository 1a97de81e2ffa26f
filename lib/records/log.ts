/**
 * Records that wait to be written: bytes in one buffer, which is taken as a whole
 * while the next is filled.
 *
 * @module
 */

import { ByteBuffer } from "../bytes.ts";
import type { ConnectionEvent, Format, RunEvent, Sent, Subject, Target } from "./records.ts";

/** What raw bytes are received from: a socket. */
export interface ByteSource {
  recvInto(target: Uint8Array, start: number, end: number): number;
}

/** Takes records. */
export interface RecordSink {
  /** What the records of a subject's data have between time and data. */
  labelOf(subject: Subject): Uint8Array;
  /** Records what the subject that `label` names said; see {@linkcode Format.received}. */
  received(
    label: Uint8Array,
    bytes: Uint8Array,
    start: number,
    end: number,
    isWhole: boolean,
    offset: number,
  ): void;
  /** What the records of what a target is sent have between time and data. */
  sentLabelOf(to: Target): Uint8Array;
  sent(label: Uint8Array, sent: Sent): void;
  event(subject: Subject, event: ConnectionEvent): void;
  run(event: RunEvent): void;
}

/** Memory that a log keeps for its next records. A round of the server is shorter. */
const KEPT_BYTES = 4 * 1024 * 1024;

/** The records for one destination, in its format. A record that fails leaves nothing behind. */
export class Log implements RecordSink {
  readonly #format: Format;
  /** A double buffer: one is filled while the other is written. */
  #filling = new ByteBuffer(KEPT_BYTES);
  #taken = new ByteBuffer(KEPT_BYTES);

  constructor(format: Format) {
    this.#format = format;
  }

  labelOf(subject: Subject): Uint8Array {
    return this.#format.label(subject);
  }

  received(
    label: Uint8Array,
    bytes: Uint8Array,
    start: number,
    end: number,
    isWhole: boolean,
    offset: number,
  ): void {
    const out = this.#filling;
    const before = out.length;
    try {
      this.#format.received(out, label, bytes, start, end, isWhole, offset);
    } catch (error) {
      out.length = before;
      throw error;
    }
  }

  sentLabelOf(to: Target): Uint8Array {
    return this.#format.sentLabel(to);
  }

  sent(label: Uint8Array, sent: Sent): void {
    this.#append((out) => this.#format.sent(out, label, sent));
  }

  event(subject: Subject, event: ConnectionEvent): void {
    this.#append((out) => this.#format.event(out, subject, event));
  }

  run(event: RunEvent): void {
    this.#append((out) => this.#format.run(out, event));
  }

  #append(write: (out: ByteBuffer) => void): void {
    const out = this.#filling;
    const before = out.length;
    try {
      write(out);
    } catch (error) {
      out.length = before;
      throw error;
    }
  }

  /** Receives at most `maxBytes` as they are, for raw; returns how many came, 0 at the end. */
  receive(source: ByteSource, maxBytes: number): number {
    const out = this.#filling;
    out.reserve(maxBytes);
    const count = source.recvInto(out.bytes, out.length, out.length + maxBytes);
    out.length += count;
    return count;
  }

  /** The last `count` bytes that wait, in place. */
  last(count: number): Uint8Array {
    const { bytes, length } = this.#filling;
    return bytes.subarray(length - count, length);
  }

  /** Bytes that wait to be taken. */
  get length(): number {
    return this.#filling.length;
  }

  /** Gives the records away in one part, if there are any. */
  takeParts(): readonly { readonly bytes: Uint8Array }[] {
    return this.length > 0 ? [{ bytes: this.take() }] : [];
  }

  /** Gives the records away; they stay as they are until the next call. */
  take(): Uint8Array {
    const full = this.#filling;
    this.#filling = this.#taken;
    this.#filling.clear();
    this.#taken = full;
    return full.filled;
  }
}
