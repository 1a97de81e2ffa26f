/**
 * What the server has counted: the summary on stderr, and Prometheus's metrics.
 *
 * @module
 */

import { plural } from "./records.ts";
import type { Due } from "./silence.ts";

/** What the live page tells of all clients together. */
export interface Totals {
  /** Connections that are open now. */
  readonly open: number;
  readonly connections: number;
  readonly refused: number;
  readonly lines: number;
  readonly bytes: number;
  readonly cut: number;
  readonly datagrams: number;
}

/** What the metrics need that others know. */
export interface Figures {
  /** Connections that are open now. */
  readonly open: number;
  readonly outputBytes: number;
  readonly isOutputStalled: boolean;
  /** Start of the process, milliseconds since 1970. */
  readonly startMs: number;
}

export class Stats {
  /** Clients that came in; those kept out are `refused`. */
  connections = 0;
  refused = 0;
  lines = 0;
  /** Received from connections and in datagrams. */
  bytes = 0;
  /** Lines that were longer than allowed. */
  cut = 0;
  datagrams = 0;
  acceptErrors = 0;
  readonly #startedAtMs: number;
  readonly #hearsDatagrams: boolean;
  /** When the last summary was made, and the lines at that time. */
  #last: { readonly atMs: number; readonly lines: number };

  /** `nowMs` is `performance.now()`, here and in {@linkcode summary}. */
  constructor(nowMs: number, hearsDatagrams: boolean) {
    this.#startedAtMs = nowMs;
    this.#hearsDatagrams = hearsDatagrams;
    this.#last = { atMs: nowMs, lines: 0 };
  }

  /** One line for the operator; the rate is that since the last summary. */
  summary(open: number, nowMs: number): string {
    const { connections, refused, lines, bytes, cut, datagrams, acceptErrors } = this;
    const linesPerSecond = 1000 * (lines - this.#last.lines) /
      Math.max(1, nowMs - this.#last.atMs);
    this.#last = { atMs: nowMs, lines };
    const upSeconds = Math.round((nowMs - this.#startedAtMs) / 1000);
    const heard = this.#hearsDatagrams ? `, ${plural(datagrams, "datagram")}` : "";
    return `stats: up ${upSeconds} s, connections ${open} open ${connections} total ` +
      `${refused} refused, ${plural(lines, "line")}, ${plural(bytes, "byte")}, ${cut} cut, ` +
      `${plural(acceptErrors, "accept error")}, ${linesPerSecond.toFixed(1)} lines/s${heard}`;
  }

  totals(open: number): Totals {
    const { connections, refused, lines, bytes, cut, datagrams } = this;
    return { open, connections, refused, lines, bytes, cut, datagrams };
  }

  /** Prometheus's text format, version 0.0.4. */
  metrics({ open, outputBytes, isOutputStalled, startMs }: Figures): string {
    return [
      gauge("earshot_connections", "Connections that are open.", open),
      counter("earshot_connections_total", "Connections accepted.", this.connections),
      counter("earshot_refused_total", "Peers kept out by rules or limits.", this.refused),
      counter("earshot_lines_total", "Lines heard.", this.lines),
      counter("earshot_received_bytes_total", "Bytes heard.", this.bytes),
      counter("earshot_cut_lines_total", "Lines cut because they were too long.", this.cut),
      counter("earshot_datagrams_total", "Datagrams heard.", this.datagrams),
      counter("earshot_accept_errors_total", "Failures to accept.", this.acceptErrors),
      counter("earshot_output_bytes_total", "Bytes written to the log.", outputBytes),
      gauge("earshot_output_stalled", "1 while the log takes nothing.", Number(isOutputStalled)),
      gauge("process_start_time_seconds", "Start of the process, Unix time.", startMs / 1000),
    ].join("");
  }
}

function counter(name: string, help: string, value: number): string {
  return metric(name, "counter", help, value);
}

function gauge(name: string, help: string, value: number): string {
  return metric(name, "gauge", help, value);
}

function metric(name: string, type: string, help: string, value: number): string {
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${name} ${value}\n`;
}

/** Prints the summary again and again. */
export class Summaries implements Due {
  readonly #intervalMs: number;
  readonly #print: () => void;
  dueAtMs: number;

  /** `intervalMs` is 0 for never. */
  constructor(intervalMs: number, nowMs: number, print: () => void) {
    this.#intervalMs = intervalMs || Infinity;
    this.#print = print;
    this.dueAtMs = nowMs + this.#intervalMs;
  }

  onDue(nowMs: number): void {
    this.dueAtMs = nowMs + this.#intervalMs;
    this.#print();
  }
}
