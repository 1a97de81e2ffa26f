import { NameTable } from "../lib/accept/names.ts";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { type DatagramPort, DatagramSocket } from "../poller.ts";
import { decode, encode } from "../lib/bytes.ts";
import { Datagrams } from "../lib/clients/datagrams.ts";
import { tempDir } from "./support/files.ts";
import { spawnCli } from "./support/processes.ts";
import { replaced } from "./support/replaced.ts";
import { serve } from "./support/serving.ts";
import { pollerOf } from "./support/sources.ts";
import { untilTrue } from "./support/waiting.ts";
import { History } from "../lib/records/history.ts";
import { jsonOf } from "../lib/records/remembered.ts";
import { recording } from "./support/recording.ts";
import { Stats } from "../lib/stats.ts";
import { IPV6, UDP, UNIX } from "./support/needs.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** Sends from one port to another until it is disposed. */
function udpSender(port: number, hostname = "127.0.0.1") {
  const conn = Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
  const to = { transport: "udp", hostname, port } as const;
  return {
    conn,
    port: (conn.addr as Deno.NetAddr).port,
    async send(...datagrams: (string | Uint8Array)[]): Promise<void> {
      for (const datagram of datagrams) {
        await conn.send(typeof datagram === "string" ? encode(datagram) : datagram, to);
      }
    },
    [Symbol.dispose]: () => conn.close(),
  };
}

/** A server that hears datagrams, and a sender; without time, unless `args` say otherwise. */
async function hearing(...args: string[]) {
  const running = await serve(["--udp", "0", "-t", "none", ...args]);
  const sender = udpSender(running.port);
  return {
    ...running,
    sender,
    async [Symbol.asyncDispose]() {
      sender[Symbol.dispose]();
      await running.server[Symbol.asyncDispose]();
    },
  };
}

/** What is logged of datagrams, the last of which must say `end`. */
async function recordsOf(args: string[], ...datagrams: (string | Uint8Array)[]): Promise<string[]> {
  await using heard = await hearing(...args);
  await heard.sender.send(...datagrams, "end");
  await heard.out.until("end");
  return heard.out.lines.slice(0, -1);
}

// -- Records --

Deno.test({
  ...UDP,
  name: "startServer() logs a datagram as a record without a number",
  async fn() {
    await using heard = await hearing("-t", "utc");
    await heard.sender.send("<13>hello");
    await heard.out.until("\n");
    const { port } = heard.sender;
    assertEquals(
      heard.out.text,
      `2026-11-22T23:31:05.123Z udp 127.0.0.1:${port} | <13>hello\n`,
    );
  },
});

Deno.test({
  ...UDP,
  name: "startServer() logs a datagram as an object of JSON",
  async fn() {
    await using heard = await hearing("-t", "utc", "-f", "json");
    await heard.sender.send("<13>hello\n", Uint8Array.of(0xFF));
    await heard.out.until("\n", 2);
    const about = {
      timestamp: "2026-11-22T23:31:05.123Z",
      event: "datagram",
      transport: "udp",
      host: "127.0.0.1",
      port: heard.sender.port,
    };
    const [text, bytes] = heard.out.text.trim().split("\n").map((line) => JSON.parse(line));
    assertEquals(text, { ...about, message: "<13>hello" });
    assertEquals(bytes, { ...about, message_base64: "/w==" });
  },
});

const ENDS: [datagram: string, shown: string][] = [
  ["a", "a"],
  ["a\n", "a"],
  ["a\r\n", "a"],
  ["a\0", "a"],
  ["a\n\n", "a\\x0A"],
  ["a\n\0", "a"],
  ["a\r\n\0", "a"],
  ["a\n\n\0", "a\\x0A"],
  ["a\0\0", "a\\x00"],
  ["\n\0", ""],
  ["a\0\n", "a\\x00"],
  ["a\r", "a\\x0D"],
  ["a\nb\r\nc\n", "a\\x0Ab\\x0D\\x0Ac"],
  ["\n", ""],
  ["\r\n", ""],
  ["\0", ""],
  ["", ""],
];

