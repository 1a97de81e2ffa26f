/**
 * What is typed, and which clients get it.
 *
 * @module
 */

import type { Socket } from "../../poller.ts";
import { ByteBuffer, CR, decode, LF } from "../bytes.ts";
import type { Client } from "./client.ts";
import type { Clients } from "./clients.ts";
import { shown } from "../records/escape.ts";
import { reasonOf } from "../errors.ts";
import type { Say } from "../messages.ts";
import type { Recorder } from "../records/recorder.ts";

/** The longest line that can be typed. */
const MAX_LINE_BYTES = 64 * 1024;
/** The most that a client may have left unread to be sent another line. */
const MAX_UNREAD_BYTES = 2 * MAX_LINE_BYTES;
/** How much of a line is quoted in a message. */
const MAX_QUOTED_BYTES = 60;

export interface InteractiveOptions {
  /** Clients that are connected. */
  readonly clients: Iterable<Client> & Pick<Clients, "update">;
  readonly recorder: Pick<Recorder, "sent">;
  /** Whether lines end in CR LF, not LF. */
  readonly endsInCrLf: boolean;
  readonly say: Say;
}

/** Whom a typed line is for: all, the client with a number, or nobody who can be understood. */
interface Addressed {
  readonly to: "all" | "nobody" | number;
  readonly line: Uint8Array;
}

export class Interactive {
  readonly #options: InteractiveOptions;
  /** A line whose end has not been typed yet. */
  readonly #held = new ByteBuffer(2 * MAX_LINE_BYTES);
  /** Whether that line is too long already. */
  #isTooLong = false;

  constructor(options: InteractiveOptions) {
    this.#options = options;
  }

  /**
   * Takes what is typed on stdin, which is readable.
   *
   * @returns Whether more can come.
   */
  onReadable(stdin: Socket): boolean {
    try {
      const bytes = stdin.recv(MAX_LINE_BYTES);
      if (bytes.length > 0) this.push(bytes);
      else this.end();
      return bytes.length > 0;
    } catch (error) {
      if (error instanceof Deno.errors.WouldBlock) return true;
      this.#options.say(`earshot: Cannot read stdin: ${reasonOf(error)}; nothing can be typed`);
      return false;
    }
  }

  /** Takes typed bytes; each whole line is sent, half a line waits for its end. */
  push(bytes: Uint8Array): void {
    let start = 0;
    for (let at; (at = bytes.indexOf(LF, start)) >= 0; start = at + 1) {
      this.#hold(bytes.subarray(start, at));
      this.#finishLine();
    }
    this.#hold(bytes.subarray(start));
  }

  /** Ends the typing: what is left without a line end is sent as a line. */
  end(): void {
    if (this.#held.length > 0) this.#finishLine();
  }

  #hold(bytes: Uint8Array): void {
    this.#isTooLong ||= this.#held.length + bytes.length > MAX_LINE_BYTES;
    if (!this.#isTooLong) this.#held.append(bytes);
  }

  #finishLine(): void {
    if (this.#isTooLong) {
      this.#say(`a line of more than ${MAX_LINE_BYTES} bytes: it is dropped`);
    } else {
      this.#send(addressed(this.#held.filled));
    }
    this.#isTooLong = false;
    this.#held.clear();
  }

  #send({ to, line }: Addressed): void {
    if (to === "nobody") {
      const quoted = shown(decode(line.subarray(0, MAX_QUOTED_BYTES)));
      return this.#say(
        `"${quoted}": expected @<number> <text>, or @@ for a line that begins with @`,
      );
    }
    const open = [...this.#options.clients].filter(({ isSending }) => isSending);
    const meant = to === "all" ? open : open.filter(({ subject }) => subject.number === to);
    if (meant.length === 0) {
      return this.#say(
        to === "all" ? "to anybody: nobody is connected" : `to #${to}: no such client`,
      );
    }
    const takers = meant.filter((client) => this.#hasRoom(client));
    if (takers.length === 0) return;
    for (const client of takers) this.#give(client, line);
    const target = to === "all" ? { clients: takers.length } : takers[0]!.subject;
    this.#options.recorder.sent(target, line, true);
  }

  #hasRoom({ subject: { number }, unsentBytes }: Client): boolean {
    const hasRoom = unsentBytes <= MAX_UNREAD_BYTES;
    if (!hasRoom) this.#say(`to #${number}: it has left ${unsentBytes} bytes unread`);
    return hasRoom;
  }

  #give(client: Client, line: Uint8Array): void {
    const bytes = new Uint8Array(line.length + 2);
    bytes.set(line);
    const needsCr = this.#options.endsInCrLf && line.at(-1) !== CR;
    if (needsCr) bytes[line.length] = CR;
    const end = line.length + Number(needsCr);
    bytes[end] = LF;
    client.answer(bytes.subarray(0, end + 1));
    this.#options.clients.update(client);
  }

  #say(problem: string): void {
    this.#options.say(`earshot: Cannot send ${problem}`);
  }
}

/** Reads `@3 text`, `@@text` and plain text, of which every byte stays as it was typed. */
function addressed(line: Uint8Array): Addressed {
  const head = decode(line.subarray(0, 12));
  if (!head.startsWith("@")) return { to: "all", line };
  if (head.startsWith("@@")) return { to: "all", line: line.subarray(1) };
  const [prefix, digits] = /^@([1-9]\d{0,9}) /.exec(head) ?? [];
  if (!prefix) return { to: "nobody", line };
  return { to: Number(digits), line: line.subarray(prefix.length) };
}
