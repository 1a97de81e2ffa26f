/**
 * Records for people: one line each, `time #2 127.0.0.1:53122 | what it said`.
 *
 * @module
 */

import { type Peer, peerText } from "../addresses.ts";
import { type ByteBuffer, encode, LF, SPACE } from "../bytes.ts";
import { appendShown, shown } from "./escape.ts";
import {
  type ConnectionEvent,
  type Format,
  NOT_ALLOWED,
  type Subject,
  type Target,
  type Time,
} from "./records.ts";
import { plural } from "../messages.ts";

/** Between label and message, followed by a space: a whole line, a cut one, one that was sent. */
const WHOLE_MARK = 0x7C;
const CUT_MARK = 0x2B;
const SENT_MARK = 0x3C;

/** Readable on dark and on light ground. */
const PALETTE = [32, 166, 71, 133, 37, 167, 97, 136] as const;

/** The text format. */
export class TextFormat implements Format {
  readonly #isColored: boolean;
  readonly #countsLines: boolean;

  /** `countsLines`: whether bytes become lines at all. */
  constructor(options: { readonly isColored: boolean; readonly countsLines: boolean }) {
    this.#isColored = options.isColored;
    this.#countsLines = options.countsLines;
  }

  stamp(_time: Time, text: string): string {
    return text && `${text} `;
  }

  label(subject: Subject): string {
    return `${this.#name(subject)} `;
  }

  #name(subject: Subject): string {
    const name = `${subject.number === undefined ? "udp" : `#${subject.number}`} ${
      peerText(subject.peer)
    }`;
    return this.#isColored ? `\x1B[38;5;${colorOf(subject)}m${name}\x1B[0m` : name;
  }

  sentLabel(to: Target): string {
    return "clients" in to ? "* all " : this.label(to);
  }

  line(out: ByteBuffer, bytes: Uint8Array, start: number, end: number, isWhole: boolean): void {
    appendMessage(out, isWhole ? WHOLE_MARK : CUT_MARK, bytes, start, end);
  }

  sent(out: ByteBuffer, bytes: Uint8Array): void {
    appendMessage(out, SENT_MARK, bytes, 0, bytes.length);
  }

  notice(subject: Subject, notice: ConnectionEvent): string {
    if (notice.event === "refused") return `${refusal(subject.peer, notice.reason)}\n`;
    const words = notice.event === "connected"
      ? `connected${origin(notice)}`
      : farewell(notice, this.#countsLines);
    return `${this.#name(subject)} ${words}\n`;
  }
}

function appendMessage(
  out: ByteBuffer,
  mark: number,
  bytes: Uint8Array,
  start: number,
  end: number,
): void {
  out.reserve(2);
  out.bytes[out.length++] = mark;
  out.bytes[out.length++] = SPACE;
  appendShown(out, bytes, start, end);
  out.reserve(1);
  out.bytes[out.length++] = LF;
}

/** The colour of a subject in a palette of 256: by connection, a datagram's by its sender's address. */
export function colorOf({ number, peer }: Subject): number {
  return PALETTE[(number ?? addressSum(peer)) % PALETTE.length]!;
}

function addressSum(peer: Peer): number {
  return encode(peer.kind === "ip" ? peer.host : peer.path).reduce((sum, byte) => sum + byte, 0);
}

function refusal(peer: Peer, reason: string): string {
  return `refused ${peerText(peer)}${reason === NOT_ALLOWED ? "" : ` (${reason})`}`;
}

function origin({ through, certificate }: ConnectionEvent & { event: "connected" }): string {
  const facts = [];
  if (through) facts.push(`through ${peerText(through)}`);
  if (certificate !== undefined) facts.push(`certificate ${shown(certificate)}`);
  return facts.length === 0 ? "" : ` (${facts.join("; ")})`;
}

function farewell(
  notice: ConnectionEvent & { event: "disconnected" },
  countsLines: boolean,
): string {
  const { bytes, lines, seconds, reason } = notice;
  const figures = [plural(bytes, "byte")];
  if (countsLines) figures.push(plural(lines, "line"));
  figures.push(`${seconds.toFixed(1)} s`);
  return `disconnected: ${figures.join(", ")}${reason === "closed" ? "" : ` (${shown(reason)})`}`;
}
