import { assert, assertEquals } from "@std/assert";
import { encode } from "../lib/bytes.ts";
import { writeAll } from "../lib/io.ts";
import { DatagramSocket, select } from "../poller.ts";
import { needs, NET, UDP } from "./support/needs.ts";
import { readUpTo } from "./support/connections.ts";
import { bytesOf, latin1 } from "./support/data.ts";
import { serve } from "./support/serving.ts";
import { pause, untilTrue } from "./support/waiting.ts";

Deno.test.sanitizer({ ops: true, resources: true });

type Server = Awaited<ReturnType<typeof serve>>;

/** A server that answers by rules. */
function answering(rules: readonly string[], ...args: string[]): Promise<Server> {
  const replies = rules.flatMap((rule) => ["--reply", rule]);
  return serve(["--time", "none", ...replies, ...args]);
}

/** What a client that sends these pieces gets, as many bytes as `expected` has. */
async function answerOf(server: Server, pieces: readonly string[], expected: string) {
  using conn = await server.connect();
  for (const piece of pieces) {
    await conn.write(bytesOf(piece));
    if (pieces.length > 1) await pause(1);
  }
  const got = latin1(await readUpTo(conn, expected.length));
  await conn.closeWrite();
  return got + latin1(await readUpTo(conn, 1));
}

/** What was said and answered, without labels. */
function talkOf({ out }: Server): string[] {
  return out.lines.filter((line) => !/connected|disconnected/.test(line))
    .map((line) => line.replace(/^\S+ \S+ /, ""));
}

const LOGIN = "/^LOGIN (\\d+)/=>ACK $1\\n";
const THREE = "LOGIN 42\nPOS 1\nLOGIN 43\n";

Deno.test({
  ...NET,
  name: "--reply answers each frame of a packet, in order and in the log",
  async fn() {
    await using server = await answering([LOGIN]);
    assertEquals(await answerOf(server, [THREE], "ACK 42\nACK 43\n"), "ACK 42\nACK 43\n");
    await server.out.until("disconnected");
    assertEquals(talkOf(server), [
      "| LOGIN 42",
      "< ACK 42",
      "| POS 1",
      "| LOGIN 43",
      "< ACK 43",
    ]);
  },
});

Deno.test({
  ...NET,
  name: "--reply answers a frame once, however it comes",
  async fn() {
    await using server = await answering([LOGIN]);
    assertEquals(await answerOf(server, [...THREE], "ACK 42\nACK 43\n"), "ACK 42\nACK 43\n");
  },
});

Deno.test({
  ...NET,
  name: "--reply answers a frame at its end that is logged in pieces",
  async fn() {
    await using long = await answering(["/^LOGIN (\\d+) .*end$/=>ACK $1\\n"], "--max-line", "10");
    assertEquals(await answerOf(long, ["LOGIN 7 and on to the end\n"], "ACK 7\n"), "ACK 7\n");
    assertEquals(long.out.count(" < "), 1);
    await using slow = await answering([LOGIN], "--flush-after", "0.001");
    assertEquals(await answerOf(slow, [..."LOGIN 42\n"], "ACK 42\n"), "ACK 42\n");
    assertEquals(slow.out.count(" < "), 1);
  },
});

Deno.test({
  ...NET,
  name: "--reply answers no line that has no end",
  async fn() {
    await using server = await answering(["x"]);
    assertEquals(await answerOf(server, ["LOGIN"], ""), "");
    await server.out.until("disconnected");
    assertEquals(talkOf(server), ["+ LOGIN"]);
  },
});

Deno.test({
  ...NET,
  name: "--reply answers reads where these are the frames, and on stderr with raw",
  async fn() {
    for (const args of [["-f", "hex"], ["--framing", "none"], ["-f", "raw"]]) {
      await using server = await answering(["\\x06"], ...args);
      assertEquals(await answerOf(server, ["\x02a"], "\x06"), "\x06");
      const shown = args[1] === "raw" ? server.err : server.out;
      await shown.until(args[1] === "hex" ? "< 1 byte" : " < \\x06");
      if (args[1] === "raw") assertEquals(server.out.binary, "\x02a");
    }
  },
});

Deno.test({
  ...NET,
  name: "--quiet leaves the records of answers, which JSON calls sent",
  async fn() {
    await using server = await answering(["PING=>PONG\\r\\n"], "--quiet", "-f", "json");
    assertEquals(await answerOf(server, ["PING\n"], "PONG\r\n"), "PONG\r\n");
    const [, sent] = server.out.lines.map((line) => JSON.parse(line));
    assertEquals(sent, {
      event: "sent",
      connection: 1,
      host: "127.0.0.1",
      port: 1,
      message: "PONG",
    });
  },
});

Deno.test({
  ...NET,
  name: "--greet is sent to each client, before its answers",
  async fn() {
    await using server = await answering(["ok\\n"], "--greet", "220 ready\\r\\n");
    const greeted = "220 ready\r\nok\n";
    for (let i = 0; i < 2; i++) assertEquals(await answerOf(server, ["a\n"], greeted), greeted);
    await server.out.until("disconnected", 2);
    assertEquals(talkOf(server).slice(0, 3), ["< 220 ready", "| a", "< ok"]);
  },
});

