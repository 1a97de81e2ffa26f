/**
 * The plain text of a {@linkcode TlsSession} whose handshake is done.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import type { ByteStream } from "../../poller.ts";
import { NO_BYTES } from "../bytes.ts";
import { type Sink, writeAll } from "../io.ts";
import { closeQuietly, FAREWELL_MS } from "./farewell.ts";
import type { RecordReader } from "./record_reader.ts";
import { tlsWords } from "./tls_faults.ts";
import { TlsSession } from "./tls_session.ts";

/** As much as a session encrypts at a time. */
const MAX_WRITE_BYTES = 48 * 1024;

/** What an established connection is made of. */
export interface Established {
  readonly below: ByteStream;
  readonly session: TlsSession;
  readonly records: RecordReader;
  /**
   * Tickets, the only thing that a server of TLS 1.3 says unasked. They wait until there
   * is something to read: a client that only sends leaves them unread, so that its close()
   * would be a reset, which drops what it has not sent yet.
   */
  readonly held: Uint8Array;
}

/** The plain text. */
export class SessionStream implements ByteStream {
  readonly remoteAddr?: Deno.Addr;
  readonly localAddr?: Deno.Addr;
  readonly #below: ByteStream;
  readonly #session: TlsSession;
  readonly #records: RecordReader;
  #held: Uint8Array;
  /** Decrypted and not read yet. */
  #plain: Uint8Array = NO_BYTES;
  #isClosed = false;
  #hasFinished = false;
  /** The writes so far; one that fails fails those behind it. */
  #written: Promise<void> | undefined;
  #unwritten = 0;
  #answering: Promise<void> | undefined;
  #cancelWrite: ((error: Error) => void) | undefined;

  constructor({ below, session, records, held }: Established) {
    const { remoteAddr, localAddr } = below;
    if (remoteAddr) this.remoteAddr = remoteAddr;
    if (localAddr) this.localAddr = localAddr;
    this.#below = below;
    this.#session = session;
    this.#records = records;
    this.#held = held;
  }

  async read(p: Uint8Array): Promise<number | null> {
    for (;;) {
      this.#assertOpen();
      const count = this.#take(p);
      this.#answer();
      if (count > 0) return count;
      const { error, hasEnded } = this.#session;
      if (error) throw new Deno.errors.InvalidData(tlsWords(error));
      // Many clients leave without close_notify: that is a clean end, too.
      if (hasEnded || !await this.#receive()) return null;
      if (this.#isClosed) throw cancelled();
    }
  }

  /** Waits for more ciphertext, and first until an answer to the last is taken. */
  async #receive(): Promise<boolean> {
    if (this.#answering) await this.#answering;
    if (this.#isClosed) throw cancelled();
    this.#answering = undefined;
    return await this.#records.fill();
  }

  /** Fills `p` as far as what has come allows. */
  #take(p: Uint8Array): number {
    let count = this.#takePlain(p);
    while (count < p.length && this.#mayDecrypt) {
      const length = this.#session.receive(this.#records.take());
      const fitting = Math.min(length, p.length - count);
      p.set(TlsSession.plain.subarray(0, fitting), count);
      if (fitting < length) this.#plain = TlsSession.plain.slice(fitting, length);
      count += fitting;
    }
    return count;
  }

  #takePlain(p: Uint8Array): number {
    const count = Math.min(p.length, this.#plain.length);
    if (count === 0) return 0;
    p.set(this.#plain.subarray(0, count));
    this.#plain = count < this.#plain.length ? this.#plain.subarray(count) : NO_BYTES;
    return count;
  }

  get #mayDecrypt(): boolean {
    return !this.#records.isEmpty && !this.#session.hasEnded && !this.#session.error;
  }

  /** Says what TLS itself has to say, such as new keys or an alert. */
  #answer(): void {
    const output = this.#session.takeOutput();
    if (output.length > 0) this.#answering = this.#send(output).catch(() => {});
  }

  async write(p: Uint8Array): Promise<number> {
    this.#assertOpen();
    if (this.#hasFinished || this.#session.error) throw new Deno.errors.BrokenPipe("Broken pipe");
    const chunk = p.subarray(0, MAX_WRITE_BYTES);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#cancelWrite = reject;
    this.#send(this.#session.encrypt(chunk)).then(resolve, reject);
    await promise;
    return chunk.length;
  }

  #assertOpen(): void {
    if (this.#isClosed) throw new Deno.errors.BadResource("Bad resource ID");
  }

  async #send(output: Uint8Array): Promise<void> {
    const bytes = this.#held.length > 0 ? Buffer.concat([this.#held, output]) : output;
    this.#held = NO_BYTES;
    this.#unwritten++;
    this.#written = this.#writeBehind(this.#written, bytes);
    try {
      await this.#written;
    } finally {
      this.#unwritten--;
    }
  }

  async #writeBehind(before: Promise<void> | undefined, bytes: Uint8Array): Promise<void> {
    await before;
    await writeAll(this.#below as Sink, bytes);
  }

  /** Sends close_notify, and then FIN. */
  async closeWrite(): Promise<void> {
    if (this.#hasFinished || this.#isClosed) return;
    this.#hasFinished = true;
    await this.#send(this.#session.closeNotify()).catch(() => {});
    await this.#below.closeWrite?.();
  }

  /** Says close_notify first, unless what was said before it has not been taken yet. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#plain = NO_BYTES;
    this.#cancelWrite?.(cancelled());
    if (this.#session.error || this.#hasFinished || this.#unwritten > 0) return this.#free();
    const timer = setTimeout(() => this.#free(), FAREWELL_MS);
    this.#send(this.#session.closeNotify()).catch(() => {}).then(() => {
      clearTimeout(timer);
      this.#free();
    });
  }

  #free(): void {
    this.#session.free();
    closeQuietly(this.#below);
  }
}

function cancelled(): Error {
  return new Deno.errors.Interrupted("operation canceled");
}
