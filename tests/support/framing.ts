/**
 * Framing in tests: reads cut everywhere, random bytes that hit something, and a model
 * that finds frames in the plainest way.
 *
 * @module
 */

import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import {
  createFramer,
  type FrameFault,
  type Framer,
  type FrameSink,
  type Framing,
} from "../../lib/framing/framing.ts";
import { bytesOf, latin1 } from "./data.ts";
import { pick, type Random } from "./random.ts";

/** One character a byte, and what it is. */
export type Frame = [text: string, mark: Mark];
type Mark = true | false | "outside" | "outside-piece";

export const WHOLE = true;
export const CUT = false;
/** Stands between two frames. */
export const OUTSIDE = "outside";
/** The same, and more may follow. */
export const OUTSIDE_PIECE = "outside-piece";

export class Frames implements FrameSink {
  readonly list: Frame[] = [];

  frame(bytes: Uint8Array, start: number, end: number, isWhole: boolean): void {
    this.list.push([latin1(bytes.subarray(start, end)), isWhole]);
  }

  outside(bytes: Uint8Array, start: number, end: number, isLast: boolean): void {
    this.list.push([latin1(bytes.subarray(start, end)), isLast ? OUTSIDE : OUTSIDE_PIECE]);
  }
}

export const end = (text: string): Framing => ({ kind: "end", end: bytesOf(text) });

export function between(start: string, end: string): Framing {
  return { kind: "between", start: bytesOf(start), end: bytesOf(end) };
}

export function lengthOf(
  width: 1 | 2 | 4,
  { isLittleEndian = false, offset = 0 } = {},
): Framing {
  return { kind: "length", width, isLittleEndian, offset };
}

/** How a framing reads in the name of a test. */
export function nameOf(framing: Framing): string {
  if (typeof framing === "string") return framing;
  if (framing.kind === "end") return `end:${JSON.stringify(latin1(framing.end))}`;
  if (framing.kind === "length") {
    const { width, isLittleEndian, offset } = framing;
    return `length:${width}${isLittleEndian ? "le" : ""}${offset ? offset : ""}`;
  }
  return `between:${JSON.stringify([latin1(framing.start), latin1(framing.end)])}`;
}

/** Where reads are copied to: an allocation for each took a third of the time of these tests. */
const SCRATCH = new Uint8Array(8192);

/** Pushes a copy that is overwritten afterwards: a framer must not keep its input. */
export function push(framer: Framer, read: Uint8Array, sink: FrameSink): FrameFault | undefined {
  SCRATCH.set(read);
  const bytes = SCRATCH.subarray(0, read.length);
  const reason = framer.push(bytes, sink);
  bytes.fill(0x21);
  return reason;
}

/** The frames of `reads` and why the input was given up. */
export function framesOf(framing: Framing, maxBytes: number, reads: readonly Uint8Array[]) {
  const frames = new Frames();
  const framer = createFramer(framing, maxBytes);
  for (const read of reads) {
    const reason = push(framer, read, frames);
    if (reason !== undefined) return { frames: frames.list, reason };
  }
  framer.end(frames);
  return { frames: frames.list, reason: undefined };
}

// -- Reads --

/** The input in one read, byte by byte, and in two reads cut everywhere. */
export function* everySplit(input: Uint8Array): Generator<Uint8Array[]> {
  yield [input];
  yield Array.from(input, (_, at) => input.subarray(at, at + 1));
  for (let at = 1; at < input.length; at++) yield [input.subarray(0, at), input.subarray(at)];
}

/** The input in three reads cut everywhere. */
export function* everyThird(input: Uint8Array): Generator<Uint8Array[]> {
  for (let to = 2; to < input.length; to++) {
    for (let at = 1; at < to; at++) {
      yield [input.subarray(0, at), input.subarray(at, to), input.subarray(to)];
    }
  }
}

