import { assertEquals, assertMatch } from "@std/assert";
import { encode } from "../lib/bytes.ts";
import { writeAll } from "../lib/io.ts";
import { type Config, type LogRecord, startServer } from "../main.ts";
import { Capture } from "./support/capture.ts";
import { connectTo } from "./support/connections.ts";
import { exists, tempDir } from "./support/files.ts";
import { untilTrue } from "./support/waiting.ts";
import { FILES, NET, UDP } from "./support/needs.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** Starts a server that tells its records. */
async function startTelling(config: Partial<Config>, onRecord?: (record: LogRecord) => void) {
  const [out, err] = [new Capture(), new Capture()];
  const records: LogRecord[] = [];
  const server = await startServer({ ports: [0], ...config }, {
    stdout: out,
    stderr: err,
    onRecord: onRecord ?? ((record) => void records.push(record)),
  });
  const { port } = server.addrs[0] as Deno.NetAddr;
  return { server, out, err, records, port };
}

async function say(port: number, text: string): Promise<void> {
  using conn = await connectTo(port);
  await writeAll(conn, encode(text));
  await conn.closeWrite();
  while (await conn.read(new Uint8Array(100)) !== null);
}

for (const time of ["utc", "elapsed", "delta", "none"] as const) {
  Deno.test({
    ...NET,
    name: `startServer() calls onRecord() with what --format json writes, with --time ${time}`,
    async fn() {
      const { server, out, records, port } = await startTelling({ format: "json", time });
      await say(port, "one\n\xff\nhalf");
      await server[Symbol.asyncDispose]();
      assertEquals(records, out.text.split("\n").slice(0, -1).map((line) => JSON.parse(line)));
      assertEquals(records.map(({ event }) => event), [
        ...["connected", "line", "line", "line", "disconnected"],
      ] as LogRecord["event"][]);
    },
  });
}

for (const format of ["text", "raw", "hex"] as const) {
  Deno.test({
    ...NET,
    name: `startServer() calls onRecord() with objects when the format is ${format}, too`,
    async fn() {
      const { server, records, port } = await startTelling({ format });
      await say(port, "one\n");
      await server[Symbol.asyncDispose]();
      const [connected, line, disconnected] = records;
      assertEquals([connected?.event, disconnected?.event], ["connected", "disconnected"]);
      assertEquals(line?.message, format === "text" ? "one" : "one\n");
      assertMatch(connected?.timestamp ?? "", /^\d{4}-.*Z$/);
    },
  });
}

Deno.test({
  ...FILES,
  name: "startServer() calls onRecord() before the record is written, started and stopped too",
  async fn() {
    using dir = tempDir();
    const output = `${dir.path}/log`;
    const told: [string, number][] = [];
    const { server, port } = await startTelling({ output, time: "none" }, ({ event }) => {
      told.push([event, exists(output) ? Deno.readTextFileSync(output).split("\n").length - 1 : 0]);
    });
    await say(port, "one\n");
    await server[Symbol.asyncDispose]();
    assertEquals(told.map(([event]) => event), [
      ...["started", "connected", "line", "disconnected", "stopped"],
    ]);
    for (const [i, [event, written]] of told.entries()) assertEquals(written <= i, true, event);
  },
});

Deno.test({
  ...NET,
  name: "startServer() goes on when onRecord() throws, and says so",
  async fn() {
    const { server, out, err, port } = await startTelling({ time: "none" }, () => {
      throw new Error("of the callee");
    });
    await say(port, "one\n");
    await out.until("disconnected");
    await server[Symbol.asyncDispose]();
    assertEquals(out.count("| one\n"), 1);
    assertMatch(err.text, /earshot: internal error: .*of the callee/);
  },
});

Deno.test({
  ...UDP,
  name: "startServer() takes a part of a configuration, and listens as the command line would",
  async fn() {
    const { server, records } = await startTelling({ ports: [], udpPorts: [0] });
    await using udpOnly = await startServer({ udpPorts: [0] }, {
      stdout: new Capture(),
      stderr: new Capture(),
    });
    assertEquals(udpOnly.addrs.map(({ transport }) => transport), ["udp"]);
    const sender = Deno.listenDatagram({ hostname: "127.0.0.1", port: 0, transport: "udp" });
    await sender.send(encode("hello\n"), server.addrs[0] as Deno.NetAddr);
    sender.close();
    await untilTrue(() => records.length > 0);
    await server[Symbol.asyncDispose]();
    assertEquals([records[0]?.event, records[0]?.message], ["datagram", "hello"]);
  },
});
