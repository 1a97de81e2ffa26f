/**
 * Between a client and the server that it is forwarded to.
 *
 * @module
 */

import { POLLERR, POLLHUP, POLLIN, POLLOUT, Socket, type Source } from "../../poller.ts";
import { ByteBuffer } from "../bytes.ts";
import { isReset, reasonOf } from "../errors.ts";
import type { Framer, FrameSink } from "../framing/framing.ts";
import { type Deadline, IdleQueue } from "../loop/deadlines.ts";
import type { Multiplexer } from "../loop/selector.ts";
import type { TaskQueue } from "../loop/task_queue.ts";
import type { DisconnectReason } from "../records/records.ts";
import type { Client, Upstream } from "./client.ts";
import { type PatientDialer, paused } from "./patient_dialer.ts";
import { sendWhole } from "./send_whole.ts";
import { targetText } from "./target.ts";

/** What either side may leave unread before the other is no longer read. */
export const MAX_RELAYED_BYTES = 256 * 1024;
/** What a client that cannot be forwarded has said meanwhile may still be on its way. */
const LAST_LOOK_MS = 20;

/** Whoever has the clients. */
export interface ClientOwner {
  /** What a client wants now may have changed. */
  update(client: Client): void;
  /** The target has spoken to a client. */
  spokenTo(client: Client, upstream: Upstream): void;
  /** Disconnects a client when it has taken what it is still to be sent. */
  dismiss(client: Client, reason: DisconnectReason): void;
}

export interface RelayOptions {
  readonly dialer: PatientDialer;
  /** Makes the framer of what the target says; `undefined` where reads are recorded. */
  readonly createFramer: (() => Framer) | undefined;
  readonly maxReadBytes: number;
  /** Silence after which a line without an end is recorded so far; 0 for never. */
  readonly flushAfterMs: number;
  readonly multiplexer: Multiplexer;
  readonly tasks: TaskQueue;
}

/** All connections to the target. */
export class Relay {
  readonly #options: RelayOptions;
  readonly #upstreams = new Map<Source, UpstreamConnection>();
  readonly #prompts: IdleQueue<UpstreamConnection>;
  /** What the target says is received into it, of one connection at a time. */
  readonly #input: Uint8Array;

  constructor(options: RelayOptions) {
    this.#options = options;
    this.#prompts = new IdleQueue(options.flushAfterMs, (upstream) => upstream.flush());
    this.#input = new Uint8Array(options.maxReadBytes);
  }

  /** What is to be done when targets are silent. */
  get deadlines(): Deadline {
    return this.#prompts;
  }

  /** Begins to connect a client to the target. */
  open(client: Client, owner: ClientOwner): UpstreamConnection {
    const upstream = new UpstreamConnection(this, client, owner);
    this.#dial(upstream);
    return upstream;
  }

