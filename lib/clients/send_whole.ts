/**
 * Sends to a socket whatever its size.
 *
 * @module
 */

import type { Socket } from "../../poller.ts";

/**
 * Sends all of it, however little room there is below `limitBytes`; then there is none until
 * that is taken. Throws what the socket throws.
 */
export function sendWhole(socket: Socket, bytes: Uint8Array, limitBytes: number): void {
  socket.sendBufferBytes = Math.max(limitBytes, socket.unsentBytes + bytes.length);
  try {
    socket.send(bytes);
  } finally {
    socket.sendBufferBytes = limitBytes;
  }
}
