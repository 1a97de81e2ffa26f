// deno-lint-ignore-file no-console
/**
 * Python's asyncore and asynchat in small: dispatchers whose methods are called when their
 * sockets are ready, and a channel that cuts what comes at a terminator.
 *
 * @module
 */

import { Poller, POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT } from "../poller.ts";
import { ServerSocket, Socket } from "../poller.ts";

/** The dispatchers of a loop, each beside its socket. */
type SocketMap = Poller<ServerSocket | Socket, Dispatcher>;

const socketMap: SocketMap = new Poller();

/** Serves all dispatchers until none is left. */
export async function loop(map: SocketMap = socketMap, timeoutMs = 30_000): Promise<void> {
  while (map.size > 0) await poll(map, timeoutMs);
}

async function poll(map: SocketMap, timeoutMs: number): Promise<void> {
  for (const source of map.sources()) {
    const dispatcher = map.dataOf(source)!;
    const mask = (dispatcher.readable() ? POLLIN : 0) | (dispatcher.writable() ? POLLOUT : 0);
    if (mask !== map.maskOf(source)) map.modify(source, mask);
  }
  for (const [source, events, dispatcher] of await map.poll(timeoutMs)) {
    if (map.has(source)) dispatcher.handleEvents(events); // it may have been closed meanwhile
  }
}

/** A socket, and what is to be done when it is ready. */
export class Dispatcher {
  socket: ServerSocket | Socket | undefined;
  connected = false;
  readonly map: SocketMap;

  constructor(socket?: ServerSocket | Socket, map: SocketMap = socketMap) {
    this.map = map;
    if (!socket) return;
    this.connected = socket instanceof Socket;
    this.#watch(socket);
  }

  #watch(socket: ServerSocket | Socket): void {
    this.socket = socket;
    this.map.register(socket, 0, this);
  }

  listen(options: Deno.TcpListenOptions): Deno.NetAddr {
    const listener = Deno.listen(options);
    this.#watch(new ServerSocket(listener));
    return listener.addr;
  }

  connect(options: Deno.ConnectOptions): void {
    this.#watch(Socket.connect(options));
  }

  /** Sends what there is room for; returns how many bytes that were. */
  send(bytes: Uint8Array): number {
    try {
      return this.socket instanceof Socket ? this.socket.send(bytes) : 0;
    } catch (error) {
      if (error instanceof Deno.errors.WouldBlock) return 0;
      if (!isDisconnected(error)) throw error;
      this.handleClose();
      return 0;
    }
  }

  /** Receives what has come; nothing if the peer has ended or gone, which is handled here. */
  recv(max: number): Uint8Array {
    let bytes = new Uint8Array();
    try {
      if (this.socket instanceof Socket) bytes = this.socket.recv(max);
    } catch (error) {
      if (error instanceof Deno.errors.WouldBlock) return bytes;
      if (!isDisconnected(error)) throw error;
    }
    if (bytes.length === 0) this.handleClose();
    return bytes;
  }

  /** What was sent still leaves. */
  close(): void {
    if (!this.socket) return;
    if (this.map.has(this.socket)) this.map.unregister(this.socket);
    this.socket.close();
    this.socket = undefined;
    this.connected = false;
  }

  readable(): boolean {
    return true;
  }

  writable(): boolean {
    return true;
  }

  handleEvents(events: number): void {
    try {
      if (this.socket instanceof ServerSocket) return this.#onListener(this.socket, events);
      if (!this.connected && events & (POLLIN | POLLOUT)) this.#onConnected();
      if (events & POLLIN) this.handleRead();
      if (events & POLLOUT && this.connected) this.handleWrite();
      if (!(events & POLLIN) && events & (POLLHUP | POLLERR | POLLNVAL)) this.handleClose();
    } catch (error) {
      if (isDisconnected(error)) this.handleClose();
      else this.handleError(error);
    }
  }

  #onListener(server: ServerSocket, events: number): void {
    if (events & POLLNVAL) return this.handleClose();
    do this.handleAccepted(server.accept()); while (server.waiting > 0);
  }

  #onConnected(): void {
    const error = this.socket instanceof Socket && this.socket.takeError();
    if (error) throw error;
    this.connected = true;
    this.handleConnect();
  }

  handleConnect(): void {}
  handleRead(): void {}
  handleWrite(): void {}

  handleAccepted(socket: Socket): void {
    socket.close();
  }

  handleClose(): void {
    this.close();
  }

  handleError(error: unknown): void {
    console.error(error);
    this.handleClose();
  }
}

/** The peer is gone: that is how connections end. */
function isDisconnected(error: unknown): boolean {
  const { BadResource, BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected } = Deno.errors;
  return [BadResource, BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected]
    .some((kind) => error instanceof kind);
}

/**
 * A channel of messages: collects what comes until its terminator (bytes, a number of
 * bytes, or `null` or 0 for all), and sends what it is given.
 */
export abstract class AsyncChat extends Dispatcher {
  #input = new Uint8Array();
  #terminator: Uint8Array | number | null = null;
  readonly #output: Uint8Array[] = [];
  #closesWhenDone = false;

  abstract collectIncomingData(data: Uint8Array): void;
  abstract foundTerminator(): void;

  setTerminator(terminator: string | number | null): void {
    this.#terminator = typeof terminator === "string"
      ? new TextEncoder().encode(terminator)
      : terminator;
  }

  push(bytes: Uint8Array): void {
    if (bytes.length > 0) this.#output.push(bytes);
    this.handleWrite();
  }

  /** Closes when all that was pushed is sent. */
  closeWhenDone(): void {
    this.#closesWhenDone = true;
    this.handleWrite();
  }

  override writable(): boolean {
    return !this.connected || this.#output.length > 0;
  }

  override handleWrite(): void {
    while (this.connected && this.#output.length > 0) {
      const rest = this.#output[0]!.subarray(this.send(this.#output[0]!));
      if (rest.length > 0) return void (this.#output[0] = rest);
      this.#output.shift();
    }
    if (this.#closesWhenDone && this.#output.length === 0) this.close();
  }

  override handleRead(): void {
    const data = this.recv(65_536);
    const input = new Uint8Array(this.#input.length + data.length);
    input.set(this.#input);
    input.set(data, this.#input.length);
    this.#input = input;
    while (this.#input.length > 0 && this.#cut());
  }

  /** Passes on what comes before the next terminator; returns whether to go on. */
  #cut(): boolean {
    const end = this.#terminator;
    const at = end instanceof Uint8Array ? find(this.#input, end) : end || Infinity;
    const data = this.#take(at);
    if (data.length > 0) this.collectIncomingData(data);
    // It may have closed the channel.
    if (!this.connected) return false;
    if (typeof end === "number") this.#terminator = Math.max(0, end - data.length);
    const isFound = end instanceof Uint8Array
      ? end.length <= this.#input.length
      : end === data.length && end > 0;
    if (!isFound) return false;
    if (end instanceof Uint8Array) this.#take(end.length);
    this.foundTerminator();
    return this.connected;
  }

  #take(count: number): Uint8Array {
    const taken = this.#input.slice(0, count);
    this.#input = this.#input.slice(count);
    return taken;
  }
}

/** Where `part` is in `bytes`, or the beginning of it at their end. */
function find(bytes: Uint8Array, part: Uint8Array): number {
  const isAt = (at: number) => part.every((byte, i) => byte === (bytes[at + i] ?? byte));
  let at = bytes.indexOf(part[0]!);
  while (at >= 0 && !isAt(at)) at = bytes.indexOf(part[0]!, at + 1);
  return at < 0 ? bytes.length : at;
}
