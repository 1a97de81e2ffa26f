/**
 * The header in which a proxy names the client that it speaks for: HAProxy's
 * PROXY protocol, version 1 (a line) and version 2 (binary).
 *
 * @module
 */

import { isIP } from "node:net";
import type { Peer } from "../addresses.ts";
import { decode, encode, NUL } from "../bytes.ts";

/** What the bytes at the beginning of a connection are. */
export type ProxyHeader =
  /** The beginning of a header. */
  | { readonly tag: "more" }
  /** No header, whatever may follow. */
  | { readonly tag: "bad" }
  /** `length` bytes of header, then data. */
  | {
    readonly tag: "header";
    readonly length: number;
    /** Without it the proxy's own address counts. */
    readonly source: Peer | undefined;
    /** Common name of the certificate that the client has shown to the proxy. */
    readonly certificate?: string;
  };

const MORE: ProxyHeader = { tag: "more" };
const BAD: ProxyHeader = { tag: "bad" };

/** With CR and LF. */
const MAX_LINE_BYTES = 107;

const SIGNATURE = encode("\r\n\r\n\0\r\nQUIT\n");

/** Signature, command, family, and two bytes that count the block behind them. */
const PREFIX_BYTES = SIGNATURE.length + 4;

/** The block could have 65,535 bytes, by its count. A sender has reason for a few hundred. */
const MAX_BLOCK_BYTES = 4096;

/** No header is longer, and with so many bytes it is clear whether there is one. */
export const MAX_PROXY_HEADER_BYTES: number = PREFIX_BYTES + MAX_BLOCK_BYTES;

/** A header that names nobody. */
function unnamed(length: number): ProxyHeader {
  return { tag: "header", length, source: undefined };
}

/** Reads a header from all bytes that a connection has brought so far. */
export function parseProxyHeader(bytes: Uint8Array): ProxyHeader {
  if (bytes.length === 0) return MORE;
  return bytes[0] === SIGNATURE[0] ? parseBinary(bytes) : parseText(bytes);
}

// -- Version 1 --

const UNKNOWN_REGEXP = /^PROXY UNKNOWN(?: .*)?\r\n$/;
const TCP_REGEXP =
  /^PROXY TCP([46]) ([\d.:a-fA-F]+) ([\d.:a-fA-F]+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})\r\n$/;

function parseText(bytes: Uint8Array): ProxyHeader {
  const text = String.fromCharCode(...bytes.subarray(0, MAX_LINE_BYTES));
  const length = text.indexOf("\n") + 1;
  if (length > 0) return parseLine(text.slice(0, length));
  return canBecomeLine(text) ? MORE : BAD;
}

function parseLine(line: string): ProxyHeader {
  const { length } = line;
  if (length > MAX_LINE_BYTES) return BAD;
  if (UNKNOWN_REGEXP.test(line)) return unnamed(length);
  const [, family, host = "", ownHost = "", port, ownPort] = TCP_REGEXP.exec(line) ?? [];
  if ([host, ownHost].some((address) => isIP(address) !== Number(family))) return BAD;
  if ([port, ownPort].some((number) => Number(number) > 65_535)) return BAD;
  return { tag: "header", length, source: ipPeer(host, Number(port)) };
}

const STARTS = ["PROXY TCP4 ", "PROXY TCP6 ", "PROXY UNKNOWN"];

/** The shortest ends that make a whole address or port of each beginning of one. */
const FIELD_ENDS = ["", "0", ":", "::", ".0", "0.0", ".0.0", "0.0.0", ".0.0.0", "0.0.0.0"];

/** Whether there is an end that makes a header of the beginning of a line: tries the shortest. */
function canBecomeLine(text: string): boolean {
  if (STARTS.some((start) => start.startsWith(text))) return true;
  const rest = shortestRest(text);
  return FIELD_ENDS.some((end) => parseLine(text + end + rest).tag === "header");
}

/** The shortest that may follow the field that came last. */
function shortestRest(text: string): string {
  if (text.endsWith("\r")) return "\n";
  if (text.startsWith("PROXY UNKNOWN")) return "\r\n";
  const host = text.startsWith("PROXY TCP6") ? " ::" : " 0.0.0.0";
  const spaces = text.split(" ").length - 1;
  return [host, " 0", " 0", "\r\n"].slice(spaces - 2).join("");
}

// -- Version 2 --

const LOCAL = 0x20;
const PROXY = 0x21;
const UNSPEC = 0;
const INET = 1;
const INET6 = 2;

/** How long both addresses are, by family: UNSPEC, INET, INET6, UNIX. */
const ADDRESSES_BYTES = [0, 12, 36, 216];
const MAX_PATH_BYTES = 108;

function parseBinary(bytes: Uint8Array): ProxyHeader {
  if (SIGNATURE.some((byte, i) => i < bytes.length && bytes[i] !== byte)) return BAD;
  // What has not come may become right.
  const [command = LOCAL, kind = UNSPEC, high = 0, low = 0] = bytes.subarray(SIGNATURE.length);
  if (command !== LOCAL && command !== PROXY) return BAD;
  const addressesBytes = command === LOCAL ? 0 : addressesBytesOf(kind);
  const blockBytes = 256 * high + low;
  if (addressesBytes === undefined || blockBytes > MAX_BLOCK_BYTES) return BAD;
  if (bytes.length < PREFIX_BYTES) return MORE;
  if (blockBytes < addressesBytes) return BAD;
  const length = PREFIX_BYTES + blockBytes;
  if (bytes.length < length) return MORE;
  // With LOCAL and UNSPEC the block may be anything.
  if (addressesBytes === 0) return unnamed(length);
  const header = bytes.subarray(0, length);
  const values = [...valuesIn(header, PREFIX_BYTES + addressesBytes)];
  if (!isChecksumRight(header, values)) return BAD;
  const source = sourceOf(header, kind >> 4);
  const certificate = certificateIn(header, values);
  return { tag: "header", length, source, ...certificate !== undefined && { certificate } };
}

