/** What real connections show: connecting, errors, ends behind unread data, handing over. */

import { createConnection } from "node:net";
import { assert, assertEquals, assertRejects, assertStrictEquals, assertThrows } from "@std/assert";
import {
  Poller,
  POLLERR,
  POLLHUP,
  POLLIN,
  POLLNVAL,
  POLLOUT,
  POLLRDHUP,
  select,
  ServerSocket,
  Socket,
} from "../poller.ts";
import { decode, encode } from "../lib/bytes.ts";
import {
  connect,
  connectAndReset,
  listenLocal,
  readUpTo,
  resetConnection,
} from "./support/connections.ts";
import { tempDir } from "./support/files.ts";
import { MemoryStream, quietStream } from "./support/memory.ts";
import {
  ALL_EVENTS,
  closeAll,
  eventsNow,
  pollerOf,
  recvText,
  waitByPoll,
  waitBySelect,
} from "./support/sources.ts";
import { replaced } from "./support/replaced.ts";
import { assertPending, pause, turn } from "./support/waiting.ts";
import { NET, UNIX } from "./support/needs.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** A socket and the conn at its other end. */
async function socketPair() {
  using listener = listenLocal();
  const [peer, conn] = await Promise.all([connect(listener), listener.accept()]);
  const ends = new DisposableStack();
  return {
    peer: ends.use(peer),
    socket: ends.use(new Socket(conn)),
    [Symbol.dispose]: () => ends.dispose(),
  };
}

/** A socket, and a peer that can reset: Deno's own close() sends a FIN first. */
async function resettablePair() {
  using listener = listenLocal();
  const peer = createConnection(listener.addr.port, "127.0.0.1");
  peer.on("error", () => {});
  const socket = new Socket(await listener.accept());
  return {
    socket,
    say: (text: string) => new Promise((resolve) => peer.write(text, resolve)),
    reset: () => peer.resetAndDestroy(),
    [Symbol.dispose]() {
      socket.close();
      peer.destroy();
    },
  };
}

/** The port of a listener that is gone. */
function deadPort(): number {
  using listener = listenLocal();
  return listener.addr.port;
}

// -- Clients that are gone before they are accepted --

for (const [name, wait] of [["select()", waitBySelect], ["Poller.poll()", waitByPoll]] as const) {
  Deno.test({
    ...NET,
    name: `${name} reports nothing of 200 clients that reset at once, and serves another`,
    async fn() {
      await using server = new ServerSocket(listenLocal());
      const { port } = server.addr as Deno.NetAddr;
      await Promise.all(Array.from({ length: 200 }, () => connectAndReset(port)));
      using _client = await Deno.connect({ port });
      let accepted = 0;
      while (accepted + server.lost < 201) {
        for (const [, events] of await wait([server], POLLIN, 100)) assertEquals(events, POLLIN);
        for (; server.waiting > 0; accepted++) server.accept().close();
      }
    },
  });
}

// -- Connecting --

Deno.test({
  ...NET,
  name: "Socket.connect() is writable once it is connected, not before",
  async fn() {
    using listener = listenLocal();
    using socket = Socket.connect({ port: listener.addr.port });
    assertThrows(() => socket.send(encode("x")), Deno.errors.WouldBlock);
    assertThrows(() => socket.recv(1), Deno.errors.WouldBlock);
    assertEquals(socket.recv(0).length, 0);
    using poller = new Poller();
    poller.register(socket, ALL_EVENTS);
    assertEquals(await poller.poll(1000), [[socket, POLLOUT]]);
    assertEquals(socket.takeError(), undefined);
    assertEquals((socket.remoteAddr as Deno.NetAddr).port, listener.addr.port);
    socket.send(encode("hello"));
    using peer = await listener.accept();
    assertEquals(decode(await readUpTo(peer, 5)), "hello");
    await peer.write(encode("hi"));
    poller.modify(socket, POLLIN);
    assertEquals(await poller.poll(1000), [[socket, POLLIN]]);
    assertEquals(recvText(socket), "hi");
  },
});

