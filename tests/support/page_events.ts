/**
 * The page with a server that says only what a test tells it to. Not published.
 *
 * @module
 */

import { encode } from "../../lib/bytes.ts";
import { livePage } from "../../lib/web/page.ts";

export type Members = Record<string, unknown>;

/** What a listing, a record or figures have unless a test says otherwise. */
const ADDRESS = { host: "127.0.0.1" };
const TOTALS = { connections: 0, refused: 0, bytes: 0, cut: 0, datagrams: 0 };

export class PageEvents implements AsyncDisposable {
  /** What was asked for, with what was sent along. */
  readonly asked: { readonly url: URL; readonly body?: unknown }[] = [];
  /** Answers what is no page and no stream. */
  other: (url: URL) => Response = () => new Response("Not found\n", { status: 404 });
  /** What a stream begins with. */
  snapshot: (url: URL) => Members = () => ({ records: [] });
  clients: Members[] = [];
  isRefusing = false;
  run = "first";
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #streams = new Set<ReadableStreamDefaultController<Uint8Array>>();
  readonly #stop = new AbortController();
  #seconds = Date.UTC(2026, 10, 28, 21) / 1000;
  #lastId = 0;

  constructor() {
    const { signal } = this.#stop;
    const options = { hostname: "127.0.0.1", port: 0, signal, onListen() {} };
    this.#server = Deno.serve(options, (request) => this.#answer(request));
  }

  get url(): string {
    return `http://127.0.0.1:${this.#server.addr.port}/`;
  }

  /** What the streams were asked for, in order. */
  get queries(): string[] {
    return this.asked.filter(({ url }) => url.pathname === "/events").map(({ url }) => url.search);
  }

  get streams(): number {
    return this.#streams.size;
  }

  async #answer(request: Request): Promise<Response> {
    const url = new URL(request.url);
    if (url.pathname === "/") {
      const { html, policy } = livePage();
      const headers = { "content-type": "text/html", "content-security-policy": policy };
      return new Response(html, { headers });
    }
    const body = request.method === "POST" ? await request.json() : undefined;
    this.asked.push({ url, ...body && { body } });
    if (url.pathname !== "/events") return this.other(url);
    if (this.isRefusing) return new Response("Too many watchers\n", { status: 503 });
    return new Response(this.#open(url), { headers: { "content-type": "text/event-stream" } });
  }

  #open(url: URL): ReadableStream<Uint8Array> {
    let stream: ReadableStreamDefaultController<Uint8Array>;
    return new ReadableStream({
      start: (controller) => {
        stream = controller;
        this.#streams.add(stream);
        const { run } = this;
        const example = "nc 127.0.0.1 1234";
        const whole = { ...this.#figures(), run, example, ...this.snapshot(url) };
        stream.enqueue(eventOf("snapshot", whole, `id-${++this.#lastId}`));
      },
      cancel: () => void this.#streams.delete(stream),
    });
  }

  #figures() {
    const open = this.clients.filter(({ connection }) => connection !== undefined).length;
    const lines = this.clients.reduce((sum, client) => sum + Number(client.lines), 0);
    const { length: total } = this.clients;
    return { clients: this.clients.slice(0, 200), total, totals: { ...TOTALS, open, lines } };
  }

  #send(name: string, data: unknown, id?: string): void {
    for (const stream of this.#streams) stream.enqueue(eventOf(name, data, id));
  }

  say(...records: Members[]): void {
    this.#send("records", records, `id-${++this.#lastId}`);
  }

  /** The figures of a second. */
  tick(skipped = 0): void {
    this.#send("stats", { ...this.#figures(), skipped });
  }

  /** Connections break. */
  drop(): void {
    for (const stream of this.#streams) stream.close();
    this.#streams.clear();
  }

  /** A client is listed. */
  list(connection: number, more: Members = {}): void {
    const port = 50_000 + connection;
    const since = "2026-11-28T21:00:00.000Z";
    const figures = { since, lines: 0, bytes: 0, rate: 0, silent: 0 };
    this.clients.push({ connection, ...ADDRESS, port, ...figures, ...more });
  }

  /** A record, a tenth of a second after the one before, or so many seconds. */
  record(connection: number, message: string, more: Members = {}, seconds = 0.1): Members {
    this.#seconds += seconds;
    const timestamp = new Date(this.#seconds * 1000).toISOString();
    const port = 50_000 + connection;
    return { timestamp, event: "line", connection, ...ADDRESS, port, message, ...more };
  }

  /** So many lines of a client. */
  lines(connection: number, count: number, word = "line"): Members[] {
    return Array.from({ length: count }, (_, i) => this.record(connection, `${word} ${i}.`));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.drop();
    this.#stop.abort();
    await this.#server.finished;
  }
}

function eventOf(name: string, data: unknown, id?: string): Uint8Array {
  const head = id === undefined ? "" : `id: ${id}\n`;
  return encode(`event: ${name}\n${head}data: ${JSON.stringify(data)}\n\n`);
}
