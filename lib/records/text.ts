/**
 * Records for people: one line each, `time #2 127.0.0.1:53122 | what it said`.
 *
 * @module
 */

import { type Peer, peerText } from "../addresses.ts";
import { type ByteBuffer, encode, LF, NO_BYTES, SPACE } from "../bytes.ts";
import { appendShown, shown } from "./escape.ts";
import {
  type ConnectionEvent,
  disconnectWords,
  type Format,
  NOT_ALLOWED,
  type RunEvent,
  type Sent,
  type Subject,
  subjectText,
  type Target,
  type Time,
} from "./records.ts";
import { plural } from "../messages.ts";

/** Between label and message, followed by a space: a whole line, a cut one, one that was sent. */
export const WHOLE_MARK = 0x7C;
export const CUT_MARK = 0x2B;
export const SENT_MARK = 0x3C;

/** Readable on dark and on light ground. */
const PALETTE = [32, 166, 71, 133, 37, 167, 97, 136] as const;

export interface TextOptions {
  readonly isColored: boolean;
  /** Whether what clients say becomes lines at all. */
  readonly countsLines: boolean;
  /**
   * For a terminal, where 80 columns are few: times without their date, and addresses where they
   * are news only, when clients come and leave.
   */
  readonly isBrief?: boolean;
}

/** The text format. */
export class TextFormat implements Format {
  readonly #isColored: boolean;
  readonly #countsLines: boolean;
  readonly #isBrief: boolean;
  #stamp: Uint8Array = NO_BYTES;

  constructor({ isColored, countsLines, isBrief = false }: TextOptions) {
    this.#isColored = isColored;
    this.#countsLines = countsLines;
    this.#isBrief = isBrief;
  }

  setTime(_time: Time, text: string): void {
    const words = this.#isBrief ? timeOfDay(text) : text;
    const stamp = this.#isBrief && this.#isColored ? dim(words) : words;
    this.#stamp = encode(words && `${stamp} `);
  }

  /** How each record begins now. */
  get stamp(): Uint8Array {
    return this.#stamp;
  }

  label(subject: Subject): Uint8Array {
    const { number } = subject;
    return this.#isBrief && number !== undefined
      ? encode(`${this.#colored(subject, `#${number}`)} `)
      : encode(`${this.#name(subject)} `);
  }

  #name(subject: Subject): string {
    const { number, peer, to } = subject;
    const isUdp = number === undefined && peer.kind === "ip";
    const name = number !== undefined
      ? `#${number} ${subjectText(subject)}`
      : `${isUdp ? "udp " : ""}${subjectText(subject)}${doorText(to)}`;
    return this.#colored(subject, name);
  }

  #colored(subject: Subject, words: string): string {
    return this.#isColored ? `\x1B[38;5;${colorOf(subject)}m${words}\x1B[0m` : words;
  }

  received(
    out: ByteBuffer,
    label: Uint8Array,
    bytes: Uint8Array,
    start: number,
    end: number,
    isWhole: boolean,
  ): void {
    out.append(this.#stamp);
    out.append(label);
    appendMessage(out, isWhole ? WHOLE_MARK : CUT_MARK, bytes, start, end);
  }

  sentLabel(to: Target): Uint8Array {
    return "clients" in to ? encode("* all ") : this.label(to);
  }

  sent(out: ByteBuffer, label: Uint8Array, { bytes, lineBytes }: Sent): void {
    out.append(this.#stamp);
    out.append(label);
    appendMessage(out, SENT_MARK, bytes, 0, lineBytes);
  }

  event(out: ByteBuffer, subject: Subject, event: ConnectionEvent): void {
    out.append(this.#stamp);
    out.appendText(`${this.#words(subject, event)}\n`);
  }

  run(out: ByteBuffer, event: RunEvent): void {
    out.append(this.#stamp);
    out.appendText(`* ${runWords(event)}\n`);
  }

  #words(subject: Subject, event: ConnectionEvent): string {
    switch (event.event) {
      case "refused":
        return refusal(subject, event.reason);
      case "connected":
        return `${this.#name(subject)} connected${doorText(subject.to)}${origin(event)}`;
      case "disconnected":
        return `${this.#name(subject)} ${farewell(event, this.#countsLines)}`;
    }
  }
}

function appendMessage(
  out: ByteBuffer,
  mark: number,
  bytes: Uint8Array,
  start: number,
  end: number,
): void {
  appendMark(out, mark);
  appendShown(out, bytes, start, end);
  out.reserve(1);
  out.bytes[out.length++] = LF;
}

/** Appends a mark and the space behind it. */
export function appendMark(out: ByteBuffer, mark: number): void {
  out.reserve(2);
  out.bytes[out.length++] = mark;
  out.bytes[out.length++] = SPACE;
}

/** A time without its date; the offset of a local time goes with that. */
function timeOfDay(text: string): string {
  return text.replace(/^\d{4}-\d\d-\d\dT(\d\d:\d\d:\d\d\.\d{3})(Z?).*$/, "$1$2");
}

function dim(text: string): string {
  return `\x1B[2m${text}\x1B[0m`;
}

function runWords(event: RunEvent): string {
  if (event.event === "started") {
    return `started: earshot ${event.version}, listening on ${shown(event.listening.join(", "))}`;
  }
  return `stopped: ${plural(event.lines, "line")} of ${plural(event.connections, "client")}`;
}

/** The colour of a subject in a palette of 256: by connection, a datagram's by its sender's address. */
export function colorOf({ number, peer }: Subject): number {
  return PALETTE[(number ?? addressSum(peer)) % PALETTE.length]!;
}

function addressSum(peer: Peer): number {
  return encode(peer.kind === "ip" ? peer.host : peer.path).reduce((sum, byte) => sum + byte, 0);
}

/** Which of several ports it was. */
function doorText(to: number | undefined): string {
  return to === undefined ? "" : ` to :${to}`;
}

function refusal(subject: Subject, reason: string): string {
  return `refused ${subjectText(subject)}${reason === NOT_ALLOWED ? "" : ` (${reason})`}`;
}

function origin({ through, certificate }: ConnectionEvent & { event: "connected" }): string {
  const facts = [];
  if (through) facts.push(`through ${peerText(through)}`);
  if (certificate !== undefined) facts.push(`certificate ${shown(certificate)}`);
  return facts.length === 0 ? "" : ` (${facts.join("; ")})`;
}

function farewell(
  { bytes, lines, seconds, reason }: ConnectionEvent & { event: "disconnected" },
  countsLines: boolean,
): string {
  const figures = [plural(bytes, "byte")];
  if (countsLines) figures.push(plural(lines, "line"));
  figures.push(`${seconds.toFixed(1)} s`);
  const cause = reason.tag === "closed" ? "" : ` (${shown(disconnectWords(reason))})`;
  return `disconnected: ${figures.join(", ")}${cause}`;
}