for (const [datagram, shown] of ENDS) {
  Deno.test({
    ...UDP,
    name: `startServer() logs the datagram ${JSON.stringify(datagram)} as "${shown}"`,
    async fn() {
      // What came before must not show through.
      const [, record] = await recordsOf([], "before\r\n", datagram);
      assertEquals(record, `udp 127.0.0.1:PORT | ${shown}`);
    },
  });
}

Deno.test({
  ...UDP,
  name: "startServer() logs a datagram longer than --max-line in pieces",
  async fn() {
    assertEquals(
      await recordsOf(["--max-line", "4"], "abcd\r\n", "abcdefghi\n", "xxxé!", "ok"),
      ["| abcd", "+ abcd", "+ efgh", "| i", "+ xxx", "| é!", "| ok"]
        .map((record) => `udp 127.0.0.1:PORT ${record}`),
    );
  },
});

Deno.test({
  ...UDP,
  name: "startServer() logs the longest datagram there is",
  async fn() {
    const longest = "x".repeat(65_507);
    assertEquals(await recordsOf([], longest), [`udp 127.0.0.1:PORT | ${longest}`]);
  },
});

Deno.test({
  ...UDP,
  name: "startServer() dumps each datagram from offset 0 with --format hex",
  async fn() {
    assertEquals(await recordsOf(["-f", "hex"], "hello\n", "", "again"), [
      "udp 127.0.0.1:PORT > 6 bytes",
      "00000000  68 65 6c 6c 6f 0a                                 |hello.|",
      "udp 127.0.0.1:PORT > 0 bytes",
      "udp 127.0.0.1:PORT > 5 bytes",
      "00000000  61 67 61 69 6e                                    |again|",
      "udp 127.0.0.1:PORT > 3 bytes",
    ]);
  },
});

Deno.test({
  ...UDP,
  name: "startServer() writes just what datagrams have with --format raw",
  async fn() {
    await using heard = await hearing("-f", "raw");
    await heard.sender.send("a\r\n", "", Uint8Array.of(0, 0xFF, 0x0A), "end");
    await heard.out.until("end");
    assertEquals(heard.out.binary, "a\r\n\0\xFF\nend");
    assertEquals(heard.err.lines.length, 1);
  },
});

