import { assert, assertEquals } from "@std/assert";
import { select, Socket } from "../../poller.ts";
import { decode, encode, NO_BYTES } from "../bytes.ts";
import { ClientHints } from "./client_hints.ts";
import { Client } from "./client.ts";
import { Interactive, type TypedEnd } from "./interactive.ts";
import { MemoryStream } from "../../tests/support/memory.ts";
import { turn } from "../../tests/support/waiting.ts";
import { disconnectWords, type Target } from "../records/records.ts";
import { Stats } from "../stats.ts";

import { recording } from "../../tests/support/recording.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** Clients 1 to `count` with their peers, and an interactive console for them. */
function interactiveOf(count: number, end: TypedEnd = "lf") {
  const context = {
    recorder: recording().recorder,
    stats: new Stats(0, false),
    isEchoing: false,
    replies: undefined,
    ending: undefined,
    maxLineBytes: 1000,
    maxUnreadBytes: 1000,
    isReceivedIntoLog: false,
    createFramer: undefined,
    input: { receive: () => 0, last: () => NO_BYTES },
    maxReadBytes: 1000,
    hints: new ClientHints({ isPlain: false, framing: undefined, say: () => {} }),
  };
  const streams = Array.from({ length: count }, () => new MemoryStream());
  const clients = streams.map((stream, i) =>
    new Client(
      context,
      { number: i + 1, peer: { kind: "ip", host: "10.0.0.1", port: i + 1 } },
      new Socket(stream),
    )
  );
  const said: string[] = [];
  const sent: string[] = [];
  const chosen: (number | undefined)[] = [];
  const left: string[] = [];
  const interactive = new Interactive({
    clients: {
      size: clients.length,
      [Symbol.iterator]: () => clients[Symbol.iterator](),
      update: () => {},
      disconnect: ({ subject }, reason) =>
        left.push(`#${subject.number} ${disconnectWords(reason)}`),
    },
    datagrams: {
      answerTo: (address, bytes) =>
        address === "10.0.0.9:514" && sent.push(`${address} ${decode(bytes)}`) > 0,
    },
    recorder: {
      sent: (to, { bytes, lineBytes }) =>
        sent.push(`${nameOf(to)} ${decode(bytes.subarray(0, lineBytes))}`),
    },
    end,
    say: (message) => said.push(message),
    said: () => Promise.resolve(),
    onChosen: (number) => chosen.push(number),
  });
  return {
    interactive,
    clients,
    streams,
    said,
    sent,
    chosen,
    left,
    type: (text: string) => interactive.push(encode(text)),
    /** What each has received when all is sent. */
    async received(): Promise<string[]> {
      for (let i = 0; i < 5; i++) await turn();
      return streams.map(({ received }) => received);
    },
    [Symbol.dispose]: () => clients.forEach(({ socket }) => socket.close()),
  };
}

function nameOf(to: Target): string {
  return "clients" in to ? `*${to.clients}` : `#${to.number}`;
}

Deno.test("Interactive.push() sends a line to all, however it is typed", async () => {
  using one = interactiveOf(2);
  for (const part of ["he", "llo", "\nand", " more\n"]) one.type(part);
  assertEquals(await one.received(), ["hello\nand more\n", "hello\nand more\n"]);
  assertEquals(one.sent, ["*2 hello", "*2 and more"]);
});

Deno.test("Interactive.push() sends a line with @3 to client 3 alone", async () => {
  using one = interactiveOf(3);
  one.type("@3 reset now\n@1 \n");
  assertEquals(await one.received(), ["\n", "", "reset now\n"]);
  assertEquals(one.sent, ["#3 reset now", "#1 "]);
});

Deno.test("Interactive.push() sends @@ as a line that begins with @", async () => {
  using one = interactiveOf(1);
  one.type("@@3 x\n@@\n");
  assertEquals(await one.received(), ["@3 x\n@\n"]);
});

Deno.test("Interactive.push() explains every other form of @, and sends nothing", async () => {
  using one = interactiveOf(1);
  const forms =
    "@,@x y,@0 x,@01 x,@1\tx,@-1 x,@\x1B x,@all x,@? x,@1! x,@0,@01!,@10.0.0.1:1,@[x]:3 x";
  for (const wrong of forms.split(",")) {
    one.type(`${wrong}\n`);
  }
  assertEquals(await one.received(), [""]);
  assertEquals(one.said.length, 14);
  assertEquals(
    one.said[6],
    'earshot: Cannot send "@\\x1B x": expected @<number> <text>, @<address>:<port> <text>, ' +
      "@<number>, @<number>!, @all, @?, or @@ for a line that begins with @",
  );
});

