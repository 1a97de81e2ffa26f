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
