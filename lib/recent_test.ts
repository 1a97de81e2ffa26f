import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { decode, encode } from "./bytes.ts";
import { createFramer, type Framer, type FrameSink, FRAMINGS } from "./framing.ts";
import { Log } from "./log.ts";
import type { Party } from "./records.ts";
import { Recent, RECENT_RECORDS } from "./recent.ts";
import { bytesOf, pick, type Random, withSeeds } from "./testing.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const NOW_MS = Date.UTC(2026, 10, 22, 23, 31, 5, 130);
const READ_BYTES = 64 * 1024;

function party(number: number): Party {
  return { number, peer: { kind: "ip", host: "127.0.0.1", port: 5000 + number } };
}

const ALICE = party(1);

/** Receives a text as the server does: into the place that `recent` gives. */
function receive(recent: Recent, text: string | Uint8Array): Uint8Array {
  const bytes = typeof text === "string" ? encode(text) : text;
  recent.input(READ_BYTES).set(bytes);
  return recent.received(bytes.length);
}

/** One client says lines in one read. */
function say(recent: Recent, from: Party, ...lines: string[]): void {
  const bytes = receive(recent, lines.map((line) => `${line}\n`).join(""));
  let at = 0;
  for (const line of lines) {
    const length = encode(line).length;
    recent.line(from, bytes, at, at + length, true, NOW_MS);
    at += length + 1;
  }
}

/** Bytes pass that are part of no record. */
function pass(recent: Recent, count: number): void {
  const noise = new Uint8Array(READ_BYTES).fill(0x2E);
  for (let at = 0; at < count; at += READ_BYTES) receive(recent, noise);
}

function messages(texts: string[]): unknown[] {
  return texts.map((text) => JSON.parse(text).message);
}

function numbered(count: number, from = 0): string[] {
  return Array.from({ length: count }, (_, i) => `line ${from + i}`);
}

Deno.test("Recent.snapshot() gives the objects of --format json", () => {
  const recent = new Recent();
  recent.notice(ALICE, { event: "connected" }, NOW_MS);
  say(recent, ALICE, "hello world");
  recent.line(ALICE, receive(recent, "rest"), 0, 4, false, NOW_MS + 1);
  recent.sent({ clients: 3 }, encode("reset"), NOW_MS + 2);
  const [connected, line, cut, sent, ...others] = recent.snapshot().map((text) => JSON.parse(text));
  const who = { connection: 1, host: "127.0.0.1", port: 5001 };
  const timestamp = "2026-11-22T23:31:05.130Z";
  assertEquals(connected, { timestamp, event: "connected", ...who });
  assertEquals(line, { timestamp, event: "line", ...who, message: "hello world" });
  assertEquals(cut.timestamp, "2026-11-22T23:31:05.131Z");
  assertEquals([cut.message, cut.cut], ["rest", true]);
  assertEquals([sent.event, sent.clients, sent.message], ["sent", 3, "reset"]);
  assertEquals(others, []);
});

Deno.test("Recent.snapshot() is empty when nothing has happened", () => {
  assertEquals(new Recent().snapshot(), []);
});

Deno.test("Recent.snapshot() gives the last 500 records in order", () => {
  const recent = new Recent();
  const lines = numbered(3000);
  for (let at = 0; at < lines.length; at += 7) {
    say(recent, party(at % 5 + 1), ...lines.slice(at, at + 7));
  }
  assertEquals(messages(recent.snapshot()), lines.slice(-RECENT_RECORDS));
  assertEquals(recent.next, 3000);
});

Deno.test("Recent.snapshot() names who said each line when clients take turns", () => {
  const recent = new Recent();
  for (let i = 0; i < 1000; i++) say(recent, party(i % 3 + 1), `from ${i % 3 + 1}`);
  for (const text of recent.snapshot()) {
    const { connection, message } = JSON.parse(text);
    assertEquals(message, `from ${connection}`);
  }
});

