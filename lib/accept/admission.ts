/**
 * Who comes in, and when nobody may: rules, limits in all and per address, and
 * the pause when accepting fails.
 *
 * @module
 */

import { POLLIN, type ServerSocket, type Socket } from "../../poller.ts";
import { hostKey, type Networks, type Peer } from "../addresses.ts";
import type { DescriptorReserve } from "../descriptor_reserve.ts";
import { Failure, reasonOf } from "../errors.ts";
import type { Say } from "../messages.ts";
import { NOT_ALLOWED } from "../records/records.ts";
import { plural } from "../messages.ts";
import type { Multiplexer } from "../loop/selector.ts";
import type { Deadline } from "../loop/deadlines.ts";
import { FaultPause } from "../loop/fault_pause.ts";
import { acceptFaultOf } from "./accept_errors.ts";

const PAUSE_MS = 1000;
const REOPENED_MS = 1000;
const MAX_FAILURES = 10;

export interface AdmissionOptions {
  readonly listeners: readonly ServerSocket[];
  readonly multiplexer: Pick<Multiplexer, "register" | "unregister">;
  /** At this number of connections nobody is accepted. */
  readonly maxConnections: number;
  readonly maxPerHost: number | undefined;
  /** Let in, and nobody else; `undefined` for all. */
  readonly allowed: Networks | undefined;
  readonly denied: Networks | undefined;
  readonly say: Say;
  /** What must be there before somebody is accepted. */
  readonly reserve: Pick<DescriptorReserve, "demand">;
  /** A client of one listener was gone before it was accepted, or accepting failed. */
  readonly onAcceptError: () => void;
}

export class Admission implements Deadline {
  readonly #options: AdmissionOptions;
  /** Connections that hold a place, handshakes included. */
  #taken = 0;
  readonly #takenByHost = new Map<string, number>();
  #failure: Failure | undefined;
  #isClosed = false;
  #isRegistered = false;
  readonly #pause: FaultPause;
  /** How many who were accepted lack a descriptor to go on. */
  #lacking = 0;
  /** Failures in a row that nobody's leaving can mend. */
  #failures = 0;
  /** When, after the limit was reached, it may be said that clients are accepted again. */
  #full: { readonly sayAtMs: number } | undefined;

