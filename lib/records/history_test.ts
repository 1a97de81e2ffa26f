import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { decode, encode } from "../bytes.ts";
import { createFramer, type Framer, type FrameSink, FRAMINGS } from "../framing/framing.ts";
import type { Recorder, SubjectRecorder } from "./recorder.ts";
import { sentWhole, type Subject } from "./records.ts";
import { History, HISTORY_RECORDS } from "./history.ts";
import { bytesOf, pick, type Random, withSeeds } from "../../tests/support/testing.ts";

import { recording } from "../../tests/support/recording.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const NOW_MS = Date.UTC(2026, 10, 22, 23, 31, 5, 130);
const READ_BYTES = 64 * 1024;

function subject(number: number): Subject {
  return { number, peer: { kind: "ip", host: "127.0.0.1", port: 5000 + number } };
}

const ALICE = subject(1);

/** Receives a text as the server does: into the place that `history` gives. */
function receive(history: History, text: string | Uint8Array): Uint8Array {
  const bytes = typeof text === "string" ? encode(text) : text;
  const source = {
    recvInto(target: Uint8Array, start: number): number {
      target.set(bytes, start);
      return bytes.length;
    },
  };
  return history.last(history.receive(source, READ_BYTES));
}

/** One client says lines in one read. */
function say(history: History, from: Subject, ...lines: string[]): void {
  const bytes = receive(history, lines.map((line) => `${line}\n`).join(""));
  let at = 0;
  for (const line of lines) {
    const length = encode(line).length;
    history.received(from, bytes, at, at + length, true, NOW_MS);
    at += length + 1;
  }
}

/** Bytes pass that are part of no record. */
function pass(history: History, count: number): void {
  const noise = new Uint8Array(READ_BYTES).fill(0x2E);
  for (let at = 0; at < count; at += READ_BYTES) receive(history, noise);
}

function messages(texts: string[]): unknown[] {
  return texts.map((text) => JSON.parse(text).message);
}

function numbered(count: number, from = 0): string[] {
  return Array.from({ length: count }, (_, i) => `line ${from + i}`);
}

Deno.test("History.snapshot() gives the objects of --format json", () => {
  const history = new History();
  history.event(ALICE, { event: "connected" }, NOW_MS);
  say(history, ALICE, "hello world");
  history.received(ALICE, receive(history, "rest"), 0, 4, false, NOW_MS + 1);
  history.sent({ clients: 3 }, sentWhole(encode("reset")), NOW_MS + 2);
  const [connected, line, cut, sent, ...others] = history.snapshot().map((text) =>
    JSON.parse(text)
  );
  const who = { connection: 1, host: "127.0.0.1", port: 5001 };
  const timestamp = "2026-11-22T23:31:05.130Z";
  assertEquals(connected, { timestamp, event: "connected", ...who });
  assertEquals(line, { timestamp, event: "line", ...who, message: "hello world" });
  assertEquals(cut.timestamp, "2026-11-22T23:31:05.131Z");
  assertEquals([cut.message, cut.cut], ["rest", true]);
  assertEquals([sent.event, sent.clients, sent.message], ["sent", 3, "reset"]);
  assertEquals(others, []);
});

Deno.test("History.snapshot() is empty when nothing has happened", () => {
  assertEquals(new History().snapshot(), []);
});

Deno.test("History.snapshot() gives the last 500 records in order", () => {
  const history = new History();
  const lines = numbered(3000);
  for (let at = 0; at < lines.length; at += 7) {
    say(history, subject(at % 5 + 1), ...lines.slice(at, at + 7));
  }
  assertEquals(messages(history.snapshot()), lines.slice(-HISTORY_RECORDS));
  assertEquals(history.next, 3000);
});

Deno.test("History.snapshot() names who said each line when clients take turns", () => {
  const history = new History();
  for (let i = 0; i < 1000; i++) say(history, subject(i % 3 + 1), `from ${i % 3 + 1}`);
  for (const text of history.snapshot()) {
    const { connection, message } = JSON.parse(text);
    assertEquals(message, `from ${connection}`);
  }
});

Deno.test("History.snapshot() keeps short records when long input passes by", () => {
  const history = new History();
  const lines = numbered(HISTORY_RECORDS);
  say(history, ALICE, ...lines.slice(0, 100));
  for (const line of lines.slice(100)) say(history, ALICE, line);
  pass(history, 20 * 1024 * 1024);
  assertEquals(messages(history.snapshot()), lines);
});

