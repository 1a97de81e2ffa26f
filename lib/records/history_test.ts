import { assertEquals, assertStringIncludes } from "@std/assert";
import { decode, encode } from "../bytes.ts";
import { createFramer, type Framer, type FrameSink, FRAMINGS } from "../framing/framing.ts";
import type { Recorder, SubjectRecorder } from "./recorder.ts";
import { sentWhole, type Subject } from "./records.ts";
import type { Follower, Run } from "./followers.ts";
import { History, HISTORY_RECORDS } from "./history.ts";
import { jsonOf, type Remembered } from "./remembered.ts";
import { bytesOf } from "../../tests/support/data.ts";
import { pick, type Random, withSeeds } from "../../tests/support/random.ts";

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

/** The last records that are remembered, oldest first. */
function snapshot(history: History): string[] {
  return textsOf(history.backwards().take(HISTORY_RECORDS));
}

/** What is remembered of one connection, oldest first. */
function snapshotOf(history: History, key: number | string): string[] {
  const account = history.account(key);
  return account ? textsOf(history.backwardsOf(new Set([account]))) : [];
}

function textsOf(backwards: Iterable<Remembered>): string[] {
  return [...backwards].reverse().map(jsonOf);
}

function messages(texts: string[]): unknown[] {
  return texts.map((text) => JSON.parse(text).message);
}

function numbered(count: number, from = 0): string[] {
  return Array.from({ length: count }, (_, i) => `line ${from + i}`);
}

Deno.test("History.backwards() gives the objects of --format json", () => {
  const history = new History();
  history.event(ALICE, { event: "connected" }, NOW_MS);
  say(history, ALICE, "hello world");
  history.received(ALICE, receive(history, "rest"), 0, 4, false, NOW_MS + 1);
  history.sent({ clients: 3 }, sentWhole(encode("reset")), NOW_MS + 2);
  const [connected, line, cut, sent, ...others] = snapshot(history).map((text) => JSON.parse(text));
  const who = { connection: 1, host: "127.0.0.1", port: 5001 };
  const timestamp = "2026-11-22T23:31:05.130Z";
  assertEquals(connected, { timestamp, event: "connected", ...who });
  assertEquals(line, { timestamp, event: "line", ...who, message: "hello world" });
  assertEquals(cut.timestamp, "2026-11-22T23:31:05.131Z");
  assertEquals([cut.message, cut.cut], ["rest", true]);
  assertEquals([sent.event, sent.clients, sent.message], ["sent", 3, "reset"]);
  assertEquals(others, []);
});

Deno.test("History.backwards() is empty when nothing has happened", () => {
  assertEquals(snapshot(new History()), []);
});

Deno.test("History.backwards() gives the last 500 records in order", () => {
  const history = new History();
  const lines = numbered(3000);
  for (let at = 0; at < lines.length; at += 7) {
    say(history, subject(at % 5 + 1), ...lines.slice(at, at + 7));
  }
  assertEquals(messages(snapshot(history)), lines.slice(-HISTORY_RECORDS));
  assertEquals(history.next, 3000);
});

Deno.test("History.backwards() names who said each line when clients take turns", () => {
  const history = new History();
  for (let i = 0; i < 1000; i++) say(history, subject(i % 3 + 1), `from ${i % 3 + 1}`);
  for (const text of snapshot(history)) {
    const { connection, message } = JSON.parse(text);
    assertEquals(message, `from ${connection}`);
  }
});

Deno.test("History.backwards() keeps short records when long input passes by", () => {
  const history = new History();
  const lines = numbered(HISTORY_RECORDS);
  say(history, ALICE, ...lines.slice(0, 100));
  for (const line of lines.slice(100)) say(history, ALICE, line);
  pass(history, 20 * 1024 * 1024);
  assertEquals(messages(snapshot(history)), lines);
});

