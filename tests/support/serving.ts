/**
 * A server in this process, and what it logged. Not published.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import type { Acceptor } from "../../poller.ts";
import { encode } from "../../lib/bytes.ts";
import { type Config, type Io, parseConfig, startServer } from "../../main.ts";
import { writeAll } from "../../lib/io.ts";
import { Capture } from "./capture.ts";
import { replaced } from "./replaced.ts";

export const NOW_MS = Date.UTC(2026, 10, 22, 23, 31, 5, 123);

/** The configuration of a command line that asks for a server. */
function configOf(args: readonly string[]): Config {
  const config = parseConfig(args);
  if (typeof config === "string") throw new Error(`Not a server: ${config}`);
  return config;
}

/** A server in this process, with its output captured and its clock standing still. */
export async function serve(args: readonly string[], overrides: Partial<Io> = {}) {
  const out = new Capture();
  const err = new Capture();
  const io: Io = {
    stdin: { read: () => Promise.resolve(null) },
    stdout: out,
    stderr: err,
    wantsColor: false,
    now: () => NOW_MS,
    exit: (code) => {
      throw new Error(`exit(${code})`);
    },
    ...overrides,
  };
  const where = args.includes("--unix") || args.includes("--udp") ? [] : ["--port", "0"];
  const server = await startServer(configOf([...where, ...args]), io);
  const [addr] = server.addrs;
  const { hostname, port } = { hostname: "127.0.0.1", port: 0, ...addr } as Deno.NetAddr;
  return {
    server,
    out,
    err,
    port,
    connect: () => Deno.connect({ hostname: hostname === "::" ? "127.0.0.1" : hostname, port }),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/** A server whose clients are streams in memory. */
export async function serveFrom(
  listener: Acceptor,
  args: readonly string[],
  overrides: Partial<Io> = {},
) {
  const holdsNothing = { ref() {}, unref() {} };
  using _ = replaced("listen", () => Object.assign(listener, holdsNothing));
  return await serve(args, overrides);
}

/** The lines logged of one client that sends `bytes` and ends. */
export async function logOf(args: readonly string[], bytes: Uint8Array): Promise<string[]> {
  await using running = await serve(["--time", "none", ...args]);
  using client = await running.connect();
  await writeAll(client, bytes);
  await client.closeWrite();
  await running.out.until("disconnected");
  return running.out.lines;
}

/** What was logged of a connection. */
export interface Heard {
  bytes: number[];
  end?: { bytes: number; lines: number; reason: string };
}

/** What was logged as json, by the port of the client; checks that records come in their order. */
export function heardIn(lines: readonly string[]): Map<number, Heard> {
  const all = new Map<number, Heard>();
  for (const line of lines) {
    const record = JSON.parse(line);
    const heard = all.get(record.port);
    if (record.event === "connected") {
      assertEquals(heard, undefined);
      all.set(record.port, { bytes: [] });
      continue;
    }
    if (!heard || heard.end) throw new Error(`Out of order: ${line}`);
    if (record.event === "line") {
      const { message, message_base64, cut } = record;
      const bytes = message_base64 ? Uint8Array.fromBase64(message_base64) : encode(message);
      heard.bytes.push(...bytes);
      if (!cut) heard.bytes.push(0x0A);
    } else {
      heard.end = record;
    }
  }
  return all;
}
