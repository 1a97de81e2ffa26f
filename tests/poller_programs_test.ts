/**
 * Programs that are known to be built on select and poll, in small: CPython's test_poll and
 * selectors, Tornado's IOLoop, a reactor as Twisted's. What they need must be there.
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  Poller,
  POLLERR,
  POLLHUP,
  POLLIN,
  POLLNVAL,
  POLLOUT,
  POLLPRI,
  select,
  ServerSocket,
  Socket,
  type Source,
} from "../poller.ts";
import { decode, encode } from "../lib/bytes.ts";
import { NET } from "./support/needs.ts";
import { connect, listenLocal, readUpTo } from "./support/connections.ts";
import { randomNumbers } from "./support/random.ts";
import { closeAll, recvText } from "./support/sources.ts";
import { pause } from "./support/waiting.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** A pipe over TCP: what is sent into one end comes out of the other. */
async function pipe(): Promise<[reader: Socket, writer: Socket]> {
  using listener = listenLocal();
  const [conn, peer] = await Promise.all([connect(listener), listener.accept()]);
  return [new Socket(peer), new Socket(conn)];
}

// -- test_poll.py --

const NUM_PIPES = 12;
const MESSAGE = " This is a test.";

function found(entries: readonly [Source, number, ...unknown[]][], mask: number): Source[] {
  return entries.filter(([, events]) => events & mask).map(([source]) => source);
}

Deno.test({
  ...NET,
  name: "test_poll1: pipes are written to at random, and each message comes out of its own",
  async fn() {
    const random = randomNumbers(7);
    const pipes = await Promise.all(Array.from({ length: NUM_PIPES }, pipe));
    const readerOf = new Map(pipes.map(([reader, writer]) => [writer as Source, reader]));
    const writerOf = new Map(pipes.map(([reader, writer]) => [reader as Source, writer]));
    using poller = new Poller<Socket>();
    for (const [reader, writer] of pipes) {
      poller.register(reader);
      poller.modify(reader, POLLIN);
      poller.register(writer, POLLOUT);
    }
    const messages: string[] = [];
    while (writerOf.size > 0) {
      const writable = found(await poller.poll(), POLLOUT) as Socket[];
      assert(writable.length > 0, "no pipes ready for writing");
      const writer = writable[random(writable.length)]!;
      writer.send(encode(MESSAGE));
      let readable: Source[] = [];
      while (readable.length === 0) readable = found(await poller.poll(), POLLIN);
      assertEquals(readable, [readerOf.get(writer)!]);
      const reader = readable[0] as Socket;
      messages.push(recvText(reader));
      for (const end of [writer, reader]) {
        end.close();
        poller.unregister(end);
      }
      writerOf.delete(reader);
    }
    assertEquals(messages, Array(NUM_PIPES).fill(MESSAGE));
  },
});

Deno.test({
  ...NET,
  name: "test_poll_unit_tests: a closed source is POLLNVAL, and what is not registered not found",
  async fn() {
    const [reader, writer] = await pipe();
    using poller = new Poller();
    reader.close();
    poller.register(reader);
    assertEquals(await poller.poll(), [[reader, POLLNVAL]]);
    poller.unregister(reader);
    poller.register(writer, POLLOUT);
    assertEquals((await poller.poll(5000))[0]?.[0], writer);
    poller.unregister(writer);
    assertEquals(await poller.poll(0), []);
    for (const call of [() => poller.unregister(writer), () => poller.modify(writer, POLLIN)]) {
      await assertRejects(() => Promise.resolve().then(call), Deno.errors.NotFound);
    }
    writer.close();
  },
});

Deno.test({
  ...NET,
  name: "test_poll2: the lines of a process that prints now and then, up to its end",
  async fn() {
    const [reader, writer] = await pipe();
    const printing = (async () => {
      for (let i = 0; i < 5; i++) {
        await writer.sendAll(encode("testing...\n"));
        await pause(10);
      }
      writer.close();
    })();
    using poller = new Poller();
    poller.register(reader, POLLIN);
    let text = "";
    for (let isOver = false; !isOver;) {
      for (const [, flags] of await poller.poll(1000)) {
        if (flags & POLLHUP && !(flags & POLLIN)) isOver = true;
        const data = flags & POLLIN ? recvText(reader) : "";
        if (flags & POLLIN && data === "") isOver = true;
        text += data;
      }
    }
    assertEquals(text, "testing...\n".repeat(5));
    await printing;
    reader.close();
  },
});

