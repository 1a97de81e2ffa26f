/**
 * What is typed, and who gets it.
 *
 * @module
 */

import type { Socket } from "../../poller.ts";
import { peerText } from "../addresses.ts";
import { ByteBuffer, CR, decode, LF } from "../bytes.ts";
import { reasonOf } from "../errors.ts";
import { plural, type Say } from "../messages.ts";
import { unescapeBytes } from "../patterns.ts";
import { shown } from "../records/escape.ts";
import type { Recorder } from "../records/recorder.ts";
import { type DisconnectReason, sentWhole, subjectText } from "../records/records.ts";
import type { Client } from "./client.ts";
import { type Addressee, FORMS, parseTyped } from "./typed.ts";

/** The longest line that can be typed. */
const MAX_LINE_BYTES = 64 * 1024;
/** The most that a client may have left unread to be sent another line. */
const MAX_UNREAD_BYTES = 2 * MAX_LINE_BYTES;
/** How much of a line is quoted in a message. */
const MAX_QUOTED_BYTES = 60;
/** How often something is sent until others have their turn: a line to all is sent to each. */
const TURN_SENDS = 10_000;
/** What a line costs by itself, in sends; it may have to be refused. */
const LINE_SENDS = 10;
/** So many lines of a list are written before more are made. */
const LISTED_AT_ONCE = 100;

/** How typed lines end; with escapes they end as they are typed. */
export type TypedEnd = "lf" | "crlf" | "escapes";

/** Everybody who is connected. */
export interface Audience extends Iterable<Client> {
  readonly size: number;
  update(client: Client): void;
  disconnect(client: Client, reason: DisconnectReason): void;
}

/** Senders of datagrams that can be answered. */
export interface Correspondents {
  /** Sends a datagram to whoever has that address; false if nobody is known to. */
  answerTo(address: string, bytes: Uint8Array): boolean;
}

export interface InteractiveOptions {
  readonly clients: Audience;
  readonly datagrams: Correspondents;
  readonly recorder: Pick<Recorder, "sent">;
  readonly end: TypedEnd;
  readonly say: Say;
  /** Settles when what was said is written, or nobody reads it. */
  readonly said: () => Promise<void>;
  /** Is told whom plain lines go to. */
  readonly onChosen: (number: number | undefined) => void;
}

export class Interactive {
  readonly #options: InteractiveOptions;
  /** A line whose end has not been typed yet. */
  readonly #held = new ByteBuffer(2 * MAX_LINE_BYTES);
  /** Whether that line is too long already. */
  #isTooLong = false;
  /** The client that plain lines go to; all without one. */
  #chosen: number | undefined;

  constructor(options: InteractiveOptions) {
    this.#options = options;
  }

  // -- What is typed --

  /**
   * Takes what is typed on stdin, which is readable; a turn ends after so many sends.
   *
   * @returns Whether more can come.
   */
  onReadable(stdin: Pick<Socket, "recv" | "unrecv">): boolean {
    try {
      const bytes = stdin.recv(MAX_LINE_BYTES);
      const taken = this.push(bytes);
      if (bytes.length === 0) this.end();
      else if (taken < bytes.length) stdin.unrecv(bytes.subarray(taken));
      return bytes.length > 0;
    } catch (error) {
      if (error instanceof Deno.errors.WouldBlock) return true;
      this.#options.say(`earshot: Cannot read stdin: ${reasonOf(error)}; nothing can be typed`);
      return false;
    }
  }

  /**
   * Takes typed bytes: each whole line is obeyed, half a line waits for its end.
   *
   * @returns How many of them, from the front: all, or as many lines as a turn has time for.
   */
  push(bytes: Uint8Array): number {
    let start = 0;
    let sends = 0;
    for (let at; (at = bytes.indexOf(LF, start)) >= 0; start = at + 1) {
      if (sends > TURN_SENDS) return start;
      this.#hold(bytes.subarray(start, at));
      this.#finishLine();
      sends += LINE_SENDS + this.#options.clients.size;
    }
    this.#hold(bytes.subarray(start));
    return bytes.length;
  }

  /** Ends the typing: what is left without a line end is obeyed as a line. */
  end(): void {
    if (this.#held.length > 0) this.#finishLine();
  }

  #hold(bytes: Uint8Array): void {
    this.#isTooLong ||= this.#held.length + bytes.length > MAX_LINE_BYTES;
    if (!this.#isTooLong) this.#held.append(bytes);
  }

  #finishLine(): void {
    if (this.#isTooLong) {
      this.#refuse(`send a line of more than ${MAX_LINE_BYTES} bytes: it is dropped`);
    } else {
      this.#obey(this.#held.filled);
    }
    this.#isTooLong = false;
    this.#held.clear();
  }

