/** CPython's test_asyncore and test_asynchat, as far as they are about sockets. */

import { assert, assertEquals } from "@std/assert";
import { Poller, type ServerSocket, Socket } from "../poller.ts";
import { decode, encode } from "../lib/bytes.ts";
import { NET } from "../tests/support/needs.ts";
import { connectTo, listenLocal, readUpTo } from "../tests/support/connections.ts";
import { untilTrue } from "../tests/support/waiting.ts";
import { AsyncChat, Dispatcher, loop } from "./asyncore.ts";

Deno.test.sanitizer({ ops: true, resources: true });

function newMap(): Poller<ServerSocket | Socket, Dispatcher> {
  return new Poller();
}

type SocketMap = ReturnType<typeof newMap>;

/** Collects messages; answers nothing. */
class Collector extends AsyncChat {
  readonly messages: string[] = [];
  data = "";
  closes = 0;
  errors: unknown[] = [];
  heardBytes = 0;
  onMessage = (_message: string) => {};

  collectIncomingData(data: Uint8Array): void {
    this.data += decode(data);
  }

  foundTerminator(): void {
    this.messages.push(this.data);
    this.data = "";
    this.onMessage(this.messages.at(-1)!);
  }

  override recv(max: number): Uint8Array {
    const data = super.recv(max);
    this.heardBytes += data.length;
    return data;
  }

  override handleClose(): void {
    this.closes++;
    super.handleClose();
  }

  override handleError(error: unknown): void {
    this.errors.push(error);
    this.close();
  }
}

/** Sends these parts to a collector with this terminator; returns it when the sender has ended. */
async function collected(terminator: string | number | null, ...parts: string[]) {
  const map = newMap();
  using listener = listenLocal();
  const sender = await Deno.connect({ port: listener.addr.port });
  const collector = new Collector(new Socket(await listener.accept()), map);
  collector.setTerminator(terminator);
  const serving = loop(map, 1000);
  let sentBytes = 0;
  for (const part of parts) {
    sentBytes += await sender.write(encode(part));
    await untilTrue(() => collector.heardBytes === sentBytes);
  }
  sender.close();
  await serving;
  assertEquals([collector.closes, collector.errors, map.size], [1, [], 0]);
  return collector;
}

for (
  const [terminator, parts] of [
    ["\n", ["hello world\nI'm not dead yet!\n"]],
    ["\r\n", ["hello world\r", "\nI'm not dead yet!", "\r\n"]],
    ["qqq", ["hello worldq", "q", "qI'm not dead yet!qqq"]],
  ] as const
) {
  Deno.test({
    ...NET,
    name: `AsyncChat cuts at ${JSON.stringify(terminator)}, wherever it is split`,
    async fn() {
      const { messages } = await collected(terminator, ...parts);
      assertEquals(messages, ["hello world", "I'm not dead yet!"]);
    },
  });
}

Deno.test({
  ...NET,
  name: "AsyncChat cuts after a number of bytes, and collects all without a terminator",
  async fn() {
    assertEquals((await collected(6, "hello ", "world, end")).messages[0], "hello ");
    const all = await collected(null, "hello ", "world");
    assertEquals([all.messages, all.data], [[], "hello world"]);
  },
});

Deno.test({
  ...NET,
  name: "AsyncChat finds the terminator of an empty line, and holds back what may be one",
  async fn() {
    const { messages, data } = await collected("\r\n", "a\r\n\r\nb\r\n", "rest\r");
    assertEquals([messages, data], [["a", "", "b"], "rest"]);
  },
});

Deno.test({
  ...NET,
  name: "AsyncChat changes its terminator between a head and a body, as an HTTP channel does",
  async fn() {
    const map = newMap();
    using listener = listenLocal();
    const sender = await Deno.connect({ port: listener.addr.port });
    const channel = new Collector(new Socket(await listener.accept()), map);
    channel.setTerminator("\r\n\r\n");
    channel.onMessage = (message) => {
      const length = /length: (\d+)/.exec(message)?.[1];
      channel.setTerminator(length ? Number(length) : "\r\n\r\n");
      if (!length) channel.push(encode(`got ${message}`));
      if (message === "last!") channel.closeWhenDone();
    };
    const serving = loop(map, 1000);
    await sender.write(encode("length: 5\r\n\r\nfirstlength: 5\r\n\r\nlast!"));
    assertEquals(decode(await readUpTo(sender, 100)), "got firstgot last!");
    sender.close();
    await serving;
  },
});

