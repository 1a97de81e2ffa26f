/**
 * The live page, its events, and metrics over HTTP.
 *
 * @module
 */

import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import { isIP } from "node:net";
import { bracketed } from "../addresses.ts";
import { encode } from "../bytes.ts";
import { HttpPort } from "./http.ts";
import { PAGE, PAGE_POLICY } from "./page.ts";
import { EventStreams, type EventStreamsOptions } from "./event_stream.ts";
import type { Say } from "../messages.ts";

export interface WebOptions extends EventStreamsOptions {
  readonly host: string;
  readonly port: number;
  /** Prometheus's text. */
  metrics(): string;
  /** Why the log is in trouble, if it is. */
  trouble(): string | undefined;
  /** Whether it is because connections cannot be accepted. */
  isLogShort(): boolean;
  readonly say: Say;
}

const HEADERS = {
  "cache-control": "no-store",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
};

const PLAIN = "text/plain; charset=utf-8";

/** Answers what was asked for; returns whether the answer is a stream. */
type Route = (response: ServerResponse, isHead: boolean) => boolean;

export class Web {
  readonly #options: WebOptions;
  readonly #eventStreams: EventStreams;
  readonly #http: HttpPort;
  readonly #routes: Record<string, Route> = {
    "/": sendPage,
    "/events": (response, isHead) => this.#sendEvents(response, isHead),
    "/metrics": (response) =>
      send(response, 200, this.#options.metrics(), "text/plain; version=0.0.4; charset=utf-8"),
    "/healthz": (response) => this.#sendHealth(response),
  };

  /** Listens at once; throws a `Failure` if it cannot. */
  constructor(options: WebOptions) {
    this.#options = options;
    this.#eventStreams = new EventStreams(options);
    this.#http = new HttpPort({
      host: options.host,
      port: options.port,
      answer: (request, response) => this.#answer(request, response),
      isLogShort: () => options.isLogShort(),
      say: options.say,
    });
  }

  /** The address listened on, with the real port. */
  get addr(): Deno.NetAddr {
    return this.#http.addr;
  }

  /** Where the page is, in words for the operator. */
  get greeting(): string {
    const { hostname, port } = this.addr;
    const warning = hostname.startsWith("127.") || hostname === "::1"
      ? ""
      : " (no password: whoever reaches this address can read the log)";
    return `watch at http://${bracketed(hostname)}:${port}/${warning}`;
  }

  #answer({ method, url = "/", headers }: IncomingMessage, response: ServerResponse): boolean {
    const { host, path } = targetOf(url, headers.host);
    const route = Object.hasOwn(this.#routes, path) ? this.#routes[path] : undefined;
    // These two hold no client's words, and are asked for by any name.
    const isOpen = path === "/metrics" || path === "/healthz";
    if (!isOpen && !this.#isKnown(host) || !isOpen && !this.#isKnown(headers.host)) {
      return send(response, 421, "Misdirected: open the page by its address or as localhost\n");
    }
    if (method !== "GET" && method !== "HEAD") {
      return send(response, 405, "Only GET and HEAD\n", PLAIN, { allow: "GET, HEAD" });
    }
    return route ? route(response, method === "HEAD") : send(response, 404, "Not found\n");
  }

  /**
   * A page of somebody else's can make its own name point here. So only names are
   * known that nobody else can own.
   */
  #isKnown(host: string | undefined): boolean {
    const name = nameOf(host);
    return isIP(name) !== 0 || name === "localhost" || name === this.#options.host.toLowerCase();
  }

  #sendEvents(response: ServerResponse, isHead: boolean): boolean {
    const headers = { ...HEADERS, "content-type": "text/event-stream" };
    if (this.#eventStreams.isFull) {
      return send(response, 503, "Too many watchers\n", PLAIN, { "retry-after": "5" });
    }
    // Nothing is gained by chunks in a stream that ends with its connection.
    response.useChunkedEncodingByDefault = false;
    response.writeHead(200, headers);
    if (isHead) response.end();
    else this.#eventStreams.add(response);
    return !isHead;
  }

  #sendHealth(response: ServerResponse): boolean {
    const trouble = this.#options.trouble();
    return trouble === undefined
      ? send(response, 200, "ok\n")
      : send(response, 503, `${trouble}\n`);
  }

  /** Sends the last records, ends the streams, and frees the port. */
  async finish(): Promise<void> {
    this.#eventStreams.finish();
    await this.#http.close();
  }
}

function sendPage(response: ServerResponse): boolean {
  return send(response, 200, PAGE, "text/html; charset=utf-8", {
    "content-security-policy": PAGE_POLICY,
  });
}

/** Sends an answer; to HEAD, `node:http` sends its headers alone. */
function send(
  response: ServerResponse,
  status: number,
  body: string,
  type = PLAIN,
  headers: OutgoingHttpHeaders = {},
): boolean {
  const { length } = encode(body);
  response.writeHead(status, {
    ...HEADERS,
    "content-type": type,
    "content-length": length,
    ...headers,
  });
  response.end(body);
  return false;
}

/** Host and path that are asked for; an absolute target has a host of its own. */
function targetOf(url: string, host: string | undefined): { host?: string; path: string } {
  const [, absolute, rest = "/"] = /^https?:\/\/([^/?#]*)([^#]*)$/i.exec(url) ?? [, host, url];
  const path = rest.replace(/\?.*$/s, "") || "/";
  return absolute === undefined ? { path } : { host: absolute, path };
}

/** A host without its port, brackets and a user's name. */
function nameOf(host = ""): string {
  const [, ipv6, name = ""] = /^(?:\[([^\]]*)\]|([^:@]*))(?::\d*)?$/.exec(host) ?? [];
  return (ipv6 ?? name).toLowerCase();
}
