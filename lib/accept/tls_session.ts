/**
 * TLS without a stream: bytes in, bytes out, at once.
 *
 * @module
 */

import { NO_BYTES } from "../bytes.ts";
import type { Shown } from "./client_certificates.ts";

/** The class of the runtime that does it, as far as it is used here. Zero is success. */
export interface TlsWrap {
  initServerTls(context: object): number;
  initClientTls(name: string, context: object): number;
  attachJsStream(): number;
  /** Whose `onhandshakedone` and `onerror` are called, and who is `this` of all. */
  setHandle(handle: object): void;
  /** What is called when there is plain text, and once more at its end. */
  setOnread(onread: () => void): void;
  /** Where plain text is put. */
  useUserBuffer(buffer: Uint8Array): void;
  start(): number;
  readBuffer(ciphertext: Uint8Array): void;
  drainEncOut(): Uint8Array;
  writeBuffer(request: object, plain: Uint8Array): number;
  shutdown(request: object): number;
  /** Bytes of plain text so far. */
  getBytesRead(): number;
  getProtocol(out: { protocol?: string }): number;
  getPeerCertificateChain(): { readonly certificates: readonly Uint8Array[] } | null;
  verifyError(): string;
  isSessionReused(): boolean;
  destroySsl(): void;
}

/** The most plain text of a record. */
const RECORD_BYTES = 16 * 1024;

/** Asked for with each write; nobody needs to be told when it is done. */
const REQUEST = {};

/** One end of a connection. */
export class TlsSession {
  /** Where all sessions put what they decrypt; valid until the next record of any. */
  static readonly plain: Uint8Array = new Uint8Array(RECORD_BYTES);

  /** Whether the handshake is done. */
  isEstablished = false;
  /** Whether the peer has said close_notify. */
  hasEnded = false;
  /** What ended it, and what an alert tells the peer that is among the output. */
  error: Error | undefined;
  readonly #wrap: TlsWrap;
  #plainBytes = 0;
  #wasTold = false;

  /** `init` gives it its certificates; throws if they are of no use. */
  constructor(wrap: TlsWrap, init: (wrap: TlsWrap) => number) {
    this.#wrap = wrap;
    if (init(wrap) !== 0) throw new Error("unsupported protocol");
    wrap.attachJsStream();
    wrap.setHandle(this);
    wrap.setOnread(onread);
    wrap.useUserBuffer(TlsSession.plain);
    if (wrap.start() !== 0) throw new Error("cannot start");
  }

  /**
   * Takes a record, or a part of one; returns how much of {@linkcode plain} it has filled.
   * Not more than that at a time: what stood in front of a record that is damaged, or a
   * fatal alert, would be lost.
   */
  receive(ciphertext: Uint8Array): number {
    this.#wasTold = false;
    this.#wrap.readBuffer(ciphertext);
    const before = this.#plainBytes;
    this.#plainBytes = this.#wrap.getBytesRead();
    if (!this.#wasTold) return 0;
    this.hasEnded ||= this.#plainBytes === before;
    return this.#plainBytes - before;
  }

  /** What is to be sent to the peer. */
  takeOutput(): Uint8Array {
    return this.#wrap.drainEncOut();
  }

  /** Returns what is to be sent. What is longer than 48 KiB would come in several parts. */
  encrypt(plain: Uint8Array): Uint8Array {
    if (plain.length === 0) return NO_BYTES;
    this.#wrap.writeBuffer(REQUEST, plain);
    return this.takeOutput();
  }

  /** Says that nothing more will be said; returns what is to be sent. */
  closeNotify(): Uint8Array {
    this.#wrap.shutdown(REQUEST);
    return this.takeOutput();
  }

  /** `TLSv1.3`. */
  get protocol(): string | undefined {
    const out: { protocol?: string } = {};
    this.#wrap.getProtocol(out);
    return out.protocol;
  }

  /** The certificate of the peer, and what is to be said of it. */
  get shown(): Shown {
    return {
      code: this.#wrap.verifyError(),
      der: this.#wrap.getPeerCertificateChain()?.certificates[0],
      isResumed: this.#wrap.isSessionReused(),
    };
  }

  /** The runtime holds it until it is freed. */
  free(): void {
    this.#wrap.destroySsl();
  }

  // -- What the runtime calls --

  onhandshakedone(): void {
    this.isEstablished = true;
  }

  onerror(error: Error): void {
    this.error ??= error;
  }

  onplain(): void {
    this.#wasTold = true;
  }
}

function onread(this: TlsSession): void {
  this.onplain();
}
