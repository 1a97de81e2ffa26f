/**
 * The page without a log, and somebody who watches its events. Not published.
 *
 * @module
 */

import { DescriptorReserve } from "../../lib/descriptor_reserve.ts";
import { assert, assertMatch } from "@std/assert";
import { encode } from "../../lib/bytes.ts";
import { InternalErrors } from "../../lib/messages.ts";
import { History } from "../../lib/records/history.ts";
import type { Subject } from "../../lib/records/records.ts";
import type { Watched } from "../../lib/web/roster.ts";
import { Web, type WebOptions } from "../../lib/web/web.ts";

/** What an answer begins with. */
export function statusOf(answer: string): number {
  return Number(answer.split(" ")[1]);
}

/** What an answer has behind its headers. */
export function bodyOf(answer: string): string {
  return answer.slice(answer.indexOf("\r\n\r\n") + 4);
}

export function messagesOf(records: readonly { readonly message: string }[]): string[] {
  return records.map(({ message }) => message);
}

export function subjectOf(number: number) {
  return { number, peer: { kind: "ip", host: "127.0.0.1", port: 5000 + number } } as const;
}

/** A connection as the list shows it. */
export function watchedOf(number: number, rest: Partial<Watched> = {}): Watched {
  return {
    subject: subjectOf(number),
    connectedAtMs: 0,
    talkedAtMs: -Infinity,
    lines: 2,
    bytes: 25,
    ...rest,
  };
}

const ALICE = subjectOf(1);

/** A server without a log; its only client is #1 unless others are given. */
export class Stage implements AsyncDisposable {
  readonly history = new History();
  trouble: string | undefined;
  readonly said: string[] = [];
  readonly web: Web;

  constructor(options: Partial<WebOptions> = {}) {
    this.web = new Web({
      host: "127.0.0.1",
      port: 0,
      history: this.history,
      clients: new Set([watchedOf(1)]),
      hostNames: [],
      sendToClients: undefined,
      internalErrors: new InternalErrors((message) => this.said.push(message)),
      totals: () => ({ open: 1, lines: 2 }),
      metrics: () => "earshot_lines_total 2\n",
      trouble: () => this.trouble,
      isLogShort: () => false,
      reserve: new DescriptorReserve(0),
      say: () => {},
      example: "nc 127.0.0.1 1234",
      now: Date.now,
      ...options,
    });
  }

  get port(): number {
    return this.web.addr.port;
  }

  /** Somebody says lines. */
  say(texts: string | readonly string[], from: Subject = ALICE): void {
    for (const text of [texts].flat()) {
      const bytes = encode(text);
      this.history.received(from, bytes, 0, bytes.length, true, Date.now());
    }
  }

  connect(): Promise<Deno.TcpConn> {
    return Deno.connect({ hostname: "127.0.0.1", port: this.port });
  }

  /** The whole answer to a request as it stands. */
  async ask(request: string): Promise<string> {
    using conn = await this.connect();
    await conn.write(encode(request));
    return await new Response(conn.readable).text();
  }

  get(path: string, host = "localhost", method = "GET"): Promise<string> {
    return this.ask(`${method} ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.web.finish();
  }
}

export interface ServerEvent {
  readonly name: string;
  readonly id: string | undefined;
  // deno-lint-ignore no-explicit-any -- what was sent is what is tested
  readonly data: any;
}

/** Reads the events of one stream. */
export class Watcher implements Disposable {
  readonly #conn: Deno.TcpConn;
  readonly #chunks: ReadableStreamDefaultReader<string>;
  #text = "";

  private constructor(conn: Deno.TcpConn) {
    this.#conn = conn;
    this.#chunks = conn.readable.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** Opens a stream; `lastId` is given back as browsers do. */
  static async open(
    stage: Pick<Stage, "connect">,
    query?: string,
    lastId?: string,
  ): Promise<Watcher> {
    const conn = await stage.connect();
    const header = lastId === undefined ? "" : `Last-Event-ID: ${lastId}\r\n`;
    await conn.write(
      encode(`GET /events${query ?? ""} HTTP/1.1\r\nHost: localhost\r\n${header}\r\n`),
    );
    const stream = new Watcher(conn);
    assertMatch(await stream.#block(), /^HTTP\/1.1 200 OK[^]*content-type: text\/event-stream/i);
    return stream;
  }

  async #block(): Promise<string> {
    for (;;) {
      const [, block, rest] = /^([^]*?)\r?\n\r?\n([^]*)$/.exec(this.#text) ?? [];
      if (block !== undefined) {
        this.#text = rest!;
        return block;
      }
      const { value, done } = await this.#chunks.read();
      if (done) return "event: end\ndata: null";
      this.#text += value;
    }
  }

  async next(): Promise<ServerEvent> {
    const fields = Object.fromEntries(
      (await this.#block()).split("\n").map((line) => /^(\w+): (.*)$/.exec(line)!.slice(1)),
    );
    return { name: fields.event, id: fields.id, data: JSON.parse(fields.data) };
  }

  /** Messages of records, until so many have come. */
  async messages(count: number): Promise<string[]> {
    const messages: string[] = [];
    while (messages.length < count) messages.push(...messagesOf(await this.nextOf("records")));
    return messages;
  }

  /** The data of the next event of this name. */
  async nextOf(name: string): Promise<ServerEvent["data"]> {
    for (;;) {
      const event = await this.next();
      if (event.name === name) return event.data;
      assert(event.name !== "end", `the stream ended before ${name}`);
    }
  }

  [Symbol.dispose](): void {
    this.#chunks.cancel().catch(() => {});
    this.#conn[Symbol.dispose]();
  }
}
