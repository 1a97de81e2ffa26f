/**
 * TLS on top of a stream that was accepted before. `Deno.listenTls` can neither ask
 * for client certificates nor take new ones of its own, and a connection whose
 * handshake hangs cannot be closed; a `node:tls` server that does not listen, but
 * is handed a `Duplex` over each stream, can do all three.
 *
 * @module
 */

import { createPrivateKey, X509Certificate } from "node:crypto";
import { nextTick } from "node:process";
import { Duplex } from "node:stream";
import { createServer, type Server, type TLSSocket } from "node:tls";
import type { ByteStream } from "../../poller.ts";
import { NO_BYTES } from "../bytes.ts";
import { codeOf, Failure, reasonOf } from "../errors.ts";
import { type Sink, writeAll } from "../io.ts";

/** Where certificate, key and the authorities of client certificates are, all PEM. */
export interface TlsFiles {
  readonly certFile: string;
  readonly keyFile: string;
  /** If it is there, clients must show a certificate signed by one of these. */
  readonly clientCaFile?: string;
}

/** What a handshake gives. */
export interface Secured {
  /** The plain text; closing it closes the stream below. */
  readonly stream: ByteStream;
  /** The common name in the client's certificate, if one was asked for. */
  readonly certificate?: string;
}

/** Puts TLS on streams, with a certificate that may be exchanged meanwhile. */
export class Tls {
  readonly #files: TlsFiles;
  #server: Server;

  /** Reads the files; throws a {@linkcode Failure} that names the one that is of no use. */
  constructor(files: TlsFiles) {
    this.#files = files;
    this.#server = serverOf(files);
  }

  /**
   * Reads the files anew, for the handshakes to come. If one of them is of no use
   * it throws as the constructor does, and the old ones stay.
   */
  reload(): void {
    this.#server = serverOf(this.#files);
  }

  /**
   * Shakes hands over a stream, which it then owns. Rejects with an `Error` whose
   * message is the reason, and has closed the stream by then. There is no limit
   * of time: whoever closes the stream ends the handshake.
   */
  async secure(stream: ByteStream): Promise<Secured> {
    const wire = new Wire(stream);
    try {
      const socket = await shakeHands(this.#server, wire);
      const certificate = nameOf(socket);
      const secured = { stream: new SecureStream(wire, socket) };
      return certificate === undefined ? secured : { ...secured, certificate };
    } catch (error) {
      wire.close();
      throw error;
    }
  }
}

// -- Files --

/** A server that speaks for these files; it never listens. */
function serverOf({ certFile, keyFile, clientCaFile }: TlsFiles): Server {
  const cert = readCertificates("--tls-cert", certFile);
  const key = readKey(keyFile);
  if (!new X509Certificate(cert).checkPrivateKey(createPrivateKey(key))) {
    throw unusable("--tls-key", keyFile, `it does not belong to the certificate in ${certFile}`);
  }
  const ca = clientCaFile === undefined
    ? undefined
    : readCertificates("--tls-client-ca", clientCaFile);
  try {
    const server = createServer({
      cert,
      key,
      ...ca && { ca, requestCert: true },
      // Deno forgets to cancel this timer when a handshake fails, and it would hold all
      // that the connection had. A negative one is never started.
      handshakeTimeout: -1,
    });
    listenForEnds(server);
    tryOut(server);
    return server;
  } catch (error) {
    throw unusable("--tls-key", keyFile, `TLS cannot use such a key: ${reasonOf(error)}`);
  }
}

function readCertificates(option: string, file: string): string {
  const pem = readText(file);
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g);
  if (!blocks) throw unusable(option, file, "no certificate in it");
  try {
    for (const block of blocks) new X509Certificate(block);
  } catch {
    throw unusable(option, file, "a certificate in it is damaged");
  }
  return pem;
}

