/**
 * TLS by `node:tls` alone: a server that does not listen is handed a `Duplex` over each
 * stream. For runtimes whose inside {@linkcode findTlsWrap} does not know.
 *
 * @module
 */

import { Duplex } from "node:stream";
import { createServer, type Server, type TLSSocket } from "node:tls";
import type { ByteStream } from "../../poller.ts";
import type { CertificateFault, ClientCertificates } from "./client_certificates.ts";
import { HandshakeError, SilentEnd } from "./handshake_faults.ts";
import { SecureStream } from "./secure_stream.ts";
import {
  closedByClient,
  endOf,
  fatalAlert,
  type Secured,
  securedOf,
  type ServerSide,
} from "./secured.ts";
import { handshakeErrorOf } from "./tls_faults.ts";
import type { TlsMaterial } from "./tls_files.ts";
import { TlsTransport } from "./tls_transport.ts";

/** Puts TLS on streams. */
export class DuplexTls implements ServerSide {
  readonly #server: Server;

  /** `certificates` judges those of clients. Throws if the key is of no use. */
  constructor(material: TlsMaterial, certificates: ClientCertificates | undefined) {
    this.#server = serverOf(material, certificates);
  }

  async secure(stream: ByteStream): Promise<Secured> {
    const wire = new TlsTransport(stream);
    try {
      const socket = await shakeHands(this.#server, wire);
      return securedOf(new SecureStream(wire, socket), certificateOf(socket));
    } catch (error) {
      await wire.dismiss();
      throw wire.firstByte === undefined ? new SilentEnd() : error;
    }
  }
}

/** A server that speaks for these files; it never listens. */
function serverOf({ cert, key, ca }: TlsMaterial, certificates?: ClientCertificates): Server {
  const server = createServer({
    cert,
    key,
    ...ca && { ca, requestCert: true },
    // Deno forgets to cancel this timer when a handshake fails, and it would hold all
    // that the connection had. A negative one is never started.
    handshakeTimeout: -1,
  });
  listenForEnds(server, certificates);
  tryOut(server);
  return server;
}

/** Keys of kinds that TLS does not have are found only when a connection comes. */
function tryOut(server: Server): void {
  const trial = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });
  const attempt = attemptOf(server);
  attempt.server.emit("connection", trial);
  trial.destroy();
  if (attempt.failure) throw attempt.failure;
}

// -- Handshakes --

/** A handshake under way. */
interface Attempt {
  readonly wire?: TlsTransport;
  /** The server as this connection sees it: what it emits comes from this object. */
  readonly server: Server;
  readonly ended: PromiseWithResolvers<void>;
  socket?: TLSSocket;
  failure?: Error;
}

const attempts = new WeakMap<Server, Attempt>();

/**
 * Without a value `node:tls` insists on a certificate, and leaves it to its user to judge
 * the one that comes. With true it would drop the connection before the client could be
 * told why; with false a client that has none would not hear that it needs one.
 */
const JUDGED_HERE = { rejectUnauthorized: { value: undefined } };

/**
 * An event names only the TLS socket, which does not say what it was made from.
 * So each connection comes to an object of its own, which inherits from the
 * server its settings and its listeners, and is their `this`.
 */
function attemptOf(server: Server, wire?: TlsTransport): Attempt {
  const attempt: Attempt = {
    ...wire && { wire },
    server: Object.create(server, JUDGED_HERE),
    ended: Promise.withResolvers(),
  };
  attempts.set(attempt.server, attempt);
  return attempt;
}

/** `certificates` judges those of clients, if they need one. */
function listenForEnds(server: Server, certificates: ClientCertificates | undefined): void {
  server.on("secureConnection", function (this: Server, socket: TLSSocket) {
    const attempt = attempts.get(this)!;
    const fault = certificates?.whyRefused({
      code: String(socket.authorizationError ?? ""),
      der: certificateOf(socket),
      isResumed: socket.isSessionReused(),
    });
    if (fault) refuse(attempt, socket, fault);
    else accept(attempt, socket);
    attempt.ended.resolve();
  });
  server.on("tlsClientError", function (this: Server, error: Error) {
    const attempt = attempts.get(this)!;
    attempt.failure ??= handshakeErrorOf(error, attempt.wire?.firstByte);
    attempt.ended.resolve();
  });
}

function accept(attempt: Attempt, socket: TLSSocket): void {
  attempt.socket = socket;
  if (socket.getProtocol() === "TLSv1.3") attempt.wire?.keepTickets();
}

/** Without a certificate the object is empty, which its type does not say. */
function certificateOf(socket: TLSSocket): Uint8Array | undefined {
  return (socket.getPeerCertificate() as { raw?: Uint8Array }).raw;
}

/**
 * Tells a client that its certificate is of no use. With TLS 1.2 the end of the handshake
 * is not written yet, so that an alert may stand in its place; with 1.3 the client takes
 * the handshake for done, and nothing but close_notify can follow.
 */
function refuse(attempt: Attempt, socket: TLSSocket, { words, alert }: CertificateFault): void {
  attempt.failure ??= new HandshakeError("certificate refused", words);
  socket.on("error", () => {});
  if (socket.getProtocol() === "TLSv1.2") attempt.wire?.sayInstead(fatalAlert(alert));
  socket.end();
}

async function shakeHands(server: Server, wire: TlsTransport): Promise<TLSSocket> {
  const attempt = attemptOf(server, wire);
  attempt.server.emit("connection", wire);
  feed(wire, attempt);
  await attempt.ended.promise;
  if (attempt.socket) return attempt.socket;
  throw attempt.failure;
}

/**
 * Gives the handshake what comes, and not a read more: the next belongs to the
 * reader. A wire that is given up has failed, and the reason is on its way.
 */
async function feed(wire: TlsTransport, attempt: Attempt): Promise<void> {
  try {
    await wire.listenedTo();
    while (!attempt.socket && !attempt.failure && !wire.isGivenUp) {
      if (!await wire.receive()) throw closedByClient();
    }
  } catch (error) {
    attempt.failure ??= endOf(error);
    attempt.ended.resolve();
  }
}
