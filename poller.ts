/**
 * Readiness for Deno's sockets: `select()` and a poll object with the semantics
 * of Python's `select` module.
 *
 * Deno's sockets complete: a read is started and one day it is done. Some
 * programs want the other model, readiness, in which the question is who can
 * be read now, and nothing is read before the answer. This module is the
 * bridge. It has no dependency and uses nothing but public API.
 *
 * ## What ready means
 *
 * A source is *readable* when {@linkcode Socket.recv},
 * {@linkcode ServerSocket.accept} or {@linkcode DatagramSocket.recvFrom} would
 * return or throw at once instead of "not now", and *writable* when
 * {@linkcode Socket.send} would take at least a byte, or
 * {@linkcode DatagramSocket.sendTo} a datagram. It does not mean that the operation succeeds: end of file, a reset
 * connection and a failed accept are readable too, and show what they are when
 * they are picked up.
 *
 * ## Guaranteed
 *
 * - **Level-triggered.** What is left unread is reported again by the next call.
 * - **First come, first reported.** `poll()` lists sources in the order in which
 *   they became ready; a source that has been read queues up behind the others.
 * - **Nothing is lost.** At most one read is pending per source, for as long as
 *   the source lives. If it completes when nobody watches any more, its bytes
 *   wait for the next reader. An error is kept and thrown once, to whoever
 *   reads next.
 * - **Back-pressure.** A read is started only for a source that is watched and
 *   whose last bytes have been taken, so a slow reader slows its peers down
 *   instead of filling memory.
 * - **A quiet source costs nothing**, neither time per event nor memory per wait.
 * - **A look is complete.** With a timeout of 0 all that waited in the kernel when
 *   the call was made is in the answer, for any number of sources. A call that
 *   waits answers with the first that it finds; the rest is in the next answer.
 * - **The event loop always turns.** A call that has nothing new to report, and
 *   any call when the loop has not turned for 10 ms, lets timers, signals and
 *   I/O have their turn before it answers.
 *
 * ## Not guaranteed
 *
 * - A report can be out of date: somebody else may read the source before you
 *   do. Treat `Deno.errors.WouldBlock` as "not now", not as a failure.
 * - Among more than about a hundred sources that talk all the time, equal shares
 *   need a caller that awaits real I/O between two calls: the write of its output
 *   to stdout or to a file. The runtime serves 128 operations a turn and the rest
 *   last in, first out; only a real turn lets the others in, and a small write to
 *   a socket, which is done at once, is none.
 *
 * ## How completion becomes readiness, and what it costs
 *
 * Watching a source reads ahead: one read of 2 KiB (64 KiB for as long as reads
 * come back full) is pending while its buffer is empty. Each read has exactly
 * one reaction, which marks the source ready and wakes the one call that waits.
 * So all reads race and the first to settle wins, without a `Promise.race` over
 * all of them, which would leave a reaction behind on every quiet source at
 * every round. The price is one copy, from the read-ahead buffer to yours, and
 * one or two milliseconds for a look, because only a turn of the loop shows what
 * the kernel has.
 *
 * ## Differences from Python
 *
 * | Python | here | because |
 * | --- | --- | --- |
 * | integers are file descriptors | sources are objects | Deno has no descriptors |
 * | `poll` lists in order of registration | in order of readiness | whoever has data first is first |
 * | the default mask has `POLLOUT` | `POLLIN \| POLLPRI` | with it the usual server loop spins |
 * | `recv` returns the bytes of a descriptor nobody polled | only a watched source is read | a read cannot be withdrawn in Deno |
 * | errors are `OSError`, `KeyError`, `ValueError` | `Deno.errors.*`, `RangeError`, `TypeError` | the platform's own |
 * | urgent data sets `POLLPRI` and the third list | neither; the third list has sources in error | Deno drops urgent data |
 * | a signal interrupts the wait | call `Poller.wake()` in the handler | JavaScript is not interrupted |
 * | a timeout of more than some weeks or years is an `OverflowError` | any length, `Infinity` is for ever | nothing overflows |
 * | a regular file is always ready, `epoll` refuses it | a stream: readable once a read has come, at its end for ever | Deno reads files beside the loop |
 * | `epoll` and `selectors` refuse to register twice | the mask is replaced, as by `poll` | one rule is enough |
 *
 * @example An event loop
 * ```ts
 * import { assertEquals } from "@std/assert";
 *
 * using poller = new Poller();
 * const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * await using server = new ServerSocket(listener);
 * using client = await Deno.connect({ port: listener.addr.port });
 * await client.write(new TextEncoder().encode("hello"));
 * poller.register(server);
 * for (let heard = ""; heard !== "hello";) {
 *   for (const [source] of await poller.poll()) {
 *     if (source instanceof ServerSocket) { // somebody waits at the door
 *       poller.register(source.accept());
 *     } else if (source instanceof Socket) {
 *       heard += new TextDecoder().decode(source.recv(4096));
 *       assertEquals(heard, "hello");
 *       source.close();
 *     }
 *   }
 * }
 * ```
 *
 * @module
 */

import { setImmediate } from "node:timers";

/** Data, a waiting connection, end of file or an error to pick up. */
export const POLLIN = 0x001;
/** Urgent data. Accepted in a mask, never reported: Deno drops urgent data. */
export const POLLPRI = 0x002;
/** Room to send. Reported as long as the send buffer is not full. */
export const POLLOUT = 0x004;
/** A failed read, write or accept that nobody has picked up yet. Reported whatever the mask. */
export const POLLERR = 0x008;
/** Both directions are shut down, or the connection was reset. Reported whatever the mask. */
export const POLLHUP = 0x010;
/** The source was closed while it was registered. Reported whatever the mask, until it is unregistered. */
export const POLLNVAL = 0x020;
/** The peer sends no more: its FIN has come, or a reset. Linux only in C, everywhere here. */
export const POLLRDHUP = 0x2000;

/** What poll(2) reports without being asked. */
const ALWAYS_REPORTED = POLLERR | POLLHUP | POLLNVAL;
const MAX_EVENT_MASK = 0xFFFF;
/** What `send` holds for a slow peer before it says "not now", unless it is given another size. */
const HIGH_WATER_BYTES = 64 * 1024;
/** A quiet source holds one of these; a touched page of memory is paid for, so it is small. */
const SMALL_READ_BYTES = 2 * 1024;
const LARGE_READ_BYTES = 64 * 1024;
/** Bounds what large reads can hold; the other sources make do with small ones. */
const MAX_LARGE_READS = 128;
const SLAB_BYTES = 1024 * 1024;
/** What a listener accepts before anybody asks for it; a storm of clients would overrun its backlog. */
const MAX_ACCEPTS_AHEAD = 64;
/** Small datagrams are received ahead up to this number: the more there are, the less each costs. */
const MAX_DATAGRAMS_AHEAD = 1024;
/** What waits to be sent beside HIGH_WATER_BYTES, so that empty datagrams come to an end, too. */
const MAX_DATAGRAMS_UNSENT = 256;
/** No datagrams are received ahead beyond this, and one more may overshoot it. */
const MAX_DATAGRAM_BYTES_AHEAD = 1024 * 1024;
/** Nothing longer comes by UDP; a longer one from a Unix socket is cut. */
const MAX_DATAGRAM_BYTES = 64 * 1024;
/**
 * The runtime grants 128 operations a turn, and two steps may share one: with more
 * of them, reads that were started before get nothing and starve.
 */
const READS_PER_STEP = 64;
/**
 * How long those started may take before the next are: the runtime serves the
 * pending reads of a turn last in, first out, so the fewer are pending the better.
 */
const MS_PER_STEP = 1;
/** A step of a look has a turn for itself. */
const READS_PER_LOOK = 112;
/** A turn that brings fewer has not used up its operations, whoever else had some. */
const FULL_TURN = 32;
/** Late arrivals that use up nearly all of a turn: others wait behind them. */
const LATE_BURST = 112;
/** A burst never lasts longer: listeners accept on by themselves and could keep it going. */
const MAX_BURST_MS = 100;
/** The runtime asks the kernel after 61 turns at the latest, and serves what it said in the next. */
const TURNS_TO_ASK_KERNEL = 64;
/** A read or accept of what the kernel already has settles within three. */
const SETTLE_MICROTASKS = 4;
const MAX_MS_WITHOUT_TURN = 10;
/** Longer timers fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * What {@linkcode Socket} can be made of: a `Deno.Conn` of any kind (TCP, TLS,
 * Unix), `Deno.stdin`, a `Deno.FsFile`, or an object of one's own.
 */
export interface ByteStream {
  /** Remote address, if there is one. */
  readonly remoteAddr?: Deno.Addr;
  /** Local address, if there is one. */
  readonly localAddr?: Deno.Addr;
  /**
   * Fills `p` from the front; resolves to the number of bytes, `null` at end of
   * file. A 0 counts as "nothing yet" and is asked again later.
   */
  read(p: Uint8Array): Promise<number | null>;
  /** Takes bytes from the front of `p`; resolves to how many. Without it the source is never writable. */
  write?(p: Uint8Array): Promise<number>;
  /** Ends the writing direction (FIN). */
  closeWrite?(): Promise<void> | void;
  /** Frees the stream; a pending read must settle. Without it a pending read stays pending. */
  close?(): void;
}

/** What {@linkcode ServerSocket} can be made of: a `Deno.Listener`, or an object of one's own. */
export interface Acceptor {
  /** Local address, if there is one. */
  readonly addr?: Deno.Addr;
  /** Resolves to the next connection. */
  accept(): Promise<ByteStream>;
  /** Stops listening; a pending accept must settle. */
  close(): void;
}

/** What {@linkcode DatagramSocket} can be made of: a `Deno.DatagramConn`, or an object of one's own. */
export interface DatagramPort {
  /** Local address, if there is one. */
  readonly addr?: Deno.Addr;
  /** Fills `p` with the next datagram; resolves to the part that was filled, and the sender. */
  receive(p: Uint8Array): Promise<[data: Uint8Array, from: Deno.Addr]>;
  /** Sends a datagram. Without it the source is never writable. */
  send?(p: Uint8Array, to: Deno.Addr): Promise<number>;
  /** Frees the port; a pending receive must settle. */
  close(): void;
}

/** Options of {@linkcode select} and {@linkcode Poller.poll}. */
export interface WaitOptions {
  /**
   * Ends the wait: it rejects with the reason of the signal, at once if that was
   * aborted before. What was ready stays ready, and no listener stays on the signal.
   */
  readonly signal?: AbortSignal | undefined;
}

