/**
 * TLS on top of a stream that was accepted before. `Deno.listenTls` can neither ask
 * for client certificates nor take new ones of its own, and a connection whose
 * handshake hangs cannot be closed.
 *
 * @module
 */

import type { ByteStream } from "../../poller.ts";
import { reasonOf } from "../errors.ts";
import { ClientCertificates } from "./client_certificates.ts";
import { DirectTls } from "./direct_tls.ts";
import { DuplexTls } from "./duplex_tls.ts";
import type { Secured, ServerSide } from "./secured.ts";
import { readTlsFiles, type TlsFiles, unusable } from "./tls_files.ts";
import { findTlsWrap } from "./tls_wrap.ts";

/** Puts TLS on streams, with a certificate that may be exchanged meanwhile. */
export class Tls {
  readonly #files: TlsFiles;
  #side: ServerSide;

  /** Reads the files; throws a `Failure` that names the one that is of no use. */
  constructor(files: TlsFiles) {
    this.#files = files;
    this.#side = sideOf(files);
  }

  /**
   * Reads the files anew, for the handshakes to come. If one of them is of no use
   * it throws as the constructor does, and the old ones stay.
   */
  reload(): void {
    this.#side = sideOf(this.#files);
  }

  /**
   * Shakes hands over a stream, which it then owns. Rejects with a {@linkcode HandshakeError},
   * or a {@linkcode SilentEnd} if the client has left without a word; the stream is closed by
   * then. There is no limit of time: whoever closes the stream ends the handshake.
   */
  secure(stream: ByteStream): Promise<Secured> {
    return this.#side.secure(stream);
  }
}

function sideOf(files: TlsFiles): ServerSide {
  const material = readTlsFiles(files);
  const certificates = material.ca === undefined ? undefined : new ClientCertificates();
  try {
    // It is made in any case: it finds out keys of kinds that TLS does not have.
    const duplex = new DuplexTls(material, certificates);
    const TlsWrap = findTlsWrap(material);
    return TlsWrap ? new DirectTls(TlsWrap, material, certificates) : duplex;
  } catch (error) {
    const reason = `TLS cannot use such a key: ${reasonOf(error)}`;
    throw unusable("--tls-key", files.keyFile, reason);
  }
}
