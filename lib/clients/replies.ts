/**
 * Rules that answer what clients say: `[pattern=>]answer`.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { encode, NO_BYTES } from "../bytes.ts";
import { Candidate, type Groups, parseBytes, parsePattern, type Pattern } from "../patterns.ts";

/** Answers the frames that a pattern matches. */
export interface ReplyRule {
  /** `undefined` matches every frame. */
  readonly pattern: Pattern | undefined;
  /** Bytes, and the numbers of groups between them. */
  readonly answer: readonly (Uint8Array | number)[];
}

/**
 * Reads a rule. The first `=>` ends the pattern; in the answer to a regex `$1` to `$9` are its
 * groups and `$$` is a dollar.
 *
 * @throws {SyntaxError} If an escape is wrong or the regex does not compile.
 */
export function parseReplyRule(rule: string): ReplyRule {
  const at = rule.indexOf("=>");
  if (at < 0) return { pattern: undefined, answer: [parseBytes(rule)] };
  const pattern = parsePattern(rule.slice(0, at));
  const answer = rule.slice(at + 2);
  return { pattern, answer: pattern.isRegex ? parseTemplate(answer) : [parseBytes(answer)] };
}

/** Groups, dollars, and pairs with a backslash, so that the `$` of `\\$1` is a group's. */
const GROUP_OR_ESCAPE = /\$([1-9$])|\\[^]/g;

function parseTemplate(answer: string): readonly (Uint8Array | number)[] {
  const parts: (Uint8Array | number)[] = [];
  let start = 0;
  for (const { index, 0: { length }, 1: group } of answer.matchAll(GROUP_OR_ESCAPE)) {
    if (group === undefined) continue;
    parts.push(parseBytes(answer.slice(start, index)), group === "$" ? encode("$") : Number(group));
    start = index + length;
  }
  return [...parts, parseBytes(answer.slice(start))];
}

/** The rules of a server, in the order in which they are tried. */
export class Replies {
  readonly #rules: readonly ReplyRule[];
  /** Whether only the end of a frame counts, not what is in it. */
  readonly isBlind: boolean;
  /** The most that an answer has beside what it repeats of its frame. */
  readonly maxOwnBytes: number;

  constructor(rules: readonly ReplyRule[]) {
    this.#rules = rules;
    this.isBlind = rules[0]?.pattern === undefined;
    this.maxOwnBytes = Math.max(0, ...rules.map(ownBytesOf));
  }

  /** What answers the frame `bytes[start..end)`; nothing is no answer. */
  answerTo(bytes: Uint8Array, start: number, end: number): Uint8Array {
    const frame = new Candidate(bytes, start, end);
    for (const { pattern, answer } of this.#rules) {
      const groups = pattern ? pattern.match(frame) : [];
      if (groups) return filled(answer, groups);
    }
    return NO_BYTES;
  }
}

function ownBytesOf({ answer }: ReplyRule): number {
  return answer.reduce<number>(
    (sum, part) => sum + (typeof part === "number" ? 0 : part.length),
    0,
  );
}

function filled(answer: ReplyRule["answer"], groups: Groups): Uint8Array {
  const [only] = answer;
  if (answer.length === 1 && typeof only === "object") return only;
  return Buffer.concat(
    answer.map((part) => typeof part === "number" ? encode(groups[part] ?? "") : part),
  );
}

/** Answers the frames of one client; one that comes in pieces is answered at its end. */
export class Answering {
  readonly #replies: Replies;
  readonly #maxBytes: number;
  #pieces: Uint8Array[] = [];
  #heldBytes = 0;

  /** Of the pieces before the last, the first `maxBytes` count. */
  constructor(replies: Replies, maxBytes: number) {
    this.#replies = replies;
    this.#maxBytes = maxBytes;
  }

  /** What answers this frame or, with the pieces before it, last piece of one. */
  answerTo(bytes: Uint8Array, start: number, end: number, isWhole: boolean): Uint8Array {
    if (!isWhole) return this.#hold(bytes.slice(start, end));
    if (this.#heldBytes === 0) return this.#replies.answerTo(bytes, start, end);
    const frame = Buffer.concat([...this.#pieces, bytes.subarray(start, end)]);
    this.#pieces = [];
    this.#heldBytes = 0;
    return this.#replies.answerTo(frame, 0, frame.length);
  }

  #hold(piece: Uint8Array): Uint8Array {
    const room = this.#replies.isBlind ? 0 : this.#maxBytes - this.#heldBytes;
    if (room > 0) this.#pieces.push(piece.subarray(0, room));
    this.#heldBytes += Math.min(room, piece.length);
    return NO_BYTES;
  }
}
