/**
 * Connections over loopback. Not published.
 *
 * @module
 */

import { once } from "node:events";
import { createConnection } from "node:net";

/** Both ends of one loopback connection; disposing closes both. */
export async function tcpPair() {
  using listener = listenLocal();
  const [client, server] = await Promise.all([connect(listener), listener.accept()]);
  const ends = new DisposableStack();
  ends.use(client);
  ends.use(server);
  return { client, server, [Symbol.dispose]: () => ends.dispose() };
}

export function listenLocal(): Deno.TcpListener {
  return Deno.listen({ hostname: "127.0.0.1", port: 0 });
}

export function connect(listener: Deno.TcpListener): Promise<Deno.TcpConn> {
  return Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
}

/**
 * A port that was free a moment ago, and none of those that the system gives to clients:
 * one that tries such a port before anybody listens there may be connected to itself.
 */
export function freePort(): number {
  for (;;) {
    const port = 20_000 + Math.floor(10_000 * Math.random());
    try {
      Deno.listen({ hostname: "127.0.0.1", port }).close();
      return port;
    } catch {
      // It is taken.
    }
  }
}

export async function connectTo(port: number) {
  return await Deno.connect({ hostname: "127.0.0.1", port });
}

/** A connection that the peer's kernel resets: it was never accepted when its listener closed. */
export async function resetConnection(): Promise<Deno.TcpConn> {
  using listener = listenLocal();
  return await connect(listener);
}

/** Connects and resets at once. */
export async function connectAndReset(port: number): Promise<void> {
  const conn = createConnection(port, "127.0.0.1");
  conn.on("error", () => {});
  await once(conn, "connect");
  const closed = once(conn, "close");
  conn.resetAndDestroy();
  await closed;
}

/** How many connections at a local port a process holds a descriptor of (Linux). */
export function heldAt(port: number): number {
  const rows = Deno.readTextFileSync("/proc/net/tcp").split("\n").slice(1, -1);
  const local = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const [LISTENING, NOBODY] = ["0A", "0"];
  return rows.map((row) => row.trim().split(/\s+/)).filter((fields) => {
    return fields[1]!.endsWith(local) && fields[3] !== LISTENING && fields[9] !== NOBODY;
  }).length;
}

/** Reads until there are `count` bytes or the end. */
export async function readUpTo(conn: Deno.Conn, count: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(count);
  let length = 0;
  while (length < count) {
    const read = await conn.read(bytes.subarray(length));
    if (read === null) break;
    length += read;
  }
  return bytes.subarray(0, length);
}
