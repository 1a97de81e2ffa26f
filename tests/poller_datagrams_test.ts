import { assert, assertEquals, assertNotStrictEquals, assertThrows } from "@std/assert";
import {
  type DatagramPort,
  DatagramSocket,
  POLLERR,
  POLLIN,
  POLLNVAL,
  POLLOUT,
  select,
} from "../poller.ts";
import { decode, encode } from "../lib/bytes.ts";
import { untyped } from "./support/data.ts";
import { tempDir } from "./support/files.ts";
import { withSeeds } from "./support/random.ts";
import { eventsNow, pollerOf, waitByPoll, waitBySelect } from "./support/sources.ts";
import { assertPending, turn } from "./support/waiting.ts";
import { NET, UDP } from "./support/needs.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const SENDER: Deno.NetAddr = { transport: "udp", hostname: "192.0.2.1", port: 514 };

/** A port in memory: what is pushed can be received, and what is sent is kept. */
class MemoryPort implements DatagramPort {
  readonly addr = SENDER;
  readonly #pushed: (Uint8Array | Error)[] = [];
  #receiver:
    | { target: Uint8Array; result: PromiseWithResolvers<[Uint8Array, Deno.Addr]> }
    | undefined;
  #gate: Promise<void> | undefined;
  openGate = () => {};
  receives = 0;
  readonly sent: string[] = [];
  sendError: Error | undefined;

  push(...texts: string[]): void {
    this.#pushed.push(...texts.map(encode));
    this.#settle();
  }

  fail(error: Error): void {
    this.#pushed.push(error);
    this.#settle();
  }

  block(): void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#gate = promise;
    this.openGate = resolve;
  }

  receive(target: Uint8Array): Promise<[Uint8Array, Deno.Addr]> {
    this.receives++;
    this.#receiver = { target, result: Promise.withResolvers() };
    const { promise } = this.#receiver.result;
    this.#settle();
    return promise;
  }

  async send(bytes: Uint8Array): Promise<number> {
    await this.#gate;
    if (this.sendError) throw this.sendError;
    this.sent.push(decode(bytes));
    return bytes.length;
  }

  close(): void {
    this.#receiver?.result.reject(new Deno.errors.Interrupted("operation canceled"));
  }

  #settle(): void {
    if (!this.#receiver || this.#pushed.length === 0) return;
    const { target, result } = this.#receiver;
    this.#receiver = undefined;
    const next = this.#pushed.shift()!;
    if (next instanceof Error) return result.reject(next);
    target.set(next);
    result.resolve([target.subarray(0, next.length), SENDER]);
  }
}

function recvText(socket: DatagramSocket, max = 65536): string {
  return decode(socket.recvFrom(max)[0]);
}

function listenUdp(): Deno.DatagramConn {
  return Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
}

for (const [name, wait] of [["select()", waitBySelect], ["Poller.poll()", waitByPoll]] as const) {
  Deno.test(`${name} reports a datagram until it is received`, async () => {
    const port = new MemoryPort();
    using socket = new DatagramSocket(port);
    const waiting = wait([socket], POLLIN);
    await assertPending(waiting);
    port.push("one");
    assertEquals(await waiting, [[socket, POLLIN]]);
    assertEquals(await wait([socket], POLLIN), [[socket, POLLIN]]);
    assertEquals(socket.recvFrom(100), [encode("one"), SENDER]);
    assertEquals(await wait([socket], POLLIN, 0), []);
    assertThrows(() => socket.recvFrom(100), Deno.errors.WouldBlock);
  });

  Deno.test(`${name} reports a failed receive, after which the socket goes on`, async () => {
    const port = new MemoryPort();
    using socket = new DatagramSocket(port);
    port.fail(new Deno.errors.ConnectionRefused("port unreachable"));
    port.push("still here");
    assertEquals(await wait([socket], POLLIN), [[socket, POLLIN | POLLERR]]);
    assertThrows(() => socket.recvFrom(100), Deno.errors.ConnectionRefused);
    assertEquals(await wait([socket], POLLIN), [[socket, POLLIN]]);
    assertEquals(recvText(socket), "still here");
  });
}