Deno.test("History.received() takes the rest of a read when its first lines were saved", () => {
  const history = new History();
  const bytes = receive(history, "one\ntwo\n");
  history.received(ALICE, bytes, 0, 3, true, NOW_MS);
  // So much that what was received first is saved, but not yet overwritten.
  const copied = new Uint8Array(400_000);
  for (let i = 0; i < 8; i++) history.received(subject(2), copied, 0, copied.length, true, NOW_MS);
  history.received(ALICE, bytes, 4, 7, true, NOW_MS);
  const ofAlice = messages(snapshotOf(history, 1));
  assertEquals(ofAlice, ["one", "two"]);
});

Deno.test("History.backwards() leaves out a line whose bytes are overwritten", () => {
  const history = new History();
  const long = "x".repeat(60_000);
  say(history, ALICE, long);
  pass(history, 8 * 1024 * 1024);
  say(history, ALICE, "after");
  assertEquals(messages(snapshot(history)), ["after"]);
});

Deno.test("History.received() copies bytes that were not received into it", () => {
  const history = new History();
  const held = encode("held");
  history.received(ALICE, held, 1, 3, true, NOW_MS);
  held.fill(0x21);
  assertEquals(messages(snapshot(history)), ["el"]);
});

Deno.test("History.received() keeps a held line and the lines that came with its end", () => {
  const history = new History();
  const bytes = receive(history, "nd\nnext\n");
  history.received(ALICE, encode("held to the end"), 0, 15, true, NOW_MS);
  history.received(ALICE, bytes, 3, 7, true, NOW_MS);
  assertEquals(messages(snapshot(history)), ["held to the end", "next"]);
});

Deno.test("History.received() tells the lines of a read apart from a record between them", () => {
  const history = new History();
  const bytes = receive(history, "one\ntwo\nthree\nfour\n");
  for (const [start, end] of [[0, 3], [4, 7], [8, 13]] as const) {
    history.received(ALICE, bytes, start, end, true, NOW_MS);
  }
  history.sent({ clients: 1 }, sentWhole(encode("between")), NOW_MS);
  history.received(ALICE, bytes, 14, 18, true, NOW_MS);
  assertEquals(messages(snapshot(history)), ["one", "two", "three", "between", "four"]);
});

Deno.test("History.received() takes empty lines", () => {
  const history = new History();
  say(history, ALICE, "", "", "");
  assertEquals(messages(snapshot(history)), ["", "", ""]);
});