Deno.test("Recent.snapshot() keeps short records when long input passes by", () => {
  const recent = new Recent();
  const lines = numbered(RECENT_RECORDS);
  say(recent, ALICE, ...lines.slice(0, 100));
  for (const line of lines.slice(100)) say(recent, ALICE, line);
  pass(recent, 20 * 1024 * 1024);
  assertEquals(messages(recent.snapshot()), lines);
});

Deno.test("Recent.line() takes the rest of a read when its first lines were saved", () => {
  const recent = new Recent();
  const bytes = receive(recent, "one\ntwo\n");
  recent.line(ALICE, bytes, 0, 3, true, NOW_MS);
  // So much that what was received first is saved, but not yet overwritten.
  const copied = new Uint8Array(400_000);
  for (let i = 0; i < 8; i++) recent.line(party(2), copied, 0, copied.length, true, NOW_MS);
  recent.line(ALICE, bytes, 4, 7, true, NOW_MS);
  assertEquals(messages(recent.snapshot()), ["one", "two"]);
});

Deno.test("Recent.snapshot() leaves out a line whose bytes are overwritten", () => {
  const recent = new Recent();
  const long = "x".repeat(60_000);
  say(recent, ALICE, long);
  pass(recent, 8 * 1024 * 1024);
  say(recent, ALICE, "after");
  assertEquals(messages(recent.snapshot()), ["after"]);
});

Deno.test("Recent.snapshot() leaves out a record over 128 KiB and keeps all others", () => {
  const recent = new Recent();
  say(recent, ALICE, "before");
  for (const size of [127 * 1024, 129 * 1024, 10 * 1024 * 1024]) {
    recent.line(ALICE, new Uint8Array(size).fill(0x78), 0, size, true, NOW_MS);
  }
  say(recent, ALICE, "after");
  assertEquals(messages(recent.snapshot()), ["before", "x".repeat(127 * 1024), "after"]);
});

Deno.test("Recent.snapshot() counts the bytes of JSON, not those that were heard", () => {
  const recent = new Recent();
  recent.line(ALICE, new Uint8Array(30_000).fill(1), 0, 30_000, true, NOW_MS);
  assertEquals(recent.snapshot(), []);
});

Deno.test("Recent.snapshot() gives fewer records when they are over 512 KiB together", () => {
  const recent = new Recent();
  const lines = Array.from({ length: 100 }, (_, i) => `${i} ${"y".repeat(20_000)}`);
  for (const line of lines) say(recent, ALICE, line);
  const texts = recent.snapshot();
  const bytes = texts.reduce((sum, text) => sum + encode(text).length, 0);
  assert(bytes <= 512 * 1024 && bytes > 480 * 1024, `${bytes} bytes`);
  assertEquals(messages(texts), lines.slice(-texts.length));
});

Deno.test("Recent.line() copies bytes that were not received into it", () => {
  const recent = new Recent();
  const held = encode("held");
  recent.line(ALICE, held, 1, 3, true, NOW_MS);
  held.fill(0x21);
  assertEquals(messages(recent.snapshot()), ["el"]);
});

Deno.test("Recent.line() keeps a held line and the lines that came with its end", () => {
  const recent = new Recent();
  const bytes = receive(recent, "nd\nnext\n");
  recent.line(ALICE, encode("held to the end"), 0, 15, true, NOW_MS);
  recent.line(ALICE, bytes, 3, 7, true, NOW_MS);
  assertEquals(messages(recent.snapshot()), ["held to the end", "next"]);
});

Deno.test("Recent.line() tells the lines of a read apart from a record between them", () => {
  const recent = new Recent(() => createFramer("newline", 100));
  const bytes = receive(recent, "one\ntwo\nthree\nfour\n");
  for (const [start, end] of [[0, 3], [4, 7], [8, 13]] as const) {
    recent.line(ALICE, bytes, start, end, true, NOW_MS);
  }
  recent.sent({ clients: 1 }, encode("between"), NOW_MS);
  recent.line(ALICE, bytes, 14, 18, true, NOW_MS);
  assertEquals(messages(recent.snapshot()), ["one", "two", "three", "between", "four"]);
});