for (const pick of ["send", "recv", "takeError"] as const) {
  Deno.test({
    ...NET,
    name: `Socket.connect() that is refused shows it, and ${pick}() has the error once`,
    async fn() {
      using socket = Socket.connect({ hostname: "127.0.0.1", port: deadPort() });
      using poller = new Poller();
      poller.register(socket, ALL_EVENTS);
      const failure = POLLOUT | POLLERR | POLLHUP;
      assertEquals(await poller.poll(1000), [[socket, failure]]);
      assertEquals(await poller.poll(0), [[socket, failure]]);
      const { ConnectionRefused } = Deno.errors;
      if (pick === "send") assertThrows(() => socket.send(encode("x")), ConnectionRefused);
      if (pick === "recv") assertThrows(() => socket.recv(10), ConnectionRefused);
      if (pick === "takeError") assert(socket.takeError() instanceof ConnectionRefused);
      assertEquals(socket.takeError(), undefined);
      assertEquals(socket.recv(10).length, 0);
      assertThrows(() => socket.send(encode("x")), Deno.errors.BrokenPipe);
      assertEquals(await eventsNow(socket) & (POLLERR | POLLHUP), POLLHUP);
    },
  });
}

Deno.test({
  ...NET,
  name: "select() shows a connect that is refused as writable and in error",
  async fn() {
    using socket = Socket.connect({ hostname: "127.0.0.1", port: deadPort() });
    assertEquals(await select([socket], [socket], [socket], 1), [[], [socket], [socket]]);
  },
});

/** A listener whose queue is full: the next connect hangs. */
async function fullListener() {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0, tcpBacklog: 0 });
  const ends = new DisposableStack();
  ends.use(listener);
  ends.use(await connect(listener));
  return { port: listener.addr.port, [Symbol.dispose]: () => ends.dispose() };
}

Deno.test({
  ...NET,
  name: "Socket.connect() ends by its signal, whose reason is the failure",
  async fn() {
    using full = await fullListener();
    const controller = new AbortController();
    using socket = Socket.connect({ port: full.port }, { signal: controller.signal });
    assertEquals(await eventsNow(socket), 0);
    const reason = new Error("enough");
    controller.abort(reason);
    using poller = new Poller();
    poller.register(socket, POLLOUT);
    assertEquals(await poller.poll(1000), [[socket, POLLOUT | POLLERR | POLLHUP]]);
    assertStrictEquals(socket.takeError(), reason);
  },
});

Deno.test({
  ...NET,
  name: "Socket.connect() fails with the reason of a signal that was aborted before",
  async fn() {
    const signal = AbortSignal.abort("no");
    using socket = Socket.connect({ port: 1 }, { signal });
    assertEquals(await eventsNow(socket, POLLOUT), POLLOUT | POLLERR | POLLHUP);
    assertEquals(socket.takeError(), "no");
  },
});

Deno.test({
  ...NET,
  name: "Socket.close() ends the attempt to connect, and what waits for it",
  async fn() {
    using full = await fullListener();
    const socket = Socket.connect({ port: full.port });
    const sending = socket.sendAll(encode("never"));
    using poller = pollerOf(socket);
    const waiting = poller.poll();
    await turn();
    socket.close();
    assertEquals(await waiting, [[socket, POLLNVAL]]);
    await assertRejects(() => sending, Deno.errors.BadResource);
    await socket.closed;
    assertEquals(socket.takeError(), undefined);
  },
});

Deno.test({
  ...UNIX,
  name: "Socket.connect() connects to Unix sockets, and closes what comes too late",
  async fn() {
    using dir = tempDir();
    const path = `${dir.path}/socket`;
    using listener = Deno.listen({ transport: "unix", path });
    using socket = Socket.connect({ transport: "unix", path });
    await socket.sendAll(encode("hello"));
    using peer = await listener.accept();
    assertEquals(decode(await readUpTo(peer, 5)), "hello");
    const late = Socket.connect({ transport: "unix", path });
    late.close();
    using dropped = await listener.accept();
    assertEquals(await dropped.read(new Uint8Array(1)), null);
    await late.closed;
    const controller = new AbortController();
    using aborted = Socket.connect({ transport: "unix", path }, { signal: controller.signal });
    controller.abort("no");
    assertEquals(await eventsNow(aborted, POLLOUT), POLLOUT | POLLERR | POLLHUP);
    (await listener.accept()).close();
    await pause(10);
  },
});

