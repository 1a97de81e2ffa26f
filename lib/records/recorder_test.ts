import { assert, assertEquals, assertMatch, assertNotEquals, assertThrows } from "@std/assert";
import { decode, encode } from "../bytes.ts";
import { eventJson, lineJson, sentJson } from "./json.ts";
import {
  type ConnectionEvent,
  NOT_ALLOWED,
  sentWhole,
  type Subject,
  type Target,
  type Time,
} from "./records.ts";
import { bytesOf, latin1 } from "../../tests/support/data.ts";
import { randomNumbers, withSeeds } from "../../tests/support/random.ts";
import { needs } from "../../tests/support/needs.ts";

import { recording, type RecordingOptions } from "../../tests/support/recording.ts";

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

/** The lines that `write` records. */
function linesOf(
  options: Partial<RecordingOptions>,
  write: (given: ReturnType<typeof recording>) => void,
): string[] {
  const given = recording({ startMs: NOW_MS, ...options });
  write(given);
  return given.lines();
}

const GOODBYE = { event: "disconnected", bytes: 25, lines: 1, seconds: 0.93 } as const;

// -- Text --

Deno.test("SubjectRecorder.frame() labels lines and marks cut ones when the format is text", () => {
  const lines = linesOf({}, ({ say }) => {
    say(CLIENT, "hello world");
    say(CLIENT, "the first part of ", false);
    say(SIX, "");
    say(LOCAL, "from here");
  });
  assertEquals(lines, [
    "#2 127.0.0.1:53122 | hello world",
    "#2 127.0.0.1:53122 + the first part of ",
    "#3 [::1]:5000 | ",
    "#4 unix | from here",
  ]);
});

Deno.test("SubjectRecorder.frame() takes the part of the bytes that it is told", () => {
  const lines = linesOf({}, ({ recorder }) => {
    const bytes = encode("one\ntwo\nthree");
    const child = recorder.child(CLIENT);
    child.frame(bytes, 4, 7, true);
    child.frame(bytes.subarray(4), 4, 7, true);
  });
  assertEquals(lines, ["#2 127.0.0.1:53122 | two", "#2 127.0.0.1:53122 | thr"]);
});

Deno.test("SubjectRecorder.frame() shows line ends inside a record and forges no label", () => {
  const lines = linesOf(
    {},
    ({ say }) => say(CLIENT, "a\r\n#1 127.0.0.1:1 | b\x1B[2J\xFF"),
  );
  assertEquals(lines, ["#2 127.0.0.1:53122 | a\\x0D\\x0A#1 127.0.0.1:1 | b\\x1B[2Jÿ"]);
});