Deno.test("History.line() takes the rest of a read when its first lines were saved", () => {
  const history = new History();
  const bytes = receive(history, "one\ntwo\n");
  history.received(ALICE, bytes, 0, 3, true, NOW_MS);
  // So much that what was received first is saved, but not yet overwritten.
  const copied = new Uint8Array(400_000);
  for (let i = 0; i < 8; i++) history.received(subject(2), copied, 0, copied.length, true, NOW_MS);
  history.received(ALICE, bytes, 4, 7, true, NOW_MS);
  assertEquals(messages(history.snapshot()), ["one", "two"]);
});

Deno.test("History.snapshot() leaves out a line whose bytes are overwritten", () => {
  const history = new History();
  const long = "x".repeat(60_000);
  say(history, ALICE, long);
  pass(history, 8 * 1024 * 1024);
  say(history, ALICE, "after");
  assertEquals(messages(history.snapshot()), ["after"]);
});

Deno.test("History.snapshot() leaves out a record over 128 KiB and keeps all others", () => {
  const history = new History();
  say(history, ALICE, "before");
  for (const size of [127 * 1024, 129 * 1024, 10 * 1024 * 1024]) {
    history.received(ALICE, new Uint8Array(size).fill(0x78), 0, size, true, NOW_MS);
  }
  say(history, ALICE, "after");
  assertEquals(messages(history.snapshot()), ["before", "x".repeat(127 * 1024), "after"]);
});

Deno.test("History.snapshot() counts the bytes of JSON, not those that were heard", () => {
  const history = new History();
  history.received(ALICE, new Uint8Array(30_000).fill(1), 0, 30_000, true, NOW_MS);
  assertEquals(history.snapshot(), []);
});

Deno.test("History.snapshot() gives fewer records when they are over 512 KiB together", () => {
  const history = new History();
  const lines = Array.from({ length: 100 }, (_, i) => `${i} ${"y".repeat(20_000)}`);
  for (const line of lines) say(history, ALICE, line);
  const texts = history.snapshot();
  const bytes = texts.reduce((sum, text) => sum + encode(text).length, 0);
  assert(bytes <= 512 * 1024 && bytes > 480 * 1024, `${bytes} bytes`);
  assertEquals(messages(texts), lines.slice(-texts.length));
});

Deno.test("History.line() copies bytes that were not received into it", () => {
  const history = new History();
  const held = encode("held");
  history.received(ALICE, held, 1, 3, true, NOW_MS);
  held.fill(0x21);
  assertEquals(messages(history.snapshot()), ["el"]);
});

Deno.test("History.line() keeps a held line and the lines that came with its end", () => {
  const history = new History();
  const bytes = receive(history, "nd\nnext\n");
  history.received(ALICE, encode("held to the end"), 0, 15, true, NOW_MS);
  history.received(ALICE, bytes, 3, 7, true, NOW_MS);
  assertEquals(messages(history.snapshot()), ["held to the end", "next"]);
});

Deno.test("History.line() tells the lines of a read apart from a record between them", () => {
  const history = new History(() => createFramer("newline", 100));
  const bytes = receive(history, "one\ntwo\nthree\nfour\n");
  for (const [start, end] of [[0, 3], [4, 7], [8, 13]] as const) {
    history.received(ALICE, bytes, start, end, true, NOW_MS);
  }
  history.sent({ clients: 1 }, sentWhole(encode("between")), NOW_MS);
  history.received(ALICE, bytes, 14, 18, true, NOW_MS);
  assertEquals(messages(history.snapshot()), ["one", "two", "three", "between", "four"]);
});

Deno.test("History.line() takes empty lines", () => {
  const history = new History();
  say(history, ALICE, "", "", "");
  assertEquals(messages(history.snapshot()), ["", "", ""]);
});

Deno.test("History.since() gives what came from a record on", () => {
  const history = new History();
  say(history, ALICE, "old");
  const from = history.next;
  assertEquals(history.since(from, 500), []);
  say(history, ALICE, "new", "newer");
  assertEquals(messages(history.since(from, 500)), ["new", "newer"]);
});