/** Cuts bytes into reads at random. */
export function randomReads(random: Random, bytes: Uint8Array): Uint8Array[] {
  const reads: Uint8Array[] = [];
  for (let at = 0; at < bytes.length;) {
    const end = Math.min(bytes.length, at + 1 + random(pick(random, 1, 10, 1000)));
    reads.push(bytes.subarray(at, end));
    at = end;
  }
  return reads;
}

/** The bytes of a text in UTF-8, one character a byte. */
export function utf8(text: string): string {
  return latin1(new TextEncoder().encode(text));
}

/** Every text of at most `length` characters. */
export function everyText(alphabet: string, length: number): string[] {
  if (length === 0) return [""];
  const shorter = everyText(alphabet, length - 1);
  const longest = shorter.filter((text) => text.length === length - 1);
  return [...shorter, ...longest.flatMap((text) => [...alphabet].map((last) => text + last))];
}

/** Bytes that are likely to hit something: delimiters, counts, controls, parts of UTF-8 characters. */
export function nastyText(random: Random, length: number): string {
  const parts = [
    "\n",
    "\r\n",
    "\r",
    "\0",
    "plain text ",
    "5 hello",
    ";",
    "\x1c\r",
    "\x0b",
    "7 <13>abc",
    "3 <",
    "42 ",
  ];
  parts.push("99999999 ", "123456789 <", "05 <", utf8("é"), utf8("€"), utf8("😀"), "\xFF");
  parts.push("\xC0\xAF", "\xED\xA0\x80", "\xE2\x82", "\x7F");
  let text = "";
  while (text.length < length) {
    text += random(3) === 0 ? String.fromCharCode(random(256)) : pick(random, ...parts);
  }
  return text.slice(0, length);
}

// -- Frames --

/** Puts the pieces of frames together, and of what stands outside. */
export function joinPieces(frames: readonly Frame[]): Frame[] {
  const joined: Frame[] = [];
  let held = "";
  for (const [i, [text, mark]] of frames.entries()) {
    held += text;
    const next = frames[i + 1]?.[1];
    const goesOn = mark === CUT ? next !== undefined : mark === OUTSIDE_PIECE && isOutside(next);
    if (goesOn) continue;
    joined.push([held, isOutside(mark) ? OUTSIDE : mark]);
    held = "";
  }
  return joined;
}

function isOutside(mark: Mark | undefined): boolean {
  return mark === OUTSIDE || mark === OUTSIDE_PIECE;
}

/** Checks that no piece is too long, and none that goes on shorter than a character asks for. */
export function assertPieces(frames: readonly Frame[], maxBytes: number): void {
  for (const [i, [text, mark]] of frames.entries()) {
    assert(text.length <= maxBytes);
    const goesOn = mark === CUT || mark === OUTSIDE_PIECE;
    if (goesOn && i < frames.length - 1) assert(text.length >= Math.max(1, maxBytes - 3));
  }
}

/** `assertEquals()`, but quick where they are equal: some tests compare a million times. */
export function assertFrames(
  actual: readonly Frame[],
  expected: readonly Frame[],
  ...about: unknown[]
): void {
  if (!areSame(actual, expected)) assertEquals(actual, expected, JSON.stringify(about));
}

function areSame(actual: readonly Frame[], expected: readonly Frame[]): boolean {
  return actual.length === expected.length && actual.every(([text, mark], i) => {
    const [expectedText, expectedMark] = expected[i]!;
    return text === expectedText && mark === expectedMark;
  });
}

/** The input is given up in the read that shows the fault: what had come is given, no more. */
export function assertGivenUp(joined: readonly Frame[], expected: readonly Frame[]): void {
  const isWhole = ([, mark]: Frame) => mark === WHOLE;
  assertFrames(joined.filter(isWhole), expected.filter(isWhole));
  const [given] = joined.at(-1)!;
  assert(given !== "" && expected.at(-1)![0].startsWith(given));
}

