/**
 * A recorder in memory, with the log that its records go to. Not published.
 *
 * @module
 */

import { decode, encode } from "../../lib/bytes.ts";
import { createFormat } from "../../lib/records/formats.ts";
import { Log } from "../../lib/records/log.ts";
import { Recorder, type RecordObserver } from "../../lib/records/recorder.ts";
import type { FormatName, Subject, Time } from "../../lib/records/records.ts";
import { Timestamp } from "../../lib/records/timestamp.ts";

export interface RecordingOptions {
  readonly format: FormatName;
  readonly time: Time;
  readonly isQuiet: boolean;
  readonly isColored: boolean;
  readonly isBrief: boolean;
  readonly startMs: number;
  readonly observers: readonly RecordObserver[];
}

/** Text without times and colours, unless something else is asked for. */
export function recording(options: Partial<RecordingOptions> = {}) {
  const { format: name = "text", time = "none", startMs = 0 } = options;
  const format = createFormat(name, {
    isColored: options.isColored ?? false,
    countsLines: name === "text",
    isBrief: options.isBrief ?? false,
  });
  const log = new Log(format);
  const recorder = new Recorder({
    destinations: { logsOf: () => [log], noticesOf: () => [log], runs: [] },
    observers: options.observers ?? [],
    timestamp: new Timestamp(time, startMs, [format]),
    isQuiet: options.isQuiet ?? false,
  });
  return {
    recorder,
    log,
    /** Records a frame of a subject, or a part of one. */
    say(subject: Subject, said: string | Uint8Array, isWhole = true): void {
      const bytes = typeof said === "string" ? encode(said) : said;
      recorder.child(subject).frame(bytes, 0, bytes.length, isWhole);
    },
    /** Takes the lines that have been recorded. */
    lines: () => decode(log.take()).split("\n").slice(0, -1),
  };
}