Deno.test({
  ...UDP,
  name: "--reply answers a datagram from the port that heard it, whole",
  async fn() {
    const rules = ["/^PING(.*) end$/=>PONG$1", "QUIET=>"];
    await using server = await answering(rules, "--udp", "0", "--max-line", "8");
    using port = new DatagramSocket(
      Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 }),
    );
    const to = { transport: "udp", hostname: "127.0.0.1", port: server.port } as const;
    for (const text of ["QUIET", "what", "PING and to the end\n", "PING end"]) {
      port.sendTo(encode(text), to);
    }
    const answers = [];
    for (let i = 0; i < 2; i++) {
      await select([port], [], []);
      const [bytes, from] = port.recvFrom(100);
      answers.push([latin1(bytes), (from as Deno.NetAddr).port]);
    }
    assertEquals(answers, [["PONG and to the", server.port], ["PONG", server.port]]);
    assertEquals(server.out.lines.filter((line) => line.includes("<")), [
      "udp 127.0.0.1:PORT < PONG and to the",
      "udp 127.0.0.1:PORT < PONG",
    ]);
  },
});

// -- What devices send, and wait for, by their published protocols --

Deno.test({
  ...NET,
  name: "--reply answers login and heartbeat of a GT06 tracker",
  async fn() {
    const rules = [
      "\\x78\\x78\\x0d\\x01=>\\x78\\x78\\x05\\x01\\x00\\x01\\xd9\\xdc\\r\\n",
      "\\x78\\x78\\x08\\x13=>\\x78\\x78\\x05\\x13\\x00\\x11\\xf9\\x70\\r\\n",
    ];
    await using server = await answering(rules, "--framing", "end:\\r\\n");
    const login = "\x78\x78\x0d\x01\x01\x23\x45\x67\x89\x01\x23\x45\x00\x01\x8c\xdd\r\n";
    const heartbeat = "\x78\x78\x08\x13\x4b\x04\x03\x00\x01\x00\x11\x06\x1f\r\n";
    const answer = "\x78\x78\x05\x01\x00\x01\xd9\xdc\r\n\x78\x78\x05\x13\x00\x11\xf9\x70\r\n";
    assertEquals(await answerOf(server, [login + heartbeat], answer), answer);
    assertEquals(await answerOf(server, [...login + heartbeat], answer), answer);
  },
});

Deno.test({
  ...NET,
  name: "--reply accepts the IMEI of a Teltonika tracker",
  async fn() {
    const imei = "\x00\x0F356307042441013";
    await using server = await answering(["/^\\d{15}$/=>\\x01"], "--framing", "length:2");
    assertEquals(await answerOf(server, [imei], "\x01"), "\x01");
    assertEquals(await answerOf(server, [...imei], "\x01"), "\x01");
    assertEquals(talkOf(server).slice(0, 2), ["| 356307042441013", "< \\x01"]);
  },
});

Deno.test({
  ...NET,
  name: "--reply acknowledges HL7 by MLLP, by the number of the message",
  async fn() {
    const header = "MSH|^~\\\\&|EARSHOT|LAB|ADT|HOSP|20261128||ACK|$1|P|2.5";
    const rule = `/^MSH\\|(?:[^|]*\\|){8}([^|]*)/=>\\x0b${header}\\rMSA|AA|$1\\r\\x1c\\r`;
    await using server = await answering([rule], "--framing", "between:\\x0b,\\x1c\\r");
    const message = (id: string) =>
      `\x0bMSH|^~\\&|ADT|HOSP|EARSHOT|LAB|20261128||ADT^A01|${id}|P|2.5\rPID|1\r\x1c\r`;
    const ack = (id: string) =>
      `\x0bMSH|^~\\&|EARSHOT|LAB|ADT|HOSP|20261128||ACK|${id}|P|2.5\rMSA|AA|${id}\r\x1c\r`;
    const both = ack("MSG1") + ack("MSG2");
    assertEquals(await answerOf(server, [message("MSG1") + message("MSG2")], both), both);
    assertEquals(await answerOf(server, [...message("MSG1") + message("MSG2")], both), both);
  },
});

Deno.test({
  ...needs("curl"),
  name: "--reply ends a webhook's request",
  async fn() {
    await using server = await answering(["/^$/=>HTTP/1.1 204 No Content\\r\\n\\r\\n"]);
    const { code } = await new Deno.Command("curl", {
      args: ["-s", "-d", '{"a":1}', `http://127.0.0.1:${server.port}/hook`],
    }).output();
    assertEquals(code, 0);
    await server.out.until("disconnected");
    const talk = talkOf(server);
    assertEquals([talk[0], talk.at(-1)], ["| POST /hook HTTP/1.1", '+ {"a":1}']);
  },
});

// -- Clients that do not behave --

Deno.test({
  ...NET,
  name: "--reply does not hear a client that leaves a mebibyte of answers unread",
  async fn() {
    const answer = "y".repeat(10_000);
    const said = "x\n".repeat(1500);
    const answersBytes = 1500 * 10_001;
    await using server = await answering([`/^x/=>${answer}\\n`, "fine\\n"], "--quiet");
    using rude = await server.connect();
    using fair = await server.connect();
    await writeAll(rude, encode(said));
    // The kernel takes a few megabytes of answers.
    let logged = -1;
    await untilTrue(() => {
      const isStill = server.out.binary.length === logged;
      logged = server.out.binary.length;
      return isStill && logged > 0;
    });
    assert(logged < answersBytes / 2, `${logged} bytes`);
    await fair.write(encode("a\n"));
    assertEquals(latin1(await readUpTo(fair, 5)), "fine\n");
    assertEquals((await readUpTo(rude, answersBytes)).length, answersBytes);
  },
});
