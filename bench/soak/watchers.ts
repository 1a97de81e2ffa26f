/**
 * Who watches the live page: streams of events that come and go.
 *
 * @module
 */

import { tokenIn } from "./ledger.ts";
import { random } from "./random.ts";
import { sleep } from "./servers.ts";

/** So long may an answer, or the next event, take beyond what it should. */
const LIMIT_MS = 20_000;

/** What watchers have seen, together. */
export class Watching {
  visits = 0;
  records = 0;
  /** Lines of a chosen client that were not shown, though it talks slowly. */
  gaps = 0;
  readonly failures: string[] = [];

  /** Watches all clients, or those of a host, for so long. */
  async watch(url: string, host: string | undefined, seconds: number): Promise<void> {
    this.visits++;
    const query = host === undefined ? "" : `?host=${host}`;
    const signal = AbortSignal.timeout(seconds * 1000 + LIMIT_MS);
    const late = new Promise<never>((_, reject) => {
      signal.addEventListener("abort", () => reject(new Error("no event came in time")));
    });
    late.catch(() => {});
    try {
      const { status, body } = await fetch(`${url}events${query}`, { signal });
      if (status !== 200) throw new Error(`status ${status}`);
      const untilMs = performance.now() + seconds * 1000;
      await Promise.race([this.#read(body!, host !== undefined, untilMs), late]);
    } catch (error) {
      this.failures.push(`${url}: ${error}`);
    }
  }

  /** There is an event each second, so the end is seen by it. */
  async #read(body: ReadableStream<Uint8Array>, isChosen: boolean, untilMs: number): Promise<void> {
    const next = new Map<string, number>();
    let rest = "";
    for await (const text of body.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      for (const line of lines) {
        if (line.startsWith("data: ")) this.#see(JSON.parse(line.slice(6)), isChosen, next);
      }
      if (performance.now() > untilMs) return;
    }
    throw new Error("the stream of events has ended");
  }

  #see(data: { records?: unknown[] } | unknown[], isChosen: boolean, next: Map<string, number>) {
    const records = (Array.isArray(data) ? data : data.records ?? []) as { message?: string }[];
    this.records += records.length;
    if (!isChosen) return;
    for (const { message } of records) {
      const token = tokenIn(message ?? "");
      if (!token) continue;
      const key = `${token.verb} ${token.visit}`;
      const expected = next.get(key) ?? token.number;
      if (token.number !== expected) this.gaps++;
      next.set(key, token.number + 1);
    }
  }

  /** Asks for events, and never reads them. */
  async ignore(url: string, seconds: number): Promise<void> {
    this.visits++;
    const { hostname, port } = new URL(url);
    try {
      using conn = await Deno.connect({ hostname, port: Number(port) });
      const request = `GET /events HTTP/1.1\r\nHost: ${hostname}\r\n\r\n`;
      await conn.write(new TextEncoder().encode(request));
      await sleep(seconds * 1000);
    } catch (error) {
      this.failures.push(`${url}: ${error}`);
    }
  }
}

/** Comes and goes until it is over; one in five does not read. */
export async function watchNowAndThen(
  watching: Watching,
  urls: readonly string[],
  hosts: readonly string[],
  isOver: () => boolean,
): Promise<void> {
  while (!isOver()) {
    const url = urls[random(urls.length)]!;
    const host = random(2) === 0 ? hosts[random(hosts.length)] : undefined;
    const seconds = 3 + random(15);
    if (random(5) === 0) await watching.ignore(url, seconds);
    else await watching.watch(url, host, seconds);
    await sleep(random(3000));
  }
}