function readKey(file: string): string {
  const pem = readText(file);
  const kind = /-----BEGIN ([A-Z ]*)PRIVATE KEY-----/.exec(pem)?.[1];
  if (kind === undefined) throw unusable("--tls-key", file, "no private key in it");
  if (kind === "ENCRYPTED " || pem.includes("Proc-Type: 4,ENCRYPTED")) {
    throw unusable(
      "--tls-key",
      file,
      "the key in it is encrypted, and there is no way to give a passphrase",
    );
  }
  try {
    createPrivateKey(pem);
  } catch {
    throw unusable("--tls-key", file, "the private key in it is damaged");
  }
  return pem;
}

function readText(file: string): string {
  try {
    return Deno.readTextFileSync(file);
  } catch (error) {
    throw new Failure(`Cannot read ${file}: ${reasonOf(error)}`);
  }
}

function unusable(option: string, file: string, reason: string): Failure {
  return new Failure(`Cannot use ${option} ${file}: ${reason}`);
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
  readonly wire?: Wire;
  /** The server as this connection sees it: what it emits comes from this object. */
  readonly server: Server;
  readonly ended: PromiseWithResolvers<void>;
  socket?: TLSSocket;
  failure?: Error;
}

const attempts = new WeakMap<Server, Attempt>();

/**
 * An event names only the TLS socket, which does not say what it was made from.
 * So each connection comes to an object of its own, which inherits from the
 * server its settings and its listeners, and is their `this`.
 */
function attemptOf(server: Server, wire?: Wire): Attempt {
  const attempt: Attempt = {
    ...wire && { wire },
    server: Object.create(server),
    ended: Promise.withResolvers(),
  };
  attempts.set(attempt.server, attempt);
  return attempt;
}

function listenForEnds(server: Server): void {
  server.on("secureConnection", function (this: Server, socket: TLSSocket) {
    const attempt = attempts.get(this)!;
    attempt.socket = socket;
    if (socket.getProtocol() === "TLSv1.3") attempt.wire?.keepTickets();
    attempt.ended.resolve();
  });
  server.on("tlsClientError", function (this: Server, error: Error, socket: TLSSocket) {
    const attempt = attempts.get(this)!;
    attempt.failure ??= new Error(faultOf(error, socket));
    attempt.ended.resolve();
  });
}

async function shakeHands(server: Server, wire: Wire): Promise<TLSSocket> {
  const attempt = attemptOf(server, wire);
  attempt.server.emit("connection", wire);
  feed(wire, attempt);
  await attempt.ended.promise;
  if (attempt.socket) return attempt.socket;
  throw attempt.failure;
}

/**
 * Gives the handshake what comes, and not a read more: the next belongs to the
 * reader. A wire that is destroyed has failed, and the reason is on its way.
 */
async function feed(wire: Wire, attempt: Attempt): Promise<void> {
  try {
    await wire.listenedTo();
    while (!attempt.socket && !wire.destroyed) {
      if (!await wire.receive()) throw new Error("closed by the client");
    }
  } catch (error) {
    attempt.failure ??= new Error(isReset(error) ? "reset by peer" : reasonOf(error));
    attempt.ended.resolve();
  }
}

function isReset(error: unknown): boolean {
  return error instanceof Deno.errors.ConnectionReset;
}

/** Why a handshake failed, in a user's words. */
function faultOf(error: Error, socket: TLSSocket): string {
  // The error of a client whose certificate is refused is a mere ECONNRESET.
  if (socket.authorizationError) return refusalOf(String(socket.authorizationError));
  switch (codeOf(error)) {
    case "ERR_SSL_WRONG_VERSION_NUMBER":
      return "not TLS";
    case "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE":
      return "no client certificate";
    case "ECONNRESET":
      return "closed by the client";
  }
  if (error.message.includes("SignatureAlgorithmsExtensionRequired")) return "older than TLS 1.2";
  const [, alert] = /^received fatal alert: (\w+)$/.exec(error.message) ?? [];
  return alert ? `the client says: ${spaced(alert)}` : reasonOf(error);
}

/** `UnknownCA` becomes `unknown CA`. */
function spaced(name: string): string {
  const words = name.match(/[A-Z]+(?![a-z])|[A-Z][a-z\d]*/g) ?? [name];
  return words.map((word) =>
    word.length > 1 && word === word.toUpperCase() ? word : word.toLowerCase()
  )
    .join(" ");
}

