/**
 * What the page's reply box sends to clients. Whoever has the key may, and nobody else.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { randomBytes, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { encode } from "../bytes.ts";
import { parseBytes } from "../patterns.ts";

/** Whom something is for: all, or the client with a number. */
export type Recipient = number | "all";

/**
 * Sends to clients as if it had been typed, in the next round of the loop.
 *
 * @param isLine Whether a line end is added.
 * @returns How many clients took it.
 */
export type SendToClients = (
  to: Recipient,
  text: Uint8Array,
  isLine: boolean,
) => Promise<number>;

/** An answer: its status, and what is wrong in one line, or what came of it. */
export type SendResult =
  | { readonly status: 200; readonly clients: number }
  | { readonly status: 400 | 403 | 409 | 413 | 415; readonly problem: string };

/** The longest line, as with those that are typed. */
const MAX_TEXT_BYTES = 64 * 1024;
/** In JSON a character may take six. */
const MAX_BODY_BYTES = 6 * MAX_TEXT_BYTES + 1024;
const KEY_BYTES = 16;

interface Order {
  readonly to: Recipient;
  readonly bytes: Uint8Array;
  readonly isLine: boolean;
}

export class Sending {
  /** What the address of the page ends with for those who may send. */
  readonly key = randomBytes(KEY_BYTES).toString("base64url");
  readonly #sendToClients: SendToClients;

  constructor(sendToClients: SendToClients) {
    this.#sendToClients = sendToClients;
  }

  /** Answers a request with a body; `isOwnOrigin` is whether it comes from the page, if it says. */
  async answer(request: IncomingMessage, isOwnOrigin: boolean): Promise<SendResult> {
    const { headers } = request;
    if (!isOwnOrigin) return { status: 403, problem: "Not from this page" };
    if (!this.#isKey(headers["x-earshot-key"])) return { status: 403, problem: "Wrong key" };
    if (!/^application\/json\s*(;|$)/i.test(headers["content-type"] ?? "")) {
      return { status: 415, problem: "Only application/json" };
    }
    const body = await bodyOf(request);
    if (body === undefined) return tooLong();
    const order = orderOf(body);
    return "status" in order ? order : await this.#obey(order);
  }

  #isKey(given: string | string[] | undefined): boolean {
    const wanted = encode(this.key);
    const bytes = encode(String(given));
    return bytes.length === wanted.length && timingSafeEqual(bytes, wanted);
  }

  async #obey({ to, bytes, isLine }: Order): Promise<SendResult> {
    if (bytes.length === 0 && !isLine) return { status: 400, problem: "Nothing to send" };
    if (bytes.length > MAX_TEXT_BYTES) return tooLong();
    const clients = await this.#sendToClients(to, bytes, isLine);
    if (clients > 0) return { status: 200, clients };
    const problem = to === "all" ? "Nobody takes it" : `#${to} does not take it`;
    return { status: 409, problem };
  }
}

function tooLong(): SendResult {
  return { status: 413, problem: `Longer than ${MAX_TEXT_BYTES} bytes` };
}

/** The body, unless it is too long. */
async function bodyOf(request: IncomingMessage): Promise<Uint8Array | undefined> {
  if (Number(request.headers["content-length"] ?? 0) > MAX_BODY_BYTES) return;
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of request) {
    length += chunk.length;
    if (length > MAX_BODY_BYTES) return;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function orderOf(body: Uint8Array): Order | SendResult {
  const wanted = `{"to":3 or "all","text":"...","escapes":false}`;
  const malformed = { status: 400, problem: `Not as expected: ${wanted}` } as const;
  let order: unknown;
  try {
    order = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch {
    return malformed;
  }
  if (typeof order !== "object" || order === null) return malformed;
  const { to, text, escapes = false } = order as Record<string, unknown>;
  if (!isRecipient(to) || !isText(text) || typeof escapes !== "boolean") return malformed;
  try {
    return { to, bytes: escapes ? parseBytes(text) : encode(text), isLine: !escapes };
  } catch (error) {
    return { status: 400, problem: (error as Error).message };
  }
}

function isRecipient(to: unknown): to is Recipient {
  return to === "all" || Number.isSafeInteger(to) && (to as number) > 0;
}

/** Whether it can be sent as it is: half a character would become another one. */
function isText(text: unknown): text is string {
  return typeof text === "string" && text.isWellFormed();
}
