import { assertEquals, assertLess, assertMatch } from "@std/assert";
import { type ByteStream, Poller, ServerSocket, type Socket } from "../../poller.ts";
import { Networks, parseNetwork, type Peer, peerText } from "../addresses.ts";
import { DescriptorReserve } from "../descriptor_reserve.ts";
import { TaskQueue } from "../loop/task_queue.ts";
import { Feed, MemoryListener } from "../../tests/support/memory.ts";
import { turn, untilTrue } from "../../tests/support/waiting.ts";
import { ConnectionAcceptor } from "./acceptor.ts";
import { Admission } from "./admission.ts";
import { Handshakes } from "./handshakes.ts";
import { KeepAlive } from "./keep_alive.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const HEADER = "PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n";

interface Rules {
  readonly proxies?: string;
  readonly denied?: string;
  readonly maxPerHost?: number;
  readonly limitMs?: number;
}

function networks(rule: string | undefined): Networks | undefined {
  return rule === undefined ? undefined : new Networks([parseNetwork(rule)!]);
}

/** An acceptor with one listener in memory, and what it makes of those who come. */
function acceptorWith({ proxies, denied, maxPerHost, limitMs = 60_000 }: Rules = {}) {
  const listener = new MemoryListener();
  const server = new ServerSocket(listener);
  const multiplexer = new Poller();
  const admission = new Admission({
    listeners: [server],
    multiplexer,
    maxConnections: 2,
    maxPerHost,
    allowed: undefined,
    denied: networks(denied),
    reserve: new DescriptorReserve(0),
    say: () => {},
    onAcceptError: () => {},
  });
  const handshakes = new Handshakes({ limitMs, idleMs: Infinity, proxies: networks(proxies) });
  const tasks = new TaskQueue(() => {});
  const keepAlive = new KeepAlive((socket) => sockets.includes(socket));
  const records: string[] = [];
  const sockets: Socket[] = [];
  const acceptor = new ConnectionAcceptor({
    admission,
    handshakes,
    tls: undefined,
    listening: [
      { kind: "stream", socket: server, greeting: "", isTls: false, file: undefined },
    ],
    ports: new Map([[server, 5141]]),
    tasks,
    keepAlive,
    clients: {
      connect({ socket, peer, through }) {
        sockets.push(socket);
        records.push(`connect ${peerText(peer)}${through ? ` through ${peerText(through)}` : ""}`);
      },
      refuse: ({ peer }, reason) => records.push(`refuse ${peerText(peer)}: ${reason}`),
      fail: ({ peer }, _acceptedAtMs, { tag }) => records.push(`fail ${peerText(peer)}: ${tag}`),
    },
    stats: { countHandshakeFailure: (fault) => records.push(`count ${fault}`) },
  });
  return {
    records,
    tasks,
    keepAlive,
    /** Whether anybody else would be accepted. */
    isOpen: () => multiplexer.has(server),
    /** Lets a client arrive, and the acceptor take in who waits. */
    async arrive(client: ByteStream): Promise<void> {
      listener.connect(client);
      await multiplexer.poll();
      acceptor.accept(server);
    },
    /** Does as the loop does until there are `count` records. */
    async until(count: number): Promise<void> {
      while (records.length < count) {
        await turn();
        for (const _ of tasks.run());
      }
    },
    /** What the owner of clients says when one is gone. */
    left: (peer: Peer) => admission.left(peer),
    async [Symbol.asyncDispose]() {
      handshakes[Symbol.dispose]();
      for (const socket of sockets) socket.close();
      multiplexer.close();
      await server[Symbol.asyncDispose]();
    },
  };
}

/** A client that has said something. */
function saying(text: string): Feed {
  const feed = new Feed();
  feed.push(text);
  return feed;
}

Deno.test("ConnectionAcceptor.accept() makes a client of whoever may come, at once", async () => {
  await using it = acceptorWith();
  const client = saying("hello\n");
  await it.arrive(client);
  assertEquals(it.records, [`connect 127.0.0.1:${client.remoteAddr.port}`]);
  assertEquals(it.tasks.isEmpty, true);
});

Deno.test("ConnectionAcceptor.accept() gives no place to who is refused", async () => {
  await using it = acceptorWith({ denied: "127.0.0.0/8" });
  for (let i = 0; i < 3; i++) await it.arrive(new Feed());
  assertEquals(it.records.map((record) => record.replace(/:\d+: /, ":PORT: ")), [
    "refuse 127.0.0.1:PORT: not allowed",
    "refuse 127.0.0.1:PORT: not allowed",
    "refuse 127.0.0.1:PORT: not allowed",
  ]);
  assertEquals(it.isOpen(), true);
});

Deno.test("ConnectionAcceptor.accept() refuses a proxy that is denied before it names anybody", async () => {
  await using it = acceptorWith({ proxies: "127.0.0.0/8", denied: "127.0.0.1" });
  const proxy = saying(HEADER);
  await it.arrive(proxy);
  assertEquals(it.records, [`refuse 127.0.0.1:${proxy.remoteAddr.port}: not allowed`]);
});

Deno.test("ConnectionAcceptor.accept() leaves what a proxy names to the next round", async () => {
  await using it = acceptorWith({ proxies: "127.0.0.0/8" });
  const proxy = saying(`${HEADER}hello\n`);
  await it.arrive(proxy);
  await untilTrue(() => !it.tasks.isEmpty);
  assertEquals(it.records, []);
  await it.until(1);
  assertEquals(it.records, [
    `connect 192.0.2.7:4711 through 127.0.0.1:${proxy.remoteAddr.port}`,
  ]);
});

Deno.test("ConnectionAcceptor.accept() counts a proxy's connection for the client that it names", async () => {
  await using it = acceptorWith({ proxies: "127.0.0.0/8", maxPerHost: 1 });
  for (const count of [1, 2]) {
    await it.arrive(saying(HEADER));
    await it.until(count);
  }
  assertEquals(it.records.map((record) => record.replace(/ through .*/, "")), [
    "connect 192.0.2.7:4711",
    "refuse 192.0.2.7:4711: 1 connection already",
  ]);
  it.left({ kind: "ip", host: "192.0.2.7", port: 4711 });
  await it.arrive(saying(HEADER));
  await it.until(3);
  assertMatch(it.records[2]!, /^connect /);
});

Deno.test("ConnectionAcceptor.accept() takes a place for a handshake, and gives it back when that fails", async () => {
  await using it = acceptorWith({ proxies: "127.0.0.0/8", limitMs: 50 });
  for (let i = 0; i < 2; i++) await it.arrive(saying("PROXY "));
  assertEquals(it.isOpen(), false);
  await it.until(4);
  assertEquals(it.records.map((record) => record.replace(/:\d+: /, ":PORT: ")), [
    "count timeout",
    "fail 127.0.0.1:PORT: handshake",
    "count timeout",
    "fail 127.0.0.1:PORT: handshake",
  ]);
  assertEquals(it.isOpen(), true);
});

Deno.test("ConnectionAcceptor.accept() has keepalive switched on a little later", async () => {
  await using it = acceptorWith();
  let isOn = false;
  const conn = Object.assign(saying("hello\n"), {
    setKeepAlive: (on: boolean) => void (isOn = on),
  });
  await it.arrive(conn);
  assertEquals(isOn, false);
  assertLess(it.keepAlive.dueAtMs, performance.now() + 1000);
  it.keepAlive.onDue();
  assertEquals(isOn, true);
});