Deno.test("Interactive.push() says when nobody is there to take a line", async () => {
  using nobody = interactiveOf(0);
  nobody.type("hello\n");
  using one = interactiveOf(1);
  one.type("@7 x\n");
  assertEquals(await one.received(), [""]);
  assertEquals([...nobody.said, ...one.said], [
    "earshot: Cannot send to anybody: nobody is connected",
    "earshot: Cannot send to #7: no such client",
  ]);
  assertEquals([...nobody.sent, ...one.sent], []);
});

Deno.test("Interactive.push() leaves out a client that leaves too much unread, and names it", async () => {
  using one = interactiveOf(2);
  one.streams[0]!.block();
  const long = "x".repeat(64 * 1024);
  one.type(`${long}\n${long}\n`);
  await one.received();
  one.type("late\n");
  assertEquals((await one.received())[1], `${long}\n${long}\nlate\n`);
  assertEquals(one.said, ["earshot: Cannot send to #1: it has left 131074 bytes unread"]);
  assertEquals(one.sent.map((line) => line.slice(0, 4)), ["*2 x", "*2 x", "*1 l"]);
  one.streams[0]!.unblock();
});

Deno.test("Interactive.push() does not record what nobody took", () => {
  using one = interactiveOf(1);
  one.streams[0]!.block();
  const long = "x".repeat(64 * 1024);
  one.type(`${long}\n${long}\n`);
  one.type("late\n@1 late\n");
  assertEquals([one.sent.length, one.said.length], [2, 2]);
  one.streams[0]!.unblock();
});

Deno.test("Interactive.push() drops a line of more than 64 KiB, and goes on behind it", async () => {
  using one = interactiveOf(1);
  const longest = "x".repeat(64 * 1024);
  one.type(`${longest}\n`);
  for (let i = 0; i < 3; i++) one.type(longest);
  one.type("\nnext\n");
  assertEquals(await one.received(), [`${longest}\nnext\n`]);
  assertEquals(one.said, ["earshot: Cannot send a line of more than 65536 bytes: it is dropped"]);
});

Deno.test("Interactive.end() sends half a line as a line, and nothing if there is none", async () => {
  using one = interactiveOf(1);
  one.type("whole\nhalf");
  assertEquals(await one.received(), ["whole\n"]);
  one.interactive.end();
  one.interactive.end();
  assertEquals(await one.received(), ["whole\nhalf\n"]);
});

Deno.test("Interactive ends lines in CR LF when asked to, also those that had one", async () => {
  using one = interactiveOf(1, "crlf");
  one.type("AT\nATZ\r\n\n");
  assertEquals(await one.received(), ["AT\r\nATZ\r\n\r\n"]);
  assertEquals(one.sent, ["*1 AT", "*1 ATZ", "*1 "]);
});

Deno.test("Interactive.push() sends to whoever has an address, a client before a sender", async () => {
  using one = interactiveOf(2);
  one.type("@10.0.0.1:2 to a client\n@10.0.0.9:514 to a sender\n@10.0.0.9:515 to nobody\n");
  assertEquals(await one.received(), ["", "to a client\n"]);
  assertEquals(one.sent, ["#2 to a client", "10.0.0.9:514 to a sender\n"]);
  assertEquals(one.said, ["earshot: Cannot send to 10.0.0.9:515: nobody has that address"]);
});

Deno.test("Interactive.push() stays with @3 until @all, and says each", async () => {
  using one = interactiveOf(3);
  one.type("@3\nplain\n@@at\n@1 one\n@all\nto all\n");
  assertEquals(await one.received(), ["one\nto all\n", "to all\n", "plain\n@at\nto all\n"]);
  assertEquals(one.chosen, [3, undefined]);
  assertEquals(one.said, ["earshot: typed lines go to #3", "earshot: typed lines go to all"]);
});

Deno.test("Interactive.push() sends plain lines to nobody when the chosen client has left", async () => {
  using one = interactiveOf(2);
  one.type("@4\n@2\n");
  one.clients.pop()!.socket.close();
  one.type("lost\n@1 one\n@all\nall\n");
  assertEquals((await one.received())[0], "one\nall\n");
  assertEquals(one.said, [
    "earshot: Cannot stay with #4: no such client",
    "earshot: typed lines go to #2",
    "earshot: Cannot send to #2: it has left; @all ends this",
    "earshot: typed lines go to all",
  ]);
});