Deno.test({
  ...NET,
  name: "test_poll_blocks_with_negative_ms: -1, -1.0 and -1e-6 wait until something comes",
  async fn() {
    for (const timeoutMs of [null, -1000, -1, -1.0, -0.1, -1e-6]) {
      const [reader, writer] = await pipe();
      using poller = new Poller();
      poller.register(reader);
      let isWaiting = true;
      const waiting = poller.poll(timeoutMs).then((entries) => {
        isWaiting = false;
        return entries;
      });
      await pause(10);
      assert(isWaiting, `poll(${timeoutMs})`);
      writer.send(encode("x"));
      assertEquals(await waiting, [[reader, POLLIN]]);
      closeAll(reader, writer);
    }
  },
});

Deno.test({
  ...NET,
  name: "test_select: timeouts of all kinds while a process prints, up to its end",
  async fn() {
    const [reader, writer] = await pipe();
    const printing = (async () => {
      for (let i = 0; i < 6; i++) {
        await writer.sendAll(encode("testing...\n"));
        await pause(8);
      }
      writer.close();
    })();
    let text = "";
    timeouts: for (const seconds of [0, 0.01, 0.02, null, null, null, null, null, null, null]) {
      const [readable, writable, failing] = await select([reader], [], [], seconds);
      assertEquals([writable, failing], [[], []]);
      if (readable.length === 0) continue;
      const data = recvText(reader);
      if (data === "") break timeouts;
      text += data;
    }
    assertEquals(text, "testing...\n".repeat(6));
    await printing;
    reader.close();
  },
});

// -- selectors.py --

const EVENT_READ = 1;
const EVENT_WRITE = 2;

interface SelectorKey {
  readonly fileobj: Source;
  readonly events: number;
  readonly data: unknown;
}

/** selectors.PollSelector, line by line; the poll object itself holds the keys. */
class PollSelector {
  readonly #poller = new Poller<Source, SelectorKey>();

  register(fileobj: Source, events: number, data?: unknown): SelectorKey {
    if (this.#poller.has(fileobj)) throw new Error(`${fileobj.id} is already registered`);
    return this.#set(fileobj, events, data);
  }

  #set(fileobj: Source, events: number, data: unknown): SelectorKey {
    const key = { fileobj, events, data };
    const mask = (events & EVENT_READ ? POLLIN : 0) | (events & EVENT_WRITE ? POLLOUT : 0);
    this.#poller.register(fileobj, mask, key);
    return key;
  }

  unregister(fileobj: Source): SelectorKey {
    const key = this.getKey(fileobj);
    this.#poller.unregister(fileobj);
    return key;
  }

  modify(fileobj: Source, events: number, data?: unknown): SelectorKey {
    this.getKey(fileobj);
    return this.#set(fileobj, events, data);
  }

  async select(timeout?: number): Promise<[SelectorKey, number][]> {
    const timeoutMs = timeout === undefined ? null : timeout <= 0 ? 0 : timeout * 1000;
    const ready: [SelectorKey, number][] = [];
    for (const [, event, key] of await this.#poller.poll(timeoutMs)) {
      const events = (event & ~POLLIN ? EVENT_WRITE : 0) | (event & ~POLLOUT ? EVENT_READ : 0);
      if (events & key.events) ready.push([key, events & key.events]);
    }
    return ready;
  }

  getKey(fileobj: Source): SelectorKey {
    const key = this.#poller.dataOf(fileobj);
    if (!key) throw new Error(`${fileobj.id} is not registered`);
    return key;
  }

  getMap(): SelectorKey[] {
    return this.#poller.sources().map((source) => this.getKey(source));
  }

  close(): void {
    this.#poller.close();
  }
}

Deno.test({
  ...NET,
  name: "selectors: keys, masks and data as in the echo server of its documentation",
  async fn() {
    const selector = new PollSelector();
    const listener = listenLocal();
    const server = new ServerSocket(listener);
    const read = (conn: Socket) => {
      const data = conn.recv(1000);
      if (data.length > 0) return void conn.send(data); // hope that it does not block
      selector.unregister(conn);
      conn.close();
    };
    const accept = (sock: ServerSocket) => {
      const conn = sock.accept();
      selector.register(conn, EVENT_READ, () => read(conn));
    };
    selector.register(server, EVENT_READ, () => accept(server));
    await assertRejects(async () => await selector.register(server, EVENT_READ), Error, "already");
    using client = await connect(listener);
    const echo = (async () => {
      await client.write(encode("hello"));
      const heard = decode(await readUpTo(client, 5));
      await client.closeWrite();
      return heard;
    })();
    do {
      for (const [key, mask] of await selector.select()) {
        assertEquals(mask, EVENT_READ);
        (key.data as () => void)();
      }
    } while (selector.getMap().length > 1);
    assertEquals(await echo, "hello");
    assertEquals(await selector.select(0), []);
    assertEquals(selector.unregister(server).fileobj, server);
    await assertRejects(async () => await selector.getKey(server), Error, "not registered");
    selector.close();
    server.close();
    await server.closed;
  },
});

