/**
 * Everybody who is connected: who comes, speaks, falls silent and leaves.
 *
 * @module
 */

import { POLLERR, POLLHUP, POLLIN, type Socket, type Source } from "../../poller.ts";
import type { Admission } from "../accept/admission.ts";
import type { Arrival, Origin } from "../accept/acceptor.ts";
import type { NameTable } from "../accept/names.ts";
import { type Deadline, Deadlines, IdleQueue, type Steps } from "../loop/deadlines.ts";
import type { Multiplexer } from "../loop/selector.ts";
import type { TaskQueue } from "../loop/task_queue.ts";
import type { InternalErrors } from "../messages.ts";
import type { LogWriter } from "../output/log_writer.ts";
import type { ConnectionEvent, DisconnectReason } from "../records/records.ts";
import { Client, type ClientContext, type ReadResult, type Upstream } from "./client.ts";
import type { Audience } from "./interactive.ts";
import type { ClientOwner, Relay } from "./relay.ts";

export interface ClientsOptions extends ClientContext {
  /** What each client is told when it is connected; nothing if empty. */
  readonly greeting: Uint8Array;
  /** Connects clients to the server that they are forwarded to. */
  readonly relay: Relay | undefined;
  readonly multiplexer: Multiplexer;
  readonly names: Pick<NameTable, "of">;
  /** Silence after which a client is disconnected; 0 for never. */
  readonly idleTimeoutMs: number;
  /** Silence after which a line without an end is recorded so far; 0 for never. */
  readonly flushAfterMs: number;
  readonly logWriter: Pick<LogWriter, "talked" | "waitingBytes">;
  readonly admission: Pick<Admission, "left">;
  readonly tasks: TaskQueue;
  readonly internalErrors: InternalErrors;
}

const CLOSED: DisconnectReason = { tag: "closed" };

export class Clients implements Audience, ClientOwner {
  readonly #options: ClientsOptions;
  readonly #clients = new Map<Source, Client>();
  readonly #idle: IdleQueue<Client>;
  readonly #prompts: IdleQueue<Client>;
  /** What is to be done when clients are silent. */
  readonly deadlines: Deadline;

  constructor(options: ClientsOptions) {
    const { idleTimeoutMs, flushAfterMs } = options;
    this.#options = options;
    this.#prompts = new IdleQueue(flushAfterMs, (client) => this.#flush(client));
    const reason = { tag: "idle", seconds: idleTimeoutMs / 1000 } as const;
    this.#idle = new IdleQueue(idleTimeoutMs, (client) => this.disconnect(client, reason));
    const relayed = options.relay ? [options.relay.deadlines] : [];
    this.deadlines = new Deadlines([this.#prompts, this.#idle, ...relayed]);
  }

  get size(): number {
    return this.#clients.size;
  }

  /** Whether it is the socket of one of them. */
  has(socket: Socket): boolean {
    return this.#clients.has(socket);
  }

  [Symbol.iterator](): Iterator<Client> {
    return this.#clients.values();
  }

  /** Takes in a connection that has become a client's. */
  connect({ socket, peer, to, through, certificate }: Arrival): void {
    const { multiplexer, recorder, greeting, relay } = this.#options;
    const client = new Client(this.#options, this.#numbered({ peer, to }), socket);
    client.certificate = certificate;
    this.#clients.set(socket, client);
    multiplexer.register(socket, client.interest);
    this.#idle.heard(client, performance.now());
    recorder.event(client.subject, {
      event: "connected",
      ...through && { through },
      ...certificate !== undefined && { certificate },
    });
    if (greeting.length > 0) client.tell(greeting);
    client.upstream = relay?.open(client, this);
  }

  /** Records that a peer was kept out. */
  refuse({ peer, to }: Origin, reason: string): void {
    const { stats, recorder, names } = this.#options;
    stats.refused++;
    recorder.event({ peer, name: names.of(peer), to }, { event: "refused", reason });
  }

  /** Records a connection that has not become a client. */
  fail(origin: Origin, acceptedAtMs: number, reason: DisconnectReason): void {
    const subject = this.#numbered(origin);
    this.#options.recorder.event(subject, farewell({ bytes: 0, lines: 0 }, acceptedAtMs, reason));
  }

  #numbered({ peer, to }: Origin): Client["subject"] {
    const { stats, names } = this.#options;
    return { number: ++stats.connections, peer, name: names.of(peer), to };
  }

  /**
   * Serves a client that is ready, by one read at most.
   *
   * @returns What that has cost in bytes, read or logged; 0 if nothing more waits.
   */
  onReady(source: Source, events: number): number {
    const client = this.#clients.get(source);
    if (!client) return this.#options.relay?.onReady(source, events) ?? 0;
    try {
      return this.#onEvents(client, events);
    } catch (error) {
      this.#onInternalError(client, error);
      return 0;
    }
  }

  #onEvents(client: Client, events: number): number {
    const isOver = (events & (POLLERR | POLLHUP)) !== 0;
    if (client.departure && isOver) this.disconnect(client, client.departure);
    // Its last read may have left it with too much that it has not taken.
    else if (events & client.registered & POLLIN || isOver) return this.#read(client);
    else this.update(client);
    return 0;
  }

  #read(client: Client): number {
    const { logWriter } = this.#options;
    const { bytes } = client;
    const waitingBytes = logWriter.waitingBytes;
    const result = client.read();
    this.#onRead(client, result);
    if (result.tag !== "more" && result.tag !== "read") return 0;
    const loggedBytes = logWriter.waitingBytes - waitingBytes;
    const readBytes = client.bytes - bytes;
    client.adaptRead(readBytes, loggedBytes);
    return result.tag === "more" ? Math.max(readBytes, loggedBytes >> 1) : 0;
  }

