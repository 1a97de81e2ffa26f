/**
 * What the operator may not know when nothing shows: each is told once.
 *
 * @module
 */

import { type Framing, hasLineEnds } from "../framing/framing.ts";
import type { Deadline } from "../loop/deadlines.ts";
import { plural, type Say } from "../messages.ts";

/** How long after it connected, or after its first words, a client must have ended a frame. */
const UNENDED_MS = 3000;
const HANDSHAKE_RECORD = 0x16;
const TLS_MAJOR = 3;
const CLIENT_HELLO = 1;
/** Where in a TLS hello its type is. */
const TYPE_OFFSET = 5;

/** What is to be known of a client. */
interface Speaker {
  readonly subject: { readonly number: number };
  readonly connectedAtMs: number;
  /** What it has sent, and how many frames it has ended. */
  readonly bytes: number;
  readonly lines: number;
}

export interface ClientHintsOptions {
  /** Whether the ports are plain, so that a TLS hello is no use to anybody. */
  readonly isPlain: boolean;
  /** How frames end; `undefined` where everybody sees what comes, frame or not. */
  readonly framing: Framing | undefined;
  readonly say: Say;
}

export class ClientHints implements Deadline {
  readonly #options: ClientHintsOptions;
  #mayBeTls: boolean;
  #mayLackEnds: boolean;
  #maySayWhatCounts = true;
  /** Who has not ended a frame yet, with the time to look. */
  readonly #unended = new Map<Speaker, number>();

  constructor(options: ClientHintsOptions) {
    this.#options = options;
    this.#mayBeTls = options.isPlain;
    this.#mayLackEnds = options.framing !== undefined;
  }

  /** Whether it would look at the last `count` bytes of a client. */
  wants(client: Speaker, count: number): boolean {
    return this.#mayLackEnds || this.#mayBeTls && client.bytes === count;
  }

  /** Looks at what a client has said; `bytes` were its last. */
  heard(client: Speaker, bytes: Uint8Array): void {
    if (this.#mayBeTls && client.bytes === bytes.length && isTlsHello(bytes)) {
      this.#mayBeTls = false;
      this.#say(client, "speaks TLS: give --tls-cert and --tls-key");
    } else if (this.#mayLackEnds && client.lines === 0 && !this.#unended.has(client)) {
      this.#unended.set(client, this.#dueOf(client, performance.now()));
    }
  }

  #dueOf({ connectedAtMs }: Speaker, nowMs: number): number {
    const dueAtMs = connectedAtMs + UNENDED_MS;
    return dueAtMs > nowMs ? dueAtMs : nowMs + UNENDED_MS;
  }

  /** Senders that count and senders that do not often share a port. */
  doesNotCount(client: Speaker): void {
    if (!this.#maySayWhatCounts) return;
    this.#maySayWhatCounts = false;
    this.#say(client, "does not count its messages: --framing syslog takes both ways");
  }

  /** It has left. */
  delete(client: Speaker): void {
    this.#unended.delete(client);
  }

  get dueAtMs(): number {
    for (const dueAtMs of this.#unended.values()) return dueAtMs;
    return Infinity;
  }

  onDue(nowMs: number): void {
    for (const [client, dueAtMs] of this.#unended) {
      if (dueAtMs > nowMs) return;
      this.#unended.delete(client);
      if (client.lines === 0) return this.#onUnended(client);
    }
  }

  #onUnended(client: Speaker): void {
    this.#mayLackEnds = false;
    this.#unended.clear();
    const { framing = "newline" } = this.#options;
    const isLines = hasLineEnds(framing);
    const ways = ["--flush-after 0.5 shows them", "--format hex shows all"];
    if (isLines && framing !== "any") ways.splice(1, 0, "--framing any ends lines at CR");
    const lack = isLines ? "no line end" : "no whole frame";
    this.#say(client, `has sent ${plural(client.bytes, "byte")} and ${lack}: ${ways.join(", ")}`);
  }

  #say({ subject: { number } }: Speaker, words: string): void {
    this.#options.say(`earshot: #${number} ${words}`);
  }
}

/** A record of TLS 1.0 to 1.3 that says hello. */
function isTlsHello(bytes: Uint8Array): boolean {
  const [type, major, minor = 0xFF] = bytes;
  if (type !== HANDSHAKE_RECORD || major !== TLS_MAJOR || minor > 4) return false;
  return (bytes[TYPE_OFFSET] ?? CLIENT_HELLO) === CLIENT_HELLO;
}