Deno.test({
  ...NET,
  name: "Socket.connect() sends what waits, in order, and then the FIN",
  async fn() {
    using listener = listenLocal();
    using socket = Socket.connect({ port: listener.addr.port });
    const sending = ["one ", "two ", "three"].map((word) => socket.sendAll(encode(word)));
    const shut = socket.shutdown();
    using peer = await listener.accept();
    assertEquals(decode(await readUpTo(peer, 100)), "one two three");
    await Promise.all([...sending, shut]);
  },
});

// -- sendAll() --

Deno.test({
  ...NET,
  name: "Socket.sendAll() sends megabytes in order to a peer that reads slowly",
  async fn() {
    using pair = await socketPair();
    const { socket, peer } = pair;
    const parts = [1, 2, 3].map((value) => new Uint8Array(2 ** 21).fill(value));
    const sending = Promise.all(parts.map((part) => socket.sendAll(part)));
    await assertPending(sending);
    assert(socket.unsentBytes <= 65536);
    const heard = await readUpTo(peer, 3 * 2 ** 21);
    await sending;
    for (const [i, value] of [1, 2, 3].entries()) {
      assert(heard.subarray(i * 2 ** 21, (i + 1) * 2 ** 21).every((byte) => byte === value));
    }
  },
});

Deno.test("Socket.sendAll() settles when the stream has taken all, not before", async () => {
  const stream = new MemoryStream();
  stream.block();
  using source = new Socket(stream);
  const sending = source.sendAll(encode("hello"));
  await assertPending(sending);
  stream.unblock();
  await sending;
  assertEquals(stream.received, "hello");
  await source.sendAll(new Uint8Array());
});

Deno.test("Socket.sendAll() rejects with the reason of its signal, and leaves no listener", async () => {
  const stream = new MemoryStream();
  stream.block();
  using source = new Socket(stream);
  const controller = new AbortController();
  const { signal } = controller;
  const first = source.sendAll(new Uint8Array(70_000), { signal });
  const second = source.sendAll(encode("second"));
  controller.abort(new Error("enough"));
  await assertRejects(() => first, Error, "enough");
  await assertRejects(() => source.sendAll(encode("x"), { signal }), Error, "enough");
  stream.unblock();
  await second;
  assertEquals(stream.received.length, 65536 + 6);
});

Deno.test("Socket.sendAll() rejects when nothing can be sent any more", async () => {
  const { BadResource, BrokenPipe, NotSupported } = Deno.errors;
  const closed = new Socket(new MemoryStream());
  closed.close();
  await assertRejects(() => closed.sendAll(encode("x")), BadResource);
  using silent = new Socket(quietStream());
  await assertRejects(() => silent.sendAll(encode("x")), NotSupported);
  using shut = new Socket(new MemoryStream());
  await shut.shutdown();
  await assertRejects(() => shut.sendAll(encode("x")), BrokenPipe);
  const stream = new MemoryStream();
  stream.failWrites(new BrokenPipe("broken"));
  using broken = new Socket(stream);
  const sending = [broken.sendAll(encode("x")), broken.sendAll(encode("y"))];
  for (const each of sending) await assertRejects(() => each, BrokenPipe, "broken");
  assertEquals(broken.takeError(), undefined);
  await assertRejects(() => broken.sendAll(new Uint8Array(1)), BrokenPipe);
});

Deno.test("Socket.close() rejects what sendAll() has no room for, and delivers the rest", async () => {
  const stream = new MemoryStream();
  stream.block();
  const source = new Socket(stream);
  const first = source.sendAll(new Uint8Array(60_000));
  const second = source.sendAll(new Uint8Array(60_000));
  source.close();
  await assertRejects(() => second, Deno.errors.BadResource);
  await assertPending(first);
  stream.unblock();
  await first;
  await source.closed;
  assertEquals(stream.received.length, 65536);
});

