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
 * - **An end shows behind unread data**, as long as that is less than 2 KiB: so far a
 *   source is read on behind it.
 * - **Changes count at once**, also while a call waits, as with epoll.
 * - **Nobody is held.** A source that nobody watches does not keep the process alive.
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
 * | `poll` counts changes from the next call on, `epoll` at once | at once | as `epoll`: threads and coroutines change what is watched |
 * | `connect_ex`, `getsockopt(SO_ERROR)` | `Socket.connect`, `takeError` | the same in one step |
 * | `accept` gives a client that was reset meanwhile, with its data | it is skipped, and counted in `lost` | Deno cannot accept it |
 * | `shutdown(SHUT_RD)`, `SHUT_RDWR` | `shutdown()` is `SHUT_WR`; `close()` ends both | Deno has no other |
 * | `EPOLLONESHOT` is 0x40000000 | `POLLONESHOT` is 0x4000 | masks have 16 bits |
 * | an end shows however much is unread before it | behind at most 2 KiB; behind more when that is read: have an idle timeout | what is unread is held back, or it would fill memory |
 * | a Unix datagram socket sends while it waits | not while it is watched: the send fails with `Busy`; use a second socket | Deno locks it for the receive |
 * | any number of FIFOs and serial devices | 32 quiet ones at most, then no file is read or written any more: let `cat` read the others | Deno reads files in threads, of which it has 32 |
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

// -- Events --

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
/**
 * In a mask: after one report the registration sleeps until `modify` or `register` gives it
 * a new mask. For loops whose handlers await: nobody is called twice for the same data.
 */
export const POLLONESHOT = 0x4000;
/** The peer sends no more: its FIN has come, or a reset. Linux only in C, everywhere here. */
export const POLLRDHUP = 0x2000;

/** What poll(2) reports without being asked. */
const ALWAYS_REPORTED = POLLERR | POLLHUP | POLLNVAL;
const MAX_EVENT_MASK = 0xFFFF;
// -- Sizes and times --

/** What `send` holds for a slow peer before it says "not now", unless it is given another size. */
const HIGH_WATER_BYTES = 64 * 1024;
/** A quiet source holds one of these; a touched page of memory is paid for, so it is small. */
const SMALL_READ_BYTES = 2 * 1024;
const LARGE_READ_BYTES = 64 * 1024;
/** Bounds what large reads can hold; the other sources make do with small ones. */
const MAX_LARGE_READS = 128;
const SLAB_BYTES = 1024 * 1024;
/** Small buffers that were used and are kept for first reads: a burst has so many under way. */
const RESERVED_BUFFERS = 512;
/** What outboxes use again: so many pieces of memory, of such sizes. */
const MAX_SPARES = 8;
const MIN_SPARE_BYTES = 4 * 1024;
const MAX_SPARE_BYTES = 256 * 1024;
/** What a listener accepts before anybody asks for it; a storm of clients would overrun its backlog. */
const MAX_ACCEPTS_AHEAD = 64;
/** So many are copied faster one by one than by a view, which is an object. */
const FEW_BYTES = 48;
/** After so many errors that are nobody's the loop has to turn before the next accept. */
const MAX_FORGIVEN = 64;
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
/** A look with a timer of its own takes so long: it begins that much before a wait expires. */
const LOOK_MS = 3;
/** The runtime asks the kernel after 61 turns at the latest, and serves what it said in the next. */
const TURNS_TO_ASK_KERNEL = 64;
/** A read or accept of what the kernel already has settles within three. */
const SETTLE_MICROTASKS = 4;
const MAX_MS_WITHOUT_TURN = 10;
/** Longer timers fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

// -- What sources are made of --

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
  /**
   * Takes bytes from the front of `p`; resolves to how many. The memory is used again
   * after that: copy what is kept. Without it the source is never writable.
   */
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

// -- Sources --

/** What {@linkcode select} and {@linkcode Poller} can watch. */
export type Source = ServerSocket | Socket | DatagramSocket;

/**
 * What {@linkcode Poller.poll} says of a source that is ready: which, its event bits, and
 * what was registered with it.
 *
 * @typeParam S Kind of source.
 * @typeParam D What was registered.
 */
export type PollEntry<S extends Source = Source, D = undefined> = [D] extends [undefined]
  ? [source: S, events: number] & { readonly 2?: PollData<D> }
  : [source: S, events: number, data: D];

/**
 * What may be registered with a source: anything, where nobody says of which type it is.
 *
 * @typeParam D Its type.
 */