  constructor(options: AdmissionOptions) {
    this.#options = options;
    this.#pause = new FaultPause({
      pauseMs: PAUSE_MS,
      say: options.say,
      onEnd: () => this.#sync(),
    });
    this.#sync();
  }

  /** Whether accepting stands still after a failure: something is missing that clients may hold. */
  get isPaused(): boolean {
    return this.#pause.reason !== undefined;
  }

  get maxConnections(): number {
    return this.#options.maxConnections;
  }

  /** Why nobody is accepted, for /healthz. */
  get trouble(): string | undefined {
    if (this.#pause.reason !== undefined) return `Accepting is paused: ${this.#pause.reason}`;
    return this.#places === 0 ? `Full: ${plural(this.#taken, "connection")}` : undefined;
  }

  /** Why nobody can be accepted any more. */
  get failure(): Failure | undefined {
    return this.#failure;
  }

  /** Takes connections from a listener that is readable, as long as there are places. */
  *accept(listener: ServerSocket): Generator<Socket> {
    // The last is not tried for: an exception costs as much as a connection.
    do {
      const socket = this.#isOpen && this.#acceptOne(listener);
      if (!socket) return;
      yield socket;
    } while (listener.waiting > 0);
  }

  /** Why the rules keep a client out; `undefined` if it is let in. */
  refusalOf(peer: Peer): string | undefined {
    const { allowed, maxPerHost } = this.#options;
    if (this.isDenied(peer) || peer.kind === "ip" && allowed?.has(peer) === false) {
      return NOT_ALLOWED;
    }
    if (maxPerHost === undefined || peer.kind === "unix") return;
    const count = this.#takenByHost.get(hostKey(peer)) ?? 0;
    return count < maxPerHost ? undefined : `${plural(count, "connection")} already`;
  }

  /** Whether even a proxy with this address is kept out. */
  isDenied(peer: Peer): boolean {
    return this.#options.denied?.has(peer) ?? false;
  }

  /** Gives a place to a connection. */
  enter(): void {
    this.#taken++;
    if (this.#places === 0) this.#sayFull();
    this.#sync();
  }

  /** Counts a client for its address; a proxied one has none before it is named. */
  count(peer: Peer): void {
    if (this.#options.maxPerHost === undefined || peer.kind === "unix") return;
    const key = hostKey(peer);
    this.#takenByHost.set(key, (this.#takenByHost.get(key) ?? 0) + 1);
  }

  /** A place is free again; `counted` is whom {@linkcode count} was told of. */
  left(counted: Peer | undefined): void {
    this.#taken--;
    if (counted) this.#uncount(counted);
    // It may have been descriptors that were missing.
    if (this.#lacking === 0) this.#pause.end();
    if (this.#full) this.#full = { sayAtMs: performance.now() + REOPENED_MS };
    this.#sync();
  }

  /**
   * Accepts nobody while somebody who was accepted lacks a descriptor to go on, or the next
   * client would take the first that is free. Disposing tells that there was one.
   */
  hold(error: unknown): Disposable {
    this.#lacking++;
    this.#pauseFor(reasonOf(error));
    return {
      [Symbol.dispose]: () => {
        if (--this.#lacking === 0) this.#pause.end();
      },
    };
  }

  /** Accepts nobody any more. */
  close(): void {
    this.#isClosed = true;
    this.#sync();
  }

  get dueAtMs(): number {
    const pausedUntilMs = this.#lacking > 0 ? Infinity : this.#pause.dueAtMs;
    return Math.min(pausedUntilMs, this.#full?.sayAtMs ?? Infinity);
  }

  onDue(nowMs: number): void {
    if (this.#lacking === 0) this.#pause.onDue(nowMs);
    if (this.#full && this.#full.sayAtMs <= nowMs) {
      if (this.#places > 0) this.#options.say("earshot: connections are accepted again");
      this.#full = this.#places > 0 ? undefined : { sayAtMs: Infinity };
    }
    this.#sync();
  }

  get #places(): number {
    return Math.max(0, this.#options.maxConnections - this.#taken);
  }

  get #isOpen(): boolean {
    return !this.#isClosed && !this.isPaused && this.#places > 0;
  }

  /** Watches the listeners while the admission is open. */
  #sync(): void {
    if (this.#isRegistered === this.#isOpen) return;
    this.#isRegistered = this.#isOpen;
    const { listeners, multiplexer } = this.#options;
    for (const listener of listeners) {
      if (this.#isRegistered) multiplexer.register(listener, POLLIN);
      else multiplexer.unregister(listener);
    }
  }

  #sayFull(): void {
    const { say, maxConnections } = this.#options;
    if (!this.#full) {
      say(
        `earshot: ${
          plural(maxConnections, "connection")
        }, no more are accepted (--max-connections)`,
      );
    }
    this.#full = { sayAtMs: Infinity };
  }

  #uncount(peer: Peer): void {
    if (this.#options.maxPerHost === undefined || peer.kind === "unix") return;
    const key = hostKey(peer);
    const count = this.#takenByHost.get(key) ?? 0;
    if (count > 1) this.#takenByHost.set(key, count - 1);
    else this.#takenByHost.delete(key);
  }

  #acceptOne(listener: ServerSocket): Socket | undefined {
    try {
      this.#options.reserve.demand();
      const socket = listener.accept();
      this.#failures = 0;
      return socket;
    } catch (error) {
      if (error instanceof Deno.errors.WouldBlock) return;
      this.#options.onAcceptError();
      this.#onFault(error);
    }
  }

  #onFault(error: unknown): void {
    const fault = acceptFaultOf(error);
    if (fault === "lost client") return;
    if (fault !== "shortage") this.#failures++;
    const reason = reasonOf(error);
    if (fault === "gone" || this.#failures >= MAX_FAILURES) {
      this.#failure = new Failure(`Cannot accept connections: ${reason}`);
      this.close();
    } else this.#pauseFor(reason);
  }

  #pauseFor(reason: string): void {
    const message = `earshot: Cannot accept connections for now: ${reason}; new clients wait`;
    this.#pause.begin(reason, message);
    this.#sync();
  }
}
