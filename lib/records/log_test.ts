import { assert, assertEquals, assertMatch, assertNotEquals, assertThrows } from "@std/assert";
import { decode, encode } from "../bytes.ts";
import { lineJson, noticeJson, sentJson } from "./json.ts";
import { Log, type LogOptions } from "./log.ts";
import { type ConnectionEvent, NOT_ALLOWED, type Subject, type Target } from "./records.ts";
import { bytesOf, latin1, randomNumbers, withSeeds } from "../../tests/support/testing.ts";
import { needs } from "../../tests/support/needs.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** A subject that no caller can make by the types. */
const NOBODY: Subject = { number: 1, peer: null as never };
const NOW_MS = Date.parse("2026-11-22T23:31:05.123Z");
const CLIENT: Subject = { number: 2, peer: { kind: "ip", host: "127.0.0.1", port: 53122 } };
const SIX: Subject = { number: 3, peer: { kind: "ip", host: "::1", port: 5000 } };
const LOCAL: Subject = { number: 4, peer: { kind: "unix", path: '/run/"a\n' } };
const STRANGER: Subject = { peer: { kind: "ip", host: "192.0.2.7", port: 4711 } };
const SENDER: Subject = { peer: { kind: "ip", host: "192.0.2.7", port: 514 } };
const PROXY = { kind: "ip", host: "10.0.0.1", port: 53122 } as const;

/** A log without times or colours unless they are asked for. */
function logOf(options: Partial<LogOptions> = {}): Log {
  return new Log({
    format: "text",
    time: "none",
    isQuiet: false,
    isColored: false,
    startMs: NOW_MS,
    ...options,
  });
}

function say(log: Log, subject: Subject, said: string | Uint8Array, isWhole = true): void {
  const bytes = typeof said === "string" ? encode(said) : said;
  log.line(log.labelOf(subject), bytes, 0, bytes.length, isWhole);
}

/** The lines that `write` adds to a log. */
function linesOf(options: Partial<LogOptions>, write: (log: Log) => void): string[] {
  const log = logOf(options);
  write(log);
  return decode(log.take()).split("\n").slice(0, -1);
}

/** The same of what is kept out of the output. */
function asideOf(options: Partial<LogOptions>, write: (log: Log) => void): string[] {
  const log = logOf(options);
  write(log);
  return decode(log.takeAside()).split("\n").slice(0, -1);
}

const GOODBYE = { event: "disconnected", bytes: 25, lines: 1, seconds: 0.93 } as const;

// -- Text --

Deno.test("Log.line() labels lines and marks cut ones when the format is text", () => {
  const lines = linesOf({}, (log) => {
    say(log, CLIENT, "hello world");
    say(log, CLIENT, "the first part of ", false);
    say(log, SIX, "");
    say(log, LOCAL, "from here");
  });
  assertEquals(lines, [
    "#2 127.0.0.1:53122 | hello world",
    "#2 127.0.0.1:53122 + the first part of ",
    "#3 [::1]:5000 | ",
    "#4 unix | from here",
  ]);
});

Deno.test("Log.line() takes the part of the bytes that it is told", () => {
  const lines = linesOf({}, (log) => {
    const bytes = encode("one\ntwo\nthree");
    const label = log.labelOf(CLIENT);
    log.line(label, bytes, 4, 7, true);
    log.line(label, bytes.subarray(4), 4, 7, true);
  });
  assertEquals(lines, ["#2 127.0.0.1:53122 | two", "#2 127.0.0.1:53122 | thr"]);
});

Deno.test("Log.line() shows line ends inside a record and forges no label", () => {
  const lines = linesOf({}, (log) => say(log, CLIENT, "a\r\n#1 127.0.0.1:1 | b\x1B[2J\xFF"));
  assertEquals(lines, ["#2 127.0.0.1:53122 | a\\x0D\\x0A#1 127.0.0.1:1 | b\\x1B[2Jÿ"]);
});

