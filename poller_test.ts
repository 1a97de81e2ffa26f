import {
  assert,
  assertEquals,
  assertNotStrictEquals,
  assertRejects,
  assertThrows,
} from "@std/assert";
import {
  type ByteStream,
  DatagramSocket,
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
import { decode, encode } from "./lib/bytes.ts";
import { connect, listenLocal, resetConnection, tcpPair } from "./tests/support/connections.ts";
import { untyped } from "./tests/support/data.ts";
import {
  MemoryListener,
  MemoryStream,
  quietStream,
  StubbornStream,
  talker,
} from "./tests/support/memory.ts";
import {
  ALL_EVENTS,
  closeAll,
  eventsNow,
  eventsOf,
  fill,
  HIGH_WATER_BYTES,
  pollerOf,
  recvText,
  waitByPoll,
  waitBySelect,
} from "./tests/support/sources.ts";
import { assertPending, assertTimerFires, turn } from "./tests/support/waiting.ts";

Deno.test.sanitizer({ ops: true, resources: true });

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
    listener.fail(new Deno.errors.PermissionDenied("Firewall"));
    listener.connect();
    assertEquals(await wait([server], POLLIN), [[server, POLLIN | POLLERR]]);
    assertThrows(() => server.accept(), Deno.errors.PermissionDenied);
    assertEquals(await wait([server], POLLIN), [[server, POLLIN]]);
    server.accept().close();
  });

  Deno.test(`${name} reports nothing of clients that are gone before they are accepted`, async () => {
    const listener = new MemoryListener();
    using server = new ServerSocket(listener);
    const { NotConnected, ConnectionReset, ConnectionAborted } = Deno.errors;
    for (const kind of [NotConnected, ConnectionReset, ConnectionAborted]) {
      listener.fail(new kind("gone"));
    }
    listener.fail(Object.assign(new Error("gone"), { code: "EPROTO" }));
    assertEquals(await wait([server], POLLIN, 20), []);
    assertEquals(server.lost, 4);
    assertThrows(() => server.accept(), Deno.errors.WouldBlock);
    listener.fail(new NotConnected("gone"));
    listener.connect();
    assertEquals(await wait([server], POLLIN), [[server, POLLIN]]);
    server.accept().close();
    assertEquals(server.lost, 5);
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

  Deno.test(`${name} reads nothing more once its buffer is full of unread data`, async () => {
    const stream = new MemoryStream("1".repeat(2000), "2".repeat(48), "3");
    using source = new Socket(stream);
    for (let i = 0; i < 5; i++) await wait([source], POLLIN, 0);
    assertEquals(stream.targets, [2048, 48]);
    assertEquals(recvText(source, 3000), "1".repeat(2000) + "2".repeat(48));
    assertEquals(stream.targets.length, 2);
    await wait([source], POLLIN);
    assertEquals(recvText(source), "3");
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

  Deno.test({
    ...NET,
    name: `${name} reports data, then end of file of a TCP connection`,
    async fn() {
      using pair = await tcpPair();
      using source = new Socket(pair.server);
      await pair.client.write(encode("hello"));
      assertEquals(await wait([source], POLLIN), [[source, POLLIN]]);
      assertEquals(recvText(source), "hello");
      await pair.client.closeWrite();
      assertEquals(await wait([source], POLLIN), [[source, POLLIN]]);
      assertEquals(recvText(source), "");
    },
  });

  Deno.test({
    ...NET,
    name: `${name} reports a reset TCP connection until the error is taken`,
    async fn() {
      using source = new Socket(await resetConnection());
      const { remoteAddr } = source;
      assertEquals(await wait([source], POLLIN), [[source, POLLIN | POLLERR]]);
      assertThrows(() => source.recvInto(new Uint8Array(10)), Deno.errors.ConnectionReset);
      assertEquals(await wait([source], POLLIN), [[source, POLLIN]]);
      assertEquals(recvText(source), "");
      assertThrows(() => source.send(encode("x")), Deno.errors.BrokenPipe);
      assertEquals(source.remoteAddr, remoteAddr);
    },
  });

  Deno.test({
    ...NET,
    name: `${name} reports a TCP listener with a waiting client`,
    async fn() {
      const listener = listenLocal();
      await using server = new ServerSocket(listener);
      assertEquals(await wait([server], POLLIN, 0), []);
      const waiting = wait([server], POLLIN);
      using client = await connect(listener);
      assertEquals(await waiting, [[server, POLLIN]]);
      using peer = server.accept();
      assertEquals([peer.remoteAddr, peer.localAddr], [client.localAddr, server.addr]);
    },
  });

  Deno.test({
    ...NET,
    name: `${name} reports no room to send until the TCP peer reads`,
    async fn() {
      using pair = await tcpPair();
      using source = new Socket(pair.server);
      const sent = await fill(source);
      const waiting = wait([source], POLLOUT);
      await assertPending(waiting);
      const target = new Uint8Array(HIGH_WATER_BYTES);
      for (let got = 0; got < sent;) got += await pair.client.read(target) ?? sent;
      assertEquals(await waiting, [[source, POLLOUT]]);
    },
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

for (const mask of [0, POLLIN, POLLPRI, POLLOUT, POLLRDHUP, POLLIN | POLLOUT, 0xBFFF]) {
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

Deno.test("Poller.poll() hears a source that is registered while it waits", async () => {
  using quiet = new Socket(new MemoryStream());
  const stream = new MemoryStream();
  using late = new Socket(stream);
  using poller = pollerOf(quiet);
  const waiting = poller.poll();
  await turn();
  poller.register(late);
  await assertPending(waiting);
  stream.push("x");
  assertEquals(await waiting, [[late, POLLIN]]);
});

Deno.test("Poller.poll() hears the first source of all, registered while it waits", async () => {
  using source = new Socket(new MemoryStream("x"));
  using poller = new Poller();
  const waiting = poller.poll();
  await turn();
  poller.register(source);
  assertEquals(await waiting, [[source, POLLIN]]);
});

Deno.test("Poller.poll() counts a mask that is changed while it waits", async () => {
  const stream = new MemoryStream();
  using source = new Socket(stream);
  using poller = pollerOf(source);
  const waiting = poller.poll();
  await turn();
  poller.modify(source, POLLOUT);
  assertEquals(await waiting, [[source, POLLOUT]]);
  const next = poller.poll();
  poller.modify(source, 0);
  await assertPending(next);
  stream.push("x");
  await assertPending(next);
  poller.modify(source, POLLIN);
  assertEquals(await next, [[source, POLLIN]]);
});

Deno.test("Poller.poll() does not report a source that is unregistered while it waits", async () => {
  const stream = new MemoryStream();
  using source = new Socket(stream);
  const other = new MemoryStream();
  using second = new Socket(other);
  using poller = pollerOf(source, second);
  const waiting = poller.poll();
  await turn();
  poller.unregister(source);
  assertEquals(poller.size, 1);
  stream.push("x");
  await assertPending(waiting);
  other.push("y");
  assertEquals(await waiting, [[second, POLLIN]]);
});

Deno.test("Poller.poll() forgets a source that is unregistered before the wait ends", async () => {
  const stream = new MemoryStream();
  using source = new Socket(stream);
  using poller = pollerOf(source);
  const waiting = poller.poll(20);
  await turn();
  stream.push("x");
  poller.unregister(source);
  assertEquals(await waiting, []);
  assertEquals(await select([source], [], [], 0), [[source], [], []]);
});

Deno.test("Poller.poll() goes on with a source registered again while it waits", async () => {
  const stream = new MemoryStream();
  using source = new Socket(stream);
  using poller = pollerOf(source);
  const waiting = poller.poll();
  poller.unregister(source);
  poller.register(source, POLLIN | POLLPRI);
  await assertPending(waiting);
  stream.push("x");
  assertEquals(await waiting, [[source, POLLIN]]);
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
    const kind = typeof max === "number" ? RangeError : TypeError;
    assertThrows(() => source.recv(untyped(max)), kind);
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

Deno.test("Socket.recvInto() fills a place within its target", async () => {
  using source = new Socket(new MemoryStream("hello"));
  await select([source], [], []);
  const target = encode("........");
  assertEquals(source.recvInto(target, 2, 4), 2);
  assertEquals(source.recvInto(target, 8), 0);
  assertEquals(source.recvInto(target, 5), 3);
  assertEquals(decode(target), "..he.llo");
});

for (const place of [[-1], [0.5], [NaN], [5], [0, 5], [2, 1], [0, Infinity]] as [number][]) {
  Deno.test(`Socket.recvInto() rejects the place ${place.join(" to ")} in 4 bytes`, async () => {
    using source = new Socket(new MemoryStream("x"));
    await select([source], [], []);
    assertThrows(() => source.recvInto(new Uint8Array(4), ...place), RangeError);
    assertEquals(recvText(source), "x");
  });
}

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

Deno.test("Socket.sendBufferBytes says how much send() takes, and when there is room", async () => {
  const stream = new MemoryStream();
  stream.block();
  using source = new Socket(stream);
  assertEquals(source.sendBufferBytes, 65536);
  source.sendBufferBytes = 10;
  assertEquals(source.send(encode("hello world")), 10);
  assertThrows(() => source.send(encode("d")), Deno.errors.WouldBlock);
  using poller = new Poller();
  poller.register(source, POLLOUT);
  const waiting = poller.poll(500);
  await turn();
  source.sendBufferBytes = 1_000_000;
  assertEquals(await waiting, [[source, POLLOUT]]);
  assertEquals(source.send(new Uint8Array(999_990)), 999_990);
  source.sendBufferBytes = 1;
  assertEquals([source.unsentBytes, await poller.poll(0)], [1_000_000, []]);
  assertThrows(() => source.send(encode("d")), Deno.errors.WouldBlock);
  stream.unblock();
  assertEquals(await poller.poll(500), [[source, POLLOUT]]);
});

for (const size of ["64", null, undefined, 1.5, NaN, Infinity]) {
  Deno.test(`Socket.sendBufferBytes rejects ${size} (${typeof size})`, () => {
    using source = new Socket(quietStream());
    assertThrows(() => source.sendBufferBytes = untyped(size), TypeError);
    assertEquals(source.sendBufferBytes, 65536);
  });
}

for (const size of [0, -1]) {
  Deno.test(`Socket.sendBufferBytes rejects ${size}`, () => {
    using source = new Socket(quietStream());
    assertThrows(() => source.sendBufferBytes = size, RangeError);
  });
}

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

Deno.test({
  ...NET,
  name: "Socket.shutdown() ends a TCP connection after all that was sent",
  async fn() {
    using pair = await tcpPair();
    using source = new Socket(pair.server);
    assertEquals(source.send(encode("goodbye")), 7);
    await source.shutdown();
    assertEquals(await new Response(pair.client.readable).text(), "goodbye");
    assertEquals(
      await eventsOf(source, ALL_EVENTS, POLLRDHUP),
      POLLIN | POLLOUT | POLLHUP | POLLRDHUP,
    );
  },
});

// -- Sources: closing --

Deno.test("Socket throws BadResource after close()", async () => {
  const source = new Socket(new MemoryStream("x"));
  await select([source], [], []);
  source.close();
  for (const max of [0, 1]) assertThrows(() => source.recv(max), Deno.errors.BadResource);
  assertThrows(() => source.recvInto(new Uint8Array(1)), Deno.errors.BadResource);
  assertThrows(() => source.send(encode("x")), Deno.errors.BadResource);
  await assertRejects(() => source.shutdown(), Deno.errors.BadResource);
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

Deno.test("Socket.abort() drops what was not sent yet", async () => {
  const stream = new MemoryStream();
  stream.block();
  const source = new Socket(stream);
  stream.maxWrite = 5;
  source.send(encode("first and more"));
  source.send(encode("second"));
  source.abort();
  assert(stream.closed);
  await source.closed;
  stream.unblock();
  await turn();
  assertEquals(stream.received, "first");
});

Deno.test("Socket.close() lets what was sent leave, however little is taken at once", async () => {
  const stream = new MemoryStream();
  stream.block();
  stream.maxWrite = 5;
  const source = new Socket(stream);
  source.send(encode("first and more, "));
  source.send(encode("second"));
  source.close();
  assertThrows(() => source.recv(1), Deno.errors.BadResource);
  assertThrows(() => source.send(encode("x")), Deno.errors.BadResource);
  assertEquals([await eventsNow(source), source.unsentBytes], [POLLNVAL, 22]);
  await assertPending(source.closed);
  assert(!stream.closed);
  stream.unblock();
  await source.closed;
  assertEquals([stream.received, stream.closed], ["first and more, second", true]);
});

Deno.test("Socket.close() lets the FIN of shutdown() leave", async () => {
  const stream = new MemoryStream();
  stream.block();
  const source = new Socket(stream);
  source.send(encode("bye"));
  const shut = source.shutdown();
  source.close();
  stream.unblock();
  await shut;
  await source.closed;
  assertEquals(stream.received, "bye.");
});

Deno.test("Socket.abort() ends what close() is still sending", async () => {
  const stream = new MemoryStream();
  stream.block();
  const source = new Socket(stream);
  source.send(encode("never read"));
  source.close();
  source.abort();
  source.abort();
  await source.closed;
  assert(stream.closed);
  stream.unblock();
});

Deno.test("Socket.close() frees the stream when what was sent cannot leave", async () => {
  for (const fault of ["write", "read", "close"]) {
    const stream = new StubbornStream();
    if (fault === "write") stream.failWrites(new Deno.errors.BrokenPipe("broken"));
    stream.block();
    const source = new Socket(stream);
    if (fault === "close") {
      stream.close = () => {
        throw new SyntaxError("broken");
      };
    }
    await select([source], [], [], 0);
    source.send(encode("x"));
    source.close();
    if (fault === "read") stream.fail();
    else stream.unblock();
    await turn();
    if (fault !== "read") stream.push("too late");
    await source.closed;
    if (fault !== "close") assert(stream.closed, fault);
    stream.unblock();
  }
});

Deno.test("Socket.close() drops what arrives while it sends, and gives the buffer back", async () => {
  const stream = new StubbornStream();
  stream.block();
  const source = new Socket(stream);
  await select([source], [], [], 0);
  source.send(encode("bye"));
  source.close();
  stream.push("dropped");
  await turn();
  await assertPending(source.closed);
  assertEquals(stream.targets.length, 1);
  stream.unblock();
  await source.closed;
  assertEquals(stream.received, "bye");
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

Deno.test("ServerSocket accepts 64 connections ahead, one after the other, and no more", async () => {
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
  for (let i = 0; i < 100; i++) assertEquals(await poller.poll(), [[server, POLLIN]]);
  assertEquals(accepts, 64);
  for (let i = 0; i < 3; i++) server.accept().close();
  for (let i = 0; i < 100; i++) await poller.poll();
  assertEquals(accepts, 67);
});

Deno.test("ServerSocket.waiting says how often accept() has a connection", async () => {
  const streams = [new MemoryStream(), new MemoryStream()];
  const accept = () => Promise.resolve(streams.shift() ?? Promise.reject(new SyntaxError("end")));
  using poller = new Poller();
  using server = new ServerSocket({ accept, close: () => {} });
  assertEquals(server.waiting, 0);
  poller.register(server);
  while ((await poller.poll())[0]?.[1] !== (POLLIN | POLLERR));
  for (const waiting of [2, 1]) {
    assertEquals(server.waiting, waiting);
    server.accept().close();
  }
  assertEquals(server.waiting, 0);
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
  for (let i = 0; i < 3; i++) await turn();
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

Deno.test({
  ...NET,
  name: "ServerSocket.closed settles when its port is free",
  async fn() {
    for (let i = 0; i < 20; i++) {
      const server = new ServerSocket(listenLocal());
      await select([server], [], [], 0);
      const { port } = server.addr as Deno.NetAddr;
      server.close();
      await server.closed;
      Deno.listen({ hostname: "127.0.0.1", port }).close();
    }
  },
});

Deno.test({
  ...NET,
  name: "Socket.close() cancels the pending read of a TCP connection",
  async fn() {
    using pair = await tcpPair();
    await using source = new Socket(pair.server);
    using poller = pollerOf(source);
    const waiting = poller.poll();
    await assertPending(waiting);
    source.close();
    assertEquals(await waiting, [[source, POLLNVAL]]);
    assertEquals(await pair.client.read(new Uint8Array(1)), null);
  },
});

Deno.test("Sources cannot be made of what has no method to read", () => {
  for (const value of [undefined, null, 3, "x", {}, { read: 1, accept: 1, receive: 1 }]) {
    assertThrows(() => new Socket(untyped(value)), TypeError, "read()");
    assertThrows(() => new ServerSocket(untyped(value)), TypeError, "accept()");
    assertThrows(() => new DatagramSocket(untyped(value)), TypeError, "receive()");
  }
});

Deno.test("Socket.recvInto() rejects what is not a Uint8Array", async () => {
  using source = new Socket(new MemoryStream("x"));
  await select([source], [], []);
  for (const target of [[], "x", new ArrayBuffer(1), new Uint16Array(1), undefined]) {
    assertThrows(() => source.recvInto(untyped(target)), TypeError);
  }
  assertEquals(recvText(source), "x");
});

Deno.test("Socket.shutdown() settles although closeWrite() throws at once", async () => {
  const closeWrite = () => {
    throw new SyntaxError("at once");
  };
  using source = new Socket({ ...talker(), write: () => Promise.resolve(1), closeWrite });
  await source.shutdown();
  assertThrows(() => source.send(encode("x")), SyntaxError, "at once");
  await source.shutdown();
});

Deno.test("Socket.send() puts what waits into one write", async () => {
  const stream = new MemoryStream();
  stream.block();
  using source = new Socket(stream);
  let expected = "";
  for (let i = 0; i < 1000; i++) {
    source.send(encode(`${i},`));
    expected += `${i},`;
  }
  const write = stream.write.bind(stream);
  let writes = 0;
  stream.write = (bytes) => {
    writes++;
    return write(bytes);
  };
  stream.unblock();
  await source.shutdown();
  assertEquals([stream.received, writes], [`${expected}.`, 1]);
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
  ...RUN,
  name: "Poller.poll() keeps nothing of 200,000 events beside 100 quiet sources",
  fn: async () => {
    const growth = await heapGrowth(`
      const events = 200_000;
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
  ...RUN,
  name: "Socket.send() keeps 60,000 single bytes in little more than their room",
  fn: async () => {
    const growth = await heapGrowth(`
      const events = 60_000;
      const stuck = () => new Promise(() => {});
      const socket = new Socket({ read: stuck, write: stuck });
      function run(rounds) {
        for (let i = 0; i < rounds; i++) socket.send(new Uint8Array(1));
      }`);
    assert(growth < 2 * 1024 * 1024, `The heap grew by ${growth} bytes`);
  },
});

Deno.test({
  ...RUN,
  name: "select() leaves nothing on the losers of 5,000 races",
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
import { FILES, needs, NET, RUN } from "./tests/support/needs.ts";

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
  ...needs("python3"),
  name: "select() and Poller report the same events as Python's select module",
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
  assertEquals(recvText(source).length % 3, 0);
});

Deno.test("Socket.shutdown() settles at abort() although a write is stuck", async () => {
  const stream = new MemoryStream();
  stream.block();
  const source = new Socket(stream);
  source.send(encode("x"));
  const shut = source.shutdown();
  source.abort();
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

/** Not iterable. */
function nothing(): never {
  return untyped(null);
}

// -- Manual --

/** Where the manual of the library is. */
const MANUAL = "./docs/library.md";

Deno.test({
  ...FILES,
  name: "The manual and the module have one table of differences from Python",
  async fn() {
    const tableIn = async (path: string) => {
      const text = await Deno.readTextFile(new URL(path, import.meta.url));
      const [table = ""] = /^(?: \* )?\| Python .*(?:\n(?: \* )?\|.*)*/m.exec(text) ?? [];
      return table.split("\n").map((row) =>
        row.replace(/^ \* /, "").replaceAll(/ +/g, " ").replaceAll(/-+/g, "-")
      );
    };
    const table = await tableIn("./poller.ts");
    assert(table.length > 10);
    assertEquals(await tableIn(MANUAL), table);
  },
});
