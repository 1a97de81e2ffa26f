import { assertEquals, assertStringIncludes } from "@std/assert";
import { Stats } from "../stats.ts";
import { metricsText } from "./metrics.ts";
import { needs } from "../../tests/support/needs.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const FIGURES = {
  open: 2,
  maxConnections: 1000,
  handshakeFaults: ["not TLS", "timeout"],
  outputBytes: 1e9,
  isOutputStalled: false,
  startMs: 1_700_000_000_250,
};

Deno.test("metricsText() gives every figure a name, a type and a value", () => {
  const stats = new Stats(0, true, () => 1);
  stats.countHandshakeFailure("timeout");
  stats.connections = 3;
  stats.refused = 4;
  stats.lines = 5;
  stats.bytes = 6;
  stats.cut = 7;
  stats.datagrams = 8;
  stats.acceptErrors = 9;
  const rows = metricsText(stats, FIGURES).split("\n").filter((row) => !row.startsWith("# HELP "));
  assertEquals(rows, [
    "# TYPE earshot_connections gauge",
    "earshot_connections 2",
    "# TYPE earshot_connections_max gauge",
    "earshot_connections_max 1000",
    "# TYPE earshot_connections_total counter",
    "earshot_connections_total 3",
    "# TYPE earshot_refused_total counter",
    "earshot_refused_total 4",
    "# TYPE earshot_handshake_failures_total counter",
    'earshot_handshake_failures_total{reason="not TLS"} 0',
    'earshot_handshake_failures_total{reason="timeout"} 1',
    "# TYPE earshot_lost_clients_total counter",
    "earshot_lost_clients_total 1",
    "# TYPE earshot_lines_total counter",
    "earshot_lines_total 5",
    "# TYPE earshot_received_bytes_total counter",
    "earshot_received_bytes_total 6",
    "# TYPE earshot_cut_lines_total counter",
    "earshot_cut_lines_total 7",
    "# TYPE earshot_datagrams_total counter",
    "earshot_datagrams_total 8",
    "# TYPE earshot_accept_errors_total counter",
    "earshot_accept_errors_total 10",
    "# TYPE earshot_output_bytes_total counter",
    "earshot_output_bytes_total 1000000000",
    "# TYPE earshot_output_stalled gauge",
    "earshot_output_stalled 0",
    "# TYPE process_start_time_seconds gauge",
    "process_start_time_seconds 1700000000.25",
    "",
  ]);
});

Deno.test("metricsText() says 1 while the output is stalled", () => {
  const text = metricsText(new Stats(0, false), { ...FIGURES, isOutputStalled: true });
  assertStringIncludes(text, "\nearshot_output_stalled 1\n");
});

Deno.test({
  ...needs("promtool"),
  name: "metricsText() gives promtool nothing to say",
  async fn() {
    const promtool = new Deno.Command("promtool", {
      args: ["check", "metrics"],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const writer = promtool.stdin.getWriter();
    await writer.write(new TextEncoder().encode(metricsText(new Stats(0, true), FIGURES)));
    await writer.close();
    const { success, stdout, stderr } = await promtool.output();
    assertEquals([success, stdout.length, new TextDecoder().decode(stderr)], [true, 0, ""]);
  },
});
