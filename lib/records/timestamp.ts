/**
 * The time that begins each record, in words.
 *
 * @module
 */

import type { Format, Time } from "./records.ts";

/**
 * Dates records: the words are made for the first one of a millisecond, and the formats keep
 * them as bytes.
 */
export class Timestamp {
  readonly #time: Time;
  readonly #startMs: number;
  readonly #formats: readonly Format[];
  #nowMs = NaN;
  /** Whether the formats have the words for the next record. */
  #isToldOfIt = false;
  /** When the last record was made. */
  #lastMs: number | undefined;

  /** `startMs` is the moment that `elapsed` counts from; all times are milliseconds since 1970. */
  constructor(time: Time, startMs: number, formats: readonly Format[]) {
    this.#time = time;
    this.#startMs = startMs;
    this.#formats = formats;
    this.set(startMs);
  }

  /** The time that records have now. */
  get nowMs(): number {
    return this.#nowMs;
  }

  /** Dates the records from here on. */
  set(nowMs: number): void {
    if (nowMs === this.#nowMs) return;
    this.#nowMs = nowMs;
    this.#isToldOfIt = false;
  }

  /** A record is about to be made: formats need its time, and for `delta` the next counts from it. */
  beginRecord(): void {
    if (!this.#isToldOfIt) this.#tellFormats();
    if (this.#time !== "delta" || this.#lastMs === this.#nowMs) return;
    this.#lastMs = this.#nowMs;
    this.#isToldOfIt = false;
  }

  #tellFormats(): void {
    const words = this.#words(this.#nowMs);
    for (const format of this.#formats) format.setTime(this.#time, words);
    this.#isToldOfIt = true;
  }

  #words(nowMs: number): string {
    switch (this.#time) {
      case "utc":
        return new Date(nowMs).toISOString();
      case "local":
        return localTime(nowMs);
      case "elapsed":
        return (Math.max(0, nowMs - this.#startMs) / 1000).toFixed(3);
      case "delta":
        return `+${(Math.max(0, nowMs - (this.#lastMs ?? nowMs)) / 1000).toFixed(3)}`;
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