/** Flushes, and checks what holds at every flush. */
export function flush(framer: Framer, frames: Frames): void {
  const { isHolding } = framer;
  const before = frames.list.length;
  framer.flush(frames);
  assertStrictEquals(frames.list.length > before, isHolding);
  const given = frames.list.slice(before);
  assert(given.every(([text, mark]) => text !== "" && (mark === CUT || mark === OUTSIDE_PIECE)));
  assertStrictEquals(framer.isHolding, false);
  const after = frames.list.length;
  framer.flush(frames);
  assertStrictEquals(frames.list.length, after);
}

/** In an input of these tests: a silence in which the framer is flushed. */
const FLUSH = "~";

/** The frames of an input in which {@linkcode FLUSH} stands for a flush. */
export function framesFlushed(framing: Framing, maxBytes: number, input: string): Frame[] {
  const frames = new Frames();
  const framer = createFramer(framing, maxBytes);
  for (const [i, read] of input.split(FLUSH).entries()) {
    if (i > 0) flush(framer, frames);
    push(framer, bytesOf(read), frames);
  }
  framer.end(frames);
  return frames.list;
}

/** Reads byte by byte, flushes at some places, and checks what has been given there and in all. */
export function assertFlushes(
  framing: Framing,
  maxBytes: number,
  text: string,
  places: ReadonlySet<number>,
): void {
  const about = JSON.stringify([nameOf(framing), text, [...places]]);
  const frames = new Frames();
  const framer = createFramer(framing, maxBytes);
  for (const [at, byte] of bytesOf(text).entries()) {
    if (push(framer, Uint8Array.of(byte), frames) !== undefined) return;
    if (!places.has(at + 1)) continue;
    flush(framer, frames);
    const seen = [...places].filter((place) => place <= at + 1);
    const { frames: expected } = expectedOf(framing, text.slice(0, at + 1), seen);
    assertGiven(framing, joinPieces(frames.list), expected, about);
  }
  framer.end(frames);
  assert(frames.list.every(([piece]) => piece.length <= maxBytes), about);
  const { frames: expected } = expectedOf(framing, text, [...places]);
  assertFrames(joinPieces(frames.list), expected, about);
}

/** Checks that all of the expected frames has been given, but for the end of the last. */
function assertGiven(
  framing: Framing,
  given: readonly Frame[],
  expected: readonly Frame[],
  about: string,
): void {
  const last = Math.max(0, given.length - 1);
  assertFrames(given.slice(0, last), expected.slice(0, last), about);
  const [text, mark] = expected[last] ?? ["", CUT];
  const [givenText, givenMark] = given[last] ?? ["", mark === WHOLE ? CUT : mark];
  assert(text.startsWith(givenText), about);
  assertStrictEquals(mark, givenMark, about);
  const rests = [
    text.slice(givenText.length),
    ...expected.slice(last + 1).map(([text]) => text),
  ];
  assert(rests.length <= 2 && (rests.length === 1 || rests[0] === ""), about);
  const rest = rests.at(-1)!;
  const isOpen = expected.at(-1)?.[1] !== WHOLE;
  assert(
    rest === "" || isOpen && isWaiting(framing, expected.at(-1)![0], rest),
    `${about} ${rest}`,
  );
}

/** What a flush may keep back of what has come. */
function isWaiting(framing: Framing, open: string, rest: string): boolean {
  if (rest === "" || /^[\xC2-\xF4][\x80-\xBF]{0,2}$/.test(rest)) return true;
  if (framing === "octet") return rest === open && /^([1-9]\d{0,7}|\r)$/.test(rest);
  if (framing === "syslog") return rest === open && rest === "\r";
  if (typeof framing === "string") return false;
  if (framing.kind === "between") return latin1(framing.start).startsWith(rest);
  return framing.kind === "length" && rest === open && rest.length < framing.width;
}

// -- The model: what framing must find, of the whole input, without limits --

type LengthFraming = Extract<Framing, { kind: "length" }>;

interface Expected {
  readonly frames: Frame[];
  readonly isBad: boolean;
}