Deno.test("Log.notice() tells what happened to a connection", () => {
  const lines = linesOf({}, (log) => {
    log.notice(CLIENT, { event: "connected" });
    log.notice(CLIENT, { event: "connected", through: PROXY });
    log.notice(SIX, { event: "connected", certificate: "a\x1Bclient" });
    log.notice(SIX, { event: "connected", through: PROXY, certificate: "a client" });
    log.notice(STRANGER, { event: "refused", reason: NOT_ALLOWED });
    log.notice(STRANGER, { event: "refused", reason: "12 connections already" });
    log.notice(CLIENT, { ...GOODBYE, reason: "closed" });
    log.notice(CLIENT, { ...GOODBYE, bytes: 1, lines: 0, seconds: 12, reason: "bad\nname" });
  });
  assertEquals(lines, [
    "#2 127.0.0.1:53122 connected",
    "#2 127.0.0.1:53122 connected (through 10.0.0.1:53122)",
    "#3 [::1]:5000 connected (certificate a\\x1Bclient)",
    "#3 [::1]:5000 connected (through 10.0.0.1:53122; certificate a client)",
    "refused 192.0.2.7:4711",
    "refused 192.0.2.7:4711 (12 connections already)",
    "#2 127.0.0.1:53122 disconnected: 25 bytes, 1 line, 0.9 s",
    "#2 127.0.0.1:53122 disconnected: 1 byte, 0 lines, 12.0 s (bad\\x0Aname)",
  ]);
});

Deno.test("Log leaves out what a datagram's sender does not have", () => {
  const lines = linesOf({}, (log) => {
    say(log, SENDER, "<13>hello");
    say(log, SENDER, "part", false);
  });
  assertEquals(lines, ["udp 192.0.2.7:514 | <13>hello", "udp 192.0.2.7:514 + part"]);
});

Deno.test("Log.sent() shows who got what", () => {
  const lines = linesOf({}, (log) => {
    log.sent(CLIENT, encode("reset"));
    log.sent({ clients: 3 }, bytesOf("\x1B\xFF"));
    log.sent({ clients: 1 }, encode(""));
  });
  assertEquals(lines, ["#2 127.0.0.1:53122 < reset", "* all < \\x1B\\xFF", "* all < "]);
});

