// By which door and under which name: several ports, multicast groups, names of addresses.

import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { encode } from "../lib/bytes.ts";
import { Failure } from "../main.ts";
import { tempDir } from "./support/files.ts";
import { serve } from "./support/serving.ts";
import { FILES, NET, PROC, UDP } from "./support/needs.ts";

Deno.test.sanitizer({ ops: true, resources: true });

type Running = Awaited<ReturnType<typeof serve>>;

function portsOf({ server }: Running): number[] {
  return server.addrs.map((addr) => (addr as Deno.NetAddr).port);
}

/** A client that says a line and leaves. */
async function say(port: number, line: string): Promise<void> {
  using client = await Deno.connect({ hostname: "127.0.0.1", port });
  await client.write(encode(`${line}\n`));
}

async function send(text: string, to: Deno.NetAddr): Promise<void> {
  const sender = Deno.listenDatagram({ hostname: "127.0.0.1", port: 0, transport: "udp" });
  using _ = { [Symbol.dispose]: () => sender.close() };
  await sender.send(encode(text), to);
}

/** What was logged, with the ports of clients left out. */
function logged({ out }: Running): string[] {
  return out.text.trim().split("\n").map((line) => line.replace(/:\d+ (?!\|)/, ":PORT "));
}

Deno.test({
  ...UDP,
  name: "startServer() says by which of several ports a client or datagram came",
  async fn() {
    await using running = await serve(["-p", "0", "-p", "0", "--udp", "0", "-t", "none"]);
    const [first = 0, second = 0, udp = 0] = portsOf(running);
    await say(second, "hello");
    await running.out.until("disconnected");
    await send("hello", { transport: "udp", hostname: "127.0.0.1", port: udp });
    await running.out.until("udp");
    await say(first, "hello");
    await running.out.until("disconnected", 2);
    const lines = running.out.text.trim().split("\n").map((line) =>
      line.replace(/127\.0\.0\.1:\d+/, "HOST").replace(/, \d+\.\d s/, "")
    );
    assertEquals(lines, [
      `#1 HOST connected to :${second}`,
      "#1 HOST | hello",
      "#1 HOST disconnected: 6 bytes, 1 line",
      `udp HOST to :${udp} | hello`,
      `#2 HOST connected to :${first}`,
      "#2 HOST | hello",
      "#2 HOST disconnected: 6 bytes, 1 line",
    ]);
  },
});

Deno.test({
  ...UDP,
  name: "startServer() gives the port in every record of JSON",
  async fn() {
    const args = ["-p", "0", "--udp", "0", "-t", "none", "-f", "json", "--max-per-host", "1"];
    await using running = await serve(args);
    const [tcp = 0, udp = 0] = portsOf(running);
    using client = await Deno.connect({ hostname: "127.0.0.1", port: tcp });
    await client.write(encode("one\n"));
    await running.out.until("one");
    using refused = await Deno.connect({ hostname: "127.0.0.1", port: tcp });
    await running.out.until("refused");
    assertEquals(await refused.read(new Uint8Array(1)), null);
    await send("two", { transport: "udp", hostname: "127.0.0.1", port: udp });
    await running.out.until("two");
    client.close();
    await running.out.until("disconnected");
    const records = running.out.text.trim().split("\n").map((line) => JSON.parse(line));
    assertEquals(records.map(({ event, to }) => [event, to]), [
      ["connected", tcp],
      ["line", tcp],
      ["refused", tcp],
      ["datagram", udp],
      ["disconnected", tcp],
    ]);
  },
});

Deno.test({
  ...UDP,
  name: "startServer() says nothing of the port where there is only one",
  async fn() {
    await using free = await serve([]);
    const [port = 0] = portsOf(free);
    await free.server[Symbol.asyncDispose]();
    const args = ["-p", String(port), "--udp", String(port), "-t", "none"];
    await using running = await serve(args);
    await say(port, "hello");
    await running.out.until("disconnected");
    assertEquals(running.out.text.includes(" to :"), false, running.out.text);
  },
});

Deno.test({
  ...NET,
  name: "startServer() listens on each port of a range, and names one that is taken",
  async fn() {
    using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = taken.addr;
    const from = Math.max(1, port - 2);
    const error = await assertRejects(() => serve(["-p", `${from}-${port}`]), Failure);
    assertMatch(error.message, /^Cannot listen on 127\.0\.0\.1:\d+: address already in use/);
  },
});

Deno.test({
  ...NET,
  name: "startServer() names both listeners that want one port",
  async fn() {
    // Below the ports that clients are given, of which one may be taken at another address.
    const port = 22_000 + Deno.pid % 1000;
    const wrong = [
      [["-p", `${port}`, "-p", `${port}`], "127.0.0.1", "127.0.0.1"],
      [["-p", `${port}`, "-H", "0.0.0.0", "-H", "127.0.0.1"], "127.0.0.1", "0.0.0.0"],
    ] as const;
    for (const [args, host, other] of wrong) {
      const error = await assertRejects(() => serve(args), Failure);
      assertEquals(
        error.message,
        `Cannot listen on ${host}:${port}: ${other}:${port} has that port already`,
      );
    }
  },
});

Deno.test({
  ...NET,
  name: "startServer() says what is wrong with an address",
  async fn() {
    const none = await assertRejects(() => serve(["-H", "192.0.2.99"]), Failure);
    assertMatch(none.message, /: that is no address of this machine, --host 0\.0\.0\.0 is every/);
    const zoneless = await assertRejects(() => serve(["-H", "fe80::1"]), Failure);
    assertMatch(zoneless.message, /; it needs its zone, such as fe80::1%eth0$/);
  },
});

