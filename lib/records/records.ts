/**
 * What records tell, whatever their format: the words that the formats and the
 * log share.
 *
 * @module
 */

import { type Peer, peerText } from "../addresses.ts";
import { type ByteBuffer, lineEndOf } from "../bytes.ts";
import type { FrameFault } from "../framing/framing.ts";

/** Kinds of output. */
export const FORMATS = ["text", "json", "raw", "hex", "hexline"] as const;
/** One of {@linkcode FORMATS}. */
export type FormatName = typeof FORMATS[number];

/**
 * What the records of a format have of what clients say: text, in frames; bytes, in reads
 * unless frames are asked for; or reads as they come.
 */
const CONTENTS: Readonly<Record<FormatName, "text" | "bytes" | "reads">> = {
  text: "text",
  json: "text",
  raw: "reads",
  hex: "bytes",
  hexline: "bytes",
};

export function contentOf(format: FormatName): "text" | "bytes" | "reads" {
  return CONTENTS[format];
}

/** How records are dated. */
export const TIMES = ["utc", "local", "elapsed", "delta", "none"] as const;
/** One of {@linkcode TIMES}. */
export type Time = typeof TIMES[number];

/** Whom a record is about: what records show of a client, and nothing that lives with it. */
export interface Subject {
  /** Number of the connection, from 1; a datagram's sender and a refused peer have none. */
  readonly number?: number;
  readonly peer: Peer;
  /** What the operator calls the peer's address. */
  readonly name?: string | undefined;
  /** The port that it came to, if there are several. */
  readonly to?: number | undefined;
}

/** Who a subject is, as records show it: `pump:53122`, or else as {@linkcode peerText} says. */
export function subjectText({ peer, name }: Subject): string {
  return name !== undefined && peer.kind === "ip" ? `${name}:${peer.port}` : peerText(peer);
}

/** To whom something was sent: one subject, or so many clients. */
export type Target = Subject | ToMany;

export interface ToMany {
  readonly clients: number;
  /** Who they are, for those who remember what each was sent. */
  readonly takers?: readonly Subject[];
}

/** What was sent. */
export interface Sent {
  /** Every byte of it; valid during the call that takes it. */
  readonly bytes: Uint8Array;
  /** How many of these are left without the line end, which records of lines leave out. */
  readonly lineBytes: number;
  /** Whether it is no piece of something longer. */
  readonly isWhole: boolean;
  /** Where it begins in all that was sent, if that is counted. */
  readonly offset: number;
}

/** Something that was sent as a whole: records of lines leave out one LF or CRLF at its end. */
export function sentWhole(bytes: Uint8Array): Sent {
  return { bytes, lineBytes: lineEndOf(bytes, 0, bytes.length), isWhole: true, offset: 0 };
}

// -- What happens to a connection --

/** Why the rules refuse a peer. */
export const NOT_ALLOWED = "not allowed";

/** Why a client was disconnected. */
export type DisconnectReason =
  | { readonly tag: "closed" | "reset" | "local" | "shutdown" | "internal" }
  | { readonly tag: "idle"; readonly seconds: number }
  /** Its bytes cannot be split into frames any more. */
  | { readonly tag: "unframable"; readonly fault: FrameFault }
  /** It has not become a client: its PROXY header or its handshake is to blame. */
  | { readonly tag: "handshake"; readonly words: string }
  /** What the system says. */
  | { readonly tag: "failed"; readonly words: string };

/** The reason in the words of a record; "closed" is a clean end. */
export function disconnectWords(reason: DisconnectReason): string {
  switch (reason.tag) {
    case "closed":
      return "closed";
    case "reset":
      return "reset by peer";
    case "local":
      return "closed here";
    case "shutdown":
      return "shutting down";
    case "internal":
      return "internal error";
    case "idle":
      return `idle for ${reason.seconds} s`;
    case "unframable":
      return reason.fault;
    case "handshake":
    case "failed":
      return reason.words;
  }
}

/** What a record without data tells. */
export type ConnectionEvent =
  | {
    readonly event: "connected";
    /** The proxy that the connection came through. */
    readonly through?: Peer;
    /** Common name of the client's certificate. */
    readonly certificate?: string;
  }
  | { readonly event: "refused"; readonly reason: string }
  | {
    readonly event: "disconnected";
    readonly bytes: number;
    readonly lines: number;
    readonly seconds: number;
    readonly reason: DisconnectReason;
  };

// -- What happens to the server --

/** What a file begins and ends with, so that two runs in one file can be told apart. */
export type RunEvent =
  | {
    readonly event: "started";
    readonly version: string;
    /** Where it listens, in words. */
    readonly listening: readonly string[];
  }
  /** What was heard since. */
  | { readonly event: "stopped"; readonly lines: number; readonly connections: number };

// -- Formats --

/** How records are written: each method appends a whole record. */
export interface Format {
  /** Dates the records from here on; `text` is the time in words, "" for `none`. */
  setTime(time: Time, text: string): void;
  /** What the records of a subject's data have between time and data; it is made once. */
  label(subject: Subject): Uint8Array;
  /**
   * What a subject said: a frame, or a read where these are the records. `isWhole` is
   * false if no end came here; `offset` is that of the first byte in all that it said,
   * or 0 for a frame.
   */
  received(
    out: ByteBuffer,
    label: Uint8Array,
    bytes: Uint8Array,
    start: number,
    end: number,
    isWhole: boolean,
    offset: number,
  ): void;
  /** What the records of what a target is sent have between time and data. */
  sentLabel(to: Target): Uint8Array;
  /** What was sent; see {@linkcode Sent}. */
  sent(out: ByteBuffer, label: Uint8Array, sent: Sent): void;
  /** What happened to a connection. */
  event(out: ByteBuffer, subject: Subject, event: ConnectionEvent): void;
  /** What happened to the server. */
  run(out: ByteBuffer, event: RunEvent): void;
}
