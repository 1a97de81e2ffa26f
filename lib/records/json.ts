/**
 * Records for programs: a JSON object a line.
 *
 * @module
 */

import { type Peer, peerText } from "../addresses.ts";
import { ByteBuffer, decode, encode, NO_BYTES } from "../bytes.ts";
import { appendBase64, appendJson, quoted } from "./escape.ts";
import {
  type ConnectionEvent,
  disconnectWords,
  type Format,
  type RunEvent,
  type Sent,
  type Subject,
  type Target,
  type Time,
} from "./records.ts";

/** What labels end with: the member that follows is the message. */
const MESSAGE = `"message":"`;
/** Takes the place of the last three bytes of that. */
const BASE64_MESSAGE = encode(`_base64":"`);
const REPLACED_BYTES = 3;
const WHOLE_END = encode(`"}\n`);
const CUT_END = encode(`","cut":true}\n`);

/** The JSON format. */
export class JsonFormat implements Format {
  #stamp: Uint8Array = NO_BYTES;

  setTime(time: Time, text: string): void {
    this.#stamp = encode(stampOf(time, text));
  }

  label(subject: Subject): Uint8Array {
    return encode(
      subject.number === undefined
        ? `"event":"datagram",${partnerMembers(subject)},${MESSAGE}`
        : `"event":"line",${partnerMembers(subject)},${MESSAGE}`,
    );
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
    appendMessage(out, bytes, start, end, isWhole);
  }

  sentLabel(to: Target): Uint8Array {
    const members = "clients" in to ? `"clients":${to.clients}` : partnerMembers(to);
    return encode(`"event":"sent",${members},${MESSAGE}`);
  }

  sent(out: ByteBuffer, label: Uint8Array, { bytes, lineBytes, isWhole }: Sent): void {
    out.append(this.#stamp);
    out.append(label);
    appendMessage(out, bytes, 0, lineBytes, isWhole);
  }

  event(out: ByteBuffer, subject: Subject, event: ConnectionEvent): void {
    out.append(this.#stamp);
    const members = `${subjectMembers(subject)}${eventMembers(event)}`;
    out.appendText(`"event":"${event.event}",${members}}\n`);
  }

  run(out: ByteBuffer, event: RunEvent): void {
    out.append(this.#stamp);
    out.appendText(`"event":"${event.event}",${runMembers(event)}}\n`);
  }
}

function runMembers(event: RunEvent): string {
  if (event.event === "stopped") {
    return `"lines":${event.lines},"connections":${event.connections}`;
  }
  const places = event.listening.map(quoted).join(",");
  return `"version":${quoted(event.version)},"listening":[${places}]`;
}

function stampOf(time: Time, text: string): string {
  if (time === "none") return "{";
  if (time === "elapsed" || time === "delta") return `{"${time}":${Number(text)},`;
  return `{"timestamp":"${text}",`;
}

function appendMessage(
  out: ByteBuffer,
  bytes: Uint8Array,
  start: number,
  end: number,
  isWhole: boolean,
): void {
  if (!appendJson(out, bytes, start, end)) {
    out.length -= REPLACED_BYTES;
    out.append(BASE64_MESSAGE);
    appendBase64(out, bytes, start, end);
  }
  out.append(isWhole ? WHOLE_END : CUT_END);
}

/** Who speaks or is spoken to: one without a number by datagrams. */
export function partnerMembers(subject: Subject): string {
  const members = subjectMembers(subject);
  const isUdp = subject.number === undefined && subject.peer.kind === "ip";
  return isUdp ? `"transport":"udp",${members}` : members;
}

function subjectMembers({ number, peer, name, to }: Subject): string {
  const members = [peerMembers(peer)];
  if (number !== undefined) members.unshift(`"connection":${number}`);
  if (name !== undefined) members.push(`"name":${quoted(name)}`);
  if (to !== undefined) members.push(`"to":${to}`);
  return members.join(",");
}

function peerMembers(peer: Peer): string {
  if (peer.kind === "unix") return `"path":${quoted(peer.path)}`;
  return `"host":${quoted(peer.host)},"port":${peer.port}`;
}

function eventMembers(event: ConnectionEvent): string {
  switch (event.event) {
    case "connected": {
      const { through, certificate } = event;
      return (through ? `,"proxy":${quoted(peerText(through))}` : "") +
        (certificate === undefined ? "" : `,"certificate":${quoted(certificate)}`);
    }
    case "refused":
      return `,"reason":${quoted(event.reason)}`;
    case "disconnected": {
      const { bytes, lines, seconds } = event;
      const reason = quoted(disconnectWords(event.reason));
      return `,"bytes":${bytes},"lines":${lines},"seconds":${seconds},"reason":${reason}`;
    }
  }
}

// -- Single records, whatever the format of the log --

const FORMAT = new JsonFormat();
const SCRATCH = new ByteBuffer(0);
// Records of a flood have the same time and subject, one after the other.
let labelled: Subject | undefined;
let label: Uint8Array = NO_BYTES;
let stampedMs = NaN;

/** The object of a line or, of a subject without a number, of a datagram; the time is UTC. */
export function lineJson(
  timeMs: number,
  subject: Subject,
  bytes: Uint8Array,
  start: number,
  end: number,
  isWhole: boolean,
): string {
  if (subject !== labelled) label = FORMAT.label(labelled = subject);
  return textOf(timeMs, (out) => FORMAT.received(out, label, bytes, start, end, isWhole));
}

/** The object of what happened to a connection. */
export function eventJson(timeMs: number, subject: Subject, event: ConnectionEvent): string {
  return textOf(timeMs, (out) => FORMAT.event(out, subject, event));
}

/** The object of what was sent. */
export function sentJson(timeMs: number, to: Target, sent: Sent): string {
  return textOf(timeMs, (out) => FORMAT.sent(out, FORMAT.sentLabel(to), sent));
}

/** The text of a record without its line end. */
function textOf(timeMs: number, write: (out: ByteBuffer) => void): string {
  if (timeMs !== stampedMs) FORMAT.setTime("utc", new Date(stampedMs = timeMs).toISOString());
  SCRATCH.clear();
  write(SCRATCH);
  return decode(SCRATCH.bytes.subarray(0, SCRATCH.length - 1));
}
