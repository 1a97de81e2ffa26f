/**
 * From an accepted connection to a client: first the rules, then, where it has
 * to, the PROXY header and TLS.
 *
 * @module
 */

import { type ServerSocket, Socket } from "../../poller.ts";
import { type Peer, peerOf } from "../addresses.ts";
import type { Admission } from "./admission.ts";
import type { Handshakes, Outcome } from "./handshakes.ts";
import type { StreamListening } from "./listeners.ts";
import type { TaskQueue } from "../loop/task_queue.ts";
import { type DisconnectReason, NOT_ALLOWED } from "../records/records.ts";
import type { Stats } from "../stats.ts";
import type { Tls } from "./tls.ts";

/** A connection that has become a client's. */
export interface Arrival {
  readonly socket: Socket;
  readonly peer: Peer;
  /** The proxy that it came through. */
  readonly through?: Peer | undefined;
  /** Common name of the certificate that it has shown. */
  readonly certificate?: string | undefined;
}

/** Takes those who arrive: the clients. */
export interface Arrivals {
  connect(arrival: Arrival): void;
  /** Records that a peer was kept out. */
  refuse(peer: Peer, reason: string): void;
  /** Records a connection that has not become a client. */
  fail(peer: Peer, acceptedAtMs: number, reason: DisconnectReason): void;
}

export interface ConnectionAcceptorOptions {
  readonly admission: Admission;
  readonly handshakes: Handshakes;
  /** What secures the ports that speak TLS. */
  readonly tls: Tls | undefined;
  readonly listening: readonly StreamListening[];
  readonly tasks: TaskQueue;
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
      this.#onAccepted(socket, listening);
    }
  }

  #onAccepted(socket: Socket, { file, isTls }: StreamListening): void {
    const { admission, handshakes } = this.#options;
    const peer = peerOf(socket.remoteAddr, file?.path);
    const isProxy = handshakes.isProxy(peer);
    const refusal = isProxy ? admission.isDenied(peer) && NOT_ALLOWED : admission.refusalOf(peer);
    if (refusal) return this.#refuse(socket, peer, refusal);
    keepAlive(socket);
    admission.enter();
    if (!isProxy) admission.count(peer);
    if (isProxy || isTls) this.#shakeHands(socket, peer, isTls);
    else this.#options.clients.connect({ socket, peer });
  }

  #refuse(socket: Socket, peer: Peer, reason: string): void {
    socket.close();
    this.#options.clients.refuse(peer, reason);
  }

  /** Runs beside the loop: nobody waits for a client that is slow to begin. */
  #shakeHands(socket: Socket, peer: Peer, isTls: boolean): void {
    const { handshakes, tls, tasks } = this.#options;
    const acceptedAtMs = performance.now();
    handshakes.start(
      { stream: socket.stream, peer },
      isTls ? tls : undefined,
      (outcome) => tasks.post(() => this.#onOutcome(socket, peer, acceptedAtMs, outcome)),
    );
  }

  #onOutcome(socket: Socket, accepted: Peer, acceptedAtMs: number, outcome: Outcome): void {
    const { admission, handshakes, clients } = this.#options;
    // A proxy's connection counts for the client that it is named to be, once that has arrived.
    const counted = handshakes.isProxy(accepted) ? undefined : accepted;
    if (outcome.tag === "arrived") return this.#onArrived(socket, counted, outcome);
    admission.left(counted);
    if (outcome.tag === "refused") clients.refuse(outcome.peer, outcome.reason);
    if (outcome.tag === "failed") {
      if (outcome.fault) this.#options.stats.countHandshakeFailure(outcome.fault);
      const reason = { tag: "handshake", words: outcome.reason } as const;
      clients.fail(outcome.peer, acceptedAtMs, reason);
    }
  }

  #onArrived(
    accepted: Socket,
    counted: Peer | undefined,
    arrived: Outcome & { tag: "arrived" },
  ): void {
    const { admission, clients } = this.#options;
    const { stream, peer, through, certificate } = arrived;
    const socket = stream === accepted.stream ? accepted : new Socket(stream);
    // Others of its address may have arrived since the proxy said who it is.
    const refusal = counted ? undefined : admission.refusalOf(peer);
    if (refusal) {
      admission.left(undefined);
      return this.#refuse(socket, peer, refusal);
    }
    if (!counted) admission.count(peer);
    clients.connect({ socket, peer, through, certificate });
  }
}

/** Finds out a peer that vanished. That takes two hours: Deno can only switch it on or off. */
function keepAlive({ stream }: Socket): void {
  try {
    (stream as Partial<Deno.TcpConn>).setKeepAlive?.(true);
  } catch {
    // The peer is gone already; reading tells.
  }
}