/** What {@linkcode select} and {@linkcode Poller} can watch. */
export type Source = ServerSocket | Socket | DatagramSocket;

/** Connection to the state behind a source; the static blocks of the three classes supply it. */
let listenerOf: (source: ServerSocket) => Endpoint;
let streamOf: (source: Socket) => Endpoint;
let datagramsOf: (source: DatagramSocket) => Endpoint;
let lastId = 0;

/**
 * A listener made non-blocking: {@linkcode accept} never waits.
 *
 * Wrapping starts nothing. Watching it with {@linkcode select} or
 * {@linkcode Poller} accepts up to 64 connections ahead, which wait for
 * {@linkcode accept}.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 *
 * const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * await using server = new ServerSocket(listener);
 * using client = await Deno.connect({ port: listener.addr.port });
 * assertEquals(await select([server], [], []), [[server], [], []]);
 * using peer = server.accept();
 * assertEquals(peer.remoteAddr, client.localAddr);
 * ```
 */
export class ServerSocket implements Disposable, AsyncDisposable {
  readonly #endpoint: ListenerEndpoint;
  /** Positive integer, never used twice in a process. */
  readonly id: number = ++lastId;

  static {
    listenerOf = (source) => source.#endpoint;
  }

  /**
   * Takes the listener over: nobody else may accept from it any more.
   *
   * @param listener A listener of any transport, TLS included.
   * @throws {TypeError} If it has no `accept`.
   */
  constructor(listener: Acceptor) {
    assertHas("a ServerSocket", listener, "accept");
    this.#endpoint = new ListenerEndpoint(listener);
  }

  /** Address listened on, with the real port when 0 was asked for. */
  get addr(): Deno.Addr | undefined {
    return this.#endpoint.listener.addr;
  }

  /** Number of connections that wait: so many calls of {@linkcode accept} return one each. */
  get waiting(): number {
    return this.#endpoint.waiting;
  }

  /**
   * Settles when a closed listener is really gone. Only then are its port, or
   * the file of its Unix socket, free: the accept that was pending at
   * {@linkcode close} must have settled first.
   */
  get closed(): Promise<void> {
    return this.#endpoint.released;
  }