Deno.test("Log leaves out connects, disconnects and refusals alone when it is quiet", () => {
  for (const format of ["text", "json"] as const) {
    const lines = linesOf({ format, isQuiet: true }, (log) => {
      log.notice(CLIENT, { event: "connected" });
      log.notice(STRANGER, { event: "refused", reason: NOT_ALLOWED });
      log.notice(CLIENT, { ...GOODBYE, reason: "closed" });
      say(log, CLIENT, "said");
      log.sent(CLIENT, encode("sent"));
    });
    assertEquals(lines.map((line) => /said|sent(?=$|"})/.exec(line)?.[0]), ["said", "sent"]);
  }
});

// -- Colours --

/** The colour of a label, and the rest. */
function colorOf(line: string): [color: string, rest: string] {
  // deno-lint-ignore no-control-regex -- colours are control characters
  const [, color = "", label = "", rest = ""] = /^\x1B\[38;5;(\d+)m(.*)\x1B\[0m(.*)$/.exec(line) ??
    [];
  return [color, label + rest];
}

Deno.test("Log colours labels and nothing else", () => {
  const lines = linesOf({ isColored: true }, (log) => {
    say(log, CLIENT, "\x1B[31mred");
    log.notice(CLIENT, { event: "connected" });
    log.sent(CLIENT, encode("reset"));
    log.notice(STRANGER, { event: "refused", reason: NOT_ALLOWED });
    log.sent({ clients: 3 }, encode("reset"));
  });
  const colored = lines.slice(0, 3).map(colorOf);
  assertEquals(colored.map(([, rest]) => rest), [
    "#2 127.0.0.1:53122 | \\x1B[31mred",
    "#2 127.0.0.1:53122 connected",
    "#2 127.0.0.1:53122 < reset",
  ]);
  assertEquals(new Set(colored.map(([color]) => color)).size, 1);
  assertNotEquals(colored[0]![0], "");
  assertEquals(lines.slice(3), ["refused 192.0.2.7:4711", "* all < reset"]);
});

Deno.test("Log gives neighbours different colours, and a datagram's sender one without its port", () => {
  const ip = (host: string, port: number): Subject => ({ peer: { kind: "ip", host, port } });
  const colors = linesOf({ isColored: true }, (log) => {
    for (let number = 1; number <= 8; number++) say(log, { ...CLIENT, number }, "");
    for (const port of [514, 1, 65535]) say(log, ip("192.0.2.7", port), "");
    say(log, ip("192.0.2.8", 514), "");
    say(log, ip("fe80::1", 514), "");
  }).map((line) => colorOf(line)[0]);
  assertEquals(new Set(colors.slice(0, 8)).size, 8);
  assertEquals(new Set(colors.slice(8, 11)).size, 1);
  assertNotEquals(colors[11], colors[8]);
  assert(colors.every((color) => colors.slice(0, 8).includes(color)));
});

// -- JSON --

Deno.test("Log writes an object a line when the format is json", () => {
  const lines = linesOf({ format: "json" }, (log) => {
    log.notice(CLIENT, { event: "connected" });
    log.notice(SIX, { event: "connected", through: PROXY, certificate: 'a "client"\u202E' });
    say(log, CLIENT, "plain");
    say(log, CLIENT, 'q"\\\té\u2028\x9B');
    say(log, CLIENT, bytesOf("\xFF\x00"));
    say(log, CLIENT, bytesOf("cut\xC3"), false);
    say(log, LOCAL, "cut", false);
    say(log, SENDER, "<13>hello");
    log.sent(CLIENT, encode("reset"));
    log.sent({ clients: 3 }, bytesOf("\xFF"));
    log.notice(STRANGER, { event: "refused", reason: NOT_ALLOWED });
    log.notice(STRANGER, { event: "refused", reason: "12 connections already" });
    log.notice(CLIENT, { ...GOODBYE, reason: "closed" });
  });
  const two = `"connection":2,"host":"127.0.0.1","port":53122`;
  const three = `"connection":3,"host":"::1","port":5000`;
  const stranger = `"host":"192.0.2.7","port":4711`;
  const sender = `"transport":"udp","host":"192.0.2.7","port":514`;
  const local = `"connection":4,"path":"/run/\\"a\\n"`;
  assertEquals(lines, [
    `{"event":"connected",${two}}`,
    `{"event":"connected",${three},"proxy":"10.0.0.1:53122","certificate":"a \\"client\\"\\u202E"}`,
    `{"event":"line",${two},"message":"plain"}`,
    `{"event":"line",${two},"message":"q\\"\\\\\\té\\u2028\\u009B"}`,
    `{"event":"line",${two},"message_base64":"/wA="}`,
    `{"event":"line",${two},"message_base64":"Y3V0ww==","cut":true}`,
    `{"event":"line",${local},"message":"cut","cut":true}`,
    `{"event":"datagram",${sender},"message":"<13>hello"}`,
    `{"event":"sent",${two},"message":"reset"}`,
    `{"event":"sent","clients":3,"message_base64":"/w=="}`,
    `{"event":"refused",${stranger},"reason":"not allowed"}`,
    `{"event":"refused",${stranger},"reason":"12 connections already"}`,
    `{"event":"disconnected",${two},"bytes":25,"lines":1,"seconds":0.93,"reason":"closed"}`,
  ]);
});

Deno.test("Log writes json that can be parsed and gives random bytes back", async () => {
  await withSeeds(60, (random) => {
    const goodness = 1 + random(40);
    const messages = Array.from({ length: 20 }, () => {
      return Uint8Array.from({ length: random(120) }, () => {
        return random(goodness) === 0 ? random(256) : random(128);
      });
    });
    const lines = linesOf({ format: "json", time: "utc" }, (log) => {
      for (const message of messages) say(log, CLIENT, message, random(2) === 0);
    });
    const back = lines.map((line) => {
      const { message, message_base64 } = JSON.parse(line);
      assertEquals(message === undefined, message_base64 !== undefined);
      return latin1(message_base64 ? Uint8Array.fromBase64(message_base64) : encode(message));
    });
    assertEquals(back, messages.map(latin1));
  });
});

Deno.test("lineJson(), noticeJson() and sentJson() make the objects that a log writes", () => {
  const bytes = bytesOf("<said \xFF>");
  const notices: [Subject, ConnectionEvent][] = [
    [CLIENT, { event: "connected", through: PROXY }],
    [STRANGER, { event: "refused", reason: NOT_ALLOWED }],
    [LOCAL, { ...GOODBYE, reason: "reset by peer" }],
  ];
  const targets: Target[] = [SIX, { clients: 3 }];
  const expected = linesOf({ format: "json", time: "utc" }, (log) => {
    for (const subject of [CLIENT, SENDER]) {
      log.line(log.labelOf(subject), bytes, 1, 5, true);
      log.line(log.labelOf(subject), bytes, 1, 7, false);
    }
    for (const notice of notices) log.notice(...notice);
    for (const target of targets) log.sent(target, encode("reset"));
  });
  const objects = [
    ...[CLIENT, SENDER].flatMap((subject) => [
      lineJson(NOW_MS, subject, bytes, 1, 5, true),
      lineJson(NOW_MS, subject, bytes, 1, 7, false),
    ]),
    ...notices.map((notice) => noticeJson(NOW_MS, ...notice)),
    ...targets.map((target) => sentJson(NOW_MS, target, encode("reset"))),
  ];
  assertEquals(objects, expected);
  assertEquals(JSON.parse(objects[0]!).timestamp, "2026-11-22T23:31:05.123Z");
});

// -- Raw and hex --

Deno.test("Log keeps all but the clients' bytes out of the output when the format is raw", () => {
  const options = { format: "raw", time: "utc" } as const;
  const bytes = Uint8Array.from({ length: 70_000 }, (_, i) => i * 7);
  const write = (log: Log) => {
    log.notice(CLIENT, { event: "connected" });
    log.chunk(CLIENT, 0, bytes);
    log.sent({ clients: 1 }, encode("reset"));
    assertEquals(log.receive(sourceOf("received"), 100), 8);
    log.notice(CLIENT, { ...GOODBYE, reason: "closed" });
  };
  const log = logOf(options);
  write(log);
  assertEquals(log.length, bytes.length + 8);
  const taken = log.take();
  assertEquals(latin1(taken), `${latin1(bytes)}received`);
  assertEquals(asideOf(options, write), [
    "2026-11-22T23:31:05.123Z #2 127.0.0.1:53122 connected",
    "2026-11-22T23:31:05.123Z * all < reset",
    "2026-11-22T23:31:05.123Z #2 127.0.0.1:53122 disconnected: 25 bytes, 0.9 s",
  ]);
  assertEquals(log.asideLength, asideOf(options, write).join("\n").length + 1);
});

/** Gives the same each time, as much of it as there is room for. */
function sourceOf(text: string) {
  return {
    recvInto(target: Uint8Array, start: number, end: number): number {
      const bytes = encode(text).subarray(0, end - start);
      target.set(bytes, start);
      return bytes.length;
    },
  };
}

Deno.test("Log.receive() puts bytes behind what is there, as often as it takes", () => {
  const log = logOf({ format: "raw" });
  for (const letter of "abcde") {
    assertEquals(log.receive(sourceOf(letter.repeat(50_000)), 40_000), 40_000);
    assertEquals(latin1(log.last(3)), letter.repeat(3));
  }
  assertEquals(log.receive(sourceOf(""), 50_000), 0);
  assertEquals(log.length, 200_000);
  const text = latin1(log.take());
  assertEquals(text, [..."abcde"].map((letter) => letter.repeat(40_000)).join(""));
});

Deno.test("Log.chunk() shows chunks with offsets when the format is hex", () => {
  const lines = linesOf({ format: "hex" }, (log) => {
    log.notice(CLIENT, { event: "connected" });
    log.chunk(CLIENT, 0, bytesOf("GET / HTTP/1.1\r\n\x7F~\xFF"));
    log.chunk(CLIENT, 19, encode("x"));
    log.chunk(SENDER, 0, encode("<13>"));
    log.sent(CLIENT, encode("reset"));
    log.sent({ clients: 2 }, encode(""));
    log.notice(CLIENT, { ...GOODBYE, reason: "closed" });
  });
  assertEquals(lines, [
    "#2 127.0.0.1:53122 connected",
    "#2 127.0.0.1:53122 > 19 bytes",
    "00000000  47 45 54 20 2f 20 48 54  54 50 2f 31 2e 31 0d 0a  |GET / HTTP/1.1..|",
    "00000010  7f 7e ff                                          |.~.|",
    "#2 127.0.0.1:53122 > 1 byte",
    "00000013  78                                                |x|",
    "udp 192.0.2.7:514 > 4 bytes",
    "00000000  3c 31 33 3e                                       |<13>|",
    "#2 127.0.0.1:53122 < 5 bytes",
    "00000000  72 65 73 65 74                                    |reset|",
    "* all < 0 bytes",
    "#2 127.0.0.1:53122 disconnected: 25 bytes, 0.9 s",
  ]);
});

Deno.test({
  ...needs("hexdump"),
  name: "Log.chunk() shows what hexdump -vC shows",
  async fn() {
    const bytes = Uint8Array.from({ length: 300 }, (_, i) => i < 260 ? i : 0);
    await using hexdump = new Deno.Command("hexdump", {
      args: ["-vC"],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    const writer = hexdump.stdin.getWriter();
    await writer.write(bytes);
    await writer.close();
    const expected = (await hexdump.stdout.text()).split("\n").slice(0, -2);
    const lines = linesOf({ format: "hex" }, (log) => log.chunk(CLIENT, 0, bytes));
    assertEquals(lines.slice(1), expected);
  },
});

Deno.test("Log.isRaw is true when the format is raw", () => {
  const formats = ["text", "json", "hex", "raw"] as const;
  assertEquals(formats.map((format) => logOf({ format }).isRaw), [false, false, false, true]);
});

Deno.test("Log.takesLines is true when the format has lines", () => {
  const formats = ["text", "json", "raw", "hex"] as const;
  assertEquals(formats.map((format) => logOf({ format }).takesLines), [true, true, false, false]);
});

// -- Time --

Deno.test("Log dates records in each kind of time", () => {
  const first = (format: "text" | "json", time: LogOptions["time"]) =>
    linesOf({ format, time, startMs: NOW_MS - 1234 }, (log) => {
      log.setTime(NOW_MS);
      log.notice(CLIENT, { event: "connected" });
    })[0]!;
  const stamps = (["utc", "local", "elapsed", "none"] as const).map((time) => {
    return first("text", time).split("#")[0]!;
  });
  assertEquals([stamps[0], stamps[2], stamps[3]], ["2026-11-22T23:31:05.123Z ", "1.234 ", ""]);
  assertMatch(stamps[1]!, /^2026-11-2\dT\d\d:\d\d:05\.123[+-]\d\d:\d\d $/);
  assertEquals(Date.parse(stamps[1]!.trim()), NOW_MS);
  const [utc, local, elapsed, none] = (["utc", "local", "elapsed", "none"] as const).map((time) => {
    return JSON.parse(first("json", time));
  });
  assertEquals(utc.timestamp, "2026-11-22T23:31:05.123Z");
  assertEquals(`${local.timestamp} `, stamps[1]);
  assertEquals([elapsed.elapsed, elapsed.timestamp], [1.234, undefined]);
  assertEquals([none.elapsed, none.timestamp], [undefined, undefined]);
});

Deno.test("Log.setTime() dates the records from there on, before the start as the start", () => {
  const lines = linesOf({ time: "elapsed" }, (log) => {
    for (const ms of [0, 1, 1, 60_000, -5]) {
      log.setTime(NOW_MS + ms);
      say(log, CLIENT, "");
    }
  });
  const times = lines.map((line) => line.split(" ")[0]);
  assertEquals(times, ["0.000", "0.001", "0.001", "60.000", "0.000"]);
});

// -- Buffers --

Deno.test("Log.take() gives records away once, and leaves them alone until the next call", () => {
  const log = logOf();
  say(log, CLIENT, "one");
  const first = log.take();
  assertEquals(log.length, 0);
  say(log, CLIENT, "two");
  assertEquals(decode(first), "#2 127.0.0.1:53122 | one\n");
  assertEquals(decode(log.take()), "#2 127.0.0.1:53122 | two\n");
  assertEquals(log.take().length, 0);
});

Deno.test("Log uses the memory of long rounds again", () => {
  const log = logOf();
  const line = new Uint8Array(60_000).fill(0x61);
  const memories = new Set<ArrayBufferLike>();
  for (let round = 0; round < 8; round++) {
    for (let i = 0; i < 34; i++) say(log, CLIENT, line);
    const taken = log.take();
    assert(taken.length > 2_000_000);
    if (round >= 2) memories.add(taken.buffer);
  }
  assertEquals(memories.size, 2);
});

Deno.test("Log gives the memory of a very long round back", () => {
  const log = logOf();
  say(log, CLIENT, new Uint8Array(10_000_000));
  assert(log.take().buffer.byteLength > 10_000_000);
  log.take();
  say(log, CLIENT, "short");
  assert(log.take().buffer.byteLength <= 4 * 1024 * 1024);
});

Deno.test("Log writes the longest line that a client may send", () => {
  const bytes = new Uint8Array(64 * 1024 * 1024).fill(0x61);
  bytes[bytes.length - 1] = 0xFF;
  const log = logOf({ format: "json" });
  say(log, CLIENT, bytes);
  const record = log.take();
  const head = `{"event":"line","connection":2,"host":"127.0.0.1","port":53122,"message_base64":"`;
  assertEquals(decode(record.subarray(0, head.length)), head);
  assertEquals(decode(record.subarray(-11)), `YWFh/w=="}\n`);
  assertEquals(record.length, head.length + 4 * Math.ceil(bytes.length / 3) + 3);
});

Deno.test("Log leaves nothing of a record behind that cannot be finished", () => {
  const broken = encode("a line that ends behind its memory");
  for (const format of ["text", "json"] as const) {
    const log = logOf({ format, time: "utc" });
    say(log, CLIENT, "before");
    const { length } = log;
    const label = log.labelOf(CLIENT);
    assertThrows(() => log.line(label, broken, 0, broken.length + 50, true), RangeError);
    assertThrows(() => log.notice(NOBODY, { event: "connected" }), TypeError);
    assertEquals(log.length, length);
    say(log, CLIENT, "after");
    assertEquals(decode(log.take()).split("\n").length, 3);
  }
  const log = logOf({ format: "hex" });
  assertThrows(() => log.chunk(NOBODY, 0, broken), TypeError);
  assertThrows(() => log.sent(NOBODY, broken), TypeError);
  assertEquals(log.length, 0);
});

Deno.test("Log mixes nothing up when random parties say, get and do random things", async () => {
  await withSeeds(40, (random) => {
    const log = logOf();
    const expected: string[] = [];
    const labels = new Map<Subject, Uint8Array>();
    for (let i = 0; i < 200; i++) {
      const subject: Subject = { ...CLIENT, number: 1 + random(5) };
      const name = `#${subject.number} 127.0.0.1:53122`;
      const said = "x".repeat(random(random(10) === 0 ? 40_000 : 60));
      if (random(3) > 0) {
        const label = labels.get(subject) ?? log.labelOf(subject);
        log.line(label, encode(`${said}${said}`), said.length, 2 * said.length, true);
        expected.push(`${name} | ${said}`);
      } else if (random(2) === 0) {
        log.sent(subject, encode(said));
        expected.push(`${name} < ${said}`);
      } else {
        log.notice(subject, { event: "connected" });
        expected.push(`${name} connected`);
      }
      if (random(20) === 0) {
        assertEquals(decode(log.take()).split("\n").slice(0, -1), expected.splice(0));
      }
    }
  });
});

Deno.test("Log.line() neither holds on to a client's bytes nor changes them", () => {
  const random = randomNumbers(1);
  const bytes = Uint8Array.from({ length: 500 }, () => random(256));
  const before = bytes.slice();
  const log = logOf();
  say(log, CLIENT, bytes);
  assertEquals(bytes, before);
  const taken = log.take().slice();
  say(log, CLIENT, before);
  bytes.fill(0x61);
  assertEquals(log.take().slice(), taken);
});
