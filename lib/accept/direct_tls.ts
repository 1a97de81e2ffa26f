/**
 * TLS by the class on which `node:tls` stands, without the streams in between.
 *
 * @module
 */

import type { ByteStream } from "../../poller.ts";
import { NO_BYTES } from "../bytes.ts";
import { type Sink, writeAll } from "../io.ts";
import type { ClientCertificates } from "./client_certificates.ts";
import { sayFarewell } from "./farewell.ts";
import { HandshakeError, SilentEnd } from "./handshake_faults.ts";
import { RecordReader } from "./record_reader.ts";
import {
  closedByClient,
  endOf,
  fatalAlert,
  type Secured,
  securedOf,
  type ServerSide,
} from "./secured.ts";
import { type Established, SessionStream } from "./session_stream.ts";
import { handshakeErrorOf } from "./tls_faults.ts";
import type { TlsMaterial } from "./tls_files.ts";
import { TlsSession } from "./tls_session.ts";
import type { TlsWrapClass } from "./tls_wrap.ts";

/** A handshake under way. */
type Attempt = Omit<Established, "held">;

/** Puts TLS on streams. */
export class DirectTls implements ServerSide {
  readonly #TlsWrap: TlsWrapClass;
  readonly #context: object;
  readonly #certificates: ClientCertificates | undefined;

  /** `certificates` judges those of clients. */
  constructor(
    TlsWrap: TlsWrapClass,
    { cert, key, ca }: TlsMaterial,
    certificates: ClientCertificates | undefined,
  ) {
    this.#TlsWrap = TlsWrap;
    // A certificate is insisted on, and whoever sees it judges it.
    this.#context = { cert, key, ...ca && { ca, requestCert: true, rejectUnauthorized: true } };
    this.#certificates = certificates;
  }

  async secure(below: ByteStream): Promise<Secured> {
    const session = new TlsSession(
      new this.#TlsWrap(1, 0),
      (wrap) => wrap.initServerTls(this.#context),
    );
    const attempt = { below, session, records: new RecordReader(below) };
    try {
      await shakeHands(attempt);
      const held = await this.#welcome(attempt);
      const der = this.#certificates && session.shown.der;
      return securedOf(new SessionStream({ ...attempt, held }), der);
    } catch (error) {
      await sayFarewell(below, session.takeOutput());
      session.free();
      throw attempt.records.firstByte === undefined ? new SilentEnd() : endOf(error);
    }
  }

  /** Sends the end of the handshake, unless the client is refused; returns what can wait. */
  async #welcome({ below, session }: Attempt): Promise<Uint8Array> {
    const output = session.takeOutput();
    const fault = this.#certificates?.whyRefused(session.shown);
    if (session.protocol === "TLSv1.3" && !fault) return output;
    // With TLS 1.2 an alert may stand in place of the end. With 1.3 the client takes the
    // handshake for done, and nothing but close_notify can follow.
    const isLate = session.protocol === "TLSv1.3";
    await writeAll(below as Sink, fault && !isLate ? fatalAlert(fault.alert) : output);
    if (!fault) return NO_BYTES;
    if (isLate) await writeAll(below as Sink, session.closeNotify());
    throw new HandshakeError("certificate refused", fault.words);
  }
}

async function shakeHands({ below, session, records }: Attempt): Promise<void> {
  while (!session.isEstablished) {
    if (records.isEmpty && !await records.fill()) throw closedByClient();
    session.receive(records.take());
    if (session.error) throw handshakeErrorOf(session.error, records.firstByte);
    if (!session.isEstablished) await writeAll(below as Sink, session.takeOutput());
  }
}
