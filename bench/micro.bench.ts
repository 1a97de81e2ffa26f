/**
 * Parts of earshot by themselves, in memory: `deno task bench:micro`.
 *
 * @module
 */

import { encode } from "../lib/bytes.ts";
import { createFramer, type FrameSink, type Framing } from "../lib/framing/framing.ts";
import { createFormat } from "../lib/records/formats.ts";
import { Log } from "../lib/records/log.ts";
import { Recorder } from "../lib/records/recorder.ts";
import { Timestamp } from "../lib/records/timestamp.ts";
import type { FormatName, Subject } from "../lib/records/records.ts";
import { type ByteStream, Poller, Socket } from "../poller.ts";

// -- Framing --

const READ_BYTES = 64 * 1024;
const MAX_LINE_BYTES = 64 * 1024;
const LINE = "x".repeat(99);

/** As many times the text as one read has room for. */
function readOf(text: string): Uint8Array {
  return encode(text.repeat(Math.floor(READ_BYTES / text.length)));
}

const MLLP: Framing = { kind: "between", start: encode("\x0B"), end: encode("\x1C\r") };
const COUNTED: Framing = { kind: "length", width: 2, isLittleEndian: false, offset: 0 };

const framings: readonly [Framing, string, Uint8Array][] = [
  ["newline", "newline: 655 lines of 100 bytes", readOf(`${LINE}\n`)],
  ["newline", "newline: 32,768 lines of 2 bytes", readOf("x\n")],
  ["newline", "newline: a read without a line end", readOf("x")],
  ["any", "any: 655 lines of 100 bytes", readOf(`${LINE}\r`)],
  ["octet", "octet: 642 frames of 99 bytes", readOf(`99 ${LINE}`)],
  ["syslog", "syslog: 655 lines of 100 bytes", readOf(`${LINE}\n`)],
  [{ kind: "end", end: encode(";") }, "end:; 655 frames of 100 bytes", readOf(`${LINE};`)],
  [
    { kind: "end", end: encode("\x1C\r") },
    "end:\\x1c\\r 642 frames of 101 bytes",
    readOf(`${LINE}\x1C\r`),
  ],
  [{ kind: "end", end: encode("xxy") }, "end:xxy 16,384 near matches each", readOf("xx")],
  [MLLP, "between: 636 frames of 102 bytes", readOf(`\x0B${LINE}\x1C\r`)],
  [COUNTED, "length:2 648 frames of 101 bytes", readOf(`\0\x63${LINE}`)],
];

const IGNORE: FrameSink = { frame() {} };

for (const [framing, name, bytes] of framings) {
  const framer = createFramer(framing, MAX_LINE_BYTES);
  Deno.bench({ name, group: "framing 64 KiB", fn: () => void framer.push(bytes, IGNORE) });
}

// -- Formats --

const PROSE =
  "The quick brown fox jumps over the lazy dog, runs away, and hides in a forest of pines. ";
const COLORS = "\x1B[32mINFO\x1B[0m 12:31 \x1B[1mserver\x1B[0m request \x1B[36m/index.html\x1B[0m ";
const OBJECT =
  '{"time":"2026-11-22T23:31:05Z","level":"info","message":"done","path":"/","code":200}';
const CYRILLIC = "Съешь же ещё этих мягких французских булок, да выпей ";
const IDEOGRAPHS = "天地玄黃宇宙洪荒日月盈昃辰宿列張寒來暑往秋收冬藏閏餘成歲";

/** 99 bytes of what lines can be made of: the beginning of the text, and spaces. */
function lineOf(text: string): Uint8Array<ArrayBuffer> {
  const line = new Uint8Array(LINE.length).fill(0x20);
  new TextEncoder().encodeInto(text.repeat(2), line);
  return line;
}

function withByte(line: Uint8Array<ArrayBuffer>, byte: number): Uint8Array<ArrayBuffer> {
  line[50] = byte;
  return line;
}

const KINDS = [
  ["plain ASCII", lineOf(PROSE)],
  ["one é", lineOf(`${PROSE.slice(0, 50)}é${PROSE.slice(50)}`)],
  ["Cyrillic", lineOf(CYRILLIC)],
  ["ideographs", lineOf(IDEOGRAPHS)],
  ["ANSI colours", lineOf(COLORS)],
  ["JSON with quotes", lineOf(OBJECT)],
  ["one invalid byte", withByte(lineOf(PROSE), 0xFF)],
  ["99 invalid bytes", new Uint8Array(LINE.length).fill(0xFF)],
  ["99 control characters", new Uint8Array(LINE.length).fill(0x01)],
] as const;

const SUBJECT: Subject = { number: 17, peer: { kind: "ip", host: "127.0.0.1", port: 53122 } };
const LINES = Math.floor(READ_BYTES / (LINE.length + 1));

function recorderOf(name: FormatName) {
  const format = createFormat(name, { isColored: false, countsLines: name === "text" });
  const log = new Log(format);
  const recorder = new Recorder({
    destinations: { logsOf: () => [log], noticesOf: () => [log], runs: [] },
    observers: [],
    timestamp: new Timestamp("utc", 0, [format]),
    isQuiet: false,
  });
  return { log, records: recorder.child(SUBJECT) };
}

/** A read with that line again and again. */
function readWith(line: Uint8Array): Uint8Array {
  const read = new Uint8Array(LINES * (line.length + 1)).fill(0x0A);
  for (let at = 0; at < read.length; at += line.length + 1) read.set(line, at);
  return read;
}

for (const format of ["text", "json"] as const) {
  for (const [kind, line] of KINDS) {
    const { log, records } = recorderOf(format);
    const read = readWith(line);
    Deno.bench({
      name: `${format}, ${kind}`,
      group: `${LINES} lines of 100 bytes, ${format}`,
      baseline: kind === "plain ASCII",
      fn: () => {
        for (let at = 0; at < read.length; at += line.length + 1) {
          records.frame(read, at, at + line.length, true);
        }
        log.take();
      },
    });
  }
}

const hex = recorderOf("hex");
const hexRead = readWith(lineOf(PROSE));
Deno.bench("hex, 64 KiB", () => {
  hex.records.read(hexRead, 0);
  hex.log.take();
});

// -- Wake-up --

const EVENTS = 1000;
const ONE_BYTE = new Uint8Array(1);

/** A stream in memory that has a byte for every ring. */
class Bell implements ByteStream {
  #rings = 0;
  #hear: ((bytes: number) => void) | undefined;

  read(): Promise<number> {
    return new Promise((resolve) => {
      this.#hear = resolve;
      this.#answer();
    });
  }

  ring(): void {
    this.#rings++;
    this.#answer();
  }

  #answer(): void {
    if (this.#rings === 0 || this.#hear === undefined) return;
    this.#rings--;
    this.#hear(1);
    this.#hear = undefined;
  }
}

for (const quiet of [0, 10_000]) {
  const poller = new Poller();
  const bell = new Bell();
  poller.register(new Socket(bell));
  for (let i = 0; i < quiet; i++) poller.register(new Socket(new Bell()));
  Deno.bench({
    name: `1,000 events beside ${quiet.toLocaleString("en")} quiet sources`,
    group: "Poller",
    baseline: quiet === 0,
    fn: async () => {
      for (let i = 0; i < EVENTS; i++) {
        bell.ring();
        for (const [source] of await poller.poll()) (source as Socket).recvInto(ONE_BYTE);
      }
    },
  });
}
