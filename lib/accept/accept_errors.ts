/**
 * What it means when accepting a connection fails, for whoever accepts.
 *
 * @module
 */

import { codeOf } from "../errors.ts";

/** What an error of `accept()` means. */
export type AcceptFault =
  /** One client's: it was gone before its turn came. */
  | "lost client"
  /** Descriptors or memory are missing, which clients can take, and keep as long as they like. */
  | "shortage"
  /** The listener itself is gone. */
  | "gone"
  /** The network, or a rule of the system's: it may pass. */
  | "trouble";

const LOST_CLIENT_CODES = new Set([
  "ENOTCONN",
  "ECONNRESET",
  "ECONNABORTED",
  "EINTR",
  "EPROTO",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
]);
const SHORTAGE_CODES = new Set(["EMFILE", "ENFILE", "ENOMEM", "ENOBUFS"]);
const GONE_CODES = new Set(["EBADF", "ENOTSOCK"]);

/** Says what an error of `accept()` means. */
export function acceptFaultOf(error: unknown): AcceptFault {
  const code = codeOf(error) ?? "";
  if (LOST_CLIENT_CODES.has(code) || isLostClient(error)) return "lost client";
  if (SHORTAGE_CODES.has(code)) return "shortage";
  return GONE_CODES.has(code) || error instanceof Deno.errors.BadResource ? "gone" : "trouble";
}

/** Deno gives some errors a class and no code. */
function isLostClient(error: unknown): boolean {
  const { NotConnected, ConnectionReset, ConnectionAborted, Interrupted } = Deno.errors;
  return error instanceof NotConnected || error instanceof ConnectionReset ||
    error instanceof ConnectionAborted || error instanceof Interrupted;
}
