/**
 * The live page, its events, and metrics over HTTP.
 *
 * @module
 */

import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import { bracketed } from "../addresses.ts";
import { encode } from "../bytes.ts";
import type { InternalErrors, Say } from "../messages.ts";
import { choiceOf, QueryError } from "./choice.ts";
import { EventStreams, type EventStreamsOptions } from "./event_stream.ts";
import { KnownHosts, targetOf } from "./hosts.ts";
import type { DescriptorReserve } from "../descriptor_reserve.ts";
import { HttpPort } from "./http.ts";
import { type LivePage, livePage } from "./page.ts";
import { Sending, type SendResult, type SendToClients } from "./sending.ts";

export interface WebOptions extends Omit<EventStreamsOptions, "isInteractive"> {
  readonly host: string;
  readonly port: number;
  /** Other names that the page may be asked for by. */
  readonly hostNames: readonly string[];
  /** Sends to clients what the page's reply box says, if it may. */
  readonly sendToClients: SendToClients | undefined;
  /** Prometheus's text. */
  metrics(): string;
  /** Why the log is in trouble, if it is. */
  trouble(): string | undefined;
  /** Whether it is because connections cannot be accepted. */
  isLogShort(): boolean;
  readonly reserve: DescriptorReserve;
  readonly say: Say;
  readonly internalErrors: InternalErrors;
}

const HEADERS = {
  "cache-control": "no-store",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
};

const PLAIN = "text/plain; charset=utf-8";

/** A request whose host is known. */
interface Asked {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly query: URLSearchParams;
  readonly isHead: boolean;
}

interface Route {
  readonly methods: readonly string[];
  /** Whether it holds no client's words, and is asked for by any name. */
  readonly isOpen?: true;
  /** Answers what was asked for; returns whether the answer is a stream. */
  answer(asked: Asked): boolean;
}

const READING = ["GET", "HEAD"] as const;
const METRICS = "text/plain; version=0.0.4; charset=utf-8";
const JSON_TYPE = "application/json";

export class Web {
  readonly #options: WebOptions;
  readonly #eventStreams: EventStreams;
  readonly #http: HttpPort;
  readonly #hosts: KnownHosts;
  readonly #sending: Sending | undefined;
  readonly #routes: ReadonlyMap<string, Route>;

