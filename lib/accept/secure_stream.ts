/**
 * The plain text of a connection whose handshake is done.
 *
 * @module
 */

import type { TLSSocket } from "node:tls";
import type { ByteStream } from "../../poller.ts";
import { NO_BYTES } from "../bytes.ts";
import { FAREWELL_MS } from "./farewell.ts";
import { tlsWords } from "./tls_faults.ts";
import { ticked, type TlsTransport } from "./tls_transport.ts";

const MAX_WRITE_BYTES = 64 * 1024;

type Input =
  | { readonly tag: "open" }
  /** By close_notify. */
  | { readonly tag: "ended" }
  /** What came was no TLS any more. */
  | { readonly tag: "broken"; readonly error: Error }
  /** By the owner. */
  | { readonly tag: "closed" };

/** The plain text. */
export class SecureStream implements ByteStream {
  readonly remoteAddr?: Deno.Addr;
  readonly localAddr?: Deno.Addr;
  readonly #wire: TlsTransport;
  readonly #socket: TLSSocket;
  /** Decrypted and not read yet. */
  #plain: Uint8Array = NO_BYTES;
  #input: Input = { tag: "open" };

  constructor(wire: TlsTransport, socket: TLSSocket) {
    const { remoteAddr, localAddr } = wire.below;
    if (remoteAddr) this.remoteAddr = remoteAddr;
    if (localAddr) this.localAddr = localAddr;
    this.#wire = wire;
    this.#socket = socket;
    socket.on("end", () => this.#endInput({ tag: "ended" }));
    socket.on("error", (error) => this.#endInput({ tag: "broken", error }));
  }

  #endInput(input: Input): void {
    if (this.#input.tag === "open") this.#input = input;
  }

  async read(p: Uint8Array): Promise<number | null> {
    for (;;) {
      if (this.#input.tag === "closed") throw new Deno.errors.BadResource("Bad resource ID");
      if (this.#plain.length === 0) this.#plain = this.#socket.read() ?? NO_BYTES;
      if (this.#plain.length > 0) return this.#take(p);
      if (await this.#hasEnded()) return null;
      // Many clients leave without close_notify: that is a clean end, too.
      if (!await this.#wire.receive()) return null;
    }
  }

  #take(p: Uint8Array): number {
    const count = Math.min(p.length, this.#plain.length);
    p.set(this.#plain.subarray(0, count));
    this.#plain = this.#plain.subarray(count);
    return count;
  }

  /** Whether the input has ended: what the last bytes meant for that is told one tick later. */
  async #hasEnded(): Promise<boolean> {
    await ticked();
    switch (this.#input.tag) {
      case "closed":
        throw new Deno.errors.Interrupted("operation canceled");
      case "broken":
        throw new Deno.errors.InvalidData(tlsWords(this.#input.error));
    }
    return this.#input.tag === "ended";
  }

  async write(p: Uint8Array): Promise<number> {
    if (this.#input.tag === "closed") throw new Deno.errors.BadResource("Bad resource ID");
    if (!this.#socket.writable) throw new Deno.errors.BrokenPipe("Broken pipe");
    const chunk = p.subarray(0, MAX_WRITE_BYTES);
    this.#wire.keepNothing();
    const fault = await new Promise((resolve) => this.#socket.write(chunk, resolve));
    if (this.#wire.fault !== undefined) throw this.#wire.fault;
    if (fault) throw new Deno.errors.Interrupted("operation canceled");
    return chunk.length;
  }

  /** Sends close_notify, and then FIN. */
  async closeWrite(): Promise<void> {
    this.#wire.keepNothing();
    await new Promise<void>((resolve) => this.#socket.end(resolve));
    await this.#wire.flushed();
    await this.#wire.below.closeWrite?.();
  }

  /** Says close_notify first, unless what was said before it has not been taken yet. */
  close(): void {
    if (this.#input.tag === "closed") return;
    const isTaking = this.#input.tag !== "broken" && !this.#wire.isWriting;
    this.#input = { tag: "closed" };
    this.#plain = NO_BYTES;
    if (!isTaking) return this.#free();
    const timer = setTimeout(() => this.#free(), FAREWELL_MS);
    this.#wire.keepNothing();
    this.#socket.end();
    this.#wire.flushed().then(() => {
      clearTimeout(timer);
      this.#free();
    });
  }

  #free(): void {
    this.#socket.destroy();
    this.#wire.close();
  }
}
