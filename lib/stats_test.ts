import { assertEquals, assertStringIncludes } from "@std/assert";
import { Stats } from "./stats.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const FIGURES = { open: 2, outputBytes: 1e9, isOutputStalled: false, startMs: 1_700_000_000_250 };

Deno.test("Stats.summary() says what was counted", () => {
  const stats = new Stats(1000, false);
  stats.connections = 3;
  stats.refused = 4;
  stats.lines = 1;
  stats.bytes = 1;
  stats.cut = 5;
  assertEquals(
    stats.summary(2, 3500),
    "stats: up 3 s, connections 2 open 3 total 4 refused, 1 line, 1 byte, 5 cut, " +
      "0 accept errors, 0.4 lines/s",
  );
});

Deno.test("Stats.summary() gives the rate since the last summary", () => {
  const stats = new Stats(0, false);
  stats.lines = 100;
  stats.summary(0, 1000);
  stats.lines = 150;
  assertStringIncludes(stats.summary(0, 1500), "150 lines, ");
  stats.lines = 175;
  assertStringIncludes(stats.summary(0, 2000), ", 50.0 lines/s");
});

Deno.test("Stats.summary() counts datagrams when they are heard", () => {
  const stats = new Stats(0, true);
  stats.datagrams = 7;
  assertStringIncludes(stats.summary(0, 1000), "lines/s, 7 datagrams");
});

Deno.test("Stats.totals() counts all clients, not those that are listed", () => {
  const stats = new Stats(0, false);
  stats.connections = 3;
  stats.lines = 9;
  stats.bytes = 90;
  assertEquals(stats.totals(2), {
    open: 2,
    connections: 3,
    refused: 0,
    lines: 9,
    bytes: 90,
    cut: 0,
    datagrams: 0,
  });
});

Deno.test("Stats.metrics() gives every figure a name, a type and a value", () => {
  const stats = new Stats(0, true);
  stats.connections = 3;
  stats.refused = 4;
  stats.lines = 5;
  stats.bytes = 6;
  stats.cut = 7;
  stats.datagrams = 8;
  stats.acceptErrors = 9;
  const rows = stats.metrics(FIGURES).split("\n").filter((row) => !row.startsWith("# HELP "));
  assertEquals(rows, [
    "# TYPE earshot_connections gauge",
    "earshot_connections 2",
    "# TYPE earshot_connections_total counter",
    "earshot_connections_total 3",
    "# TYPE earshot_refused_total counter",
    "earshot_refused_total 4",
    "# TYPE earshot_lines_total counter",
    "earshot_lines_total 5",
    "# TYPE earshot_received_bytes_total counter",
    "earshot_received_bytes_total 6",
    "# TYPE earshot_cut_lines_total counter",
    "earshot_cut_lines_total 7",
    "# TYPE earshot_datagrams_total counter",
    "earshot_datagrams_total 8",
    "# TYPE earshot_accept_errors_total counter",
    "earshot_accept_errors_total 9",
    "# TYPE earshot_output_bytes_total counter",
    "earshot_output_bytes_total 1000000000",
    "# TYPE earshot_output_stalled gauge",
    "earshot_output_stalled 0",
    "# TYPE process_start_time_seconds gauge",
    "process_start_time_seconds 1700000000.25",
    "",
  ]);
});

Deno.test("Stats.metrics() says 1 while the output is stalled", () => {
  const text = new Stats(0, false).metrics({ ...FIGURES, isOutputStalled: true });
  assertStringIncludes(text, "\nearshot_output_stalled 1\n");
});

const lacksPromtool = Deno.permissions.querySync({ name: "run" }).state !== "granted" ||
  !runs("promtool", "--version");

function runs(command: string, ...args: string[]): boolean {
  try {
    return new Deno.Command(command, { args }).outputSync().success;
  } catch {
    return false;
  }
}

Deno.test({
  name: "Stats.metrics() gives promtool nothing to say",
  ignore: lacksPromtool,
  async fn() {
    const promtool = new Deno.Command("promtool", {
      args: ["check", "metrics"],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const writer = promtool.stdin.getWriter();
    await writer.write(new TextEncoder().encode(new Stats(0, true).metrics(FIGURES)));
    await writer.close();
    const { success, stdout, stderr } = await promtool.output();
    assertEquals([success, stdout.length, new TextDecoder().decode(stderr)], [true, 0, ""]);
  },
});