Deno.test({
  ...NET,
  name: "selectors: modify() during select(), and an error that shows as both directions",
  async fn() {
    const selector = new PollSelector();
    const [reader, writer] = await pipe();
    selector.register(reader, EVENT_READ, "first");
    const waiting = selector.select();
    await pause(5);
    selector.modify(reader, EVENT_READ | EVENT_WRITE, "second");
    const [[key, mask] = []] = await waiting;
    assertEquals([key?.data, mask], ["second", EVENT_WRITE]);
    writer.close();
    selector.modify(reader, EVENT_READ, "third");
    const [[end] = []] = await selector.select(5);
    assertEquals([end?.data, recvText(reader)], ["third", ""]);
    selector.close();
    reader.close();
  },
});

// -- Tornado's IOLoop and IOStream --

type Handler = (source: Socket | ServerSocket, events: number) => void;

class IOLoop {
  readonly #poller = new Poller<Socket | ServerSocket, Handler>();
  readonly #callbacks: (() => void)[] = [];
  #timeouts: { readonly dueAtMs: number; readonly callback: () => void }[] = [];
  #isRunning = false;

  addHandler(source: Socket | ServerSocket, handler: Handler, events: number): void {
    this.#poller.register(source, events | POLLERR, handler);
  }

  updateHandler(source: Socket | ServerSocket, events: number): void {
    this.#poller.modify(source, events | POLLERR);
  }

