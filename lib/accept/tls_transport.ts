/**
 * The ciphertext on its way between an accepted stream and `node:tls`.
 *
 * @module
 */

import { nextTick } from "node:process";
import { Duplex } from "node:stream";
import type { ByteStream } from "../../poller.ts";
import { NO_BYTES } from "../bytes.ts";
import { type Sink, writeAll } from "../io.ts";
import { closeQuietly, FAREWELL_MS, readToEnd } from "./farewell.ts";
import { RecordSplitter } from "./tls_records.ts";

const SMALL_READ_BYTES = 4 * 1024;
/** The most that is read at a time, and with it the most plain text that is held for a reader. */
const READ_BYTES = 64 * 1024;

/** Carries the ciphertext between a stream and `node:tls`, where nobody would listen to a failure. */
export class TlsTransport extends Duplex {
  readonly below: ByteStream;
  /** What was wrong with the first write that failed. */
  fault: unknown;
  /** The first byte that has come; `undefined` if none has. */
  firstByte: number | undefined;
  /** Whether `node:tls` has given it up. */
  isGivenUp = false;
  readonly #splitter = new RecordSplitter();
  #buffer = new Uint8Array(SMALL_READ_BYTES);
  #writing: Promise<void> | undefined;
  #hasWritten = false;
  #keeps: "nothing" | "the next write" | "all" = "nothing";
  /** What goes in front of the next write. */
  #kept = NO_BYTES;

  constructor(below: ByteStream) {
    super();
    this.below = below;
  }

  /** Nothing: bytes are pushed when whoever reads the plain text asks for more. */
  override _read(): void {}

  /** What is pushed before this would be kept for a while, and the end could overtake it. */
  listenedTo(): Promise<void> {
    return new Promise((resolve) => this.once("resume", resolve).once("close", resolve));
  }

  /**
   * Waits for ciphertext and has it decrypted; resolves to false at the end of input.
   * It is handed over record by record, for what one call decrypts is lost if the last
   * of it is damaged or an alert.
   */
  async receive(): Promise<boolean> {
    const count = await this.below.read(this.#buffer);
    if (count === null) return false;
    const bytes = this.#buffer.subarray(0, count);
    this.firstByte ??= bytes[0];
    for (const record of this.#splitter.split(bytes)) if (!this.isGivenUp) this.push(record);
    this.#adapt(count);
    return true;
  }

  /** Chooses the buffer of the next read. It is another one if this was not decrypted at once. */
  #adapt(count: number): void {
    const isKept = this.readableLength > 0;
    if (count === this.#buffer.length) this.#renew(READ_BYTES, isKept);
    else this.#renew(count <= SMALL_READ_BYTES ? SMALL_READ_BYTES : READ_BYTES, isKept);
  }

  #renew(length: number, isKept: boolean): void {
    if (isKept || length !== this.#buffer.length) this.#buffer = new Uint8Array(length);
  }

  /**
   * Keeps the tickets of the session, the only thing that a server of TLS 1.3 says
   * unasked after the handshake, until there is something to read. A client that only
   * sends leaves them unread, so that its close() would be a reset, which drops what
   * it has not sent yet.
   */
  keepTickets(): void {
    this.#keeps = "the next write";
  }

  /** From now on all that is written is meant to be read. */
  keepNothing(): void {
    this.#keeps = "nothing";
  }

  /** Says this instead of all that `node:tls` has not said yet, and will. */
  sayInstead(bytes: Uint8Array): void {
    this.#keeps = "all";
    this.#start(bytes);
  }

  override _write(chunk: Uint8Array, _encoding: string, done: () => void): void {
    if (this.fault !== undefined || this.#keeps === "all") return done();
    if (this.#keeps === "the next write") return this.#keep(chunk, done);
    this.#start(chunk).then(done);
  }

  #keep(chunk: Uint8Array, done: () => void): void {
    this.#keeps = "nothing";
    this.#kept = new Uint8Array(chunk);
    done();
  }

  #start(chunk: Uint8Array): Promise<void> {
    const writing = this.#writeAll(chunk).catch((error) => {
      this.fault = error;
    }).then(() => {
      if (this.#writing === writing) this.#writing = undefined;
    });
    return this.#writing = writing;
  }

  async #writeAll(chunk: Uint8Array): Promise<void> {
    const kept = this.#kept;
    this.#kept = NO_BYTES;
    this.#hasWritten = true;
    if (kept.length > 0) await writeAll(this.below as Sink, kept);
    await writeAll(this.below as Sink, chunk);
  }

  get isWriting(): boolean {
    return this.#writing !== undefined;
  }

  /** Waits until all that `node:tls` has to say is written, which it hands over in microtasks. */
  async flushed(): Promise<void> {
    do await ticked(); while (await this.#writing?.then(() => true));
  }

  /**
   * What `node:tls` calls when a handshake has failed, a microtask before it writes the
   * alert that tells the client why: a stream that is destroyed would drop that.
   */
  override destroy(): this {
    this.isGivenUp = true;
    return this;
  }

  /** Closes the stream below when the client has had the time to read why. */
  async dismiss(): Promise<void> {
    const timer = setTimeout(() => this.close(), FAREWELL_MS);
    await this.flushed();
    if (this.#hasWritten && this.fault === undefined) await readToEnd(this.below).catch(() => {});
    clearTimeout(timer);
    this.close();
  }

  /** Frees the stream below and all that hangs on it. */
  close(): void {
    super.destroy();
    this.isGivenUp = true;
    closeQuietly(this.below);
  }
}

/** Resolves behind the events that `node:stream` has put off. */
export function ticked(): Promise<void> {
  return new Promise((resolve) => nextTick(resolve));
}
