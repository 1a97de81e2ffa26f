/**
 * A record of the events in the words of the text format.
 *
 * @module
 */

import { pairsOf, plural, shownBytes, shownText } from "./text.js";

/** The colours of the terminal (32, 166, 71, 133, 37, 167, 97, 136 of 256). */
const PALETTE = [
  "#0087d7",
  "#d75f00",
  "#5faf5f",
  "#af5faf",
  "#00afaf",
  "#d75f5f",
  "#875faf",
  "#af8700",
];

const ENCODER = new TextEncoder();

/** The colour of a client: by its number, a datagram's by its sender's address. */
export function colorOf({ connection, host, path, event, transport }) {
  if (connection !== undefined) return PALETTE[connection % PALETTE.length];
  if (event !== undefined && event !== "datagram" && transport === undefined) return "";
  const bytes = ENCODER.encode(host ?? path ?? "");
  return PALETTE[bytes.reduce((sum, byte) => sum + byte, 0) % PALETTE.length];
}

/** Where somebody is, with the operator's name for it. */
export function addressOf({ name, host, port, path }) {
  if (host === undefined) return path === undefined ? "" : name ?? "unix";
  return `${name ?? (host.includes(":") ? `[${host}]` : host)}:${port}`;
}

/** Who it is about: what stands before the mark. */
export function labelOf(record) {
  const { event, connection, clients, host, path } = record;
  if (event === "started" || event === "stopped") return "*";
  if (clients !== undefined) return "* all";
  if (event === "refused") return `refused ${safe(addressOf(record))}`;
  if (connection !== undefined) return `#${connection} ${safe(addressOf(record))}`;
  if (host === undefined && path === undefined) return "";
  const isUdp = host !== undefined;
  const door = event === "datagram" && record.to !== undefined ? ` to :${record.to}` : "";
  return `${isUdp ? "udp " : ""}${safe(addressOf(record))}${door}`;
}

function safe(text) {
  return shownText(text).text;
}

/** Whether a record is what somebody said or was sent, and not what happened. */
export function isMessage({ event }) {
  return event === "line" || event === "datagram" || event === "sent";
}

/** What stands before a message: sent, cut or whole. */
function markOf({ event, cut }) {
  return event === "sent" ? "<" : cut ? "+" : "|";
}

/**
 * The words of a record, at most `limit` characters of them, and how many there
 * are; with `asHex` messages are pairs of digits.
 */
export function wordsOf(record, { limit = Infinity, asHex = false } = {}) {
  if (!isMessage(record)) {
    const text = eventText(record);
    return { text, length: text.length };
  }
  const { text, length } = asHex ? hexOf(record, limit) : messageOf(record, limit);
  return { text: `${markOf(record)} ${text}`, length };
}

function messageOf({ message, message_base64: base64 }, limit) {
  return base64 === undefined
    ? shownText(message ?? "", limit)
    : shownBytes(bytesOf(base64), limit);
}

function bytesOf(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

function hexOf({ message, message_base64: base64 }, limit) {
  const bytes = base64 === undefined ? ENCODER.encode(message ?? "") : bytesOf(base64);
  const shown = bytes.subarray(0, Math.ceil(limit / 3));
  return { text: pairsOf(shown), length: Math.max(0, 3 * bytes.length - 1) };
}

function eventText(record) {
  switch (record.event) {
    case "connected":
      return `connected${originOf(record)}`;
    case "disconnected":
      return partingOf(record);
    case "refused":
      return record.reason === "not allowed" ? "" : `(${safe(record.reason ?? "")})`;
    case "started":
      return `started: earshot ${safe(`${record.version}, listening on ${record.listening}`)}`;
    case "stopped":
      return `stopped: ${plural(record.lines, "line")} of ${plural(record.connections, "client")}`;
    default:
      return safe(record.event ?? "");
  }
}

function originOf({ to, proxy, certificate }) {
  const facts = [];
  if (proxy !== undefined) facts.push(`through ${safe(proxy)}`);
  if (certificate !== undefined) facts.push(`certificate ${safe(certificate)}`);
  const door = to === undefined ? "" : ` to :${to}`;
  return door + (facts.length === 0 ? "" : ` (${facts.join("; ")})`);
}

function partingOf({ bytes, lines, seconds, reason }) {
  const figures = [plural(bytes, "byte")];
  if (lines !== undefined) figures.push(plural(lines, "line"));
  const ending = reason === "closed" ? "" : ` (${safe(reason)})`;
  return `disconnected: ${figures.join(", ")}, ${seconds.toFixed(1)} s${ending}`;
}

/** A whole record in the text format. */
export function lineOf(record) {
  return `${record.timestamp} ${labelOf(record)} ${wordsOf(record).text}`.trimEnd();
}

// -- Choices --

/** What is asked for to see one client alone: part of a URL. */
export function choiceOf({ connection, host }) {
  if (connection !== undefined) return `connection=${connection}`;
  return host === undefined ? "" : `host=${encodeURIComponent(host)}`;
}

/** A choice in words: `#3`, or the address of a sender of datagrams. */
export function choiceName(choice) {
  const [kind, value = ""] = choice.split("=");
  return kind === "connection" ? `#${value}` : decodeURIComponent(value);
}

/** Whether a record is of that choice. What the server sends of a choice it has sorted. */
export function isOfChoice(record, choice, isFromServer) {
  if (choice === "") return true;
  const { connection, clients, host } = record;
  if (choice.startsWith("host=")) {
    return isFromServer || connection === undefined && choiceOf({ host }) === choice;
  }
  return clients === undefined ? choiceOf({ connection }) === choice : isFromServer;
}
