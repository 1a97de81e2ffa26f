/**
 * What goes wrong in TLS, in the words of a user. The errors are those of rustls, as
 * Deno's `node:tls` passes them on.
 *
 * @module
 */

import { codeOf, reasonOf } from "../errors.ts";
import { HandshakeError, type HandshakeFault } from "./handshake_faults.ts";

const IN_COMMON =
  "no cipher suite in common (earshot has ECDHE with GCM or ChaCha20, TLS 1.2 and 1.3)";

/** The first byte of a record that belongs to a handshake, and of one that is an alert. */
const HANDSHAKE_RECORD = 22;
const ALERT_RECORD = 21;

/** Why a handshake failed; `firstByte` is the first that has come. */
export function handshakeErrorOf(error: Error, firstByte: number | undefined): HandshakeError {
  switch (codeOf(error)) {
    case "ERR_SSL_WRONG_VERSION_NUMBER":
      return isTls(firstByte)
        ? new HandshakeError("damaged", "damaged TLS message")
        : new HandshakeError("not TLS", "not TLS");
    case "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE":
      return new HandshakeError("no certificate", "no client certificate");
    case "ECONNRESET":
      return new HandshakeError("closed", "closed by the client");
  }
  if (error.message.startsWith("peer is incompatible: ")) {
    return new HandshakeError("no common cipher", IN_COMMON);
  }
  return new HandshakeError(kindOf(error), tlsWords(error));
}

function isTls(firstByte: number | undefined): boolean {
  return firstByte === HANDSHAKE_RECORD || firstByte === ALERT_RECORD;
}

function kindOf({ message }: Error): HandshakeFault {
  if (alertIn(message) !== undefined) return "client alert";
  return isDamage(message) ? "damaged" : "other";
}

/** An error of a connection that has been secure, or of a handshake. */
export function tlsWords(error: Error): string {
  const alert = alertIn(error.message);
  if (alert !== undefined) return `the client says: ${spaced(alert)}`;
  return isDamage(error.message) ? "damaged TLS message" : reasonOf(error);
}

function alertIn(message: string): string | undefined {
  return /^received fatal alert: (\w+)$/.exec(message)?.[1];
}

function isDamage(message: string): boolean {
  return /^(cannot decrypt|peer (misbehaved|sent excess)|received (corrupt|unexpected))/
    .test(message);
}

/** `UnknownCA` becomes `unknown CA`. */
function spaced(name: string): string {
  const words = name.match(/[A-Z]+(?![a-z])|[A-Z][a-z\d]*/g) ?? [name];
  return words.map((word) =>
    word.length > 1 && word === word.toUpperCase() ? word : word.toLowerCase()
  )
    .join(" ");
}

// -- Certificates of clients --

/** Why a client's certificate is refused, and the alert that tells its owner. */
export interface CertificateFault {
  readonly words: string;
  /** The description of an alert of TLS 1.2. */
  readonly alert: number;
}

const UNKNOWN_AUTHORITY = { words: "client certificate of an unknown authority", alert: 48 };
const NOT_FOR_CLIENTS = {
  words: "client certificate not made for clients (no clientAuth among its key usages)",
  alert: 43,
};
const CERTIFICATE_UNKNOWN = 46;

/** A session is resumed whose certificate the authorities have not seen. */
export const NOT_VERIFIED: CertificateFault = {
  words: "resumed session, whose client certificate these authorities have not verified",
  alert: CERTIFICATE_UNKNOWN,
};

/** `code` is what the verification said of the certificate, whose bytes are `der`. */
export function certificateFaultOf(code: string, der: Uint8Array | undefined): CertificateFault {
  switch (code) {
    case "CERT_HAS_EXPIRED":
      return { words: "client certificate expired", alert: 45 };
    case "CERT_NOT_YET_VALID":
      return { words: "client certificate not valid yet", alert: 42 };
    case "DEPTH_ZERO_SELF_SIGNED_CERT":
    case "UNABLE_TO_VERIFY_LEAF_SIGNATURE":
      return der && !isForClients(der) ? NOT_FOR_CLIENTS : UNKNOWN_AUTHORITY;
    default:
      return { words: `client certificate refused: ${code}`, alert: CERTIFICATE_UNKNOWN };
  }
}

/** Object identifiers as they stand in a certificate. */
const EXTENDED_KEY_USAGE = [0x06, 0x03, 0x55, 0x1D, 0x25];
const CLIENT_AUTH = [0x06, 0x08, 0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];
const ANY_USAGE = [0x06, 0x04, 0x55, 0x1D, 0x25, 0x00];

/** Whether a client may show it. `X509Certificate` does not tell in Deno 2.9. */
function isForClients(der: Uint8Array): boolean {
  const at = indexOf(der, EXTENDED_KEY_USAGE, 0);
  if (at < 0) return true;
  return [CLIENT_AUTH, ANY_USAGE].some((usage) => indexOf(der, usage, at) >= 0);
}

function indexOf(bytes: Uint8Array, wanted: readonly number[], from: number): number {
  for (let at = bytes.indexOf(wanted[0]!, from); at >= 0; at = bytes.indexOf(wanted[0]!, at + 1)) {
    if (wanted.every((byte, i) => bytes[at + i] === byte)) return at;
  }
  return -1;
}