Deno.test("DatagramSocket starts nothing before it is watched", async () => {
  const port = new MemoryPort();
  port.push("x");
  using socket = new DatagramSocket(port);
  assertThrows(() => socket.recvFrom(10), Deno.errors.WouldBlock);
  await turn();
  assertEquals(port.receives, 0);
});

Deno.test("DatagramSocket.recvFrom() keeps datagrams apart, empty ones too", async () => {
  const port = new MemoryPort();
  using socket = new DatagramSocket(port);
  port.push("one", "", "three");
  await select([socket], [], []);
  assertEquals(socket.waiting, 3);
  assertEquals([recvText(socket), recvText(socket), recvText(socket)], ["one", "", "three"]);
  assertEquals(socket.waiting, 0);
});

Deno.test("DatagramSocket.recvFrom() cuts a longer datagram and drops its rest", async () => {
  const port = new MemoryPort();
  using socket = new DatagramSocket(port);
  port.push("hello", "world", "next");
  await select([socket], [], []);
  assertEquals(recvText(socket, 3), "hel");
  assertEquals(recvText(socket, 0), "");
  assertEquals(recvText(socket, 4), "next");
});

Deno.test("DatagramSocket.recvFrom() returns a copy that is the caller's", async () => {
  const port = new MemoryPort();
  using socket = new DatagramSocket(port);
  port.push("first", "other");
  await select([socket], [], []);
  const [first] = socket.recvFrom(100);
  const [other] = socket.recvFrom(100);
  first.fill(0);
  assertEquals(decode(other), "other");
  assertNotStrictEquals(first.buffer, other.buffer);
  assertEquals(other.buffer.byteLength, 5);
});

Deno.test("DatagramSocket.recvFromInto() fills memory of the caller's", async () => {
  const port = new MemoryPort();
  using socket = new DatagramSocket(port);
  port.push("first", "", "longer than that");
  await select([socket], [], []);
  const target = new Uint8Array(8);
  assertEquals(socket.recvFromInto(target), [5, SENDER]);
  assertEquals(decode(target), "first\0\0\0");
  assertEquals(socket.recvFromInto(target), [0, SENDER]);
  assertEquals(socket.recvFromInto(target), [8, SENDER]);
  assertEquals(decode(target), "longer t");
  assertThrows(() => socket.recvFromInto(target), Deno.errors.WouldBlock);
});

Deno.test("DatagramSocket keeps what waits while more is received, however it is taken", async () => {
  await withSeeds(20, async (random) => {
    const port = new MemoryPort();
    using socket = new DatagramSocket(port);
    using poller = pollerOf(socket);
    const sent: string[] = [];
    const got: string[] = [];
    for (let round = 0; round < 60; round++) {
      for (let i = random(20); i > 0; i--) {
        const size = random(4) > 0 ? random(200) : random(65_000);
        sent.push(`${sent.length}`.padEnd(size, "x"));
        port.push(sent.at(-1)!);
      }
      await poller.poll(0);
      for (let i = random(30); i > 0 && socket.waiting > 0; i--) got.push(recvText(socket));
    }
    while (got.length < sent.length) {
      await poller.poll();
      while (socket.waiting > 0) got.push(recvText(socket));
    }
    assertEquals(got.map((text, i) => text === sent[i]).indexOf(false), -1);
  });
});

Deno.test("DatagramSocket copies what a port brings in memory of its own", async () => {
  const own = new Uint8Array(1);
  const receive = (): Promise<[Uint8Array, Deno.Addr]> => {
    own[0]!++;
    return Promise.resolve([own, SENDER]);
  };
  using socket = new DatagramSocket({ receive, close: () => {} });
  await select([socket], [], []);
  assertEquals([1, 2, 3].map(() => socket.recvFrom(1)[0][0]), [1, 2, 3]);
});

