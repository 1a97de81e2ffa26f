/**
 * What clients do that do not behave. Nothing of theirs is accounted for.
 *
 * @module
 */

import type { Caller } from "./caller.ts";
import { random } from "./random.ts";
import { sleep } from "./servers.ts";

const CHUNK_BYTES = 64 * 1024;
const MOST_SECONDS = 10;

export type Manner = (caller: Caller) => Promise<void>;

/** Bytes as they come, about one in 256 of them an LF. */
async function binary(caller: Caller): Promise<void> {
  for (let chunks = 8; chunks > 0; chunks--) {
    await caller.write(crypto.getRandomValues(new Uint8Array(CHUNK_BYTES)));
  }
}

/** Each byte is a record. */
async function lineFeeds(caller: Caller): Promise<void> {
  for (let chunks = 5; chunks > 0; chunks--) await caller.write("\n".repeat(10_000));
}

/** One line, which is never ended. */
async function endless(caller: Caller): Promise<void> {
  for (let chunks = 32; chunks > 0; chunks--) await caller.write("endless ".repeat(8192));
}

/** Asks, and does not read the answers: more than a client may be owed. */
async function deafAsker(caller: Caller): Promise<void> {
  caller.pause();
  const question = `ask ${"y".repeat(4000)}\n`;
  for (let asks = 800; asks > 0; asks--) await caller.write(question);
}

/** A byte now and then, of what drives terminals. */
async function drip(caller: Caller): Promise<void> {
  for (let bytes = 60; bytes > 0; bytes--) {
    await caller.write("\x1B[2J\x9B\u202E\x00\r%n'\""[random(12)]!);
    await sleep(50);
  }
}

/** Other protocols. */
async function stranger(caller: Caller): Promise<void> {
  const words = ["GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00", "PROXY TCP4 1.2.3.4"];
  await caller.write(words[random(words.length)]!);
  await sleep(random(1000));
}

/** Says nothing; a TLS port gives it up. */
async function hang(): Promise<void> {
  await sleep(1000 * MOST_SECONDS);
}

export const FLOODS: readonly Manner[] = [binary, lineFeeds, endless, deafAsker, drip, stranger];
export const BAD_HANDSHAKES: readonly Manner[] = [stranger, hang, binary];
export const BAD_FORWARDS: readonly Manner[] = [binary, lineFeeds, drip];

/** Does one of `manners`, and leaves in a way of its own. */
export async function misbehave(
  connect: () => Promise<Caller>,
  manners: readonly Manner[],
): Promise<void> {
  const caller = await connect();
  const manner = manners[random(manners.length)]!;
  await Promise.race([manner(caller), caller.closed, sleep(1000 * MOST_SECONDS)]);
  if (random(2) === 0) return await caller.reset();
  await Promise.race([caller.end(), sleep(1000)]);
  await caller.reset();
}