Deno.test("Recent.line() takes empty lines", () => {
  const recent = new Recent();
  say(recent, ALICE, "", "", "");
  assertEquals(messages(recent.snapshot()), ["", "", ""]);
});

Deno.test("Recent.since() gives what came from a record on", () => {
  const recent = new Recent();
  say(recent, ALICE, "old");
  const from = recent.next;
  assertEquals(recent.since(from, 500), []);
  say(recent, ALICE, "new", "newer");
  assertEquals(messages(recent.since(from, 500)), ["new", "newer"]);
});

Deno.test("Recent.since() gives the newest when there are too many", () => {
  const recent = new Recent();
  say(recent, ALICE, ...numbered(2000));
  assertEquals(messages(recent.since(0, 3)), ["line 1997", "line 1998", "line 1999"]);
  assertEquals(recent.since(0, 0), []);
});

Deno.test("Recent.since() gives a live record that is too long for a snapshot", () => {
  const recent = new Recent();
  const line = new Uint8Array(300_000).fill(0x7A);
  recent.line(ALICE, line, 0, line.length, true, NOW_MS);
  assertEquals(messages(recent.since(0, 500)), [decode(line)]);
});

Deno.test("Recent.sent() keeps what was typed when its buffer is used again", () => {
  const recent = new Recent();
  const typed = encode("reset");
  recent.sent(ALICE, typed, NOW_MS);
  typed.fill(0);
  assertStringIncludes(recent.snapshot()[0]!, `"message":"reset"`);
});

Deno.test("Recent.input() gives places that do not touch what was just received", () => {
  const recent = new Recent();
  for (let i = 0; i < 500; i++) {
    const bytes = receive(recent, `before ${i}`);
    recent.input(READ_BYTES).fill(0);
    recent.line(ALICE, encode("held"), 0, 4, true, NOW_MS);
    assertEquals(decode(bytes), `before ${i}`);
  }
});

/** A client whose lines are logged as JSON and remembered. */
class Speaker implements FrameSink {
  readonly #log: Log;
  readonly #recent: Recent;
  readonly #party: Party;
  readonly framer: Framer;

  constructor(log: Log, recent: Recent, party: Party, framer: Framer) {
    this.#log = log;
    this.#recent = recent;
    this.#party = party;
    this.framer = framer;
  }

  say(bytes: Uint8Array): void {
    this.framer.push(receive(this.#recent, bytes), this);
  }

  frame(bytes: Uint8Array, start: number, end: number, isWhole: boolean): void {
    this.#log.line(this.#log.labelOf(this.#party), bytes, start, end, isWhole);
    this.#recent.line(this.#party, bytes, start, end, isWhole, NOW_MS);
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

Deno.test("Recent.snapshot() gives what is logged as JSON, in every framing and however it is read", async () => {
  await withSeeds(150, (random) => {
    for (const framing of FRAMINGS) {
      const maxBytes = pick(random, 3, 10, 65536);
      const make = () => createFramer(framing, maxBytes);
      const format = { format: "json", time: "utc", isQuiet: false, isColored: false } as const;
      const log = new Log({ ...format, startMs: NOW_MS });
      const recent = new Recent(make);
      const speakers = [1, 2].map((number) => new Speaker(log, recent, party(number), make()));
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
        if (random(20) === 0) pass(recent, pick(random, 3, 5) * 1024 * 1024);
      }
      for (const speaker of speakers) speaker.framer.end(speaker);
      const logged = decode(log.take()).split("\n").slice(0, -1);
      assertEquals(recent.next, logged.length, framing);
      assertEquals(recent.snapshot(), logged.slice(-RECENT_RECORDS), framing);
      assertEquals(recent.since(0, 7), logged.slice(-7), framing);
    }
  });
});
