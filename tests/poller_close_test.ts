/** What close() and abort() do to real connections. */

import { assert, assertEquals } from "@std/assert";
import { POLLNVAL, Socket } from "../poller.ts";
import { connect, listenLocal } from "./support/connections.ts";
import { lag, pick, type Random, withSeeds } from "./support/random.ts";
import { eventsNow } from "./support/sources.ts";
import { pause } from "./support/waiting.ts";
import { NET } from "./support/needs.ts";

Deno.test.sanitizer({ ops: true, resources: true });

async function pair(): Promise<[Socket, Deno.TcpConn]> {
  using listener = listenLocal();
  const peer = await connect(listener);
  return [new Socket(await listener.accept()), peer];
}

/** What a peer hears that begins to read after a while. */
async function heardLate(peer: Deno.TcpConn): Promise<number> {
  await pause(100);
  let heard = 0;
  for await (const bytes of peer.readable) heard += bytes.length;
  return heard;
}

for (
  const [what, sizes] of [["1 byte", [1]], ["64 KiB", [65536]], [
    "ten sends",
    Array(10).fill(5000),
  ]] as const
) {
  Deno.test({
    ...NET,
    name: `Socket.close() delivers ${what} to a peer that reads late`,
    fn: async () => {
      const [socket, peer] = await pair();
      let sent = 0;
      for (const size of sizes) sent += socket.send(new Uint8Array(size));
      socket.close();
      assertEquals(await eventsNow(socket), POLLNVAL);
      assertEquals(await heardLate(peer), sent);
      await socket.closed;
    },
  });
}

Deno.test({
  ...NET,
  name: "Socket delivers what was sent when a block with using ends",
  fn: async () => {
    const [socket, peer] = await pair();
    {
      using server = socket;
      server.send(new Uint8Array(1000));
    }
    assertEquals(await heardLate(peer), 1000);
    await socket.closed;
  },
});

/** Fills the kernel's buffers and the socket's own. */
async function fillUp(socket: Socket): Promise<void> {
  for (let quiet = 0; quiet < 5;) {
    try {
      socket.send(new Uint8Array(65536));
      quiet = 0;
    } catch (error) {
      if (!(error instanceof Deno.errors.WouldBlock)) throw error;
      quiet++;
      await pause(2);
    }
  }
}

Deno.test({
  ...NET,
  name: "Socket.close() delivers all to a peer whose buffers were full",
  fn: async () => {
    const [socket, peer] = await pair();
    await fillUp(socket);
    const { unsentBytes } = socket;
    assert(unsentBytes > 0);
    socket.close();
    assert(await heardLate(peer) > unsentBytes);
    await socket.closed;
    assertEquals(socket.unsentBytes, 0);
  },
});

Deno.test({
  ...NET,
  name: "Socket.abort() frees a connection whose peer never reads, after close() too",
  fn: async () => {
    for (const closesFirst of [false, true]) {
      const [socket, peer] = await pair();
      using _peer = peer;
      await fillUp(socket);
      if (closesFirst) socket.close();
      socket.abort();
      await socket.closed;
      assertEquals(socket.unsentBytes, 0);
    }
  },
});

Deno.test({
  ...NET,
  name: "Socket.close() ends by itself when the peer goes without having read",
  fn: async () => {
    const [socket, peer] = await pair();
    await fillUp(socket);
    socket.close();
    peer.close();
    await socket.closed;
  },
});

/** What random sends, whole sends, sizes and an end of any kind make of a stream that takes little. */
async function sendAtRandom(random: Random): Promise<void> {
  const received: number[] = [];
  const socket = new Socket({
    read: () => new Promise(() => {}),
    async write(bytes) {
      const count = 1 + random(bytes.length);
      const taken = bytes.slice(0, count);
      await lag(random);
      received.push(...taken);
      return count;
    },
    closeWrite: () => lag(random),
    close() {},
  });
  let given = 0;
  const take = (count: number) => Uint8Array.from({ length: count }, () => given++ & 0xFF);
  const whole: Promise<void>[] = [];
  for (let step = 0; step < 40; step++) {
    const action = random(5);
    if (action === 0) whole.push(socket.sendAll(take(random(60))));
    if (action === 1) socket.sendBufferBytes = 1 + random(100);
    if (action === 2) await lag(random);
    if (action > 2) {
      const bytes = take(1 + random(60));
      try {
        given -= bytes.length - socket.send(bytes);
      } catch (error) {
        assert(error instanceof Deno.errors.WouldBlock, String(error));
        given -= bytes.length;
      }
    }
  }
  const end = pick(random, "close", "abort", "shutdown", "wait");
  if (end === "close") socket.close();
  if (end === "abort") socket.abort();
  if (end === "shutdown") await socket.shutdown();
  const results = await Promise.allSettled(whole);
  const failures = results.filter(({ status }) => status === "rejected").length;
  if (end === "shutdown" || end === "wait") assertEquals(failures, 0);
  while (end !== "abort" && socket.unsentBytes > 0) await lag(random);
  const isWhole = failures === 0 && end !== "abort";
  assert(isWhole ? received.length === given : received.length <= given, end);
  assert(received.every((byte, at) => byte === (at & 0xFF)), `${end}: out of order`);
  socket.abort();
}

Deno.test("Socket sends what it is given once and in order, whatever is done meanwhile", async () => {
  await withSeeds(60, sendAtRandom);
});
