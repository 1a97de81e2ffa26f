/**
 * From an accepted connection to a client: first the rules, then, where it has
 * to, the PROXY header and TLS.
 *
 * @module
 */

import { type ByteStream, type ServerSocket, Socket, type Source } from "../../poller.ts";
import { type Peer, peerOf } from "../addresses.ts";
import type { Admission } from "./admission.ts";
import type { HandshakeOutcome, Handshakes } from "./handshakes.ts";
import type { KeepAlive } from "./keep_alive.ts";
import type { StreamListening } from "./listeners.ts";
import type { TaskQueue } from "../loop/task_queue.ts";
import { type DisconnectReason, NOT_ALLOWED } from "../records/records.ts";
import type { Stats } from "../stats.ts";
import type { Tls } from "./tls.ts";

/** Where a connection comes from, and by which door. */
export interface Origin {
  readonly peer: Peer;
  /** The port that it came to, if there are several. */
  readonly to?: number | undefined;
}

interface Accepted extends Origin {
  readonly socket: Socket;
}

/** A connection that has become a client's. */
export interface Arrival extends Accepted {
  /** The proxy that it came through. */
  readonly through?: Peer | undefined;
  /** Common name of the certificate that it has shown. */
  readonly certificate?: string | undefined;
}

/** Takes those who arrive: the clients. */
export interface Arrivals {
  connect(arrival: Arrival): void;
  /** Records that a peer was kept out. */
  refuse(origin: Origin, reason: string): void;
  /** Records a connection that has not become a client. */
  fail(origin: Origin, acceptedAtMs: number, reason: DisconnectReason): void;
}

export interface ConnectionAcceptorOptions {
  readonly admission: Admission;
  readonly handshakes: Handshakes;
  /** What secures the ports that speak TLS. */
  readonly tls: Tls | undefined;
  readonly listening: readonly StreamListening[];
  /** Ports of the listeners, if they are several. */
  readonly ports: ReadonlyMap<Source, number>;
  readonly tasks: TaskQueue;
  readonly keepAlive: KeepAlive;
  readonly clients: Arrivals;
  readonly stats: Pick<Stats, "countHandshakeFailure">;
}

export class ConnectionAcceptor {
  readonly #options: ConnectionAcceptorOptions;
  readonly #listening: ReadonlyMap<ServerSocket, StreamListening>;

  constructor(options: ConnectionAcceptorOptions) {
    this.#options = options;
    this.#listening = new Map(options.listening.map((one) => [one.socket, one]));
  }

  /** Takes in whoever waits at a listener, as far as there are places. */
  accept(listener: ServerSocket): void {
    const listening = this.#listening.get(listener)!;
    for (const socket of this.#options.admission.accept(listener)) {
      const peer = peerOf(socket.remoteAddr, listening.path);
      const to = this.#options.ports.get(listener);
      this.#onAccepted({ socket, peer, to }, listening.isTls);
    }
  }

  #onAccepted(accepted: Accepted, isTls: boolean): void {
    const { admission, handshakes } = this.#options;
    const { peer } = accepted;
    const isProxy = handshakes.isProxy(peer);
    const refusal = isProxy ? admission.isDenied(peer) && NOT_ALLOWED : admission.refusalOf(peer);
    if (refusal) return this.#refuse(accepted, refusal);
    admission.enter();
    if (!isProxy) admission.count(peer);
    if (isProxy || isTls) this.#shakeHands(accepted, isTls);
    else this.#connect(accepted, accepted.socket.stream);
  }

  /** `connection` is what was accepted, below TLS. */
  #connect(arrival: Arrival, connection: ByteStream): void {
    const { keepAlive, clients } = this.#options;
    keepAlive.add(arrival.socket, connection, performance.now());
    clients.connect(arrival);
  }

  #refuse({ socket, peer, to }: Accepted, reason: string): void {
    socket.close();
    this.#options.clients.refuse({ peer, to }, reason);
  }

  /** Runs beside the loop: nobody waits for a client that is slow to begin. */
  #shakeHands(accepted: Accepted, isTls: boolean): void {
    const { handshakes, tls, tasks } = this.#options;
    const { socket, peer } = accepted;
    const acceptedAtMs = performance.now();
    handshakes.start(
      { stream: socket.stream, peer },
      isTls ? tls : undefined,
      (outcome) => tasks.post(() => this.#onOutcome(accepted, acceptedAtMs, outcome)),
    );
  }

  #onOutcome(accepted: Accepted, acceptedAtMs: number, outcome: HandshakeOutcome): void {
    const { admission, handshakes, clients } = this.#options;
    // A proxy's connection counts for the client that it is named to be, once that has arrived.
    const counted = handshakes.isProxy(accepted.peer) ? undefined : accepted.peer;
    if (outcome.tag === "arrived") return this.#onArrived(accepted, counted, outcome);
    admission.left(counted);
    const { to } = accepted;
    if (outcome.tag === "refused") clients.refuse({ peer: outcome.peer, to }, outcome.reason);
    if (outcome.tag === "failed") {
      if (outcome.fault) this.#options.stats.countHandshakeFailure(outcome.fault);
      const reason = { tag: "handshake", words: outcome.reason } as const;
      clients.fail({ peer: outcome.peer, to }, acceptedAtMs, reason);
    }
  }

  #onArrived(
    accepted: Accepted,
    counted: Peer | undefined,
    arrived: HandshakeOutcome & { tag: "arrived" },
  ): void {
    const { admission } = this.#options;
    const { stream, peer, through, certificate } = arrived;
    const { to } = accepted;
    const socket = stream === accepted.socket.stream ? accepted.socket : new Socket(stream);
    // Others of its address may have arrived since the proxy said who it is.
    const refusal = counted ? undefined : admission.refusalOf(peer);
    if (refusal) {
      admission.left(undefined);
      return this.#refuse({ socket, peer, to }, refusal);
    }
    if (!counted) admission.count(peer);
    this.#connect({ socket, peer, to, through, certificate }, accepted.socket.stream);
  }
}