Deno.test("History.since() gives the newest when there are too many", () => {
  const history = new History();
  say(history, ALICE, ...numbered(2000));
  assertEquals(messages(history.since(0, 3)), ["line 1997", "line 1998", "line 1999"]);
  assertEquals(history.since(0, 0), []);
});

Deno.test("History.since() gives a live record that is too long for a snapshot", () => {
  const history = new History();
  const line = new Uint8Array(300_000).fill(0x7A);
  history.received(ALICE, line, 0, line.length, true, NOW_MS);
  assertEquals(messages(history.since(0, 500)), [decode(line)]);
});

Deno.test("History.sent() keeps what was typed when its buffer is used again", () => {
  const history = new History();
  const typed = encode("reset");
  history.sent(ALICE, sentWhole(typed), NOW_MS);
  typed.fill(0);
  assertStringIncludes(history.snapshot()[0]!, `"message":"reset"`);
});

Deno.test("History.receive() uses places that do not touch what was just received", () => {
  const history = new History();
  for (let i = 0; i < 500; i++) {
    const bytes = receive(history, `before ${i}`);
    receive(history, new Uint8Array(READ_BYTES));
    history.received(ALICE, encode("held"), 0, 4, true, NOW_MS);
    assertEquals(decode(bytes), `before ${i}`);
  }
});

/** A client whose lines are logged as JSON and remembered. */
class Speaker implements FrameSink {
  readonly #history: History;
  readonly #records: SubjectRecorder;
  readonly framer: Framer;

  constructor(recorder: Recorder, history: History, subject: Subject, framer: Framer) {
    this.#history = history;
    this.#records = recorder.child(subject);
    this.framer = framer;
  }

  say(bytes: Uint8Array): void {
    this.framer.push(receive(this.#history, bytes), this);
  }

  frame(bytes: Uint8Array, start: number, end: number, isWhole: boolean): void {
    this.#records.frame(bytes, start, end, isWhole);
  }
}

/** Lines, counted messages, and bytes that are likely to hit something. */
function randomText(random: Random): string {
  let text = "";
  for (let i = random(30); i > 0; i--) {
    const message = `<13>${"message ".repeat(random(3))}${pick(random, "", "\n", "\r\n", "5 ")}`;
    const counted = `${message.length} ${message}${pick(random, "", "", "\n")}`;
    const ending = pick(random, "\n", "\r\n", "\r", "\0", "\n\n", "\xFF");
    text += pick(random, counted, counted, `line ${i}${ending}`, ending, "7 <13>", "\xE2\x82\xAC");
  }
  return text;
}

/** What only `octet` understands to the end. */
function countedText(random: Random): string {
  let text = "";
  for (let i = random(30); i > 0; i--) {
    const message = `${pick(random, "", "x", "12 <", "\n")}${i}${pick(random, "", "\n", "\r\n")}`;
    text += `${message.length} ${message}${pick(random, "", "\n")}`;
  }
  return text;
}

Deno.test("History.snapshot() gives what is logged as JSON, in every framing and however it is read", async () => {
  await withSeeds(150, (random) => {
    for (const framing of FRAMINGS) {
      const maxBytes = pick(random, 3, 10, 65536);
      const make = () => createFramer(framing, maxBytes);
      const history = new History(make);
      const format = { format: "json", time: "utc", startMs: NOW_MS } as const;
      const { recorder, lines } = recording({ ...format, observers: [history] });
      const speakers = [1, 2].map((number) =>
        new Speaker(recorder, history, subject(number), make())
      );
      const text = framing === "octet" && random(4) > 0 ? countedText : randomText;
      for (let i = 0; i < 4; i++) {
        const speaker = pick(random, ...speakers);
        const bytes = bytesOf(text(random));
        for (let at = 0; at < bytes.length;) {
          const end = at + 1 + random(pick(random, 3, 30, 1000));
          speaker.say(bytes.subarray(at, end));
          at = end;
          if (random(8) === 0) speaker.framer.flush(speaker);
        }
        // So much that earlier reads are saved, and then overwritten.
        if (random(20) === 0) pass(history, pick(random, 3, 5) * 1024 * 1024);
      }
      for (const speaker of speakers) speaker.framer.end(speaker);
      const logged = lines();
      assertEquals(history.next, logged.length, framing);
      assertEquals(history.snapshot(), logged.slice(-HISTORY_RECORDS), framing);
      assertEquals(history.since(0, 7), logged.slice(-7), framing);
    }
  });
});