Deno.test("DatagramSocket.recvFrom() returns what came before an error", async () => {
  const port = new MemoryPort();
  using socket = new DatagramSocket(port);
  port.push("before");
  port.fail(new Deno.errors.ConnectionRefused("port unreachable"));
  await select([socket], [], [socket]);
  assertEquals(recvText(socket), "before");
  assertThrows(() => socket.recvFrom(100), Deno.errors.ConnectionRefused);
  assertThrows(() => socket.recvFrom(100), Deno.errors.WouldBlock);
});

Deno.test("DatagramSocket receives 1,024 datagrams or 1 MiB ahead", async () => {
  for (const [size, ahead] of [[1, 1024], [60_000, 18]] as const) {
    const port = new MemoryPort();
    using socket = new DatagramSocket(port);
    port.push(...Array(1100).fill("x".repeat(size)));
    using poller = pollerOf(socket);
    await poller.poll();
    await poller.poll(0);
    assertEquals([socket.waiting, port.receives], [ahead, ahead]);
    socket.recvFrom(1);
    await poller.poll(0);
    assertEquals(socket.waiting, ahead);
  }
});

for (const max of [-1, 1.5, NaN, Infinity]) {
  Deno.test(`DatagramSocket.recvFrom() rejects a maximum of ${max}`, () => {
    using socket = new DatagramSocket(new MemoryPort());
    assertThrows(() => socket.recvFrom(max), RangeError);
  });
}

Deno.test("DatagramSocket treats a receive() of something else as failed", async () => {
  for (const received of [undefined, [], [3, SENDER]]) {
    const receive = () => Promise.resolve(untyped(received));
    using socket = new DatagramSocket({ receive, close: () => {} });
    assertEquals(await eventsNow(socket, 0), POLLERR);
    assertThrows(() => socket.recvFrom(1), TypeError, "Cannot receive");
  }
});

Deno.test("DatagramSocket.sendTo() sends whole datagrams in order, empty ones too", async () => {
  const port = new MemoryPort();
  using socket = new DatagramSocket(port);
  const bytes = encode("mine");
  assertEquals(socket.sendTo(bytes, SENDER), 4);
  bytes.fill(0);
  assertEquals(socket.sendTo(new Uint8Array(0), SENDER), 0);
  socket.sendTo(encode("last"), SENDER);
  await turn();
  assertEquals(port.sent, ["mine", "", "last"]);
});

Deno.test("DatagramSocket.sendTo() takes datagrams until 64 KiB or 256 of them wait", async () => {
  for (const [size, taken] of [[0, 256], [40_000, 2]] as const) {
    const port = new MemoryPort();
    port.block();
    using socket = new DatagramSocket(port);
    for (let i = 0; i < taken; i++) {
      assertEquals(await eventsNow(socket, POLLOUT), POLLOUT);
      assertEquals(socket.sendTo(new Uint8Array(size), SENDER), size);
    }
    assertEquals(await eventsNow(socket, POLLOUT), 0);
    assertThrows(() => socket.sendTo(encode("x"), SENDER), Deno.errors.WouldBlock);
    port.openGate();
    assertEquals(await select([], [socket], []), [[], [socket], []]);
  }
});

Deno.test("DatagramSocket.sendTo() throws the error of a failed send once, and goes on", async () => {
  const port = new MemoryPort();
  port.sendError = new Deno.errors.ConnectionRefused("nobody there");
  using socket = new DatagramSocket(port);
  socket.sendTo(encode("lost"), SENDER);
  assertEquals(await eventsNow(socket, POLLOUT), POLLOUT | POLLERR);
  assertThrows(() => socket.sendTo(encode("x"), SENDER), Deno.errors.ConnectionRefused);
  port.sendError = undefined;
  assertEquals(await eventsNow(socket, POLLOUT), POLLOUT);
  socket.sendTo(encode("goes on"), SENDER);
  await turn();
  assertEquals(port.sent, ["goes on"]);
});