/** `flushes` are the places in the input where what is held was given. */
export function expectedOf(
  framing: Framing,
  input: string,
  flushes: readonly number[] = [],
): Expected {
  if (framing === "octet") return octetExpected(input, flushes);
  if (typeof framing === "object" && framing.kind === "length") {
    return lengthExpected(framing, input);
  }
  return { frames: endlessExpected(framing, input, flushes), isBad: false };
}

/** Of a framing without faults. */
function endlessExpected(
  framing: Exclude<Framing, "octet" | LengthFraming>,
  input: string,
  flushes: readonly number[],
): Frame[] {
  switch (framing) {
    case "newline":
      return linesExpected(input, /\r?\n/g, flushes);
    case "nul":
      return linesExpected(input, /\0/g);
    case "any":
      return linesExpected(input, /\r[\n\0]?|\n/g);
    case "syslog":
      return syslogExpected(input, flushes);
    case "none":
      return [[input, WHOLE]];
  }
  switch (framing.kind) {
    case "end":
      return linesExpected(input, literally(latin1(framing.end)), flushes);
    case "between":
      return betweenExpected(framing, input, flushes);
  }
}

function literally(text: string): RegExp {
  return new RegExp(RegExp.escape(text), "g");
}

/** Of an end that was split, a flush gives what had come. */
function linesExpected(input: string, end: RegExp, flushes: readonly number[] = []): Frame[] {
  const frames: Frame[] = [];
  let start = 0;
  for (const { 0: mark, index } of input.matchAll(end)) {
    frames.push([input.slice(start, givenTo(index, mark.length, flushes)), WHOLE]);
    start = index + mark.length;
  }
  return start === input.length ? frames : [...frames, [input.slice(start), CUT]];
}

/** How far a mark was given that begins at `at`. */
function givenTo(at: number, length: number, flushes: readonly number[]): number {
  return Math.max(at, ...flushes.filter((place) => place > at && place < at + length));
}

function betweenExpected(
  framing: Extract<Framing, { kind: "between" }>,
  input: string,
  flushes: readonly number[],
): Frame[] {
  const [start, end] = [latin1(framing.start), latin1(framing.end)];
  const frames: Frame[] = [];
  for (let at = 0; at < input.length;) {
    const begin = input.indexOf(start, at);
    const outside = input.slice(at, begin < 0 ? undefined : begin);
    if (outside !== "") frames.push([outside, OUTSIDE]);
    if (begin < 0) break;
    at = begin + start.length;
    const finish = input.indexOf(end, at);
    if (finish < 0) {
      if (at < input.length) frames.push([input.slice(at), CUT]);
      break;
    }
    frames.push([input.slice(at, givenTo(finish, end.length, flushes)), WHOLE]);
    at = finish + end.length;
  }
  return frames;
}

function lengthExpected(framing: LengthFraming, input: string): Expected {
  const { width, isLittleEndian, offset } = framing;
  const frames: Frame[] = [];
  for (let at = 0; at < input.length;) {
    const prefix = [...bytesOf(input.slice(at, at + width))];
    if (prefix.length < width) return { frames: [...frames, [input.slice(at), CUT]], isBad: false };
    const digits = isLittleEndian ? prefix.toReversed() : prefix;
    const length = digits.reduce((value, byte) => 256 * value + byte, 0) + offset;
    if (length < 0) return { frames: [...frames, [input.slice(at), CUT]], isBad: true };
    at += width;
    const content = input.slice(at, at + length);
    if (content.length === length) frames.push([content, WHOLE]);
    else if (content !== "") frames.push([content, CUT]);
    at += length;
  }
  return { frames, isBad: false };
}