class EchoServer extends Dispatcher {
  override handleAccepted(socket: Socket): void {
    const channel = new Collector(socket, this.map);
    channel.setTerminator("\n");
    channel.onMessage = (message) => {
      channel.push(encode(`${message}\n`));
      if (message !== "close") return;
      channel.closeWhenDone();
      this.close();
    };
  }
}

function echoServer(map: SocketMap): { server: EchoServer; port: number } {
  const server = new EchoServer(undefined, map);
  return { server, port: server.listen({ hostname: "127.0.0.1", port: 0 }).port };
}

Deno.test({
  ...NET,
  name: "Dispatcher connects, sends and is answered, all in one loop",
  async fn() {
    const map = newMap();
    const { server, port } = echoServer(map);
    const listening = server.socket!;
    const client = new Collector(undefined, map);
    client.setTerminator("\n");
    client.connect({ hostname: "127.0.0.1", port });
    client.push(encode("before it is connected\n")); // what is pushed waits
    client.onMessage = () => client.messages.length === 1 && client.push(encode("close\n"));
    await loop(map, 1000);
    assertEquals(client.messages, ["before it is connected", "close"]);
    assertEquals([client.closes, client.errors, server.socket], [1, [], undefined]);
    await listening.closed;
  },
});

Deno.test({
  ...NET,
  name: "AsyncChat.closeWhenDone() delivers megabytes before it closes",
  async fn() {
    const map = newMap();
    using listener = listenLocal();
    const peer = await Deno.connect({ port: listener.addr.port });
    const channel = new Collector(new Socket(await listener.accept()), map);
    channel.push(new Uint8Array(5_000_000));
    channel.closeWhenDone();
    const serving = loop(map, 1000);
    let heard = 0;
    for await (const bytes of peer.readable) heard += bytes.length;
    await serving;
    assertEquals(heard, 5_000_000);
  },
});

Deno.test({
  ...NET,
  name: "Dispatcher hears of a connection that is refused, once, and the loop ends",
  async fn() {
    const map = newMap();
    const gone = listenLocal();
    const { port } = gone.addr;
    gone.close();
    const client = new Collector(undefined, map);
    client.connect({ hostname: "127.0.0.1", port });
    await loop(map, 1000);
    assertEquals(client.errors.length, 1);
    assert(client.errors[0] instanceof Deno.errors.ConnectionRefused);
  },
});

Deno.test({
  ...NET,
  name: "Dispatcher goes on with the others when a handler throws",
  async fn() {
    const map = newMap();
    const { server, port } = echoServer(map);
    const listening = server.socket!;
    const serving = loop(map, 1000);
    using other = await connectTo(port);
    using listener = listenLocal();
    using peer = await Deno.connect({ port: listener.addr.port });
    const faulty = new Collector(new Socket(await listener.accept()), map);
    faulty.setTerminator("\n");
    faulty.onMessage = () => {
      throw new SyntaxError("a mistake");
    };
    await peer.write(encode("x\n"));
    await other.write(encode("still there?\nclose\n"));
    assertEquals(decode(await readUpTo(other, 100)), "still there?\nclose\n");
    await serving;
    assertEquals(faulty.errors.map(String), ["SyntaxError: a mistake"]);
    await listening.closed;
  },
});

Deno.test({
  ...NET,
  name: "AsyncChat finds no terminator once what came before it has closed the channel",
  async fn() {
    const map = newMap();
    using listener = listenLocal();
    using sender = await Deno.connect({ port: listener.addr.port });
    const collector = new Collector(new Socket(await listener.accept()), map);
    collector.setTerminator("\n");
    collector.collectIncomingData = () => collector.close();
    await sender.write(encode("too long\nmore\n"));
    await loop(map, 1000);
    assertEquals(collector.messages, []);
  },
});
