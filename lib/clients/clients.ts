/**
 * The clients that are connected: who comes, is heard, falls silent and leaves.
 *
 * @module
 */

import { POLLERR, POLLHUP, POLLIN, type Source } from "../../poller.ts";
import type { Peer } from "../addresses.ts";
import { Client, type ClientContext, type ReadResult, reasonToLeave } from "./client.ts";
import { BAD_OCTET_COUNT } from "../framing/framing.ts";
import type { Say } from "../messages.ts";
import type { TaskQueue } from "../loop/task_queue.ts";
import type { Arrival } from "../accept/acceptor.ts";
import type { ConnectionEvent, Subject } from "../records/records.ts";
import type { Multiplexer } from "../loop/selector.ts";
import { type Deadline, IdleQueue } from "../loop/deadlines.ts";

/** The most that is heard of one client before others have their turn. */
const MAX_TURN_BYTES = 64 * 1024;

export interface ClientsOptions extends ClientContext {
  readonly multiplexer: Multiplexer;
  /** IdleQueue after which a client is disconnected; 0 for never. */
  readonly idleTimeoutMs: number;
  /** IdleQueue after which a line without an end is logged so far; 0 for never. */
  readonly flushAfterMs: number;
  readonly onTalk: (client: Client) => void;
  /** Whether the log should be written before more is heard. */
  readonly isLong: () => boolean;
  readonly onLeft: (peer: Peer) => void;
  readonly tasks: TaskQueue;
  readonly say: Say;
}

export class Clients implements Iterable<Client> {
  readonly #options: ClientsOptions;
  readonly #clients = new Map<Source, Client>();
  readonly #idle: IdleQueue<Client>;
  readonly #prompts: IdleQueue<Client>;
  #wasSyslogAdvised = false;
  /** What is to be done when clients are silent. */
  readonly deadlines: readonly Deadline[];

  constructor(options: ClientsOptions) {
    const { idleTimeoutMs, flushAfterMs, isLong } = options;
    this.#options = options;
    this.#prompts = new IdleQueue(flushAfterMs, (client) => client.flush(), isLong);
    const reason = `idle for ${idleTimeoutMs / 1000} s`;
    this.#idle = new IdleQueue(idleTimeoutMs, (client) => this.#disconnect(client, reason), isLong);
    this.deadlines = [this.#prompts, this.#idle];
  }

  get size(): number {
    return this.#clients.size;
  }

  [Symbol.iterator](): Iterator<Client> {
    return this.#clients.values();
  }

  /** Takes in a connection that has become a client's. */
  connect({ socket, peer, through, certificate }: Arrival): void {
    const client = new Client(this.#options, ++this.#options.stats.connections, peer, socket);
    this.#clients.set(socket, client);
    this.#options.multiplexer.register(socket, client.wants);
    this.#idle.heard(client, performance.now());
    this.#note(client, {
      event: "connected",
      ...through && { through },
      ...certificate !== undefined && { certificate },
    });
  }

  /** Records that a peer was kept out. */
  refuse(peer: Peer, reason: string): void {
    this.#options.stats.refused++;
    this.#note({ peer }, { event: "refused", reason });
  }

  /** Records a connection that has not become a client. */
  fail(peer: Peer, acceptedAtMs: number, reason: string): void {
    const number = ++this.#options.stats.connections;
    const seconds = secondsSince(acceptedAtMs);
    this.#note({ number, peer }, { event: "disconnected", bytes: 0, lines: 0, seconds, reason });
  }

  /** Hears a client that is ready; nothing happens if it has left. */
  hear(source: Source, events: number): void {
    const client = this.#clients.get(source);
    if (!client) return;
    try {
      const hearing = this.#hear(client, events);
      if (hearing) this.#onHearing(client, hearing);
      else this.update(client);
    } catch (error) {
      this.#disconnect(client, reasonToLeave(error));
    }
  }

