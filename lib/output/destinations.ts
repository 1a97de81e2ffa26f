/**
 * Where records go: which logs take them, and what each log is written to.
 *
 * @module
 */

import { Log, type RecordSink } from "../records/log.ts";
import type { RecordCalls } from "../records/record_calls.ts";
import type { Destinations } from "../records/recorder.ts";
import type { Format, Subject } from "../records/records.ts";
import { TextFormat } from "../records/text.ts";
import type { Outlet } from "./log_writer.ts";
import type { Output } from "./output.ts";
import type { PathTemplate } from "./path_template.ts";
import { Routes } from "./routes.ts";

export interface LogDestinationsOptions {
  /** Each takes all records. */
  readonly outputs: readonly { readonly output: Output; readonly format: Format }[];
  /** Whether the format is raw, which has no place for what no client has said. */
  readonly isRaw: boolean;
  /** The files of the output that has files, if it has several. */
  readonly template: PathTemplate | undefined;
  /** Whether dates in their paths are local, or in UTC. */
  readonly isLocal: boolean;
  /** Whom each record is told besides. */
  readonly calls: RecordCalls | undefined;
  /** The port that is listened on, if there is only one. */
  readonly port: number | undefined;
  /** The time that records have now, milliseconds since 1970. */
  readonly now: () => number;
}

/** The logs of all outputs, and of what raw keeps out of them. */
export class LogDestinations implements Destinations {
  readonly outlets: readonly Outlet[];
  readonly formats: readonly Format[];
  /** What raw keeps out of the outputs, for the operator; `undefined` with other formats. */
  readonly notices: Log | undefined;
  /** The log that takes all that clients say, if there is only one. */
  readonly onlyLog: Log | undefined;
  readonly #sinksOf: readonly ((subject: Subject | undefined) => RecordSink)[];
  readonly #calls: readonly RecordCalls[];
  readonly #filesSinkOf: ((subject: Subject | undefined) => RecordSink) | undefined;

  constructor(options: LogDestinationsOptions) {
    const { outputs, isRaw, template, isLocal, now, port, calls } = options;
    const notices = isRaw ? noticesFormat() : undefined;
    const made = outputs.map(({ output, format }) => {
      const log = new Log(format);
      const routes = output.isFile && template
        ? new Routes({ template, log, isLocal, port, now })
        : undefined;
      const sinkOf = (subject: Subject | undefined) => routes ? routes.sinkOf(subject) : log;
      return { format, log, sinkOf, outlet: { records: routes ?? log, output } };
    });
    this.outlets = made.map(({ outlet }) => outlet);
    this.#calls = calls ? [calls] : [];
    this.formats = [...made, ...this.#calls].map(({ format }) => format).concat(notices ?? []);
    this.notices = notices && new Log(notices);
    this.onlyLog = made.length === 1 && !template && !calls ? made[0]!.log : undefined;
    this.#sinksOf = made.map(({ sinkOf }) => sinkOf);
    this.#filesSinkOf = made.find(({ outlet }) => outlet.output.isFile)?.sinkOf;
  }

  logsOf(subject: Subject): readonly RecordSink[] {
    return [...this.#sinksOf.map((sinkOf) => sinkOf(subject)), ...this.#calls];
  }

  noticesOf(subject: Subject | undefined): readonly RecordSink[] {
    const sinks = this.notices ? [this.notices] : this.#sinksOf.map((sinkOf) => sinkOf(subject));
    return [...sinks, ...this.#calls];
  }

  /** Files begin and end with a record; raw has only the bytes of clients. */
  get runs(): readonly RecordSink[] {
    if (!this.#filesSinkOf || this.notices) return [];
    return [this.#filesSinkOf(undefined), ...this.#calls];
  }
}

function noticesFormat(): Format {
  return new TextFormat({ isColored: false, countsLines: false });
}