function refusalOf(code: string): string {
  switch (code) {
    case "CERT_HAS_EXPIRED":
      return "client certificate expired";
    case "CERT_NOT_YET_VALID":
      return "client certificate not valid yet";
    case "DEPTH_ZERO_SELF_SIGNED_CERT":
    case "UNABLE_TO_VERIFY_LEAF_SIGNATURE":
      return "client certificate of an unknown authority";
    default:
      return `client certificate refused: ${code}`;
  }
}

function nameOf(socket: TLSSocket): string | undefined {
  // Without a certificate the object is empty, which its type does not say.
  const { subject, subjectaltname } = socket.getPeerCertificate() as Partial<
    ReturnType<TLSSocket["getPeerCertificate"]>
  >;
  const names = subject?.CN ?? subjectaltname;
  return Array.isArray(names) ? names.join(", ") : names;
}

// -- Streams --

const SMALL_READ_BYTES = 4 * 1024;
/** The most that is read at a time, and with it the most plain text that is held for a reader. */
const READ_BYTES = 64 * 1024;
const MAX_WRITE_BYTES = 64 * 1024;
/** How long a client that is closed may take to make room for close_notify. */
const FAREWELL_MS = 100;

/** Carries the ciphertext between a stream and `node:tls`, where nobody would listen to a failure. */
class Wire extends Duplex {
  readonly below: ByteStream;
  /** What was wrong with the first write that failed. */
  fault: unknown;
  #buffer = new Uint8Array(SMALL_READ_BYTES);
  #writing: Promise<void> | undefined;
  #isKeeping = false;
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

  /** Waits for ciphertext and has it decrypted; resolves to false at the end of input. */
  async receive(): Promise<boolean> {
    const count = await this.below.read(this.#buffer);
    if (count === null) return false;
    if (count > 0) this.push(this.#buffer.subarray(0, count));
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
    this.#isKeeping = true;
  }

  /** From now on all that is written is meant to be read. */
  keepNothing(): void {
    this.#isKeeping = false;
  }

  override _write(chunk: Uint8Array, _encoding: string, done: () => void): void {
    if (this.fault !== undefined) return done();
    if (this.#isKeeping) return this.#keep(chunk, done);
    this.#writing = this.#writeAll(chunk).catch((error) => {
      this.fault = error;
    }).then(() => {
      this.#writing = undefined;
      done();
    });
  }

  #keep(chunk: Uint8Array, done: () => void): void {
    this.#isKeeping = false;
    this.#kept = new Uint8Array(chunk);
    done();
  }

  async #writeAll(chunk: Uint8Array): Promise<void> {
    const kept = this.#kept;
    this.#kept = NO_BYTES;
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

  /** Frees the stream below and all that hangs on it. */
  close(): void {
    this.destroy();
    closeQuietly(this.below);
  }
}

/** Closes a stream that may have been closed before, to end a handshake. */
export function closeQuietly(stream: ByteStream): void {
  try {
    stream.close?.();
  } catch {
    // A second close throws.
  }
}

/** Resolves behind the events that `node:stream` has put off. */
function ticked(): Promise<void> {
  return new Promise((resolve) => nextTick(resolve));
}

type Input =
  | { readonly tag: "open" }
  /** By close_notify. */
  | { readonly tag: "ended" }
  /** What came was no TLS any more. */
  | { readonly tag: "broken"; readonly error: Error }
  /** By the owner. */
  | { readonly tag: "closed" };

/** The plain text. */
class SecureStream implements ByteStream {
  readonly remoteAddr?: Deno.Addr;
  readonly localAddr?: Deno.Addr;
  readonly #wire: Wire;
  readonly #socket: TLSSocket;
  /** Decrypted and not read yet. */
  #plain: Uint8Array = NO_BYTES;
  #input: Input = { tag: "open" };

  constructor(wire: Wire, socket: TLSSocket) {
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
        throw new Deno.errors.InvalidData(reasonOf(this.#input.error));
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