Deno.test({
  ...UDP,
  name: "startServer() gives datagrams the colour of their sender's address, not its port",
  async fn() {
    await using heard = await hearing("--color", "always");
    using neighbour = udpSender(heard.port);
    await heard.sender.send("one");
    await neighbour.send("other");
    await heard.out.until("\n", 2);
    const [one, other] = heard.out.text.split("\n").map((record) => record.split("udp ")[0]);
    assertMatch(one!, /\[38;5;\d+m$/);
    assertEquals(other, one);
  },
});

Deno.test({
  ...UDP,
  name: "startServer() labels datagrams of several senders each with its own address",
  async fn() {
    await using heard = await hearing();
    using other = udpSender(heard.port);
    for (const text of ["1", "2", "3"]) {
      await heard.sender.send(`a${text}`);
      await other.send(`b${text}`);
    }
    await heard.out.until("\n", 6);
    const records = (port: number, name: string) =>
      ["1", "2", "3"].map((text) => `udp 127.0.0.1:${port} | ${name}${text}`);
    assertEquals(
      heard.out.text.trim().split("\n").toSorted(),
      [...records(heard.sender.port, "a"), ...records(other.port, "b")].toSorted(),
    );
  },
});

Deno.test({
  ...UDP,
  name: "startServer() answers no datagram, not even with --echo",
  async fn() {
    await using heard = await hearing("--echo");
    await heard.sender.send("heard");
    await heard.out.until("heard");
    const { sender } = heard;
    await sender.conn.send(encode("its own"), sender.conn.addr);
    const [bytes] = await sender.conn.receive();
    assertEquals(bytes, encode("its own"));
  },
});

// -- Rules, counters and places --

Deno.test({
  ...UDP,
  name: "startServer() keeps datagrams out by the rules, counts them and says nothing",
  async fn() {
    for (const args of [["--deny", "127.0.0.0/8"], ["--allow", "10.0.0.0/8"]]) {
      await using running = await serve(["--udp", "0", "-p", "0", "-t", "none", ...args]);
      const [, udp] = running.server.addrs as Deno.NetAddr[];
      using sender = udpSender(udp!.port);
      await sender.send("secret", "secret");
      await untilStats(running, "0 open, 0 total, 2 refused, 0 lines, 0 bytes, ");
      assertEquals(running.out.text, "");
      assertMatch(running.err.text, / 0 datagrams\n$/);
    }
  },
});

/** Asks for summaries until one has `part`. */
async function untilStats(
  { server, err }: Awaited<ReturnType<typeof serve>>,
  part: string,
): Promise<void> {
  while (!err.text.includes(part)) {
    server.reportStats();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

Deno.test({
  ...UDP,
  name: "startServer() counts datagrams, their bytes, and what is cut of them",
  async fn() {
    await using heard = await hearing("--max-line", "4");
    await heard.sender.send("four", "more than four", "");
    await heard.out.until("| \n");
    heard.server.reportStats();
    await heard.err.until("datagrams");
    assertMatch(heard.err.text, / 0 lines, 18 bytes, 1 cut, .*, 3 datagrams\n$/);
  },
});

Deno.test({
  ...UDP,
  name: "startServer() hears datagrams on every UDP port at every address, beside TCP",
  async fn() {
    const args = ["-p", "0", "--udp", "0", "--udp", "0", "-H", "127.0.0.1", "-H", "127.0.0.2"];
    await using running = await serve([...args, "-t", "none"]);
    const places = (running.server.addrs as Deno.NetAddr[])
      .map(({ transport, hostname }) => `${transport} ${hostname}`);
    assertEquals(places, [
      ...["tcp 127.0.0.1", "tcp 127.0.0.2", "udp 127.0.0.1", "udp 127.0.0.1"],
      ...["udp 127.0.0.2", "udp 127.0.0.2"],
    ]);
    for (const { transport, hostname, port } of running.server.addrs as Deno.NetAddr[]) {
      if (transport === "tcp") continue;
      using sender = udpSender(port, hostname);
      await sender.send(`to ${port}`);
      await running.out.until(`| to ${port}\n`);
    }
  },
});

Deno.test({
  ...UDP,
  name: "startServer() greets for UDP in a line of its own",
  async fn() {
    await using running = await serve(["--udp", "0", "-p", "0"]);
    const [tcp, udp] = running.server.addrs as Deno.NetAddr[];
    const hint = "(this machine only; --host 0.0.0.0 for every interface)";
    await running.err.until("\n", 2);
    assertEquals(
      running.err.text,
      `listening on 127.0.0.1:${tcp!.port} ${hint}\nlistening on udp 127.0.0.1:${
        udp!.port
      } ${hint}\n`,
    );
  },
});

Deno.test({
  ...IPV6,
  name: "startServer() knows an IPv4 sender at a socket for both families",
  async fn() {
    await using running = await serve(
      ["--udp", "0", "--host", "::", "-t", "none", "--allow", "127.0.0.0/8", "--allow", "::1"],
    );
    using ipv4 = udpSender(running.port);
    using ipv6 = udpSender(running.port, "::1");
    await ipv4.send("four");
    await running.out.until("\n");
    await ipv6.send("six");
    await running.out.until("\n", 2);
    assertEquals(
      running.out.lines,
      ["udp 127.0.0.1:PORT | four", "udp [::1]:PORT | six"],
    );
  },
});

Deno.test({
  ...UDP,
  name: "startServer() says which UDP port it cannot have",
  async fn() {
    const conn = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
    const { port } = conn.addr as Deno.NetAddr;
    const message = await serve(["--udp", `${port}`]).then(
      () => "started",
      (error) => error.message,
    );
    conn.close();
    assertMatch(message, new RegExp(`^Cannot listen on udp 127\\.0\\.0\\.1:${port}: .*in use`));
  },
});

// -- Bursts, floods and crowds --

const BURST = Array.from({ length: 200 }, (_, i) => `datagram ${i}`.padEnd(100, "."));

Deno.test({
  ...UDP,
  name: "startServer() hears a burst of 200 datagrams whole and in order",
  async fn() {
    await using heard = await hearing();
    await heard.sender.send(...BURST);
    await heard.out.until("\n", BURST.length);
    assertEquals(heard.out.lines, BURST.map((text) => `udp 127.0.0.1:PORT | ${text}`));
  },
});

/** The port that a command says it hears datagrams on. */
async function udpPortOf({ err }: ReturnType<typeof spawnCli>): Promise<number> {
  await err.until("for every interface)\n");
  return Number(/udp 127\.0\.0\.1:(\d+)/.exec(err.text)![1]);
}

Deno.test({
  ...UNIX,
  name: "main() hears what has arrived while it was stopped, and then ends",
  async fn() {
    await using cli = spawnCli(["--udp", "0", "-t", "none"]);
    using sender = udpSender(await udpPortOf(cli));
    cli.kill("SIGSTOP");
    await sender.send(...BURST);
    cli.kill("SIGTERM");
    cli.kill("SIGCONT");
    assertEquals(await cli.ended(), 0);
    assertEquals(cli.out.lines, BURST.map((text) => `udp 127.0.0.1:PORT | ${text}`));
  },
});

const SENDER = { transport: "udp", hostname: "192.0.2.1", port: 514 } as const;

/** A port in memory that always has another datagram. */
class EndlessPort implements DatagramPort {
  readonly addr = { transport: "udp", hostname: "127.0.0.1", port: 9 } as const;
  received = 0;

  receive(target: Uint8Array): Promise<[Uint8Array, Deno.Addr]> {
    this.received++;
    target.set(encode("flood"));
    return Promise.resolve([target.subarray(0, 5), SENDER]);
  }

  close(): void {}
}

Deno.test({
  ...UDP,
  name: "startServer() hears TCP clients while datagrams never end",
  async fn() {
    const port = new EndlessPort();
    using out = tempDir();
    using replacement = replaced("listenDatagram", () => port);
    const args = ["--udp", "0", "-p", "0", "-o", `${out.path}/log`, "--echo"];
    await using running = await serve(args);
    replacement[Symbol.dispose]();
    using client = await running.connect();
    for (let i = 0; i < 3; i++) {
      await client.write(encode("still here\n"));
      assertEquals(await client.read(new Uint8Array(100)), 11);
    }
    assert(port.received > 100);
  },
});

/** Datagrams over a port in memory. */
function datagramsOf(port: DatagramPort) {
  const said: string[] = [];
  const history = new History();
  const { log, recorder } = recording({ observers: [history] });
  const stats = new Stats(0, true);
  const datagrams = new Datagrams({
    recorder,
    stats,
    allowed: undefined,
    denied: undefined,
    names: new NameTable([], undefined),
    ports: new Map(),
    replies: undefined,
    ending: undefined,
    maxCorrespondents: 0,
    paths: new Map(),
    text: { maxLineBytes: 65536, encoding: undefined, udpLines: false },
    multiplexer: { register: () => {}, unregister: () => {} },
    say: (message) => said.push(message),
  });
  return { datagrams, log, history, stats, said, socket: new DatagramSocket(port) };
}

Deno.test("Datagrams.onReadable() says once that receiving fails, and goes on", async () => {
  let receives = 0;
  const receive = (target: Uint8Array): Promise<[Uint8Array, Deno.Addr]> => {
    if (++receives % 2 === 1) return Promise.reject(new Error("network is down"));
    target.set(encode("on"));
    return Promise.resolve([target.subarray(0, 2), SENDER]);
  };
  const { datagrams, log, said, socket, stats } = datagramsOf({ receive, close: () => {} });
  using _ = socket;
  using poller = pollerOf(socket);
  while (stats.datagrams < 3) {
    await poller.poll();
    datagrams.onReadable(socket);
    datagrams.onDue(datagrams.dueAtMs);
  }
  assertEquals(said, ["earshot: Cannot receive datagrams for now: network is down"]);
  assertEquals(decode(log.take()), "udp 192.0.2.1:514 | on\n".repeat(3));
});

Deno.test({
  ...UDP,
  name: "startServer() does not spin when receiving fails each time, and goes on after it",
  async fn() {
    let failures = 0;
    let isBroken = true;
    const port: DatagramPort = {
      receive(target) {
        if (isBroken) {
          failures++;
          return Promise.reject(new Error("network is down"));
        }
        target.set(encode("on"));
        return Promise.resolve([target.subarray(0, 2), SENDER]);
      },
      close: () => {},
    };
    using replacement = replaced("listenDatagram", () => Object.assign(port, { addr: SENDER }));
    await using running = await serve(["--udp", "0", "-p", "0", "-t", "none", "-q"]);
    replacement[Symbol.dispose]();
    await untilTrue(() => failures >= 3);
    assert(failures < 10, `${failures} failures where 3 were waited for`);
    isBroken = false;
    await running.out.until("udp 192.0.2.1:514 to :514 | on\n", 3);
    // It has more for ever.
    isBroken = true;
  },
});

Deno.test("Datagrams.onReadable() takes all that waits, so that the next wait is for news", async () => {
  const { datagrams, socket } = datagramsOf(new EndlessPort());
  using _ = socket;
  using poller = pollerOf(socket);
  await poller.poll();
  assert(socket.waiting > 1);
  datagrams.onReadable(socket);
  assertEquals(socket.waiting, 0);
});

Deno.test("Datagrams.onReadable() has each datagram remembered for the live page", async () => {
  const texts = ["one\n", "other", "\n"];
  const receive = (target: Uint8Array): Promise<[Uint8Array, Deno.Addr]> => {
    const text = texts.shift();
    if (text === undefined) return new Promise(() => {});
    target.set(encode(text));
    return Promise.resolve([target.subarray(0, text.length), SENDER]);
  };
  const { datagrams, history, socket } = datagramsOf({ receive, close: () => {} });
  using _ = socket;
  using poller = pollerOf(socket);
  await poller.poll();
  datagrams.onReadable(socket);
  const messages = [...history.backwards()].map((record) => JSON.parse(jsonOf(record)).message);
  assertEquals(messages, ["", "other", "one"]);
});

/** A port in memory whose every datagram comes from somebody new. */
class CrowdPort implements DatagramPort {
  sent = 0;

  async receive(target: Uint8Array): Promise<[Uint8Array, Deno.Addr]> {
    await undefined;
    target.set(encode("hello"));
    const { sent } = this;
    const hostname = `10.${sent >> 16 & 255}.${sent >> 8 & 255}.${sent & 255}`;
    this.sent++;
    return [target.subarray(0, 5), { transport: "udp", hostname, port: 514 }];
  }

  close(): void {}
}

Deno.test("Datagrams keeps nothing of 50,000 senders", async () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc");
  const port = new CrowdPort();
  const { datagrams, log, stats, socket } = datagramsOf(port);
  using _ = socket;
  using poller = pollerOf(socket);
  const hear = async (count: number) => {
    while (stats.datagrams < count) {
      await poller.poll();
      datagrams.onReadable(socket);
      log.take();
    }
    collect();
    return Deno.memoryUsage().heapUsed;
  };
  const before = await hear(10_000);
  const grownBytes = await hear(60_000) - before;
  assert(grownBytes < 1024 * 1024, `${grownBytes} bytes more`);
});
