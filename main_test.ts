import {
  assert,
  assertEquals,
  assertMatch,
  assertNotStrictEquals,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { once } from "node:events";
import { createConnection } from "node:net";
import {
  type Config,
  createFramer,
  DEFAULTS,
  Failure,
  type Io,
  main,
  parseConfig,
  startServer,
  usage,
  UsageError,
} from "./main.ts";

import {
  type Acceptor,
  type ByteStream,
  Poller,
  POLLERR,
  POLLHUP,
  POLLIN,
  POLLNVAL,
  POLLOUT,
  POLLPRI,
  POLLRDHUP,
  select,
  ServerSocket,
  Socket,
  type Source,
} from "./poller.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const lacksPermissions = ["net", "read", "write", "run", "sys"].some((name) =>
  !isGranted({ name } as Deno.PermissionDescriptor)
);
if (lacksPermissions) {
  Deno.test.ignore("Tests that need permissions are ignored: `deno task test` runs all", () => {});
}

// -- Helpers --

const HIGH_WATER_BYTES = 64 * 1024;
const ALL_EVENTS = POLLIN | POLLPRI | POLLOUT | POLLRDHUP;

const mayListen = isGranted({ name: "net" });
const mayRun = isGranted({ name: "run" }) && isGranted({ name: "read" });
const hasPython = mayRun && runs("python3", "--version");

function isGranted(permission: Deno.PermissionDescriptor): boolean {
  return Deno.permissions.querySync(permission).state === "granted";
}

function runs(command: string, ...args: string[]): boolean {
  try {
    return new Deno.Command(command, { args }).outputSync().success;
  } catch {
    return false;
  }
}

/** A test over real sockets: without the permission it is ignored. */
function netTest(name: string, fn: () => Promise<void>): void {
  Deno.test({ name, ignore: !mayListen, timeout: 10_000, fn });
}

/** What a memory source takes from: items in order, errors as rejections, else it waits. */
class Inbox<T> {
  readonly #items: (() => T)[] = [];
  #taker: PromiseWithResolvers<T> | undefined;