  #onRead(client: Client, result: ReadResult): void {
    switch (result.tag) {
      case "nothing":
        return this.update(client);
      case "more":
      case "read":
        return this.#onTalk(client);
      case "ended":
        return this.#onEnd(client);
      case "failed":
        if (isUncounted(result.reason)) this.#options.hints.doesNotCount(client);
        return this.disconnect(client, result.reason);
    }
  }

  #onTalk(client: Client): void {
    const { logWriter, idleTimeoutMs, flushAfterMs } = this.#options;
    logWriter.talked(client);
    if (idleTimeoutMs > 0) this.#idle.heard(client, performance.now());
    if (flushAfterMs > 0) {
      if (client.isHolding) this.#prompts.heard(client, performance.now());
      else this.#prompts.delete(client);
    }
    this.update(client);
  }

  #flush(client: Client): void {
    try {
      client.flush();
    } catch (error) {
      this.#onInternalError(client, error);
    }
  }

  /** An error of ours is not the client's fault; it is closed, for its state may be wrong now. */
  #onInternalError(client: Client, error: unknown): void {
    this.#options.internalErrors.report(error);
    this.disconnect(client, { tag: "internal" });
  }

  /** Waits for what a client wants now, and its server. */
  update(client: Client): void {
    client.upstream?.update();
    const { interest } = client;
    if (interest === client.registered) return;
    client.registered = interest;
    this.#options.multiplexer.modify(client.socket, interest);
  }

  /** The server that a client is forwarded to has spoken. */
  spokenTo(client: Client, upstream: Upstream): void {
    const { logWriter, idleTimeoutMs } = this.#options;
    logWriter.talked(upstream);
    if (idleTimeoutMs > 0) this.#idle.heard(client, performance.now());
    this.update(client);
  }

  /** It says no more, but its server may. */
  #onEnd(client: Client): void {
    const { upstream } = client;
    client.hasEnded = true;
    if (!upstream) return this.dismiss(client, CLOSED);
    this.#finish(client);
    upstream.shutdown();
    if (upstream.hasEnded) this.dismiss(client, CLOSED);
    else this.update(client);
  }

  /** Disconnects it when it, and its server, have taken what they are still to be sent. */
  dismiss(client: Client, reason: DisconnectReason): void {
    const { socket, upstream } = client;
    if (client.departure) return;
    client.departure = reason;
    if (client.unsentBytes === 0 && !upstream?.unsentBytes) return this.disconnect(client, reason);
    this.update(client);
    const leave = () => this.#options.tasks.post(() => this.disconnect(client, reason));
    Promise.allSettled([socket.shutdown(), upstream?.shutdown()]).then(leave);
  }

  /** Time in which nobody was read does not count as silence. */
  lost(ms: number): void {
    this.#idle.lost(ms);
    this.#prompts.lost(ms);
    this.#options.relay?.lost(ms);
  }

  /** Disconnects all, one a step. */
  *disconnectAll(reason: DisconnectReason): Steps {
    for (const client of this.#clients.values()) {
      this.disconnect(client, reason);
      yield;
    }
  }

  /** Frees all first, so that a client whose last line cannot be recorded leaves nothing behind. */
  disconnect(client: Client, reason: DisconnectReason): void {
    if (!this.#clients.delete(client.socket)) return;
    const { multiplexer, admission, recorder, hints } = this.#options;
    this.#idle.delete(client);
    hints.delete(client);
    this.#prompts.delete(client);
    multiplexer.unregister(client.socket);
    // Not close(): whoever reads nothing would hold a descriptor, and the place is given away.
    client.socket.abort();
    client.upstream?.close();
    admission.left(client.subject.peer);
    const wasFinished = this.#finish(client);
    const shown: DisconnectReason = wasFinished ? reason : { tag: "internal" };
    recorder.event(client.subject, farewell(client, client.connectedAtMs, shown));
  }

  #finish(client: Client): boolean {
    try {
      client.finish();
      client.upstream?.finish();
      return true;
    } catch (error) {
      this.#options.internalErrors.report(error);
      return false;
    }
  }
}

function farewell(
  { bytes, lines }: { readonly bytes: number; readonly lines: number },
  sinceMs: number,
  reason: DisconnectReason,
): ConnectionEvent {
  const seconds = Math.round(performance.now() - sinceMs) / 1000;
  return { event: "disconnected", bytes, lines, seconds, reason };
}

function isUncounted(reason: DisconnectReason): boolean {
  return reason.tag === "unframable" && reason.fault === "bad octet count";
}