Deno.test("DatagramSocket.recvFrom() throws the error of a failed send when nothing waits", async () => {
  const port = new MemoryPort();
  port.sendError = new Deno.errors.ConnectionRefused("nobody there");
  using socket = new DatagramSocket(port);
  port.push("data");
  socket.sendTo(encode("lost"), SENDER);
  await select([socket], [], []);
  assertEquals(recvText(socket), "data");
  assertThrows(() => socket.recvFrom(1), Deno.errors.ConnectionRefused);
  assertThrows(() => socket.recvFrom(1), Deno.errors.WouldBlock);
});

Deno.test("DatagramSocket.sendTo() rejects what it cannot send", () => {
  using socket = new DatagramSocket(new MemoryPort());
  assertThrows(() => socket.sendTo(untyped("x"), SENDER), TypeError);
  const { receive } = new MemoryPort();
  using deaf = new DatagramSocket({ receive, close: () => {} });
  assertThrows(() => deaf.sendTo(encode("x"), SENDER), Deno.errors.NotSupported);
});

Deno.test("DatagramSocket throws BadResource after close(), and is reported as POLLNVAL", async () => {
  const port = new MemoryPort();
  const socket = new DatagramSocket(port);
  port.push("dropped");
  await select([socket], [], []);
  socket.close();
  socket.close();
  await socket[Symbol.asyncDispose]();
  assertThrows(() => socket.recvFrom(1), Deno.errors.BadResource);
  assertThrows(() => socket.sendTo(encode("x"), SENDER), Deno.errors.BadResource);
  assertEquals(await eventsNow(socket), POLLNVAL);
});

Deno.test({
  ...NET,
  name: "DatagramSocket.closed settles when its port is free",
  async fn() {
    const conn = listenUdp();
    const socket = new DatagramSocket(conn);
    assertEquals(socket.localAddr, conn.addr);
    await select([socket], [], [], 0);
    socket.close();
    await socket.closed;
    Deno.listenDatagram({ ...conn.addr as Deno.NetAddr, transport: "udp" }).close();
  },
});

Deno.test({
  ...NET,
  name: "DatagramSocket takes in a burst of 200 whole, many at one wake-up",
  async fn() {
    using poller = pollerOf();
    const conn = listenUdp();
    await using socket = new DatagramSocket(conn);
    await using sender = new DatagramSocket(listenUdp());
    poller.register(socket);
    await poller.poll(0);
    for (let i = 0; i < 200; i++) sender.sendTo(encode(`datagram ${i}`), conn.addr);
    const got: string[] = [];
    let wakeUps = 0;
    for (; got.length < 200; wakeUps++) {
      await poller.poll();
      while (socket.waiting > 0) got.push(recvText(socket));
    }
    assertEquals(got, Array.from({ length: 200 }, (_, i) => `datagram ${i}`));
    assert(wakeUps < 100, `${wakeUps} wake-ups`);
  },
});

Deno.test({
  ...NET,
  name: "DatagramSocket.sendTo() tells of a datagram that is too long",
  async fn() {
    await using socket = new DatagramSocket(listenUdp());
    socket.sendTo(new Uint8Array(65_508), socket.localAddr!);
    await select([], [], [socket]);
    const error = assertThrows(() => socket.sendTo(encode("x"), socket.localAddr!));
    assertEquals((error as { code?: string }).code, "EMSGSIZE");
  },
});

Deno.test({
  ...UDP,
  name: "DatagramSocket talks over Unix sockets, too",
  async fn() {
    using dir = tempDir();
    const path = `${dir.path}/log`;
    await using socket = new DatagramSocket(Deno.listenDatagram({ transport: "unixpacket", path }));
    const addr = { transport: "unixpacket", path: `${dir.path}/sender` } as const;
    await using sender = new DatagramSocket(Deno.listenDatagram(addr));
    for (const text of ["one", "", "three"]) sender.sendTo(encode(text), socket.localAddr!);
    const got = [];
    while (got.length < 3) {
      await select([socket], [], []);
      const [data, from] = socket.recvFrom(100);
      got.push(decode(data));
      assertEquals(from, addr);
    }
    assertEquals(got, ["one", "", "three"]);
  },
});