Deno.test("History.sent() keeps what was typed when its buffer is used again", () => {
  const history = new History();
  const typed = encode("reset");
  history.sent(ALICE, sentWhole(typed), NOW_MS);
  typed.fill(0);
  assertStringIncludes(snapshot(history)[0]!, `"message":"reset"`);
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

Deno.test("History.backwardsOf() gives a quiet client's lines under any flood", () => {
  const history = new History();
  const quiet = numbered(15);
  for (const line of quiet) {
    say(history, ALICE, line);
    for (let i = 0; i < 200; i++) say(history, subject(2), ...numbered(100));
  }
  pass(history, 8 * 1024 * 1024);
  assertEquals(messages(snapshotOf(history, 1)), quiet);
  assertEquals(messages(snapshotOf(history, 3)), []);
});

Deno.test("History.backwardsOf() gives the last 20 records, or 8 KiB of them", () => {
  const history = new History();
  say(history, ALICE, ...numbered(100));
  const long = (i: number) => `${i} ${"y".repeat(3_000)}`;
  for (let i = 0; i < 10; i++) say(history, subject(2), long(i));
  pass(history, 8 * 1024 * 1024);
  // So much later that they are no more among the last of all.
  say(history, subject(3), ...numbered(1_000));
  pass(history, 8 * 1024 * 1024);
  assertEquals(messages(snapshotOf(history, 1)), numbered(20, 80));
  assertEquals(messages(snapshotOf(history, 2)), [long(8), long(9)]);
});

Deno.test("History.backwardsOf() remembers the 1,000 clients that spoke last", () => {
  const history = new History();
  for (let i = 1; i <= 1500; i++) say(history, subject(i), `from ${i}`);
  say(history, subject(1), "again");
  pass(history, 8 * 1024 * 1024);
  const known = [1, 2, 501, 502, 1500].map((i) => messages(snapshotOf(history, i)));
  assertEquals(known, [["from 1", "again"], [], [], ["from 502"], ["from 1500"]]);
});

Deno.test("History.left() forgets a client when a thousand others have spoken", () => {
  const history = new History();
  say(history, ALICE, "last words");
  history.left(ALICE);
  assertEquals(messages(snapshotOf(history, 1)), ["last words"]);
  for (let i = 2; i <= 1001; i++) say(history, subject(i), "and I");
  assertEquals([history.account(1), history.account(2)?.lines], [undefined, 1]);
});

Deno.test("History.sent() to all is among the records of each that took it", () => {
  const history = new History();
  const [one, two] = [subject(1), subject(2)];
  for (let i = 0; i < 2; i++) {
    history.sent({ clients: 2, takers: [one, two] }, sentWhole(encode(`all ${i}`)), NOW_MS);
  }
  history.sent(two, sentWhole(encode("two")), NOW_MS);
  say(history, subject(3), "three");
  for (const passed of [0, 8 * 1024 * 1024]) {
    pass(history, passed);
    assertEquals(messages(snapshotOf(history, 1)), ["all 0", "all 1"]);
    assertEquals(messages(snapshotOf(history, 2)), ["all 0", "all 1", "two"]);
    assertEquals(messages(snapshotOf(history, 3)), ["three"]);
  }
});

Deno.test("History knows hosts that send datagrams, the last 200", () => {
  const history = new History();
  const sender = (host: string, port: number) => ({ peer: { kind: "ip", host, port } } as const);
  for (let i = 1; i <= 300; i++) {
    const from = sender(`10.0.${i >> 8}.${i & 255}`, 500);
    history.received(from, encode("one"), 0, 3, true, NOW_MS);
  }
  const again = sender("10.0.1.44", 501);
  history.received(again, encode("more"), 0, 4, true, NOW_MS);
  const [last] = history.senders;
  assertEquals(last?.subject, again);
  assertEquals([last?.lines, last?.bytes], [2, 7]);
  assertEquals([...history.senders].length, 200);
  assertEquals(history.account("10.0.0.100"), undefined);
  assertEquals(messages(snapshotOf(history, "10.0.1.44")), ["one", "more"]);
});

/** Takes all that it is given. */
class Listener implements Follower {
  readonly heard: string[] = [];
  take(runs: readonly Run[]): void {
    for (const { count, record } of runs) {
      for (let i = 0; i < count; i++) {
        this.heard.push(...messages([jsonOf(record(i)!)]) as string[]);
      }
    }
  }
}

Deno.test("History.follow() gives all of some clients, and misses nothing that is overwritten", () => {
  const history = new History();
  say(history, ALICE, "before");
  const [one, all] = [new Listener(), new Listener()];
  history.follow(one, [1, 7]);
  history.follow(all);
  const said = numbered(300);
  for (const line of said) {
    say(history, ALICE, line);
    say(history, subject(2), ...numbered(70));
    pass(history, 60_000);
  }
  say(history, subject(7), "a number that was not given yet");
  history.collect();
  assertEquals(one.heard, [...said, "a number that was not given yet"]);
  assertEquals(all.heard.length, 300 * 71 + 1);
  history.unfollow(one);
  history.unfollow(all);
  say(history, ALICE, "after");
  history.collect();
  assertEquals(one.heard.length, 301);
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

Deno.test("History.backwards() gives what is logged as JSON, in every framing and however it is read", async () => {
  await withSeeds(50, (random) => {
    for (const framing of FRAMINGS) {
      const maxBytes = pick(random, 3, 10, 65536);
      const make = () => createFramer(framing, maxBytes);
      const history = new History();
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
      assertEquals(snapshot(history), logged.slice(-HISTORY_RECORDS), framing);
    }
  });
});