Deno.test("Socket.abort() rejects all that sendAll() still waits for", async () => {
  const stream = new MemoryStream();
  stream.block();
  const source = new Socket(stream);
  const sending = [source.sendAll(new Uint8Array(60_000)), source.sendAll(new Uint8Array(60_000))];
  source.abort();
  for (const each of sending) await assertRejects(() => each, Deno.errors.BadResource);
  stream.unblock();
});

Deno.test("Socket.sendAll() goes on when the send buffer is given more room", async () => {
  const stream = new MemoryStream();
  stream.block();
  using source = new Socket(stream);
  source.sendBufferBytes = 3;
  const sending = source.sendAll(encode("hello"));
  assertEquals(source.unsentBytes, 3);
  source.sendBufferBytes = 100;
  assertEquals(source.unsentBytes, 5);
  stream.unblock();
  await sending;
});

// -- Errors --

Deno.test({
  ...NET,
  name: "Socket.takeError() returns a reset once, and leaves the data before it",
  async fn() {
    using socket = new Socket(await resetConnection());
    assertEquals(
      await eventsNow(socket),
      POLLIN | POLLOUT | POLLRDHUP | POLLERR | POLLHUP,
    );
    assert(socket.takeError() instanceof Deno.errors.ConnectionReset);
    assertEquals(socket.takeError(), undefined);
    assertEquals(await eventsNow(socket), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
    assertEquals(socket.recv(1).length, 0);
  },
});

Deno.test("Socket.takeError() leaves what came before the error", async () => {
  const stream = new MemoryStream("before");
  using source = new Socket(stream);
  stream.fail();
  assertEquals(await eventsNow(source), POLLIN | POLLOUT | POLLRDHUP | POLLERR | POLLHUP);
  assert(source.takeError() instanceof Deno.errors.ConnectionReset);
  assertEquals(recvText(source), "before");
  assertEquals(recvText(source), "");
});

Deno.test("Socket.takeError() returns the error of a failed write, once", async () => {
  const stream = new MemoryStream();
  stream.failWrites(new Deno.errors.TimedOut("lost"));
  using source = new Socket(stream);
  source.send(encode("x"));
  assertEquals(await eventsNow(source), POLLOUT | POLLERR);
  assert(source.takeError() instanceof Deno.errors.TimedOut);
  assertEquals(source.takeError(), undefined);
  assertThrows(() => source.send(encode("x")), Deno.errors.BrokenPipe);
});

Deno.test("Errors of our own carry the code that the system would give", async () => {
  const codeOf = (call: () => unknown) => {
    try {
      call();
    } catch (error) {
      return (error as { code?: string }).code;
    }
  };
  const codeOfAsync = async (call: () => Promise<unknown>) => {
    const error = await call().catch((error) => error);
    return (error as { code?: string }).code;
  };
  using source = new Socket(quietStream());
  const shut = new Socket(new MemoryStream());
  const ended = shut.shutdown();
  const closed = new Socket(quietStream());
  closed.close();
  using server = new ServerSocket({ accept: () => new Promise(() => {}), close() {} });
  using poller = new Poller();
  const waiting = poller.poll();
  assertEquals(codeOf(() => source.recv(1)), "EAGAIN");
  assertEquals(codeOf(() => server.accept()), "EAGAIN");
  assertEquals(codeOf(() => source.send(encode("x"))), "ENOTSUP");
  assertEquals(codeOf(() => shut.send(encode("x"))), "EPIPE");
  assertEquals(codeOf(() => closed.recv(1)), "EBADF");
  assertEquals(codeOf(() => closed.send(encode("x"))), "EBADF");
  assertEquals(codeOf(() => poller.modify(source, 0)), "ENOENT");
  assertEquals(codeOf(() => poller.unregister(source)), "ENOENT");
  assertEquals(await codeOfAsync(() => poller.poll(0)), "EBUSY");
  assertEquals(await codeOfAsync(() => select([closed], [], [])), "EBADF");
  assertEquals(await codeOfAsync(() => closed.shutdown()), "EBADF");
  poller.close();
  assertEquals(await codeOfAsync(() => waiting), "EBADF");
  const web = new Socket(new MemoryStream());
  void web.readable;
  assertEquals(codeOf(() => web.recv(1)), "EBUSY");
  await ended;
  closeAll(shut, web);
});

Deno.test("Socket rejects a stream that another Socket has, for ever", () => {
  const stream = quietStream();
  using socket = new Socket(stream);
  assertThrows(() => new Socket(stream), TypeError, "another Socket");
  socket.close();
  assertThrows(() => new Socket(stream), TypeError, "another Socket");
});

// -- Ends behind unread data --

Deno.test({
  ...NET,
  name: "Poller.poll() shows a FIN behind a few unread bytes, in one look",
  async fn() {
    for (let i = 0; i < 5; i++) {
      using pair = await socketPair();
      const { socket, peer } = pair;
      await peer.write(encode("few"));
      await peer.closeWrite();
      await pause(2);
      using poller = new Poller();
      poller.register(socket, ALL_EVENTS);
      assertEquals(await poller.poll(0), [[socket, POLLIN | POLLOUT | POLLRDHUP]], `round ${i}`);
      assertEquals(recvText(socket), "few");
    }
  },
});

/** Polls until one of these events shows. */
async function pollUntil(poller: Poller, events: number): Promise<void> {
  for (let i = 0; i < 100; i++) {
    for (const [, seen] of await poller.poll(20)) if (seen & events) return;
  }
  throw new Error(`${events} was never seen`);
}

for (const mask of [POLLRDHUP, POLLIN | POLLRDHUP, POLLOUT | POLLRDHUP]) {
  Deno.test({
    ...NET,
    name: `Poller.poll() shows a FIN while data stays unread (mask ${mask})`,
    async fn() {
      using pair = await socketPair();
      const { socket, peer } = pair;
      using poller = new Poller();
      poller.register(socket, mask);
      await peer.write(encode("few"));
      for (let i = 0; i < 3; i++) await poller.poll(5);
      await peer.closeWrite();
      await pollUntil(poller, POLLRDHUP);
      assertEquals(recvText(socket), "few");
    },
  });
}

for (const mask of [0, POLLIN, POLLOUT]) {
  Deno.test({
    ...NET,
    name: `Poller.poll() shows a reset while data stays unread (mask ${mask})`,
    async fn() {
      using pair = await resettablePair();
      const { socket } = pair;
      using poller = new Poller();
      poller.register(socket, mask);
      await pair.say("few");
      for (let i = 0; i < 3; i++) await poller.poll(5);
      pair.reset();
      await pollUntil(poller, POLLERR);
      assertEquals(recvText(socket), "few");
      assertThrows(() => socket.recv(1), Deno.errors.ConnectionReset);
    },
  });
}

Deno.test({
  ...NET,
  name: "select() shows a reset behind unread data in its third list",
  async fn() {
    using pair = await resettablePair();
    const { socket } = pair;
    await pair.say("few");
    assertEquals(await select([socket], [], [socket], 1), [[socket], [], []]);
    pair.reset();
    let failing: Socket[] = [];
    for (let i = 0; failing.length === 0 && i < 100; i++) {
      [, , failing] = await select([socket], [], [socket], 0.02);
    }
    assertEquals(failing, [socket]);
    assertEquals(recvText(socket), "few");
    assertThrows(() => socket.recv(1), Deno.errors.ConnectionReset);
  },
});

Deno.test({
  ...NET,
  name: "select() and Poller.poll() show in one look that 300 peers have left, and all their data",
  async fn() {
    for (const wait of [waitBySelect, waitByPoll]) {
      using listener = listenLocal();
      const sockets: Socket[] = [];
      for (let i = 0; i < 300; i++) {
        const [peer, conn] = await Promise.all([connect(listener), listener.accept()]);
        sockets.push(new Socket(conn));
        await peer.write(encode("bye"));
        peer.close();
      }
      assertEquals((await wait(sockets, POLLIN, 0)).length, 300);
      using poller = new Poller();
      for (const socket of sockets) poller.register(socket, POLLIN | POLLRDHUP);
      const ready = await poller.poll(0);
      assertEquals(ready.filter(([, events]) => events === (POLLIN | POLLRDHUP)).length, 300);
      for (const socket of sockets) assertEquals(recvText(socket), "bye");
      closeAll(...sockets);
    }
  },
});

// -- Giving back, and handing over --

Deno.test("Socket.unrecv() gives bytes back: last given, first received", async () => {
  using source = new Socket(new MemoryStream("world"));
  await select([source], [], []);
  const bytes = encode("ello ");
  source.unrecv(bytes);
  bytes.fill(0);
  source.unrecv(encode("h"));
  source.unrecv(new Uint8Array());
  assertEquals(recvText(source, 3), "hel");
  assertEquals(recvText(source, 100), "lo world");
  assertThrows(() => source.recv(1), Deno.errors.WouldBlock);
});

Deno.test("Socket.unrecv() makes a quiet source readable, and one at its end", async () => {
  const stream = new MemoryStream();
  using source = new Socket(stream);
  using poller = pollerOf(source);
  const waiting = poller.poll();
  await turn();
  source.unrecv(encode("again"));
  assertEquals(await waiting, [[source, POLLIN]]);
  assertEquals(recvText(source), "again");
  stream.end();
  await poller.poll();
  assertEquals(recvText(source), "");
  source.unrecv(encode("still here"));
  assertEquals(await eventsNow(source), POLLIN | POLLOUT | POLLRDHUP);
  assertEquals(recvText(source), "still here");
  assertEquals(recvText(source), "");
});

Deno.test("Socket.unrecv() rejects what it cannot take", () => {
  const source = new Socket(quietStream());
  assertThrows(() => source.unrecv("x" as unknown as Uint8Array), TypeError);
  source.close();
  assertThrows(() => source.unrecv(encode("x")), Deno.errors.BadResource);
});

Deno.test({
  ...NET,
  name: "Socket.readable begins with what was read ahead or given back, and ends at the end",
  async fn() {
    using pair = await socketPair();
    const { socket, peer } = pair;
    await peer.write(encode("hello world"));
    await select([socket], [], []);
    const sniffed = socket.recv(5);
    socket.unrecv(sniffed);
    const { readable, writable } = socket;
    const text = new Response(readable).text();
    await peer.write(encode("!"));
    await peer.closeWrite();
    assertEquals(await text, "hello world!");
    const writer = writable.getWriter();
    await writer.write(encode("answer"));
    await writer.close();
    assertEquals(decode(await readUpTo(peer, 100)), "answer");
    await socket.closed;
  },
});

Deno.test("Socket throws Busy once it was handed over, and is no event any more", async () => {
  const stream = new MemoryStream("data");
  using source = new Socket(stream);
  using poller = pollerOf(source);
  await poller.poll();
  const { readable } = source;
  assertStrictEquals(source.readable, readable);
  assertStrictEquals(source.writable, source.writable);
  const { Busy } = Deno.errors;
  assertThrows(() => source.recv(1), Busy);
  assertThrows(() => source.recvInto(new Uint8Array(1)), Busy);
  assertThrows(() => source.send(encode("x")), Busy);
  assertThrows(() => source.unrecv(encode("x")), Busy);
  await assertRejects(() => source.sendAll(encode("x")), Busy);
  await assertRejects(() => source.shutdown(), Busy);
  assertEquals(await poller.poll(0), []);
  const reader = readable.getReader();
  assertEquals(decode((await reader.read()).value!), "data");
  const next = reader.read();
  source.close();
  await assertRejects(() => next, Deno.errors.BadResource);
  assertEquals(await poller.poll(0), [[source, POLLNVAL]]);
  assertStrictEquals(source.readable, readable);
  const closed = new Socket(quietStream());
  closed.close();
  assertThrows(() => closed.readable, Deno.errors.BadResource);
});

Deno.test("Socket.readable brings the error of a failed read, Socket.writable that of a write", async () => {
  const stream = new MemoryStream("x");
  stream.failWrites(new Deno.errors.BrokenPipe("broken"));
  using source = new Socket(stream);
  const reader = source.readable.getReader();
  assertEquals(decode((await reader.read()).value!), "x");
  const writer = source.writable.getWriter();
  await assertRejects(() => writer.write(encode("y")), Deno.errors.BrokenPipe);
  writer.closed.catch(() => {});
  stream.fail();
  await assertRejects(() => reader.read(), Deno.errors.ConnectionReset);
});

Deno.test("Socket is closed when both of its web streams are over", async () => {
  const stream = new MemoryStream();
  const source = new Socket(stream);
  await source.readable.cancel();
  assert(!stream.closed);
  await source.writable.close();
  await source.closed;
  assert(stream.closed);
  const other = new MemoryStream();
  const aborted = new Socket(other);
  await aborted.writable.abort();
  await aborted.closed;
  assert(other.closed);
});

Deno.test("Socket.readable fills memory of its reader's, too", async () => {
  const stream = new MemoryStream("hello");
  using source = new Socket(stream);
  const reader = source.readable.getReader({ mode: "byob" });
  const { value } = await reader.read(new Uint8Array(3));
  assertEquals(decode(value!), "hel");
  assertEquals(decode((await reader.read(new Uint8Array(10))).value!), "lo");
  stream.end();
  assertEquals((await reader.read(new Uint8Array(10))).done, true);
});

Deno.test("Socket is closed when its web streams have failed, or one has and the other is over", async () => {
  const { BrokenPipe, ConnectionReset } = Deno.errors;
  const unread = new MemoryStream();
  const reading = new Socket(unread);
  unread.fail();
  await assertRejects(() => reading.readable.getReader().read(), ConnectionReset);
  await reading.writable.close().catch(() => {});
  await reading.closed;
  assert(unread.closed);
  const unwritten = new MemoryStream("echo");
  unwritten.failWrites(new BrokenPipe("broken"));
  const echoing = new Socket(unwritten);
  await assertRejects(() => echoing.readable.pipeTo(echoing.writable), BrokenPipe);
  await echoing.closed;
  assert(unwritten.closed);
});

Deno.test("Socket.close() closes a connection that is made at that moment, and settles closed", async () => {
  for (let microtasks = 0; microtasks < 8; microtasks++) {
    const { promise, resolve } = Promise.withResolvers<MemoryStream>();
    using _ = replaced("connect", () => promise);
    const socket = Socket.connect({ port: 1 });
    const conn = new MemoryStream();
    resolve(conn);
    for (let i = 0; i < microtasks; i++) await undefined;
    socket.close();
    await socket.closed;
    await turn();
    assert(conn.closed, `after ${microtasks} microtasks`);
    assertThrows(() => socket.recv(1), Deno.errors.BadResource);
  }
});

Deno.test("Socket.send() sends each connection its own bytes, whatever memory they were in", async () => {
  const streams = Array.from({ length: 12 }, () => new MemoryStream());
  for (const [i, stream] of streams.entries()) if (i % 3 === 0) stream.maxWrite = 7000;
  const sockets = streams.map((stream) => new Socket(stream));
  const expected = streams.map(() => "");
  for (let round = 0; round < 20; round++) {
    for (const [i, socket] of sockets.entries()) {
      const text = String.fromCharCode(97 + i).repeat(3000 + (round * 7919 + i * 104729) % 60_000);
      socket.send(encode(text));
      expected[i] += text;
    }
    while (sockets.some(({ unsentBytes }) => unsentBytes > 0)) await turn();
  }
  for (const [i, stream] of streams.entries()) assert(stream.received === expected[i]);
  for (const socket of sockets) socket.close();
});