Deno.test("Recorder.event() tells what happened to a connection", () => {
  const lines = linesOf({}, ({ recorder }) => {
    recorder.event(CLIENT, { event: "connected" });
    recorder.event(CLIENT, { event: "connected", through: PROXY });
    recorder.event(SIX, { event: "connected", certificate: "a\x1Bclient" });
    recorder.event(SIX, { event: "connected", through: PROXY, certificate: "a client" });
    recorder.event(STRANGER, { event: "refused", reason: NOT_ALLOWED });
    recorder.event(STRANGER, { event: "refused", reason: "12 connections already" });
    recorder.event(CLIENT, { ...GOODBYE, reason: { tag: "closed" } });
    recorder.event(CLIENT, {
      ...GOODBYE,
      bytes: 1,
      lines: 0,
      seconds: 12,
      reason: { tag: "failed", words: "bad\nname" },
    });
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

Deno.test("Recorder leaves out what a datagram's sender does not have", () => {
  const lines = linesOf({}, ({ say }) => {
    say(SENDER, "<13>hello");
    say(SENDER, "part", false);
  });
  assertEquals(lines, ["udp 192.0.2.7:514 | <13>hello", "udp 192.0.2.7:514 + part"]);
});

Deno.test("Recorder.sent() shows who got what", () => {
  const lines = linesOf({}, ({ recorder }) => {
    recorder.sent(CLIENT, sentWhole(encode("reset")));
    recorder.sent({ clients: 3 }, sentWhole(bytesOf("\x1B\xFF")));
    recorder.sent({ clients: 1 }, sentWhole(encode("")));
  });
  assertEquals(lines, ["#2 127.0.0.1:53122 < reset", "* all < \\x1B\\xFF", "* all < "]);
});

Deno.test("Recorder.sent() leaves out one line end where records are lines", () => {
  const texts = ["one\n", "two\r\n", "\r\n", "three\n\n", "four\r", "five\n\r"];
  const lines = linesOf({}, ({ recorder }) => {
    for (const text of texts) recorder.sent(CLIENT, sentWhole(encode(text)));
  });
  assertEquals(lines.map((line) => line.slice(line.indexOf("<"))), [
    "< one",
    "< two",
    "< ",
    "< three\\x0A",
    "< four\\x0D",
    "< five\\x0A\\x0D",
  ]);
});

Deno.test("SubjectRecorder.answered() and forwarded() name who is sent something", () => {
  for (const format of ["text", "json"] as const) {
    const lines = linesOf({ format }, ({ recorder }) => {
      recorder.child(SENDER).answered(sentWhole(encode("PONG\n")));
      const bytes = encode("half");
      const piece = { bytes, lineBytes: bytes.length, isWhole: false, offset: 0 };
      recorder.child(CLIENT).forwarded(piece);
    });
    const [answered, forwarded] = {
      text: ["udp 192.0.2.7:514 < PONG", "#2 127.0.0.1:53122 < half"],
      json: [
        `{"event":"sent","transport":"udp","host":"192.0.2.7","port":514,"message":"PONG"}`,
        `{"event":"sent","connection":2,"host":"127.0.0.1","port":53122,"message":"half","cut":true}`,
      ],
    }[format];
    assertEquals(lines, [answered, forwarded]);
  }
});

Deno.test("Recorder leaves out connects, disconnects and refusals alone when it is quiet", () => {
  for (const format of ["text", "json"] as const) {
    const lines = linesOf({ format, isQuiet: true }, ({ recorder, say }) => {
      recorder.event(CLIENT, { event: "connected" });
      recorder.event(STRANGER, { event: "refused", reason: NOT_ALLOWED });
      recorder.event(CLIENT, { ...GOODBYE, reason: { tag: "closed" } });
      say(CLIENT, "said");
      recorder.sent(CLIENT, sentWhole(encode("sent")));
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

Deno.test("Recorder colours labels and nothing else", () => {
  const lines = linesOf({ isColored: true }, ({ recorder, say }) => {
    say(CLIENT, "\x1B[31mred");
    recorder.event(CLIENT, { event: "connected" });
    recorder.sent(CLIENT, sentWhole(encode("reset")));
    recorder.event(STRANGER, { event: "refused", reason: NOT_ALLOWED });
    recorder.sent({ clients: 3 }, sentWhole(encode("reset")));
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

Deno.test("Recorder gives neighbours different colours, and a datagram's sender one without its port", () => {
  const ip = (host: string, port: number): Subject => ({ peer: { kind: "ip", host, port } });
  const colors = linesOf({ isColored: true }, ({ say }) => {
    for (let number = 1; number <= 8; number++) say({ ...CLIENT, number }, "");
    for (const port of [514, 1, 65535]) say(ip("192.0.2.7", port), "");
    say(ip("192.0.2.8", 514), "");
    say(ip("fe80::1", 514), "");
  }).map((line) => colorOf(line)[0]);
  assertEquals(new Set(colors.slice(0, 8)).size, 8);
  assertEquals(new Set(colors.slice(8, 11)).size, 1);
  assertNotEquals(colors[11], colors[8]);
  assert(colors.every((color) => colors.slice(0, 8).includes(color)));
});

// -- On a terminal --

Deno.test("Recorder leaves the client's words room when text is brief", () => {
  for (const isColored of [false, true]) {
    const lines = linesOf({ time: "utc", isBrief: true, isColored }, ({ recorder, say }) => {
      recorder.event(CLIENT, { event: "connected" });
      say(CLIENT, "hello");
      say(SENDER, "<13>hello");
      recorder.sent(CLIENT, sentWhole(encode("reset")));
      recorder.event(CLIENT, { ...GOODBYE, reason: { tag: "closed" } });
    });
    // deno-lint-ignore no-control-regex -- colours are control characters
    const plain = lines.map((line) => line.replaceAll(/\x1B\[[\d;]*m/g, ""));
    assertEquals(plain, [
      "23:31:05.123Z #2 127.0.0.1:53122 connected",
      "23:31:05.123Z #2 | hello",
      "23:31:05.123Z udp 192.0.2.7:514 | <13>hello",
      "23:31:05.123Z #2 < reset",
      "23:31:05.123Z #2 127.0.0.1:53122 disconnected: 25 bytes, 1 line, 0.9 s",
    ]);
    assertEquals(lines.every((line) => line.startsWith("\x1B[2m23:")), isColored);
  }
});

Deno.test("Recorder gives local times without their offset, and others as they are, when text is brief", () => {
  const stamps = (["local", "elapsed", "none"] as const).map((time) => {
    const [line] = linesOf({ time, isBrief: true }, ({ say }) => say(CLIENT, "x"));
    return line!.split("#")[0]!;
  });
  assertMatch(stamps[0]!, /^\d\d:\d\d:05\.123 $/);
  assertEquals(stamps.slice(1), ["0.000 ", ""]);
});

// -- JSON --

Deno.test("Recorder writes an object a line when the format is json", () => {
  const lines = linesOf({ format: "json" }, ({ recorder, say }) => {
    recorder.event(CLIENT, { event: "connected" });
    recorder.event(SIX, { event: "connected", through: PROXY, certificate: 'a "client"\u202E' });
    say(CLIENT, "plain");
    say(CLIENT, 'q"\\\té\u2028\x9B');
    say(CLIENT, bytesOf("\xFF\x00"));
    say(CLIENT, bytesOf("cut\xC3"), false);
    say(LOCAL, "cut", false);
    say(SENDER, "<13>hello");
    recorder.sent(CLIENT, sentWhole(encode("reset")));
    recorder.sent({ clients: 3 }, sentWhole(bytesOf("\xFF")));
    recorder.event(STRANGER, { event: "refused", reason: NOT_ALLOWED });
    recorder.event(STRANGER, { event: "refused", reason: "12 connections already" });
    recorder.event(CLIENT, { ...GOODBYE, reason: { tag: "closed" } });
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

Deno.test("Recorder writes json that can be parsed and gives random bytes back", async () => {
  await withSeeds(60, (random) => {
    const goodness = 1 + random(40);
    const messages = Array.from({ length: 20 }, () => {
      return Uint8Array.from({ length: random(120) }, () => {
        return random(goodness) === 0 ? random(256) : random(128);
      });
    });
    const lines = linesOf({ format: "json", time: "utc" }, ({ say }) => {
      for (const message of messages) say(CLIENT, message, random(2) === 0);
    });
    const back = lines.map((line) => {
      const { message, message_base64 } = JSON.parse(line);
      assertEquals(message === undefined, message_base64 !== undefined);
      return latin1(message_base64 ? Uint8Array.fromBase64(message_base64) : encode(message));
    });
    assertEquals(back, messages.map(latin1));
  });
});

Deno.test("lineJson(), eventJson() and sentJson() make the objects that a log writes", () => {
  const bytes = bytesOf("<said \xFF>");
  const events: [Subject, ConnectionEvent][] = [
    [CLIENT, { event: "connected", through: PROXY }],
    [STRANGER, { event: "refused", reason: NOT_ALLOWED }],
    [LOCAL, { ...GOODBYE, reason: { tag: "reset" } }],
  ];
  const targets: Target[] = [SIX, { clients: 3 }];
  const expected = linesOf({ format: "json", time: "utc" }, ({ recorder }) => {
    for (const subject of [CLIENT, SENDER]) {
      recorder.child(subject).frame(bytes, 1, 5, true);
      recorder.child(subject).frame(bytes, 1, 7, false);
    }
    for (const event of events) recorder.event(...event);
    for (const target of targets) recorder.sent(target, sentWhole(encode("reset")));
  });
  const objects = [
    ...[CLIENT, SENDER].flatMap((subject) => [
      lineJson(NOW_MS, subject, bytes, 1, 5, true),
      lineJson(NOW_MS, subject, bytes, 1, 7, false),
    ]),
    ...events.map((event) => eventJson(NOW_MS, ...event)),
    ...targets.map((target) => sentJson(NOW_MS, target, sentWhole(encode("reset")))),
  ];
  assertEquals(objects, expected);
  assertEquals(JSON.parse(objects[0]!).timestamp, "2026-11-22T23:31:05.123Z");
});

// -- Raw and hex --

Deno.test("Recorder writes the clients' bytes alone when the format is raw", () => {
  const bytes = Uint8Array.from({ length: 70_000 }, (_, i) => i * 7);
  const { recorder, log } = recording({ format: "raw", time: "utc" });
  recorder.event(CLIENT, { event: "connected" });
  recorder.child(CLIENT).read(bytes, 0);
  recorder.sent({ clients: 1 }, sentWhole(encode("reset")));
  assertEquals(log.receive(sourceOf("received"), 100), 8);
  recorder.event(CLIENT, { ...GOODBYE, reason: { tag: "closed" } });
  assertEquals(log.length, bytes.length + 8);
  assertEquals(latin1(log.take()), `${latin1(bytes)}received`);
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
  const { log } = recording({ format: "raw" });
  for (const letter of "abcde") {
    assertEquals(log.receive(sourceOf(letter.repeat(50_000)), 40_000), 40_000);
    assertEquals(latin1(log.last(3)), letter.repeat(3));
  }
  assertEquals(log.receive(sourceOf(""), 50_000), 0);
  assertEquals(log.length, 200_000);
  const text = latin1(log.take());
  assertEquals(text, [..."abcde"].map((letter) => letter.repeat(40_000)).join(""));
});

Deno.test("SubjectRecorder.read() shows chunks with offsets when the format is hex", () => {
  const lines = linesOf({ format: "hex" }, ({ recorder }) => {
    recorder.event(CLIENT, { event: "connected" });
    recorder.child(CLIENT).read(bytesOf("GET / HTTP/1.1\r\n\x7F~\xFF"), 0);
    recorder.child(CLIENT).read(encode("x"), 19);
    recorder.child(SENDER).read(encode("<13>"), 0);
    recorder.sent(CLIENT, sentWhole(encode("reset")));
    recorder.sent({ clients: 2 }, sentWhole(encode("")));
    recorder.child(SENDER).answered(sentWhole(encode("ok\n")));
    recorder.event(CLIENT, { ...GOODBYE, reason: { tag: "closed" } });
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
    "udp 192.0.2.7:514 < 3 bytes",
    "00000000  6f 6b 0a                                          |ok.|",
    "#2 127.0.0.1:53122 disconnected: 25 bytes, 0.9 s",
  ]);
});

Deno.test({
  ...needs("hexdump"),
  name: "SubjectRecorder.read() shows what hexdump -vC shows",
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
    const lines = linesOf(
      { format: "hex" },
      ({ recorder }) => recorder.child(CLIENT).read(bytes, 0),
    );
    assertEquals(lines.slice(1), expected);
  },
});

// -- Time --

Deno.test("Recorder dates records in each kind of time", () => {
  const first = (format: "text" | "json", time: Time) =>
    linesOf({ format, time, startMs: NOW_MS - 1234 }, ({ recorder }) => {
      recorder.setTime(NOW_MS);
      recorder.event(CLIENT, { event: "connected" });
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
  const lines = linesOf({ time: "elapsed" }, ({ recorder, say }) => {
    for (const ms of [0, 1, 1, 60_000, -5]) {
      recorder.setTime(NOW_MS + ms);
      say(CLIENT, "");
    }
  });
  const times = lines.map((line) => line.split(" ")[0]);
  assertEquals(times, ["0.000", "0.001", "0.001", "60.000", "0.000"]);
});

// -- Buffers --

Deno.test("Log.take() gives records away once, and leaves them alone until the next call", () => {
  const { log, say } = recording();
  say(CLIENT, "one");
  const first = log.take();
  assertEquals(log.length, 0);
  say(CLIENT, "two");
  assertEquals(decode(first), "#2 127.0.0.1:53122 | one\n");
  assertEquals(decode(log.take()), "#2 127.0.0.1:53122 | two\n");
  assertEquals(log.take().length, 0);
});

Deno.test("Recorder uses the memory of long rounds again", () => {
  const { log, say } = recording();
  const line = new Uint8Array(60_000).fill(0x61);
  const memories = new Set<ArrayBufferLike>();
  for (let round = 0; round < 8; round++) {
    for (let i = 0; i < 34; i++) say(CLIENT, line);
    const taken = log.take();
    assert(taken.length > 2_000_000);
    if (round >= 2) memories.add(taken.buffer);
  }
  assertEquals(memories.size, 2);
});

Deno.test("Recorder gives the memory of a very long round back", () => {
  const { log, say } = recording();
  say(CLIENT, new Uint8Array(10_000_000));
  assert(log.take().buffer.byteLength > 10_000_000);
  log.take();
  say(CLIENT, "short");
  assert(log.take().buffer.byteLength <= 4 * 1024 * 1024);
});

Deno.test("Recorder writes the longest line that a client may send", () => {
  const bytes = new Uint8Array(64 * 1024 * 1024).fill(0x61);
  bytes[bytes.length - 1] = 0xFF;
  const { log, say } = recording({ format: "json" });
  say(CLIENT, bytes);
  const record = log.take();
  const head = `{"event":"line","connection":2,"host":"127.0.0.1","port":53122,"message_base64":"`;
  assertEquals(decode(record.subarray(0, head.length)), head);
  assertEquals(decode(record.subarray(-11)), `YWFh/w=="}\n`);
  assertEquals(record.length, head.length + 4 * Math.ceil(bytes.length / 3) + 3);
});

Deno.test("Recorder leaves nothing of a record behind that cannot be finished", () => {
  const broken = encode("a line that ends behind its memory");
  for (const format of ["text", "json"] as const) {
    const { log, recorder, say } = recording({ format, time: "utc" });
    say(CLIENT, "before");
    const { length } = log;
    const child = recorder.child(CLIENT);
    assertThrows(() => child.frame(broken, 0, broken.length + 50, true), RangeError);
    assertThrows(() => recorder.event(NOBODY, { event: "connected" }), TypeError);
    assertEquals(log.length, length);
    say(CLIENT, "after");
    assertEquals(decode(log.take()).split("\n").length, 3);
  }
  const { log, recorder } = recording({ format: "hex" });
  assertThrows(() => recorder.child(NOBODY).read(broken, 0), TypeError);
  assertThrows(() => recorder.sent(NOBODY, sentWhole(broken)), TypeError);
  assertEquals(log.length, 0);
});

Deno.test("Recorder mixes nothing up when random subjects say, get and do random things", async () => {
  await withSeeds(40, (random) => {
    const { recorder, lines } = recording();
    const expected: string[] = [];
    for (let i = 0; i < 200; i++) {
      const subject: Subject = { ...CLIENT, number: 1 + random(5) };
      const name = `#${subject.number} 127.0.0.1:53122`;
      const said = "x".repeat(random(random(10) === 0 ? 40_000 : 60));
      if (random(3) > 0) {
        const bytes = encode(`${said}${said}`);
        recorder.child(subject).frame(bytes, said.length, 2 * said.length, true);
        expected.push(`${name} | ${said}`);
      } else if (random(2) === 0) {
        recorder.sent(subject, sentWhole(encode(said)));
        expected.push(`${name} < ${said}`);
      } else {
        recorder.event(subject, { event: "connected" });
        expected.push(`${name} connected`);
      }
      if (random(20) === 0) assertEquals(lines(), expected.splice(0));
    }
  });
});

Deno.test("SubjectRecorder.frame() neither holds on to a client's bytes nor changes them", () => {
  const random = randomNumbers(1);
  const bytes = Uint8Array.from({ length: 500 }, () => random(256));
  const before = bytes.slice();
  const { log, say } = recording();
  say(CLIENT, bytes);
  assertEquals(bytes, before);
  const taken = log.take().slice();
  say(CLIENT, before);
  bytes.fill(0x61);
  assertEquals(log.take().slice(), taken);
});
