/**
 * How a connection is closed so that its client learns why.
 *
 * @module
 */

import type { ByteStream } from "../../poller.ts";
import { type Sink, writeAll } from "../io.ts";

/** How long a client that is closed may take to make room for close_notify, or read its alert. */
export const FAREWELL_MS = 100;

const READ_BYTES = 4 * 1024;

/** Sends an alert, and closes the stream when the client has had the time to read it. */
export async function sayFarewell(stream: ByteStream, alert: Uint8Array): Promise<void> {
  const timer = setTimeout(() => closeQuietly(stream), FAREWELL_MS);
  try {
    await writeAll(stream as Sink, alert);
    await readToEnd(stream);
  } catch {
    // It is gone.
  }
  clearTimeout(timer);
  closeQuietly(stream);
}

/** What a client has sent and nobody read would make the close a reset, which could overtake the alert. */
export async function readToEnd(stream: ByteStream): Promise<void> {
  await stream.closeWrite?.();
  const bytes = new Uint8Array(READ_BYTES);
  while (await stream.read(bytes) !== null);
}

/** Closes a stream that may have been closed before, to end a handshake. */
export function closeQuietly(stream: ByteStream): void {
  try {
    stream.close?.();
  } catch {
    // A second close throws.
  }
}