  async #dial(upstream: UpstreamConnection): Promise<void> {
    const { dialer, tasks } = this.#options;
    const { signal } = upstream;
    try {
      const stream = await dialer.dial(signal);
      tasks.post(() => upstream.onConnected(stream));
    } catch (error) {
      await paused(LAST_LOOK_MS, signal);
      const words = `cannot connect to ${this.target}: ${(error as Error).message}`;
      if (!signal.aborted) tasks.post(() => upstream.onFailed({ tag: "failed", words }));
    }
  }

  get target(): string {
    return targetText(this.#options.dialer.target);
  }

  createFramer(): Framer | undefined {
    return this.#options.createFramer?.();
  }

  register(upstream: UpstreamConnection, socket: Socket, interest: number): void {
    this.#upstreams.set(socket, upstream);
    this.#options.multiplexer.register(socket, interest);
  }

  modify(socket: Socket, interest: number): void {
    this.#options.multiplexer.modify(socket, interest);
  }

  unregister(upstream: UpstreamConnection, socket: Socket): void {
    this.#prompts.delete(upstream);
    if (this.#upstreams.delete(socket)) this.#options.multiplexer.unregister(socket);
  }

  /** Serves a connection that is ready; returns what that has cost, 0 if nothing more waits. */
  onReady(source: Source, events: number): number {
    return this.#upstreams.get(source)?.onReady(events, this.#input) ?? 0;
  }

  /** Has what an upstream holds recorded when it stays silent. */
  spoke(upstream: UpstreamConnection): void {
    if (this.#options.flushAfterMs === 0) return;
    if (upstream.isHolding) this.#prompts.heard(upstream, performance.now());
    else this.#prompts.delete(upstream);
  }

  lost(ms: number): void {
    this.#prompts.lost(ms);
  }
}

/** What one client's connection to the target is now. */
type Link =
  /** What the client has said meanwhile waits. */
  | { readonly tag: "connecting"; early?: ByteBuffer; isShut: boolean }
  | { readonly tag: "open"; readonly socket: Socket; registered: number }
  | { readonly tag: "closed" };

/** The connection to the target that one client has. */
export class UpstreamConnection implements Upstream, FrameSink {
  readonly #relay: Relay;
  readonly #client: Client;
  readonly #owner: ClientOwner;
  readonly #attempt = new AbortController();
  #link: Link = { tag: "connecting", isShut: false };
  #framer: Framer | undefined;
  /** What the target has said so far. */
  #bytes = 0;
  talkedAtMs = -Infinity;
  hasEnded = false;

  constructor(relay: Relay, client: Client, owner: ClientOwner) {
    this.#relay = relay;
    this.#client = client;
    this.#owner = owner;
  }

  /** Aborted when the client has left. */
  get signal(): AbortSignal {
    return this.#attempt.signal;
  }

  // -- What the client says --

  get unsentBytes(): number {
    const link = this.#link;
    if (link.tag === "closed") return 0;
    return link.tag === "open" ? link.socket.unsentBytes : link.early?.length ?? 0;
  }

  get isFull(): boolean {
    return this.unsentBytes >= MAX_RELAYED_BYTES;
  }

  send(bytes: Uint8Array): void {
    const link = this.#link;
    if (link.tag === "connecting") (link.early ??= new ByteBuffer(0)).append(bytes);
    if (link.tag !== "open") return;
    try {
      sendWhole(link.socket, bytes, MAX_RELAYED_BYTES);
    } catch {
      // Reading tells why.
    }
    this.update();
  }

  async shutdown(): Promise<void> {
    const link = this.#link;
    if (link.tag === "connecting") link.isShut = true;
    if (link.tag === "open") await link.socket.shutdown().catch(() => {});
  }

  onConnected(stream: ConstructorParameters<typeof Socket>[0]): void {
    const link = this.#link;
    if (link.tag !== "connecting") return stream.close?.();
    const socket = new Socket(stream);
    this.#link = { tag: "open", socket, registered: POLLIN };
    this.#relay.register(this, socket, POLLIN);
    if (link.early) this.send(link.early.filled);
    if (link.isShut) this.shutdown();
    this.#owner.update(this.#client);
  }

  // -- What the target says --

  /** Whether a line of the target has no end yet. */
  get isHolding(): boolean {
    return this.#framer?.isHolding ?? false;
  }

  /** Records what the target has said without a line end. */
  flush(): void {
    this.#framer?.flush(this);
  }

  /** Serves the connection by one read at most; returns what that has cost. */
  onReady(events: number, input: Uint8Array): number {
    const link = this.#link;
    if (link.tag !== "open") return 0;
    if (events & POLLOUT) this.#owner.update(this.#client);
    const isOver = (events & (POLLERR | POLLHUP)) !== 0;
    if (isOver || events & POLLIN && !this.hasEnded) return this.#read(link.socket, input);
    this.update();
    return 0;
  }

  #read(socket: Socket, input: Uint8Array): number {
    let count = 0;
    try {
      count = socket.recvInto(input);
      if (count > 0) this.#take(input.subarray(0, count));
      else this.#onEnd();
    } catch (error) {
      if (!(error instanceof Deno.errors.WouldBlock)) this.#onError(error);
    }
    this.update();
    return count === input.length ? count : 0;
  }

  #take(bytes: Uint8Array): void {
    const fault = this.#record(bytes);
    this.#client.answer(bytes);
    if (fault) return this.onFailed({ tag: "unframable", fault });
    this.#relay.spoke(this);
    this.#owner.spokenTo(this.#client, this);
  }

  #record(bytes: Uint8Array) {
    this.#framer ??= this.#relay.createFramer();
    const offset = this.#bytes;
    this.#bytes += bytes.length;
    if (this.#framer) return this.#framer.push(bytes, this);
    this.#client.forwarded({ bytes, lineBytes: bytes.length, isWhole: true, offset });
  }

  /** Takes a frame of what the target said. */
  frame(bytes: Uint8Array, start: number, end: number, isWhole: boolean): void {
    const frame = bytes.subarray(start, end);
    this.#client.forwarded({ bytes: frame, lineBytes: frame.length, isWhole, offset: 0 });
  }

  finish(): void {
    this.#framer?.end(this);
    this.#framer = undefined;
  }

  /** The target says no more, and neither does its client's connection: a half-close each way. */
  #onEnd(): void {
    if (this.hasEnded) return;
    this.hasEnded = true;
    this.finish();
    this.#client.socket.shutdown().catch(() => {});
    if (this.#client.hasEnded) this.#owner.dismiss(this.#client, { tag: "closed" });
  }

  #onError(error: unknown): void {
    const words = `${isReset(error) ? "reset" : reasonOf(error)} by ${this.#relay.target}`;
    this.onFailed({ tag: "failed", words });
  }

  /** There is no target any more: its client gets what was said, and leaves. */
  onFailed(reason: DisconnectReason): void {
    this.close();
    this.#owner.dismiss(this.#client, reason);
  }

  // -- Its life --

  update(): void {
    const link = this.#link;
    if (link.tag !== "open") return;
    const reads = this.hasEnded || this.#client.unsentBytes >= MAX_RELAYED_BYTES ? 0 : POLLIN;
    const interest = reads | (this.isFull ? POLLOUT : 0);
    if (interest === link.registered) return;
    link.registered = interest;
    this.#relay.modify(link.socket, interest);
  }

  close(): void {
    this.#attempt.abort();
    const link = this.#link;
    if (link.tag === "open") {
      this.#relay.unregister(this, link.socket);
      link.socket.abort();
    }
    this.#link = { tag: "closed" };
  }
}
