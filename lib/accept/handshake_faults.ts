/**
 * Why connections do not become clients: in a few fixed words for whoever counts, and
 * in a sentence for whoever reads the record.
 *
 * @module
 */

/** What there is to count. */
export const HANDSHAKE_FAULTS = [
  "bad PROXY header",
  "certificate refused",
  "client alert",
  "closed",
  "damaged",
  "no certificate",
  "no common cipher",
  "not TLS",
  "other",
  "timeout",
] as const;

/** One of {@linkcode HANDSHAKE_FAULTS}. */
export type HandshakeFault = typeof HANDSHAKE_FAULTS[number];

/** A handshake that failed; the message is the reason, in a user's words. */
export class HandshakeError extends Error {
  /** "HandshakeError". */
  override readonly name = "HandshakeError";
  readonly fault: HandshakeFault;

  constructor(fault: HandshakeFault, message: string) {
    super(message);
    this.fault = fault;
  }
}

/** The client has left without a word, as a probe does: that is no failure. */
export class SilentEnd extends Error {
  /** "SilentEnd". */
  override readonly name = "SilentEnd";
}