  #obey(line: Uint8Array): void {
    const command = parseTyped(line);
    switch (command.tag) {
      case "line":
        return this.#sendLine(command.to, command.text);
      case "stay":
        return this.#stayWith(command.number);
      case "all":
        return this.#choose(undefined);
      case "disconnect":
        return this.#disconnect(command.number);
      case "list":
        return void this.#list();
      case "wrong":
        return this.#refuse(`send "${quoted(line)}": ${FORMS}`);
    }
  }

  #sendLine(to: Addressee | undefined, text: Uint8Array): void {
    let bytes;
    try {
      bytes = this.bytesOf(text, this.#options.end === "escapes");
    } catch (error) {
      return this.#refuse(`send "${quoted(text)}": ${(error as Error).message}`);
    }
    // With escapes an empty line says nothing.
    if (bytes.length === 0) return;
    if (to?.tag === "address") this.#sendToAddress(to.address, bytes);
    else if (to) this.#sendToNumber(to.number, bytes, "no such client");
    else if (this.#chosen === undefined) this.#sendToAll(bytes);
    else this.#sendToNumber(this.#chosen, bytes, "it has left; @all ends this");
  }

  /**
   * What is sent of a line: its bytes and a line end, or what its escapes say.
   *
   * @throws {SyntaxError} If an escape is wrong.
   */
  bytesOf(line: Uint8Array, hasEscapes: boolean): Uint8Array {
    if (hasEscapes) return unescapeBytes(line);
    const isCrLf = this.#options.end === "crlf" && line.at(-1) !== CR;
    const bytes = new Uint8Array(line.length + (isCrLf ? 2 : 1));
    bytes.set(line);
    if (isCrLf) bytes[line.length] = CR;
    bytes[bytes.length - 1] = LF;
    return bytes;
  }

  // -- Sending --

  /**
   * Sends bytes to the client with a number, or to all, and records it.
   *
   * @returns How many clients take them.
   */
  send(to: number | "all", bytes: Uint8Array): number {
    const meant = this.#open.filter(({ subject }) => to === "all" || subject.number === to);
    const takers = meant.filter((client) => this.#hasRoom(client));
    for (const client of takers) this.#give(client, bytes);
    const subjects = takers.map(({ subject }) => subject);
    const target = to === "all" ? { clients: takers.length, takers: subjects } : subjects[0];
    if (target && takers.length > 0) this.#options.recorder.sent(target, sentWhole(bytes));
    return takers.length;
  }

  #sendToAll(bytes: Uint8Array): void {
    if (this.#open.length === 0) this.#refuse("send to anybody: nobody is connected");
    else this.send("all", bytes);
  }

  #sendToNumber(number: number, bytes: Uint8Array, problem: string): void {
    if (this.#find(number)) this.send(number, bytes);
    else this.#refuse(`send to #${number}: ${problem}`);
  }

  #sendToAddress(address: string, bytes: Uint8Array): void {
    const client = this.#open.find(({ subject }) =>
      peerText(subject.peer) === address || subjectText(subject) === address
    );
    if (client) this.send(client.subject.number, bytes);
    else if (!this.#options.datagrams.answerTo(address, bytes)) {
      this.#refuse(`send to ${address}: nobody has that address`);
    }
  }

  /** Clients that are still sent something. */
  get #open(): Client[] {
    return [...this.#options.clients].filter(({ isSending }) => isSending);
  }

  #find(number: number): Client | undefined {
    return this.#open.find(({ subject }) => subject.number === number);
  }

  #hasRoom({ subject: { number }, unsentBytes }: Client): boolean {
    const hasRoom = unsentBytes <= MAX_UNREAD_BYTES;
    if (!hasRoom) this.#refuse(`send to #${number}: it has left ${unsentBytes} bytes unread`);
    return hasRoom;
  }

  #give(client: Client, bytes: Uint8Array): void {
    client.answer(bytes);
    this.#options.clients.update(client);
  }

  // -- Commands --

  #stayWith(number: number): void {
    if (this.#find(number)) this.#choose(number);
    else this.#refuse(`stay with #${number}: no such client`);
  }

  #choose(number: number | undefined): void {
    this.#chosen = number;
    this.#options.onChosen(number);
    this.#options.say(`earshot: typed lines go to ${number === undefined ? "all" : `#${number}`}`);
  }

  #disconnect(number: number): void {
    const client = [...this.#options.clients].find(({ subject }) => subject.number === number);
    if (client) this.#options.clients.disconnect(client, { tag: "local" });
    else this.#refuse(`disconnect #${number}: no such client`);
  }

  /** Lists who is connected, beside the loop: stderr takes only so much at once. */
  async #list(): Promise<void> {
    const { clients, say, said } = this.#options;
    const nowMs = performance.now();
    const lines = [
      `${plural(clients.size, "client")} connected`,
      ...Array.from(clients, (client) => listed(client, nowMs)),
    ];
    for (const [i, line] of lines.entries()) {
      say(`earshot: ${line}`);
      if ((i + 1) % LISTED_AT_ONCE === 0) await said();
    }
  }

  #refuse(problem: string): void {
    this.#options.say(`earshot: Cannot ${problem}`);
  }
}

/** What a terminal shows before the line that is typed: whom it goes to. */
export function promptFor(number: number | undefined): string {
  return number === undefined ? "all> " : `#${number}> `;
}

/** `#2 127.0.0.1:53122, 3 lines, silent for 4.2 s` */
function listed({ subject, lines, talkedAtMs, connectedAtMs }: Client, nowMs: number): string {
  const silentMs = nowMs - Math.max(talkedAtMs, connectedAtMs);
  const seconds = (Math.max(0, silentMs) / 1000).toFixed(1);
  return `#${subject.number} ${subjectText(subject)}, ${
    plural(lines, "line")
  }, silent for ${seconds} s`;
}

function quoted(line: Uint8Array): string {
  return shown(decode(line.subarray(0, MAX_QUOTED_BYTES)));
}
