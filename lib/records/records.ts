/**
 * What records tell, whatever their format: the words that the formats and the
 * log share.
 *
 * @module
 */

import type { Peer } from "../addresses.ts";
import type { ByteBuffer } from "../bytes.ts";

/** Kinds of output. */
export const FORMATS = ["text", "json", "raw", "hex"] as const;
/** One of {@linkcode FORMATS}. */
export type FormatName = typeof FORMATS[number];

/** How records are dated. */
export const TIMES = ["utc", "local", "elapsed", "none"] as const;
/** One of {@linkcode TIMES}. */
export type Time = typeof TIMES[number];

/** Whom a record is about. */
export interface Subject {
  /** Number of the connection, from 1; a datagram's sender and a refused peer have none. */
  readonly number?: number;
  readonly peer: Peer;
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
    /** "closed" for a clean end. */
    readonly reason: string;
  };

/** Why the rules refuse a peer. */
export const NOT_ALLOWED = "not allowed";

/** To whom a typed line went: one client, or all. */
export type Target = Subject | { readonly clients: number };

/** How what happens is written: a stamp and a notice, or a stamp, a label and a body. */
export interface Format {
  /** The date that begins each record, from the time in words ("" for `none`). */
  stamp(time: Time, text: string): string;
  /** The label of a client's lines, or of the datagrams of a subject without a number. */
  label(subject: Subject): string;
  /** The label of what is sent. */
  sentLabel(to: Target): string;
  /** The body of a line; `isWhole` is false if no line end came here. */
  line(out: ByteBuffer, bytes: Uint8Array, start: number, end: number, isWhole: boolean): void;
  /** The body of what is sent. */
  sent(out: ByteBuffer, bytes: Uint8Array): void;
  /** A record without data. */
  notice(subject: Subject, notice: ConnectionEvent): string;
}