  /**
   * Returns the connection that waits, as accept(2) on a non-blocking socket.
   *
   * @returns The connection.
   * @throws {Deno.errors.WouldBlock} If none waits.
   * @throws {Deno.errors.BadResource} If this listener is closed.
   * @throws The error with which accepting failed, once; the listener stays
   * usable. `NotConnected` is a client that was gone before it was accepted;
   * an `Error` with `code` "EMFILE" or "ENFILE" says that descriptors ran out.
   */
  accept(): Socket {
    return new Socket(this.#endpoint.take());
  }

  /** Stops listening. Connections accepted ahead are closed unheard. Idempotent. */
  close(): void {
    this.#endpoint.close();
  }

  /** Same as {@linkcode close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** {@linkcode close}, then waits for {@linkcode closed}. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.closed;
  }
}

/**
 * A byte stream made non-blocking: {@linkcode recv} and {@linkcode send} never
 * wait.
 *
 * Wrapping starts nothing. Only a source that {@linkcode select} or
 * {@linkcode Poller} watches is read, so ask one of them who is ready before
 * receiving.
 *
 * @example Standard input, or anything else with a `read` method
 * ```ts
 * import { assertEquals } from "@std/assert";
 *
 * const lines = ["one\n", "two\n"].map((line) => new TextEncoder().encode(line));
 * using source = new Socket({
 *   read: (p) => {
 *     const line = lines.shift();
 *     if (line) p.set(line);
 *     return Promise.resolve(line?.length ?? null);
 *   },
 * });
 * await select([source], [], []);
 * assertEquals(source.recv(100), new TextEncoder().encode("one\n"));
 * ```
 */
export class Socket implements Disposable, AsyncDisposable {
  readonly #endpoint: StreamEndpoint;
  /** Positive integer, never used twice in a process. */
  readonly id: number = ++lastId;

  static {
    streamOf = (source) => source.#endpoint;
  }

  /**
   * Takes the stream over: nobody else may read from it or write to it any more.
   *
   * @param stream A `Deno.Conn`, `Deno.stdin`, a file or anything like them.
   * @throws {TypeError} If it has no `read`.
   */
  constructor(stream: ByteStream) {
    assertHas("a Socket", stream, "read");
    this.#endpoint = new StreamEndpoint(stream);
  }

  /** The stream underneath, for what is not reading or writing: `handshake()`, `setNoDelay()`. */
  get stream(): ByteStream {
    return this.#endpoint.stream;
  }

  /** Bytes that {@linkcode send} has taken and the stream has not: {@linkcode abort} would drop them. */
  get unsentBytes(): number {
    return this.#endpoint.unsentBytes;
  }

  /**
   * The most that {@linkcode send} holds for a slow peer, as SO_SNDBUF; 64 KiB at first.
   * What waits already stays if it is made smaller, and there is room again below it.
   *
   * @throws {TypeError} If it is set to something else than an integer.
   * @throws {RangeError} If it is set to less than 1.
   */
  get sendBufferBytes(): number {
    return this.#endpoint.sendBufferBytes;
  }

  set sendBufferBytes(bytes: number) {
    this.#endpoint.sendBufferBytes = parseBufferBytes(bytes);
  }

  /** Address of the peer, if the stream has one. Known after a reset, too. */
  get remoteAddr(): Deno.Addr | undefined {
    return this.#endpoint.stream.remoteAddr;
  }

  /** Address of this end, if the stream has one. */
  get localAddr(): Deno.Addr | undefined {
    return this.#endpoint.stream.localAddr;
  }

  /**
   * Settles when a closed stream is really gone: what was sent has left, and the pending
   * read has settled. A stream that cannot cancel its read delays this for ever.
   */
  get closed(): Promise<void> {
    return this.#endpoint.released;
  }

  /**
   * Receives what has arrived, as recv(2) on a non-blocking socket.
   *
   * @param max Most bytes to return, an integer from 0.
   * @returns A fresh copy of 1 to `max` bytes; the rest stays readable. Empty at
   * end of file, again and again, and if `max` is 0.
   * @throws {Deno.errors.WouldBlock} If nothing has arrived.
   * @throws {Deno.errors.BadResource} If this socket is closed.
   * @throws {TypeError} If `max` is not a number.
   * @throws {RangeError} If `max` is not an integer from 0.
   * @throws The error of a failed read, once and after the data that came
   * before it; from then on there is end of file.
   */
  recv(max: number): Uint8Array<ArrayBuffer> {
    assertMax(max);
    const bytes = new Uint8Array(Math.min(max, this.#endpoint.arrivedBytes));
    // If nothing has arrived, it throws or is the end of file.
    this.#endpoint.take(max, bytes, 0);
    return bytes;
  }

  /**
   * Like {@linkcode recv}, into memory of the caller's.
   *
   * @param target Where to put the bytes.
   * @param start Where in `target` the first goes; 0 by default.
   * @param end Where in `target` they end at the latest; its length by default.
   * @returns How many bytes were written to `target` from `start` on, at most
   * `end - start`; 0 at end of file and if there is no room.
   * @throws {Deno.errors.WouldBlock} If nothing has arrived.
   * @throws {Deno.errors.BadResource} If this socket is closed.
   * @throws {TypeError} If `target` is not a `Uint8Array`.
   * @throws {RangeError} If `start` and `end` are not integers from 0 to the length of
   * `target`, in this order.
   * @throws The error of a failed read, once; see {@linkcode recv}.
   */
  recvInto(target: Uint8Array, start = 0, end: number = target?.length): number {
    assertPlace(target, start, end);
    return this.#endpoint.take(end - start, target, start);
  }

  /**
   * Queues bytes for sending, as send(2) on a non-blocking socket: as many as
   * fit below {@linkcode sendBufferBytes}. They leave in order and on their
   * own, after {@linkcode close}, too; that they arrive is not known, as with any socket.
   *
   * @param bytes Copied, so free for reuse when this returns.
   * @returns How many bytes were taken, from the front.
   * @throws {Deno.errors.WouldBlock} If the buffer is full: wait for `POLLOUT`.
   * @throws {Deno.errors.BrokenPipe} After {@linkcode shutdown}, and once the
   * connection is known to be broken.
   * @throws {Deno.errors.NotSupported} If the stream has no `write`.
   * @throws {Deno.errors.BadResource} If this socket is closed.
   * @throws {TypeError} If `bytes` is not a `Uint8Array`.
   * @throws The error of a failed write, once, unless `recv` threw it before.
   */
  send(bytes: Uint8Array): number {
    return this.#endpoint.send(bytes);
  }

  /**
   * Half-closes: what was queued is sent, then the peer sees end of file.
   * Receiving goes on. Idempotent; nothing happens if the stream has no `write`.
   *
   * @returns Settles when the FIN is on its way, or when it is clear that it
   * never will be (broken connection, {@linkcode abort}). Need not be awaited.
   * It rejects with `Deno.errors.BadResource` if this socket is closed.
   */
  async shutdown(): Promise<void> {
    await this.#endpoint.shutdown();
  }

  /**
   * Closes, as close(2): nothing is received any more and pollers are told at once, but
   * what {@linkcode send} has taken still leaves, in the background; then the stream is
   * closed and {@linkcode closed} settles. Idempotent.
   *
   * A peer that does not read holds what was sent, at most {@linkcode sendBufferBytes},
   * and the connection until it goes: then {@linkcode abort} it.
   *
   * @example
   * ```ts
   * import { assertEquals } from "@std/assert";
   *
   * using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
   * const client = new Socket(await Deno.connect({ port: listener.addr.port }));
   * using peer = await listener.accept();
   * client.send(new TextEncoder().encode("bye"));
   * client.close();
   * assertEquals(await new Response(peer.readable).text(), "bye");
   * ```
   */
  close(): void {
    this.#endpoint.close();
  }

  /**
   * Closes at once and drops what {@linkcode send} still holds, also after
   * {@linkcode close}. Idempotent.
   */
  abort(): void {
    this.#endpoint.abort();
  }

  /** Same as {@linkcode close}: what was sent still leaves. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** {@linkcode close}, then waits for {@linkcode closed}. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.closed;
  }
}

/**
 * A datagram socket (UDP or Unix) made non-blocking: {@linkcode recvFrom} and
 * {@linkcode sendTo} never wait.
 *
 * One datagram is one `recvFrom`. Wrapping starts nothing; watching it with
 * {@linkcode select} or {@linkcode Poller} receives up to 1,024 datagrams or 1 MiB
 * ahead, so that a burst meets a buffer that is being emptied. What the kernel had
 * to drop nevertheless cannot be seen.
 *
 * `Deno.listenDatagram` needs `--unstable-net`, or `"unstable": ["net"]` in deno.json.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 *
 * const conn = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
 * await using socket = new DatagramSocket(conn);
 * socket.sendTo(new TextEncoder().encode("to myself"), conn.addr);
 * await select([socket], [], []);
 * const [data, from] = socket.recvFrom(1500);
 * assertEquals(new TextDecoder().decode(data), "to myself");
 * assertEquals(from, conn.addr);
 * ```
 */
export class DatagramSocket implements Disposable, AsyncDisposable {
  readonly #endpoint: DatagramEndpoint;
  /** Positive integer, never used twice in a process. */
  readonly id: number = ++lastId;

  static {
    datagramsOf = (source) => source.#endpoint;
  }

  /**
   * Takes the port over: nobody else may receive from it or send by it any more.
   *
   * @param port A `Deno.DatagramConn` or anything like it.
   * @throws {TypeError} If it has no `receive`.
   */
  constructor(port: DatagramPort) {
    assertHas("a DatagramSocket", port, "receive");
    this.#endpoint = new DatagramEndpoint(port);
  }

  /** Address of this end, with the real port when 0 was asked for. */
  get localAddr(): Deno.Addr | undefined {
    return this.#endpoint.port.addr;
  }

  /** Number of datagrams that wait: so many calls of {@linkcode recvFrom} return one each. */
  get waiting(): number {
    return this.#endpoint.waiting;
  }

  /**
   * Settles when a closed port is really gone, its pending receive included. Only
   * then can its address be used again. The file of a Unix socket stays: remove it
   * yourself.
   */
  get closed(): Promise<void> {
    return this.#endpoint.released;
  }

  /**
   * Receives the datagram that waits, as recvfrom(2) on a non-blocking socket.
   *
   * @param max Most bytes to return, an integer from 0. What is longer is cut, and the
   * rest is lost. No datagram is longer than 65,536 bytes.
   * @returns The data, a fresh copy that is the caller's, and the address of the sender.
   * Empty data is an empty datagram: there is no end of file.
   * @throws {Deno.errors.WouldBlock} If none waits.
   * @throws {Deno.errors.BadResource} If this socket is closed.
   * @throws {TypeError} If `max` is not a number.
   * @throws {RangeError} If `max` is not an integer from 0.
   * @throws The error of a failed receive, once and after the datagrams that came before
   * it, or that of a failed send; the socket stays usable.
   */
  recvFrom(max: number): [data: Uint8Array<ArrayBuffer>, from: Deno.Addr] {
    assertMax(max);
    const [bytes, from] = this.#endpoint.take();
    return [bytes.slice(0, max), from];
  }

  /**
   * Like {@linkcode recvFrom}, into memory of the caller's, as recvfrom_into() in
   * Python: for floods, where a copy of each datagram would cost the most.
   *
   * @param target Where to put the data; what is longer is cut, and the rest is lost.
   * @returns How many bytes were written to the front of `target`, and the sender.
   * @throws {Deno.errors.WouldBlock} If none waits.
   * @throws {Deno.errors.BadResource} If this socket is closed.
   * @throws The error of a failed receive or send; see {@linkcode recvFrom}.
   */
  recvFromInto(target: Uint8Array): [count: number, from: Deno.Addr] {
    const [bytes, from] = this.#endpoint.take();
    const count = Math.min(bytes.length, target.length);
    target.set(count < bytes.length ? bytes.subarray(0, count) : bytes);
    return [count, from];
  }

  /**
   * Queues a datagram for sending, as sendto(2) on a non-blocking socket: all of it
   * or nothing. Taken as long as fewer than 64 KiB and 256 datagrams wait to be sent.
   *
   * @param bytes Copied, so free for reuse when this returns. Nothing is an empty datagram.
   * @param to Where to.
   * @returns The length of `bytes`. That they arrive is not known.
   * @throws {Deno.errors.WouldBlock} If the buffer is full: wait for `POLLOUT`.
   * @throws {Deno.errors.NotSupported} If the port has no `send`.
   * @throws {Deno.errors.BadResource} If this socket is closed.
   * @throws {TypeError} If `bytes` is not a `Uint8Array`.
   * @throws The error of a send that failed, of two the first, once, unless `recvFrom`
   * threw it before; the socket stays usable. An `Error` with `code` "EMSGSIZE" says that
   * the datagram was too long.
   */
  sendTo(bytes: Uint8Array, to: Deno.Addr): number {
    return this.#endpoint.send(bytes, to);
  }

  /** Closes at once: drops what was received ahead and what was not sent yet. Idempotent. */
  close(): void {
    this.#endpoint.close();
  }

  /** Same as {@linkcode close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** {@linkcode close}, then waits for {@linkcode closed}. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.closed;
  }
}

/**
 * Waits until at least one source is ready, as Python's `select.select()`.
 *
 * A literal race over its arguments, so a call costs time in proportion to
 * their number; for more than a few hundred sources use {@linkcode Poller}. Any
 * number of selects may wait at the same time, for the same sources, too.
 *
 * A signal handler wakes a waiting `select()` with the self-pipe trick: put a
 * `Socket` over an in-memory stream into `rlist` and let its `read` resolve.
 *
 * @typeParam R Kind of source in `rlist`.
 * @typeParam W Kind of source in `wlist`.
 * @typeParam X Kind of source in `xlist`.
 * @param rlist Any iterable: sources to be reported when they are readable.
 * @param wlist Any iterable: sources to be reported when there is room to send.
 * @param xlist Any iterable: sources to be reported when they are in error.
 * @param timeoutSeconds Absent or `null` waits for ever, 0 only looks, more waits
 * at least that many **seconds**, fractions allowed. Three empty lists with a
 * timeout sleep.
 * @param options A signal that ends the wait.
 * @returns Three new arrays, subsets of the arguments in their order, duplicates
 * kept; all empty if the timeout passed.
 * @throws {TypeError} If a list is not iterable, has something else than
 * sources, or if the timeout is not a number or the signal not an `AbortSignal`.
 * @throws {RangeError} If the timeout is negative or `NaN`.
 * @throws {Deno.errors.BadResource} If a source is closed, before or while waiting.
 * @throws The reason of the signal, if that is aborted.
 *
 * @example The classic server
 * ```ts
 * import { assertEquals } from "@std/assert";
 *
 * const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * await using server = new ServerSocket(listener);
 * using client = await Deno.connect({ port: listener.addr.port });
 * await client.write(new TextEncoder().encode("hello"));
 * await client.closeWrite();
 *
 * const inputs = new Set<ServerSocket | Socket>([server]);
 * let heard = "";
 * do {
 *   const [readable] = await select(inputs, [], []);
 *   for (const source of readable) {
 *     if (source instanceof ServerSocket) {
 *       inputs.add(source.accept());
 *       continue;
 *     }
 *     const data = source.recv(1024);
 *     heard += new TextDecoder().decode(data);
 *     if (data.length === 0) { // end of file
 *       inputs.delete(source);
 *       source.close();
 *     }
 *   }
 * } while (inputs.size > 1);
 * assertEquals(heard, "hello");
 * ```
 */
export async function select<
  R extends Source,
  W extends Source,
  X extends Source,
>(
  rlist: Iterable<R>,
  wlist: Iterable<W>,
  xlist: Iterable<X>,
  timeoutSeconds?: number | null,
  options?: WaitOptions,
): Promise<[R[], W[], X[]]> {
  const timeoutMs = parseSelectTimeout(timeoutSeconds);
  const signal = parseSignal(options);
  const reading = [...entriesOf("rlist", rlist)];
  const writing = [...entriesOf("wlist", wlist)];
  const failing = [...entriesOf("xlist", xlist)];
  using race = new SelectRace([
    ...reading.map(([, endpoint]) => new Contender(endpoint, POLLIN)),
    ...writing.map(([, endpoint]) => new Contender(endpoint, POLLOUT)),
    ...failing.map(([, endpoint]) => new Contender(endpoint, POLLERR)),
  ]);
  await waitUntilDue(race, timeoutMs, signal);
  race.report();
  return [having(POLLIN, reading), having(POLLOUT, writing), having(POLLERR, failing)];
}

/**
 * The poll object: remembers what to watch, and answers who is ready. As
 * Python's `select.poll()`, in the time of its `epoll()`: a call costs in
 * proportion to the sources that are ready, whatever the number of quiet ones.
 *
 * - **Level-triggered.** A source stays in the answer until it is read.
 * - **In order of readiness**, one entry per source with all its bits.
 * - **Changes count from the next call.** `register`, `modify` and `unregister`
 *   are allowed while `poll()` waits, and do not touch that wait.
 * - **One wait at a time.** Two pollers may watch the same source; both report it.
 * - **Usable after errors.** A call that throws leaves everything as it was.
 * - **To be closed.** A poller that is dropped without {@linkcode close} goes on
 *   watching: its sources keep it alive, and tell it of every change.
 *
 * @example The classic server
 * ```ts
 * import { assertEquals } from "@std/assert";
 *
 * const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * await using server = new ServerSocket(listener);
 * using client = await Deno.connect({ port: listener.addr.port });
 * await client.write(new TextEncoder().encode("hello"));
 * await client.closeWrite();
 *
 * using poller = new Poller();
 * poller.register(server);
 * let heard = "";
 * do {
 *   for (const [source, events] of await poller.poll()) {
 *     if (source instanceof ServerSocket) {
 *       poller.register(source.accept());
 *     } else if (source instanceof Socket && events & POLLIN) {
 *       const data = source.recv(1024);
 *       heard += new TextDecoder().decode(data);
 *       if (data.length > 0) continue;
 *       poller.unregister(source); // end of file
 *       source.close();
 *     }
 *   }
 * } while (poller.size > 1);
 * assertEquals(heard, "hello");
 * ```
 */
export class Poller implements Disposable {
  readonly #registrations = new Map<Source, Registration>();
  /** Registrations that were added, changed or removed; applied between two waits. */
  readonly #amended = new Set<Registration>();
  readonly #list = new ReadyList();
  #state: "idle" | "polling" | "closed" = "idle";

  /** Number of registered sources. */
  get size(): number {
    return this.#registrations.size;
  }

  /**
   * Whether a source is registered.
   *
   * @param source A source.
   * @returns False, too, once this poller is closed.
   * @throws {TypeError} If `source` is not a source.
   */
  has(source: Source): boolean {
    endpointOf(source);
    return this.#registrations.has(source);
  }

  /**
   * Starts watching a source, or gives one that is watched a new mask.
   *
   * A source is read ahead whatever its mask, even 0, or a reset could not be
   * seen. A closed source may be registered and is reported as `POLLNVAL`.
   *
   * @param source What to watch.
   * @param mask Events to be reported, an integer from 0 to 0xFFFF; `POLLERR`,
   * `POLLHUP` and `POLLNVAL` are reported in any case. `POLLIN | POLLPRI` by
   * default, without the `POLLOUT` of Python: there is nearly always room to
   * send, so a loop that asks for it without need spins.
   * @throws {TypeError} If `source` is not a source or `mask` not an integer.
   * @throws {RangeError} If `mask` is not in 0 to 0xFFFF.
   * @throws {Deno.errors.BadResource} If this poller is closed.
   */
  register(source: Source, mask: number = POLLIN | POLLPRI): void {
    this.#assertOpen();
    const endpoint = endpointOf(source);
    assertEventMask(mask);
    let registration = this.#registrations.get(source);
    if (!registration) {
      registration = new Registration(this.#list, source, endpoint);
      this.#registrations.set(source, registration);
    }
    registration.nextMask = mask;
    this.#amend(registration);
  }

  /**
   * Gives a watched source a new mask.
   *
   * @param source A registered source.
   * @param mask As for {@linkcode register}.
   * @throws {Deno.errors.NotFound} If the source is not registered.
   * @throws {TypeError} If `source` is not a source or `mask` not an integer.
   * @throws {RangeError} If `mask` is not in 0 to 0xFFFF.
   * @throws {Deno.errors.BadResource} If this poller is closed.
   */
  modify(source: Source, mask: number): void {
    const registration = this.#find("modify", source);
    assertEventMask(mask);
    registration.nextMask = mask;
    this.#amend(registration);
  }

  /**
   * Stops watching a source. A read that is pending stays pending, and what it
   * brings waits in the source for the next reader. Works for closed sources.
   *
   * @param source A registered source.
   * @throws {Deno.errors.NotFound} If the source is not registered.
   * @throws {TypeError} If `source` is not a source.
   * @throws {Deno.errors.BadResource} If this poller is closed.
   */
  unregister(source: Source): void {
    const registration = this.#find("unregister", source);
    this.#registrations.delete(source);
    registration.isRemoved = true;
    this.#amend(registration);
  }

  /**
   * Waits until a registered source is ready, the timeout passes, or
   * {@linkcode wake} is called.
   *
   * @param timeoutMs Absent, `null` or negative waits for ever, 0 only looks,
   * more waits at least that many **milliseconds**; fractions are rounded up.
   * @param options A signal that ends the wait.
   * @returns One entry per ready source: the source and its event bits. Empty if
   * the timeout passed, and possibly after {@linkcode wake}.
   * @throws {TypeError} If the timeout is not a number or the signal not an `AbortSignal`.
   * @throws {RangeError} If the timeout is `NaN`.
   * @throws {Deno.errors.Busy} If a call of this poller is already waiting.
   * @throws {Deno.errors.BadResource} If this poller is closed, before or while waiting.
   * @throws The reason of the signal, if that is aborted.
   */
  async poll(
    timeoutMs?: number | null,
    options?: WaitOptions,
  ): Promise<[source: Source, events: number][]> {
    const waitMs = parsePollTimeout(timeoutMs);
    const signal = parseSignal(options);
    this.#assertOpen();
    if (this.#state === "polling") {
      throw new Deno.errors.Busy("Cannot poll: another poll() is waiting");
    }
    this.#state = "polling";
    try {
      await waitUntilDue(this.#list, waitMs, signal);
      this.#assertOpen();
      return this.#list.report();
    } finally {
      if (this.#state === "polling") this.#state = "idle";
      this.#applyAmendments();
    }
  }

  /**
   * Calls {@linkcode poll} again and again: one entry a time, in order of readiness.
   * An entry is left out if its source was unregistered or closed since the answer it
   * is from. Ends when this poller is closed; leaving the loop leaves it usable.
   *
   * @example
   * ```ts
   * import { assertEquals } from "@std/assert";
   *
   * using poller = new Poller();
   * const words = ["hello", "bye"].map((word) => new TextEncoder().encode(word));
   * using source = new Socket({
   *   read: (p) => {
   *     const word = words.shift();
   *     if (word) p.set(word);
   *     return Promise.resolve(word?.length ?? null);
   *   },
   * });
   * poller.register(source);
   * let heard = "";
   * for await (const [source] of poller) {
   *   const data = (source as Socket).recv(100);
   *   heard += new TextDecoder().decode(data);
   *   if (data.length === 0) break; // end of file
   * }
   * assertEquals(heard, "hellobye");
   * ```
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<[source: Source, events: number], void, void> {
    while (!this.#isClosed()) {
      for (const entry of await this.#pollUntilClosed()) {
        const [source, events] = entry;
        const isClosed = (endpointOf(source).readiness() & ~events & POLLNVAL) !== 0;
        if (this.has(source) && !isClosed) yield entry;
      }
    }
  }

  async #pollUntilClosed(): Promise<[source: Source, events: number][]> {
    try {
      return await this.poll();
    } catch (error) {
      if (error instanceof Deno.errors.BadResource && this.#isClosed()) return [];
      throw error;
    }
  }

  /**
   * Ends the current `poll()`, or else the next one, at once. Remembered until
   * then; several calls count as one. For signal handlers, which only set a flag
   * and wake: it is what the self-pipe trick is for.
   */
  wake(): void {
    this.#list.wake();
  }

  /**
   * Stops watching everything; the sources stay open and keep what they have
   * read. A waiting `poll()` rejects with `BadResource`. Idempotent.
   */
  close(): void {
    if (this.#state === "closed") return;
    for (const source of [...this.#registrations.keys()]) {
      this.unregister(source);
    }
    const waiting = this.#state === "polling";
    this.#state = "closed";
    if (waiting) this.#list.wake();
  }

  /** Same as {@linkcode close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  #isClosed(): boolean {
    return this.#state === "closed";
  }

  #find(action: string, source: Source): Registration {
    this.#assertOpen();
    endpointOf(source);
    const registration = this.#registrations.get(source);
    if (registration) return registration;
    throw new Deno.errors.NotFound(`Cannot ${action} source ${source.id}: it is not registered`);
  }

  #assertOpen(): void {
    if (this.#state === "closed") throw new Deno.errors.BadResource("Poller is closed");
  }

  #amend(registration: Registration): void {
    this.#amended.add(registration);
    if (this.#state === "idle") this.#applyAmendments();
  }

  #applyAmendments(): void {
    for (const registration of this.#amended) registration.apply();
    this.#amended.clear();
  }
}

/** Wants to hear of a source. */
interface Watcher {
  /** An operation has completed, or its owner has done something to the source. */
  changed(): void;
  /** Somebody has taken something from the source. */
  served(): void;
}

/**
 * What select() and Poller.poll() wait for. They go in rounds: begin a round, let
 * those reads settle that need not wait, end the step, and ask what is due. If
 * nothing is, they wait for an arrival or a timer before the next round.
 */
interface Wait {
  /** Number of sources that have to be read before all is known. */
  readonly unread: number;
  /** Number of sources that have something to report. */
  readonly ready: number;
  /**
   * Starts reads, unless they have to wait for others; `hasParked` if a timer has just
   * turned the loop.
   */
  beginRound(hasParked: boolean): void;
  /** Starts at most so many reads. */
  startReads(most: number): void;
  /** The reads have settled that need not wait. */
  endStep(): void;
  /** Whether there is something to report, and whether some of it was not in the last report. */
  due(): "nothing" | "known" | "news";
  /** Settles when something may have become due. Disposing lets go of all that it set up. */
  arrival(): Disposable & { readonly promise: Promise<void> };
}

/**
 * The part of a source that pollers see. Readiness is state kept here; a
 * completion changes the state, and tells the watchers.
 */
abstract class Endpoint {
  /** Replaced, never changed in place, so that telling them is safe. */
  #watchers: readonly Watcher[] = NO_WATCHERS;
  #released = false;
  #releasing: PromiseWithResolvers<void> | undefined;
  /** For select(): number of changes so far, and that number when it last reported this endpoint. */
  changes = 0;
  reported = 0;
  /** For select(): when it was last taken from, on a clock of all that is taken. */
  servedAt = 0;

  /** Event bits that the state implies. Starts nothing and consumes nothing. */
  abstract readiness(): number;
  /** Whether a read could be started: none is pending, and there is room for what it brings. */
  abstract mayRead(): boolean;
  /** Starts a read if one may be. */
  abstract startRead(): void;

  /** Settles when the endpoint is closed and no operation is pending. */
  get released(): Promise<void> {
    this.#releasing ??= Promise.withResolvers();
    if (this.#released) this.#releasing.resolve();
    return this.#releasing.promise;
  }

  protected get isWatched(): boolean {
    return this.#watchers.length > 0;
  }

  watch(watcher: Watcher): void {
    this.#watchers = [...this.#watchers, watcher];
  }

  unwatch(watcher: Watcher): void {
    this.#watchers = this.#watchers.filter((other) => other !== watcher);
  }

  protected release(): void {
    this.#released = true;
    this.#releasing?.resolve();
  }

  protected changed(): void {
    this.changes++;
    for (const watcher of this.#watchers) watcher.changed();
  }

  protected served(): void {
    this.changes++;
    this.servedAt = ++servedClock;
    for (const watcher of this.#watchers) watcher.served();
  }
}

/** Ticks for select() whenever something is taken from a source. */
let servedClock = 0;

/** What accepting or receiving datagrams is doing. */
type QueueState =
  | { readonly tag: "idle" | "pending" | "closed" }
  | { readonly tag: "failed"; readonly error: unknown };

/** What receiving is doing. */
type ReadState =
  | { readonly tag: "idle" }
  | { readonly tag: "closed"; readonly buffer?: Uint8Array }
  | { readonly tag: "pending"; readonly buffer: Uint8Array }
  | {
    readonly tag: "ready";
    readonly buffer: Uint8Array;
    start: number;
    readonly end: number;
  }
  | { readonly tag: "ended"; readonly reset: boolean }
  | { readonly tag: "failed"; readonly error: unknown };

/** What sending is doing; `shutting` still has bytes or the FIN to send. */
type WriteState =
  | { readonly tag: "absent" | "open" | "shutting" | "shut" | "broken" }
  | { readonly tag: "failed"; readonly error: unknown };

const IDLE = { tag: "idle" } as const;
const PENDING = { tag: "pending" } as const;
const CLOSED = { tag: "closed" } as const;
const OPEN = { tag: "open" } as const;
const ABSENT = { tag: "absent" } as const;
const BROKEN = { tag: "broken" } as const;
const ENDED = { tag: "ended", reset: false } as const;
const RESET = { tag: "ended", reset: true } as const;
const NOTHING = new Uint8Array(0);
const NO_WATCHERS: readonly Watcher[] = [];

/** Ticks when something has come for a queue, so that a wait can take in all that comes at once. */
let queueClock = 0;

/** What comes one by one and is taken in ahead: connections, datagrams. */
abstract class QueueEndpoint<T> extends Endpoint {
  /** What errors call the operation, an item, and what items come from. */
  protected abstract readonly words: readonly [action: string, item: string, source: string];
  readonly #waiting: T[] = [];
  #state: QueueState = IDLE;

  /** Starts the operation that brings the next item. */
  protected abstract next(): Promise<T>;
  /** Whether one more may be taken in ahead. */
  protected abstract hasRoom(): boolean;
  /** Takes an item in; throws if it is none. */
  protected abstract keep(item: T): T;
  /** Hands an item out. */
  protected abstract give(item: T): T;
  /** Lets go of an item that nobody will take. */
  protected abstract drop(item: T): void;

  get waiting(): number {
    return this.#waiting.length;
  }

  get isClosed(): boolean {
    return this.#state.tag === "closed";
  }

  readiness(): number {
    switch (this.#state.tag) {
      case "idle":
      case "pending":
        return this.#waiting.length > 0 ? POLLIN : 0;
      // The next take() throws it, so it must be invited.
      case "failed":
        return POLLIN | POLLERR;
      case "closed":
        return POLLNVAL;
    }
  }

  mayRead(): boolean {
    return this.#state.tag === "idle" && this.hasRoom();
  }

  startRead(): void {
    if (!this.mayRead()) return;
    this.#state = PENDING;
    attempt(() => this.next()).then(this.#onNext, this.#onFailed);
  }

  readonly #onNext = (item: T): void => {
    if (this.isClosed) {
      this.drop(item);
      return this.release();
    }
    try {
      this.#waiting.push(this.keep(item));
    } catch (error) {
      return this.#onFailed(error);
    }
    this.#state = IDLE;
    queueClock++;
    if (this.isWatched) this.startRead();
    // The others are known to be there as soon as one is.
    if (this.#waiting.length === 1) this.changed();
  };

  readonly #onFailed = (error: unknown): void => {
    if (this.isClosed) return this.release();
    this.#state = { tag: "failed", error };
    this.changed();
  };

  /** Returns the item that waits longest; throws the error if none does. */
  take(): T {
    if (this.#waiting.length > 0) {
      const item = this.give(this.#waiting.shift()!);
      this.served();
      return item;
    }
    const state = this.#state;
    const [action, item, source] = this.words;
    switch (state.tag) {
      case "idle":
      case "pending":
        throw new Deno.errors.WouldBlock(`Cannot ${action}: no ${item} is waiting`);
      case "closed":
        throw new Deno.errors.BadResource(`Cannot ${action}: the ${source} is closed`);
      case "failed":
        this.#state = IDLE;
        this.served();
        throw state.error;
    }
  }

  /** Closes what the items come from, and drops those that wait. */
  protected shut(resource: { close?(): void }): void {
    const { tag } = this.#state;
    if (tag === "closed") return;
    this.#state = CLOSED;
    for (const item of this.#waiting.splice(0)) this.drop(item);
    try {
      closeQuietly(resource);
    } finally {
      if (tag !== "pending") this.release();
      this.changed();
    }
  }
}

const ACCEPT_WORDS = ["accept", "connection", "listener"] as const;
const RECEIVE_WORDS = ["receive", "datagram", "socket"] as const;

/** A listener, its one pending accept and the connections that it accepted ahead. */
class ListenerEndpoint extends QueueEndpoint<ByteStream> {
  protected readonly words = ACCEPT_WORDS;
  readonly listener: Acceptor;

  constructor(listener: Acceptor) {
    super();
    this.listener = listener;
  }

  protected next(): Promise<ByteStream> {
    return this.listener.accept();
  }

  protected hasRoom(): boolean {
    return this.waiting < MAX_ACCEPTS_AHEAD;
  }

  protected keep(conn: ByteStream): ByteStream {
    return conn;
  }

  protected give(conn: ByteStream): ByteStream {
    return conn;
  }

  protected drop(conn: ByteStream): void {
    closeUnheard(conn);
  }

  close(): void {
    this.shut(this.listener);
  }
}

type Datagram = [data: Uint8Array, address: Deno.Addr];

/** As much as may wait, one more, and what is left at the end where no further one would fit. */
const RING_BYTES = MAX_DATAGRAM_BYTES_AHEAD + 2 * MAX_DATAGRAM_BYTES;

/** Memory that datagrams are received into, and wait in: to copy each into its own costs more than all else. */
class DatagramRing {
  readonly #bytes = new Uint8Array(RING_BYTES);
  #end = 0;

  /** Where the next is received. While none waits it begins anew, and touches no more memory. */
  place(isEmpty: boolean): Uint8Array {
    if (isEmpty || this.#end + MAX_DATAGRAM_BYTES > RING_BYTES) this.#end = 0;
    return this.#bytes.subarray(this.#end, this.#end + MAX_DATAGRAM_BYTES);
  }

  /** Keeps what has come; a port may have brought it in memory of its own, which it uses again. */
  keep(bytes: Uint8Array): Uint8Array {
    if (bytes.buffer !== this.#bytes.buffer) return bytes.slice();
    this.#end = bytes.byteOffset + bytes.length;
    return bytes;
  }
}

/** A port for datagrams, its one pending receive, and those that wait to be taken or sent. */
class DatagramEndpoint extends QueueEndpoint<Datagram> {
  protected readonly words = RECEIVE_WORDS;
  readonly port: DatagramPort;
  #ring: DatagramRing | undefined;
  #waitingBytes = 0;
  /** The first is being sent. */
  readonly #unsent: Datagram[] = [];
  #unsentBytes = 0;
  #sendError: { readonly error: unknown } | undefined;

  constructor(port: DatagramPort) {
    super();
    this.port = port;
  }

  override readiness(): number {
    const events = super.readiness();
    if (this.isClosed || !this.port.send) return events;
    if (this.#sendError) return events | POLLOUT | POLLERR;
    return this.#isFull ? events : events | POLLOUT;
  }

  protected next(): Promise<Datagram> {
    this.#ring ??= new DatagramRing();
    return this.port.receive(this.#ring.place(this.waiting === 0));
  }

  protected hasRoom(): boolean {
    return this.waiting < MAX_DATAGRAMS_AHEAD && this.#waitingBytes < MAX_DATAGRAM_BYTES_AHEAD;
  }

  protected keep(datagram: Datagram): Datagram {
    if (!(datagram?.[0] instanceof Uint8Array)) {
      throw new TypeError("Cannot receive: receive() returned no datagram");
    }
    datagram[0] = this.#ring!.keep(datagram[0]);
    this.#waitingBytes += datagram[0].length;
    return datagram;
  }

  protected give(datagram: Datagram): Datagram {
    this.#waitingBytes -= datagram[0].length;
    return datagram;
  }

  protected drop(): void {}

  override take(): Datagram {
    if (this.waiting === 0) this.#throwSendError();
    return super.take();
  }

  get #isFull(): boolean {
    return this.#unsentBytes >= HIGH_WATER_BYTES || this.#unsent.length >= MAX_DATAGRAMS_UNSENT;
  }

  send(bytes: Uint8Array, to: Deno.Addr): number {
    assertBytes(bytes);
    if (this.isClosed) throw new Deno.errors.BadResource("Cannot send: the socket is closed");
    if (!this.port.send) throw new Deno.errors.NotSupported("Cannot send: the port has no send()");
    this.#throwSendError();
    if (this.#isFull) {
      throw new Deno.errors.WouldBlock(`Cannot send: ${this.#unsent.length} datagrams wait`);
    }
    this.#unsent.push([bytes.slice(), to]);
    this.#unsentBytes += bytes.length;
    if (this.#unsent.length === 1) this.#sendFirst();
    this.changed();
    return bytes.length;
  }

  #sendFirst(): void {
    const [bytes, to] = this.#unsent[0]!;
    attempt(() => this.port.send!(bytes, to)).then(() => this.#onSent(), (error) => {
      this.#sendError ??= { error };
      this.#onSent();
    });
  }

  #onSent(): void {
    if (this.isClosed) return;
    this.#unsentBytes -= this.#unsent.shift()![0].length;
    if (this.#unsent.length > 0) this.#sendFirst();
    this.changed();
  }

  #throwSendError(): void {
    if (!this.#sendError) return;
    const { error } = this.#sendError;
    this.#sendError = undefined;
    this.changed();
    throw error;
  }

  close(): void {
    this.#sendError = undefined;
    this.shut(this.port);
  }
}

/** The sending half of a byte stream. */
abstract class SendingEndpoint extends Endpoint {
  readonly stream: ByteStream;
  #writing: WriteState;
  /** Made when something is first sent. */
  #outbox: Outbox | undefined;
  #sendBufferBytes = HIGH_WATER_BYTES;
  #isSending = false;
  /** What shutdown() has promised. */
  #shutdown: PromiseWithResolvers<void> | undefined;

  constructor(stream: ByteStream) {
    super();
    this.stream = stream;
    this.#writing = stream.write ? OPEN : ABSENT;
  }

  get unsentBytes(): number {
    return this.#outbox?.length ?? 0;
  }

  protected abstract readonly isClosed: boolean;
  /** Nothing is left to be sent, or can be. */
  protected abstract onSendingOver(): void;

  get sendBufferBytes(): number {
    return this.#sendBufferBytes;
  }

  set sendBufferBytes(bytes: number) {
    const wasFull = this.#isFull;
    this.#sendBufferBytes = bytes;
    if (this.#isFull !== wasFull) this.changed();
  }

  get #isFull(): boolean {
    return this.unsentBytes >= this.#sendBufferBytes;
  }

  /** Whether something is on its way: bytes, or the FIN. */
  protected get isSending(): boolean {
    return this.#isSending;
  }

  /** Whether nothing will be sent any more. */
  protected get isShut(): boolean {
    const { tag } = this.#writing;
    return tag === "shut" || tag === "broken" || tag === "failed";
  }

  protected writeReadiness(): number {
    switch (this.#writing.tag) {
      case "absent":
        return 0;
      case "open":
        return this.#isFull ? 0 : POLLOUT;
      // The next send() does not wait: it throws.
      case "shutting":
      case "shut":
      case "broken":
        return POLLOUT;
      case "failed":
        return POLLOUT | POLLERR;
    }
  }

  send(bytes: Uint8Array): number {
    assertBytes(bytes);
    this.#assertSendable();
    if (bytes.length === 0) return 0;
    this.#outbox ??= new Outbox();
    const taken = this.#outbox.add(bytes, this.#sendBufferBytes);
    if (taken === 0) {
      throw new Deno.errors.WouldBlock(`Cannot send: ${this.unsentBytes} bytes wait to be sent`);
    }
    if (!this.#isSending) this.#sendQueued();
    this.changed();
    return taken;
  }

  #assertSendable(): void {
    if (this.isClosed) {
      throw new Deno.errors.BadResource("Cannot send: the socket is closed");
    }
    switch (this.#writing.tag) {
      case "open":
        return;
      case "absent":
        throw new Deno.errors.NotSupported("Cannot send: the stream has no write()");
      case "shutting":
      case "shut":
        throw new Deno.errors.BrokenPipe("Cannot send: sending was shut down");
      case "broken":
        throw new Deno.errors.BrokenPipe("Cannot send: the connection is broken");
      case "failed":
        return this.throwWriteError();
    }
  }

  /** Throws the error of a failed write, if there is one, and forgets it. */
  protected throwWriteError(): void {
    if (this.#writing.tag !== "failed") return;
    const { error } = this.#writing;
    this.forgetWriteError();
    this.changed();
    throw error;
  }

  protected forgetWriteError(): void {
    if (this.#writing.tag === "failed") this.#writing = BROKEN;
  }

  /** The connection is gone: nothing of what is queued can be sent any more. */
  protected giveUpSending(): void {
    if (this.#writing.tag !== "absent") this.#breakWriting(BROKEN);
  }

  shutdown(): Promise<void> {
    if (this.isClosed) {
      throw new Deno.errors.BadResource("Cannot shut down: the socket is closed");
    }
    if (this.#writing.tag === "open") {
      this.#writing = { tag: "shutting" };
      if (!this.#isSending) this.#sendQueued();
      this.changed();
    }
    if (!this.#isSending) return Promise.resolve();
    this.#shutdown ??= Promise.withResolvers();
    return this.#shutdown.promise;
  }

  /** Runs for as long as there is something to send, and then sends the FIN if that is asked for. */
  async #sendQueued(): Promise<void> {
    this.#isSending = true;
    try {
      for (let rest; (rest = this.#outbox?.next());) {
        this.#onSent(rest.length, await this.stream.write!(rest));
      }
      if (this.#writing.tag === "shutting") {
        await this.stream.closeWrite?.();
        this.#setWriting({ tag: "shut" });
      }
    } catch (error) {
      this.#setWriting({ tag: "failed", error });
    } finally {
      this.#isSending = false;
      this.#shutdown?.resolve();
      this.onSendingOver();
    }
  }

  #onSent(offered: number, count: number): void {
    if (!(count > 0 && count <= offered)) {
      throw new Deno.errors.WriteZero(
        `Cannot send: write() of ${offered} bytes returned ${count}`,
      );
    }
    // A failed read or abort() may have dropped all that was queued.
    if (!this.#outbox) return;
    const wasFull = this.#isFull;
    this.#outbox.remove(count);
    if (wasFull) this.changed();
  }

  /** A failed read or abort() has told of the end already, and has the last word. */
  #setWriting(state: WriteState): void {
    if (this.#writing.tag === "broken") return;
    if (state.tag === "failed") this.#breakWriting(state);
    this.#writing = state;
    this.changed();
  }

  #breakWriting(state: WriteState): void {
    this.#writing = state;
    this.#outbox = undefined;
    this.#shutdown?.resolve();
  }
}

/** A byte stream: its one read ahead, and its sending half. */
class StreamEndpoint extends SendingEndpoint {
  #reading: ReadState = IDLE;
  /** Whether the next read is large: after a full one, until two in a row are small. */
  #readsLarge = false;
  #smallReads = 0;
  /** Whether the stream itself is closed: some time after close() if something was unsent. */
  #isFreed = false;

  protected get isClosed(): boolean {
    return this.#reading.tag === "closed";
  }

  readiness(): number {
    if (this.isClosed) return POLLNVAL;
    const events = this.#readReadiness() | this.writeReadiness();
    const isOver = this.#reading.tag === "ended" && this.isShut;
    return isOver ? events | POLLHUP : events;
  }

  #readReadiness(): number {
    const state = this.#reading;
    switch (state.tag) {
      case "idle":
      case "pending":
      case "closed":
        return 0;
      case "ready":
        return POLLIN;
      case "ended":
        return POLLIN | POLLRDHUP | (state.reset ? POLLHUP : 0);
      // The next recv() throws it, so it must be invited.
      case "failed":
        return POLLIN | POLLRDHUP | POLLERR | POLLHUP;
    }
  }

  mayRead(): boolean {
    return this.#reading.tag === "idle";
  }

  startRead(): void {
    if (this.#reading.tag !== "idle") return;
    const buffer = takeBuffer(this.#readsLarge);
    this.#reading = { tag: "pending", buffer };
    attempt(() => this.stream.read(buffer)).then(this.#onRead, this.#onReadFailed);
  }

  readonly #onRead = (count: number | null): void => {
    if (this.#reading.tag !== "pending") return this.#onCancelled();
    const buffer = this.#reading.buffer;
    if (count === null || count === 0) {
      giveBuffer(buffer);
      this.#reading = count === null ? ENDED : IDLE;
    } else if (Number.isInteger(count) && count > 0 && count <= buffer.length) {
      this.#chooseSize(count, buffer.length);
      this.#reading = { tag: "ready", buffer, start: 0, end: count };
    } else {
      const error = new RangeError(
        `Cannot receive: read() of ${buffer.length} bytes returned ${count}`,
      );
      return this.#onReadFailed(error);
    }
    this.changed();
  };

  #chooseSize(count: number, offered: number): void {
    this.#smallReads = count <= SMALL_READ_BYTES ? this.#smallReads + 1 : 0;
    if (count === offered) this.#readsLarge = true;
    else if (this.#smallReads >= 2) this.#readsLarge = false;
  }

  readonly #onReadFailed = (error: unknown): void => {
    if (this.#reading.tag !== "pending") {
      this.#onCancelled();
      return this.#free(closeUnheard);
    }
    giveBuffer(this.#reading.buffer);
    this.#reading = { tag: "failed", error };
    this.giveUpSending();
    this.changed();
  };

  /** The read that was pending at close() has settled: its buffer is free. */
  #onCancelled(): void {
    if (this.#reading.tag === "closed" && this.#reading.buffer) {
      giveBuffer(this.#reading.buffer);
      this.#reading = CLOSED;
    }
    if (this.#isFreed) this.release();
  }

  /** Bytes that can be taken now. */
  get arrivedBytes(): number {
    const state = this.#reading;
    return state.tag === "ready" ? state.end - state.start : 0;
  }

  /** Moves at most `max` bytes into `target`, from `at` on; returns how many, 0 at end of file. */
  take(max: number, target: Uint8Array, at: number): number {
    const state = this.#reading;
    if (state.tag === "closed") {
      throw new Deno.errors.BadResource("Cannot receive: the socket is closed");
    }
    if (max === 0) return 0;
    switch (state.tag) {
      case "ready":
        return this.#move(state, max, target, at);
      case "failed":
        this.#reading = RESET;
        this.forgetWriteError();
        this.served();
        throw state.error;
      case "ended":
        this.throwWriteError();
        return 0;
      case "idle":
      case "pending":
        this.throwWriteError();
        throw new Deno.errors.WouldBlock("Cannot receive: nothing has arrived");
    }
  }

  #move(state: ReadState & { tag: "ready" }, max: number, target: Uint8Array, at: number): number {
    const { buffer, start, end } = state;
    const taken = Math.min(end, start + max);
    target.set(buffer.subarray(start, taken), at);
    if (taken < end) {
      state.start = taken;
    } else {
      giveBuffer(buffer);
      this.#reading = IDLE;
    }
    this.served();
    return taken - start;
  }

  close(): void {
    const state = this.#reading;
    if (state.tag === "closed") return;
    this.#reading = state.tag === "pending" ? { tag: "closed", buffer: state.buffer } : CLOSED;
    if (state.tag === "ready") giveBuffer(state.buffer);
    try {
      if (!this.isSending) this.#free(closeQuietly);
    } finally {
      this.changed();
    }
  }

  abort(): void {
    this.giveUpSending();
    try {
      this.close();
    } finally {
      this.#free(closeQuietly);
    }
  }

  protected onSendingOver(): void {
    if (this.isClosed) this.#free(closeUnheard);
  }

  /** Closes the stream itself. */
  #free(close: (stream: ByteStream) => void): void {
    if (this.#isFreed) return;
    this.#isFreed = true;
    this.giveUpSending();
    try {
      close(this.stream);
    } finally {
      if (this.#reading === CLOSED) this.release();
    }
  }
}

/**
 * What waits to be sent, below a limit: bytes that are being written, and
 * behind them those that were added meanwhile, which go together next.
 */
class Outbox {
  #written: Uint8Array = NOTHING;
  #queue: Uint8Array = NOTHING;
  #queuedBytes = 0;

  /** Bytes that are unsent. */
  get length(): number {
    return this.#written.length + this.#queuedBytes;
  }

  /** Copies what fits below `limit`; returns how many bytes that are. */
  add(bytes: Uint8Array, limit: number): number {
    const count = Math.max(0, Math.min(bytes.length, limit - this.length));
    this.#reserve(this.#queuedBytes + count);
    this.#queue.set(count < bytes.length ? bytes.subarray(0, count) : bytes, this.#queuedBytes);
    this.#queuedBytes += count;
    return count;
  }

  #reserve(length: number): void {
    if (length <= this.#queue.length) return;
    const grown = new Uint8Array(Math.max(length, 2 * this.#queue.length));
    grown.set(this.#queue.subarray(0, this.#queuedBytes));
    this.#queue = grown;
  }

  /** Returns what is to be written next, if anything is; none of it is touched until it is removed. */
  next(): Uint8Array | undefined {
    if (this.#written.length === 0) {
      this.#written = this.#queue.subarray(0, this.#queuedBytes);
      this.#queue = NOTHING;
      this.#queuedBytes = 0;
    }
    return this.#written.length > 0 ? this.#written : undefined;
  }

  /** Forgets bytes that were written. */
  remove(count: number): void {
    // An empty view would keep the memory.
    this.#written = count < this.#written.length ? this.#written.subarray(count) : NOTHING;
  }
}

/** Buffers of one size, cut from slabs so that untouched ones cost no memory, and used again. */
class BufferPool {
  readonly #size: number;
  readonly #free: Uint8Array[] = [];
  #slab: Uint8Array = NOTHING;
  /** Buffers taken and not given back. */
  taken = 0;

  constructor(size: number) {
    this.#size = size;
  }

  take(): Uint8Array {
    this.taken++;
    return this.#free.pop() ?? this.#cut();
  }

  give(buffer: Uint8Array): void {
    this.taken--;
    this.#free.push(buffer);
  }

  #cut(): Uint8Array {
    if (this.#slab.length === 0) this.#slab = new Uint8Array(SLAB_BYTES);
    const buffer = this.#slab.subarray(0, this.#size);
    this.#slab = this.#slab.subarray(this.#size);
    return buffer;
  }
}

const smallBuffers = new BufferPool(SMALL_READ_BYTES);
const largeBuffers = new BufferPool(LARGE_READ_BYTES);

function takeBuffer(isLarge: boolean): Uint8Array {
  return (isLarge && largeBuffers.taken < MAX_LARGE_READS ? largeBuffers : smallBuffers).take();
}

function giveBuffer(buffer: Uint8Array): void {
  (buffer.length === LARGE_READ_BYTES ? largeBuffers : smallBuffers).give(buffer);
}

/** One source in one poller. */
class Registration implements Watcher {
  readonly source: Source;
  readonly endpoint: Endpoint;
  readonly #list: ReadyList;
  #isAttached = false;
  #mask = 0;
  /** The mask, and whether to go, that count after the next {@linkcode apply}. */
  nextMask = 0;
  isRemoved = false;
  /** Whether it waits in the list's queue. */
  isUnread = false;
  /** Where it is in the list of those that are ready; -1 if it is not. */
  readyAt = -1;

  constructor(list: ReadyList, source: Source, endpoint: Endpoint) {
    this.#list = list;
    this.source = source;
    this.endpoint = endpoint;
  }

  events(): number {
    return this.endpoint.readiness() & (this.#mask | ALWAYS_REPORTED);
  }

  apply(): void {
    if (this.isRemoved) {
      this.endpoint.unwatch(this);
      this.#list.remove(this);
      return;
    }
    if (!this.#isAttached) this.endpoint.watch(this);
    this.#isAttached = true;
    this.#mask = this.nextMask;
    this.#list.update(this);
  }

  changed(): void {
    this.#list.changed(this);
  }

  served(): void {
    this.#list.served(this);
  }
}

/**
 * Registrations that wait for a read, first in, first out. An array, because a
 * Set that is taken from the front is searched over all that were taken before.
 */
class UnreadQueue {
  #items: Registration[] = [];
  #head = 0;
  /** Number of registrations that wait; the others in the array do no more. */
  size = 0;

  add(registration: Registration): void {
    if (registration.isUnread) return;
    registration.isUnread = true;
    this.size++;
    this.#items.push(registration);
  }

  delete(registration: Registration): void {
    if (!registration.isUnread) return;
    registration.isUnread = false;
    this.size--;
    if (this.#items.length - this.#head > 2 * this.size + 64) this.#compact();
  }

  shift(): Registration | undefined {
    while (this.#head < this.#items.length) {
      const registration = this.#items[this.#head++]!;
      if (this.#head === this.#items.length || this.#head > 1024) this.#compact();
      if (!registration.isUnread) continue;
      registration.isUnread = false;
      this.size--;
      return registration;
    }
  }

  #compact(): void {
    this.#items = this.#items.slice(this.#head).filter(({ isUnread }) => isUnread);
    this.#head = 0;
  }
}

/** What is ready, in the order of becoming so: an array with gaps, at a tenth of a Set's cost. */
class ReadyQueue {
  #items: (Registration | undefined)[] = [];
  size = 0;

  add(registration: Registration): void {
    if (this.#items.length > 2 * this.size + 64) this.#compact();
    registration.readyAt = this.#items.push(registration) - 1;
    this.size++;
  }

  delete(registration: Registration): void {
    if (registration.readyAt < 0) return;
    this.#items[registration.readyAt] = undefined;
    registration.readyAt = -1;
    if (--this.size === 0) this.#items = [];
  }

  /** Without gaps; valid until the next change. */
  list(): readonly Registration[] {
    if (this.#items.length > this.size) this.#compact();
    return this.#items as Registration[];
  }

  #compact(): void {
    const items = this.#items.filter((registration) => registration !== undefined);
    for (let i = 0; i < items.length; i++) items[i]!.readyAt = i;
    this.#items = items;
  }
}

/** What the registrations of one poller have to tell: the kernel's ready list. */
class ReadyList implements Wait {
  readonly #ready = new ReadyQueue();
  /** Registrations whose source needs a read, in order of service. */
  readonly #unread = new UnreadQueue();
  readonly #burst = new Burst();
  #hasNews = false;
  #isWoken = false;
  /** Whether reads settle that need not wait. */
  #isReading = false;
  #arrival: PromiseWithResolvers<void> | undefined;

  /** Puts a registration where the state of its source says; returns whether it became ready. */
  update(registration: Registration): boolean {
    const wasReady = registration.readyAt >= 0;
    const isReady = registration.events() !== 0;
    if (isReady) {
      if (!wasReady) this.#ready.add(registration);
      this.#hasNews = true;
      this.#endWait();
    } else if (wasReady) {
      this.#ready.delete(registration);
    }
    if (registration.endpoint.mayRead()) {
      this.#unread.add(registration);
      this.#endWait();
    }
    return isReady && !wasReady;
  }

  changed(registration: Registration): void {
    if (this.update(registration) && !this.#isReading) this.#burst.add();
  }

  /** What was left of a source that was served waits behind all others, and is no arrival. */
  served(registration: Registration): void {
    this.#ready.delete(registration);
    this.update(registration);
  }

  remove(registration: Registration): void {
    this.#ready.delete(registration);
    this.#unread.delete(registration);
  }

  wake(): void {
    this.#isWoken = true;
    this.#endWait();
  }

  /** Once: each of many arrivals would resolve it in vain. */
  #endWait(): void {
    this.#arrival?.resolve();
    this.#arrival = undefined;
  }

  get unread(): number {
    return this.#unread.size;
  }

  get ready(): number {
    return this.#ready.size;
  }

  beginRound(hasParked: boolean): void {
    this.#burst.endRound(hasParked);
    if (!this.#burst.isOn) this.startReads(READS_PER_STEP);
  }

  /** In order of service, so that nobody is read twice before all were read once. */
  startReads(most: number): void {
    this.#isReading = true;
    for (let started = 0; started < most; started++) {
      const registration = this.#unread.shift();
      if (!registration) break;
      registration.endpoint.startRead();
    }
  }

  endStep(): void {
    this.#isReading = false;
  }

  due(): "nothing" | "known" | "news" {
    if (this.#isWoken) return "news";
    if (this.#ready.size === 0) return "nothing";
    return this.#hasNews ? "news" : "known";
  }

  arrival(): Disposable & { readonly promise: Promise<void> } {
    const { promise } = this.#arrival = Promise.withResolvers();
    return { promise, [Symbol.dispose]: () => this.#arrival = undefined };
  }

  report(): [Source, number][] {
    this.#hasNews = false;
    this.#isWoken = false;
    const report: [Source, number][] = [];
    for (const registration of this.#ready.list()) {
      report.push([registration.source, registration.events()]);
    }
    return report;
  }
}

/**
 * Tells when more sources became ready by reads that had waited in the kernel than
 * one turn of the loop serves. While it is on no read is started: the runtime would
 * serve it before those that wait. It ends when the parked loop brings no more.
 */
class Burst {
  #arrivals = 0;
  /** 0 if it is off. */
  #untilMs = 0;

  get isOn(): boolean {
    return this.#untilMs > 0;
  }

  /** Counts a source that became ready by a read that had to wait. */
  add(): void {
    this.#arrivals++;
  }

  /** Judges what has arrived since this was last called. */
  endRound(hasParked: boolean): void {
    const arrivals = this.#arrivals;
    this.#arrivals = 0;
    if (!this.isOn) {
      if (arrivals >= LATE_BURST) this.#untilMs = performance.now() + MAX_BURST_MS;
    } else if (hasParked && arrivals === 0 || performance.now() >= this.#untilMs) {
      this.#untilMs = 0;
    }
  }
}

/** One argument of a select(), with what makes it win. */
class Contender implements Watcher {
  readonly endpoint: Endpoint;
  readonly mask: number;
  #finish: (() => void) | undefined;

  constructor(endpoint: Endpoint, mask: number) {
    this.endpoint = endpoint;
    this.mask = mask;
  }

  /** Settles at the next change: a fresh promise each time, so that nothing is left on a loser. */
  run(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#finish = resolve;
    return promise;
  }

  scratch(): void {
    this.#finish = undefined;
  }

  changed(): void {
    this.#finish?.();
  }

  served(): void {
    this.#finish?.();
  }
}

/** The race of one select(). Disposing lets go of the sources. */
class SelectRace implements Wait, Disposable {
  readonly #contenders: readonly Contender[];
  /** Endpoints to be read ahead: all but those that are only to be written. */
  readonly #reading: ReadonlySet<Endpoint>;

  constructor(contenders: readonly Contender[]) {
    this.#contenders = contenders;
    this.#reading = new Set(
      contenders.filter(({ mask }) => mask !== POLLOUT).map(({ endpoint }) => endpoint),
    );
    for (const contender of contenders) contender.endpoint.watch(contender);
  }

  [Symbol.dispose](): void {
    for (const contender of this.#contenders) contender.endpoint.unwatch(contender);
  }

  get unread(): number {
    return this.#idle().length;
  }

  get ready(): number {
    return this.#winners().length;
  }

  beginRound(): void {
    this.startReads(READS_PER_STEP);
  }

  startReads(most: number): void {
    const idle = this.#idle();
    if (idle.length > most) idle.sort((a, b) => a.servedAt - b.servedAt);
    for (const endpoint of idle.slice(0, most)) endpoint.startRead();
  }

  endStep(): void {}

  due(): "nothing" | "known" | "news" {
    if (this.#isBroken) return "news";
    const winners = this.#winners();
    if (winners.length === 0) return "nothing";
    return winners.some(({ endpoint }) => endpoint.changes !== endpoint.reported)
      ? "news"
      : "known";
  }

  arrival(): Disposable & { readonly promise: Promise<void> } {
    const promise = Promise.race(this.#contenders.map((contender) => contender.run()));
    const scratch = () => this.#contenders.forEach((contender) => contender.scratch());
    return { promise, [Symbol.dispose]: scratch };
  }

  report(): void {
    if (this.#isBroken) throw new Deno.errors.BadResource("Cannot select: a source is closed");
    for (const { endpoint } of this.#winners()) endpoint.reported = endpoint.changes;
  }

  get #isBroken(): boolean {
    return this.#contenders.some(({ endpoint }) => endpoint.readiness() & POLLNVAL);
  }

  #idle(): Endpoint[] {
    return [...this.#reading].filter((endpoint) => endpoint.mayRead());
  }

  #winners(): Contender[] {
    return this.#contenders.filter(({ endpoint, mask }) => endpoint.readiness() & mask);
  }
}

/** Knows whether the event loop has turned lately; asking costs next to nothing. */
class LoopWatch {
  #checkedAt = 0;
  #turning = false;

  isStarved(): boolean {
    const now = performance.now();
    if (now - this.#checkedAt < MAX_MS_WITHOUT_TURN) return false;
    // What was asked to run at the next turn has not run: there was none.
    if (this.#turning) return true;
    this.#checkedAt = now;
    this.#turning = true;
    setImmediate(() => this.#turning = false);
    return false;
  }
}

const loopWatch = new LoopWatch();

/**
 * The wait of select() and Poller.poll(): returns when there is something to
 * report, or when the timeout has passed and a look at all sources is done.
 */
async function waitUntilDue(
  wait: Wait,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  signal?.throwIfAborted();
  using abortion = signal && new Abortion(signal);
  const deadlineMs = timeoutMs === Infinity ? Infinity : performance.now() + timeoutMs;
  let hasParked = false;
  let hasTurned = false;
  while (timeoutMs > 0 && (deadlineMs === Infinity || performance.now() < deadlineMs)) {
    wait.beginRound(hasParked);
    let came;
    do {
      came = queueClock;
      for (let i = 0; i < SETTLE_MICROTASKS; i++) await undefined;
    } while (came !== queueClock);
    wait.endStep();
    const due = wait.due();
    const isStarved = loopWatch.isStarved();
    if (due !== "nothing" && (hasTurned || due === "news" && !isStarved)) return;
    if (due !== "nothing" || isStarved) {
      await turnLoop();
      hasParked = true;
    } else {
      const stepEndsMs = wait.unread > 0 ? performance.now() + MS_PER_STEP : Infinity;
      hasParked = await arrivalOrTimer(wait, Math.min(stepEndsMs, deadlineMs), abortion?.promise);
    }
    hasTurned ||= hasParked;
    signal?.throwIfAborted();
  }
  await look(wait, signal);
}

/** A promise that settles when a signal is aborted. Disposing takes the listener away. */
class Abortion implements Disposable {
  readonly #signal: AbortSignal;
  readonly #abortion = Promise.withResolvers<void>();
  readonly #listener = () => this.#abortion.resolve();

  constructor(signal: AbortSignal) {
    this.#signal = signal;
    signal.addEventListener("abort", this.#listener);
  }

  get promise(): Promise<void> {
    return this.#abortion.promise;
  }

  [Symbol.dispose](): void {
    this.#signal.removeEventListener("abort", this.#listener);
  }
}

/**
 * Finds all that waits in the kernel: starts the reads that are due, a step a turn,
 * and turns the loop until a turn did not use up what it may serve. A read of 0 bytes
 * will be asked again, but adds no step.
 */
async function look(wait: Wait, signal: AbortSignal | undefined): Promise<void> {
  let stepsLeft = Math.ceil(wait.unread / READS_PER_LOOK);
  for (let found = Infinity; stepsLeft > 0 || found >= FULL_TURN; stepsLeft--) {
    const known = wait.ready;
    wait.startReads(READS_PER_LOOK);
    await turnLoop();
    await askKernel();
    for (let i = 0; i < SETTLE_MICROTASKS; i++) await undefined;
    wait.endStep();
    signal?.throwIfAborted();
    found = wait.ready - known;
  }
}

/**
 * Lets timers, I/O and signals have their turn: a timer parks the loop, unless it is
 * due before the loop gets there.
 */
function turnLoop(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

/** Has the runtime ask the kernel what is ready, however late this thread may be. */
function askKernel(): Promise<void> {
  return new Promise((resolve) => {
    let turnsLeft = TURNS_TO_ASK_KERNEL;
    const turn = () => turnsLeft-- > 0 ? void setImmediate(turn) : resolve();
    turn();
  });
}

/** Returns whether the timer came first, which has parked the loop. */
async function arrivalOrTimer(
  wait: Wait,
  timerMs: number,
  abortion: Promise<void> | undefined,
): Promise<boolean> {
  using arrival = wait.arrival();
  const other = abortion ? Promise.race([arrival.promise, abortion]) : arrival.promise;
  if (timerMs === Infinity) {
    await other;
    return false;
  }
  const { promise, resolve } = Promise.withResolvers<true>();
  // Deno warns of a negative delay, and its warning stops everything while nobody reads stderr.
  const delayMs = Math.max(0, Math.ceil(timerMs - performance.now()));
  const timer = setTimeout(resolve, Math.min(delayMs, MAX_TIMER_MS), true);
  try {
    return await Promise.race([other, promise]) === true;
  } finally {
    clearTimeout(timer);
  }
}

function endpointOf(source: unknown): Endpoint {
  if (source instanceof Socket) return streamOf(source);
  if (source instanceof ServerSocket) return listenerOf(source);
  if (source instanceof DatagramSocket) return datagramsOf(source);
  throw new TypeError(
    `Cannot watch ${typeof source}: expected a Socket, a ServerSocket or a DatagramSocket`,
  );
}

function entriesOf<S extends Source>(name: string, list: Iterable<S>): [S, Endpoint][] {
  if (typeof list?.[Symbol.iterator] !== "function") {
    throw new TypeError(`Cannot select: ${name} must be an iterable of sources`);
  }
  return Array.from(list, (source) => [source, endpointOf(source)]);
}

function having<S extends Source>(mask: number, entries: [S, Endpoint][]): S[] {
  return entries.filter(([, endpoint]) => endpoint.readiness() & mask).map(([source]) => source);
}

function parseSelectTimeout(timeoutSeconds: number | null | undefined): number {
  const timeoutMs = parseTimeout("timeoutSeconds", timeoutSeconds, 1000);
  if (timeoutMs < 0) {
    throw new RangeError(`Cannot wait: timeoutSeconds must not be negative: ${timeoutSeconds}`);
  }
  return timeoutMs;
}

function parsePollTimeout(timeoutMs: number | null | undefined): number {
  const waitMs = parseTimeout("timeoutMs", timeoutMs, 1);
  return waitMs < 0 ? Infinity : waitMs;
}

/** Milliseconds, rounded away from zero so that nothing ends early. */
function parseTimeout(name: string, value: unknown, unitMs: number): number {
  if (value === undefined || value === null) return Infinity;
  if (typeof value !== "number") {
    throw new TypeError(`Cannot wait: ${name} must be a number, not ${typeof value}`);
  }
  if (Number.isNaN(value)) throw new RangeError(`Cannot wait: ${name} must not be NaN`);
  return value < 0 ? Math.floor(value * unitMs) : Math.ceil(value * unitMs);
}

function parseSignal(options: WaitOptions | undefined): AbortSignal | undefined {
  const signal: unknown = options?.signal;
  if (signal === undefined || signal instanceof AbortSignal) return signal;
  throw new TypeError(`Cannot wait: signal must be an AbortSignal, not ${typeof signal}`);
}

function assertEventMask(mask: unknown): void {
  if (!Number.isInteger(mask)) {
    throw new TypeError(`Cannot watch for ${mask}: an event mask is an integer`);
  }
  if ((mask as number) < 0 || (mask as number) > MAX_EVENT_MASK) {
    throw new RangeError(`Cannot watch for ${mask}: an event mask is in 0 to ${MAX_EVENT_MASK}`);
  }
}

function assertHas(what: string, value: unknown, method: string): void {
  if (typeof (value as Record<string, unknown> | undefined | null)?.[method] === "function") return;
  throw new TypeError(
    `Cannot make ${what} of ${typeof value}: expected something with ${method}()`,
  );
}

function assertMax(max: unknown): void {
  if (typeof max !== "number") {
    throw new TypeError(`Cannot receive: the maximum must be a number, not ${typeof max}`);
  }
  if (!Number.isInteger(max) || max < 0) {
    throw new RangeError(`Cannot receive ${max} bytes: expected an integer from 0`);
  }
}

function assertPlace(target: unknown, start: number, end: number): void {
  if (!(target instanceof Uint8Array)) {
    throw new TypeError("Cannot receive: expected a Uint8Array to receive into");
  }
  const isPlace = Number.isInteger(start) && Number.isInteger(end) && 0 <= start && start <= end &&
    end <= target.length;
  if (isPlace) return;
  throw new RangeError(`Cannot receive into bytes ${start} to ${end} of ${target.length}`);
}

function parseBufferBytes(bytes: unknown): number {
  if (!Number.isInteger(bytes)) {
    throw new TypeError(`Cannot hold ${bytes} bytes: the size of a buffer is an integer`);
  }
  if ((bytes as number) < 1) {
    throw new RangeError(`Cannot hold ${bytes} bytes: the size of a buffer is at least 1`);
  }
  return bytes as number;
}

function assertBytes(bytes: unknown): void {
  if (!(bytes instanceof Uint8Array)) throw new TypeError("Cannot send: expected a Uint8Array");
}

/** Starts an operation of somebody else's stream; one that throws at once has failed. */
function attempt<T>(start: () => Promise<T>): Promise<T> {
  try {
    return Promise.resolve(start());
  } catch (error) {
    return Promise.reject(error);
  }
}

/** Closes what its owner may have closed behind our back. */
function closeQuietly(resource: { close?(): void }): void {
  try {
    resource.close?.();
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}

/** Closes a connection that nobody has asked for: nobody would know what to do with its error. */
function closeUnheard(conn: ByteStream): void {
  try {
    conn.close?.();
  } catch {
    // It was accepted, and there is nothing else to free.
  }
}