  put(item: () => T): void {
    this.#items.push(item);
    if (this.#taker) this.#settle(this.#taker);
  }

  take(): Promise<T> {
    if (this.#taker) throw new Deno.errors.Busy("A read is pending already");
    const taker = Promise.withResolvers<T>();
    if (this.#items.length > 0) this.#settle(taker);
    else this.#taker = taker;
    return taker.promise;
  }

  cancel(error: Error): void {
    this.#taker?.reject(error);
    this.#taker = undefined;
  }

  #settle(taker: PromiseWithResolvers<T>): void {
    this.#taker = undefined;
    try {
      taker.resolve(this.#items.shift()!());
    } catch (error) {
      taker.reject(error);
    }
  }
}

/** A byte stream in memory: the test plays its peer. */
class MemoryStream implements ByteStream {
  readonly #inbox = new Inbox<string | null>();
  #gate: PromiseWithResolvers<void> | undefined;
  #writeError: Error | undefined;
  /** Size of the target of each read so far. */
  readonly targets: number[] = [];
  /** What the peer has got, FIN as "." */
  received = "";
  /** Most bytes that one write takes. */
  maxWrite = Infinity;
  closed = false;

  constructor(...texts: string[]) {
    for (const text of texts) this.push(text);
  }

  push(text: string): void {
    this.#inbox.put(() => text);
  }

  end(): void {
    this.#inbox.put(() => null);
  }

  fail(error: Error = new Deno.errors.ConnectionReset("Connection reset by peer")): void {
    this.#inbox.put(() => {
      throw error;
    });
  }

  block(): void {
    this.#gate = Promise.withResolvers();
  }

  unblock(): void {
    this.#gate?.resolve();
    this.#gate = undefined;
  }

  failWrites(error: Error): void {
    this.#writeError = error;
  }

  async read(target: Uint8Array): Promise<number | null> {
    this.targets.push(target.length);
    const text = await this.#inbox.take();
    return text === null ? null : new TextEncoder().encodeInto(text, target).written;
  }

  async write(bytes: Uint8Array): Promise<number> {
    const taken = bytes.slice(0, Math.min(bytes.length, this.maxWrite));
    await this.#gate?.promise;
    if (this.#writeError) throw this.#writeError;
    this.received += decode(taken);
    return taken.length;
  }

  async closeWrite(): Promise<void> {
    await this.#gate?.promise;
    if (this.#writeError) throw this.#writeError;
    this.received += ".";
  }

  close(): void {
    this.closed = true;
    this.#inbox.cancel(new Deno.errors.Interrupted("operation canceled"));
  }
}

/** A stream whose pending read outlives close(). */
class StubbornStream extends MemoryStream {
  override close(): void {
    this.closed = true;
  }
}

/** A listener in memory: the test plays its clients. */
class MemoryListener implements Acceptor {
  readonly addr: Deno.NetAddr = { transport: "tcp", hostname: "127.0.0.1", port: 1 };
  readonly #inbox = new Inbox<ByteStream>();

  connect(stream: ByteStream = new MemoryStream()): ByteStream {
    this.#inbox.put(() => stream);
    return stream;
  }

  fail(error: Error): void {
    this.#inbox.put(() => {
      throw error;
    });
  }

  accept(): Promise<ByteStream> {
    return this.#inbox.take();
  }

  close(): void {
    this.#inbox.cancel(new Deno.errors.BadResource("Listener has been closed"));
  }
}

/** A stream that always has `text` to read. */
function talker(text = "x"): ByteStream {
  const bytes = encode(text);
  return {
    read: (target) => {
      target.set(bytes);
      return Promise.resolve(bytes.length);
    },
  };
}

/** A stream that never has anything to read. */
function quietStream(): ByteStream {
  return { read: () => new Promise(() => {}) };
}

/** Both ends of one loopback connection; disposing closes both. */
async function tcpPair() {
  using listener = listenLocal();
  const [client, server] = await Promise.all([connect(listener), listener.accept()]);
  const ends = new DisposableStack();
  ends.use(client);
  ends.use(server);
  return { client, server, [Symbol.dispose]: () => ends.dispose() };
}

function listenLocal(): Deno.TcpListener {
  return Deno.listen({ hostname: "127.0.0.1", port: 0 });
}

function connect(listener: Deno.TcpListener): Promise<Deno.TcpConn> {
  return Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
}

/** A connection that the peer's kernel resets: it was never accepted when its listener closed. */
async function resetConnection(): Promise<Deno.TcpConn> {
  using listener = listenLocal();
  return await connect(listener);
}

function encode(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}

function decode(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

function recvText(source: Socket, max = 1000): string {
  return decode(source.recv(max));
}

function pollerOf(...sources: Source[]): Poller {
  const poller = new Poller();
  for (const source of sources) poller.register(source);
  return poller;
}

function closeAll(...sources: Source[]): void {
  for (const source of sources) source.close();
}

/** A value that the types forbid: callers need not use TypeScript. */
function untyped(value: unknown): never {
  return value as never;
}

/** Not iterable. */
function nothing(): never {
  return untyped(null);
}

/** One turn of the event loop, timers and I/O included. */
function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

/** Still waiting after a few turns of the event loop, in which everything else had its chance. */
async function assertPending(promise: Promise<unknown>): Promise<void> {
  let settled = false;
  const settle = () => settled = true;
  promise.then(settle, settle);
  for (let i = 0; i < 3; i++) await turn();
  assert(!settled, "Settled too early");
}

/** Repeats `round` until a timer has fired, which takes a turn of the event loop. */
async function assertTimerFires(round: () => Promise<unknown>): Promise<void> {
  let fired = false;
  const timer = setTimeout(() => fired = true, 0);
  for (let i = 0; i < 300_000 && !fired; i++) await round();
  clearTimeout(timer);
  assert(fired, "The event loop did not turn");
}

/** Sends until nothing more is taken; returns how many bytes were. */
async function fill(socket: Socket): Promise<number> {
  using poller = new Poller();
  poller.register(socket, POLLOUT);
  let sent = 0;
  while ((await poller.poll(20)).length > 0) sent += socket.send(new Uint8Array(HIGH_WATER_BYTES));
  return sent;
}

/** The event bits of the first answer that has some of `wanted`. */
async function eventsOf(source: Source, mask = ALL_EVENTS, wanted = mask): Promise<number> {
  using poller = new Poller();
  poller.register(source, wanted);
  await poller.poll();
  poller.modify(source, mask);
  const [entry] = await poller.poll(0);
  return entry?.[1] ?? 0;
}

/** The event bits of a source once everything that has happened to it is known. */
async function eventsNow(source: Source, mask = ALL_EVENTS): Promise<number> {
  using poller = new Poller();
  poller.register(source, mask);
  await poller.poll(0);
  await turn();
  const [entry] = await poller.poll(0);
  return entry?.[1] ?? 0;
}

/** Asks one front end which of `sources` have which of the events in `mask`. */
type Wait = <S extends Source>(
  sources: Iterable<S>,
  mask: number,
  timeoutMs?: number | null,
) => Promise<[S, number][]>;

const waitBySelect: Wait = async (sources, mask, timeoutMs) => {
  const list = [...sources];
  const [readable, writable, failing] = await select(
    mask & POLLIN ? list : [],
    mask & POLLOUT ? list : [],
    list,
    typeof timeoutMs === "number" ? timeoutMs / 1000 : timeoutMs,
  );
  return list.map((source): [typeof source, number] => [
    source,
    (readable.includes(source) ? POLLIN : 0) | (writable.includes(source) ? POLLOUT : 0) |
    (failing.includes(source) ? POLLERR : 0),
  ]).filter(([, events]) => events !== 0);
};

const waitByPoll: Wait = async (sources, mask, timeoutMs) => {
  const list = [...sources];
  using poller = new Poller();
  for (const source of list) poller.register(source, mask);
  const ready = new Map(await poller.poll(timeoutMs));
  return list.filter((source) => ready.has(source)).map((
    source,
  ) => [source, ready.get(source)! & (POLLIN | POLLOUT | POLLERR)]);
};

// -- The contract: select() and Poller.poll() --

for (const [name, wait] of [["select()", waitBySelect], ["Poller.poll()", waitByPoll]] as const) {
  Deno.test(`${name} reports a source that has data`, async () => {
    const stream = new MemoryStream();
    using source = new Socket(stream);
    const waiting = wait([source], POLLIN);
    await assertPending(waiting);
    stream.push("hello");
    assertEquals(await waiting, [[source, POLLIN]]);
    assertEquals(recvText(source), "hello");
  });

  Deno.test(`${name} reports only the sources that are ready`, async () => {
    using quiet = new Socket(new MemoryStream());
    using loud = new Socket(new MemoryStream("x"));
    assertEquals(await wait([quiet, loud], POLLIN), [[loud, POLLIN]]);
  });

  Deno.test(`${name} reports all sources that are known to be ready`, async () => {
    using one = new Socket(new MemoryStream("1"));
    using two = new Socket(new MemoryStream("2"));
    assertEquals(await wait([one, two], POLLIN), [[one, POLLIN], [two, POLLIN]]);
  });

  Deno.test(`${name} reports again what was left unread`, async () => {
    using source = new Socket(new MemoryStream("hello"));
    for (const [letter, rest] of ["hello", "ello", "llo"].entries()) {
      assertEquals(await wait([source], POLLIN), [[source, POLLIN]]);
      assertEquals(recvText(source, 1), rest[0], `letter ${letter}`);
    }
    assertEquals(await wait([source], POLLIN), [[source, POLLIN]]);
    assertEquals(recvText(source), "lo");
    assertEquals(await wait([source], POLLIN, 0), []);
  });

  Deno.test(`${name} reports end of file as readable, again and again`, async () => {
    const stream = new MemoryStream("bye");
    stream.end();
    using source = new Socket(stream);
    await wait([source], POLLIN);
    assertEquals(recvText(source), "bye");
    for (let i = 0; i < 3; i++) {
      assertEquals(await wait([source], POLLIN), [[source, POLLIN]]);
      assertEquals(source.recv(10), new Uint8Array(0));
      assertEquals(source.recvInto(new Uint8Array(10)), 0);
    }
    assertEquals(stream.targets.length, 2);
  });

  Deno.test(`${name} reports a failed read until it is thrown, then end of file`, async () => {
    const stream = new MemoryStream();
    stream.fail();
    using source = new Socket(stream);
    assertEquals(await wait([source], POLLIN), [[source, POLLIN | POLLERR]]);
    assertEquals(await wait([source], POLLIN), [[source, POLLIN | POLLERR]]);
    assertThrows(() => source.recv(10), Deno.errors.ConnectionReset);
    assertEquals(await wait([source], POLLIN), [[source, POLLIN]]);
    assertEquals(recvText(source), "");
  });

  Deno.test(`${name} reports a failed read beyond what was asked for`, async () => {
    const stream = new MemoryStream();
    using source = new Socket(stream);
    const waiting = wait([source], 0);
    await assertPending(waiting);
    stream.fail();
    assertEquals(await waiting, [[source, POLLERR]]);
  });

  Deno.test(`${name} reports a listener when a connection waits`, async () => {
    const listener = new MemoryListener();
    using server = new ServerSocket(listener);
    const waiting = wait([server], POLLIN);
    await assertPending(waiting);
    const stream = listener.connect();
    assertEquals(await waiting, [[server, POLLIN]]);
    using peer = server.accept();
    assertEquals(peer.stream, stream);
    assertThrows(() => server.accept(), Deno.errors.WouldBlock);
    assertEquals(await wait([server], POLLIN, 0), []);
  });

  Deno.test(`${name} reports a failed accept, after which the listener goes on`, async () => {
    const listener = new MemoryListener();
    using server = new ServerSocket(listener);
    listener.fail(new Deno.errors.NotConnected("Client is gone"));
    listener.connect();
    assertEquals(await wait([server], POLLIN), [[server, POLLIN | POLLERR]]);
    assertThrows(() => server.accept(), Deno.errors.NotConnected);
    assertEquals(await wait([server], POLLIN), [[server, POLLIN]]);
    server.accept().close();
  });

  Deno.test(`${name} reports room to send until the send buffer is full`, async () => {
    const stream = new MemoryStream();
    using source = new Socket(stream);
    assertEquals(await wait([source], POLLOUT), [[source, POLLOUT]]);
    stream.block();
    source.send(new Uint8Array(HIGH_WATER_BYTES));
    const waiting = wait([source], POLLOUT);
    await assertPending(waiting);
    stream.unblock();
    assertEquals(await waiting, [[source, POLLOUT]]);
  });

  Deno.test(`${name} reports reading and writing of one source together`, async () => {
    using source = new Socket(new MemoryStream("x"));
    await wait([source], POLLIN);
    assertEquals(await wait([source], POLLIN | POLLOUT), [[source, POLLIN | POLLOUT]]);
  });

  Deno.test(`${name} does not report what was not asked for`, async () => {
    using source = new Socket(new MemoryStream("x"));
    assertEquals(await wait([source], 0, 0), []);
    assertEquals(await wait([source], POLLOUT), [[source, POLLOUT]]);
  });

  Deno.test(`${name} only looks when the timeout is 0`, async () => {
    const stream = new MemoryStream();
    using source = new Socket(stream);
    assertEquals(await wait([source], POLLIN, 0), []);
    stream.push("x");
    assertEquals(await wait([source], POLLIN, 0), [[source, POLLIN]]);
  });

  Deno.test(`${name} never returns before its timeout`, async () => {
    using source = new Socket(new MemoryStream());
    for (const timeoutMs of [0.1, 0.4, 1, 1.5, 2.01, 3.7, 5, 9.99, 20]) {
      const start = performance.now();
      assertEquals(await wait([source], POLLIN, timeoutMs), []);
      assert(performance.now() - start >= timeoutMs, `earlier than ${timeoutMs} ms`);
    }
  });

  for (const timeout of [undefined, null, Infinity]) {
    Deno.test(`${name} waits for ever when the timeout is ${timeout}`, async () => {
      const stream = new MemoryStream();
      using source = new Socket(stream);
      const waiting = wait([source], POLLIN, timeout);
      await assertPending(waiting);
      stream.push("x");
      assertEquals(await waiting, [[source, POLLIN]]);
    });
  }

  Deno.test(`${name} answers before a timeout longer than any timer`, async () => {
    const stream = new MemoryStream();
    using source = new Socket(stream);
    const waiting = wait([source], POLLIN, 1e15);
    await assertPending(waiting);
    stream.push("x");
    assertEquals(await waiting, [[source, POLLIN]]);
  });

  Deno.test(`${name} sleeps when there is nothing to watch`, async () => {
    const start = performance.now();
    assertEquals(await wait([], ALL_EVENTS, 15), []);
    assert(performance.now() - start >= 15);
    assertEquals(await wait([], ALL_EVENTS, 0), []);
  });

  Deno.test(`${name} rejects a timeout that is not a number`, async () => {
    for (const timeout of ["1", {}, true, 1n]) {
      const call = name === "select()"
        ? () => select([], [], [], untyped(timeout))
        : () => new Poller().poll(untyped(timeout));
      await assertRejects(call, TypeError);
    }
    await assertRejects(() => wait([], POLLIN, NaN), RangeError);
  });

  Deno.test(`${name} reads nothing more while data is unread`, async () => {
    const stream = new MemoryStream("one", "two");
    using source = new Socket(stream);
    for (let i = 0; i < 5; i++) await wait([source], POLLIN);
    assertEquals(stream.targets.length, 1);
    assertEquals(recvText(source), "one");
    assertEquals(stream.targets.length, 1);
    await wait([source], POLLIN);
    assertEquals(recvText(source), "two");
  });

  Deno.test(`${name} keeps one read pending whatever the number of waits`, async () => {
    const stream = new MemoryStream();
    using source = new Socket(stream);
    for (let i = 0; i < 5; i++) await wait([source], POLLIN, 0);
    const waits = [wait([source], POLLIN), wait([source], POLLIN), wait([source], POLLIN)];
    await Promise.all(waits.map(assertPending));
    assertEquals(stream.targets.length, 1);
    stream.push("x");
    for (const waiting of waits) assertEquals(await waiting, [[source, POLLIN]]);
  });

  Deno.test(`${name} lets timers fire although there is always room to send`, async () => {
    using source = new Socket(new MemoryStream());
    await assertTimerFires(() => wait([source], POLLOUT));
  });

  Deno.test(`${name} lets timers fire although data stays unread`, async () => {
    using source = new Socket(new MemoryStream("x"));
    await assertTimerFires(() => wait([source], POLLIN));
  });

  Deno.test(`${name} lets timers fire although new data never ends`, async () => {
    using source = new Socket(talker());
    await assertTimerFires(async () => {
      await wait([source], POLLIN);
      source.recv(10);
    });
  });

  Deno.test(`${name} asks again after a read of 0 bytes`, async () => {
    const stream = new MemoryStream();
    using source = new Socket(stream);
    const waiting = wait([source], POLLIN);
    await assertPending(waiting);
    stream.push("");
    await assertPending(waiting);
    stream.push("x");
    assertEquals(await waiting, [[source, POLLIN]]);
    assertEquals(recvText(source), "x");
  });

  netTest(`${name} reports data, then end of file of a TCP connection`, async () => {
    using pair = await tcpPair();
    using source = new Socket(pair.server);
    await pair.client.write(encode("hello"));
    assertEquals(await wait([source], POLLIN), [[source, POLLIN]]);
    assertEquals(recvText(source), "hello");
    await pair.client.closeWrite();
    assertEquals(await wait([source], POLLIN), [[source, POLLIN]]);
    assertEquals(recvText(source), "");
  });

  netTest(`${name} reports a reset TCP connection until the error is taken`, async () => {
    using source = new Socket(await resetConnection());
    const { remoteAddr } = source;
    assertEquals(await wait([source], POLLIN), [[source, POLLIN | POLLERR]]);
    assertThrows(() => source.recvInto(new Uint8Array(10)), Deno.errors.ConnectionReset);
    assertEquals(await wait([source], POLLIN), [[source, POLLIN]]);
    assertEquals(recvText(source), "");
    assertThrows(() => source.send(encode("x")), Deno.errors.BrokenPipe);
    assertEquals(source.remoteAddr, remoteAddr);
  });

  netTest(`${name} reports a TCP listener with a waiting client`, async () => {
    const listener = listenLocal();
    await using server = new ServerSocket(listener);
    assertEquals(await wait([server], POLLIN, 0), []);
    const waiting = wait([server], POLLIN);
    using client = await connect(listener);
    assertEquals(await waiting, [[server, POLLIN]]);
    using peer = server.accept();
    assertEquals([peer.remoteAddr, peer.localAddr], [client.localAddr, server.addr]);
  });

  netTest(`${name} reports no room to send until the TCP peer reads`, async () => {
    using pair = await tcpPair();
    using source = new Socket(pair.server);
    const sent = await fill(source);
    const waiting = wait([source], POLLOUT);
    await assertPending(waiting);
    const target = new Uint8Array(HIGH_WATER_BYTES);
    for (let got = 0; got < sent;) got += await pair.client.read(target) ?? sent;
    assertEquals(await waiting, [[source, POLLOUT]]);
  });
}

// -- select(): arguments --

Deno.test("select() checks the timeout before the lists", async () => {
  await assertRejects(() => select(nothing(), [], [], -1), RangeError);
  await assertRejects(() => select(nothing(), [], [], NaN), RangeError);
  await assertRejects(() => select(nothing(), [], [], untyped("1")), TypeError, "timeoutSeconds");
});

Deno.test("select() checks the lists in their order", async () => {
  await assertRejects(() => select(nothing(), nothing(), nothing()), TypeError, "rlist");
  await assertRejects(() => select([], nothing(), nothing()), TypeError, "wlist");
  await assertRejects(() => select([], [], nothing()), TypeError, "xlist");
  await assertRejects(() => select([untyped(3)], nothing(), []), TypeError, "number");
});

Deno.test("select() rejects a list that is not iterable", async () => {
  for (const list of [null, undefined, 1, {}]) {
    await assertRejects(() => select(untyped(list), [], []), TypeError, "rlist");
  }
});

Deno.test("select() rejects items that are not sources", async () => {
  using source = new Socket(new MemoryStream("x"));
  for (const item of [null, undefined, 0, "x", {}, new MemoryStream(), Socket]) {
    await assertRejects(() => select([source, untyped(item)], [], []), TypeError);
    await assertRejects(() => select([], [], [untyped(item)]), TypeError);
  }
  assertEquals(await select([source], [], []), [[source], [], []]);
});

for (const timeoutSeconds of [-1, -1e-9, -Number.MIN_VALUE, -Infinity, NaN]) {
  Deno.test(`select() rejects a timeout of ${timeoutSeconds} s`, async () => {
    await assertRejects(() => select([], [], [], timeoutSeconds), RangeError);
  });
}

Deno.test("select() takes a timeout of -0 as 0", async () => {
  assertEquals(await select([], [], [], -0), [[], [], []]);
});

Deno.test("select() counts its timeout in seconds", async () => {
  const start = performance.now();
  await select([], [], [], 0.0301);
  assert(performance.now() - start >= 30.1);
});

Deno.test("select() takes any iterable, and each only once", async () => {
  using one = new Socket(new MemoryStream("1"));
  using two = new Socket(new MemoryStream("2"));
  function* sources() {
    yield one;
    yield two;
  }
  assertEquals(await select(sources(), new Set([two]), new Map([[one, 1]]).keys()), [
    [one, two],
    [two],
    [],
  ]);
});

Deno.test("select() throws what an iterable throws", async () => {
  // deno-lint-ignore require-yield
  function* broken(): Generator<Socket> {
    throw new SyntaxError("broken");
  }
  await assertRejects(() => select([], broken(), []), SyntaxError, "broken");
});

Deno.test("select() does not see changes of its lists while it waits", async () => {
  const [stream, other] = [new MemoryStream(), new MemoryStream("x")];
  using source = new Socket(stream);
  using late = new Socket(other);
  const list = [source];
  const waiting = select(list, [], []);
  list[0] = late;
  await assertPending(waiting);
  stream.push("x");
  assertEquals(await waiting, [[source], [], []]);
});

Deno.test("select() keeps the order of its arguments, not that of readiness", async () => {
  const streams = ["a", "b", "c"].map(() => new MemoryStream());
  const sources = streams.map((stream) => new Socket(stream));
  await select(sources, [], [], 0);
  for (const i of [2, 0, 1]) streams[i]!.push("x");
  await turn();
  assertEquals(await select(sources, [], []), [sources, [], []]);
  assertEquals(await select(sources.toReversed(), [], []), [sources.toReversed(), [], []]);
  closeAll(...sources);
});

Deno.test("select() keeps duplicates", async () => {
  using source = new Socket(new MemoryStream("x"));
  using quiet = new Socket(new MemoryStream());
  assertEquals(await select([source, quiet, source], [source, source], []), [
    [source, source],
    [source, source],
    [],
  ]);
});

Deno.test("select() reports one source in each list it is ready for", async () => {
  const stream = new MemoryStream();
  stream.fail();
  using source = new Socket(stream);
  assertEquals(await select([source], [], [source]), [[source], [], [source]]);
  assertEquals(await select([source], [source], [source]), [[source], [source], [source]]);
});

Deno.test("select() returns three new arrays, distinct even when empty", async () => {
  using source = new Socket(new MemoryStream("x"));
  const list = [source];
  const [first, second, third] = await select(list, [], []);
  assertNotStrictEquals<unknown>(first, list);
  for (const lists of [[first, second, third], await select([], [], [], 0)]) {
    assertEquals(new Set<unknown>(lists).size, 3);
  }
});

Deno.test("select() waits for ever for nothing when there is no timeout", async () => {
  await assertPending(select([], [], []));
});

// -- select(): waiting --

Deno.test("select() may be called many times at once", async () => {
  const streams = Array.from({ length: 10 }, () => new MemoryStream());
  const sources = streams.map((stream) => new Socket(stream));
  const waits = sources.map((source) => select([source], [], []));
  const all = select(sources, [], []);
  streams[7]!.push("x");
  assertEquals(await waits[7], [[sources[7]], [], []]);
  assertEquals(await all, [[sources[7]], [], []]);
  await assertPending(Promise.race(waits.toSpliced(7, 1)));
  closeAll(...sources);
  await Promise.allSettled(waits);
});

Deno.test("select() leaves the data of losers to the next call", async () => {
  const [winner, loser] = [new MemoryStream("x"), new MemoryStream()];
  using first = new Socket(winner);
  using second = new Socket(loser);
  await select([first, second], [], []);
  loser.push("kept");
  first.recv(10);
  assertEquals(await select([first, second], [], []), [[second], [], []]);
  assertEquals(recvText(second), "kept");
  assertEquals(loser.targets.length, 1);
});

Deno.test("select() does not read sources that are only to be written", async () => {
  const stream = new MemoryStream("x");
  using source = new Socket(stream);
  assertEquals(await select([], [source], []), [[], [source], []]);
  assertEquals(stream.targets, []);
});

Deno.test("select() throws BadResource when a source is closed", async () => {
  using ready = new Socket(new MemoryStream("x"));
  const closed = new Socket(new MemoryStream());
  closed.close();
  const server = new ServerSocket(new MemoryListener());
  server.close();
  await assertRejects(() => select([ready, closed], [], []), Deno.errors.BadResource);
  await assertRejects(() => select([ready], [closed], []), Deno.errors.BadResource);
  await assertRejects(() => select([ready], [], [server], 0), Deno.errors.BadResource);
  assertEquals(await select([ready], [], []), [[ready], [], []]);
});

Deno.test("select() throws BadResource when a source is closed while it waits", async () => {
  using quiet = new Socket(new MemoryStream());
  const source = new Socket(new MemoryStream());
  const waiting = select([quiet, source], [], []);
  await assertPending(waiting);
  source.close();
  await assertRejects(() => waiting, Deno.errors.BadResource);
});

Deno.test("select() is woken by a memory source in its read list (self-pipe)", async () => {
  using quiet = new Socket(new MemoryStream());
  const pipe = new MemoryStream();
  using alarm = new Socket(pipe);
  const waiting = select([quiet, alarm], [], []);
  pipe.push("!");
  assertEquals(await waiting, [[alarm], [], []]);
});

Deno.test("select() serves more sources than one step reads", async () => {
  const sources = Array.from({ length: 250 }, () => new Socket(talker()));
  const served = new Set<Socket>();
  for (let i = 0; i < 10 && served.size < sources.length; i++) {
    const [readable] = await select(sources, [], [], 0);
    for (const source of readable) {
      source.recv(10);
      served.add(source);
    }
  }
  assertEquals(served.size, sources.length);
  closeAll(...sources);
});

// -- Poller: registration --

Deno.test("Poller.register() watches for data and urgent data by default", async () => {
  using source = new Socket(new MemoryStream());
  using poller = new Poller();
  poller.register(source);
  assertEquals(await poller.poll(0), []);
  poller.register(source, ALL_EVENTS);
  assertEquals(await poller.poll(0), [[source, POLLOUT]]);
});

Deno.test("Poller.register() replaces the mask when called twice", async () => {
  using source = new Socket(new MemoryStream("x"));
  using poller = new Poller();
  poller.register(source, POLLIN);
  poller.register(source, POLLOUT);
  assertEquals(poller.size, 1);
  assertEquals(await poller.poll(), [[source, POLLOUT]]);
});

for (const mask of [1.5, NaN, Infinity, "1", null, true, 1n]) {
  Deno.test(`Poller.register() rejects a mask of ${mask} (${typeof mask})`, () => {
    using source = new Socket(new MemoryStream());
    using poller = new Poller();
    assertThrows(() => poller.register(source, untyped(mask)), TypeError);
    assertEquals(poller.size, 0);
  });
}

for (const mask of [-1, 0x10000, -(2 ** 40), 2 ** 40]) {
  Deno.test(`Poller.register() rejects a mask of ${mask}`, () => {
    using source = new Socket(new MemoryStream());
    using poller = new Poller();
    assertThrows(() => poller.register(source, mask), RangeError);
    assertEquals(poller.size, 0);
  });
}

Deno.test("Poller.register() takes masks from 0 to 0xFFFF", async () => {
  using source = new Socket(new MemoryStream("x"));
  using poller = new Poller();
  poller.register(source, 0);
  assertEquals(await poller.poll(0), []);
  poller.register(source, 0xFFFF);
  assertEquals(await poller.poll(), [[source, POLLIN | POLLOUT]]);
});

Deno.test("Poller rejects what is not a source", () => {
  using poller = new Poller();
  for (const source of [null, undefined, 1, "x", {}, new MemoryStream(), Poller]) {
    assertThrows(() => poller.register(untyped(source)), TypeError);
    assertThrows(() => poller.modify(untyped(source), POLLIN), TypeError);
    assertThrows(() => poller.unregister(untyped(source)), TypeError);
  }
  assertEquals(poller.size, 0);
});

Deno.test("Poller.modify() replaces the mask", async () => {
  using source = new Socket(new MemoryStream("x"));
  using poller = new Poller();
  poller.register(source, POLLOUT);
  poller.modify(source, POLLIN);
  assertEquals(await poller.poll(), [[source, POLLIN]]);
  poller.modify(source, 0);
  assertEquals(await poller.poll(0), []);
});

Deno.test("Poller.modify() keeps the mask when the new one is invalid", async () => {
  using source = new Socket(new MemoryStream());
  using poller = new Poller();
  poller.register(source, POLLOUT);
  assertThrows(() => poller.modify(source, -1), RangeError);
  assertThrows(() => poller.modify(source, untyped(undefined)), TypeError);
  assertThrows(() => poller.register(source, 0x10000), RangeError);
  assertEquals(await poller.poll(), [[source, POLLOUT]]);
});

Deno.test("Poller throws NotFound for a source that is not registered", () => {
  using source = new Socket(new MemoryStream());
  using poller = new Poller();
  assertThrows(() => poller.modify(source, POLLIN), Deno.errors.NotFound);
  assertThrows(() => poller.unregister(source), Deno.errors.NotFound);
  poller.register(source);
  poller.unregister(source);
  assertThrows(() => poller.unregister(source), Deno.errors.NotFound);
  assertThrows(() => poller.modify(source, POLLIN), Deno.errors.NotFound);
});

Deno.test("Poller.size counts registered sources", () => {
  using one = new Socket(new MemoryStream());
  using two = new ServerSocket(new MemoryListener());
  using poller = new Poller();
  poller.register(one);
  poller.register(two);
  assertEquals(poller.size, 2);
  poller.unregister(one);
  assertEquals(poller.size, 1);
  poller.close();
  assertEquals(poller.size, 0);
});

Deno.test("Poller.unregister() drops a source that is ready", async () => {
  using source = new Socket(new MemoryStream("x"));
  using poller = new Poller();
  poller.register(source);
  await poller.poll();
  poller.unregister(source);
  assertEquals(await poller.poll(0), []);
});

Deno.test("Poller.unregister() works after the source was closed", async () => {
  const source = new Socket(new MemoryStream());
  using poller = new Poller();
  poller.register(source);
  source.close();
  poller.unregister(source);
  assertEquals(await poller.poll(0), []);
});

Deno.test("Poller.unregister() leaves what arrives later to the next reader", async () => {
  const stream = new MemoryStream();
  using source = new Socket(stream);
  using poller = new Poller();
  poller.register(source);
  await poller.poll(0);
  poller.unregister(source);
  stream.push("late");
  assertEquals(await poller.poll(0), []);
  poller.register(source);
  assertEquals(await poller.poll(), [[source, POLLIN]]);
  assertEquals(recvText(source), "late");
  assertEquals(stream.targets.length, 1);
});

Deno.test("Socket.recv() returns what arrived after nobody watched any more", async () => {
  const stream = new MemoryStream();
  using source = new Socket(stream);
  await select([source], [], [], 0);
  stream.push("late");
  await turn();
  assertEquals(recvText(source), "late");
  await turn();
  assertEquals(stream.targets.length, 1);
});

// -- Poller: readiness --

Deno.test("Poller.poll() reports sources in the order in which they became ready", async () => {
  const streams = Array.from({ length: 3 }, () => new MemoryStream());
  const [a, b, c] = streams.map((stream) => new Socket(stream)) as [Socket, Socket, Socket];
  using poller = pollerOf(a, b, c);
  await poller.poll(0);
  for (const i of [2, 0, 1]) {
    streams[i]!.push("x");
    await turn();
  }
  assertEquals(await poller.poll(), [[c, POLLIN], [a, POLLIN], [b, POLLIN]]);
  assertEquals(await poller.poll(), [[c, POLLIN], [a, POLLIN], [b, POLLIN]]);
  closeAll(a, b, c);
});

Deno.test("Poller.poll() lists a source that was read behind the others", async () => {
  using first = new Socket(new MemoryStream("12"));
  using second = new Socket(new MemoryStream("34"));
  using poller = pollerOf(first, second);
  assertEquals(await poller.poll(), [[first, POLLIN], [second, POLLIN]]);
  first.recv(1);
  assertEquals(await poller.poll(), [[second, POLLIN], [first, POLLIN]]);
  second.recv(1);
  assertEquals(await poller.poll(), [[first, POLLIN], [second, POLLIN]]);
});

Deno.test("Poller.poll() keeps the place of a source whose mask changes", async () => {
  using first = new Socket(new MemoryStream("1"));
  using second = new Socket(new MemoryStream("2"));
  using poller = pollerOf(first, second);
  await poller.poll();
  poller.modify(first, POLLIN | POLLOUT);
  assertEquals(await poller.poll(), [[first, POLLIN | POLLOUT], [second, POLLIN]]);
});

Deno.test("Poller.poll() puts all bits of a source into one entry", async () => {
  const stream = new MemoryStream();
  stream.end();
  using source = new Socket(stream);
  await select([source], [], []);
  assertEquals(await eventsNow(source), POLLIN | POLLOUT | POLLRDHUP);
});

for (const mask of [0, POLLIN, POLLPRI, POLLOUT, POLLRDHUP, POLLIN | POLLOUT, 0xFFFF]) {
  Deno.test(`Poller.poll() reports no more than the mask ${mask} asks for`, async () => {
    const stream = new MemoryStream();
    stream.end();
    using source = new Socket(stream);
    const expected = mask & (POLLIN | POLLOUT | POLLRDHUP);
    assertEquals(await eventsNow(source, mask), expected);
  });

  Deno.test(`Poller.poll() reports a failed read whatever the mask (${mask})`, async () => {
    const stream = new MemoryStream();
    stream.fail();
    using source = new Socket(stream);
    const asked = mask & (POLLIN | POLLOUT | POLLRDHUP);
    assertEquals(await eventsNow(source, mask), asked | POLLERR | POLLHUP);
  });

  Deno.test(`Poller.poll() reports a closed source whatever the mask (${mask})`, async () => {
    const source = new Socket(new MemoryStream());
    source.close();
    assertEquals(await eventsNow(source, mask), POLLNVAL);
  });
}

Deno.test("Poller.poll() sees a reset while it waits with mask 0", async () => {
  const stream = new MemoryStream();
  using source = new Socket(stream);
  using poller = new Poller();
  poller.register(source, 0);
  const waiting = poller.poll();
  await assertPending(waiting);
  stream.fail();
  assertEquals(await waiting, [[source, POLLERR | POLLHUP]]);
});

Deno.test("Poller.poll() reports POLLHUP without POLLERR once the reset was thrown", async () => {
  const stream = new MemoryStream();
  stream.fail();
  using source = new Socket(stream);
  await select([source], [], []);
  assertThrows(() => source.recv(1), Deno.errors.ConnectionReset);
  assertEquals(await eventsNow(source, POLLIN), POLLIN | POLLHUP);
  assertEquals(await eventsNow(source, 0), POLLHUP);
});

Deno.test("Poller.poll() reports end of file without POLLHUP while sending is open", async () => {
  const stream = new MemoryStream();
  stream.end();
  using source = new Socket(stream);
  assertEquals(await eventsNow(source), POLLIN | POLLOUT | POLLRDHUP);
  assertEquals(source.send(encode("still")), 5);
});

Deno.test("Poller.poll() reports POLLHUP when both directions are shut", async () => {
  const stream = new MemoryStream();
  using source = new Socket(stream);
  await source.shutdown();
  assertEquals(await eventsNow(source), POLLOUT);
  stream.end();
  assertEquals(await eventsNow(source, 0), POLLHUP);
  assertEquals(await eventsNow(source), POLLIN | POLLOUT | POLLHUP | POLLRDHUP);
});

Deno.test("Poller.poll() reports POLLNVAL at each call until unregistered", async () => {
  const source = new Socket(new MemoryStream());
  using poller = pollerOf(source);
  source.close();
  for (let i = 0; i < 3; i++) assertEquals(await poller.poll(), [[source, POLLNVAL]]);
  poller.unregister(source);
  assertEquals(await poller.poll(0), []);
});

Deno.test("Poller.poll() reports POLLNVAL for a source closed while it waits", async () => {
  const source = new Socket(new MemoryStream());
  const server = new ServerSocket(new MemoryListener());
  using poller = pollerOf(source, server);
  const waiting = poller.poll();
  await assertPending(waiting);
  source.close();
  server.close();
  assertEquals(await waiting, [[source, POLLNVAL], [server, POLLNVAL]]);
});

Deno.test("Poller.poll() reports to two pollers that watch one source", async () => {
  const stream = new MemoryStream();
  using source = new Socket(stream);
  using one = pollerOf(source);
  using two = pollerOf(source);
  const waits = [one.poll(), two.poll()];
  await Promise.all(waits.map(assertPending));
  stream.push("x");
  assertEquals(await Promise.all(waits), [[[source, POLLIN]], [[source, POLLIN]]]);
  assertEquals(stream.targets.length, 1);
  source.recv(1);
  assertEquals([await one.poll(0), await two.poll(0)], [[], []]);
});

Deno.test("Poller.poll() goes on with one poller when the other lets go", async () => {
  const stream = new MemoryStream();
  using source = new Socket(stream);
  using stays = pollerOf(source);
  const goes = pollerOf(source);
  const waiting = stays.poll();
  await goes.poll(0);
  goes.close();
  stream.push("x");
  assertEquals(await waiting, [[source, POLLIN]]);
});

Deno.test("Poller.poll() serves more sources than one step reads", async () => {
  const sources = Array.from({ length: 250 }, () => new Socket(talker()));
  using poller = pollerOf(...sources);
  const served = new Set<Source>();
  for (let i = 0; i < 10 && served.size < sources.length; i++) {
    for (const [source] of await poller.poll(0)) {
      (source as Socket).recv(10);
      served.add(source);
    }
  }
  assertEquals(served.size, sources.length);
  closeAll(...sources);
});

// -- Poller: waiting --

Deno.test("Poller.poll() lets a source registered while it waits join the next call", async () => {
  const stream = new MemoryStream();
  using source = new Socket(stream);
  using late = new Socket(new MemoryStream("x"));
  using poller = pollerOf(source);
  const waiting = poller.poll();
  poller.register(late);
  await assertPending(waiting);
  stream.push("x");
  assertEquals(await waiting, [[source, POLLIN]]);
  assertEquals(await poller.poll(), [[source, POLLIN], [late, POLLIN]]);
});

Deno.test("Poller.poll() applies a mask changed while it waits from the next call on", async () => {
  const stream = new MemoryStream();
  using source = new Socket(stream);
  using poller = pollerOf(source);
  const waiting = poller.poll();
  poller.modify(source, POLLIN | POLLOUT);
  await assertPending(waiting);
  stream.push("x");
  assertEquals(await waiting, [[source, POLLIN]]);
  assertEquals(await poller.poll(), [[source, POLLIN | POLLOUT]]);
});

Deno.test("Poller.poll() still reports a source unregistered while it waits", async () => {
  const stream = new MemoryStream();
  using source = new Socket(stream);
  using poller = pollerOf(source);
  const waiting = poller.poll();
  poller.unregister(source);
  assertEquals(poller.size, 0);
  await assertPending(waiting);
  stream.push("x");
  assertEquals(await waiting, [[source, POLLIN]]);
  assertEquals(await poller.poll(0), []);
});

Deno.test("Poller.poll() goes on with a source registered again while it waits", async () => {
  const stream = new MemoryStream();
  using source = new Socket(stream);
  using poller = pollerOf(source);
  const waiting = poller.poll();
  poller.unregister(source);
  poller.register(source, POLLIN | POLLOUT);
  await assertPending(waiting);
  stream.push("x");
  assertEquals(await waiting, [[source, POLLIN]]);
  assertEquals(await poller.poll(), [[source, POLLIN | POLLOUT]]);
});

Deno.test("Poller.poll() throws Busy while another call waits, which goes on", async () => {
  const stream = new MemoryStream();
  using source = new Socket(stream);
  using poller = pollerOf(source);
  const waiting = poller.poll();
  await assertRejects(() => poller.poll(0), Deno.errors.Busy);
  await assertRejects(() => poller.poll(), Deno.errors.Busy);
  stream.push("x");
  assertEquals(await waiting, [[source, POLLIN]]);
  assertEquals(await poller.poll(), [[source, POLLIN]]);
});

Deno.test("Poller.poll() checks its timeout before it throws Busy", async () => {
  using poller = new Poller();
  const waiting = poller.poll();
  await assertRejects(() => poller.poll(NaN), RangeError);
  await assertRejects(() => poller.poll(untyped("1")), TypeError);
  poller.wake();
  assertEquals(await waiting, []);
});

for (const timeoutMs of [-1, -0.1, -1e-100, -Infinity]) {
  Deno.test(`Poller.poll() waits for ever when the timeout is ${timeoutMs}`, async () => {
    using poller = new Poller();
    const waiting = poller.poll(timeoutMs);
    await assertPending(waiting);
    poller.wake();
    assertEquals(await waiting, []);
  });
}

Deno.test("Poller.poll() takes a timeout of -0 as 0", async () => {
  using poller = new Poller();
  assertEquals(await poller.poll(-0), []);
});

Deno.test("Poller.poll() sets no timer longer than timers can be", async () => {
  const { setTimeout } = globalThis;
  const delays: unknown[] = [];
  using stack = new DisposableStack();
  stack.defer(() => globalThis.setTimeout = setTimeout);
  globalThis.setTimeout = ((run: () => void, delay: number) => {
    delays.push(delay);
    return setTimeout(run, delay);
  }) as typeof setTimeout;
  using poller = new Poller();
  const waiting = poller.poll(1e15);
  await assertPending(waiting);
  poller.wake();
  await waiting;
  assertEquals(delays.filter((delay) => delay !== 0), [2 ** 31 - 1]);
});

Deno.test("Poller.poll() stays usable after it has thrown", async () => {
  using source = new Socket(new MemoryStream("x"));
  using poller = pollerOf(source);
  await assertRejects(() => poller.poll(NaN), RangeError);
  assertThrows(() => poller.register(source, -1), RangeError);
  assertThrows(() => poller.unregister(untyped(1)), TypeError);
  assertEquals(await poller.poll(), [[source, POLLIN]]);
});

Deno.test("Poller.poll() returns a new list at each call", async () => {
  using source = new Socket(new MemoryStream("x"));
  using poller = pollerOf(source);
  const first = await poller.poll();
  first.length = 0;
  assertEquals(await poller.poll(), [[source, POLLIN]]);
});

Deno.test("One Poller lets timers fire although there is always room to send", async () => {
  using source = new Socket(new MemoryStream());
  using poller = new Poller();
  poller.register(source, POLLOUT);
  await assertTimerFires(() => poller.poll());
});

Deno.test("One Poller lets timers fire although data stays unread", async () => {
  using source = new Socket(new MemoryStream("x"));
  using poller = pollerOf(source);
  await assertTimerFires(() => poller.poll());
});

Deno.test("Poller.poll() turns the loop before it repeats an answer", async () => {
  using source = new Socket(new MemoryStream("x"));
  using poller = pollerOf(source);
  await poller.poll();
  let turned = false;
  turn().then(() => turned = true);
  await poller.poll();
  assert(turned);
});

Deno.test("Poller.poll() lets timers fire although it is always woken", async () => {
  using poller = new Poller();
  await assertTimerFires(() => {
    poller.wake();
    return poller.poll();
  });
});

// -- Poller: wake and close --

Deno.test("Poller.wake() ends the current poll()", async () => {
  using source = new Socket(new MemoryStream());
  using poller = pollerOf(source);
  const waiting = poller.poll();
  await assertPending(waiting);
  poller.wake();
  assertEquals(await waiting, []);
});

Deno.test("Poller.wake() is remembered for the next poll(), once", async () => {
  using poller = new Poller();
  poller.wake();
  poller.wake();
  assertEquals(await poller.poll(), []);
  const waiting = poller.poll();
  await assertPending(waiting);
  poller.wake();
  poller.wake();
  assertEquals(await waiting, []);
  await assertPending(waiting.then(() => poller.poll()));
});

Deno.test("Poller.wake() does not hide a source that is ready", async () => {
  using source = new Socket(new MemoryStream("x"));
  using poller = pollerOf(source);
  poller.wake();
  assertEquals(await poller.poll(), [[source, POLLIN]]);
});

Deno.test("Poller.close() rejects the waiting poll() with BadResource", async () => {
  using source = new Socket(new MemoryStream());
  const poller = pollerOf(source);
  const waiting = poller.poll();
  await assertPending(waiting);
  poller.close();
  await assertRejects(() => waiting, Deno.errors.BadResource);
});

Deno.test("Poller throws BadResource after close()", async () => {
  using source = new Socket(new MemoryStream());
  const poller = pollerOf(source);
  poller.close();
  poller.close();
  poller[Symbol.dispose]();
  poller.wake();
  assertThrows(() => poller.register(source), Deno.errors.BadResource);
  assertThrows(() => poller.modify(source, POLLIN), Deno.errors.BadResource);
  assertThrows(() => poller.unregister(source), Deno.errors.BadResource);
  await assertRejects(() => poller.poll(0), Deno.errors.BadResource);
});

Deno.test("Poller.close() leaves sources open, with what they have read", async () => {
  const stream = new MemoryStream("kept");
  using source = new Socket(stream);
  const poller = pollerOf(source);
  await poller.poll();
  poller.close();
  assert(!stream.closed);
  assertEquals(recvText(source), "kept");
});

Deno.test("Poller.close() clears the timer of the waiting poll()", async () => {
  const poller = new Poller();
  const waiting = poller.poll(2000);
  await turn();
  poller.close();
  await assertRejects(() => waiting, Deno.errors.BadResource);
});

// -- Poller: fairness --

Deno.test("Poller.poll() serves sources that always talk equally", async () => {
  const sources = Array.from({ length: 5 }, () => new Socket(talker()));
  assertFair(await share(sources, (ready) => ready));
  closeAll(...sources);
});

Deno.test("Poller.poll() is fair even to a caller that serves only the first", async () => {
  const sources = Array.from({ length: 5 }, () => new Socket(talker()));
  assertFair(await share(sources, (ready) => ready.slice(0, 1)));
  closeAll(...sources);
});

Deno.test("Poller.poll() is fair between much and little unread data", async () => {
  const sources = [talker("x"), talker("x".repeat(2000))].map((stream) => new Socket(stream));
  assertFair(await share(sources, (ready) => ready.slice(0, 1)));
  closeAll(...sources);
});

/** How often each source is served in 5,000 rounds by a caller that picks from the ready ones. */
async function share<S extends Source>(
  sources: S[],
  pick: (ready: [Source, number][]) => [Source, number][],
): Promise<number[]> {
  using poller = pollerOf(...sources);
  const counts = new Map<Source, number>(sources.map((source) => [source, 0]));
  for (let i = 0; i < 5000; i++) {
    for (const [source] of pick(await poller.poll())) {
      (source as Socket).recv(1);
      counts.set(source, counts.get(source)! + 1);
    }
  }
  return [...counts.values()];
}

function assertFair(counts: number[]): void {
  assert(Math.min(...counts) >= 0.99 * Math.max(...counts), `unequal: ${counts}`);
  assert(Math.min(...counts) > 500, `served too seldom: ${counts}`);
}

// -- Socket: receiving --

Deno.test("Socket starts nothing before it is watched", async () => {
  const stream = new MemoryStream("x");
  using source = new Socket(stream);
  assertThrows(() => source.recv(1), Deno.errors.WouldBlock);
  await turn();
  assertThrows(() => source.recvInto(new Uint8Array(1)), Deno.errors.WouldBlock);
  assertEquals(stream.targets, []);
});

for (const max of [-1, 1.5, NaN, Infinity, undefined, "1", null]) {
  Deno.test(`Socket.recv() rejects a maximum of ${max} (${typeof max})`, () => {
    using source = new Socket(new MemoryStream());
    assertThrows(() => source.recv(untyped(max)), RangeError);
  });
}

Deno.test("Socket.recv() returns nothing at once when asked for 0 bytes", async () => {
  const stream = new MemoryStream();
  using source = new Socket(stream);
  assertEquals(source.recv(0), new Uint8Array(0));
  stream.fail();
  await select([source], [], []);
  assertEquals(source.recvInto(new Uint8Array(0)), 0);
  assertThrows(() => source.recv(1), Deno.errors.ConnectionReset);
});

Deno.test("Socket.recv() returns a copy that is the caller's", async () => {
  using source = new Socket(new MemoryStream("abc", "def"));
  await select([source], [], []);
  const first = source.recv(2);
  first.fill(0);
  assertEquals(recvText(source), "c");
  await select([source], [], []);
  const kept = source.recv(10);
  await select([source], [], [], 0);
  assertEquals(decode(kept), "def");
  assertEquals(kept.buffer.byteLength, 3);
});

Deno.test("Socket.recvInto() fills the front of its target", async () => {
  using source = new Socket(new MemoryStream("hello"));
  await select([source], [], []);
  const target = encode("......");
  assertEquals(source.recvInto(target.subarray(0, 2)), 2);
  assertEquals(decode(target), "he....");
  assertEquals(source.recvInto(target), 3);
  assertEquals(decode(target), "llo...");
});

Deno.test("Socket.recv() returns data before the error that came after it", async () => {
  const stream = new MemoryStream("last words");
  stream.fail(new Deno.errors.TimedOut("gone"));
  using source = new Socket(stream);
  await select([source], [], []);
  assertEquals(recvText(source), "last words");
  await select([source], [], []);
  assertThrows(() => source.recv(1), Deno.errors.TimedOut, "gone");
  assertEquals(recvText(source), "");
});

Deno.test("Socket treats a read() that throws as a failed read", async () => {
  using source = new Socket({
    read: () => {
      throw new SyntaxError("at once");
    },
  });
  assertEquals(await eventsNow(source), POLLIN | POLLRDHUP | POLLERR | POLLHUP);
  assertThrows(() => source.recv(1), SyntaxError, "at once");
  assertEquals(recvText(source), "");
});

for (const count of [-1, 1.5, NaN, Infinity, 1e6, "1", undefined, {}]) {
  Deno.test(`Socket treats a read() that returns ${count} (${typeof count}) as failed`, async () => {
    using source = new Socket({ read: () => Promise.resolve(untyped(count)) });
    assertEquals(await eventsNow(source, 0), POLLERR | POLLHUP);
    assertThrows(() => source.recv(1), RangeError, "Cannot receive");
    assertEquals(recvText(source), "");
  });
}

Deno.test("Socket reads more at once after a full read, less after two small ones", async () => {
  const stream = new MemoryStream("x".repeat(10_000), "x".repeat(90_000), "x", "x", "x");
  using source = new Socket(stream);
  const sizes = [];
  for (let i = 0; i < 5; i++) {
    await select([source], [], []);
    sizes.push(source.recv(100_000).length);
  }
  const [small, large] = [2048, 65536];
  assertEquals(sizes, [small, large, 1, 1, 1]);
  assertEquals(stream.targets, [small, large, large, large, small]);
});

// -- Socket: sending --

Deno.test("Socket.send() sends in order", async () => {
  const stream = new MemoryStream();
  using source = new Socket(stream);
  for (const text of ["one ", "two ", "three "]) {
    assertEquals(source.send(encode(text)), text.length);
  }
  await turn();
  assertEquals(source.send(encode("four")), 4);
  await source.shutdown();
  assertEquals(stream.received, "one two three four.");
});

Deno.test("Socket.send() goes on after a partial write", async () => {
  const stream = new MemoryStream();
  stream.maxWrite = 3;
  using source = new Socket(stream);
  source.send(encode("hello, "));
  source.send(encode("world"));
  await source.shutdown();
  assertEquals(stream.received, "hello, world.");
});

Deno.test("Socket.send() copies what it takes", async () => {
  const stream = new MemoryStream();
  stream.block();
  using source = new Socket(stream);
  const bytes = encode("mine");
  source.send(encode("first "));
  source.send(bytes);
  bytes.fill(0);
  stream.unblock();
  await source.shutdown();
  assertEquals(stream.received, "first mine.");
});

Deno.test("Socket.send() takes what fits below the high-water mark of 64 KiB", async () => {
  const stream = new MemoryStream();
  stream.block();
  using source = new Socket(stream);
  assertEquals(source.send(new Uint8Array(HIGH_WATER_BYTES - 1)), HIGH_WATER_BYTES - 1);
  assertEquals(await eventsNow(source), POLLOUT);
  assertEquals(source.send(encode("xyz")), 1);
  assertEquals(await eventsNow(source), 0);
  assertThrows(() => source.send(encode("x")), Deno.errors.WouldBlock);
  assertEquals(source.send(new Uint8Array(0)), 0);
  stream.unblock();
  assertEquals(await eventsOf(source, POLLOUT), POLLOUT);
  await source.shutdown();
  assertEquals(stream.received, "\0".repeat(HIGH_WATER_BYTES - 1) + "x.");
});

Deno.test("Socket.send() takes as many bytes as a partial write has freed", async () => {
  const stream = new MemoryStream();
  stream.maxWrite = 10;
  stream.block();
  using source = new Socket(stream);
  source.send(new Uint8Array(2 * HIGH_WATER_BYTES));
  stream.unblock();
  stream.block();
  assertEquals(await eventsNow(source), POLLOUT);
  assertEquals(source.send(new Uint8Array(100)), 10);
  stream.unblock();
});

Deno.test("Socket.send() rejects what is not a Uint8Array", () => {
  using source = new Socket(new MemoryStream());
  for (const bytes of ["x", [1], new ArrayBuffer(1), null]) {
    assertThrows(() => source.send(untyped(bytes)), TypeError);
  }
});

Deno.test("Socket.send() throws NotSupported when the stream has no write()", async () => {
  using source = new Socket(talker());
  assertThrows(() => source.send(encode("x")), Deno.errors.NotSupported);
  await source.shutdown();
  await select([source], [], []);
  assertEquals(await eventsNow(source), POLLIN);
});

for (const taken of [0, -1, 2, NaN]) {
  Deno.test(`Socket treats a write() of 1 byte that returns ${taken} as failed`, async () => {
    using source = new Socket({ ...quietStream(), write: () => Promise.resolve(taken) });
    source.send(encode("x"));
    assertEquals(await eventsNow(source, POLLOUT), POLLOUT | POLLERR);
    assertThrows(() => source.send(encode("x")), Deno.errors.WriteZero);
  });
}

Deno.test("Socket treats a write() that throws as a failed write", async () => {
  const write = () => {
    throw new SyntaxError("at once");
  };
  using source = new Socket({ ...quietStream(), write });
  source.send(encode("x"));
  assertEquals(await eventsNow(source, 0), POLLERR);
  assertThrows(() => source.send(encode("x")), SyntaxError);
});

Deno.test("Socket.send() throws the error of a failed write once, then BrokenPipe", async () => {
  const stream = new MemoryStream();
  stream.failWrites(new Deno.errors.ConnectionAborted("gone"));
  using source = new Socket(stream);
  source.send(encode("x"));
  assertEquals(await eventsNow(source), POLLOUT | POLLERR);
  assertThrows(() => source.send(encode("y")), Deno.errors.ConnectionAborted);
  assertEquals(await eventsNow(source), POLLOUT);
  assertThrows(() => source.send(encode("z")), Deno.errors.BrokenPipe);
});

Deno.test("Socket.recv() throws the error of a failed write when nothing has arrived", async () => {
  const stream = new MemoryStream();
  stream.failWrites(new Deno.errors.ConnectionAborted("gone"));
  using source = new Socket(stream);
  source.send(encode("x"));
  assertEquals(await select([], [], [source]), [[], [], [source]]);
  assertThrows(() => source.recv(1), Deno.errors.ConnectionAborted);
  assertThrows(() => source.recv(1), Deno.errors.WouldBlock);
  assertThrows(() => source.send(encode("x")), Deno.errors.BrokenPipe);
});

Deno.test("Socket.recv() returns data although a write has failed", async () => {
  const stream = new MemoryStream("data");
  stream.failWrites(new Deno.errors.ConnectionAborted("gone"));
  using source = new Socket(stream);
  source.send(encode("x"));
  await select([source], [], []);
  assertEquals(recvText(source), "data");
  assertThrows(() => source.recv(1), Deno.errors.ConnectionAborted);
});

Deno.test("Socket.shutdown() sends what is queued before the FIN, once", async () => {
  const stream = new MemoryStream();
  stream.block();
  using source = new Socket(stream);
  source.send(encode("one "));
  source.send(encode("two"));
  const shut = [source.shutdown(), source.shutdown()];
  await assertPending(Promise.race(shut));
  stream.unblock();
  await Promise.all([...shut, source.shutdown()]);
  assertEquals(stream.received, "one two.");
});

Deno.test("Socket.shutdown() makes send() throw BrokenPipe and leaves POLLOUT", async () => {
  const stream = new MemoryStream("data");
  stream.block();
  using source = new Socket(stream);
  const shut = source.shutdown();
  assertThrows(() => source.send(encode("x")), Deno.errors.BrokenPipe);
  assertEquals(await eventsNow(source), POLLIN | POLLOUT);
  stream.unblock();
  await shut;
  assertThrows(() => source.send(encode("x")), Deno.errors.BrokenPipe);
  assertEquals(recvText(source), "data");
});

Deno.test("Socket.shutdown() resolves when the FIN cannot be sent, and send() tells", async () => {
  const stream = new MemoryStream();
  stream.failWrites(new Deno.errors.ConnectionAborted("gone"));
  using source = new Socket(stream);
  await source.shutdown();
  assertEquals(await eventsNow(source), POLLOUT | POLLERR);
  assertThrows(() => source.send(encode("x")), Deno.errors.ConnectionAborted);
});

netTest("Socket.shutdown() ends a TCP connection after all that was sent", async () => {
  using pair = await tcpPair();
  using source = new Socket(pair.server);
  assertEquals(source.send(encode("goodbye")), 7);
  await source.shutdown();
  assertEquals(await new Response(pair.client.readable).text(), "goodbye");
  assertEquals(
    await eventsOf(source, ALL_EVENTS, POLLRDHUP),
    POLLIN | POLLOUT | POLLHUP | POLLRDHUP,
  );
});

// -- Sources: closing --

Deno.test("Socket throws BadResource after close()", async () => {
  const source = new Socket(new MemoryStream("x"));
  await select([source], [], []);
  source.close();
  for (const max of [0, 1]) assertThrows(() => source.recv(max), Deno.errors.BadResource);
  assertThrows(() => source.recvInto(new Uint8Array(1)), Deno.errors.BadResource);
  assertThrows(() => source.send(encode("x")), Deno.errors.BadResource);
  assertThrows(() => source.shutdown(), Deno.errors.BadResource);
});

Deno.test("Socket.close() may be called twice", async () => {
  let closings = 0;
  const source = new Socket({ ...quietStream(), close: () => closings++ });
  source.close();
  source.close();
  source[Symbol.dispose]();
  await source[Symbol.asyncDispose]();
  assertEquals(closings, 1);
});

Deno.test("Socket.close() drops what was not sent yet", async () => {
  const stream = new MemoryStream();
  stream.block();
  const source = new Socket(stream);
  stream.maxWrite = 5;
  source.send(encode("first and more"));
  source.send(encode("second"));
  source.close();
  stream.unblock();
  await turn();
  assertEquals(stream.received, "first");
});

Deno.test("Socket.close() forgives a stream that was closed behind its back", () => {
  const close = () => {
    throw new Deno.errors.BadResource("closed already");
  };
  new Socket({ ...quietStream(), close }).close();
  new ServerSocket({ accept: () => Promise.reject(), close }).close();
});

Deno.test("Socket.closed settles when the pending read has", async () => {
  const stream = new StubbornStream();
  const source = new Socket(stream);
  await select([source], [], [], 0);
  source.close();
  await assertPending(source.closed);
  stream.push("dropped");
  await source.closed;
  assertThrows(() => source.recv(10), Deno.errors.BadResource);
  assertEquals(await eventsNow(source), POLLNVAL);
});

Deno.test("Socket.closed settles when a late read fails", async () => {
  const stream = new StubbornStream();
  const source = new Socket(stream);
  await select([source], [], [], 0);
  source.close();
  const { closed } = source;
  stream.fail();
  await closed;
  assertEquals(await eventsNow(source), POLLNVAL);
});

Deno.test("Socket.closed stays pending while the socket is open", async () => {
  await using source = new Socket(new MemoryStream());
  await assertPending(source.closed);
});

Deno.test("ServerSocket.close() closes the connection that was accepted ahead", async () => {
  const listener = new MemoryListener();
  const server = new ServerSocket(listener);
  const stream = new MemoryStream();
  listener.connect(stream);
  await select([server], [], []);
  server.close();
  await server.closed;
  assert(stream.closed);
  assertThrows(() => server.accept(), Deno.errors.BadResource);
});

Deno.test("ServerSocket closes a connection accepted after close()", async () => {
  const { promise, resolve } = Promise.withResolvers<ByteStream>();
  const server = new ServerSocket({ accept: () => promise, close: () => {} });
  await select([server], [], [], 0);
  server.close();
  await assertPending(server.closed);
  const stream = new MemoryStream();
  resolve(stream);
  await server.closed;
  assert(stream.closed);
});

Deno.test("ServerSocket treats an accept() that throws as failed", async () => {
  const accept = () => {
    throw new SyntaxError("at once");
  };
  using server = new ServerSocket({ accept, close: () => {} });
  assertEquals(await eventsNow(server), POLLIN | POLLERR);
  assertThrows(() => server.accept(), SyntaxError);
});

Deno.test("ServerSocket accepts 16 connections ahead, one after the other, and no more", async () => {
  let accepts = 0;
  let pending = 0;
  const accept = async () => {
    accepts++;
    assertEquals(++pending, 1);
    await undefined;
    pending--;
    return new MemoryStream();
  };
  using poller = new Poller();
  using server = new ServerSocket({ accept, close: () => {} });
  assertThrows(() => server.accept(), Deno.errors.WouldBlock);
  poller.register(server);
  for (let i = 0; i < 40; i++) assertEquals(await poller.poll(), [[server, POLLIN]]);
  assertEquals(accepts, 16);
  for (let i = 0; i < 3; i++) server.accept().close();
  for (let i = 0; i < 40; i++) await poller.poll();
  assertEquals(accepts, 19);
});

Deno.test("ServerSocket.accept() returns what was accepted before it throws an error", async () => {
  const streams = [new MemoryStream(), new MemoryStream()];
  const accept = () => {
    const stream = streams.shift();
    return stream ? Promise.resolve(stream) : Promise.reject(new SyntaxError("no more"));
  };
  using poller = new Poller();
  using server = new ServerSocket({ accept, close: () => {} });
  poller.register(server);
  while ((await poller.poll())[0]?.[1] !== (POLLIN | POLLERR));
  server.accept().close();
  server.accept().close();
  assertThrows(() => server.accept(), SyntaxError);
});

Deno.test("ServerSocket stops accepting when it is not watched any more", async () => {
  let accepts = 0;
  const accept = () => Promise.resolve(new MemoryStream()).finally(() => accepts++);
  using poller = new Poller();
  using server = new ServerSocket({ accept, close: () => {} });
  poller.register(server);
  await poller.poll();
  poller.unregister(server);
  const before = accepts;
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert(accepts <= before + 1, `${accepts} accepts, ${before} before`);
});

Deno.test("Sources have ids that are positive and unique", () => {
  const ids = new Set<number>();
  let last = 0;
  for (let i = 0; i < 100; i++) {
    using socket = new Socket(new MemoryStream());
    using server = new ServerSocket(new MemoryListener());
    for (const { id } of [socket, server]) {
      assert(Number.isInteger(id) && id > last);
      ids.add(last = id);
    }
  }
  assertEquals(ids.size, 200);
});

netTest("ServerSocket.closed settles when its port is free", async () => {
  for (let i = 0; i < 20; i++) {
    const server = new ServerSocket(listenLocal());
    await select([server], [], [], 0);
    const { port } = server.addr as Deno.NetAddr;
    server.close();
    await server.closed;
    Deno.listen({ hostname: "127.0.0.1", port }).close();
  }
});

netTest("Socket.close() cancels the pending read of a TCP connection", async () => {
  using pair = await tcpPair();
  await using source = new Socket(pair.server);
  using poller = pollerOf(source);
  const waiting = poller.poll();
  await assertPending(waiting);
  source.close();
  assertEquals(await waiting, [[source, POLLNVAL]]);
  assertEquals(await pair.client.read(new Uint8Array(1)), null);
});

// -- Memory --

/** Heap growth in bytes over what `body` does in a process of its own, whose collector can be called. */
async function heapGrowth(body: string): Promise<number> {
  const poller = import.meta.resolve("./poller.ts");
  const script = `
    import { Poller, select, Socket } from ${JSON.stringify(poller)};
    const quiet = Array.from({ length: 100 }, () => new Socket({ read: () => new Promise(() => {}) }));
    const talker = new Socket({
      read: async () => {
        for (let i = 0; i < 8; i++) await undefined; // so late that a wait has begun
        return 1;
      },
    });
    const sources = [...quiet, talker];
    ${body}
    function heapUsed() {
      for (let i = 0; i < 3; i++) gc();
      return Deno.memoryUsage().heapUsed;
    }
    await run(events / 20);
    const before = heapUsed();
    await run(events);
    Deno.stdout.writeSync(new TextEncoder().encode(String(heapUsed() - before)));
    Deno.exit();`;
  await using child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-config", "--no-lock", "--v8-flags=--expose-gc", "-"],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  await new Blob([script]).stream().pipeTo(child.stdin);
  const growth = await new Response(child.stdout).text();
  assert(/^-?\d+$/.test(growth), `no figure: ${growth}`);
  return Number(growth);
}

Deno.test({
  name: "Poller.poll() keeps nothing of 1,000,000 events beside 100 quiet sources",
  ignore: !mayRun,
  fn: async () => {
    const growth = await heapGrowth(`
      const events = 1_000_000;
      const poller = new Poller();
      for (const source of sources) poller.register(source);
      async function run(rounds) {
        for (let i = 0; i < rounds; i++) {
          for (const [source] of await poller.poll()) source.recv(10);
        }
      }`);
    assert(growth < 2 * 1024 * 1024, `The heap grew by ${growth} bytes`);
  },
});

Deno.test({
  name: "select() leaves nothing on the losers of 5,000 races",
  ignore: !mayRun,
  fn: async () => {
    const growth = await heapGrowth(`
      const events = 5000;
      async function run(rounds) {
        for (let i = 0; i < rounds; i++) {
          await select(sources, [], []);
          talker.recv(10);
        }
      }`);
    assert(growth < 2 * 1024 * 1024, `The heap grew by ${growth} bytes`);
  },
});

// -- Python's select module --

const PYTHON_SCENARIOS = `
import json, select, socket

def pair():
    listener = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
    listener.close()
    return client, server

def events(source, wanted=0):
    poller = select.poll()
    if wanted:
        poller.register(source, wanted)
        poller.poll()
    poller.register(source, select.POLLIN | select.POLLPRI | select.POLLOUT | select.POLLRDHUP)
    mask = dict(poller.poll(0)).get(source.fileno(), 0)
    readable, writable, _ = select.select([source], [source], [], 0)
    return [mask, len(readable), len(writable)]

def scenarios():
    client, server = pair()
    yield "open", events(server)
    client.send(b"hello")
    yield "data", events(server, select.POLLIN)
    server.recv(1)
    yield "rest of the data", events(server)
    server.recv(10)
    yield "all read", events(server)
    client.shutdown(socket.SHUT_WR)
    yield "half-closed by the peer", events(server, select.POLLRDHUP)
    server.recv(10)
    yield "end of file read", events(server)
    server.shutdown(socket.SHUT_WR)
    yield "both shut", events(server, select.POLLHUP)

    client, server = pair()
    server.shutdown(socket.SHUT_WR)
    yield "half-closed by us", events(server)

    client, server = pair()
    server.setblocking(False)
    while select.select([], [server], [], 0.02)[1]:
        server.send(bytes(65536))
    yield "send buffer full", events(server)

    listener = socket.create_server(("127.0.0.1", 0))
    yield "listener", events(listener)
    client = socket.create_connection(listener.getsockname())
    yield "listener with a client", events(listener, select.POLLIN)

    client.setblocking(False)
    listener.close()
    yield "reset", events(client, select.POLLIN)
    try:
        client.recv(10)
    except ConnectionResetError:
        yield "reset taken", events(client)

    client, server = pair()
    poller = select.poll()
    poller.register(server, 0)
    server.close()
    yield "closed", [poller.poll(0)[0][1]]

print(json.dumps(dict(scenarios())))
`;

/** As `events` of the scenarios above: the event mask, then what select() says. */
async function mixedEvents(source: Source, wanted?: number): Promise<number[]> {
  if (wanted) await eventsOf(source, ALL_EVENTS, wanted);
  const mask = await eventsNow(source);
  const [readable, writable] = await select([source], [source], [], 0);
  return [mask, readable.length, writable.length];
}

async function scenarios(): Promise<Record<string, number[]>> {
  const seen: Record<string, number[]> = {};
  {
    using pair = await tcpPair();
    using source = new Socket(pair.server);
    seen["open"] = await mixedEvents(source);
    await pair.client.write(encode("hello"));
    seen["data"] = await mixedEvents(source, POLLIN);
    source.recv(1);
    seen["rest of the data"] = await mixedEvents(source);
    source.recv(10);
    seen["all read"] = await mixedEvents(source);
    await pair.client.closeWrite();
    seen["half-closed by the peer"] = await mixedEvents(source, POLLRDHUP);
    source.recv(10);
    seen["end of file read"] = await mixedEvents(source);
    source.shutdown();
    seen["both shut"] = await mixedEvents(source, POLLHUP);
  }
  {
    using pair = await tcpPair();
    using source = new Socket(pair.server);
    await source.shutdown();
    seen["half-closed by us"] = await mixedEvents(source);
  }
  {
    using pair = await tcpPair();
    using source = new Socket(pair.server);
    await fill(source);
    seen["send buffer full"] = await mixedEvents(source);
  }
  {
    const listener = listenLocal();
    using server = new ServerSocket(listener);
    seen["listener"] = await mixedEvents(server);
    using _client = await connect(listener);
    seen["listener with a client"] = await mixedEvents(server, POLLIN);
  }
  {
    using source = new Socket(await resetConnection());
    seen["reset"] = await mixedEvents(source, POLLIN);
    assertThrows(() => source.recv(10), Deno.errors.ConnectionReset);
    seen["reset taken"] = await mixedEvents(source);
    source.close();
    seen["closed"] = [await eventsNow(source, 0)];
  }
  return seen;
}

Deno.test({
  name: "select() and Poller report the same events as Python's select module",
  ignore: !(hasPython && mayListen),
  fn: async () => {
    const { stdout } = await new Deno.Command("python3", { args: ["-c", PYTHON_SCENARIOS] })
      .output();
    assertEquals(await scenarios(), JSON.parse(decode(stdout)));
  },
});

// -- Regressions --

for (const [name, wait] of [["select()", waitBySelect], ["Poller.poll()", waitByPoll]] as const) {
  Deno.test(`${name} asks again after a read of 0 bytes that settles at once`, async () => {
    using source = new Socket(new MemoryStream("", "", "x"));
    assertEquals(await wait([source], POLLIN), [[source, POLLIN]]);
    assertEquals(recvText(source), "x");
  });

  Deno.test(`${name} lets timers fire although reads of 0 bytes never end`, async () => {
    using source = new Socket({ read: () => Promise.resolve(0) });
    assertEquals(await wait([source], POLLIN, 5), []);
  });

  Deno.test(`${name} reads on when somebody else takes the data while it wakes`, async () => {
    const stream = new MemoryStream("stolen", "next");
    using source = new Socket(stream);
    const waiting = wait([source], POLLIN);
    for (let stolen = ""; stolen === "";) {
      await undefined;
      try {
        stolen = recvText(source);
      } catch (error) {
        assert(error instanceof Deno.errors.WouldBlock);
      }
    }
    assertEquals(await waiting, [[source, POLLIN]]);
    assertEquals(recvText(source), "next");
  });
}

Deno.test("Socket gives the buffer of a cancelled read back", async () => {
  const full = "x".repeat(2048);
  for (let i = 0; i < 200; i++) {
    await using source = new Socket(new MemoryStream(full));
    await select([source], [], []);
    source.recv(2048);
    await select([source], [], [], 0);
  }
  const stream = new MemoryStream(full);
  await using source = new Socket(stream);
  await select([source], [], []);
  source.recv(2048);
  await select([source], [], [], 0);
  assertEquals(stream.targets, [2048, 65536]);
});

Deno.test("Socket takes the count of a read() that returns no promise", async () => {
  using source = new Socket({ read: () => untyped(3) });
  assertEquals(await eventsNow(source, 0), 0);
  assertEquals(recvText(source).length, 3);
});

Deno.test("Socket.shutdown() settles at close() although a write is stuck", async () => {
  const stream = new MemoryStream();
  stream.block();
  const source = new Socket(stream);
  source.send(encode("x"));
  const shut = source.shutdown();
  source.close();
  await shut;
  stream.unblock();
});

Deno.test("Socket.close() tells pollers although close() of the stream throws", async () => {
  const close = () => {
    throw new SyntaxError("broken");
  };
  const source = new Socket({ ...quietStream(), close });
  using poller = pollerOf(source);
  const waiting = poller.poll(500);
  await turn();
  assertThrows(() => source.close(), SyntaxError);
  assertEquals(await waiting, [[source, POLLNVAL]]);
});

// -- server: helpers --

const NOW_MS = Date.UTC(2026, 10, 22, 23, 31, 5, 123);
const MULTIPLEXERS = ["poll", "select"] as const;

const lacks = (...names: ("net" | "read" | "write" | "run" | "sys")[]) =>
  names.some((name) => Deno.permissions.querySync({ name }).state !== "granted");
const noNet = lacks("net");
const noFiles = lacks("net", "read", "write");
const noRun = lacks("net", "read", "write", "run", "sys");
const noSignals = noRun || Deno.build.os === "windows";

/** Whether a program is installed; what it says to `--version` does not matter. */
function hasProgram(name: string): boolean {
  if (noRun) return false;
  try {
    const quiet = { stdin: "null", stdout: "null", stderr: "null" } as const;
    new Deno.Command(name, { args: ["--version"], ...quiet }).outputSync();
    return true;
  } catch {
    return false;
  }
}

function hasIpv6(): boolean {
  if (noNet) return false;
  try {
    Deno.listen({ hostname: "::1", port: 0 }).close();
    return true;
  } catch {
    return false;
  }
}

function utf8(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}

/** One character a byte, so that bytes can be compared as text. */
function latin1(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
}

function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

/** Numbers from 0 to below `limit`, the same at every run (mulberry32). */
function randomNumbers(seed: number): (limit: number) => number {
  return (limit) => {
    seed = seed + 0x6D2B79F5 | 0;
    let t = Math.imul(seed ^ seed >>> 15, 1 | seed);
    t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t;
    return ((t ^ t >>> 14) >>> 0) % limit;
  };
}

async function writeAll(writer: { write(p: Uint8Array): Promise<number> }, bytes: Uint8Array) {
  for (let sent = 0; sent < bytes.length;) sent += await writer.write(bytes.subarray(sent));
}

/** Reads until there are `count` bytes or the end. */
async function readUpTo(conn: Deno.Conn, count: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(count);
  let length = 0;
  while (length < count) {
    const read = await conn.read(bytes.subarray(length));
    if (read === null) break;
    length += read;
  }
  return bytes.subarray(0, length);
}

/** Takes what is written, and lets a test wait for it. */
class Capture {
  #text = "";
  readonly #waiting = new Set<() => void>();

  write(bytes: Uint8Array): Promise<number> {
    return Promise.resolve(this.writeSync(bytes));
  }

  writeSync(bytes: Uint8Array): number {
    this.#text += latin1(bytes);
    for (const check of this.#waiting) check();
    return bytes.length;
  }

  /** One character a byte. */
  get binary(): string {
    return this.#text;
  }

  get text(): string {
    return new TextDecoder().decode(bytesOf(this.#text));
  }

  /** Lines with what differs between runs, ports and durations, made equal. */
  get lines(): string[] {
    return this.text.split("\n").slice(0, -1).map((line) =>
      line.replace(/(127\.0\.0\.1|\[::1\]):\d+/, "$1:PORT").replace(/"port":\d+/, `"port":1`)
        .replace(/ \d+\.\d s\b/, " 0.0 s").replace(/"seconds":[\d.]+/, `"seconds":0`)
    );
  }

  count(part: string): number {
    return this.#text.split(part).length - 1;
  }

  /** Waits until `part` is there `count` times. */
  async until(part: string, count = 1): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const check = () => this.count(part) >= count && resolve();
    this.#waiting.add(check);
    check();
    await promise;
    this.#waiting.delete(check);
  }
}

/** A server in this process, with its output captured and its clock standing still. */
async function serve(args: readonly string[], overrides: Partial<Io> = {}) {
  const out = new Capture();
  const err = new Capture();
  const io: Io = {
    stdout: out,
    stderr: err,
    wantsColor: false,
    now: () => NOW_MS,
    exit: (code) => {
      throw new Error(`exit(${code})`);
    },
    ...overrides,
  };
  const where = args.includes("--unix") ? [] : ["--port", "0"];
  const server = await startServer(parseConfig([...where, ...args]), io);
  const [addr] = server.addrs;
  const { hostname, port } = { hostname: "127.0.0.1", port: 0, ...addr } as Deno.NetAddr;
  return {
    server,
    out,
    err,
    port,
    connect: () => Deno.connect({ hostname: hostname === "::" ? "127.0.0.1" : hostname, port }),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/** The lines logged of one client that sends `bytes` and ends. */
async function logOf(args: readonly string[], bytes: Uint8Array): Promise<string[]> {
  await using running = await serve(["--time", "none", ...args]);
  using client = await running.connect();
  await writeAll(client, bytes);
  await client.closeWrite();
  await running.out.until("disconnected");
  return running.out.lines;
}

/** A directory that is gone after the test. */
function tempDir() {
  const path = Deno.makeTempDirSync({ prefix: "earshot-" });
  return { path, [Symbol.dispose]: () => Deno.removeSync(path, { recursive: true }) };
}

interface CliOptions {
  readonly permissions?: readonly string[];
  /** Whether stdout is read, left alone, or closed. */
  readonly stdout?: "read" | "unread" | "closed";
  /** Most descriptors that the process may have; needs a shell. */
  readonly descriptors?: number;
}

/** The command as a process. Disposing kills it. */
function spawnCli(args: readonly string[], options: CliOptions = {}) {
  const { permissions = ["--allow-all"], stdout = "read" } = options;
  const script = new URL("./main.ts", import.meta.url).href;
  const command = [Deno.execPath(), "run", "--quiet", "--no-prompt", ...permissions, script];
  const limit = `ulimit -n ${options.descriptors}; exec "$0" "$@"`;
  const [program, ...rest] = options.descriptors ? ["sh", "-c", limit, ...command] : command;
  const child = new Deno.Command(program!, {
    args: [...rest, ...args],
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const out = new Capture();
  const err = new Capture();
  const collect = async (stream: ReadableStream<Uint8Array>, capture: Capture) => {
    for await (const bytes of stream) capture.writeSync(bytes);
  };
  const collecting = [collect(child.stderr, err)];
  if (stdout === "read") collecting.push(collect(child.stdout, out));
  if (stdout === "closed") collecting.push(child.stdout.cancel());
  const ended = async () => {
    const { code } = await child.status;
    await Promise.all(collecting);
    return code;
  };
  let isUnread = stdout === "unread";
  return {
    pid: child.pid,
    out,
    err,
    /** Starts to read stdout that was left alone. */
    read(): Promise<void> {
      isUnread = false;
      return collect(child.stdout, out);
    },
    kill: (signal: Deno.Signal) => child.kill(signal),
    /** Waits for the end and all output; resolves to the exit status. */
    ended,
    async port(): Promise<number> {
      await err.until("listening on 127.0.0.1:");
      await err.until("\n");
      return Number(/127\.0\.0\.1:(\d+)/.exec(err.text)![1]);
    },
    async [Symbol.asyncDispose]() {
      try {
        child.kill("SIGKILL");
      } catch {
        // It has ended.
      }
      if (isUnread) await child.stdout.cancel();
      await ended();
    },
  };
}

async function connectTo(port: number) {
  return await Deno.connect({ hostname: "127.0.0.1", port });
}

/** Waits for what only looking can tell, such as a file. */
async function untilTrue(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 10));
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

// -- parseConfig() --

const DEFAULT_CONFIG: Config = {
  action: "serve",
  ports: [1234],
  host: "127.0.0.1",
  unixPaths: [],
  tls: undefined,
  backlog: 4096,
  reusePort: false,
  maxConnections: 1000,
  allow: [],
  deny: [],
  idleTimeoutMs: 0,
  framing: "newline",
  maxLineBytes: 65536,
  format: "text",
  time: "utc",
  color: "auto",
  output: undefined,
  echo: false,
  quiet: false,
  statsMs: 0,
  multiplexer: "poll",
};

const GOOD: [args: string, expected: Partial<Config>][] = [
  ["", {}],
  ["-p 5140", { ports: [5140] }],
  ["--port=0", { ports: [0] }],
  ["-p65535", { ports: [65535] }],
  ["-p 1 --port 2 -p 1", { ports: [1, 2, 1] }],
  ["-H 0.0.0.0", { host: "0.0.0.0" }],
  ["--host [::1]", { host: "::1" }],
  ["-u /run/a -u b", { unixPaths: ["/run/a", "b"], ports: [] }],
  ["-u /run/a -p 5", { unixPaths: ["/run/a"], ports: [5] }],
  ["--tls-cert c.pem --tls-key k.pem", { tls: { certFile: "c.pem", keyFile: "k.pem" } }],
  ["--backlog 1", { backlog: 1 }],
  ["--reuse-port", { reusePort: true }],
  ["-m 2147483647", { maxConnections: 2147483647 }],
  ["--allow 10.0.0.0/8 --allow fd00::/8", { allow: ["10.0.0.0/8", "fd00::/8"] }],
  ["--deny ::ffff:10.0.0.0/104", { deny: ["::ffff:10.0.0.0/104"] }],
  ["-i 30", { idleTimeoutMs: 30_000 }],
  ["-i .5", { idleTimeoutMs: 500 }],
  ["--idle-timeout 0.0001", { idleTimeoutMs: 1 }],
  ["--framing nul", { framing: "nul" }],
  ["--max-line 1", { maxLineBytes: 1 }],
  ["-f raw -f json", { format: "json" }],
  ["-t elapsed", { time: "elapsed" }],
  ["--color never", { color: "never" }],
  ["-o -", { output: "-" }],
  ["-eq", { echo: true, quiet: true }],
  ["-eqp 7", { echo: true, quiet: true, ports: [7] }],
  ["--echo --echo", { echo: true }],
  ["--stats 2.5", { statsMs: 2500 }],
  ["--multiplexer select", { multiplexer: "select" }],
];

Deno.test("parseConfig() takes every option", () => {
  for (const [args, expected] of GOOD) {
    const actual = parseConfig(args.split(" ").filter(Boolean));
    assertEquals(actual, { ...DEFAULT_CONFIG, ...expected }, args);
  }
});

const COUNT = "expected an integer from 1 to 2147483647";
const PORT = "expected an integer from 0 to 65535";
const NETWORK = "expected an address or a network, such as 10.0.0.0/8 or fd00::/8";
const SECONDS = "expected a number of seconds, 0 for never";

const BAD: [args: string[], message: string][] = [
  [["--prot", "1"], `Unknown option "--prot"`],
  [["-x"], `Unknown option "-x"`],
  [["-ofile"], `Unknown option "-ofile"`],
  [["--no-echo"], `Unknown option "--no-echo"`],
  [["--constructor"], `Unknown option "--constructor"`],
  [["--__proto__", "x"], `Unknown option "--__proto__"`],
  [["-_"], `Unknown option "-_"`],
  [["--_", "x"], `Unknown option "--_"`],
  [["stray"], `Cannot use argument "stray": only options are taken`],
  [["-"], `Cannot use argument "-": only options are taken`],
  [["--", "stray"], `Cannot use argument "stray": only options are taken`],
  [["-p", "1", "2"], `Cannot use argument "2": only options are taken`],
  [["--echo", "no"], `Cannot use argument "no": only options are taken`],
  [["--echo=no"], `Option "--echo" takes no value: got "no"`],
  [["--port"], `Option "--port" needs a value: ${PORT}`],
  [["--port="], `Option "--port" needs a value: ${PORT}`],
  [["-p", ""], `Option "--port" needs a value: ${PORT}`],
  [["-p", "--echo"], `Option "--port" needs a value: ${PORT}`],
  [["-p", "abc"], `Cannot use --port "abc": ${PORT}`],
  [["-p", "-1"], `Cannot use --port "-1": ${PORT}`],
  [["-p", "65536"], `Cannot use --port "65536": ${PORT}`],
  [["-p", "1.5"], `Cannot use --port "1.5": ${PORT}`],
  [["-p", "0x50"], `Cannot use --port "0x50": ${PORT}`],
  [["-p", "5", "-p", "x"], `Cannot use --port "x": ${PORT}`],
  [
    ["-H", ""],
    `Option "--host" needs a value: expected an address, such as 127.0.0.1, 0.0.0.0 or ::`,
  ],
  [["-u"], `Option "--unix" needs a value: expected the path of a socket`],
  [["-o", ""], `Option "--output" needs a value: expected the path of a file`],
  [["--tls-cert"], `Option "--tls-cert" needs a value: expected a file in PEM format`],
  [["--backlog", "0"], `Cannot use --backlog "0": ${COUNT}`],
  [["-m", "2147483648"], `Cannot use --max-connections "2147483648": ${COUNT}`],
  [["--max-line", "64k"], `Cannot use --max-line "64k": ${COUNT}`],
  [["-i", "1e3"], `Cannot use --idle-timeout "1e3": ${SECONDS}`],
  [["-i", "-5"], `Cannot use --idle-timeout "-5": ${SECONDS}`],
  [["--stats", "soon"], `Cannot use --stats "soon": ${SECONDS}`],
  [["--framing", "lf"], `Cannot use --framing "lf": expected newline, nul, octet or none`],
  [["-f", "xml"], `Cannot use --format "xml": expected text, json, raw or hex`],
  [["-t", "gmt"], `Cannot use --time "gmt": expected utc, local, elapsed or none`],
  [["--color", "yes"], `Cannot use --color "yes": expected auto, always or never`],
  [["--multiplexer", "epoll"], `Cannot use --multiplexer "epoll": expected poll or select`],
  [["--allow", "10.0.0.0/33"], `Cannot use --allow "10.0.0.0/33": ${NETWORK}`],
  [["--allow", "example.org"], `Cannot use --allow "example.org": ${NETWORK}`],
  [["--allow", "fe80::1%eth0"], `Cannot use --allow "fe80::1%eth0": ${NETWORK}`],
  [["--deny", "10.0.0.0/"], `Cannot use --deny "10.0.0.0/": ${NETWORK}`],
  [["--deny", "::ffff:10.0.0.0/90"], `Cannot use --deny "::ffff:10.0.0.0/90": ${NETWORK}`],
  [["--tls-cert", "c"], "--tls-cert and --tls-key go together: give both or neither"],
  [["--tls-key", "k"], "--tls-cert and --tls-key go together: give both or neither"],
  [
    ["-u", "s", "--tls-cert", "c", "--tls-key", "k"],
    "--tls-cert is for TCP ports: add --port",
  ],
  [["-u", "s", "--reuse-port"], "--reuse-port is for TCP ports: add --port"],
  [
    ["--framing", "nul", "-f", "raw"],
    "--framing does not go with --format raw: it takes reads as they come",
  ],
  [
    ["--max-line", "9", "-f", "hex"],
    "--max-line does not go with --format hex: it takes reads as they come",
  ],
];

for (const [args, message] of BAD) {
  Deno.test(`parseConfig() says what is right when given ${JSON.stringify(args)}`, () => {
    const error = assertThrows(() => parseConfig(args), UsageError);
    assertEquals(error.message, message);
  });
}

Deno.test("parseConfig() lets --help and --version win over everything else", () => {
  assertEquals(parseConfig(["--nonsense", "-h"]).action, "help");
  assertEquals(parseConfig(["stray", "--version"]).action, "version");
  assertEquals(parseConfig(["-V", "--help"]).action, "help");
  assertEquals(parseConfig(["--tls-cert", "c", "-h"]).action, "help");
  assertEquals(parseConfig(["--port", "abc", "--help"]).action, "help");
});

Deno.test("usage() lists every option", () => {
  const text = usage();
  const options = [
    ...["-p, --port", "-H, --host", "-u, --unix", "--tls-cert", "--tls-key", "--backlog"],
    ...["--reuse-port", "-m, --max-connections", "--allow", "--deny", "-i, --idle-timeout"],
    ...["--framing", "--max-line", "-f, --format", "-t, --time", "--color", "-o, --output"],
    ...["-q, --quiet", "-e, --echo", "--stats", "--multiplexer", "-h, --help", "-V, --version"],
  ];
  for (const option of options) assertMatch(text, new RegExp(`^ +${option}\\b`, "m"));
});

Deno.test("usage() fits 100 columns", () => {
  assertEquals(usage().split("\n").filter((line) => line.length > 100), []);
});

Deno.test("usage() takes its defaults from DEFAULTS, as parseConfig() does", () => {
  const text = usage().replaceAll(/\s+/g, " ");
  for (const [name, value] of Object.entries(DEFAULTS)) {
    if (name !== "color") assert(text.includes(`(default ${value}`), name);
  }
  assertEquals(parseConfig(Object.entries(DEFAULTS).flatMap(([k, v]) => [`--${k}`, v])), {
    ...parseConfig([]),
  });
});

// -- framing --

type Frame = [text: string, isWhole: boolean];

/** The frames of `reads`, one character a byte, and why the input was given up. */
function framesOf(framing: Config["framing"], maxBytes: number, reads: readonly Uint8Array[]) {
  const frames: Frame[] = [];
  const framer = createFramer(framing, maxBytes);
  const sink = (bytes: Uint8Array, start: number, end: number, isWhole: boolean) => {
    frames.push([latin1(bytes.subarray(start, end)), isWhole]);
  };
  for (const read of reads) {
    // A copy that is overwritten afterwards: a framer must not keep its input.
    const bytes = read.slice();
    const reason = framer.push(bytes, sink);
    bytes.fill(0x21);
    if (reason !== undefined) return { frames, reason };
  }
  framer.end(sink);
  return { frames, reason: undefined };
}

/** The input in one read, byte by byte, and in two reads cut everywhere. */
function* everySplit(input: Uint8Array): Generator<Uint8Array[]> {
  yield [input];
  yield Array.from(input, (byte) => Uint8Array.of(byte));
  for (let at = 1; at < input.length; at++) yield [input.subarray(0, at), input.subarray(at)];
}

function octetFrame(message: string): string {
  return `${utf8(message).length} ${message}`;
}

const WHOLE = true;
const CUT = false;

const FRAMED: [framing: Config["framing"], maxBytes: number, input: string, frames: Frame[]][] = [
  ["newline", 99, "", []],
  ["newline", 99, "\n", [["", WHOLE]]],
  ["newline", 99, "one\ntwo\r\n\r\nthree", [
    ["one", WHOLE],
    ["two", WHOLE],
    ["", WHOLE],
    ["three", CUT],
  ]],
  ["newline", 99, "a\rb\r\r\nc\r", [["a\rb\r", WHOLE], ["c\r", CUT]]],
  ["newline", 99, "a\0b\n", [["a\0b", WHOLE]]],
  ["newline", 4, "1234\r\n", [["1234", WHOLE]]],
  ["newline", 4, "1234\n", [["1234", WHOLE]]],
  ["newline", 4, "12345\r\n", [["1234", CUT], ["5", WHOLE]]],
  ["newline", 4, "12345678\r\nx\n", [["1234", CUT], ["5678", WHOLE], ["x", WHOLE]]],
  ["newline", 4, "1234\r5\n", [["1234", CUT], ["\r5", WHOLE]]],
  ["newline", 4, "1234\r", [["1234", CUT], ["\r", CUT]]],
  ["newline", 4, "123456789", [["1234", CUT], ["5678", CUT], ["9", CUT]]],
  ["newline", 4, "123\xE2\x82\xAC4\n", [["123", CUT], ["\xE2\x82\xAC4", WHOLE]]],
  ["newline", 5, "1\xF0\x9F\x98\x80\xF0\x9F\x98\x80\n", [
    ["1\xF0\x9F\x98\x80", CUT],
    ["\xF0\x9F\x98\x80", WHOLE],
  ]],
  ["newline", 2, "\x80\x80\x80\x80\x80\n", [["\x80\x80", CUT], ["\x80\x80", CUT], ["\x80", WHOLE]]],
  ["nul", 99, "one\0two\r\n\0\0three", [
    ["one", WHOLE],
    ["two\r\n", WHOLE],
    ["", WHOLE],
    ["three", CUT],
  ]],
  ["nul", 4, "123\r\0", [["123\r", WHOLE]]],
  ["nul", 4, "12345\0", [["1234", CUT], ["5", WHOLE]]],
  ["octet", 99, "5 hello3 a\nb1 \n", [["hello", WHOLE], ["a\nb", WHOLE], ["\n", WHOLE]]],
  ["octet", 99, "5 hello\n3 abc\n2 de", [["hello", WHOLE], ["abc", WHOLE], ["de", WHOLE]]],
  ["octet", 99, "9 hello", [["hello", CUT]]],
  ["octet", 99, "12345678 hello", [["hello", CUT]]],
  ["octet", 99, "5 hello12", [["hello", WHOLE], ["12", CUT]]],
  ["octet", 4, "9 1234567893 abc", [["1234", CUT], ["5678", CUT], ["9", WHOLE], ["abc", WHOLE]]],
  ["octet", 4, "4 1234", [["1234", WHOLE]]],
  ["octet", 4, "8 123\xE2\x82\xAC45", [["123", CUT], ["\xE2\x82\xAC4", CUT], ["5", WHOLE]]],
];

for (const [framing, maxBytes, input, frames] of FRAMED) {
  Deno.test(`createFramer() cuts ${JSON.stringify(input)} the same when split anywhere (${framing}, ${maxBytes})`, () => {
    for (const reads of everySplit(bytesOf(input))) {
      assertEquals(framesOf(framing, maxBytes, reads), { frames, reason: undefined });
    }
  });
}

const BAD_COUNTS: [input: string, good: string[], rest: string][] = [
  ["hello world", [], "hello world"],
  ["05 hello", [], "05 hello"],
  ["0 ", [], "0 "],
  [" 5 hello", [], " 5 hello"],
  ["\n5 hello", [], "\n5 hello"],
  ["123456789 x", [], "123456789 x"],
  ["5x hello", [], "5x hello"],
  ["5 hello\n\n3 abc", ["hello"], "\n3 abc"],
  ["5 hello\r\n3 abc", ["hello"], "\r\n3 abc"],
  ["5 hello3 abc-1 x", ["hello", "abc"], "-1 x"],
];

for (const [input, good, rest] of BAD_COUNTS) {
  Deno.test(`createFramer() gives what came when the octet count is bad: ${JSON.stringify(input)}`, () => {
    const whole = good.map((text): Frame => [text, WHOLE]);
    const cut: Frame = [rest, CUT];
    const expected = { frames: [...whole, cut], reason: "bad octet count" };
    assertEquals(framesOf("octet", 99, [bytesOf(input)]), expected);
    for (const reads of everySplit(bytesOf(input))) {
      const { frames, reason } = framesOf("octet", 99, reads);
      const [last, isWhole] = frames.pop()!;
      assertEquals([frames, isWhole, reason], [whole, CUT, "bad octet count"]);
      assert(last.length > 0 && rest.startsWith(last), last);
    }
  });
}

Deno.test("createFramer() gives each read as it comes when framing is none", () => {
  const input = bytesOf("one\ntwo\r\nthree\0");
  for (const reads of everySplit(input)) {
    const frames = reads.map((read): Frame => [latin1(read), WHOLE]);
    assertEquals(framesOf("none", 99, reads).frames, frames);
  }
  assertEquals(framesOf("none", 4, [bytesOf("123456789")]).frames, [
    ["1234", CUT],
    ["5678", CUT],
    ["9", WHOLE],
  ]);
});

Deno.test("createFramer() loses nothing of random data, however it is read", () => {
  const random = randomNumbers(1);
  const alphabet = [
    ..."\n\n\r\r\0a",
    "\xC3",
    "\xA9",
    "\xE2",
    "\x82",
    "\xAC",
    "\xF0",
    "\x9F",
    "\xFF",
  ];
  for (let run = 0; run < 300; run++) {
    const input = bytesOf(
      Array.from({ length: random(60) }, () => alphabet[random(alphabet.length)]).join(""),
    );
    const maxBytes = 1 + random(12);
    for (const framing of ["newline", "nul"] as const) {
      const { frames } = framesOf(framing, maxBytes, [input]);
      for (const reads of everySplit(input)) {
        assertEquals(framesOf(framing, maxBytes, reads).frames, frames);
      }
      const end = framing === "nul" ? "\0" : "\n";
      const joined = frames.map(([text, isWhole]) => isWhole ? text + end : text).join("");
      const expected = latin1(input);
      assertEquals(joined, framing === "nul" ? expected : expected.replaceAll("\r\n", "\n"));
      for (const [text] of frames) assert(text.length <= maxBytes);
    }
  }
});

Deno.test("createFramer() gives back random messages when they are counted", () => {
  const random = randomNumbers(2);
  for (let run = 0; run < 100; run++) {
    const messages = Array.from(
      { length: 1 + random(5) },
      () => Array.from({ length: 1 + random(15) }, () => "\n 09é€😀"[random(5)]).join(""),
    );
    const end = () => random(2) === 0 ? "\n" : "";
    const input = utf8(messages.map((text) => octetFrame(text) + end()).join(""));
    const frames = messages.map((text): Frame => [latin1(utf8(text)), WHOLE]);
    for (const reads of everySplit(input)) {
      assertEquals(framesOf("octet", 99, reads), { frames, reason: undefined });
    }
  }
});

Deno.test("createFramer() cuts between characters, at most 3 bytes early", () => {
  const text = "aé€😀€éa😀".repeat(20);
  for (let maxBytes = 4; maxBytes < 20; maxBytes++) {
    for (const reads of [[utf8(text)], Array.from(utf8(text), (byte) => Uint8Array.of(byte))]) {
      const { frames } = framesOf("newline", maxBytes, reads);
      const strict = new TextDecoder("utf-8", { fatal: true });
      assertEquals(frames.map(([piece]) => strict.decode(bytesOf(piece))).join(""), text);
      for (const [piece] of frames.slice(0, -1)) {
        assert(piece.length <= maxBytes && piece.length >= maxBytes - 3);
      }
    }
  }
});

// -- records --

Deno.test({
  name: "startServer() shows control characters and does not obey them",
  ignore: noNet,
  async fn() {
    const shown: [sent: string, logged: string][] = [
      ["tab\there", "tab\there"],
      ["a\x1B[2Jb\rc\x7F", "a\\x1B[2Jb\\x0Dc\\x7F"],
      [
        "\xFF\xFE \xC0\xAF \xED\xA0\x80 \xE2\x82",
        "\\xFF\\xFE \\xC0\\xAF \\xED\\xA0\\x80 \\xE2\\x82",
      ],
      ["\xF4\x90\x80\x80", "\\xF4\\x90\\x80\\x80"],
      [latin1(utf8("é€😀")), "é€😀"],
      [latin1(utf8("\uFEFFbom")), "\uFEFFbom"],
    ];
    for (let code = 0; code <= 0x1F; code++) {
      const name = code.toString(16).toUpperCase().padStart(2, "0");
      if (code !== 0x09 && code !== 0x0A) {
        shown.push([`<${String.fromCharCode(code)}>`, `<\\x${name}>`]);
      }
    }
    const unsafe = [0x2028, 0x2029, 0x061C, 0x200E, 0x200F];
    for (let code = 0x80; code <= 0x9F; code++) unsafe.push(code);
    for (let code = 0x202A; code <= 0x202E; code++) unsafe.push(code);
    for (let code = 0x2066; code <= 0x2069; code++) unsafe.push(code);
    for (const code of unsafe) {
      const name = code.toString(16).toUpperCase().padStart(4, "0");
      shown.push([latin1(utf8(`<${String.fromCharCode(code)}>`)), `<\\u{${name}}>`]);
    }
    const lines = await logOf([], bytesOf(shown.map(([sent]) => `${sent}\n`).join("")));
    assertEquals(
      lines.slice(1, -1),
      shown.map(([, logged]) => `#1 127.0.0.1:PORT | ${logged}`),
    );
  },
});

Deno.test({
  name: "startServer() shows line ends inside a record when lines end otherwise",
  ignore: noNet,
  async fn() {
    const lines = await logOf(["--framing", "nul"], utf8("a\r\nb\0rest\n"));
    assertEquals(lines, [
      "#1 127.0.0.1:PORT connected",
      "#1 127.0.0.1:PORT | a\\x0D\\x0Ab",
      "#1 127.0.0.1:PORT + rest\\x0A",
      "#1 127.0.0.1:PORT disconnected: 10 bytes, 2 lines, 0.0 s",
    ]);
    const reads = await logOf(["--framing", "none"], utf8("a\nb"));
    assertEquals(reads[1], "#1 127.0.0.1:PORT | a\\x0Ab");
  },
});

Deno.test({
  name: "startServer() counts the pieces of a cut line as one",
  ignore: noNet,
  async fn() {
    assertEquals(await logOf(["--max-line", "4"], utf8("123456\r\nabcdefg")), [
      "#1 127.0.0.1:PORT connected",
      "#1 127.0.0.1:PORT + 1234",
      "#1 127.0.0.1:PORT | 56",
      "#1 127.0.0.1:PORT + abcd",
      "#1 127.0.0.1:PORT + efg",
      "#1 127.0.0.1:PORT disconnected: 15 bytes, 2 lines, 0.0 s",
    ]);
  },
});

Deno.test({
  name: "startServer() disconnects when an octet count is bad",
  ignore: noNet,
  async fn() {
    assertEquals(await logOf(["--framing", "octet"], utf8("2 hi hello")), [
      "#1 127.0.0.1:PORT connected",
      "#1 127.0.0.1:PORT | hi",
      "#1 127.0.0.1:PORT +  hello",
      "#1 127.0.0.1:PORT disconnected: 10 bytes, 2 lines, 0.0 s (bad octet count)",
    ]);
  },
});

Deno.test({
  name: "startServer() writes an object a line when the format is json",
  ignore: noNet,
  async fn() {
    const input = bytesOf(`plain\nq"\\\t${latin1(utf8("é\u2028\x9B"))}\n\xFF\x00\ncut`);
    const peer = `"connection":1,"host":"127.0.0.1","port":1`;
    assertEquals(await logOf(["--format", "json"], input), [
      `{"event":"connected",${peer}}`,
      `{"event":"line",${peer},"message":"plain"}`,
      `{"event":"line",${peer},"message":"q\\"\\\\\\té\\u2028\\u009B"}`,
      `{"event":"line",${peer},"message_base64":"/wA="}`,
      `{"event":"line",${peer},"message":"cut","cut":true}`,
      `{"event":"disconnected",${peer},"bytes":${input.length},"lines":4,"seconds":0,"reason":"closed"}`,
    ]);
  },
});

Deno.test({
  name: "startServer() writes json that can be parsed and loses nothing, whatever comes",
  ignore: noNet,
  async fn() {
    const random = randomNumbers(3);
    const input = Uint8Array.from({ length: 50_000 }, () => {
      return random(20) === 0 ? random(256) : random(8) === 0 ? 0 : 0x20 + random(0x60);
    });
    const lines = await logOf(["--format", "json", "--framing", "nul"], input);
    const records = lines.map((line) => JSON.parse(line)).filter(({ event }) => event === "line");
    const messages = records.map(({ message, message_base64, cut }) => {
      const bytes = message_base64 ? Uint8Array.fromBase64(message_base64) : utf8(message);
      return latin1(bytes) + (cut ? "" : "\0");
    });
    assertEquals(messages.join("") === latin1(input), true);
    assert(records.some(({ message_base64 }) => message_base64));
    assert(records.some(({ message }) => message));
  },
});

Deno.test({
  name: "startServer() writes exactly the bytes received when the format is raw",
  ignore: noNet,
  async fn() {
    await using running = await serve(["--format", "raw", "--time", "none"]);
    const bytes = Uint8Array.from({ length: 300_000 }, (_, i) => i * 7);
    {
      using client = await running.connect();
      await writeAll(client, bytes);
    }
    await running.err.until("disconnected");
    assertEquals(running.out.binary === latin1(bytes), true);
    assertEquals(running.err.lines.slice(1), [
      "#1 127.0.0.1:PORT connected",
      "#1 127.0.0.1:PORT disconnected: 300000 bytes, 0.0 s",
    ]);
  },
});

Deno.test({
  name: "startServer() shows chunks with offsets when the format is hex",
  ignore: noNet,
  async fn() {
    await using running = await serve(["--format", "hex", "--time", "none", "--quiet"]);
    using client = await running.connect();
    await writeAll(client, bytesOf("GET / HTTP/1.1\r\n\x7F~\xFF"));
    await running.out.until("|.~.|\n");
    await writeAll(client, utf8("x"));
    await running.out.until("|x|\n");
    assertEquals(running.out.lines, [
      "#1 127.0.0.1:PORT > 19 bytes",
      "00000000  47 45 54 20 2f 20 48 54  54 50 2f 31 2e 31 0d 0a  |GET / HTTP/1.1..|",
      "00000010  7f 7e ff                                          |.~.|",
      "#1 127.0.0.1:PORT > 1 byte",
      "00000013  78                                                |x|",
    ]);
  },
});

Deno.test({
  name: "startServer() shows what hexdump -vC shows",
  ignore: noNet || !hasProgram("hexdump"),
  async fn() {
    const bytes = Uint8Array.from({ length: 300 }, (_, i) => i < 260 ? i : 0);
    await using hexdump = new Deno.Command("hexdump", {
      args: ["-vC"],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    const writer = hexdump.stdin.getWriter();
    await writer.write(bytes);
    await writer.close();
    const expected = (await hexdump.stdout.text()).split("\n").slice(0, -2);
    const lines = await logOf(["--format", "hex"], bytes);
    assertEquals(lines.slice(2, -1), expected);
  },
});

Deno.test({
  name: "startServer() dates records in each kind of time",
  ignore: noNet,
  async fn() {
    const stamps: string[] = [];
    const objects: unknown[] = [];
    for (const time of ["utc", "local", "elapsed", "none"]) {
      for (const format of ["text", "json"]) {
        let nowMs = NOW_MS - 1234;
        await using running = await serve(["-t", time, "-f", format], { now: () => nowMs });
        nowMs = NOW_MS;
        using _client = await running.connect();
        await running.out.until("connected");
        if (format === "text") stamps.push(running.out.text.split("#")[0]!);
        else objects.push(JSON.parse(running.out.text));
      }
    }
    assertEquals([stamps[0], stamps[2], stamps[3]], ["2026-11-22T23:31:05.123Z ", "1.234 ", ""]);
    assertMatch(stamps[1]!, /^2026-11-2\dT\d\d:\d\d:05\.123[+-]\d\d:\d\d $/);
    assertEquals(Date.parse(stamps[1]!.trim()), NOW_MS);
    const [utc, local, elapsed, none] = objects as Record<string, unknown>[];
    assertEquals(utc?.timestamp, "2026-11-22T23:31:05.123Z");
    assertEquals(`${local?.timestamp} `, stamps[1]);
    assertEquals([elapsed?.elapsed, elapsed?.timestamp], [1.234, undefined]);
    assertEquals([none?.elapsed, none?.timestamp], [undefined, undefined]);
  },
});

Deno.test({
  name: "startServer() colours labels and nothing else when it is wanted",
  ignore: noNet,
  async fn() {
    for (const wantsColor of [true, false]) {
      for (const color of ["auto", "always", "never"]) {
        await using running = await serve(["--color", color, "-t", "none"], { wantsColor });
        using client = await running.connect();
        await writeAll(client, utf8("\x1B[31mred\n"));
        await running.out.until("red\n");
        const line = running.out.lines[1]!;
        if (color === "always" || color === "auto" && wantsColor) {
          assertMatch(
            line,
            // deno-lint-ignore no-control-regex -- colours are control characters
            /^\x1B\[38;5;\d+m#1 127\.0\.0\.1:PORT\x1B\[0m \| \\x1B\[31mred$/,
          );
        } else {
          assertEquals(line, "#1 127.0.0.1:PORT | \\x1B[31mred");
        }
      }
    }
  },
});

Deno.test({
  name: "startServer() brackets IPv6 peers and shows mapped ones as IPv4",
  ignore: !hasIpv6(),
  async fn() {
    await using six = await serve(["--host", "::1", "-t", "none"]);
    using _six = await six.connect();
    await six.out.until("connected\n");
    assertEquals(six.out.lines, ["#1 [::1]:PORT connected"]);
    assertMatch(six.err.text, /^listening on \[::1\]:\d+ \(this machine only; /);

    await using both = await serve(["--host", "::", "--allow", "127.0.0.0/8", "-t", "none"]);
    using _four = await both.connect();
    await both.out.until("connected\n");
    assertEquals(both.out.lines, ["#1 127.0.0.1:PORT connected"]);
  },
});

// -- server --

for (const multiplexer of MULTIPLEXERS) {
  const test = (name: string, fn: (extra: string[]) => Promise<void>) => {
    Deno.test({
      name: `startServer() ${name} (${multiplexer})`,
      ignore: noNet,
      fn: () => fn(["--multiplexer", multiplexer, "--time", "none"]),
    });
  };

  test("gives whole labelled lines when clients are interleaved", async (extra) => {
    await using running = await serve(extra);
    using clients = new DisposableStack();
    const conns: Deno.Conn[] = [];
    for (let i = 0; i < 8; i++) conns.push(clients.use(await running.connect()));
    const [talkers, rounds] = [conns.length, 20];
    for (let round = 0; round < rounds; round++) {
      await Promise.all(conns.map((conn, i) => writeAll(conn, utf8(`from ${i}, `))));
      await Promise.all(conns.map((conn, i) => writeAll(conn, utf8(`round ${round} of ${i}\n`))));
    }
    await running.out.until(" | from", talkers * rounds);
    const said = Map.groupBy(running.out.text.split("\n").slice(0, -1), (line) => {
      return line.split(" ").slice(0, 2).join(" ");
    });
    assertEquals(said.size, talkers);
    for (const [i, conn] of conns.entries()) {
      const { port } = conn.localAddr as Deno.NetAddr;
      const [label, lines] = [...said].find(([label]) => label.endsWith(`:${port}`))!;
      const expected = Array.from(
        { length: rounds },
        (_, round) => `${label} | from ${i}, round ${round} of ${i}`,
      );
      assertEquals(lines, [`${label} connected`, ...expected]);
    }
  });

  test("logs the last line without an end when a client half-closes", async (extra) => {
    await using running = await serve(extra);
    using client = await running.connect();
    await writeAll(client, utf8("whole\nlast"));
    await client.closeWrite();
    assertEquals(await client.read(new Uint8Array(1)), null);
    await running.out.until("disconnected");
    assertEquals(running.out.lines, [
      "#1 127.0.0.1:PORT connected",
      "#1 127.0.0.1:PORT | whole",
      "#1 127.0.0.1:PORT + last",
      "#1 127.0.0.1:PORT disconnected: 10 bytes, 2 lines, 0.0 s",
    ]);
  });

  test("logs the cut line and the reason when a client resets", async (extra) => {
    await using running = await serve(extra);
    const client = createConnection(running.port, "127.0.0.1");
    client.write("whole\npart");
    await running.out.until("| whole\n");
    const closed = once(client, "close");
    client.resetAndDestroy();
    await closed;
    await running.out.until("disconnected");
    assertEquals(running.out.lines, [
      "#1 127.0.0.1:PORT connected",
      "#1 127.0.0.1:PORT | whole",
      "#1 127.0.0.1:PORT + part",
      "#1 127.0.0.1:PORT disconnected: 10 bytes, 2 lines, 0.0 s (reset by peer)",
    ]);
  });

  test("holds the third client of two until one leaves, and loses nothing", async (extra) => {
    await using running = await serve(["--max-connections", "2", ...extra]);
    using first = await running.connect();
    using second = await running.connect();
    await running.out.until("connected\n", 2);
    await running.err.until("2 connections, no more are accepted (--max-connections)\n");
    {
      using third = await running.connect();
      await writeAll(third, utf8("from the third\n"));
    }
    for (const client of [first, second, first]) await writeAll(client, utf8("hello\n"));
    await running.out.until("| hello\n", 3);
    assertEquals(running.out.count("#3"), 0);
    await first.closeWrite();
    await running.out.until("disconnected", 2);
    assertEquals(running.out.lines.slice(-3), [
      "#3 127.0.0.1:PORT connected",
      "#3 127.0.0.1:PORT | from the third",
      "#3 127.0.0.1:PORT disconnected: 15 bytes, 1 line, 0.0 s",
    ]);
    await running.err.until("earshot: connections are accepted again\n");
    assertEquals(running.err.count("no more are accepted"), 1);
  });

  test("disconnects the silent client and keeps the talking one", async (extra) => {
    await using running = await serve(["--idle-timeout", "0.3", ...extra]);
    using talking = await running.connect();
    using _silent = await running.connect();
    while (!running.out.text.includes("disconnected")) {
      await writeAll(talking, utf8("x\n"));
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    const ends = running.out.lines.filter((line) => line.includes("disconnected"));
    assertEquals(ends, [
      "#2 127.0.0.1:PORT disconnected: 0 bytes, 0 lines, 0.0 s (idle for 0.3 s)",
    ]);
  });

  test("refuses peers kept out by the rules", async (extra) => {
    const rules: [rules: string[], isWelcome: boolean][] = [
      [["--deny", "127.0.0.0/8"], false],
      [["--deny", "127.0.0.1"], false],
      [["--deny", "0.0.0.0/0"], false],
      [["--deny", "::ffff:127.0.0.0/104"], false],
      [["--allow", "10.0.0.0/8"], false],
      [["--allow", "::/0"], false],
      [["--allow", "127.0.0.0/8", "--deny", "127.0.0.1"], false],
      [["--allow", "10.0.0.0/8", "--allow", "127.0.0.1"], true],
      [["--allow", "0.0.0.0/0"], true],
      [["--deny", "127.0.0.2", "--deny", "::/0"], true],
    ];
    for (const [args, isWelcome] of rules) {
      await using running = await serve([...args, ...extra]);
      using _client = await running.connect();
      await running.out.until("\n");
      const expected = isWelcome ? "#1 127.0.0.1:PORT connected" : "refused 127.0.0.1:PORT";
      assertEquals(running.out.lines, [expected], args.join(" "));
    }
    await using running = await serve(["--deny", "127.0.0.1", "-f", "json", ...extra]);
    using _client = await running.connect();
    await running.out.until("\n");
    assertEquals(running.out.lines, [`{"event":"refused","host":"127.0.0.1","port":1}`]);
  });

  test("writes no records of connects, disconnects and refusals when quiet", async (extra) => {
    await using running = await serve(["--quiet", ...extra]);
    {
      using client = await running.connect();
      await writeAll(client, utf8("one\ntwo"));
    }
    await running.out.until("two\n");
    await running.server[Symbol.asyncDispose]();
    assertEquals(running.out.lines, ["#1 127.0.0.1:PORT | one", "#1 127.0.0.1:PORT + two"]);
  });

  test("sends 3 MB back as they came", async (extra) => {
    await using running = await serve(["--echo", "--format", "hex", ...extra], {
      stdout: { write: (bytes) => Promise.resolve(bytes.length) },
    });
    using client = await running.connect();
    const random = randomNumbers(4);
    const sent = Uint8Array.from({ length: 3_000_000 }, () => random(256));
    const sending = writeAll(client, sent).then(() => client.closeWrite());
    const received = await readUpTo(client, sent.length + 1);
    await sending;
    assertEquals(received.length, sent.length);
    assert(received.every((byte, i) => byte === sent[i]));
  });

  test("serves others when a client never reads its echo", async (extra) => {
    await using running = await serve(["--echo", "--format", "raw", "--quiet", ...extra], {
      stdout: { write: (bytes) => Promise.resolve(bytes.length) },
    });
    using greedy = await running.connect();
    using other = await running.connect();
    const size = 20_000_000;
    let isSent = false;
    const sending = writeAll(greedy, new Uint8Array(size)).then(() => isSent = true);
    for (let i = 0; i < 200; i++) {
      await writeAll(other, utf8("ping\n"));
      assertEquals(latin1(await readUpTo(other, 5)), "ping\n");
    }
    assertEquals(isSent, false);
    assertEquals((await readUpTo(greedy, size)).length, size);
    await sending;
  });

  test("logs what had arrived when it is stopped", async (extra) => {
    await using running = await serve(extra);
    using client = await running.connect();
    await writeAll(client, utf8("one\ntwo"));
    running.server.stop();
    await running.server.finished;
    assertEquals(running.out.lines, [
      "#1 127.0.0.1:PORT connected",
      "#1 127.0.0.1:PORT | one",
      "#1 127.0.0.1:PORT + two",
      "#1 127.0.0.1:PORT disconnected: 7 bytes, 2 lines, 0.0 s (shutting down)",
    ]);
  });

  test("loses nothing and says so once when the disk is full", async (extra) => {
    const out = new Capture();
    let failures = 2;
    const fullDisk = {
      write(bytes: Uint8Array): Promise<number> {
        if (failures-- <= 0) return out.write(bytes.subarray(0, 100));
        const error = new Error("No space left on device (os error 28)");
        return Promise.reject(Object.assign(error, { code: "ENOSPC" }));
      },
    };
    await using running = await serve(extra, { stdout: fullDisk });
    using client = await running.connect();
    for (let i = 0; i < 100; i++) await writeAll(client, utf8(`line ${i}\n`));
    await out.until("line 99\n");
    assertEquals(
      out.lines.slice(1),
      Array.from({ length: 100 }, (_, i) => `#1 127.0.0.1:PORT | line ${i}`),
    );
    assertEquals(running.err.lines.slice(1), [
      "earshot: Cannot write to stdout: no space left on device; clients wait",
      "earshot: stdout works again",
    ]);
  });

  test("ends with a Failure when the disk is full until the end", async (extra) => {
    const { promise: tried, resolve } = Promise.withResolvers<void>();
    const fullDisk = {
      write(): Promise<number> {
        resolve();
        return Promise.reject(Object.assign(new Error("No space left"), { code: "ENOSPC" }));
      },
    };
    await using running = await serve(extra, { stdout: fullDisk });
    using _client = await running.connect();
    await tried;
    running.server.stop();
    await assertRejects(() => running.server.finished, Failure, "Cannot write to stdout");
  });

  test("ends with a Failure when nobody takes its output", async (extra) => {
    const { promise: tried, resolve } = Promise.withResolvers<void>();
    const stuck = {
      write(): Promise<number> {
        resolve();
        return new Promise(() => {});
      },
    };
    await using running = await serve(extra, { stdout: stuck });
    using _client = await running.connect();
    await tried;
    running.server.stop();
    await assertRejects(() => running.server.finished, Failure, "nobody takes it");
  });

  test("ends with a Failure when its output is a broken pipe", async (extra) => {
    const broken = { write: () => Promise.reject(new Deno.errors.BrokenPipe("Broken pipe")) };
    await using running = await serve(extra, { stdout: broken });
    using _client = await running.connect();
    await assertRejects(
      () => running.server.finished,
      Failure,
      "Cannot write to stdout: broken pipe",
    );
  });

  test("prints a summary when asked to", async (extra) => {
    await using running = await serve(extra);
    using client = await running.connect();
    await writeAll(client, utf8("one\ntwo\n"));
    await running.out.until("| two\n");
    running.server.reportStats();
    assertMatch(
      running.err.lines.at(-1)!,
      /^stats: up \d+ s, connections 1 open 1 total 0 refused, 2 lines, 8 bytes, 0 cut, 0 accept errors, [\d.]+ lines\/s$/,
    );
  });
}

Deno.test({
  name: "startServer() takes mapped IPv4 rules in hexadecimal, too",
  ignore: noNet,
  async fn() {
    for (const rule of ["::ffff:7f00:1", "::ffff:7f00:0/104", "::ffff:0:0/96"]) {
      await using running = await serve(["--deny", rule, "-t", "none"]);
      using _client = await running.connect();
      await running.out.until("\n");
      assertEquals(running.out.lines, ["refused 127.0.0.1:PORT"], rule);
    }
  },
});

Deno.test({
  name: "startServer() listens on every port and says where",
  ignore: noNet,
  async fn() {
    await using running = await serve(["--port", "0"]);
    const ports = running.server.addrs.map((addr) => (addr as Deno.NetAddr).port);
    assertEquals(
      running.err.text,
      ports.map((port) =>
        `listening on 127.0.0.1:${port} (this machine only; --host 0.0.0.0 for every interface)\n`
      ).join(""),
    );
    for (const port of ports) {
      using client = await connectTo(port);
      await writeAll(client, utf8("hello\n"));
    }
    await running.out.until("| hello\n", 2);
  },
});

Deno.test({
  name: "startServer() replaces a stale socket file and removes its own",
  ignore: noFiles || Deno.build.os === "windows",
  async fn() {
    using dir = tempDir();
    const path = `${dir.path}/socket`;
    // A file that has moved is not found, and so not removed, by the one that made it.
    const stale = Deno.listen({ transport: "unix", path: `${path}.old` });
    Deno.renameSync(`${path}.old`, path);
    stale.close();
    assert(exists(path));
    await using running = await serve(["--unix", path, "-t", "none"]);
    assertEquals(running.err.text, `listening on ${path}\n`);
    using client = await Deno.connect({ transport: "unix", path });
    await writeAll(client, utf8("hello\n"));
    await running.out.until("| hello\n");
    assertEquals(running.out.lines, ["#1 unix connected", "#1 unix | hello"]);
    await running.server[Symbol.asyncDispose]();
    assert(!exists(path));
  },
});

Deno.test({
  name: "startServer() names the path of a Unix socket when the format is json",
  ignore: noFiles || Deno.build.os === "windows",
  async fn() {
    using dir = tempDir();
    const path = `${dir.path}/socket`;
    await using running = await serve(["--unix", path, "-t", "none", "-f", "json"]);
    using _client = await Deno.connect({ transport: "unix", path });
    await running.out.until("\n");
    assertEquals(JSON.parse(running.out.text), { event: "connected", connection: 1, path });
  },
});

Deno.test({
  name: "startServer() fails when a socket is in use or another file is there",
  ignore: noFiles || Deno.build.os === "windows",
  async fn() {
    using dir = tempDir();
    const [path, file] = [`${dir.path}/socket`, `${dir.path}/file`];
    Deno.writeTextFileSync(file, "precious");
    await using _running = await serve(["--unix", path]);
    const live = await assertRejects(() => serve(["--unix", path]), Failure);
    assertEquals(live.message, `Cannot listen on ${path}: another process listens there`);
    const other = await assertRejects(() => serve(["--unix", file]), Failure);
    assertEquals(other.message, `Cannot listen on ${file}: a file that is no socket is there`);
    assertEquals(Deno.readTextFileSync(file), "precious");
    assert(exists(path));
  },
});

/** Makes a certificate for localhost; returns the paths of it and of its key. */
function makeCertificate(folder: string): [cert: string, key: string] {
  const [cert, key] = [`${folder}/cert.pem`, `${folder}/key.pem`];
  const { success } = new Deno.Command("openssl", {
    args: [
      ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"],
      ...["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
      ...["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", cert],
    ],
    stdout: "null",
    stderr: "null",
  }).outputSync();
  assert(success);
  return [cert, key];
}

Deno.test({
  name: "startServer() serves TLS, and junk costs one record",
  ignore: noRun || !hasProgram("openssl"),
  async fn() {
    using dir = tempDir();
    const [cert, key] = makeCertificate(dir.path);
    await using running = await serve(["--tls-cert", cert, "--tls-key", key, "-t", "none"]);
    assertMatch(running.err.text, /^listening on 127\.0\.0\.1:\d+ \(TLS; this machine only; /);
    {
      using junk = await running.connect();
      await writeAll(junk, utf8("GET / HTTP/1.1\r\n\r\n"));
      await running.out.until("\n");
    }
    assertMatch(
      running.out.lines[0]!,
      /^#1 127\.0\.0\.1:PORT disconnected: 0 bytes, 0 lines, 0\.0 s \(TLS handshake failed: .+\)$/,
    );
    const caCerts = [Deno.readTextFileSync(cert)];
    {
      using client = await Deno.startTls(await running.connect() as Deno.TcpConn, {
        hostname: "localhost",
        caCerts,
      });
      await writeAll(client, utf8("secret\n"));
      await running.out.until("| secret\n");
    }
    await running.out.until("#2", 3);
    assertEquals(running.out.lines.slice(1, 3), [
      "#2 127.0.0.1:PORT connected",
      "#2 127.0.0.1:PORT | secret",
    ]);
    assertEquals(running.out.lines.length, 4);
  },
});

Deno.test({
  name: "startServer() gives a silent TLS client no longer than the idle timeout",
  ignore: noRun || !hasProgram("openssl"),
  async fn() {
    using dir = tempDir();
    const [cert, key] = makeCertificate(dir.path);
    const tls = ["--tls-cert", cert, "--tls-key", key, "-t", "none", "-i", "0.2"];
    await using running = await serve(tls);
    using _silent = await running.connect();
    await running.out.until("\n");
    assertEquals(running.out.lines, [
      "#1 127.0.0.1:PORT disconnected: 0 bytes, 0 lines, 0.0 s (no TLS handshake within 0.2 s)",
    ]);
  },
});

Deno.test({
  name: "main() says what is wrong in one line and gives 2 when the usage is wrong",
  async fn() {
    for (const args of [["-p", "x"], ["-q_"], ["--allow", "fe80::1%eth0"], ["two\nlines"]]) {
      const err = new Capture();
      const io: Io = {
        stdout: new Capture(),
        stderr: err,
        wantsColor: false,
        now: () => NOW_MS,
        exit: () => {},
      };
      assertEquals(await main(args, io), 2, err.text);
      assertMatch(err.text, /^earshot: .+, see --help\n$/);
    }
  },
});

// -- CLI --

Deno.test({
  name: "main() prints help and version to stdout",
  ignore: noRun,
  async fn() {
    for (const [option, start] of [["--help", usage()], ["--version", "earshot "]] as const) {
      await using cli = spawnCli([option], { permissions: [] });
      assertEquals(await cli.ended(), 0);
      assert(cli.out.text.startsWith(start));
      assertEquals(cli.err.text, "");
    }
  },
});

Deno.test({
  name: "main() exits with 2 and prints one line to stderr for an unknown option",
  ignore: noRun,
  async fn() {
    await using cli = spawnCli(["--prot", "1"], { permissions: [] });
    assertEquals(await cli.ended(), 2);
    assertEquals(cli.err.text, `earshot: Unknown option "--prot", see --help\n`);
    assertEquals(cli.out.text, "");
  },
});

Deno.test({
  name: "main() exits with 1 when the port is in use",
  ignore: noRun,
  async fn() {
    using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = taken.addr as Deno.NetAddr;
    await using cli = spawnCli(["--port", `${port}`]);
    assertEquals(await cli.ended(), 1);
    assertMatch(
      cli.err.text,
      new RegExp(`^earshot: Cannot listen on 127\\.0\\.0\\.1:${port}: address already in use\\n$`),
    );
  },
});

for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
  Deno.test({
    name: `main() logs what has arrived and exits with 0 at ${signal}`,
    ignore: noSignals,
    async fn() {
      await using cli = spawnCli(["-p", "0", "-t", "none"], { permissions: ["--allow-net"] });
      using client = await connectTo(await cli.port());
      await cli.out.until("connected");
      await writeAll(client, utf8("one\ntwo"));
      cli.kill(signal);
      assertEquals(await cli.ended(), 0);
      assertEquals(cli.out.lines, [
        "#1 127.0.0.1:PORT connected",
        "#1 127.0.0.1:PORT | one",
        "#1 127.0.0.1:PORT + two",
        "#1 127.0.0.1:PORT disconnected: 7 bytes, 2 lines, 0.0 s (shutting down)",
      ]);
      assertEquals(cli.err.lines.length, 1);
    },
  });
}

Deno.test({
  name: "main() obeys a signal as soon as it says that it listens",
  ignore: noSignals,
  async fn() {
    for (let run = 0; run < 5; run++) {
      await using cli = spawnCli(["-p", "0"], { permissions: ["--allow-net"] });
      await cli.port();
      cli.kill("SIGTERM");
      assertEquals(await cli.ended(), 0);
    }
  },
});

/** A process that cannot get rid of its output, because it has heard much and stdout is not read. */
async function spawnStuckCli() {
  const cli = spawnCli(["-p", "0", "--echo"], { stdout: "unread" });
  const client = await connectTo(await cli.port());
  await writeAll(client, utf8("x\n"));
  // The echo tells that the loop turns.
  await readUpTo(client, 2);
  const flooding = writeAll(client, utf8(`${"x".repeat(999)}\n`.repeat(20_000))).catch(() => {});
  /** Has a summary printed: what was signalled before has been heard, too. Resolves to the bytes. */
  const summarize = async () => {
    const count = cli.err.count("lines/s\n");
    cli.kill("SIGUSR2");
    await cli.err.until("lines/s\n", count + 1);
    return Number(/(\d+) bytes/.exec(cli.err.lines.at(-1)!)![1]);
  };
  let last = 0;
  for (let same = 0; same < 5;) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    const heard = await summarize();
    same = heard === last && heard > 60_000 ? same + 1 : 0;
    last = heard;
  }
  return {
    ...cli,
    summarize,
    async [Symbol.asyncDispose]() {
      await cli[Symbol.asyncDispose]();
      await flooding;
      client.close();
    },
  };
}

Deno.test({
  name: "main() exits with 1 when nobody reads stdout after a signal",
  ignore: noSignals,
  async fn() {
    await using cli = await spawnStuckCli();
    cli.kill("SIGTERM");
    assertEquals(await cli.ended(), 1);
    assertEquals(cli.err.lines.slice(1).filter((line) => !line.startsWith("stats: ")), [
      "earshot: Cannot write to stdout: nobody takes it; what was not written is lost",
    ]);
  },
});

Deno.test({
  name: "main() exits with 128 and the signal's number at a second signal",
  ignore: noSignals,
  async fn() {
    for (const [signal, number] of [["SIGINT", 2], ["SIGTERM", 15], ["SIGHUP", 1]] as const) {
      await using cli = await spawnStuckCli();
      cli.kill("SIGTERM");
      await cli.summarize();
      await cli.summarize();
      cli.kill(signal);
      assertEquals(await cli.ended(), 128 + number);
    }
  },
});

Deno.test({
  name: "main() exits with 1 and one line when stdout is closed",
  ignore: noSignals,
  async fn() {
    await using cli = spawnCli(["-p", "0"], { stdout: "closed" });
    using _client = await connectTo(await cli.port());
    assertEquals(await cli.ended(), 1);
    assertEquals(cli.err.lines.slice(1), ["earshot: Cannot write to stdout: broken pipe"]);
  },
});

Deno.test({
  name: "main() opens --output anew at SIGHUP and neither loses nor doubles a line",
  ignore: noSignals,
  async fn() {
    using dir = tempDir();
    const [path, moved] = [`${dir.path}/log`, `${dir.path}/log.1`];
    await using cli = spawnCli(["-p", "0", "-t", "none", "-q", "-o", path]);
    using client = await connectTo(await cli.port());
    let count = 0;
    const send = () => writeAll(client, utf8(`line ${count++}\n`));
    const size = (file: string) => exists(file) ? Deno.statSync(file).size : 0;
    while (size(path) < 2000) await send();
    assertEquals(Deno.statSync(path).mode! & 0o777, 0o640 & ~Deno.umask());
    Deno.renameSync(path, moved);
    cli.kill("SIGHUP");
    while (size(path) < 2000) await send();
    cli.kill("SIGTERM");
    assertEquals(await cli.ended(), 0);
    const text = Deno.readTextFileSync(moved) + Deno.readTextFileSync(path);
    assertEquals(
      text.replaceAll(/^#1 127\.0\.0\.1:\d+ \| /gm, ""),
      Array.from({ length: count }, (_, i) => `line ${i}\n`).join(""),
    );
    assertEquals(Deno.statSync(path).mode! & 0o777, 0o640 & ~Deno.umask());
  },
});

Deno.test({
  name: "main() keeps the old file when --output cannot be opened anew",
  ignore: noSignals,
  async fn() {
    using dir = tempDir();
    const [path, moved] = [`${dir.path}/log`, `${dir.path}/log.1`];
    await using cli = spawnCli(["-p", "0", "-t", "none", "-q", "-o", path]);
    using client = await connectTo(await cli.port());
    await writeAll(client, utf8("before\n"));
    await untilTrue(() => Deno.readTextFileSync(path).includes("before"));
    Deno.renameSync(path, moved);
    Deno.mkdirSync(path);
    cli.kill("SIGHUP");
    await cli.err.until("the old file stays open\n");
    await writeAll(client, utf8("after\n"));
    await untilTrue(() => Deno.readTextFileSync(moved).includes("after"));
    cli.kill("SIGTERM");
    assertEquals(await cli.ended(), 0);
  },
});

Deno.test({
  name: "main() names the flag to add when a permission is missing",
  ignore: noRun,
  async fn() {
    using dir = tempDir();
    const file = `${dir.path}/file`;
    const cases: [args: string[], permissions: string[], message: string][] = [
      [["-o", file], ["--allow-net"], `Cannot write to ${file}: run again with --allow-write`],
      [[], [], "Cannot listen on 127.0.0.1:0: run again with --allow-net"],
      [
        ["--tls-cert", file, "--tls-key", file],
        ["--allow-net"],
        `Cannot read ${file}: run again with --allow-read`,
      ],
    ];
    for (const [args, permissions, message] of cases) {
      await using cli = spawnCli(["-p", "0", ...args], { permissions });
      assertEquals(await cli.ended(), 1);
      assertEquals(cli.err.text, `earshot: ${message}\n`);
    }
  },
});

/** Programs that talk to a port, each saying "hello"; `PORT` stands for its number. */
const CLIENTS: [program: string, args: string[], framing: Config["framing"]][] = [
  ["nc", ["127.0.0.1", "PORT"], "newline"],
  ["ncat", ["127.0.0.1", "PORT"], "newline"],
  ["socat", ["-", "TCP:127.0.0.1:PORT"], "newline"],
  ["bash", ["-c", "echo hello >/dev/tcp/127.0.0.1/PORT"], "newline"],
  ["logger", ["-T", "-n", "127.0.0.1", "-P", "PORT", "hello"], "newline"],
  ["logger", ["-T", "--octet-count", "-n", "127.0.0.1", "-P", "PORT", "hello"], "octet"],
];

for (const [program, args, framing] of CLIENTS) {
  Deno.test({
    name: `startServer() hears ${program} ${args.join(" ")}`,
    ignore: noRun || !hasProgram(program),
    async fn() {
      await using running = await serve(["--framing", framing, "-t", "none"]);
      await using client = new Deno.Command(program, {
        args: args.map((arg) => arg.replace("PORT", `${running.port}`)),
        stdin: "piped",
        stdout: "null",
        stderr: "null",
      }).spawn();
      const writer = client.stdin.getWriter();
      try {
        await writer.write(utf8("hello\n"));
        await writer.close();
      } catch {
        // It does not read its input.
      }
      await running.out.until("hello\n");
      assertMatch(running.out.lines[1]!, /^#1 127\.0\.0\.1:PORT \| (.* )?hello$/);
    },
  });
}

// -- Faults --

/** More runs of the random tests from here on; `deno task fuzz` sets it. */
const FUZZ_RUNS = isGranted({ name: "env", variable: "EARSHOT_FUZZ_RUNS" })
  ? Number(Deno.env.get("EARSHOT_FUZZ_RUNS") ?? 0)
  : 0;

type Random = ReturnType<typeof randomNumbers>;

/** Runs a test with one seed after the other; a failure names its seed. */
async function withSeeds(count: number, run: (random: Random) => void | Promise<void>) {
  for (let seed = 1; seed <= Math.max(count, FUZZ_RUNS); seed++) {
    try {
      await run(randomNumbers(seed));
    } catch (error) {
      throw new Error(`Failed with seed ${seed}: ${error}`, { cause: error });
    }
  }
}

function pick<T>(random: Random, ...choices: readonly T[]): T {
  return choices[random(choices.length)]!;
}

/** Microtasks, turns or milliseconds that an operation takes. */
async function lag(random: Random): Promise<void> {
  const kind = random(8);
  if (kind < 5) { for (let i = random(6); i > 0; i--) await undefined; }
  else if (kind < 7) await turn();
  else await new Promise((resolve) => setTimeout(resolve, random(4)));
}

/** Byte number `at` of what the stream with this id says. */
function byteOf(id: number, at: number): number {
  return (id + at * 31) & 0xFF;
}

/** A stream that talks in portions of any size, with delays, and ends well or badly, as its seed says. */
class FaultyStream implements ByteStream {
  readonly #random: Random;
  readonly id: number;
  readonly remoteAddr: Deno.NetAddr;
  readonly end: "eof" | "rejects" | "throws" | "miscounts" | "hangs";
  readonly writeEnd: "never" | "rejects" | "throws" | "takes nothing" | "hangs";
  readonly readError: Error;
  readonly writeError: Error;
  readonly #gone = Promise.withResolvers<void>();
  /** Most bytes that one read brings. */
  readonly #largest: number;
  #portions: number;
  #writes: number;
  /** Bytes that reads brought before close(). */
  delivered = 0;
  readonly written: number[] = [];
  reading = 0;
  writing = 0;
  closed = false;
  /** Whether it has said all that it will. */
  isOver = false;
  /** Whether an operation waits for close(). */
  isStuck = false;
  /** What should never happen: a throw would count as one of its faults. */
  readonly violations: string[] = [];

  constructor(random: Random, id: number, largest = Infinity) {
    this.#random = random;
    this.id = id;
    this.#largest = largest;
    this.remoteAddr = { transport: "tcp", hostname: "127.0.0.1", port: 1000 + id };
    this.end = pick(random, "eof", "eof", "rejects", "throws", "miscounts", "hangs");
    this.writeEnd = pick(random, "never", "never", "rejects", "throws", "takes nothing", "hangs");
    this.readError = new Deno.errors.ConnectionReset(`read fault of ${id}`);
    this.writeError = new Deno.errors.BrokenPipe(`write fault of ${id}`);
    this.#portions = random(12);
    this.#writes = this.writeEnd === "never" ? Infinity : random(6);
  }

  read(target: Uint8Array): Promise<number | null> {
    if (this.reading > 0) this.violations.push("two reads at once");
    if (this.closed) this.violations.push("a read after close()");
    if (this.isOver && this.end !== "eof") this.violations.push("a read after the error");
    if (this.#portions === 0 && this.end === "throws") {
      this.isOver = true;
      throw this.readError;
    }
    this.reading++;
    return this.#deliver(target).finally(() => this.reading--);
  }

  async #deliver(target: Uint8Array): Promise<number | null> {
    await lag(this.#random);
    if (this.closed && this.#random(2) === 0) throw new Deno.errors.Interrupted("late");
    if (this.#portions > 0) {
      this.#portions--;
      const most = Math.min(target.length, this.#largest);
      const count = pick(this.#random, 0, 1, this.#random(most), most);
      for (let i = 0; i < count; i++) target[i] = byteOf(this.id, this.delivered + i);
      if (!this.closed) this.delivered += count;
      return count;
    }
    if (this.end === "hangs") {
      this.isStuck = true;
      await this.#gone.promise;
      throw new Deno.errors.Interrupted("operation canceled");
    }
    this.isOver = true;
    if (this.end === "eof") return null;
    if (this.end === "miscounts") return pick(this.#random, -1, 0.5, NaN, target.length + 1);
    throw this.readError;
  }

  write(bytes: Uint8Array): Promise<number> {
    if (this.writing > 0) this.violations.push("two writes at once");
    if (this.closed) this.violations.push("a write after close()");
    if (this.#writes === 0 && this.writeEnd === "throws") throw this.writeError;
    this.writing++;
    return this.#take(bytes).finally(() => this.writing--);
  }

  async #take(bytes: Uint8Array): Promise<number> {
    await lag(this.#random);
    if (this.closed) throw new Deno.errors.BadResource("late");
    if (this.#writes-- > 0) {
      const count = pick(this.#random, 1, 1 + this.#random(bytes.length), bytes.length);
      this.written.push(...bytes.subarray(0, count));
      return count;
    }
    if (this.writeEnd === "takes nothing") return 0;
    if (this.writeEnd === "rejects") throw this.writeError;
    this.isStuck = true;
    await this.#gone.promise;
    throw new Deno.errors.BadResource("closed");
  }

  async closeWrite(): Promise<void> {
    await lag(this.#random);
    if (this.#random(8) === 0) throw this.writeError;
  }

  close(): void {
    if (this.closed) this.violations.push("a second close()");
    this.closed = true;
    this.#gone.resolve();
  }

  /** Checks what must be so once its owner has let go of it. */
  assertLeftAlone(): void {
    assertEquals([this.closed, this.reading, this.writing], [true, 0, 0], `stream ${this.id}`);
    assertEquals(this.violations, [], `stream ${this.id}`);
  }
}

/** A listener whose clients come in bursts, with failures between them. */
class FaultyListener implements Acceptor {
  readonly addr: Deno.NetAddr = { transport: "tcp", hostname: "127.0.0.1", port: 1 };
  readonly #random: Random;
  readonly streams: FaultyStream[];
  readonly handedOver = new Set<FaultyStream>();
  readonly #gone = Promise.withResolvers<void>();
  errors = 0;
  accepting = 0;

  constructor(random: Random, streams: readonly FaultyStream[]) {
    this.#random = random;
    this.streams = [...streams];
  }

  accept(): Promise<FaultyStream> {
    if (this.#random(12) === 0 && this.streams.length > 0) {
      this.errors++;
      throw new Deno.errors.NotConnected("gone before it was accepted");
    }
    this.accepting++;
    return this.#accept().finally(() => this.accepting--);
  }

  async #accept(): Promise<FaultyStream> {
    await lag(this.#random);
    const stream = this.streams.shift();
    if (stream && this.#random(8) > 0) {
      this.handedOver.add(stream);
      return stream;
    }
    if (stream) {
      this.streams.push(stream);
      this.errors++;
      throw new Deno.errors.ConnectionAborted("aborted");
    }
    await this.#gone.promise;
    throw new Deno.errors.BadResource("Listener has been closed");
  }

  close(): void {
    this.#gone.resolve();
  }
}

/** The same for both front ends: a changing set of sources, and who of them is ready. */
interface Watch {
  readonly size: number;
  add(source: Source): void;
  remove(source: Source): void;
  wait(timeoutMs: number): Promise<[Source, number][]>;
}

function pollWatch(poller: Poller): Watch {
  return {
    get size() {
      return poller.size;
    },
    add: (source) => poller.register(source, POLLIN),
    remove: (source) => poller.unregister(source),
    wait: (timeoutMs) => poller.poll(timeoutMs),
  };
}

function selectWatch(): Watch {
  const sources = new Set<Source>();
  return {
    get size() {
      return sources.size;
    },
    add: (source) => void sources.add(source),
    remove: (source) => void sources.delete(source),
    wait: (timeoutMs) => waitBySelect(sources, POLLIN, timeoutMs),
  };
}

/** A connection in the hands of a program that is as unpredictable as its peers. */
interface Handled {
  readonly stream: FaultyStream;
  received: number;
  sent: number;
  /** Errors that were thrown, in their order. */
  readonly errors: unknown[];
  hasEnded: boolean;
  /** Whether it was closed before its time. */
  isAbandoned: boolean;
}

/** Accepts, receives, sends, lets go and closes at random until no source is left; checks as it goes. */
async function driveFaults(random: Random, watch: Watch) {
  const streams = Array.from({ length: random(3) === 0 ? 150 : 1 + random(30) }, (_, id) => {
    return new FaultyStream(random, id);
  });
  const listener = new FaultyListener(random, streams);
  const server = new ServerSocket(listener);
  const all: Handled[] = [];
  const open = new Map<Socket, Handled>();
  const endings: Promise<void>[] = [];

  const close = (socket: Socket, handled: Handled) => {
    handled.isAbandoned ||= !handled.hasEnded;
    open.delete(socket);
    if (random(2) === 0) {
      watch.remove(socket);
      socket.close();
    } else {
      socket.close();
      watch.remove(socket);
    }
    endings.push(socket.closed);
  };
  const admit = () => {
    try {
      for (let count = 1 + random(4); count > 0; count--) {
        const socket = server.accept();
        const stream = socket.stream as FaultyStream;
        const handled = {
          stream,
          received: 0,
          sent: 0,
          errors: [],
          hasEnded: false,
          isAbandoned: false,
        };
        all.push(handled);
        open.set(socket, handled);
        watch.add(socket);
      }
    } catch (error) {
      const { NotConnected, ConnectionAborted, WouldBlock } = Deno.errors;
      const isExpected = [NotConnected, ConnectionAborted, WouldBlock].some((kind) => {
        return error instanceof kind;
      });
      if (!isExpected) throw error;
      return !(error instanceof WouldBlock);
    }
    return false;
  };
  const send = (socket: Socket, handled: Handled) => {
    const bytes = Uint8Array.from({ length: random(300) }, (_, i) => {
      return byteOf(handled.stream.id, handled.sent + i);
    });
    handled.sent += socket.send(bytes);
  };
  const receive = (socket: Socket, handled: Handled) => {
    const bytes = socket.recv(pick(random, 1, 50, 5000, 100_000));
    for (const byte of bytes) {
      assertEquals(byte, byteOf(handled.stream.id, handled.received++));
    }
    if (bytes.length === 0) handled.hasEnded = true;
  };
  const serve = (socket: Socket, handled: Handled, events: number) => {
    try {
      if (random(3) === 0) send(socket, handled);
      if (events & POLLIN) receive(socket, handled);
    } catch (error) {
      if (!(error instanceof Deno.errors.WouldBlock)) handled.errors.push(error);
      else assert(!(events & POLLIN), "Readable, and yet nothing to read");
    }
  };

  let acceptErrors = 0;
  let isListening = true;
  watch.add(server);
  for (let round = 0; isListening || open.size > 0; round++) {
    assert(round < 50_000, "It never ends");
    for (const [source, events] of await watch.wait(pick(random, 0, 2, 5))) {
      if (source === server) {
        if (admit()) acceptErrors++;
        continue;
      }
      const handled = open.get(source as Socket);
      if (!handled || random(8) === 0) continue;
      if (random(10) === 0) {
        watch.remove(source);
        watch.add(source);
      }
      serve(source as Socket, handled, events);
      if (handled.hasEnded && random(2) === 0) {
        endings.push((source as Socket).shutdown());
        close(source as Socket, handled);
      } else if (handled.hasEnded) {
        close(source as Socket, handled);
      }
    }
    if (random(200) === 0) { for (const entry of open) close(...entry); }
    if (random(60) === 0 || all.length === streams.length) {
      if (isListening) {
        watch.remove(server);
        server.close();
        endings.push(server.closed);
      }
      isListening = false;
    }
    const isDone = [...open.values()].every(({ stream }) => stream.isStuck);
    if (isDone && !isListening) { for (const entry of open) close(...entry); }
  }
  await Promise.all(endings);
  assertEquals([watch.size, listener.accepting], [0, 0]);
  assert(acceptErrors <= listener.errors, "An accept error was thrown twice");
  for (const stream of listener.handedOver) {
    // What was accepted ahead and never asked for is closed, too.
    for (let i = 0; stream.reading + stream.writing > 0 && i < 100; i++) await turn();
    stream.assertLeftAlone();
  }
  for (const handled of all) assertAccountedFor(handled);
}

/** Checks that every byte came once and in order, or that an error told of the others. */
function assertAccountedFor({ stream, received, sent, errors, isAbandoned }: Handled): void {
  const name = `stream ${stream.id}, which ${stream.end}`;
  assert(received <= stream.delivered, name);
  if (!isAbandoned) assertEquals(received, stream.delivered, name);
  assertEquals(new Set(errors).size, errors.length, `${name}: an error came twice`);
  const own = errors.filter((error) => error === stream.readError || error instanceof RangeError);
  if (!isAbandoned) assertEquals(own.length, stream.end === "eof" ? 0 : 1, name);
  assert(stream.written.length <= sent, name);
  stream.written.forEach((byte, at) => assertEquals(byte, byteOf(stream.id, at), name));
}

Deno.test("Poller loses and doubles nothing when streams and listeners fail at random", async () => {
  await withSeeds(30, async (random) => {
    using poller = new Poller();
    await driveFaults(random, pollWatch(poller));
  });
});

Deno.test("select() loses and doubles nothing when streams and listeners fail at random", async () => {
  await withSeeds(20, (random) => driveFaults(random, selectWatch()));
});

/** Many sources whose reads were pending when all brought data in one turn; that has been received. */
async function burstOf(count: number, poller: Poller) {
  const streams = Array.from({ length: count }, () => new MemoryStream());
  const sources = streams.map((stream) => new Socket(stream));
  for (const source of sources) poller.register(source);
  while (streams.some(({ targets }) => targets.length === 0)) await poller.poll(0);
  for (const stream of streams) stream.push("burst");
  await turn();
  const ready = await poller.poll();
  assertEquals(ready.map(([source]) => recvText(source as Socket)), streams.map(() => "burst"));
  return { streams, sources };
}

for (const [quiet, talking] of [[0, 65], [0, 128], [300, 129], [0, 400], [65, 400]] as const) {
  Deno.test(`Poller.poll() hears ${talking} that talk at once beside ${quiet} quiet ones`, async () => {
    using poller = new Poller();
    const quietSources = Array.from({ length: quiet }, () => new Socket(new MemoryStream()));
    for (const source of quietSources) poller.register(source);
    const { streams, sources } = await burstOf(talking, poller);
    const counts = new Map(sources.map((source) => [source, 0]));
    for (let round = 1; round <= 5; round++) {
      for (const stream of streams) stream.push("again");
      if (round % 2 === 0) await turn();
      for (let heard = 0; heard < talking;) {
        const ready = await poller.poll();
        for (const [source] of ready) {
          assertEquals(recvText(source as Socket), "again");
          counts.set(source as Socket, counts.get(source as Socket)! + 1);
        }
        heard += ready.length;
      }
      assertEquals(new Set(counts.values()), new Set([round]));
    }
    closeAll(...sources, ...quietSources);
  });
}

Deno.test("Poller.poll() looks at every source after a burst although its timeout is 0", async () => {
  for (const [count, at] of [[101, 100], [129, 128], [200, 0], [200, 199], [1000, 999]] as const) {
    using poller = new Poller();
    const { streams, sources } = await burstOf(count, poller);
    streams[at]!.push("last");
    assertEquals(await poller.poll(0), [[sources[at]!, POLLIN]]);
    closeAll(...sources);
  }
});

netTest(
  "Poller.poll() sees what the kernel has after a burst although its timeout is 0",
  async () => {
    using listener = listenLocal();
    using ends = new DisposableStack();
    using poller = new Poller();
    const clients: Deno.TcpConn[] = [];
    const sources: Socket[] = [];
    for (let i = 0; i < 150; i++) {
      const [client, server] = await Promise.all([connect(listener), listener.accept()]);
      clients.push(ends.use(client));
      sources.push(ends.use(new Socket(server)));
      poller.register(sources[i]!);
    }
    for (let round = 0; round < 5; round++) {
      await poller.poll(0);
      await Promise.all(clients.map((client) => client.write(encode("burst"))));
      for (let heard = 0; heard < clients.length;) {
        const ready = await poller.poll();
        for (const [source] of ready) assertEquals(recvText(source as Socket), "burst");
        heard += ready.length;
      }
      await clients[round * 37]!.write(encode("last"));
      const ready = await poller.poll(0);
      assertEquals(ready, [[sources[round * 37]!, POLLIN]]);
      assertEquals(recvText(sources[round * 37]!), "last");
    }
  },
);

Deno.test("Poller.poll() hears talkers again after a burst although clients never stop coming", async () => {
  using poller = new Poller();
  const { promise: doors, resolve: openDoors } = Promise.withResolvers<void>();
  const accept = async () => {
    await doors;
    await turn();
    return quietStream();
  };
  await using server = new ServerSocket({ accept, close: () => {} });
  poller.register(server);
  const { streams, sources } = await burstOf(150, poller);
  openDoors();
  for (const stream of streams) stream.push("again");
  const unheard = new Set<Source>(sources);
  const untilMs = performance.now() + 5000;
  while (unheard.size > 0) {
    assert(performance.now() < untilMs, `${unheard.size} of 150 are never heard`);
    for (const [source] of await poller.poll()) {
      if (source instanceof ServerSocket) {
        source.accept().close(); // all that wait: there are never more than one
      } else {
        assertEquals(recvText(source), "again");
        unheard.delete(source);
      }
    }
    await turn(); // as a server does that awaits the write of its log
  }
  closeAll(...sources);
});

// -- Faults: connections accepted ahead --

Deno.test("ServerSocket.close() closes every connection that waits, though one of them fails to", async () => {
  const closed: number[] = [];
  const streams = Array.from({ length: 5 }, (_, i): ByteStream => ({
    ...quietStream(),
    close: () => {
      closed.push(i);
      if (i === 2) throw new SyntaxError("broken");
    },
  }));
  let isListening = true;
  const server = new ServerSocket({
    accept: () => Promise.resolve(streams.shift() ?? new Promise<ByteStream>(() => {})),
    close: () => isListening = false,
  });
  using poller = pollerOf(server);
  while (streams.length > 0) await poller.poll();
  server.close();
  assertEquals([closed, isListening], [[0, 1, 2, 3, 4], false]);
  assertEquals(await poller.poll(), [[server, POLLNVAL]]);
});

Deno.test("ServerSocket.closed settles although a connection accepted after close() fails to close", async () => {
  const late = Promise.withResolvers<ByteStream>();
  const server = new ServerSocket({ accept: () => late.promise, close: () => {} });
  await select([server], [], [], 0);
  server.close();
  const close = () => {
    throw new Deno.errors.BadResource("gone");
  };
  late.resolve({ ...quietStream(), close });
  await server.closed;
});

Deno.test("ServerSocket keeps what waits when it is unregistered, for whoever watches next", async () => {
  const listener = new MemoryListener();
  using server = new ServerSocket(listener);
  const streams = Array.from({ length: 5 }, () => listener.connect());
  listener.fail(new Deno.errors.NotConnected("gone"));
  using poller = pollerOf(server);
  for (let i = 0; i < 5; i++) await poller.poll();
  const first = server.accept();
  poller.unregister(server);
  assertEquals(await poller.poll(0), []);
  assertEquals(await select([server], [], [], 0), [[server], [], []]);
  const rest = Array.from({ length: 4 }, () => server.accept());
  assertEquals([first, ...rest].map(({ stream }) => stream), streams);
  assertThrows(() => server.accept(), Deno.errors.NotConnected);
  assertThrows(() => server.accept(), Deno.errors.WouldBlock);
  assertEquals(await poller.poll(0), []);
  poller.register(server);
  listener.connect();
  assertEquals(await poller.poll(), [[server, POLLIN]]);
  server.accept().close();
  closeAll(first, ...rest);
});

// -- Faults: the server --

/** Replaces a function of Deno's until it is disposed. */
function replaced(name: "listen" | "openSync", fn: () => unknown): Disposable {
  const original = Deno[name];
  Object.assign(Deno, { [name]: fn });
  return { [Symbol.dispose]: () => void Object.assign(Deno, { [name]: original }) };
}

/** A server whose clients are streams in memory. */
async function serveFrom(listener: Acceptor, args: readonly string[], overrides: Partial<Io> = {}) {
  using _ = replaced("listen", () => listener);
  return await serve(args, overrides);
}

/** What was logged of a connection. */
interface Heard {
  bytes: number[];
  end?: { bytes: number; lines: number; reason: string };
}

/** What was logged as json, by the port of the client; checks that records come in their order. */
function heardIn(lines: readonly string[]): Map<number, Heard> {
  const all = new Map<number, Heard>();
  for (const line of lines) {
    const record = JSON.parse(line);
    const heard = all.get(record.port);
    if (record.event === "connected") {
      assertEquals(heard, undefined);
      all.set(record.port, { bytes: [] });
      continue;
    }
    if (!heard || heard.end) throw new Error(`Out of order: ${line}`);
    if (record.event === "line") {
      const { message, message_base64, cut } = record;
      const bytes = message_base64 ? Uint8Array.fromBase64(message_base64) : utf8(message);
      heard.bytes.push(...bytes);
      if (!cut) heard.bytes.push(0x0A);
    } else {
      heard.end = record;
    }
  }
  return all;
}

/** Output that takes what it wants and when it wants. */
function slowOutput(random: Random) {
  const out = new Capture();
  let isWriting = false;
  const write = async (bytes: Uint8Array): Promise<number> => {
    assertEquals(isWriting, false);
    isWriting = true;
    await lag(random);
    isWriting = false;
    return out.writeSync(
      bytes.subarray(0, pick(random, 1, Math.ceil(bytes.length / 2), bytes.length)),
    );
  };
  return { out, write, writeInline: write };
}

Deno.test("startServer() accounts for every byte when clients, listener and output fail at random", async () => {
  await withSeeds(15, async (random) => {
    const streams = Array.from({ length: 1 + random(40) }, (_, id) => {
      return new FaultyStream(random, id, random(10) === 0 ? Infinity : 500);
    });
    const stuck = streams.filter(({ end, writeEnd }) => end === "hangs" || writeEnd === "hangs");
    const isEchoing = random(3) === 0;
    const args = [
      ...["-f", "json", "--multiplexer", pick(random, ...MULTIPLEXERS)],
      ...["--max-connections", `${stuck.length + 1 + random(10)}`],
      ...["--max-line", `${pick(random, 50, 1000, 65536)}`],
      ...(isEchoing ? ["--echo"] : []),
    ];
    const listener = new FaultyListener(random, streams);
    const output = slowOutput(random);
    await using running = await serveFrom(listener, args, { stdout: output });
    const isSettled = () =>
      listener.handedOver.size === streams.length &&
      streams.every(({ closed, isStuck }) => closed || isStuck);
    for (let turns = 0; !isSettled(); turns++) {
      assert(turns < 20_000, "It never ends");
      await turn();
    }
    running.server.stop();
    await running.server.finished;
    assertEquals(listener.accepting, 0);
    for (const stream of streams) {
      for (let i = 0; stream.reading + stream.writing > 0 && i < 100; i++) await turn();
      stream.assertLeftAlone();
    }
    const heard = heardIn(output.out.text.split("\n").slice(0, -1));
    assertEquals(heard.size, streams.length);
    let [bytes, lines] = [0, 0];
    for (const stream of streams) {
      const { bytes: logged, end } = heard.get(stream.remoteAddr.port)!;
      // The last LF may be one that the record stands for.
      logged.forEach((byte, at) => assertEquals(byte, byteOf(stream.id, at)));
      assertEquals(logged.length, end!.bytes);
      assert(end!.bytes <= stream.delivered);
      if (!isEchoing) {
        assertEquals(end!.bytes, stream.delivered);
        assertEquals(end!.reason === "closed", stream.end === "eof", end!.reason);
      }
      assertEquals(stream.written, logged.slice(0, stream.written.length));
      bytes += end!.bytes;
      lines += end!.lines;
    }
    running.server.reportStats();
    const [, ...counts] =
      /(\d+) open (\d+) total 0 refused, (\d+) lines?, (\d+) bytes?, .* (\d+) accept/
        .exec(running.err.lines.at(-1)!)!;
    assertEquals(counts.map(Number), [0, streams.length, lines, bytes, listener.errors]);
  });
});

// -- Faults: output that is written while the next round is read --

/** A client in memory; whatever it is given can be read, in portions of any size. */
class Feed implements ByteStream {
  static #count = 0;
  readonly remoteAddr: Deno.NetAddr = {
    transport: "tcp",
    hostname: "127.0.0.1",
    port: ++Feed.#count,
  };
  #bytes = new Uint8Array();
  #hasEnded = false;
  #news = Promise.withResolvers<void>();

  push(text: string): void {
    this.#bytes = bytesOf(latin1(this.#bytes) + text);
    this.#news.resolve();
  }

  end(): void {
    this.#hasEnded = true;
    this.#news.resolve();
  }

  async read(target: Uint8Array): Promise<number | null> {
    while (this.#bytes.length === 0) {
      if (this.#hasEnded) return null;
      this.#news = Promise.withResolvers();
      await this.#news.promise;
    }
    const count = Math.min(target.length, this.#bytes.length);
    target.set(this.#bytes.subarray(0, count));
    this.#bytes = this.#bytes.slice(count);
    return count;
  }

  close(): void {
    this.#news.reject(new Deno.errors.Interrupted("operation canceled"));
    this.#news.promise.catch(() => {});
  }
}

/** Output whose every write waits until the test says how it goes on. */
class GatedOutput {
  readonly out = new Capture();
  #pending: { bytes: Uint8Array; settle: PromiseWithResolvers<number> } | undefined;
  #arrival = Promise.withResolvers<void>();
  /** The bytes of a write must not change while it waits. */
  #copy = new Uint8Array();

  write(bytes: Uint8Array): Promise<number> {
    if (this.#pending) throw new Error("Two writes at once");
    const settle = Promise.withResolvers<number>();
    this.#pending = { bytes, settle };
    this.#copy = bytes.slice();
    this.#arrival.resolve();
    return settle.promise;
  }

  /** Waits for a write; resolves to its size. */
  async size(): Promise<number> {
    await this.#arrival.promise;
    return this.#pending!.bytes.length;
  }

  async take(most = Infinity): Promise<void> {
    const { bytes, settle } = await this.#next();
    assertEquals(bytes, this.#copy);
    settle.resolve(this.out.writeSync(bytes.subarray(0, Math.min(most, bytes.length))));
  }

  async fail(error: Error): Promise<void> {
    const { settle } = await this.#next();
    settle.reject(error);
  }

  async takeUntil(text: string, most = Infinity): Promise<void> {
    while (this.out.count(text) === 0) await this.take(most);
  }

  async #next() {
    await this.#arrival.promise;
    const pending = this.#pending!;
    this.#pending = undefined;
    this.#arrival = Promise.withResolvers();
    return pending;
  }
}

function noSpace(): Error {
  return Object.assign(new Error("No space left on device (os error 28)"), { code: "ENOSPC" });
}

/** Numbered lines, from `first` to below `end`. */
function numbered(first: number, end: number): string {
  return Array.from({ length: end - first }, (_, i) => `line ${first + i} ${"x".repeat(90)}\n`)
    .join("");
}

/** The numbers of the lines that were logged of `port`. */
function numbersIn(text: string, port: number): number[] {
  const found = text.matchAll(
    new RegExp(`^#\\d+ 127\\.0\\.0\\.1:${port} \\| line (\\d+) x{90}$`, "gm"),
  );
  return Array.from(found, ([, number]) => Number(number));
}

function upTo(end: number): number[] {
  return Array.from({ length: end }, (_, i) => i);
}

/** A server whose log is being written, 16 KiB or more at once, while it reads on. */
async function serveOverlapped(multiplexer: string) {
  const listener = new MemoryListener();
  const output = new GatedOutput();
  const args = ["-q", "-t", "none", "--multiplexer", multiplexer];
  const running = await serveFrom(listener, args, { stdout: output });
  const [bulky, other] = [new Feed(), new Feed()];
  listener.connect(bulky);
  listener.connect(other);
  bulky.push(numbered(0, 600));
  while (await output.size() < 16 * 1024) await output.take();
  const bytesHeard = () => {
    running.server.reportStats();
    return Number(/(\d+) bytes/.exec(running.err.lines.at(-1)!)![1]);
  };
  /** Has ten lines of another client read while that write waits. */
  const readOn = async () => {
    const before = bytesHeard();
    other.push(numbered(0, 10));
    for (let turns = 0; bytesHeard() === before; turns++) {
      assert(turns < 1000, "Nothing is read while a bulky round is written");
      await turn();
    }
  };
  return {
    ...running,
    output,
    bulky,
    other,
    readOn,
    messages: () => running.err.lines.filter((line) => line.startsWith("earshot: ")),
    [Symbol.asyncDispose]: () => running[Symbol.asyncDispose](),
  };
}

for (const multiplexer of MULTIPLEXERS) {
  const test = (
    name: string,
    fn: (running: Awaited<ReturnType<typeof serveOverlapped>>) => Promise<void>,
  ) => {
    Deno.test(`startServer() ${name} (${multiplexer})`, async () => {
      await using running = await serveOverlapped(multiplexer);
      await fn(running);
    });
  };

  /** Stops the server, lets it write all and checks that each line is there once and in order. */
  const assertComplete = async (
    { server, output, bulky, other }: Awaited<ReturnType<typeof serveOverlapped>>,
    most = Infinity,
  ) => {
    for (const feed of [bulky, other]) feed.push("last\n");
    const ended = server.finished.then(() => true);
    await output.takeUntil(`:${bulky.remoteAddr.port} | last\n`, most);
    await output.takeUntil(`:${other.remoteAddr.port} | last\n`, most);
    server.stop();
    assert(await ended);
    assertEquals(numbersIn(output.out.text, bulky.remoteAddr.port), upTo(600));
    assertEquals(numbersIn(output.out.text, other.remoteAddr.port), upTo(10));
    assertEquals(output.out.count("\n"), 612);
  };

  test("writes rounds in order though the next is read meanwhile", async (running) => {
    await running.readOn();
    await assertComplete(running);
  });

  test("goes on where a write in the background stopped short", async (running) => {
    await running.readOn();
    await assertComplete(running, 5000);
  });

  test("ends when the write in the background meets a broken pipe and nobody talks", async (running) => {
    await running.output.fail(new Deno.errors.BrokenPipe("Broken pipe"));
    await assertRejects(() => running.server.finished, Failure, "broken pipe");
  });

  test("writes again what a full disk did not take in the background", async (running) => {
    await running.readOn();
    await running.output.take(7000);
    await running.output.fail(noSpace());
    await running.output.fail(noSpace());
    await assertComplete(running);
    assertEquals(running.messages(), [
      "earshot: Cannot write to stdout: no space left on device; clients wait",
      "earshot: stdout works again",
    ]);
  });

  test("waits for the write in the background when it is stopped", async (running) => {
    const { server, output, bulky, other } = running;
    await running.readOn();
    server.stop();
    await turn();
    let hasEnded = false;
    server.finished.then(() => hasEnded = true);
    while (!hasEnded) await Promise.race([output.take(9000), server.finished]);
    assertEquals(numbersIn(output.out.text, bulky.remoteAddr.port), upTo(600));
    assertEquals(numbersIn(output.out.text, other.remoteAddr.port), upTo(10));
  });
}

Deno.test("startServer() ends when nobody takes the write in the background after a stop", async () => {
  await using running = await serveOverlapped("poll");
  running.server.stop();
  await assertRejects(() => running.server.finished, Failure, "nobody takes it");
});

Deno.test("startServer() opens its file anew behind the write in the background", async () => {
  const files: (GatedOutput & Disposable)[] = [];
  const open = () => {
    const file = Object.assign(new GatedOutput(), { isClosed: false, [Symbol.dispose]: () => {} });
    files.push(file);
    return file;
  };
  using _ = replaced("openSync", open);
  const listener = new MemoryListener();
  await using running = await serveFrom(listener, ["-q", "-t", "none", "-o", "log"]);
  const feed = new Feed();
  listener.connect(feed);
  feed.push(numbered(0, 600));
  const [first] = files;
  while (await first!.size() < 16 * 1024) await first!.take();
  for (let storm = 0; storm < 100; storm++) assert(running.server.reopenOutput());
  feed.push(numbered(600, 610));
  await turn();
  assertEquals(files.length, 1);
  await first!.take(100);
  await first!.take();
  await untilTrue(() => files.length > 1);
  const isAtEnd = () => files.some(({ out }) => out.count("line 609"));
  while (!isAtEnd()) await files.at(-1)!.take();
  running.server.stop();
  await running.server.finished;
  const texts = files.map(({ out }) => out.text);
  for (const text of texts) assert(text === "" || text.endsWith("\n"));
  assertEquals(numbersIn(texts.join(""), feed.remoteAddr.port), upTo(610));
  assert(texts.slice(1).join("").length > 0);
});

Deno.test("startServer() logs what it has heard when accepting fails for good", async () => {
  const listener = new MemoryListener();
  await using running = await serveFrom(listener, ["-q", "-t", "none"]);
  const feed = new Feed();
  listener.connect(feed);
  feed.push("first\n");
  await running.out.until("first\n");
  feed.push("second\n");
  listener.fail(new SyntaxError("no more"));
  await assertRejects(() => running.server.finished, Failure, "Cannot accept connections: no more");
  assertEquals(running.out.count("| second\n"), 1);
});

for (const multiplexer of MULTIPLEXERS) {
  Deno.test(`startServer() hears those who wait ahead when a place gets free (${multiplexer})`, async () => {
    const listener = new MemoryListener();
    const args = ["-m", "2", "-t", "none", "--multiplexer", multiplexer];
    await using running = await serveFrom(listener, args);
    const feeds = Array.from({ length: 40 }, () => new Feed());
    for (const [i, feed] of feeds.entries()) {
      listener.connect(feed);
      feed.push(`from ${i}\n`);
    }
    for (const [i, feed] of feeds.entries()) {
      await running.out.until(`| from ${i}\n`);
      const open = running.out.count(" connected\n") - running.out.count(" disconnected");
      assert(open <= 2, `${open} connections`);
      feed.end();
    }
    await running.out.until("disconnected", 40);
    assertEquals(running.out.count("| from "), 40);
  });

  Deno.test(`startServer() closes those who wait ahead when it is stopped at the limit (${multiplexer})`, async () => {
    const listener = new MemoryListener();
    const args = ["-m", "1", "-t", "none", "--multiplexer", multiplexer];
    await using running = await serveFrom(listener, args);
    const streams = Array.from({ length: 10 }, () => new MemoryStream());
    for (const stream of streams) {
      listener.connect(Object.assign(stream, { remoteAddr: new Feed().remoteAddr }));
    }
    await running.out.until(" connected\n");
    await turn();
    running.server.stop();
    await running.server.finished;
    assertEquals(running.out.count(" connected\n"), 1);
    const taken = streams.filter(({ closed }) => closed).length;
    assert(taken >= 1);
    // Nobody else was taken from the backlog and forgotten.
    for (const { targets, closed } of streams) assert(closed || targets.length === 0);
  });
}

// -- Fuzz --

/** What framing must find, in the plainest way: whole input at once, no limit. */
function framesExpected(framing: "newline" | "nul", input: string): Frame[] {
  const parts = input.split(framing === "nul" ? "\0" : "\n");
  const rest = parts.pop()!;
  const whole = parts.map((line): Frame => {
    return [framing === "newline" ? line.replace(/\r$/, "") : line, WHOLE];
  });
  return rest === "" ? whole : [...whole, [rest, CUT]];
}

/** Puts the pieces of cut frames together. */
function joinPieces(frames: readonly Frame[]): Frame[] {
  const joined: Frame[] = [];
  let held = "";
  for (const [text, isWhole] of frames) {
    held += text;
    if (!isWhole) continue;
    joined.push([held, WHOLE]);
    held = "";
  }
  return held === "" ? joined : [...joined, [held, CUT]];
}

/** Every text of at most `length` characters. */
function everyText(alphabet: string, length: number): string[] {
  if (length === 0) return [""];
  const shorter = everyText(alphabet, length - 1);
  const longest = shorter.filter((text) => text.length === length - 1);
  return [...shorter, ...longest.flatMap((text) => [...alphabet].map((last) => text + last))];
}

/** Cuts bytes into reads at random. */
function randomReads(random: Random, bytes: Uint8Array): Uint8Array[] {
  const reads: Uint8Array[] = [];
  for (let at = 0; at < bytes.length;) {
    const end = Math.min(bytes.length, at + 1 + random(pick(random, 1, 10, 1000)));
    reads.push(bytes.subarray(at, end));
    at = end;
  }
  return reads;
}

/** Bytes that are likely to hit something: delimiters, digits, controls, parts of UTF-8 characters. */
function nastyBytes(random: Random, length: number): Uint8Array<ArrayBuffer> {
  const parts = [
    "\n",
    "\r\n",
    "\r",
    "\0",
    "plain text ",
    "5 hello",
    "99999999 ",
    `"\\\t`,
    "\x1B[31m",
    "#1 127.0.0.1:1 | ",
    ...["é", "€", "😀", "\u2028", "\u2029", "\u202E", "\u2066", "\u061C", "\u009B", "\uFEFF"]
      .map((character) => latin1(utf8(character))),
    "\xFF",
    "\xC0\xAF",
    "\xED\xA0\x80",
    "\xF4\x90\x80\x80",
    "\xE2\x82",
    "\x7F",
  ];
  let text = "";
  while (text.length < length) {
    text += random(3) === 0 ? String.fromCharCode(random(256)) : pick(random, ...parts);
  }
  return bytesOf(text.slice(0, length));
}

Deno.test("createFramer() finds the frames of every short input, however it is read", () => {
  const texts = everyText("a\r\n\0", 5);
  assertEquals([texts.length, new Set(texts).size], [1365, 1365]);
  for (const framing of ["newline", "nul"] as const) {
    for (const text of texts) {
      const expected = framesExpected(framing, text);
      for (const maxBytes of [1, 2, 99]) {
        for (const reads of everySplit(bytesOf(text))) {
          const { frames } = framesOf(framing, maxBytes, reads);
          if (JSON.stringify(joinPieces(frames)) !== JSON.stringify(expected)) {
            assertEquals(joinPieces(frames), expected, JSON.stringify({ framing, text, maxBytes }));
          }
          assert(frames.every(([piece]) => piece.length <= maxBytes), JSON.stringify(text));
        }
      }
    }
  }
});

Deno.test("createFramer() finds the frames of random input, in every framing and at every limit", async () => {
  await withSeeds(300, (random) => {
    const input = nastyBytes(random, random(pick(random, 10, 200, 5000)));
    const maxBytes = pick(random, 1, 2, 3, 4, 1 + random(100), 65536);
    const reads = randomReads(random, input);
    for (const framing of ["newline", "nul", "none"] as const) {
      const { frames, reason } = framesOf(framing, maxBytes, reads);
      assertEquals(reason, undefined);
      const expected = framing === "none"
        ? reads.map((read): Frame => [latin1(read), WHOLE])
        : framesExpected(framing, latin1(input));
      assertEquals(joinPieces(frames), expected);
      assertPieces(frames, maxBytes);
    }
  });
});

/** Checks that no piece is too long, and none that goes on shorter than a character asks for. */
function assertPieces(frames: readonly Frame[], maxBytes: number): void {
  for (const [i, [text, isWhole]] of frames.entries()) {
    assert(text.length <= maxBytes);
    if (!isWhole && i < frames.length - 1) assert(text.length >= Math.max(1, maxBytes - 3));
  }
}

/** The frames of counted input and what is left of it, in the plainest way. */
function octetFramesExpected(input: string): { frames: Frame[]; isBad: boolean } {
  const frames: Frame[] = [];
  let rest = input;
  for (let mayHaveLf = false; rest !== ""; mayHaveLf = true) {
    if (mayHaveLf) rest = rest.replace(/^\n/, "");
    const [head, digits] = /^([1-9]\d{0,7}) /.exec(rest) ?? [];
    if (head === undefined) {
      const mayGoOn = /^([1-9]\d{0,7})?$/.test(rest);
      return { frames: rest === "" ? frames : [...frames, [rest, CUT]], isBad: !mayGoOn };
    }
    const count = Number(digits);
    const message = rest.slice(head.length, head.length + count);
    rest = rest.slice(head.length + count);
    if (message.length < count) {
      return { frames: message === "" ? frames : [...frames, [message, CUT]], isBad: false };
    }
    frames.push([message, WHOLE]);
  }
  return { frames, isBad: false };
}

Deno.test("createFramer() counts the octets of random input as RFC 6587 says, or gives up", async () => {
  await withSeeds(400, (random) => {
    let text = "";
    for (let i = random(8); i > 0; i--) {
      const message = latin1(nastyBytes(random, 1 + random(40)));
      const count = message.length + (random(12) === 0 ? random(5) - 2 : 0);
      text += (random(20) === 0 ? "0" : "") + count + (random(20) === 0 ? "" : " ") + message;
      if (random(3) === 0) text += "\n".repeat(1 + random(random(4) === 0 ? 2 : 1));
      if (random(20) === 0) {
        text += pick(random, "123456789 x", "99999999 x", "-1 x", "1e3 x", "0 ");
      }
    }
    const input = bytesOf(text);
    const expected = octetFramesExpected(text);
    const { frames, reason } = framesOf("octet", 1_000_000, [input]);
    assertEquals([frames, reason !== undefined], [expected.frames, expected.isBad]);
    const maxBytes = pick(random, 1, 3, 7, 1000);
    const cut = framesOf("octet", maxBytes, randomReads(random, input));
    assertPieces(cut.frames, maxBytes);
    assertEquals(cut.reason !== undefined, expected.isBad);
    const joined = joinPieces(cut.frames);
    if (!expected.isBad) return assertEquals(joined, expected.frames);
    // The input is given up in the read that shows the fault: what had come is logged, no more.
    const isWhole = ([, isWhole]: Frame) => isWhole;
    assertEquals(joined.filter(isWhole), expected.frames.filter(isWhole));
    assert(expected.frames.at(-1)![0].startsWith(joined.at(-1)![0]));
  });
});

Deno.test("createFramer() takes a count of 8 digits and holds no more than --max-line of it", () => {
  const count = 20_000_000;
  const framer = createFramer("octet", 1000);
  const lengths = new Map<number, number>();
  let whole = 0;
  const sink = (_bytes: Uint8Array, start: number, end: number, isWhole: boolean) => {
    lengths.set(end - start, (lengths.get(end - start) ?? 0) + 1);
    if (isWhole) whole++;
  };
  framer.push(utf8(`${count} `), sink);
  const read = new Uint8Array(65_536).fill(0x78);
  for (let sent = 0; sent < count;) {
    const bytes = read.subarray(0, Math.min(read.length, count - sent));
    assertEquals(framer.push(bytes, sink), undefined);
    sent += bytes.length;
    assert([...lengths.keys()].every((length) => length <= 1000));
  }
  assertEquals([lengths, whole], [new Map([[1000, 20_000]]), 1]);
  for (const bad of ["100000000 ", "000000001 x", "01 x", "0 x", "+1 x", " 1 x"]) {
    assertEquals(createFramer("octet", 9).push(utf8(bad), () => {}), "bad octet count", bad);
  }
});

/** What a text record shows of a client's bytes, in the plainest way. */
function shownExpected(bytes: Uint8Array): string {
  let shown = "";
  for (let at = 0; at < bytes.length;) {
    const character = characterAt(bytes, at);
    if (character === undefined) {
      shown += `\\x${bytes[at]!.toString(16).toUpperCase().padStart(2, "0")}`;
      at++;
      continue;
    }
    const code = character.codePointAt(0)!;
    const isUnsafe = /[\p{Cc}\u2028\u2029]|\p{Bidi_Control}/u.test(character) && character !== "\t";
    if (!isUnsafe) shown += character;
    else if (code < 0x80) shown += `\\x${code.toString(16).toUpperCase().padStart(2, "0")}`;
    else shown += `\\u{${code.toString(16).toUpperCase().padStart(4, "0")}}`;
    at += utf8(character).length;
  }
  return shown;
}

/** The character that starts there, if that is valid UTF-8. */
function characterAt(bytes: Uint8Array, at: number): string | undefined {
  for (let length = 1; length <= 4; length++) {
    try {
      const options = { fatal: true, ignoreBOM: true };
      return new TextDecoder("utf-8", options).decode(bytes.subarray(at, at + length));
    } catch {
      // Longer, or none.
    }
  }
}

/** All that is logged of one client that sends `input`, one character a byte. */
async function outputOf(args: readonly string[], input: Uint8Array): Promise<string> {
  const listener = new MemoryListener();
  await using running = await serveFrom(listener, ["-q", "-t", "none", ...args]);
  const feed = new Feed();
  feed.push(latin1(input));
  feed.end();
  listener.connect(Object.assign(feed, { remoteAddr: { ...feed.remoteAddr, port: 1 } }));
  const { promise: end, resolve } = Promise.withResolvers<void>();
  const close = feed.close.bind(feed);
  feed.close = () => {
    close();
    resolve();
  };
  await end;
  running.server.stop();
  await running.server.finished;
  return running.out.binary;
}

Deno.test("startServer() shows every byte of random lines and obeys none", async () => {
  await withSeeds(60, async (random) => {
    const input = nastyBytes(random, random(2000));
    const output = await outputOf([], input);
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytesOf(output));
    assert(!/(?![\t\n])[\p{Cc}\u2028\u2029]|\p{Bidi_Control}/u.test(text));
    const expected = framesExpected("newline", latin1(input)).map(([line, isWhole]) => {
      return `#1 127.0.0.1:1 ${isWhole ? "|" : "+"} ${shownExpected(bytesOf(line))}\n`;
    });
    assertEquals(text, expected.join(""));
  });
});

Deno.test("startServer() shows every character of Unicode that can drive a terminal", async () => {
  const characters = [];
  for (let code = 0; code <= 0xFFFF; code++) {
    if (code === 0x0A || code >= 0xD800 && code < 0xE000) continue;
    characters.push(String.fromCharCode(code));
  }
  for (const args of [[], ["-f", "json"]]) {
    const output = await outputOf([...args, "--max-line", "1000000"], utf8(characters.join("")));
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytesOf(output));
    assertEquals(text.match(/(?![\t\n])[\p{Cc}\u2028\u2029]|\p{Bidi_Control}/gu), null);
    assertEquals(text.split("\n").length, 2);
  }
});

Deno.test("startServer() writes json that gives every random byte back, in every framing", async () => {
  await withSeeds(60, async (random) => {
    const framing = pick(random, "newline", "nul", "none" as const);
    const input = nastyBytes(random, random(2000));
    const maxLine = `${pick(random, 1, 7, 100, 65536)}`;
    const output = await outputOf(
      ["-f", "json", "--framing", framing, "--max-line", maxLine],
      input,
    );
    const frames = bytesOf(output).length === 0 ? [] : new TextDecoder().decode(bytesOf(output))
      .slice(0, -1).split("\n").map((line): Frame => {
        const { event, connection, message, message_base64, cut } = JSON.parse(line);
        assertEquals([event, connection], ["line", 1]);
        assertEquals((message === undefined) !== (message_base64 === undefined), true);
        const bytes = message_base64 ? Uint8Array.fromBase64(message_base64) : utf8(message);
        return [latin1(bytes), !cut];
      });
    const joined = joinPieces(frames);
    if (framing === "none") {
      assertEquals(joined.map(([text]) => text).join(""), latin1(input));
    } else {
      assertEquals(joined, framesExpected(framing, latin1(input)));
    }
  });
});

// -- Hostile clients and unlucky moments --

Deno.test({
  name: "main() writes every line once when the reader of its pipe stops for a while",
  ignore: noSignals,
  timeout: 120_000,
  async fn() {
    // Few clients, then many: stdout is written in two ways.
    await using cli = spawnCli(["-p", "0", "-q", "-t", "none"], { stdout: "unread" });
    const port = await cli.port();
    using clients = new DisposableStack();
    const conns: Deno.Conn[] = [];
    const talk = async (round: number) => {
      await Promise.all(conns.map((conn, i) => {
        return writeAll(conn, utf8(`client ${i} round ${round} ${"x".repeat(300)}\n`.repeat(20)));
      }));
    };
    for (let i = 0; i < 150; i++) {
      conns.push(clients.use(await connectTo(port)));
      if (i === 5) await talk(0);
    }
    for (let round = 1; round <= 5; round++) await talk(round);
    const reading = cli.read();
    for (let round = 6; round <= 10; round++) {
      await talk(round);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const expected = conns.length * 10 * 20 + 6 * 20;
    await untilTrue(() => cli.out.count("\n") >= expected);
    cli.kill("SIGTERM");
    assertEquals(await cli.ended(), 0);
    await reading;
    const said = Map.groupBy(cli.out.text.split("\n").slice(0, -1), (line) => line.split(" ")[0]!);
    assertEquals(said.size, 150);
    for (const lines of said.values()) {
      const found = lines.map((line) => /\| client \d+ round (\d+) x{300}$/.exec(line)?.[1]);
      const first = lines.length > 200 ? 0 : 1;
      const rounds = Array.from({ length: 11 - first }, (_, i) => `${first + i}`);
      assertEquals(found, rounds.flatMap((round) => Array(20).fill(round)));
    }
  },
});

/** Figures of a process from /proc: memory in KB, and processor time in ticks of 10 ms. */
function figuresOf(pid: number) {
  const status = Deno.readTextFileSync(`/proc/${pid}/status`);
  const field = (name: string) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)![1]);
  const stat = Deno.readTextFileSync(`/proc/${pid}/stat`).replace(/^.*\) /, "").split(" ");
  return {
    rssKb: field("VmRSS"),
    peakKb: field("VmHWM"),
    ticks: Number(stat[11]) + Number(stat[12]),
  };
}

const noProc = noRun || Deno.build.os !== "linux";

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Connects and resets at once. */
async function connectAndReset(port: number): Promise<void> {
  const conn = createConnection(port, "127.0.0.1");
  conn.on("error", () => {});
  await once(conn, "connect");
  const closed = once(conn, "close");
  conn.resetAndDestroy();
  await closed;
}

for (const multiplexer of MULTIPLEXERS) {
  Deno.test({
    name:
      `startServer() outlives hundreds of clients that reset before they are accepted (${multiplexer})`,
    ignore: noNet,
    timeout: 120_000,
    async fn() {
      await using running = await serve(["-t", "none", "--multiplexer", multiplexer]);
      await Promise.all(Array.from({ length: 300 }, () => connectAndReset(running.port)));
      using client = await running.connect();
      await writeAll(client, utf8("still there?\n"));
      await running.out.until("| still there?\n");
      running.server.reportStats();
      const [, total, errors] = /open (\d+) total.* (\d+) accept errors?/
        .exec(running.err.lines.at(-1)!)!.map(Number);
      assertEquals(total! + errors!, 301);
    },
  });

  Deno.test({
    name: `startServer() serves a fast client among hundreds that drip (${multiplexer})`,
    ignore: noNet,
    timeout: 120_000,
    async fn() {
      await using running = await serve(["-q", "-t", "none", "--multiplexer", multiplexer]);
      using stack = new DisposableStack();
      const drips: Deno.Conn[] = [];
      for (let i = 0; i < 300; i++) drips.push(stack.use(await running.connect()));
      using fast = await running.connect();
      for (let round = 0; round < 10; round++) {
        await Promise.all(drips.map((conn) => writeAll(conn, utf8("d"))));
        await writeAll(fast, utf8(`fast ${round}\n`.repeat(100)));
        await running.out.until(`| fast ${round}\n`, 100);
      }
      assertEquals(running.out.count("\n"), 1000);
      await Promise.all(drips.map((conn) => writeAll(conn, utf8("\n"))));
      await running.out.until("| dddddddddd\n", 300);
    },
  });
}

Deno.test({
  name: "startServer() hears 2,000 clients at once",
  ignore: noNet,
  timeout: 120_000,
  async fn() {
    await using running = await serve(["-q", "-t", "none", "-m", "2000"]);
    await Promise.all(Array.from({ length: 2000 }, async (_, i) => {
      using client = await running.connect();
      await writeAll(client, utf8(`client ${i}\nand its end`));
    }));
    await running.out.until("+ and its end\n", 2000);
    const heard = new Set(running.out.text.match(/(?<=\| client )\d+$/gm));
    assertEquals([heard.size, running.out.count("\n")], [2000, 4000]);
  },
});

Deno.test({
  name: "startServer() never lets a client forge a label",
  ignore: noNet,
  timeout: 120_000,
  async fn() {
    for (const color of ["always", "never"]) {
      const forgeries = [
        "\r#1 127.0.0.1:1 | forged",
        "\x1B[2K\x1B[1G#1 127.0.0.1:1 | forged",
        "\x1B]0;title\x07\x1B]52;c;Zm9yZ2Vk\x07",
        latin1(utf8("\u2028#1 127.0.0.1:1 | forged\u2029")),
        latin1(utf8("\u202E|\u2066#1\u2069 \u0085#1 127.0.0.1:1 | forged \u009B2J")),
        "#1 127.0.0.1:1 | forged",
        "\b\b\b\b\b\b\b\b\x7F\x7F+ forged",
        "\x0B\x0C#1 127.0.0.1:1 connected",
      ];
      const input = bytesOf(forgeries.map((text) => `${text}\n`).join("") + "\r\rlast");
      const lines = await logOf(["--color", color], input);
      assertEquals(lines.length, forgeries.length + 3);
      const label = color === "always"
        ? "\x1B[38;5;166m#1 127.0.0.1:PORT\x1B[0m"
        : "#1 127.0.0.1:PORT";
      for (const [i, line] of lines.entries()) {
        assert(line.startsWith(`${label} `), line);
        const said = line.slice(label.length + 1);
        assertMatch(said, /^([|+] |connected$|disconnected: )/);
        // deno-lint-ignore no-control-regex -- control characters are what it is about
        assert(!/[\0-\x1F\x7F-\x9F\u2028-\u202E\u2066-\u2069]/.test(said), `${i}: ${said}`);
      }
    }
  },
});

Deno.test({
  name: "startServer() goes on when the clock jumps back",
  ignore: noNet,
  timeout: 120_000,
  async fn() {
    let nowMs = NOW_MS;
    await using running = await serve(["-t", "elapsed", "-i", "1000"], { now: () => nowMs });
    using client = await running.connect();
    for (const jump of [0, 5000, -3_600_000, 1]) {
      nowMs += jump;
      await writeAll(client, utf8(`${jump}\n`));
      await running.out.until(`| ${jump}\n`);
    }
    const said = running.out.lines.slice(1).map((line) => line.replace(/#.*\|/, "|"));
    assertEquals(said, ["0.000 | 0", "5.000 | 5000", "0.000 | -3600000", "0.000 | 1"]);
    assertEquals(running.out.count("disconnected"), 0);
  },
});

Deno.test({
  name: "startServer() hears TLS clients beside silence, junk and half a handshake",
  ignore: noRun || !hasProgram("openssl"),
  timeout: 120_000,
  async fn() {
    using dir = tempDir();
    const [cert, key] = makeCertificate(dir.path);
    await using running = await serve(["--tls-cert", cert, "--tls-key", key, "-t", "none"]);
    using stack = new DisposableStack();
    const hello = "\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03";
    const openings = [
      "",
      "",
      "\x16",
      hello,
      hello + "\0".repeat(200),
      "\xFF".repeat(3000),
      "GET /\n",
    ];
    for (let i = 0; i < 70; i++) {
      const conn = stack.use(await running.connect());
      await conn.write(bytesOf(openings[i % openings.length]!)).catch(() => {});
    }
    await running.out.until("TLS handshake failed", 20);
    const caCerts = [Deno.readTextFileSync(cert)];
    for (let i = 0; i < 3; i++) {
      using client = await Deno.startTls(await running.connect() as Deno.TcpConn, {
        hostname: "localhost",
        caCerts,
      });
      await writeAll(client, utf8(`secret ${i}\n`));
      await running.out.until(`| secret ${i}\n`);
    }
    // Only then can the server close the handshakes that it has given up.
    stack.dispose();
    running.server.stop();
    await running.server.finished;
    assertEquals(running.out.count(" connected\n"), 3);
    assertEquals(running.out.count(" disconnected: "), 73);
  },
});

Deno.test({
  name: "main() waits without spinning when descriptors run out, and goes on when some are free",
  ignore: noProc,
  timeout: 120_000,
  async fn() {
    await using cli = spawnCli(["-p", "0", "-t", "none"], { descriptors: 60 });
    const port = await cli.port();
    const conns: Deno.Conn[] = [];
    for (let i = 0; i < 100; i++) conns.push(await connectTo(port));
    await cli.err.until("new clients wait\n");
    // The one figure of time in these tests: a spin takes a whole core, waiting nearly nothing.
    const before = figuresOf(cli.pid).ticks;
    await pause(1000);
    const ticks = figuresOf(cli.pid).ticks - before;
    assert(ticks < 30, `${ticks} ticks of 100 while there is nothing to do`);
    await writeAll(conns[0]!, utf8("heard meanwhile\n"));
    await cli.out.until("| heard meanwhile\n");
    for (const [i, conn] of conns.entries()) {
      await writeAll(conn, utf8(`from ${i}\n`));
      conn.close();
    }
    await cli.out.until("| from ", 100);
    cli.kill("SIGTERM");
    assertEquals(await cli.ended(), 0);
    assertEquals(new Set(cli.out.text.match(/(?<=\| from )\d+$/gm)).size, 100);
    assertEquals(cli.err.count("new clients wait"), 1);
  },
});

Deno.test({
  name: "main() holds no more memory when 100 MB come without a line end",
  ignore: noProc,
  timeout: 120_000,
  async fn() {
    using dir = tempDir();
    await using cli = spawnCli(["-p", "0", "-t", "none", "-o", `${dir.path}/log`]);
    using client = await connectTo(await cli.port());
    await writeAll(client, utf8("warm\n"));
    await untilTrue(() => Deno.statSync(`${dir.path}/log`).size > 0);
    const { rssKb } = figuresOf(cli.pid);
    const chunk = new Uint8Array(1_000_000).fill(0x78);
    for (let i = 0; i < 100; i++) await writeAll(client, chunk);
    await client.closeWrite();
    await client.read(new Uint8Array(1));
    const { peakKb } = figuresOf(cli.pid);
    assert(peakKb - rssKb < 40 * 1024, `${peakKb - rssKb} KB more than before`);
    cli.kill("SIGTERM");
    assertEquals(await cli.ended(), 0);
    const log = Deno.readTextFileSync(`${dir.path}/log`);
    assertMatch(log, / disconnected: 100000005 bytes, 2 lines, /);
    assertEquals(log.match(/ \+ x+$/gm)!.join("").replace(/[^x]/g, "").length, 100_000_000);
  },
});

Deno.test({
  name: "main() logs all that has arrived when it is stopped in the middle of a burst",
  ignore: noSignals,
  timeout: 120_000,
  async fn() {
    await using cli = spawnCli(["-p", "0", "-t", "none"]);
    const port = await cli.port();
    using stack = new DisposableStack();
    const conns: Deno.Conn[] = [];
    for (let i = 0; i < 50; i++) conns.push(stack.use(await connectTo(port)));
    await cli.out.until(" connected\n", 50);
    // Each less than what the kernel takes at once: it has all of it when the signal comes.
    await Promise.all(conns.map((conn) => writeAll(conn, utf8(`${"x".repeat(99)}\n`.repeat(500)))));
    cli.kill("SIGTERM");
    assertEquals(await cli.ended(), 0);
    assertEquals(cli.out.count(`| ${"x".repeat(99)}\n`), 25_000);
    assertEquals(cli.out.count("50000 bytes, 500 lines, "), 50);
  },
});

Deno.test({
  name: "main() neither loses nor doubles a line in a storm of SIGHUP",
  ignore: noSignals,
  timeout: 120_000,
  async fn() {
    using dir = tempDir();
    const path = `${dir.path}/log`;
    await using cli = spawnCli(["-p", "0", "-t", "none", "-q", "-o", path]);
    const port = await cli.port();
    using stack = new DisposableStack();
    const conns: Deno.Conn[] = [];
    for (let i = 0; i < 5; i++) conns.push(stack.use(await connectTo(port)));
    let isSending = true;
    const sending = Promise.all(conns.map(async (conn, i) => {
      for (let at = 0; at < 300; at++) {
        const lines = Array.from({ length: 50 }, (_, k) => `${i} line ${50 * at + k}\n`);
        await writeAll(conn, utf8(lines.join("")));
      }
      await conn.closeWrite();
      await conn.read(new Uint8Array(1));
    })).then(() => isSending = false);
    let files = 0;
    while (isSending) {
      if (exists(path)) Deno.renameSync(path, `${path}.${++files}`);
      for (let i = 0; i < 3; i++) cli.kill("SIGHUP");
      await pause(5);
    }
    await sending;
    cli.kill("SIGTERM");
    assertEquals(await cli.ended(), 0);
    const parts = Array.from({ length: files }, (_, i) => `${path}.${i + 1}`);
    const texts = [...parts, path].filter(exists).map((part) => Deno.readTextFileSync(part));
    for (const text of texts) assert(text === "" || text.endsWith("\n"));
    for (let i = 0; i < 5; i++) {
      const numbers = texts.join("").matchAll(new RegExp(`\\| ${i} line (\\d+)$`, "gm"));
      assertEquals(Array.from(numbers, ([, number]) => Number(number)), upTo(15_000));
    }
    assert(files > 2, "The file was hardly ever moved");
  },
});

Deno.test({
  name: "main() does not call clients idle when it was stopped itself",
  ignore: noSignals,
  timeout: 120_000,
  async fn() {
    await using cli = spawnCli(["-p", "0", "-t", "none", "-i", "1.5"]);
    const port = await cli.port();
    using silent = await connectTo(port);
    using talking = await connectTo(port);
    await writeAll(talking, utf8("before\n"));
    await cli.out.until("| before\n");
    cli.kill("SIGSTOP");
    await pause(1000);
    await writeAll(talking, utf8("meanwhile\n"));
    await pause(2000);
    cli.kill("SIGCONT");
    await cli.out.until("| meanwhile\n");
    for (let i = 0; i < 5; i++) {
      await writeAll(talking, utf8(`after ${i}\n`));
      await cli.out.until(`| after ${i}\n`);
    }
    assertEquals(await silent.read(new Uint8Array(1)), null);
    await cli.out.until(" disconnected: ");
    const ends = cli.out.lines.filter((line) => line.includes("disconnected"));
    assertEquals(ends, [
      "#1 127.0.0.1:PORT disconnected: 0 bytes, 0 lines, 0.0 s (idle for 1.5 s)",
    ]);
  },
});

for (const multiplexer of MULTIPLEXERS) {
  Deno.test(`startServer() hears what came while it stood still before it looks who is idle (${multiplexer})`, async () => {
    const listener = new MemoryListener();
    const args = ["-t", "none", "-i", "0.2", "--multiplexer", multiplexer];
    await using running = await serveFrom(listener, args);
    const feed = new Feed();
    listener.connect(feed);
    feed.push("before\n");
    await running.out.until("| before\n");
    await pause(100);
    // Across the client's deadline; what has come meanwhile is known a turn later.
    for (const untilMs = performance.now() + 300; performance.now() < untilMs;);
    setTimeout(() => feed.push("meanwhile\n"), 0);
    await running.out.until(" disconnected: ");
    assertEquals(running.out.count("| meanwhile\n"), 1);
    assertEquals(running.out.count("(idle for 0.2 s)\n"), 1);
  });
}

// -- README --

const README = noFiles ? "" : Deno.readTextFileSync(new URL("./README.md", import.meta.url));

Deno.test({
  name: "README lists every option of usage() with the same default",
  ignore: noFiles,
  fn() {
    const rows = new Map<string, string>();
    for (const [, options = "", value = ""] of README.matchAll(/^\| (`-.+?) +\| (.*?) *\|/gm)) {
      for (const [, name = ""] of options.matchAll(/--([a-z-]+)/g)) rows.set(name, value);
    }
    const names = [...usage().matchAll(/^ +(?:-\w, )?--([a-z-]+)/gm)].map(([, name = ""]) => name);
    assertEquals([...rows.keys()].sort(), names.sort());
    for (const [name, value] of Object.entries(DEFAULTS)) assertEquals(rows.get(name), value, name);
  },
});

Deno.test({
  name: "README names only tasks that exist",
  ignore: noFiles,
  async fn() {
    const { tasks } = JSON.parse(
      await Deno.readTextFile(new URL("./deno.json", import.meta.url)),
    );
    const named = [...README.matchAll(/\btask ([a-z]+)/g)].map(([, name = ""]) => name);
    assert(named.length > 0);
    assertEquals(named.filter((name) => !(name in tasks)), []);
  },
});

Deno.test({
  name: "README links only to headings that exist",
  ignore: noFiles,
  fn() {
    const anchors = [...README.matchAll(/^#+ (.+)$/gm)].map(([, heading = ""]) =>
      heading.toLowerCase().replaceAll(/[^\w\s-]/g, "").replaceAll(" ", "-")
    );
    const links = [...README.matchAll(/\]\(#([^)]+)\)/g)].map(([, anchor = ""]) => anchor);
    assertEquals(links.filter((anchor) => !anchors.includes(anchor)), []);
  },
});

Deno.test({
  name: "README's unit and logrotate stanza write and move the same file",
  ignore: noFiles,
  fn() {
    const [, output] = /^ExecStart=.* --output (\S+)$/m.exec(README)!;
    assert(README.includes(`\n${output} {\n`));
    assertMatch(README, /^ExecReload=.* -HUP /m);
  },
});

Deno.test({
  name: "deno task bundle makes one file that runs in an empty folder",
  ignore: noSignals,
  async fn() {
    using dir = tempDir();
    const deno = (args: string[], cwd: string | URL) =>
      new Deno.Command(Deno.execPath(), {
        args,
        cwd,
        env: { NO_COLOR: "1" },
        stdin: "null",
        stdout: "piped",
        stderr: "piped",
      });
    const here = new URL(".", import.meta.url);
    const { bundle } = JSON.parse(await Deno.readTextFile(new URL("./deno.json", here))).tasks;
    const args = bundle.command.replace("earshot.js", `${dir.path}/earshot.js`).split(" ").slice(1);
    const made = await deno(args, here).output();
    assertEquals(made.code, 0, new TextDecoder().decode(made.stderr));

    await using child = deno(["run", "--allow-net", "earshot.js", "-p", "0"], dir.path).spawn();
    const [err, out] = [new Capture(), new Capture()];
    const reading = [[child.stderr, err] as const, [child.stdout, out] as const].map(
      async ([stream, capture]) => {
        for await (const bytes of stream) capture.writeSync(bytes);
      },
    );
    await err.until("every interface)\n");
    using client = await connectTo(Number(/127\.0\.0\.1:(\d+)/.exec(err.text)![1]));
    await writeAll(client, utf8("hello\n"));
    await out.until("| hello\n");
    child.kill("SIGTERM");
    assertEquals((await child.status).code, 0);
    await Promise.all(reading);
  },
});

Deno.test({
  name: "main() prints help to a reader that has seen enough, and does not complain",
  ignore: noSignals || !hasProgram("bash"),
  async fn() {
    const script = new URL("./main.ts", import.meta.url).href;
    const { stdout, stderr } = await new Deno.Command("bash", {
      args: [
        "-c",
        '"$0" run "$1" --help | head -n 1; echo "${PIPESTATUS[0]}"',
        Deno.execPath(),
        script,
      ],
      env: { NO_COLOR: "1" },
      stdin: "null",
    }).output();
    const text = new TextDecoder().decode(stdout);
    assertMatch(text, /^earshot .+\n0\n$/);
    assertEquals(new TextDecoder().decode(stderr), "");
  },
});
