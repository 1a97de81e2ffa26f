/**
 * What was counted, in Prometheus's text format.
 *
 * @module
 */

import type { Stats } from "../stats.ts";

/** What the metrics need that others know. */
export interface Figures {
  /** Connections that are open now. */
  readonly open: number;
  /** At so many no more are accepted. */
  readonly maxConnections: number;
  /** What handshakes that failed are counted as. */
  readonly handshakeFaults: readonly string[];
  readonly outputBytes: number;
  readonly isOutputStalled: boolean;
  /** Start of the process, milliseconds since 1970. */
  readonly startMs: number;
}

/** Prometheus's text format, version 0.0.4. */
export function metricsText(
  stats: Stats,
  figures: Figures,
): string {
  const { open, maxConnections, handshakeFaults, outputBytes, isOutputStalled, startMs } = figures;
  const failures = (fault: string) => stats.handshakeFailures.get(fault) ?? 0;
  return [
    gauge("earshot_connections", "Connections that are open.", open),
    gauge("earshot_connections_max", "At so many no more are accepted.", maxConnections),
    counter("earshot_connections_total", "Connections accepted.", stats.connections),
    counter("earshot_refused_total", "Peers kept out by rules or limits.", stats.refused),
    counters(
      "earshot_handshake_failures_total",
      "TLS handshakes and PROXY headers that failed.",
      handshakeFaults.map((fault) => [`reason="${fault}"`, failures(fault)]),
    ),
    counter(
      "earshot_lost_clients_total",
      "Clients that were gone before they were accepted.",
      stats.lostClients,
    ),
    counter("earshot_lines_total", "Lines heard.", stats.lines),
    counter("earshot_received_bytes_total", "Bytes heard.", stats.bytes),
    counter("earshot_cut_lines_total", "Lines cut because they were too long.", stats.cut),
    counter("earshot_datagrams_total", "Datagrams heard.", stats.datagrams),
    counter(
      "earshot_accept_errors_total",
      "Failures to accept.",
      stats.acceptErrors + stats.lostClients,
    ),
    counter("earshot_output_bytes_total", "Bytes written to the log.", outputBytes),
    gauge("earshot_output_stalled", "1 while the log takes nothing.", Number(isOutputStalled)),
    gauge("process_start_time_seconds", "Start of the process, Unix time.", startMs / 1000),
  ].join("");
}

function counter(name: string, help: string, value: number): string {
  return metric(name, "counter", help, [["", value]]);
}

/** A counter for each of some labels. */
function counters(name: string, help: string, values: readonly Labelled[]): string {
  return metric(name, "counter", help, values);
}

function gauge(name: string, help: string, value: number): string {
  return metric(name, "gauge", help, [["", value]]);
}

type Labelled = readonly [labels: string, value: number];

function metric(name: string, type: string, help: string, values: readonly Labelled[]): string {
  const samples = values.map(([labels, value]) => `${name}${labels && `{${labels}}`} ${value}\n`);
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${samples.join("")}`;
}
