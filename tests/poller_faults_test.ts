import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  type ByteStream,
  Poller,
  POLLIN,
  POLLNVAL,
  select,
  ServerSocket,
  Socket,
  type Source,
} from "../poller.ts";
import { decode, encode } from "../lib/bytes.ts";
import { connect, listenLocal } from "./support/connections.ts";
import { byteOf, FaultyListener, FaultyStream } from "./support/faulty.ts";
import { tempDir } from "./support/files.ts";
import { MemoryListener, MemoryStream, quietStream } from "./support/memory.ts";
import { pick, type Random, withSeeds } from "./support/random.ts";
import { closeAll, pollerOf, recvText, waitByPoll, waitBySelect } from "./support/sources.ts";
import { turn } from "./support/waiting.ts";
import { FILES, NET, RUN } from "./support/needs.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** The same for both front ends: a changing set of sources, and who of them is ready. */
interface Watch {
  readonly size: number;
  add(source: Source): void;
  remove(source: Source): void;
  wait(timeoutMs?: number): Promise<[Source, number][]>;
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
    // What was sent to a peer that takes nothing would wait for ever.
    const aborts = handled.stream.writeEnd === "hangs" || random(2) === 0;
    const end = () => aborts ? socket.abort() : socket.close();
    if (random(2) === 0) {
      watch.remove(socket);
      end();
    } else {
      end();
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

/** Sources over TCP, each with its client. */
async function tcpSources(count: number) {
  using listener = listenLocal();
  const ends = new DisposableStack();
  const clients: Deno.TcpConn[] = [];
  const sources: Socket[] = [];
  for (let i = 0; i < count; i++) {
    const [client, server] = await Promise.all([connect(listener), listener.accept()]);
    clients.push(ends.use(client));
    sources.push(ends.use(new Socket(server)));
  }
  return { clients, sources, [Symbol.dispose]: () => ends.dispose() };
}

for (const [name, wait] of [["select()", waitBySelect], ["Poller.poll()", waitByPoll]] as const) {
  for (const count of [65, 100, 400]) {
    Deno.test({
      ...NET,
      name: `${name} reports all of ${count} TCP sources in one look`,
      async fn() {
        using tcp = await tcpSources(count);
        for (let round = 0; round < 4; round++) {
          await Promise.all(tcp.clients.map((client) => client.write(encode("data"))));
          const ready = await wait(tcp.sources, POLLIN, 0);
          assertEquals(ready.map(([source]) => source), tcp.sources, `round ${round}`);
          // Every other round leaves some of it.
          for (const source of tcp.sources) recvText(source, round % 2 === 0 ? 4 : 3);
        }
      },
    });
  }

  for (const count of [1000, 3000]) {
    Deno.test(`${name} reports all of ${count} sources in one look`, async () => {
      const streams = Array.from({ length: count }, () => new MemoryStream("first"));
      const sources = streams.map((stream) => new Socket(stream));
      for (let round = 0; round < 3; round++) {
        const ready = await wait(sources, POLLIN, 0);
        assertEquals(ready.length, count);
        for (const source of sources) source.recv(10);
        for (const stream of streams) stream.push("again");
      }
      closeAll(...sources);
    });
  }
}

/**
 * Looks at fresh connections whose data is there, by a call that returns when it has
 * begun, and keeps the thread busy. Prints how many looks found the data.
 */
function busyLookProgram(call: string): string {
  return `
    import { Poller, POLLIN, select, Socket } from "${import.meta.resolve("../poller.ts")}";
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    let found = 0;
    for (const busyMs of [0, 1, 1.5, 2, 5]) {
      const client = await Deno.connect(listener.addr);
      const source = new Socket(await listener.accept());
      using poller = new Poller();
      poller.register(source, POLLIN);
      await client.write(new Uint8Array(4));
      const ready = ${call};
      const untilMs = performance.now() + busyMs;
      while (performance.now() < untilMs);
      if ((await ready).flat().length > 0) found++;
      source.close();
      client.close();
    }
    console.log(found);
    Deno.exit();`;
}

for (const call of ["select([source], [], [], 0)", "poller.poll(0)"]) {
  Deno.test({
    // A program of its own: a test runner asks the kernel itself, between the turns.
    ...RUN,
    name: `${call} reports what is there when its caller is busy meanwhile`,
    async fn() {
      const args = ["eval", "--no-lock", busyLookProgram(call)];
      const { stdout, stderr } = await new Deno.Command(Deno.execPath(), { args }).output();
      assertEquals([decode(stdout), decode(stderr)], ["5\n", ""]);
    },
  });
}

Deno.test({
  ...NET,
  name: "Poller.poll() reports all of 400 TCP sources in a look of its own poller",
  async fn() {
    using tcp = await tcpSources(400);
    using poller = pollerOf(...tcp.sources);
    for (let round = 0; round < 4; round++) {
      assertEquals(await poller.poll(0), []);
      await Promise.all(tcp.clients.map((client) => client.write(encode("data"))));
      assertEquals((await poller.poll(0)).length, 400);
      for (const source of tcp.sources) assertEquals(recvText(source), "data");
    }
  },
});

for (const kind of ["select()", "Poller.poll()"]) {
  Deno.test({
    ...FILES,
    name: `${kind} serves 200 sources alike that are read in bites`,
    async fn() {
      using tcp = await tcpSources(200);
      using dir = tempDir();
      using output = await Deno.open(`${dir.path}/out`, { write: true, create: true });
      using poller = new Poller();
      const watch = kind === "select()" ? selectWatch() : pollWatch(poller);
      for (const source of tcp.sources) watch.add(source);
      await Promise.all(tcp.clients.map((client) => client.write(new Uint8Array(16 * 1024))));
      const counts = new Map<Source, number>(tcp.sources.map((source) => [source, 0]));
      for (let round = 0; round < 200; round++) {
        for (const [source] of await watch.wait()) {
          (source as Socket).recv(64);
          counts.set(source, counts.get(source)! + 1);
        }
        await output.write(new Uint8Array(64));
      }
      const served = [...counts.values()];
      assert(Math.min(...served) >= 180, `${Math.min(...served)} to ${Math.max(...served)} times`);
    },
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

Deno.test({
  ...NET,
  name: "Poller.poll() sees what the kernel has after a burst although its timeout is 0",
  async fn() {
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
});

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
        assertEquals(recvText(source as Socket), "again");
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
  listener.fail(new Deno.errors.PermissionDenied("gone"));
  using poller = pollerOf(server);
  for (let i = 0; i < 5; i++) await poller.poll();
  const first = server.accept();
  poller.unregister(server);
  assertEquals(await poller.poll(0), []);
  assertEquals(await select([server], [], [], 0), [[server], [], []]);
  const rest = Array.from({ length: 4 }, () => server.accept());
  assertEquals([first, ...rest].map(({ stream }) => stream), streams);
  assertThrows(() => server.accept(), Deno.errors.PermissionDenied);
  assertThrows(() => server.accept(), Deno.errors.WouldBlock);
  assertEquals(await poller.poll(0), []);
  poller.register(server);
  listener.connect();
  assertEquals(await poller.poll(), [[server, POLLIN]]);
  server.accept().close();
  closeAll(first, ...rest);
});