  /** Listens at once; throws a `Failure` if it cannot. */
  constructor(options: WebOptions) {
    const { host, port, hostNames, sendToClients, say, internalErrors } = options;
    this.#options = options;
    this.#hosts = new KnownHosts(host, hostNames);
    this.#sending = sendToClients && new Sending(sendToClients);
    const isInteractive = sendToClients !== undefined;
    this.#eventStreams = new EventStreams({ ...options, isInteractive });
    this.#routes = new Map(this.#makeRoutes());
    this.#http = new HttpPort({
      host,
      port,
      answer: (request, response) => this.#answer(request, response),
      isLogShort: () => options.isLogShort(),
      reserve: options.reserve,
      say,
      internalErrors,
    });
  }

  *#makeRoutes(): Generator<[string, Route]> {
    const { metrics } = this.#options;
    const page = livePage();
    yield ["/", { methods: READING, answer: ({ response }) => sendPage(response, page) }];
    yield ["/events", { methods: READING, answer: (asked) => this.#sendEvents(asked) }];
    yield ["/clients", {
      methods: READING,
      answer: ({ response, query }) =>
        send(response, 200, this.#eventStreams.roster.page(query), JSON_TYPE),
    }];
    yield ["/metrics", {
      methods: READING,
      isOpen: true,
      answer: ({ response }) => send(response, 200, metrics(), METRICS),
    }];
    yield ["/healthz", {
      methods: READING,
      isOpen: true,
      answer: ({ response }) => this.#sendHealth(response),
    }];
    const sending = this.#sending;
    if (!sending) return;
    yield ["/send", { methods: ["POST"], answer: (asked) => this.#takeOrder(sending, asked) }];
  }

  /** The address listened on, with the real port. */
  get addr(): Deno.NetAddr {
    return this.#http.addr;
  }

  /** Where the page is, in words for the operator. */
  get greeting(): string {
    const { hostname, port } = this.addr;
    const key = this.#sending ? `#key=${this.#sending.key}` : "";
    const warning = hostname.startsWith("127.") || hostname === "::1"
      ? ""
      : " (no password: whoever reaches this address can read the log)";
    return `watch at http://${bracketed(hostname)}:${port}/${key}${warning}`;
  }

  #answer(request: IncomingMessage, response: ServerResponse): boolean {
    const { method = "GET", url = "/", headers } = request;
    const { host, path, query } = targetOf(url, headers.host);
    const route = this.#routes.get(path);
    if (!route?.isOpen && !(this.#hosts.has(host) && this.#hosts.has(headers.host))) {
      return send(response, 421, "Misdirected: open the page by its address or as localhost\n");
    }
    if (!route) return send(response, 404, "Not found\n");
    const { methods } = route;
    if (!methods.includes(method)) {
      const allow = methods.join(", ");
      return send(response, 405, `Only ${methods.join(" and ")}\n`, PLAIN, { allow });
    }
    return answerBy(route, { request, response, query, isHead: method === "HEAD" });
  }

  #sendEvents({ request, response, query, isHead }: Asked): boolean {
    const choice = choiceOf(query);
    if (!this.#eventStreams.makeRoom()) {
      return send(response, 503, "Too many watchers\n", PLAIN, { "retry-after": "5" });
    }
    // Nothing is gained by chunks in a stream that ends with its connection.
    response.useChunkedEncodingByDefault = false;
    response.writeHead(200, {
      ...HEADERS,
      "content-type": "text/event-stream",
      "x-accel-buffering": "no",
    });
    if (isHead) response.end();
    else this.#eventStreams.add(response, choice, lastIdOf(request) ?? query.get("after"));
    return !isHead;
  }

  #sendHealth(response: ServerResponse): boolean {
    const trouble = this.#options.trouble();
    return trouble === undefined
      ? send(response, 200, "ok\n")
      : send(response, 503, `${trouble}\n`);
  }

  /** The answer comes when the clients have it. */
  #takeOrder(sending: Sending, { request, response }: Asked): boolean {
    const { origin, host } = request.headers;
    const isOwn = origin === undefined || this.#hosts.isOwn(origin, host);
    // It fails if whoever asks leaves in the middle of it.
    sending.answer(request, isOwn).then(
      (outcome) => void sendResult(response, outcome),
      () => void response.destroy(),
    );
    return false;
  }

  /** Sends the last records, ends the streams, and frees the port. */
  async finish(): Promise<void> {
    this.#eventStreams.finish();
    await this.#http.close();
  }
}

function answerBy(route: Route, asked: Asked): boolean {
  try {
    return route.answer(asked);
  } catch (error) {
    if (!(error instanceof QueryError)) throw error;
    return send(asked.response, 400, `${error.message}\n`);
  }
}

function lastIdOf({ headers }: IncomingMessage): string | undefined {
  const id = headers["last-event-id"];
  return typeof id === "string" && id !== "" ? id : undefined;
}

function sendResult(response: ServerResponse, outcome: SendResult): boolean {
  const { status } = outcome;
  return status === 200
    ? send(response, status, JSON.stringify({ clients: outcome.clients }), JSON_TYPE)
    : send(response, status, `${outcome.problem}\n`);
}

function sendPage(response: ServerResponse, { html, policy }: LivePage): boolean {
  const headers = { "content-security-policy": policy };
  return send(response, 200, html, "text/html; charset=utf-8", headers);
}

/** Sends an answer; to HEAD, `node:http` sends its headers alone. */
function send(
  response: ServerResponse,
  status: number,
  body: string | Uint8Array,
  type = PLAIN,
  headers: OutgoingHttpHeaders = {},
): boolean {
  const bytes = typeof body === "string" ? encode(body) : body;
  response.writeHead(status, {
    ...HEADERS,
    "content-type": type,
    "content-length": bytes.length,
    ...headers,
  });
  response.end(bytes);
  return false;
}
