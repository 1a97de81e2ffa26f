/**
 * Makes records of what happens, in the format that the user chose: bytes in one
 * buffer, which is taken as a whole while the next is filled.
 *
 * @module
 */

import { ByteBuffer, encode, NO_BYTES } from "../bytes.ts";
import { appendChunk } from "./hex.ts";
import { JsonFormat } from "./json.ts";
import type { ConnectionEvent, Format, FormatName, Subject, Target, Time } from "./records.ts";
import { TextFormat } from "./text.ts";

export type { Subject } from "./records.ts";

/** What a {@linkcode Log} needs to know. */
export interface LogOptions {
  readonly format: FormatName;
  readonly time: Time;
  /** Whether connects, disconnects and refusals are left out. */
  readonly isQuiet: boolean;
  readonly isColored: boolean;
  /** The moment that `elapsed` counts from, milliseconds since 1970. */
  readonly startMs: number;
}

/** What raw is received from: a socket. */
interface ByteSource {
  recvInto(target: Uint8Array, start: number, end: number): number;
}

/** Records that wait to be written. */
export class Log {
  readonly #kind: FormatName;
  /** Whether connects, disconnects and refusals are left out. */
  readonly isQuiet: boolean;
  readonly #format: Format;
  readonly #clock: Clock;
  /** How every record starts now. */
  #stamp: Uint8Array = NO_BYTES;
  readonly #out = new DoubleBuffer();
  /** What `raw` must keep out of the output. */
  readonly #aside = new DoubleBuffer();

  constructor(options: LogOptions) {
    const { format, time, isQuiet, isColored, startMs } = options;
    this.#kind = format;
    this.isQuiet = isQuiet;
    this.#format = format === "json"
      ? new JsonFormat()
      : new TextFormat({ isColored, countsLines: format === "text" });
    this.#clock = new Clock(time, startMs);
    this.setTime(startMs);
  }

  /** Whether clients' bytes come by {@linkcode line}, not as they are read. */
  get takesLines(): boolean {
    return this.#kind === "text" || this.#kind === "json";
  }

  /** Whether clients' bytes are written as they come. */
  get isRaw(): boolean {
    return this.#kind === "raw";
  }

  /** Dates the records from here on; milliseconds since 1970. */
  setTime(nowMs: number): void {
    if (!this.#clock.set(nowMs)) return;
    this.#stamp = encode(this.#format.stamp(this.#clock.time, this.#clock.text));
  }

  /** The time that records have now, milliseconds since 1970. */
  get timeMs(): number {
    return this.#clock.nowMs;
  }

  /** What every line of a client, or datagram of a sender, has between the time and the data. */
  labelOf(subject: Subject): Uint8Array {
    return encode(this.#format.label(subject));
  }

  /** Records a line of the subject that `label` names; `isWhole` is false if no line end came here. */
  line(label: Uint8Array, bytes: Uint8Array, start: number, end: number, isWhole: boolean): void {
    const out = this.#out.filling;
    const before = out.length;
    try {
      out.append(this.#stamp);
      out.append(label);
      this.#format.line(out, bytes, start, end, isWhole);
    } catch (error) {
      out.length = before;
      throw error;
    }
  }

  /** Records bytes as they came, for `hex` and `raw`; the client's first byte has the offset 0. */
  chunk(subject: Subject, offset: number, bytes: Uint8Array): void {
    if (this.#kind === "raw") return this.#out.filling.append(bytes);
    this.#record(this.#out.filling, (out) => {
      out.appendText(this.#format.label(subject));
      appendChunk(out, ">", offset, bytes);
    });
  }

  /** Records what was sent, without its line end. */
  sent(to: Target, bytes: Uint8Array): void {
    this.#record(this.#notes, (out) => {
      out.appendText(this.#format.sentLabel(to));
      if (this.#kind === "hex") appendChunk(out, "<", 0, bytes);
      else this.#format.sent(out, bytes);
    });
  }

  /** Records what happened to a connection. */
  notice(subject: Subject, notice: ConnectionEvent): void {
    if (this.isQuiet) return;
    this.#record(this.#notes, (out) => out.appendText(this.#format.notice(subject, notice)));
  }

  /** Where records go that are not the clients' bytes. */
  get #notes(): ByteBuffer {
    return (this.#kind === "raw" ? this.#aside : this.#out).filling;
  }

  /** A record that cannot be finished leaves nothing of it behind. */
  #record(out: ByteBuffer, write: (out: ByteBuffer) => void): void {
    const before = out.length;
    try {
      out.append(this.#stamp);
      write(out);
    } catch (error) {
      out.length = before;
      throw error;
    }
  }

  /** Receives at most `maxBytes` of `raw`; returns how many came, 0 at the end. */
  receive(source: ByteSource, maxBytes: number): number {
    const out = this.#out.filling;
    out.reserve(maxBytes);
    const count = source.recvInto(out.bytes, out.length, out.length + maxBytes);
    out.length += count;
    return count;
  }

  /** The last `count` bytes that wait, in place. */
  last(count: number): Uint8Array {
    return this.#out.filling.filled.subarray(-count);
  }

  /** Bytes that wait to be taken. */
  get length(): number {
    return this.#out.filling.length;
  }

  /** The same of what goes to stderr. */
  get asideLength(): number {
    return this.#aside.filling.length;
  }

  /** Gives the records away; they stay as they are until the next call. */
  take(): Uint8Array {
    return this.#out.take();
  }

  /** Forgets all that waits. */
  clear(): void {
    this.take();
    this.takeAside();
  }

  /** Gives away what `raw` keeps out of the output, for stderr. */
  takeAside(): Uint8Array {
    return this.#aside.take();
  }
}

/** A round of the server is shorter, so that its memory is used again. */
const KEPT_BYTES = 4 * 1024 * 1024;

/** Two buffers: one is filled while the other is written. */
class DoubleBuffer {
  filling = new ByteBuffer(KEPT_BYTES);
  #taken = new ByteBuffer(KEPT_BYTES);

  take(): Uint8Array {
    const full = this.filling;
    this.filling = this.#taken;
    this.filling.clear();
    this.#taken = full;
    return full.filled;
  }
}

/** The time in words, made once a millisecond. */
class Clock {
  readonly time: Time;
  readonly #startMs: number;
  nowMs = NaN;
  /** "" for `none`. */
  text = "";

  constructor(time: Time, startMs: number) {
    this.time = time;
    this.#startMs = startMs;
  }

  /** Returns whether the time has changed. */
  set(nowMs: number): boolean {
    if (nowMs === this.nowMs) return false;
    this.nowMs = nowMs;
    this.text = this.#words(nowMs);
    return true;
  }

  #words(nowMs: number): string {
    switch (this.time) {
      case "utc":
        return new Date(nowMs).toISOString();
      case "local":
        return localTime(nowMs);
      case "elapsed":
        return (Math.max(0, nowMs - this.#startMs) / 1000).toFixed(3);
      case "none":
        return "";
    }
  }
}

function localTime(nowMs: number): string {
  const minutes = -new Date(nowMs).getTimezoneOffset();
  const two = (n: number) => String(Math.trunc(n)).padStart(2, "0");
  const offset = `${minutes < 0 ? "-" : "+"}${two(Math.abs(minutes) / 60)}:${
    two(Math.abs(minutes) % 60)
  }`;
  return new Date(nowMs + minutes * 60_000).toISOString().replace("Z", offset);
}