  #hear(client: Client, events: number): ReadResult | undefined {
    const isOver = events & (POLLERR | POLLHUP);
    if (client.isEnding) return isOver ? { tag: "failed", reason: "closed" } : undefined;
    return events & POLLIN || isOver ? this.#hearOut(client) : undefined;
  }

  /** Hears what has arrived of a client, in bites: a line end can become a hundred bytes of log. */
  #hearOut(client: Client): ReadResult {
    const { maxReadBytes, isLong } = this.#options;
    let hearing = client.hear();
    for (let heard = maxReadBytes; heard < MAX_TURN_BYTES; heard += maxReadBytes) {
      if (hearing.tag !== "more" || isLong()) break;
      const next = client.hear();
      if (next.tag === "nothing") break;
      hearing = next;
    }
    return hearing;
  }

  #onHearing(client: Client, hearing: ReadResult): void {
    switch (hearing.tag) {
      case "nothing":
        return this.update(client);
      case "more":
      case "heard":
        return this.#onHeard(client);
      case "ended":
        return this.#farewell(client);
      case "failed":
        if (hearing.reason === BAD_OCTET_COUNT) this.#adviseSyslog(client);
        return this.#disconnect(client, hearing.reason);
    }
  }

  /** Senders that count and senders that do not often share a port; once is enough to say so. */
  #adviseSyslog({ number }: Client): void {
    if (this.#wasSyslogAdvised) return;
    this.#wasSyslogAdvised = true;
    const advice = "--framing syslog takes both ways";
    this.#options.say(`earshot: #${number} does not count its messages: ${advice}`);
  }

  #onHeard(client: Client): void {
    const { onTalk, idleTimeoutMs, flushAfterMs } = this.#options;
    onTalk(client);
    if (idleTimeoutMs > 0) this.#idle.heard(client, performance.now());
    if (flushAfterMs > 0) {
      if (client.isHolding) this.#prompts.heard(client, performance.now());
      else this.#prompts.delete(client);
    }
    this.update(client);
  }

  /** Waits for what a client wants now. */
  update(client: Client): void {
    if (client.wants === client.watched) return;
    client.watched = client.wants;
    this.#options.multiplexer.modify(client.socket, client.wants);
  }

  /** It says no more; what it is still to be sent must leave before it is disconnected. */
  #farewell(client: Client): void {
    client.isEnding = true;
    if (client.unsentBytes === 0) return this.#disconnect(client, "closed");
    this.update(client);
    const leave = () => this.#options.tasks.post(() => this.#disconnect(client, "closed"));
    client.socket.shutdown().then(leave, leave);
  }

  /** Time in which nobody was listened to does not count as idleQueue. */
  lost(ms: number): void {
    this.#idle.lost(ms);
    this.#prompts.lost(ms);
  }

  /** Disconnects all, until the log should be written; returns whether that was all. */
  disconnectAll(reason: string): boolean {
    for (const client of this.#clients.values()) {
      if (this.#options.isLong()) return false;
      this.#disconnect(client, reason);
    }
    return true;
  }

  /** Frees all first, so that a client whose last line cannot be logged leaves nothing behind. */
  #disconnect(client: Client, reason: string): void {
    if (!this.#clients.delete(client.socket)) return;
    const { multiplexer, onLeft } = this.#options;
    this.#idle.delete(client);
    this.#prompts.delete(client);
    multiplexer.unregister(client.socket);
    // Not close(): whoever reads nothing would hold a descriptor, and the place is given away.
    client.socket.abort();
    onLeft(client.peer);
    const { connectedAtMs } = client;
    try {
      client.finish();
    } catch (error) {
      reason = reasonToLeave(error);
    }
    const { bytes, lines } = client;
    const seconds = secondsSince(connectedAtMs);
    this.#note(client, { event: "disconnected", bytes, lines, seconds, reason });
  }

  #note(subject: Subject, notice: ConnectionEvent): void {
    const { log, history } = this.#options;
    log.notice(subject, notice);
    if (!log.isQuiet) history?.notice(subject, notice, log.timeMs);
  }
}

function secondsSince(atMs: number): number {
  return Math.round(performance.now() - atMs) / 1000;
}