function octetExpected(input: string, flushes: readonly number[]): Expected {
  const frames: Frame[] = [];
  for (let at = 0; at < input.length;) {
    if (at > 0 && input.slice(at) === "\r") {
      return { frames: [...frames, ["\r", CUT]], isBad: false };
    }
    if (at > 0) at += AFTER.exec(input.slice(at))?.[0].length ?? 0;
    const rest = input.slice(at);
    const [head, digits] = /^([1-9]\d{0,7}) /.exec(rest) ?? [];
    if (head === undefined) {
      if (rest !== "") frames.push([rest, CUT]);
      return { frames, isBad: !/^([1-9]\d{0,7})?$/.test(rest) };
    }
    at += head.length;
    const message = input.slice(at, at + Number(digits));
    const isWhole = message.length === Number(digits);
    if (isWhole) frames.push([trimmed(message, at, flushes), WHOLE]);
    else if (message !== "") frames.push([message, CUT]);
    at += message.length;
  }
  return { frames, isBad: false };
}

/** What is left out behind a counted message, and at its end. */
const AFTER = /^(\r?\n|\0)/;
const AT_END = /(\r?\n|\0)$/;

function syslogExpected(input: string, flushes: readonly number[]): Frame[] {
  const frames: Frame[] = [];
  for (let at = 0; at < input.length;) {
    const rest = input.slice(at);
    const [head, digits] = /^([1-9]\d{0,7}) (?=<)/.exec(rest) ?? [];
    if (head !== undefined) {
      const count = Number(digits);
      const message = rest.slice(head.length, head.length + count);
      // What was given while it was undecided cannot be taken back.
      const seen = flushes.filter((place) => place > at && place <= at + head.length);
      const given = head.slice(0, Math.max(at, ...seen) - at);
      const isWhole = message.length === count;
      const place = at + head.length;
      frames.push([given + (isWhole ? trimmed(message, place, flushes) : message), isWhole]);
      at = place + message.length;
      if (isWhole) at += AFTER.exec(input.slice(at))?.[0].length ?? 0;
    } else {
      const end = rest.search(/[\n\0]/);
      if (end < 0) return [...frames, [rest, CUT]];
      const line = rest.slice(0, end + 1);
      frames.push([line.endsWith("\0") ? line.slice(0, -1) : trimmed(line, at, flushes), WHOLE]);
      at += line.length;
    }
  }
  return frames;
}

/** A text from `at` on without the line end at its end, but for a CR that a flush gave. */
function trimmed(text: string, at: number, flushes: readonly number[]): string {
  const isCrGiven = text.endsWith("\r\n") && flushes.includes(at + text.length - 1);
  return isCrGiven ? text.slice(0, -1) : text.replace(AT_END, "");
}

// -- Memory --

/** How long frames are, and how large the memory that they are in. */
export class Sizes implements FrameSink {
  readonly lengths = new Map<number, number>();
  whole = 0;
  memory: ArrayBufferLike | undefined;
  largestMemory = 0;

  frame(bytes: Uint8Array, start: number, end: number, isWhole: boolean): void {
    this.lengths.set(end - start, (this.lengths.get(end - start) ?? 0) + 1);
    if (isWhole) this.whole++;
    this.memory = bytes.buffer;
    this.largestMemory = Math.max(this.largestMemory, bytes.buffer.byteLength);
  }
}

/** Counts the bytes that typed arrays move until it is disposed of. */
export function countMoves() {
  const { set, copyWithin } = Uint8Array.prototype;
  const moves = {
    bytes: 0,
    [Symbol.dispose]() {
      Object.assign(Uint8Array.prototype, { set, copyWithin });
      Reflect.deleteProperty(Uint8Array.prototype, "set");
      Reflect.deleteProperty(Uint8Array.prototype, "copyWithin");
    },
  };
  Object.assign(Uint8Array.prototype, {
    set(this: Uint8Array, source: Uint8Array, offset?: number) {
      moves.bytes += source.length;
      set.call(this, source, offset);
    },
    copyWithin(this: Uint8Array, target: number, start: number, end = this.length) {
      moves.bytes += end - start;
      return copyWithin.call(this, target, start, end);
    },
  });
  return moves;
}
