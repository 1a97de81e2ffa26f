/**
 * The certificates that clients show: who they are, and why one is refused.
 *
 * @module
 */

import { X509Certificate } from "node:crypto";

/** What a client has shown in its handshake. */
export interface Shown {
  /** What the verification said of it; "" if it is good, or was not asked. */
  readonly code: string;
  /** Its bytes. */
  readonly der: Uint8Array | undefined;
  /** Whether it is that of an earlier handshake, whose session goes on. */
  readonly isResumed: boolean;
}

/**
 * Judges certificates for one set of authorities. Tickets go to clients that are refused,
 * too, and all servers of the process take them; a session that is resumed brings the
 * certificate that was shown at first, and nobody verifies that again. So it must be one
 * that these authorities have verified.
 */
export class ClientCertificates {
  /** By fingerprint, until when they are valid. */
  readonly #verified = new Map<string, number>();

  /** Why it is refused, if it is. */
  whyRefused({ code, der, isResumed }: Shown): CertificateFault | undefined {
    if (code !== "") return faultOf(code, der);
    if (der === undefined) return NOT_VERIFIED;
    if (isVersion1(der)) return VERSION_1;
    const { fingerprint256, validTo } = new X509Certificate(der);
    if (!isResumed) this.#add(fingerprint256, Date.parse(validTo));
    else if (!this.#verified.has(fingerprint256)) return NOT_VERIFIED;
    return validityFault(der);
  }

  /** Those that are not valid any more make room. */
  #add(fingerprint: string, validToMs: number): void {
    if (this.#verified.has(fingerprint)) return;
    const nowMs = Date.now();
    for (const [other, toMs] of this.#verified) if (toMs < nowMs) this.#verified.delete(other);
    this.#verified.set(fingerprint, validToMs);
  }
}

/** The name of a client: the common name of its certificate, or else the first alternative. */
export function nameIn(der: Uint8Array): string | undefined {
  const { subject, subjectaltname } = new X509Certificate(der).toLegacyObject();
  const names = [subject?.CN ?? []].flat().filter(Boolean);
  if (names.length > 0) return names.join(", ");
  // A value that has a comma stands in quotes.
  return /^(?:"[^"]*"|[^,"])+/.exec(subjectaltname ?? "")?.[0];
}

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
const NOT_VERIFIED = {
  words: "resumed session, whose client certificate these authorities have not verified",
  alert: CERTIFICATE_UNKNOWN,
};
/** Deno does not ask for proof that the client has the key of such a one. */
const VERSION_1 = { words: "client certificate of X.509 version 1", alert: 43 };

const EXPIRED = { words: "client certificate expired", alert: 45 };
const NOT_VALID_YET = { words: "client certificate not valid yet", alert: 42 };

/** What is wrong now with the time for which a certificate was made. */
function validityFault(der: Uint8Array): CertificateFault | undefined {
  const { validFrom, validTo } = new X509Certificate(der);
  if (Date.parse(validTo) < Date.now()) return EXPIRED;
  return Date.parse(validFrom) > Date.now() ? NOT_VALID_YET : undefined;
}

/** `code` is what the verification said of the certificate, whose bytes are `der`. */
function faultOf(code: string, der: Uint8Array | undefined): CertificateFault {
  switch (code) {
    case "CERT_HAS_EXPIRED":
      return EXPIRED;
    case "CERT_NOT_YET_VALID":
      return NOT_VALID_YET;
    case "DEPTH_ZERO_SELF_SIGNED_CERT":
    case "UNABLE_TO_VERIFY_LEAF_SIGNATURE":
      // Deno says the same of one that is out of date.
      if (der === undefined) return UNKNOWN_AUTHORITY;
      return validityFault(der) ?? (isForClients(der) ? UNKNOWN_AUTHORITY : NOT_FOR_CLIENTS);
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

/** Two sequences, and then the version, which only later ones have. */
function isVersion1(der: Uint8Array): boolean {
  const at = contentOf(der, contentOf(der, 0));
  return der[at] !== VERSION_TAG;
}

const VERSION_TAG = 0xA0;

/** Where the content of the element at `at` begins: behind its tag and its length. */
function contentOf(der: Uint8Array, at: number): number {
  const length = der[at + 1]!;
  return at + 2 + (length < 0x80 ? 0 : length & 0x7F);
}