export type PollData<D> = unknown extends D ? D : [D] extends [undefined] ? unknown : D;

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
   * Number of clients so far that were gone, by a reset for example, before they were accepted.
   * They are no event: a stranger's reset must not end a loop that takes errors seriously.
   * What they had sent is lost, because Deno cannot accept them.
   */
  get lost(): number {
    return this.#endpoint.lost;
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
   * usable. An `Error` with `code` "EMFILE" or "ENFILE" says that descriptors ran out.
   * A client that was gone already is no such error, see {@linkcode lost}.
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
   * Connects, as connect(2) on a non-blocking socket: returns at once. The socket is
   * neither readable nor writable until the connection is made, then `POLLOUT`. If it
   * cannot be made, the socket is `POLLOUT | POLLERR | POLLHUP`, and `send`, `recv` or
   * {@linkcode takeError} has the error, once. Meanwhile `send` and `recv` throw
   * `WouldBlock`, and {@linkcode sendAll} waits. {@linkcode close} ends the attempt.
   *
   * @param options Where to, as for `Deno.connect`.
   * @param waitOptions A signal that ends the attempt; its reason is the error then.
   * @throws {TypeError} If the signal is not an `AbortSignal`.
   *
   * @example
   * ```ts
   * import { assertEquals } from "@std/assert";
   *
   * using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
   * using client = Socket.connect({ port: listener.addr.port });
   * assertEquals(await select([], [client], [client]), [[], [client], []]);
   * assertEquals(client.takeError(), undefined); // it is connected
   * using peer = await listener.accept();
   * assertEquals(client.remoteAddr, peer.localAddr);
   * ```
   */
  static connect(
    options: Deno.ConnectOptions | Deno.UnixConnectOptions,
    waitOptions?: WaitOptions,
  ): Socket {
    const attempt = new ConnectAttempt(options, parseSignal(waitOptions));
    const socket = new Socket(attempt);
    socket.#endpoint.connect(attempt);
    return socket;
  }

  /**
   * Takes the stream over: nobody else may read from it or write to it any more.
   *
   * @param stream A `Deno.Conn`, `Deno.stdin`, a file or anything like them.
   * @throws {TypeError} If it has no `read`, or if another `Socket` has it: they would
   * share its bytes.
   */
  constructor(stream: ByteStream) {
    assertHas("a Socket", stream, "read");
    this.#endpoint = new StreamEndpoint(claimed(stream));
  }

  /**
   * The stream underneath, for what is not reading or writing: `handshake()`, `setNoDelay()`.
   * While {@linkcode connect} is under way something that can do neither.
   */
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
    const bytes = new Uint8Array(Math.min(max, this.#endpoint.takableBytes));
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
   * Sends all of `bytes`, however long that takes: for those who do not want the loop of
   * `send` and `POLLOUT`. Several keep their order. A `send` meanwhile takes turns with
   * it at best, so use one or the other.
   *
   * @param bytes Not copied: they must stay as they are until it settles.
   * @param options A signal that ends the wait: what was taken until then is sent.
   * @returns Settles when the stream has taken all of them.
   * @throws As {@linkcode send} does, but never `WouldBlock`; the reason of the signal, if
   * that is aborted; `Deno.errors.BadResource` after {@linkcode close}.
   */
  async sendAll(bytes: Uint8Array, options?: WaitOptions): Promise<void> {
    await this.#endpoint.sendAll(bytes, parseSignal(options));
  }

  /**
   * Gives bytes back, to be received next: what is given back last is received first. For
   * a look at what a peer says, or more than was meant for this reader. At end of file,
   * too.
   *
   * @param bytes Copied.
   * @throws {Deno.errors.BadResource} If this socket is closed.
   * @throws {TypeError} If `bytes` is not a `Uint8Array`.
   */
  unrecv(bytes: Uint8Array): void {
    this.#endpoint.giveBack(bytes);
  }

  /**
   * Takes the pending error, as getsockopt(2) with SO_ERROR: of a failed read, write or
   * connect. Data that came before it stays.
   *
   * @returns The error, once; `undefined` if there is none.
   */
  takeError(): unknown {
    return this.#endpoint.takeError();
  }

  /**
   * Hands the connection on as web streams, this one beginning with what was read ahead or
   * given back: find out what a peer speaks, then let another program have it. From then
   * on `recv`, `send` and all their kin throw `Deno.errors.Busy`, and pollers see nothing
   * but its end. It is closed when both streams are, or by {@linkcode close}.
   *
   * @throws {Deno.errors.BadResource} If this socket is closed.
   */
  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return this.#endpoint.web.readable;
  }

  /** The other direction of {@linkcode readable}; closing it sends the FIN. */
  get writable(): WritableStream<Uint8Array> {
    return this.#endpoint.web.writable;
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
   * the connection and the process until it goes: {@linkcode abort} it.
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

// -- select() --

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
  const deadlineMs = deadlineOf(timeoutMs);
  do await waitUntilDue(race, deadlineMs, signal); while (isEarly(race, deadlineMs));
  race.report();
  return [having(POLLIN, reading), having(POLLOUT, writing), having(POLLERR, failing)];
}

// -- The poll object --

/**
 * The poll object: remembers what to watch, and answers who is ready. As
 * Python's `select.poll()`, in the time of its `epoll()`: a call costs in
 * proportion to the sources that are ready, whatever the number of quiet ones.
 *
 * - **Level-triggered.** A source stays in the answer until it is read.
 * - **In order of readiness**, one entry per source with all its bits.
 * - **Changes count at once**, as with epoll: a `poll()` that waits hears of what
 *   `register`, `modify` and `unregister` do meanwhile.
 * - **Data beside a source.** What `register` is given for a source comes with each of its
 *   entries: a handler, a session, so that no Map is needed beside the poller. The types
 *   say what it is: `new Poller<Socket, Session>()`.
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
 *
 * @example Handlers as data, each source with its own
 * ```ts
 * import { assertEquals } from "@std/assert";
 *
 * const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * await using server = new ServerSocket(listener);
 * using client = await Deno.connect({ port: listener.addr.port });
 * await client.write(new TextEncoder().encode("hello"));
 *
 * using poller = new Poller<Source, () => void>();
 * const heard: string[] = [];
 * poller.register(server, POLLIN, () => {
 *   const peer = server.accept();
 *   poller.register(peer, POLLIN, () => {
 *     heard.push(new TextDecoder().decode(peer.recv(1024)));
 *     poller.unregister(peer);
 *     peer.close();
 *   });
 * });
 * while (heard.length === 0) {
 *   for (const [, , onReady] of await poller.poll()) onReady();
 * }
 * assertEquals(heard, ["hello"]);
 * ```
 *
 * @typeParam S Kind of source to watch.
 * @typeParam D What is registered with each source, besides. Without it anything may be,
 * and comes back as `unknown`.
 */
export class Poller<S extends Source = Source, D = undefined> implements Disposable {
  readonly #registrations = new Map<Source, Registration<S, D>>();
  readonly #list = new ReadyList<S, D>();
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

  /** The registered sources, in the order in which they were registered first; a new array. */
  sources(): S[] {
    return Array.from(this.#registrations.values(), ({ source }) => source);
  }

  /**
   * The mask of a source.
   *
   * @param source A source.
   * @returns `undefined` if it is not registered.
   * @throws {TypeError} If `source` is not a source.
   */
  maskOf(source: Source): number | undefined {
    endpointOf(source);
    return this.#registrations.get(source)?.mask;
  }

  /**
   * What was registered with a source.
   *
   * @param source A source.
   * @returns `undefined` if it is not registered.
   * @throws {TypeError} If `source` is not a source.
   */
  dataOf(source: Source): PollData<D> | undefined {
    endpointOf(source);
    return this.#registrations.get(source)?.data;
  }

  /**
   * Starts watching a source, or gives one that is watched a new mask and new data.
   * A `poll()` that waits counts it at once.
   *
   * A source is read ahead whatever its mask, even 0, or a reset could not be
   * seen. A closed source may be registered and is reported as `POLLNVAL`.
   *
   * @param source What to watch.
   * @param mask Events to be reported, an integer from 0 to 0xFFFF; `POLLERR`,
   * `POLLHUP` and `POLLNVAL` are reported in any case. `POLLIN | POLLPRI` by
   * default, without the `POLLOUT` of Python: there is nearly always room to
   * send, so a loop that asks for it without need spins. With `POLLONESHOT` one report
   * puts it to sleep.
   * @param data What comes with each of its entries. To be left out only where the type
   * `D` has `undefined`.
   * @throws {TypeError} If `source` is not a source or `mask` not an integer.
   * @throws {RangeError} If `mask` is not in 0 to 0xFFFF.
   * @throws {Deno.errors.BadResource} If this poller is closed.
   */
  register(
    source: S,
    mask: number = POLLIN | POLLPRI,
    ...data: undefined extends D ? [data?: PollData<D>] : [data: D]
  ): void {
    this.#assertOpen();
    const endpoint = endpointOf(source);
    assertEventMask(mask);
    let registration = this.#registrations.get(source);
    if (!registration) {
      registration = new Registration<S, D>(this.#list, source, endpoint);
      this.#registrations.set(source, registration);
    }
    registration.data = data[0] as D;
    registration.watchFor(mask);
  }

  /**
   * Gives a watched source a new mask, and new data if there is any. Wakes what
   * `POLLONESHOT` has put to sleep. A `poll()` that waits counts it at once.
   *
   * @param source A registered source.
   * @param mask As for {@linkcode register}.
   * @param data Left out, the data stays.
   * @throws {Deno.errors.NotFound} If the source is not registered.
   * @throws {TypeError} If `source` is not a source or `mask` not an integer.
   * @throws {RangeError} If `mask` is not in 0 to 0xFFFF.
   * @throws {Deno.errors.BadResource} If this poller is closed.
   */
  modify(source: S, mask: number, ...data: [data?: PollData<D>]): void {
    const registration = this.#find("modify", source);
    assertEventMask(mask);
    if (data.length > 0) registration.data = data[0] as D;
    registration.watchFor(mask);
  }

  /**
   * Stops watching a source, at once. A read that is pending stays pending, and what it
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
    registration.remove();
  }

  /**
   * Waits until a registered source is ready, the timeout passes, or
   * {@linkcode wake} is called.
   *
   * @param timeoutMs Absent, `null` or negative waits for ever, 0 only looks,
   * more waits at least that many **milliseconds**; fractions are rounded up.
   * @param options A signal that ends the wait.
   * @returns One entry per ready source: the source, its event bits, and what was
   * registered with it unless that is `undefined`. Empty if the timeout passed, and
   * possibly after {@linkcode wake}.
   * @throws {TypeError} If the timeout is not a number or the signal not an `AbortSignal`.
   * @throws {RangeError} If the timeout is `NaN`.
   * @throws {Deno.errors.Busy} If a call of this poller is already waiting.
   * @throws {Deno.errors.BadResource} If this poller is closed, before or while waiting.
   * @throws The reason of the signal, if that is aborted.
   */
  async poll(
    timeoutMs?: number | null,
    options?: WaitOptions,
  ): Promise<PollEntry<S, D>[]> {
    const waitMs = parsePollTimeout(timeoutMs);
    const signal = parseSignal(options);
    this.#assertOpen();
    if (this.#state === "polling") {
      throw fault("EBUSY", "Cannot poll: another poll() is waiting");
    }
    this.#state = "polling";
    try {
      const deadlineMs = deadlineOf(waitMs);
      do await waitUntilDue(this.#list, deadlineMs, signal); while (
        isEarly(this.#list, deadlineMs)
      );
      this.#assertOpen();
      return this.#list.report();
    } finally {
      if (this.#state === "polling") this.#state = "idle";
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
   * using poller = new Poller<Socket>();
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
   *   const data = source.recv(100);
   *   heard += new TextDecoder().decode(data);
   *   if (data.length === 0) break; // end of file
   * }
   * assertEquals(heard, "hellobye");
   * ```
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<PollEntry<S, D>, void, void> {
    while (!this.#isClosed()) {
      for (const entry of await this.#pollUntilClosed()) {
        const [source, events] = entry;
        const isClosed = (endpointOf(source).readiness() & ~events & POLLNVAL) !== 0;
        if (this.has(source) && !isClosed) yield entry;
      }
    }
  }

  async #pollUntilClosed(): Promise<PollEntry<S, D>[]> {
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
    for (const source of this.sources()) this.unregister(source);
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

  #find(action: string, source: Source): Registration<S, D> {
    this.#assertOpen();
    endpointOf(source);
    const registration = this.#registrations.get(source);
    if (registration) return registration;
    throw fault("ENOENT", `Cannot ${action} source ${source.id}: it is not registered`);
  }

  #assertOpen(): void {
    if (this.#state === "closed") throw fault("EBADF", "Poller is closed");
  }
}

// -- Readiness: what each source knows --

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
  /** Called first: what was left unread since the last wait may be read on. */
  begin(): void;
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
  /** Starts at most so many reads behind what is ready; returns whether there were any. */
  startReadsBehind(most: number): boolean;
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
  /** Whether its pending operation does not keep the process alive. */
  #isUnheld = false;
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
  /** Starts a read if one may be, behind unread data, too. */
  abstract startRead(): void;
  /** Whether an operation is pending, which keeps the process alive. */
  protected abstract readonly isPending: boolean;
  protected abstract readonly isClosed: boolean;
  /** What can be told not to keep the process alive. */
  protected abstract readonly holder: Holder;

  /** Whether there is unread data, and room for a read behind it. */
  mayReadOn(): boolean {
    return false;
  }

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
    this.hold();
  }

  unwatch(watcher: Watcher): void {
    this.#watchers = this.#watchers.filter((other) => other !== watcher);
    if (!this.isWatched && this.isPending) unwatched.add(this);
  }

  /** What is pending keeps the process alive again. */
  protected hold(): void {
    if (this.#isUnheld) this.holder.ref?.();
    this.#isUnheld = false;
  }

  /** A read that is pending for nobody does not keep the process alive. */
  letGo(): void {
    if (this.isWatched || this.#isUnheld || !this.isPending || this.isClosed) return;
    if (!this.holder.unref) return;
    this.#isUnheld = true;
    this.holder.unref();
  }

  /** Settles when something happens to it. */
  protected async nextChange(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const watcher: Watcher = { changed: resolve, served: resolve };
    this.watch(watcher);
    await promise;
    this.unwatch(watcher);
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

/** Deno's listeners and connections have these. */
interface Holder {
  ref?(): void;
  unref?(): void;
}

/**
 * Sources that nobody watches any more. A turn later most are watched again, by the next
 * select(): only what is not is told, which costs as much as half a read.
 */
class UnwatchedEndpoints {
  #endpoints: Endpoint[] = [];

  add(endpoint: Endpoint): void {
    if (this.#endpoints.push(endpoint) === 1) setImmediate(this.#letGo);
  }

  readonly #letGo = (): void => {
    const endpoints = this.#endpoints;
    this.#endpoints = [];
    for (const endpoint of endpoints) endpoint.letGo();
  };
}

const unwatched = new UnwatchedEndpoints();

/** Ticks for select() whenever something is taken from a source. */
let servedClock = 0;

/** What accepting or receiving datagrams is doing. */
type QueueState =
  | { readonly tag: "idle" | "pending" | "closed" }
  | { readonly tag: "failed"; readonly error: unknown };

/** How far receiving has come; `unconnected` is an attempt to connect that has failed. */
type InputState =
  | { readonly tag: "idle" | "connecting" | "unconnected" | "closed" }
  | { readonly tag: "ended"; readonly reset: boolean }
  | { readonly tag: "failed"; readonly error: unknown };

/** What sending is doing; `shutting` still has bytes or the FIN to send. */
type WriteState =
  | { readonly tag: "absent" | "connecting" | "open" | "shutting" | "shut" | "broken" }
  | { readonly tag: "failed"; readonly error: unknown };

const IDLE = { tag: "idle" } as const;
const PENDING = { tag: "pending" } as const;
const CLOSED = { tag: "closed" } as const;
const CONNECTING = { tag: "connecting" } as const;
const UNCONNECTED = { tag: "unconnected" } as const;
const OPEN = { tag: "open" } as const;
const ABSENT = { tag: "absent" } as const;
const BROKEN = { tag: "broken" } as const;
const ENDED = { tag: "ended", reset: false } as const;
const RESET = { tag: "ended", reset: true } as const;
const NOTHING = new Uint8Array(0);
const NO_WATCHERS: readonly Watcher[] = [];

// -- Queues: listeners and datagram ports --

/** Ticks when something has come for a queue, so that a wait can take in all that comes at once. */
let queueClock = 0;

/** What comes one by one and is taken in ahead: connections, datagrams. */
abstract class QueueEndpoint<T> extends Endpoint {
  /** What errors call the operation, an item, and what items come from. */
  protected abstract readonly words: readonly [action: string, item: string, source: string];
  readonly #waiting: T[] = [];
  #state: QueueState = IDLE;
  /** Errors that were forgiven so far. */
  #forgiven = 0;

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
  /** Whether an error is not worth a word: the next item is asked for. */
  protected abstract forgives(error: unknown): boolean;

  get waiting(): number {
    return this.#waiting.length;
  }

  get isClosed(): boolean {
    return this.#state.tag === "closed";
  }

  protected get isPending(): boolean {
    return this.#state.tag === "pending";
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
    if (this.forgives(error)) return this.#goOn();
    this.#state = { tag: "failed", error };
    this.changed();
  };

  /** Asks for the next item after an error; in a storm of errors not before the next round. */
  #goOn(): void {
    this.#state = IDLE;
    this.#forgiven++;
    if (!this.isWatched || this.#forgiven % MAX_FORGIVEN === 0) return this.changed();
    queueClock++;
    this.startRead();
  }

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
        throw fault("EAGAIN", `Cannot ${action}: no ${item} is waiting`);
      case "closed":
        throw fault("EBADF", `Cannot ${action}: the ${source} is closed`);
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
    // Whoever awaits `closed` must not wait for what keeps nothing alive.
    this.hold();
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
  lost = 0;

  constructor(listener: Acceptor) {
    super();
    this.listener = listener;
  }

  protected get holder(): Holder {
    return this.listener as Holder;
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

  protected forgives(error: unknown): boolean {
    const isLost = isLostClient(error);
    if (isLost) this.lost++;
    return isLost;
  }

  close(): void {
    this.shut(this.listener);
  }
}

/** What accept(2) says of a connection that failed before it was accepted. */
const LOST_CLIENT_CODES = new Set([
  "ENOTCONN",
  "ECONNRESET",
  "ECONNABORTED",
  "EINTR",
  "EPROTO",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
]);

/** Deno gives some errors a class and no code. */
function isLostClient(error: unknown): boolean {
  const { NotConnected, ConnectionReset, ConnectionAborted, Interrupted } = Deno.errors;
  return error instanceof NotConnected || error instanceof ConnectionReset ||
    error instanceof ConnectionAborted || error instanceof Interrupted ||
    error instanceof Error && LOST_CLIENT_CODES.has((error as { code?: string }).code ?? "");
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

  protected get holder(): Holder {
    return this.port as Holder;
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

  protected forgives(): boolean {
    return false;
  }

  override take(): Datagram {
    if (this.waiting === 0) this.#throwSendError();
    return super.take();
  }

  get #isFull(): boolean {
    return this.#unsentBytes >= HIGH_WATER_BYTES || this.#unsent.length >= MAX_DATAGRAMS_UNSENT;
  }

  send(bytes: Uint8Array, to: Deno.Addr): number {
    assertBytes(bytes);
    if (this.isClosed) {
      throw fault("EBADF", "Cannot send: the socket is closed");
    }
    if (!this.port.send) {
      throw fault("ENOTSUP", "Cannot send: the port has no send()");
    }
    this.#throwSendError();
    if (this.#isFull) {
      throw fault("EAGAIN", `Cannot send: ${this.#unsent.length} datagrams wait`);
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

// -- Streams --

/** The sending half of a byte stream. */
abstract class SendingEndpoint extends Endpoint {
  stream: ByteStream;
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

  /** Nothing is left to be sent, or can be. */
  protected abstract onSendingOver(): void;

  get sendBufferBytes(): number {
    return this.#sendBufferBytes;
  }

  set sendBufferBytes(bytes: number) {
    const wasFull = this.#isFull;
    this.#sendBufferBytes = bytes;
    this.#pump();
    if (this.#isFull !== wasFull) this.changed();
  }

  get #isFull(): boolean {
    return this.#outbox !== undefined && this.#outbox.length >= this.#sendBufferBytes;
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

  protected get hasWriteError(): boolean {
    return this.#writing.tag === "failed";
  }

  protected writeReadiness(): number {
    switch (this.#writing.tag) {
      case "open":
        return this.#isFull ? 0 : POLLOUT;
      case "absent":
      case "connecting":
        return 0;
      // The next send() does not wait: it throws.
      case "shutting":
      case "shut":
      case "broken":
        return POLLOUT;
      case "failed":
        return POLLOUT | POLLERR;
    }
  }

  /** Nothing is sent until {@linkcode onWritable}. */
  protected awaitConnection(): void {
    this.#writing = CONNECTING;
  }

  /** The connection is there. */
  protected onWritable(): void {
    this.#writing = OPEN;
    this.#pump();
  }

  send(bytes: Uint8Array): number {
    assertBytes(bytes);
    this.#assertSendable();
    if (this.#writing.tag === "connecting") {
      throw fault("EAGAIN", "Cannot send: the connection is not made yet");
    }
    if (bytes.length === 0) return 0;
    this.#outbox ??= new Outbox();
    const taken = this.#outbox.add(bytes, this.#sendBufferBytes);
    if (taken === 0) {
      throw fault("EAGAIN", `Cannot send: ${this.unsentBytes} bytes wait to be sent`);
    }
    if (!this.#isSending) this.#sendQueued();
    this.changed();
    return taken;
  }

  /** Settles when the stream has taken all; until then `bytes` must not change. */
  async sendAll(bytes: Uint8Array, signal?: AbortSignal): Promise<void> {
    assertBytes(bytes);
    signal?.throwIfAborted();
    this.#assertSendable();
    if (bytes.length === 0) return;
    this.#outbox ??= new Outbox();
    const sent = this.#outbox.addLater(bytes);
    this.#pump();
    using abortion = signal && new Abortion(signal);
    await (abortion ? Promise.race([sent, abortion.promise]) : sent);
    if (signal?.aborted && this.#outbox?.drop(sent)) throw signal.reason;
  }

  /** Queues of what waits for room as much as fits. */
  #pump(): void {
    if (!this.#outbox || this.#writing.tag === "connecting") return;
    const { length } = this.#outbox;
    this.#outbox.pump(this.#sendBufferBytes);
    if (this.#outbox.length === length) return;
    if (!this.#isSending) this.#sendQueued();
    this.changed();
  }

  #assertSendable(): void {
    if (this.isClosed) throw fault("EBADF", "Cannot send: the socket is closed");
    switch (this.#writing.tag) {
      case "open":
      case "connecting":
        return;
      case "absent":
        throw fault("ENOTSUP", "Cannot send: the stream has no write()");
      case "shutting":
      case "shut":
        throw fault("EPIPE", "Cannot send: sending was shut down");
      case "broken":
        throw fault("EPIPE", "Cannot send: the connection is broken");
      case "failed":
        return this.throwWriteError();
    }
  }

  /** Throws the error of a failed write, if there is one, and forgets it. */
  protected throwWriteError(): void {
    if (this.#writing.tag === "failed") throw this.takeWriteError();
  }

  protected takeWriteError(): unknown {
    if (this.#writing.tag !== "failed") return;
    const { error } = this.#writing;
    this.forgetWriteError();
    this.changed();
    return error;
  }

  protected forgetWriteError(): void {
    if (this.#writing.tag === "failed") this.#writing = BROKEN;
  }

  /** The connection is gone: nothing of what is queued can be sent any more. */
  protected giveUpSending(reason: () => Error): void {
    if (this.#writing.tag === "absent") return;
    this.#outbox?.fail(reason);
    this.#breakWriting(BROKEN);
  }

  /** What has no room yet will have none any more. */
  protected dropLater(reason: () => Error): void {
    this.#outbox?.failLater(reason);
  }

  /** There will be no connection. */
  protected failToConnect(error: unknown): void {
    this.#writing = OPEN;
    this.#onWriteFailed(error);
  }

  shutdown(): Promise<void> {
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
        if (this.#writing.tag === "shutting") this.#writing = { tag: "shut" };
        this.changed();
      }
    } catch (error) {
      this.#onWriteFailed(error);
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
    this.#outbox.pump(this.#sendBufferBytes);
    if (wasFull) this.changed();
  }

  #onWriteFailed(error: unknown): void {
    // A failed read or abort() has told of the end already, and has the last word.
    if (this.#writing.tag === "broken") return;
    const isHeard = this.#outbox?.fail(() => error) ?? false;
    this.#breakWriting(isHeard ? BROKEN : { tag: "failed", error });
    this.changed();
  }

  #breakWriting(state: WriteState): void {
    this.#writing = state;
    this.#outbox = undefined;
    this.#shutdown?.resolve();
  }
}

/** The receiving half of a byte stream: its one read ahead, and what it has brought. */
abstract class ReceivingEndpoint extends SendingEndpoint {
  /** How far it has come. */
  protected input: InputState = IDLE;
  /** Whether a read is pending, or the connection is being made. */
  protected isPending = false;
  /** Where the pending read goes, behind what was read and not taken. */
  #buffer: Uint8Array | undefined;
  #start = 0;
  #end = 0;
  /** What was given back, before all that. */
  #returned: Uint8Array | undefined;
  /** Whether the next read is large: after a full one, until two in a row are small. */
  #readsLarge = false;
  #smallReads = 0;

  protected get isClosed(): boolean {
    return this.input.tag === "closed";
  }

  /** Whether it was handed over as web streams. */
  protected isHandedOver = false;

  /** Throws if it was handed over. */
  protected assertOwned(action: string): void {
    if (!this.isHandedOver || this.isClosed) return;
    throw fault("EBUSY", `Cannot ${action}: the connection was handed over as web streams`);
  }

  /** The operation that was pending at close() has settled. */
  protected abstract onCancelled(hasFailed: boolean): void;

  protected readReadiness(): number {
    const state = this.input;
    switch (state.tag) {
      case "idle":
        return this.#end > this.#start || this.#returned ? POLLIN : 0;
      case "connecting":
      case "closed":
        return 0;
      case "ended":
        return POLLIN | POLLRDHUP | (state.reset ? POLLHUP : 0);
      case "unconnected":
        return POLLHUP | (this.hasWriteError ? 0 : POLLIN | POLLRDHUP);
      // The next recv() throws it, so it must be invited.
      case "failed":
        return POLLIN | POLLRDHUP | POLLERR | POLLHUP;
    }
  }

  mayRead(): boolean {
    return this.input === IDLE && !this.isPending && this.#end === this.#start;
  }

  override mayReadOn(): boolean {
    return this.#end > this.#start && this.#end < SMALL_READ_BYTES && this.input === IDLE &&
      !this.isPending;
  }

  startRead(): void {
    if (this.mayRead()) {
      // Nothing has come of it, and it has been sent nothing.
      const isFirst = this.changes === 0;
      this.#buffer = takeBuffer(this.#readsLarge, isFirst);
      this.#start = this.#end = 0;
      this.#read(this.#buffer);
    } else if (this.mayReadOn()) {
      this.#read(this.#buffer!.subarray(this.#end, SMALL_READ_BYTES));
    }
  }

  #read(target: Uint8Array): void {
    this.isPending = true;
    // As attempt(), without a closure for each read.
    try {
      Promise.resolve(this.stream.read(target)).then(this.#onRead, this.#onReadFailed);
    } catch (error) {
      Promise.reject(error).catch(this.#onReadFailed);
    }
  }

  readonly #onRead = (count: number | null): void => {
    this.isPending = false;
    if (this.input === CLOSED) return this.#onLateRead(false);
    const isFirst = this.#end === 0;
    const offered = (isFirst ? this.#buffer!.length : SMALL_READ_BYTES) - this.#end;
    if (count === null) {
      this.input = ENDED;
    } else if (Number.isInteger(count) && count >= 0 && count <= offered) {
      this.#end += count;
      if (isFirst && count > 0) this.#chooseSize(count, offered);
    } else {
      return this.#onReadFailed(
        new RangeError(`Cannot receive: read() of ${offered} bytes returned ${count}`),
      );
    }
    if (this.#start === this.#end) this.#dropBuffer();
    this.changed();
  };

  #chooseSize(count: number, offered: number): void {
    this.#smallReads = count <= SMALL_READ_BYTES ? this.#smallReads + 1 : 0;
    if (count === offered) this.#readsLarge = true;
    else if (this.#smallReads >= 2) this.#readsLarge = false;
  }

  readonly #onReadFailed = (error: unknown): void => {
    this.isPending = false;
    if (this.isClosed) return this.#onLateRead(true);
    if (this.#start === this.#end) this.#dropBuffer();
    this.input = { tag: "failed", error };
    this.giveUpSending(brokenConnection);
    this.changed();
  };

  #onLateRead(hasFailed: boolean): void {
    this.#dropBuffer();
    this.onCancelled(hasFailed);
  }

  /** Gives the buffer back, unless a read goes into it. */
  #dropBuffer(): void {
    if (this.isPending || !this.#buffer) return;
    giveBuffer(this.#buffer);
    this.#buffer = undefined;
    this.#start = this.#end = 0;
  }

  /** Receives no more; what has arrived is dropped. */
  protected shutInput(): void {
    this.input = CLOSED;
    this.#returned = undefined;
    this.#dropBuffer();
  }

  /** Bytes that can be taken now. */
  get takableBytes(): number {
    if (this.input === CONNECTING) return 0;
    const unread = this.#end - this.#start;
    return this.#returned ? this.#returned.length + unread : unread;
  }

  /** Moves at most `max` bytes into `target`, from `at` on; returns how many, 0 at end of file. */
  take(max: number, target: Uint8Array, at: number): number {
    if (this.input === CLOSED) throw fault("EBADF", "Cannot receive: the socket is closed");
    if (this.isHandedOver) this.assertOwned("receive");
    if (max === 0) return 0;
    return this.takableBytes > 0 ? this.move(max, target, at) : this.#takeEnd();
  }

  protected move(max: number, target: Uint8Array, at: number): number {
    const count = this.#returned ? this.#moveReturned(max, target, at) : 0;
    const end = Math.min(this.#end, this.#start + max - count);
    if (end > this.#start) copy(this.#buffer!, this.#start, end, target, at + count);
    const taken = count + end - this.#start;
    this.#start = end;
    if (end === this.#end) this.#dropBuffer();
    this.served();
    return taken;
  }

  #moveReturned(max: number, target: Uint8Array, at: number): number {
    const returned = this.#returned!;
    const count = Math.min(max, returned.length);
    target.set(returned.subarray(0, count), at);
    this.#returned = count < returned.length ? returned.subarray(count) : undefined;
    return count;
  }

  /** Throws the error, or "not now"; returns 0 at end of file. */
  #takeEnd(): 0 {
    const state = this.input;
    if (state.tag === "failed") {
      this.#forgetReadError();
      throw state.error;
    }
    this.throwWriteError();
    if (state.tag === "ended" || state.tag === "unconnected") return 0;
    const isConnecting = state.tag === "connecting";
    const reason = isConnecting ? "the connection is not made yet" : "nothing has arrived";
    throw fault("EAGAIN", `Cannot receive: ${reason}`);
  }

  #forgetReadError(): void {
    this.input = RESET;
    this.forgetWriteError();
    this.served();
  }

  takeError(): unknown {
    const state = this.input;
    if (state.tag !== "failed") return this.takeWriteError();
    this.#forgetReadError();
    return state.error;
  }

  giveBack(bytes: Uint8Array): void {
    assertBytes(bytes);
    if (this.isClosed) throw fault("EBADF", "Cannot give back: the socket is closed");
    this.assertOwned("give back");
    if (bytes.length === 0) return;
    const rest = this.#returned ?? NOTHING;
    this.#returned = new Uint8Array(bytes.length + rest.length);
    this.#returned.set(bytes);
    this.#returned.set(rest, bytes.length);
    this.changed();
  }
}

/** A byte stream: how it is connected, handed over and closed. */
class StreamEndpoint extends ReceivingEndpoint {
  /** Whether the stream itself is closed: some time after close() if something was unsent. */
  #isFreed = false;
  #web: WebStreams | undefined;
  #connected: PromiseWithResolvers<void> | undefined;

  protected get holder(): Holder {
    return this.stream as Holder;
  }

  readiness(): number {
    const { input } = this;
    if (input === CLOSED) return POLLNVAL;
    // Whoever has the web streams hears from them.
    if (this.isHandedOver) return 0;
    const events = this.readReadiness() | this.writeReadiness();
    return input === ENDED && this.isShut ? events | POLLHUP : events;
  }

  connect(attempt: ConnectAttempt): void {
    this.input = CONNECTING;
    this.isPending = true;
    this.#connected = Promise.withResolvers();
    this.awaitConnection();
    attempt.conn.then(
      (conn) => this.#onConnected(conn),
      (error) => this.#onUnconnected(error),
    ).finally(() => this.#connected?.resolve());
  }

  #onConnected(conn: ByteStream): void {
    this.isPending = false;
    // It may have been closed since the connection was made.
    if (this.isClosed) {
      closeUnheard(conn);
      return this.#releaseIfOver();
    }
    this.stream = claimed(conn);
    this.input = IDLE;
    this.onWritable();
    this.changed();
  }

  #onUnconnected(error: unknown): void {
    this.isPending = false;
    if (this.isClosed) return this.#releaseIfOver();
    this.input = UNCONNECTED;
    this.failToConnect(error);
  }

  override send(bytes: Uint8Array): number {
    this.assertOwned("send");
    return super.send(bytes);
  }

  override async sendAll(bytes: Uint8Array, signal?: AbortSignal): Promise<void> {
    this.assertOwned("send");
    await super.sendAll(bytes, signal);
  }

  override shutdown(): Promise<void> {
    if (this.isClosed) throw fault("EBADF", "Cannot shut down: the socket is closed");
    this.assertOwned("shut down");
    return this.#shutDownOnceConnected();
  }

  #shutDownOnceConnected(): Promise<void> {
    if (this.input.tag !== "connecting") return super.shutdown();
    return this.#connected!.promise.then(() => super.shutdown());
  }

  /** The connection as web streams; from now on it is theirs. */
  get web(): WebStreams {
    if (this.#web) return this.#web;
    if (this.isClosed) throw fault("EBADF", "Cannot hand over: the socket is closed");
    this.isHandedOver = true;
    this.#web = new WebStreams({
      receive: () => this.#receive(),
      send: (bytes) => super.sendAll(bytes),
      shutdown: () => this.#shutDownOnceConnected(),
      close: () => this.close(),
      abort: () => this.abort(),
    });
    this.changed();
    return this.#web;
  }

  /** What comes next, for the web stream; `null` at end of file. */
  async #receive(): Promise<Uint8Array<ArrayBuffer> | null> {
    for (;;) {
      const state = this.input;
      if (state.tag === "closed") throw fault("EBADF", "Cannot receive: the socket is closed");
      if (this.takableBytes > 0) {
        const bytes = new Uint8Array(this.takableBytes);
        this.move(bytes.length, bytes, 0);
        return bytes;
      }
      if (state.tag === "ended") return null;
      if (state.tag === "failed") throw state.error;
      if (state.tag === "unconnected") throw this.takeWriteError() ?? brokenConnection();
      this.startRead();
      await this.nextChange();
    }
  }

  close(): void {
    if (this.isClosed) return;
    this.shutInput();
    this.dropLater(closedByOwner);
    try {
      if (!this.isSending) this.#free(closeQuietly);
    } finally {
      this.changed();
    }
  }

  abort(): void {
    this.giveUpSending(closedByOwner);
    try {
      this.close();
    } finally {
      this.#free(closeQuietly);
    }
  }

  protected onSendingOver(): void {
    if (this.isClosed) this.#free(closeUnheard);
  }

  protected onCancelled(hasFailed: boolean): void {
    // What is unsent has nowhere to go.
    if (hasFailed) this.#free(closeUnheard);
    this.#releaseIfOver();
  }

  /** Closes the stream itself. */
  #free(close: (stream: ByteStream) => void): void {
    if (this.#isFreed) return;
    this.#isFreed = true;
    this.hold();
    this.giveUpSending(closedByOwner);
    try {
      close(this.stream);
    } finally {
      this.#releaseIfOver();
    }
  }

  #releaseIfOver(): void {
    if (this.#isFreed && !this.isPending) this.release();
  }
}

function closedByOwner(): Error {
  return fault("EBADF", "Cannot send: the socket was closed");
}

/** An error is made only for somebody: it costs as much as a connection. */
function rejectAll(waiting: readonly WholeSend[], reason: () => unknown): void {
  if (waiting.length === 0) return;
  const error = reason();
  for (const { sent } of waiting) sent.reject(error);
}

function brokenConnection(): Error {
  return fault("EPIPE", "Cannot send: the connection is broken");
}

/** A connection that is being made, in the place of the stream that it will be. */
class ConnectAttempt implements ByteStream {
  readonly #aborter = new AbortController();
  readonly conn: Promise<ByteStream>;

  constructor(options: Deno.ConnectOptions | Deno.UnixConnectOptions, signal?: AbortSignal) {
    this.conn = this.#connect(options, signal);
  }

  async #connect(
    options: Deno.ConnectOptions | Deno.UnixConnectOptions,
    signal: AbortSignal | undefined,
  ): Promise<ByteStream> {
    signal?.throwIfAborted();
    const { signal: own } = this.#aborter;
    const forward = () => this.#aborter.abort(signal!.reason);
    signal?.addEventListener("abort", forward);
    using abortion = new Abortion(own);
    // Deno looks at the signal for TCP only.
    const connecting = Deno.connect({ ...options, signal: own } as Deno.ConnectOptions);
    try {
      const conn = await Promise.race([connecting, abortion.promise]);
      own.throwIfAborted();
      return conn!;
    } catch (error) {
      connecting.then(closeUnheard, () => {});
      throw error;
    } finally {
      signal?.removeEventListener("abort", forward);
    }
  }

  /** Nobody reads from it. */
  read(): Promise<null> {
    return Promise.resolve(null);
  }

  close(): void {
    this.#aborter.abort(fault("EBADF", "Cannot connect: the socket was closed"));
  }
}

/** What web streams need of the connection beneath. */
interface WebConnection {
  receive(): Promise<Uint8Array<ArrayBuffer> | null>;
  send(bytes: Uint8Array): Promise<void>;
  shutdown(): Promise<void>;
  close(): void;
  abort(): void;
}

/** A connection as two web streams. It is closed when both are over. */
class WebStreams {
  readonly readable: ReadableStream<Uint8Array<ArrayBuffer>>;
  readonly writable: WritableStream<Uint8Array>;
  #open = 2;

  constructor(connection: WebConnection) {
    const onOver = () => --this.#open === 0 && connection.close();
    // A stream that fails is over, too.
    const orOver = <T>(work: Promise<T>): Promise<T> => {
      work.catch(onOver);
      return work;
    };
    this.readable = new ReadableStream({
      type: "bytes",
      async pull(controller) {
        const bytes = await orOver(connection.receive());
        if (bytes) return controller.enqueue(bytes);
        controller.close();
        controller.byobRequest?.respond(0);
        onOver();
      },
      cancel: () => void onOver(),
    }, { highWaterMark: 0 });
    this.writable = new WritableStream({
      write: (bytes) => orOver(connection.send(bytes)),
      close: () => connection.shutdown().finally(onOver),
      abort: () => connection.abort(),
    });
  }
}

/** Bytes of one sendAll(): `rest` has no room yet, and all have left at byte `endsAt` of the stream. */
interface WholeSend {
  rest: Uint8Array;
  endsAt: number;
  readonly sent: PromiseWithResolvers<void>;
}

/**
 * What waits to be sent, below a limit: bytes that are being written, behind them those
 * that were added meanwhile, which go together next, and last what has no room yet.
 */
class Outbox {
  #written: Uint8Array = NOTHING;
  /** Where these are. */
  #writtenMemory: Uint8Array = NOTHING;
  #queue: Uint8Array = NOTHING;
  #queuedBytes = 0;
  /** Bytes that have left so far. */
  #sentBytes = 0;
  readonly #later: WholeSend[] = [];
  /** Has room, and has not left yet. */
  readonly #leaving: WholeSend[] = [];

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
    const grown = takeMemory(Math.max(length, 2 * this.#queue.length));
    grown.set(this.#queue.subarray(0, this.#queuedBytes));
    giveMemory(this.#queue);
    this.#queue = grown;
  }

  /** Returns what is to be written next, if anything is; none of it is touched until it is removed. */
  next(): Uint8Array | undefined {
    if (this.#written.length === 0) {
      this.#written = this.#queue.subarray(0, this.#queuedBytes);
      this.#writtenMemory = this.#queue;
      this.#queue = NOTHING;
      this.#queuedBytes = 0;
    }
    return this.#written.length > 0 ? this.#written : undefined;
  }

  /** Forgets bytes that were written. */
  remove(count: number): void {
    this.#written = this.#written.subarray(count);
    if (this.#written.length === 0) this.#freeWritten();
    this.#sentBytes += count;
    while (this.#leaving.length > 0 && this.#leaving[0]!.endsAt <= this.#sentBytes) {
      this.#leaving.shift()!.sent.resolve();
    }
  }

  /** Nobody reads it any more: the write is over. */
  #freeWritten(): void {
    giveMemory(this.#writtenMemory);
    // An empty view would keep the memory.
    this.#written = this.#writtenMemory = NOTHING;
  }

  /** Takes bytes that wait for room, in order; resolves when all have left. */
  addLater(rest: Uint8Array): Promise<void> {
    const sent = Promise.withResolvers<void>();
    this.#later.push({ rest, endsAt: Infinity, sent });
    return sent.promise;
  }

  /** Adds of what waits for room as much as fits below `limit`. */
  pump(limit: number): void {
    while (this.#later.length > 0 && this.length < limit) {
      const whole = this.#later[0]!;
      whole.rest = whole.rest.subarray(this.add(whole.rest, limit));
      if (whole.rest.length > 0) break;
      whole.endsAt = this.#sentBytes + this.length;
      this.#leaving.push(this.#later.shift()!);
    }
  }

  /** Forgets what has no room yet of one sendAll(); returns false if all has left. */
  drop(sent: Promise<void>): boolean {
    for (const list of [this.#later, this.#leaving]) {
      const at = list.findIndex((whole) => whole.sent.promise === sent);
      if (at >= 0) return list.splice(at, 1).length > 0;
    }
    return false;
  }

  /** Tells whoever waits that nothing more will leave; returns whether anybody did. */
  fail(reason: () => unknown): boolean {
    const waiting = [...this.#leaving.splice(0), ...this.#later.splice(0)];
    rejectAll(waiting, reason);
    return waiting.length > 0;
  }

  /** Tells whoever waits for room that there will be none. */
  failLater(reason: () => unknown): void {
    rejectAll(this.#later.splice(0), reason);
  }
}

/** Memory of outboxes that is free: a connection that sends much would ask for new each time. */
const spareMemory: Uint8Array[] = [];

/** A few bytes take none of it: they might hold it for long. */
function takeMemory(length: number): Uint8Array {
  if (length < MIN_SPARE_BYTES) return new Uint8Array(length);
  const at = spareMemory.findLastIndex((memory) => memory.length >= length);
  return at < 0 ? new Uint8Array(length) : spareMemory.splice(at, 1)[0]!;
}

/** Where there is no place left, a larger piece takes that of a smaller one. */
function giveMemory(memory: Uint8Array): void {
  if (memory.length < MIN_SPARE_BYTES || memory.length > MAX_SPARE_BYTES) return;
  if (spareMemory.length < MAX_SPARES) return void spareMemory.push(memory);
  const at = spareMemory.findIndex(({ length }) => length < memory.length);
  if (at >= 0) spareMemory[at] = memory;
}

/** As `target.set(bytes.subarray(start, end), at)`, without a view where few bytes are copied. */
function copy(
  bytes: Uint8Array,
  start: number,
  end: number,
  target: Uint8Array,
  at: number,
): void {
  if (end - start > FEW_BYTES) return target.set(bytes.subarray(start, end), at);
  for (let i = start; i < end; i++) target[at++] = bytes[i]!;
}

/** Buffers of one size, cut from slabs so that untouched ones cost no memory, and used again. */
class BufferPool {
  readonly #size: number;
  /** So many used buffers are kept for those who probably use them. */
  readonly #reserve: number;
  readonly #free: Uint8Array[] = [];
  #slab: Uint8Array = NOTHING;
  /** Buffers taken and not given back. */
  taken = 0;

  constructor(size: number, reserve: number) {
    this.#size = size;
    this.#reserve = reserve;
  }

  /** Memory that was used is for those who probably use it: `isLikely`. */
  take(isLikely: boolean): Uint8Array {
    this.taken++;
    if (!isLikely && this.#free.length <= this.#reserve) return this.#cut();
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

const smallBuffers = new BufferPool(SMALL_READ_BYTES, RESERVED_BUFFERS);
const largeBuffers = new BufferPool(LARGE_READ_BYTES, 0);

/**
 * Who has just connected will say something; who has said it may be quiet for long, and its
 * next read gets memory that costs nothing until it is used.
 */
function takeBuffer(isLarge: boolean, isFirst: boolean): Uint8Array {
  const pool = isLarge && largeBuffers.taken < MAX_LARGE_READS ? largeBuffers : smallBuffers;
  return pool.take(isFirst);
}

function giveBuffer(buffer: Uint8Array): void {
  (buffer.length === LARGE_READ_BYTES ? largeBuffers : smallBuffers).give(buffer);
}

// -- The race: who is ready, for Poller --

/** One source in one poller. */
class Registration<S extends Source = Source, D = unknown> implements Watcher {
  readonly source: S;
  readonly endpoint: Endpoint;
  data: D | undefined;
  readonly #list: ReadyList<S, D>;
  #mask = 0;
  /** Whether POLLONESHOT keeps it from being reported. */
  #isAsleep = false;
  #isRemoved = false;
  /** Where it is in the list of those that are ready; -1 if it is not. */
  readyAt = -1;
  /** Whether it waits in the list's queue. */
  isUnread = false;
  /** The state of the endpoint that was reported last. */
  #reported = 0;

  constructor(list: ReadyList<S, D>, source: S, endpoint: Endpoint) {
    this.#list = list;
    this.source = source;
    this.endpoint = endpoint;
    endpoint.watch(this);
  }

  get mask(): number {
    return this.#mask;
  }

  watchFor(mask: number): void {
    this.#mask = mask;
    this.#isAsleep = false;
    this.#list.update(this);
  }

  remove(): void {
    this.#isRemoved = true;
    this.endpoint.unwatch(this);
    this.#list.remove(this);
  }

  events(): number {
    return this.#isAsleep ? 0 : this.endpoint.readiness() & (this.#mask | ALWAYS_REPORTED);
  }

  /** Makes the entry of a report; returns whether that puts it to sleep. */
  report(entries: PollEntry<S, D>[]): boolean {
    const { source, data } = this;
    entries.push(
      (data === undefined ? [source, this.events()] : [source, this.events(), data]) as PollEntry<
        S,
        D
      >,
    );
    this.#reported = this.endpoint.changes;
    return this.#isAsleep = (this.#mask & POLLONESHOT) !== 0;
  }

  /**
   * Whether to read on behind what is unread, to find the end of a peer that left. Where
   * it is asked for data that comes after a report that was not answered: to a caller that reads
   * what it is told of, it would be a read in vain each time.
   */
  get readsOn(): boolean {
    const { endpoint } = this;
    return !this.#isRemoved && endpoint.mayReadOn() &&
      (!(this.#mask & POLLIN) || endpoint.changes === this.#reported);
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
class UnreadQueue<R extends { isUnread: boolean }> {
  #items: R[] = [];
  #head = 0;
  /** Number of registrations that wait; the others in the array do no more. */
  size = 0;

  add(registration: R): void {
    if (registration.isUnread) return;
    registration.isUnread = true;
    this.size++;
    this.#items.push(registration);
  }

  delete(registration: R): void {
    if (!registration.isUnread) return;
    registration.isUnread = false;
    this.size--;
    if (this.#items.length - this.#head > 2 * this.size + 64) this.#compact();
  }

  shift(): R | undefined {
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
class ReadyQueue<R extends { readyAt: number }> {
  #items: (R | undefined)[] = [];
  size = 0;

  add(registration: R): void {
    if (this.#items.length > 2 * this.size + 64) this.#compact();
    registration.readyAt = this.#items.push(registration) - 1;
    this.size++;
  }

  delete(registration: R): void {
    if (registration.readyAt < 0) return;
    this.#items[registration.readyAt] = undefined;
    registration.readyAt = -1;
    if (--this.size === 0) this.#items = [];
  }

  /** Without gaps; valid until the next change. */
  list(): readonly R[] {
    if (this.#items.length > this.size) this.#compact();
    return this.#items as R[];
  }

  #compact(): void {
    const items = this.#items.filter((registration) => registration !== undefined);
    for (let i = 0; i < items.length; i++) items[i]!.readyAt = i;
    this.#items = items;
  }
}

/** What the registrations of one poller have to tell: the kernel's ready list. */
class ReadyList<S extends Source, D> implements Wait {
  readonly #ready = new ReadyQueue<Registration<S, D>>();
  /** Registrations whose source needs a read, in order of service. */
  readonly #unread = new UnreadQueue<Registration<S, D>>();
  /** What was reported last, and what may be read on behind unread data. */
  #reported: Registration<S, D>[] = [];
  readonly #readingOn = new Set<Registration<S, D>>();
  readonly #burst = new Burst();
  #hasNews = false;
  #isWoken = false;
  /** Whether reads settle that need not wait. */
  #isReading = false;
  #arrival: PromiseWithResolvers<void> | undefined;

  /** Puts a registration where the state of its source says; returns whether it became ready. */
  update(registration: Registration<S, D>): boolean {
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
    } else if (!isReady && registration.readsOn) {
      this.#readingOn.add(registration);
      this.#endWait();
    }
    return isReady && !wasReady;
  }

  changed(registration: Registration<S, D>): void {
    if (this.update(registration) && !this.#isReading) this.#burst.add();
  }

  /** What was left of a source that was served waits behind all others, and is no arrival. */
  served(registration: Registration<S, D>): void {
    this.#ready.delete(registration);
    this.update(registration);
  }

  remove(registration: Registration<S, D>): void {
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
    return this.#unread.size + this.#readingOn.size;
  }

  get ready(): number {
    return this.#ready.size;
  }

  begin(): void {
    for (const registration of this.#reported) {
      if (registration.readsOn) this.#readingOn.add(registration);
    }
    this.#reported = [];
  }

  beginRound(hasParked: boolean): void {
    this.#burst.endRound(hasParked);
    if (!this.#burst.isOn) this.startReads(READS_PER_STEP);
  }

  /**
   * In order of service, so that nobody is read twice before all were read once; behind
   * unread data comes last.
   */
  startReads(most: number): void {
    this.#isReading = true;
    let started = 0;
    for (; started < most; started++) {
      const registration = this.#unread.shift();
      if (!registration) break;
      registration.endpoint.startRead();
    }
    if (this.#readingOn.size > 0) this.#readOn(most - started);
  }

  #readOn(most: number): void {
    for (const registration of this.#readingOn) {
      if (most-- === 0) return;
      this.#readingOn.delete(registration);
      if (registration.readsOn) registration.endpoint.startRead();
    }
  }

  startReadsBehind(most: number): boolean {
    this.#isReading = true;
    let started = 0;
    for (const { endpoint } of this.#ready.list()) {
      if (started === most) break;
      if (!endpoint.mayReadOn()) continue;
      endpoint.startRead();
      started++;
    }
    return started > 0;
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

  report(): PollEntry<S, D>[] {
    this.#hasNews = false;
    this.#isWoken = false;
    const entries: PollEntry<S, D>[] = [];
    this.#reported = [...this.#ready.list()];
    for (const registration of this.#reported) {
      if (registration.report(entries)) this.#ready.delete(registration);
    }
    return entries;
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

// -- The race: select() --

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

function endpointsOf(contenders: readonly Contender[]): ReadonlySet<Endpoint> {
  return new Set(contenders.map(({ endpoint }) => endpoint));
}

/** The race of one select(). Disposing lets go of the sources. */
class SelectRace implements Wait, Disposable {
  readonly #contenders: readonly Contender[];
  /** Endpoints to be read ahead: all but those that are only to be written. */
  readonly #reading: ReadonlySet<Endpoint>;
  /** Endpoints that are asked for data. */
  readonly #receiving: ReadonlySet<Endpoint>;

  constructor(contenders: readonly Contender[]) {
    this.#contenders = contenders;
    this.#reading = endpointsOf(contenders.filter(({ mask }) => mask !== POLLOUT));
    this.#receiving = endpointsOf(contenders.filter(({ mask }) => mask === POLLIN));
    for (const contender of contenders) contender.endpoint.watch(contender);
  }

  begin(): void {}

  [Symbol.dispose](): void {
    for (const contender of this.#contenders) contender.endpoint.unwatch(contender);
  }

  get unread(): number {
    return this.#idle().length + this.#readingOn().length;
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
    for (const endpoint of [...idle, ...this.#readingOn()].slice(0, most)) endpoint.startRead();
  }

  startReadsBehind(most: number): boolean {
    const behind = [...this.#reading].filter((endpoint) => endpoint.mayReadOn()).slice(0, most);
    for (const endpoint of behind) endpoint.startRead();
    return behind.length > 0;
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
    if (this.#isBroken) {
      throw fault("EBADF", "Cannot select: a source is closed");
    }
    for (const { endpoint } of this.#winners()) endpoint.reported = endpoint.changes;
  }

  get #isBroken(): boolean {
    return this.#contenders.some(({ endpoint }) => endpoint.readiness() & POLLNVAL);
  }

  #idle(): Endpoint[] {
    return [...this.#reading].filter((endpoint) => endpoint.mayRead());
  }

  /** Those to be read on behind unread data, see {@linkcode Registration.readsOn}. */
  #readingOn(): Endpoint[] {
    return [...this.#reading].filter((endpoint) =>
      endpoint.mayReadOn() &&
      (!this.#receiving.has(endpoint) || endpoint.changes === endpoint.reported)
    );
  }

  #winners(): Contender[] {
    return this.#contenders.filter(({ endpoint, mask }) => endpoint.readiness() & mask);
  }
}

// -- The wait: when the answer is given --

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

/** When a wait of so many milliseconds is over; one that only looks always is. */
function deadlineOf(timeoutMs: number): number {
  if (timeoutMs === Infinity) return Infinity;
  return timeoutMs > 0 ? performance.now() + timeoutMs : -Infinity;
}

/** Whether somebody else has taken what was there while a call woke up: then it waits on. */
function isEarly(wait: Wait, deadlineMs: number): boolean {
  return wait.due() === "nothing" && performance.now() < deadlineMs;
}

/**
 * The wait of select() and Poller.poll(): returns when there is something to
 * report, or when the deadline has passed and a look at all sources is done.
 */
async function waitUntilDue(
  wait: Wait,
  deadlineMs: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  signal?.throwIfAborted();
  wait.begin();
  using abortion = signal && new Abortion(signal);
  const waits = deadlineMs > -Infinity;
  if (waits && await isDueBefore(deadlineMs - LOOK_MS, wait, abortion)) return;
  await look(wait, waits, signal);
  // No timer is as short as what is left.
  while (isEarly(wait, deadlineMs)) await nextTurn();
}

/** Waits in rounds; returns false if nothing was due until the time has come for the last look. */
async function isDueBefore(
  lookAtMs: number,
  wait: Wait,
  abortion: Abortion | undefined,
): Promise<boolean> {
  let hasParked = false;
  let hasTurned = false;
  let isKnown;
  do {
    wait.beginRound(hasParked);
    await settle();
    wait.endStep();
    const due = wait.due();
    const isStarved = loopWatch.isStarved();
    if (due !== "nothing" && (hasTurned || due === "news" && !isStarved)) return true;
    if (due !== "nothing" || isStarved) {
      await turnLoop();
      hasParked = true;
    } else if (lookAtMs === Infinity || performance.now() < lookAtMs) {
      const stepEndsMs = wait.unread > 0 ? performance.now() + MS_PER_STEP : Infinity;
      hasParked = await arrivalOrTimer(wait, Math.min(stepEndsMs, lookAtMs), abortion?.promise);
    }
    hasTurned ||= hasParked;
    abortion?.throwIfAborted();
    isKnown = due !== "nothing";
  } while (isKnown || lookAtMs === Infinity || performance.now() < lookAtMs);
  return false;
}

/** Lets what need not wait settle, for queues as long as more comes. */
async function settle(): Promise<void> {
  let came;
  do {
    came = queueClock;
    for (let i = 0; i < SETTLE_MICROTASKS; i++) await undefined;
  } while (came !== queueClock);
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

  throwIfAborted(): void {
    this.#signal.throwIfAborted();
  }

  [Symbol.dispose](): void {
    this.#signal.removeEventListener("abort", this.#listener);
  }
}

/**
 * Finds all that waits in the kernel: starts the reads that are due, a step a turn,
 * and turns the loop until a turn did not use up what it may serve. A read of 0 bytes
 * will be asked again, but adds no step. Whoever is content with the first (`endsEarly`)
 * gets that at once.
 */
async function look(
  wait: Wait,
  endsEarly: boolean,
  signal: AbortSignal | undefined,
): Promise<void> {
  let stepsLeft = Math.ceil(wait.unread / READS_PER_LOOK);
  for (let found = Infinity; stepsLeft > 0 || found >= FULL_TURN; stepsLeft--) {
    const known = wait.ready;
    wait.startReads(READS_PER_LOOK);
    if (endsEarly) await arrivalOrTimer(wait, 0, undefined);
    else await turnLoop();
    if (!endsEarly || wait.due() === "nothing") await askKernel();
    for (let i = 0; i < SETTLE_MICROTASKS; i++) await undefined;
    wait.endStep();
    signal?.throwIfAborted();
    if (endsEarly && wait.due() !== "nothing") return;
    found = wait.ready - known;
  }
  await lookBehind(wait);
}

/** Reads on behind what has come: an end that the kernel has told of shows at once. */
async function lookBehind(wait: Wait): Promise<void> {
  while (wait.startReadsBehind(READS_PER_LOOK)) {
    await nextTurn();
    for (let i = 0; i < SETTLE_MICROTASKS; i++) await undefined;
    wait.endStep();
  }
}

/**
 * Lets timers, I/O and signals have their turn: a timer parks the loop, unless it is
 * due before the loop gets there.
 */
function turnLoop(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

/** Lets the loop turn once, without a rest. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
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

// -- Errors and arguments --

/** What errors of our own are, by the code that the system would give. */
const FAULTS = {
  EAGAIN: Deno.errors.WouldBlock,
  EBADF: Deno.errors.BadResource,
  EBUSY: Deno.errors.Busy,
  ENOENT: Deno.errors.NotFound,
  ENOTSUP: Deno.errors.NotSupported,
  EPIPE: Deno.errors.BrokenPipe,
} as const;

function fault(code: keyof typeof FAULTS, message: string): Error {
  return Object.assign(new FAULTS[code](message), { code });
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

const claimedStreams = new WeakSet<ByteStream>();

/** Two sockets over one stream would share its bytes. */
function claimed(stream: ByteStream): ByteStream {
  if (claimedStreams.has(stream)) {
    throw new TypeError("Cannot make a Socket: another Socket has this stream");
  }
  claimedStreams.add(stream);
  return stream;
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