Deno.test("Interactive.push() disconnects with @2!", () => {
  using one = interactiveOf(2);
  one.type("@2!\n@3!\n");
  assertEquals(one.left, ["#2 closed here"]);
  assertEquals(one.said, ["earshot: Cannot disconnect #3: no such client"]);
});

Deno.test("Interactive.push() lists who is connected with @?", async () => {
  using one = interactiveOf(2);
  one.clients[0]!.lines = 3;
  one.type("@?\n");
  await turn();
  assertEquals(one.said.map((line) => line.replace(/\d+\.\d s$/, "N s")), [
    "earshot: 2 clients connected",
    "earshot: #1 10.0.0.1:1, 3 lines, silent for N s",
    "earshot: #2 10.0.0.1:2, 0 lines, silent for N s",
  ]);
});

Deno.test("Interactive.push() sends the bytes of escapes, and no line end with them", async () => {
  using one = interactiveOf(1, "escapes");
  one.type("\\x06\n@1 a\\r\\n\n\\\\\n@@\\u{41}\n\n");
  assertEquals(await one.received(), ["\x06a\r\n\\@A"]);
  assertEquals(one.sent, ["*1 \x06", "#1 a", "*1 \\", "*1 @A"]);
});

Deno.test("Interactive.push() sends nothing of a line with a wrong escape, and names it", async () => {
  using one = interactiveOf(1, "escapes");
  one.type("ok \\q\n@1 \\x1\n");
  assertEquals(await one.received(), [""]);
  const escapes = "use \\n, \\r, \\t, \\0, \\\\, \\xNN or \\u{N}";
  assertEquals(one.said, [
    `earshot: Cannot send "ok \\q": "\\q" is no escape: ${escapes}`,
    `earshot: Cannot send "\\x1": "\\x1" is no escape: ${escapes}`,
  ]);
});

Deno.test("Interactive.send() tells how many clients took something, and records it", async () => {
  using one = interactiveOf(3);
  const bytes = encode("from the page\n");
  assertEquals(["all" as const, 2, 7].map((to) => one.interactive.send(to, bytes)), [3, 1, 0]);
  assertEquals(one.sent, ["*3 from the page", "#2 from the page"]);
  assertEquals((await one.received())[2], "from the page\n");
});

Deno.test("Interactive.push() sends binary as it is", async () => {
  using one = interactiveOf(1);
  const bytes = Uint8Array.of(0, 255, 13, 27, 10);
  let received = new Uint8Array(0);
  one.streams[0]!.write = (chunk) => {
    received = new Uint8Array([...received, ...chunk]);
    return Promise.resolve(chunk.length);
  };
  one.interactive.push(bytes);
  await turn();
  assertEquals(received, bytes);
});

Deno.test("Interactive.onReadable() ends its turn after so many sends, and loses nothing", async () => {
  using one = interactiveOf(100);
  const typed = new MemoryStream("y\n".repeat(1000) + "half");
  using stdin = new Socket(typed);
  await select([stdin], [], []);
  one.interactive.onReadable(stdin);
  assert(one.sent.length < 200, `${one.sent.length} lines`);
  typed.end();
  while (one.sent.length < 1001) {
    await select([stdin], [], []);
    one.interactive.onReadable(stdin);
  }
  assertEquals((await one.received())[99], `${"y\n".repeat(1000)}half\n`);
});

Deno.test("Interactive.onReadable() tells when there is no more to hear", async () => {
  using one = interactiveOf(1);
  const typed = new MemoryStream("last");
  typed.end();
  using stdin = new Socket(typed);
  const heard = [];
  for (let i = 0; i < 2; i++) {
    await select([stdin], [], []);
    heard.push(one.interactive.onReadable(stdin));
  }
  assertEquals(heard, [true, false]);
  assertEquals(await one.received(), ["last\n"]);
});

Deno.test("Interactive.onReadable() says when stdin cannot be read, once", async () => {
  using one = interactiveOf(1);
  const typed = new MemoryStream();
  typed.fail(new Error("Is a directory (os error 21)"));
  using stdin = new Socket(typed);
  await select([stdin], [], []);
  assertEquals(one.interactive.onReadable(stdin), false);
  assertEquals(one.said, ["earshot: Cannot read stdin: is a directory; nothing can be typed"]);
});
