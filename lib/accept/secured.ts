/**
 * What the ways to put TLS on a stream have in common.
 *
 * @module
 */

import type { ByteStream } from "../../poller.ts";
import { reasonOf } from "../errors.ts";
import { nameIn } from "./client_certificates.ts";
import { HandshakeError } from "./handshake_faults.ts";

/** What a handshake gives. */
export interface Secured {
  /** The plain text; closing it closes the stream below. */
  readonly stream: ByteStream;
  /** The name in the client's certificate, if one was asked for and has one. */
  readonly certificate?: string;
}

/** A way to put TLS on streams, with one certificate. */
export interface ServerSide {
  /** What {@linkcode Tls.secure} promises. */
  secure(stream: ByteStream): Promise<Secured>;
}

/** `der` is the certificate of the client, if it has one. */
export function securedOf(stream: ByteStream, der: Uint8Array | undefined): Secured {
  const certificate = der && nameIn(der);
  return certificate === undefined ? { stream } : { stream, certificate };
}

/** The stream has ended during the handshake. */
export function closedByClient(): HandshakeError {
  return new HandshakeError("closed", "closed by the client");
}

/** Why a handshake has failed that its stream has ended. */
export function endOf(error: unknown): HandshakeError {
  if (error instanceof HandshakeError) return error;
  const isReset = error instanceof Deno.errors.ConnectionReset;
  return new HandshakeError("closed", isReset ? "reset by peer" : reasonOf(error));
}

const ALERT = [21, 3, 3, 0, 2];
const FATAL = 2;

/** An alert of TLS 1.2, in a record that is not encrypted. */
export function fatalAlert(description: number): Uint8Array {
  return Uint8Array.of(...ALERT, FATAL, description);
}