Deno.test({
  ...PROC,
  name: "startServer() greets for each of 1,000 ports",
  async fn() {
    await using running = await serve(["-p", "21000-21999", "-q", "-t", "none"]);
    // And of one more, which all tests listen on.
    await running.err.until("\n", 1001);
    assertEquals(running.err.text.match(/^listening on \S+ \(/gm)?.length, 1001);
    await say(21999, "hello");
    await running.out.until("| hello");
  },
});

// -- Multicast --

Deno.test({
  ...UDP,
  name: "startServer() joins a multicast group on the interface of --host",
  async fn() {
    const group = "239.255.77.77";
    const args = ["--udp", `${group}:0`, "-H", "127.0.0.1", "-t", "none"];
    await using running = await serve(args);
    const [port = 0] = portsOf(running);
    await running.err.until("listening");
    assertEquals(running.err.text, `listening on udp ${group}:${port} (multicast)\n`);
    const sender = Deno.listenDatagram({ hostname: "127.0.0.1", port: 0, transport: "udp" });
    using _ = { [Symbol.dispose]: () => sender.close() };
    const { port: from } = sender.addr as Deno.NetAddr;
    const ssdp = "NOTIFY * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n\r\n";
    await sender.send(encode(ssdp), { transport: "udp", hostname: group, port });
    await running.out.until("\n");
    assertEquals(
      running.out.text.replace(String(from), "PORT"),
      "udp 127.0.0.1:PORT | NOTIFY * HTTP/1.1\\x0D\\x0AHOST: 239.255.255.250:1900\\x0D\\x0A\n",
    );
  },
});

Deno.test({
  ...UDP,
  name: "startServer() says why it cannot join a group, and leaves nothing open",
  async fn() {
    const args = ["--udp", "239.255.77.77:0", "-H", "192.0.2.99"];
    const error = await assertRejects(() => serve(args), Failure);
    assertMatch(error.message, /^Cannot join the multicast group 239\.255\.77\.77: /);
  },
});

// -- Names --

Deno.test({
  ...UDP,
  name: "startServer() shows the operator's names for addresses",
  async fn() {
    const args = ["-p", "0", "--udp", "0", "-t", "none", "--name", "127.0.0.0/8=plant"];
    await using running = await serve([...args, "--name", "127.0.0.1=pump", "--deny", "127.0.0.2"]);
    const [tcp = 0, udp = 0] = portsOf(running);
    await say(tcp, "hello");
    await running.out.until("disconnected");
    await send("hello", { transport: "udp", hostname: "127.0.0.1", port: udp });
    await running.out.until("udp");
    assertEquals(logged(running).map((line) => line.replace(/:.*/, "")), [
      ...["#1 pump", "#1 pump", "#1 pump", "udp pump"],
    ]);
  },
});

Deno.test({
  ...NET,
  name: "startServer() keeps the address beside the name in JSON",
  async fn() {
    await using running = await serve(["-t", "none", "-f", "json", "--name", "127.0.0.1=pump"]);
    await say(running.port, "hello");
    await running.out.until("disconnected");
    const records = running.out.text.trim().split("\n").map((line) => JSON.parse(line));
    assertEquals(
      records.map(({ host, name }) => [host, name]),
      Array(3).fill(["127.0.0.1", "pump"]),
    );
  },
});

Deno.test({
  ...FILES,
  name: "Server.reload() reads the names again, for new connections and all later datagrams",
  async fn() {
    using dir = tempDir();
    const file = `${dir.path}/names`;
    Deno.writeTextFileSync(file, "127.0.0.1 old\n");
    const args = ["-p", "0", "--udp", "0", "-t", "none", "-q", "--names", file];
    await using running = await serve(args);
    const [tcp = 0, udp = 0] = portsOf(running);
    const sender = Deno.listenDatagram({ hostname: "127.0.0.1", port: 0, transport: "udp" });
    using _ = { [Symbol.dispose]: () => sender.close() };
    const to = { transport: "udp", hostname: "127.0.0.1", port: udp } as const;
    using client = await Deno.connect({ hostname: "127.0.0.1", port: tcp });
    const saidBy = async (count: number) => {
      await client.write(encode("line\n"));
      await running.out.until("line", count);
      await sender.send(encode("datagram"), to);
      await running.out.until("datagram", count);
    };
    await saidBy(1);
    Deno.writeTextFileSync(file, "127.0.0.1 new\n");
    assertEquals(running.server.reload(), true);
    await saidBy(2);
    Deno.writeTextFileSync(file, "new 127.0.0.1\n");
    running.server.reload();
    await saidBy(3);
    await say(tcp, "another");
    await running.out.until("another");
    assertEquals(logged(running).map((line) => line.replace(/:.*/, "")), [
      ...["#1 old", "udp old", "#1 old", "udp new", "#1 old", "udp new", "#2 new"],
    ]);
    await running.err.until("the old names stay");
    assertMatch(running.err.text, /earshot: Cannot use --names .*, line 1: "new 127\.0\.0\.1" is/);
  },
});

Deno.test({
  ...FILES,
  name: "startServer() fails when a file of names is wrong",
  async fn() {
    await assertRejects(() => serve(["--names", "/nowhere"]), Failure, "Cannot read --names");
  },
});
