/**
 * Records for programs: a JSON object a line.
 *
 * @module
 */

import { type Peer, peerText } from "../addresses.ts";
import { ByteBuffer, decode, encode } from "../bytes.ts";
import { appendBase64, appendJson, quoted } from "./escape.ts";
import type { ConnectionEvent, Format, Subject, Target, Time } from "./records.ts";

/** What labels end with: the member that follows is the message. */
const MESSAGE = `"message":"`;
/** Takes the place of the last three bytes of that. */
const BASE64_MESSAGE = encode(`_base64":"`);
const REPLACED_BYTES = 3;
const WHOLE_END = encode(`"}\n`);
const CUT_END = encode(`","cut":true}\n`);

/** The JSON format. */
export class JsonFormat implements Format {
  stamp(time: Time, text: string): string {
    if (time === "none") return "{";
    return time === "elapsed" ? `{"elapsed":${Number(text)},` : `{"timestamp":"${text}",`;
  }

  label(subject: Subject): string {
    return subject.number === undefined
      ? `"event":"datagram","transport":"udp",${peerMembers(subject.peer)},${MESSAGE}`
      : `"event":"line",${partyMembers(subject)},${MESSAGE}`;
  }

  sentLabel(to: Target): string {
    const members = "clients" in to ? `"clients":${to.clients}` : partyMembers(to);
    return `"event":"sent",${members},${MESSAGE}`;
  }

  line(out: ByteBuffer, bytes: Uint8Array, start: number, end: number, isWhole: boolean): void {
    if (!appendJson(out, bytes, start, end)) {
      out.length -= REPLACED_BYTES;
      out.append(BASE64_MESSAGE);
      appendBase64(out, bytes, start, end);
    }
    out.append(isWhole ? WHOLE_END : CUT_END);
  }

  sent(out: ByteBuffer, bytes: Uint8Array): void {
    this.line(out, bytes, 0, bytes.length, true);
  }

  notice(subject: Subject, notice: ConnectionEvent): string {
    return `"event":"${notice.event}",${partyMembers(subject)}${noticeMembers(notice)}}\n`;
  }
}

function partyMembers({ number, peer }: Subject): string {
  return `${number === undefined ? "" : `"connection":${number},`}${peerMembers(peer)}`;
}

function peerMembers(peer: Peer): string {
  if (peer.kind === "unix") return `"path":${quoted(peer.path)}`;
  return `"host":${quoted(peer.host)},"port":${peer.port}`;
}

function noticeMembers(notice: ConnectionEvent): string {
  switch (notice.event) {
    case "connected": {
      const { through, certificate } = notice;
      return (through ? `,"proxy":${quoted(peerText(through))}` : "") +
        (certificate === undefined ? "" : `,"certificate":${quoted(certificate)}`);
    }
    case "refused":
      return `,"reason":${quoted(notice.reason)}`;
    case "disconnected": {
      const { bytes, lines, seconds, reason } = notice;
      return `,"bytes":${bytes},"lines":${lines},"seconds":${seconds},"reason":${quoted(reason)}`;
    }
  }
}

// -- Single records, whatever the format of the log --

const FORMAT = new JsonFormat();
const SCRATCH = new ByteBuffer(0);

/** The object of a line or, of a subject without a number, of a datagram; the time is UTC. */
export function lineJson(
  timeMs: number,
  subject: Subject,
  bytes: Uint8Array,
  start: number,
  end: number,
  isWhole: boolean,
): string {
  begin(timeMs, FORMAT.label(subject));
  FORMAT.line(SCRATCH, bytes, start, end, isWhole);
  return finished();
}

/** The object of a notice. */
export function noticeJson(timeMs: number, subject: Subject, notice: ConnectionEvent): string {
  begin(timeMs, FORMAT.notice(subject, notice));
  return finished();
}

/** The object of what was sent. */
export function sentJson(timeMs: number, to: Target, bytes: Uint8Array): string {
  begin(timeMs, FORMAT.sentLabel(to));
  FORMAT.sent(SCRATCH, bytes);
  return finished();
}

function begin(timeMs: number, text: string): void {
  SCRATCH.clear();
  SCRATCH.appendText(FORMAT.stamp("utc", new Date(timeMs).toISOString()) + text);
}

/** The record without its line end. */
function finished(): string {
  return decode(SCRATCH.bytes.subarray(0, SCRATCH.length - 1));
}