/** How long the addresses are by the byte of family and protocol; `undefined` if one is unknown. */
function addressesBytesOf(kind: number): number | undefined {
  const protocol = kind & 0xF;
  const count = ADDRESSES_BYTES[kind >> 4];
  if (count === undefined || protocol > 2) return undefined;
  return protocol === UNSPEC ? 0 : count;
}

function sourceOf(header: Uint8Array, family: number): Peer {
  const addresses = header.subarray(PREFIX_BYTES);
  const view = new DataView(addresses.buffer, addresses.byteOffset, addresses.length);
  switch (family) {
    case INET:
      return ipPeer(addresses.subarray(0, 4).join("."), view.getUint16(8));
    case INET6: {
      const groups = Array.from({ length: 8 }, (_, i) => view.getUint16(2 * i).toString(16));
      return ipPeer(groups.join(":"), view.getUint16(32));
    }
    default:
      return { kind: "unix", path: pathOf(addresses.subarray(0, MAX_PATH_BYTES)) };
  }
}

/** A path ends at the first NUL; an abstract name begins with one, and is filled up with them. */
function pathOf(field: Uint8Array): string {
  const isAbstract = field[0] === NUL;
  const end = isAbstract ? field.findLastIndex((byte) => byte !== NUL) + 1 : field.indexOf(NUL);
  return decode(end < 0 ? field : field.subarray(0, end));
}

// -- Hosts --

/** The peer with the address as the system writes it, so that one host has one name. */
function ipPeer(address: string, port: number): Peer {
  const host = address.includes(":") ? canonicalIpv6(address) : address;
  return { kind: "ip", host, port };
}

/** The shortest form, which `URL` knows; an IPv4-mapped address becomes IPv4. */
function canonicalIpv6(address: string): string {
  const host = new URL(`http://[${address}]`).hostname.slice(1, -1);
  const mapped = /^::ffff:([\da-f]+):([\da-f]+)$/.exec(host);
  if (!mapped) return host;
  return mapped.slice(1).map((group) => Number(`0x${group}`))
    .map((group) => `${group >> 8}.${group & 0xFF}`).join(".");
}

// -- Values --

/** A value behind the addresses: its type, and where it is. */
interface Value {
  readonly type: number;
  readonly start: number;
  readonly end: number;
}

/** A value begins with its type, and its length in two bytes. */
const VALUE_PREFIX_BYTES = 3;

/** The values from `start` to `end`; the last may claim to go on behind that. */
function* valuesIn(bytes: Uint8Array, start: number, end = bytes.length): Generator<Value> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let next = start; next + VALUE_PREFIX_BYTES <= end;) {
    const type = view.getUint8(next);
    const at = next + VALUE_PREFIX_BYTES;
    next = at + view.getUint16(next + 1);
    yield { type, start: at, end: next };
  }
}

// -- Certificate --

const SSL = 0x20;
const SSL_COMMON_NAME = 0x22;
/** What a client has done: spoken TLS, and shown a certificate then or earlier in the session. */
const SPOKE_TLS = 1;
const SHOWED_CERTIFICATE = 2 | 4;
/** What it has done in one byte, and what the verification of its certificate gave in four. */
const SSL_PREFIX_BYTES = 5;

/** The name in the certificate that a client has shown to the proxy, if that has verified it. */
function certificateIn(header: Uint8Array, values: readonly Value[]): string | undefined {
  const ssl = values.find(({ type }) => type === SSL);
  if (!ssl || ssl.end > header.length || ssl.end - ssl.start < SSL_PREFIX_BYTES) return undefined;
  const [client = 0, ...verify] = header.subarray(ssl.start, ssl.start + SSL_PREFIX_BYTES);
  const isShown = client & SPOKE_TLS && client & SHOWED_CERTIFICATE;
  if (!isShown || verify.some((byte) => byte !== 0)) return undefined;
  const inside = [...valuesIn(header, ssl.start + SSL_PREFIX_BYTES, ssl.end)];
  const name = inside.find(({ type, end }) => type === SSL_COMMON_NAME && end <= ssl.end);
  return name && decode(header.subarray(name.start, name.end)) || undefined;
}

// -- Checksum --

const CHECKSUM = 0x03;
const CHECKSUM_BYTES = 4;

/** Whether the checksum among the values is right or absent. */
function isChecksumRight(header: Uint8Array, values: readonly Value[]): boolean {
  const view = new DataView(header.buffer, header.byteOffset, header.length);
  return values.filter(({ type }) => type === CHECKSUM).every(({ start, end }) =>
    end - start === CHECKSUM_BYTES && end <= header.length &&
    view.getUint32(start) === crc32c(header.slice().fill(0, start, end))
  );
}

/** What each byte does to a CRC-32C. */
const CRC32C_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82F63B78 : 0);
  return crc;
});

function crc32c(bytes: Uint8Array): number {
  let crc = 0xFFFFFFFF;
  for (const byte of bytes) crc = (crc >>> 8) ^ CRC32C_TABLE[(crc ^ byte) & 0xFF]!;
  return ~crc >>> 0;
}