  removeHandler(source: Socket | ServerSocket): void {
    if (this.#poller.has(source)) this.#poller.unregister(source);
  }

  addCallback(callback: () => void): void {
    this.#callbacks.push(callback);
    this.#poller.wake();
  }

  callLater(ms: number, callback: () => void): void {
    this.#timeouts.push({ dueAtMs: performance.now() + ms, callback });
    this.#timeouts.sort((a, b) => a.dueAtMs - b.dueAtMs);
    this.#poller.wake();
  }

  stop(): void {
    this.addCallback(() => this.#isRunning = false);
  }

  async start(): Promise<void> {
    this.#isRunning = true;
    while (this.#isRunning) {
      for (const callback of this.#callbacks.splice(0)) callback();
      const nowMs = performance.now();
      const due = this.#timeouts.filter(({ dueAtMs }) => dueAtMs <= nowMs);
      this.#timeouts = this.#timeouts.filter(({ dueAtMs }) => dueAtMs > nowMs);
      for (const { callback } of due) callback();
      if (!this.#isRunning) break;
      const isBusy = this.#callbacks.length > 0;
      const waitMs = isBusy ? 0 : Math.max(0, (this.#timeouts[0]?.dueAtMs ?? Infinity) - nowMs);
      for (const [source, events, handler] of await this.#poller.poll(waitMs)) {
        if (this.#poller.has(source)) handler(source, events);
      }
    }
    this.#poller.close();
  }
}

/** tornado.iostream: read_until and write, as promises. */
class IOStream {
  readonly #loop: IOLoop;
  readonly #socket: Socket;
  #buffer = "";
  #reading: { readonly end: string; readonly resolve: (text: string | null) => void } | undefined;
  #unsent: { bytes: Uint8Array; readonly resolve: () => void }[] = [];
  #isOver = false;

  constructor(loop: IOLoop, socket: Socket) {
    this.#loop = loop;
    this.#socket = socket;
    loop.addHandler(socket, (_, events) => this.#onEvents(events), POLLIN);
  }

  readUntil(end: string): Promise<string | null> {
    const { promise, resolve } = Promise.withResolvers<string | null>();
    this.#reading = { end, resolve };
    this.#tryRead();
    return promise;
  }

  write(text: string): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#unsent.push({ bytes: encode(text), resolve });
    this.#loop.updateHandler(this.#socket, POLLIN | POLLOUT);
    return promise;
  }

  close(): void {
    this.#loop.removeHandler(this.#socket);
    this.#socket.close();
  }

  #onEvents(events: number): void {
    if (events & POLLIN && !this.#isOver) {
      const data = this.#socket.recv(4096);
      this.#buffer += decode(data);
      this.#isOver = data.length === 0;
      this.#tryRead();
    }
    const first = events & POLLOUT ? this.#unsent[0] : undefined;
    if (first) {
      first.bytes = first.bytes.subarray(this.#socket.send(first.bytes));
      if (first.bytes.length === 0) this.#unsent.shift()!.resolve();
    }
    const reads = this.#isOver ? 0 : POLLIN;
    this.#loop.updateHandler(this.#socket, reads | (this.#unsent.length > 0 ? POLLOUT : 0));
  }

  #tryRead(): void {
    if (!this.#reading) return;
    const { end, resolve } = this.#reading;
    const at = this.#buffer.indexOf(end);
    if (at < 0 && !this.#isOver) return;
    this.#reading = undefined;
    resolve(at < 0 ? null : this.#buffer.slice(0, at + end.length));
    this.#buffer = this.#buffer.slice(at + end.length);
  }
}

Deno.test({
  ...NET,
  name: "Tornado: coroutines on an IOLoop talk over streams, beside timers and callbacks",
  async fn() {
    const loop = new IOLoop();
    const listener = listenLocal();
    await using server = new ServerSocket(listener);
    const log: string[] = [];
    const handleStream = async (stream: IOStream) => {
      for (let line; (line = await stream.readUntil("\n"));) {
        await stream.write(line.toUpperCase());
        if (line === "bye\n") break;
      }
      stream.close();
    };
    loop.addHandler(server, () => {
      void handleStream(new IOStream(loop, server.accept()));
    }, POLLIN);
    const client = async () => {
      // It connects beside the loop, whose poll() is waiting: registering must count at once.
      const stream = new IOStream(loop, new Socket(await connect(listener)));
      for (const word of ["hello\n", "world\n", "bye\n"]) {
        await stream.write(word);
        log.push(await stream.readUntil("\n") ?? "nothing");
      }
      log.push(String(await stream.readUntil("\n")));
      stream.close();
      loop.stop();
    };
    loop.addCallback(() => log.push("callback;"));
    loop.callLater(1, () => log.push("timer;"));
    loop.callLater(5, () => void client());
    await loop.start();
    assertEquals(log.join(""), "callback;timer;HELLO\nWORLD\nBYE\nnull");
  },
});

Deno.test({
  ...NET,
  name: "Tornado: a callback from outside wakes a loop that waits for ever",
  async fn() {
    const loop = new IOLoop();
    const log: string[] = [];
    const timer = setTimeout(() => loop.addCallback(() => log.push("woken")), 5);
    const stopper = setTimeout(() => loop.stop(), 15);
    await loop.start();
    clearTimeout(timer);
    clearTimeout(stopper);
    assertEquals(log, ["woken"]);
  },
});

// -- A reactor as Twisted's --

abstract class Protocol {
  transport!: Transport;
  connectionMade(): void {}
  abstract dataReceived(data: string): void;
  connectionLost(_reason: unknown): void {}
}

class Transport {
  readonly #reactor: Reactor;
  readonly socket: Socket;
  readonly protocol: Protocol;
  #unsent: Uint8Array[] = [];
  #isLosing = false;
  isConnected: boolean;

  constructor(reactor: Reactor, socket: Socket, protocol: Protocol, isConnected: boolean) {
    this.#reactor = reactor;
    this.socket = socket;
    this.protocol = protocol;
    this.isConnected = isConnected;
    protocol.transport = this;
    if (isConnected) protocol.connectionMade();
    this.#watch();
  }

  write(text: string): void {
    this.#unsent.push(encode(text));
    this.#watch();
  }

  /** What was written is sent first. */
  loseConnection(): void {
    this.#isLosing = true;
    this.#watch();
  }

  abortConnection(): void {
    this.socket.abort();
    this.lost("aborted");
  }

  lost(reason: unknown): void {
    if (!this.#reactor.poller.has(this.socket)) return;
    this.#reactor.poller.unregister(this.socket);
    this.socket.close();
    this.protocol.connectionLost(reason);
  }

  #watch(): void {
    const writes = !this.isConnected || this.#unsent.length > 0 || this.#isLosing;
    const mask = POLLIN | POLLPRI | (writes ? POLLOUT : 0);
    this.#reactor.poller.register(this.socket, mask, this);
  }

  onEvents(events: number): void {
    try {
      if (!this.isConnected) this.#onConnected();
      if (events & POLLOUT) this.#onRoom();
      if (events & POLLIN && this.#reactor.poller.has(this.socket)) this.#onData();
    } catch (error) {
      this.lost(error);
    }
  }

  #onConnected(): void {
    const error = this.socket.takeError();
    if (error) throw error;
    this.isConnected = true;
    this.protocol.connectionMade();
    this.#watch();
  }

  #onRoom(): void {
    while (this.#unsent.length > 0) {
      const first = this.#unsent[0]!;
      const sent = this.socket.send(first);
      if (sent < first.length) return void (this.#unsent[0] = first.subarray(sent));
      this.#unsent.shift();
    }
    if (this.#isLosing) this.lost("closed cleanly");
    else this.#watch();
  }

  #onData(): void {
    const data = this.socket.recv(65_536);
    if (data.length === 0) this.lost("closed cleanly");
    else this.protocol.dataReceived(decode(data));
  }
}

class Reactor {
  readonly poller = new Poller<Socket | ServerSocket, Transport | (() => Protocol)>();
  #isRunning = true;

  listenTCP(factory: () => Protocol): { port: number; server: ServerSocket } {
    const listener = listenLocal();
    const server = new ServerSocket(listener);
    this.poller.register(server, POLLIN, factory);
    return { port: listener.addr.port, server };
  }

  connectTCP(port: number, protocol: Protocol): void {
    new Transport(this, Socket.connect({ hostname: "127.0.0.1", port }), protocol, false);
  }

  stop(): void {
    this.#isRunning = false;
    this.poller.wake();
  }

  async run(): Promise<void> {
    while (this.#isRunning) {
      for (const [source, events, owner] of await this.poller.poll(1000)) {
        if (!this.poller.has(source)) continue;
        if (owner instanceof Transport) owner.onEvents(events);
        else if (source instanceof ServerSocket) this.#accept(source, owner);
      }
    }
    closeAll(...this.poller.sources());
    this.poller.close();
  }

  #accept(server: ServerSocket, factory: () => Protocol): void {
    while (server.waiting > 0) new Transport(this, server.accept(), factory(), true);
  }
}

class Echo extends Protocol {
  dataReceived(data: string): void {
    this.transport.write(data);
  }
}

class EchoClient extends Protocol {
  heard = "";
  reason: unknown;
  readonly #words: string;
  readonly #onLost: () => void;

  constructor(words: string, onLost: () => void) {
    super();
    this.#words = words;
    this.#onLost = onLost;
  }

  override connectionMade(): void {
    this.transport.write(this.#words);
  }

  dataReceived(data: string): void {
    this.heard += data;
    if (this.heard.length === this.#words.length) this.transport.loseConnection();
  }

  override connectionLost(reason: unknown): void {
    this.reason = reason;
    this.#onLost();
  }
}

Deno.test({
  ...NET,
  name: "Twisted: the echo client and server of its documentation, twenty at once, in one reactor",
  async fn() {
    const reactor = new Reactor();
    const { port, server } = reactor.listenTCP(() => new Echo());
    let left = 20;
    const clients = Array.from({ length: 20 }, (_, i) => {
      return new EchoClient(`${i} `.repeat(5000), () => --left === 0 && reactor.stop());
    });
    for (const client of clients) reactor.connectTCP(port, client);
    await reactor.run();
    await server.closed;
    for (const [i, { heard, reason }] of clients.entries()) {
      assertEquals([heard, reason], [`${i} `.repeat(5000), "closed cleanly"]);
    }
  },
});

Deno.test({
  ...NET,
  name: "Twisted: connectionLost() has the reason: refused, reset or aborted",
  async fn() {
    const reactor = new Reactor();
    const gone = listenLocal();
    gone.close();
    const refused = new EchoClient("x", () => {});
    reactor.connectTCP(gone.addr.port, refused);
    const { port, server } = reactor.listenTCP(() => new Echo());
    const aborted = new EchoClient("y", () => reactor.stop());
    aborted.dataReceived = () => aborted.transport.abortConnection();
    reactor.connectTCP(port, aborted);
    await reactor.run();
    await server.closed;
    assert(refused.reason instanceof Deno.errors.ConnectionRefused);
    assertEquals(aborted.reason, "aborted");
  },
});
