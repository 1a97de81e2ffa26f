import { assert, assertEquals, assertFalse, assertStrictEquals, assertThrows } from "@std/assert";
import { Poller, POLLOUT, Socket } from "../../poller.ts";
import { decode, encode, NO_BYTES } from "../bytes.ts";
import { Outbox } from "./outbox.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** A socket with room for `room` bytes, which keeps what it takes. */
class Receiver {
  taken = "";
  calls = 0;
  /** The pieces of memory in which what was offered lay, and how long the last one was. */
  readonly pieces = new Set<ArrayBufferLike>();
  memoryBytes = 0;

  constructor(public room: number) {}

  send(bytes: Uint8Array): number {
    this.calls++;
    this.pieces.add(bytes.buffer);
    this.memoryBytes = bytes.buffer.byteLength;
    if (this.room === 0) throw new Deno.errors.WouldBlock("no room");
    const count = Math.min(this.room, bytes.length);
    this.room -= count;
    this.taken += decode(bytes.subarray(0, count));
    return count;
  }
}

Deno.test("Outbox has nothing to send when it is new", () => {
  const outbox = new Outbox();
  const receiver = new Receiver(0);
  assertEquals(outbox.length, 0);
  assert(outbox.send(receiver), "all is gone");
  assertEquals(receiver.calls, 0);
});

Deno.test("Outbox.send() hands over all that was added, in order and in one call", () => {
  const outbox = new Outbox();
  for (const text of ["one ", "", "two ", "three"]) outbox.add(encode(text));
  assertEquals(outbox.length, 13);
  const receiver = new Receiver(100);
  assert(outbox.send(receiver));
  assertEquals(receiver.taken, "one two three");
  assertEquals(receiver.calls, 1);
  assertEquals(outbox.length, 0);
});

Deno.test("Outbox.add() copies", () => {
  const outbox = new Outbox();
  const bytes = encode("before");
  outbox.add(bytes);
  bytes.fill(0);
  const receiver = new Receiver(100);
  outbox.send(receiver);
  assertEquals(receiver.taken, "before");
});

Deno.test("Outbox.send() keeps what the socket does not take", () => {
  const outbox = new Outbox();
  const receiver = new Receiver(3);
  outbox.add(encode("abcdef"));
  assertFalse(outbox.send(receiver));
  assertEquals([receiver.taken, outbox.length], ["abc", 3]);
  assertFalse(outbox.send(receiver), "a full socket is no error");
  outbox.add(encode("ghi"));
  assertEquals([receiver.taken, outbox.length], ["abc", 6]);
  receiver.room = 100;
  assert(outbox.send(receiver));
  assertEquals(receiver.taken, "abcdefghi");
});

Deno.test("Outbox keeps the order whatever is added and taken in whatever pieces", () => {
  const outbox = new Outbox();
  const receiver = new Receiver(0);
  let added = "";
  for (let i = 0; i < 2_000; i++) {
    const text = `${i},`.repeat(i * 7 % 5);
    outbox.add(encode(text));
    added += text;
    receiver.room = i * 11 % 13;
    outbox.send(receiver);
    assertEquals(receiver.taken.length + outbox.length, added.length);
  }
  receiver.room = Infinity;
  assert(outbox.send(receiver));
  assertEquals(receiver.taken, added);
});

Deno.test("Outbox.send() throws what the socket throws and keeps the bytes", () => {
  const outbox = new Outbox();
  outbox.add(encode("lost"));
  const error = new Deno.errors.BrokenPipe("broken");
  const thrown = assertThrows(() =>
    outbox.send({
      send() {
        throw error;
      },
    })
  );
  assertStrictEquals(thrown, error);
  assertEquals(outbox.length, 4);
});

Deno.test("Outbox holds 20,000 single bytes in about as much memory, seldom moved", () => {
  const outbox = new Outbox();
  const receiver = new Receiver(0);
  for (let i = 0; i < 20_000; i++) {
    outbox.add(encode("x"));
    outbox.send(receiver);
  }
  assert(receiver.memoryBytes <= 40_000, `${receiver.memoryBytes} bytes of memory`);
  assert(receiver.pieces.size <= 20, `${receiver.pieces.size} pieces of memory`);
});

Deno.test("Outbox gives memory back when it empties", () => {
  const outbox = new Outbox();
  const receiver = new Receiver(1 << 20);
  outbox.add(new Uint8Array(1 << 20));
  assert(outbox.send(receiver));
  outbox.add(encode("x"));
  outbox.send(receiver);
  assertEquals(receiver.memoryBytes, 1);
});

Deno.test("Outbox uses no more memory for a client that keeps up a little late", () => {
  const outbox = new Outbox();
  const receiver = new Receiver(0);
  for (let i = 0; i < 1_000; i++) {
    outbox.add(new Uint8Array(1_000));
    receiver.room = i === 0 ? 500 : 1_000;
    outbox.send(receiver);
    assert(receiver.memoryBytes <= 4_000, `${receiver.memoryBytes} bytes of memory`);
  }
});

Deno.test("Outbox.send() fills a Socket up, and goes on at POLLOUT", async () => {
  let sent = 0;
  const gate = Promise.withResolvers<void>();
  using socket = new Socket({
    read: () => Promise.resolve(null),
    async write(bytes) {
      await gate.promise;
      sent += bytes.length;
      return bytes.length;
    },
    close() {},
  });
  const outbox = new Outbox();
  outbox.add(new Uint8Array(200_000));
  assertFalse(outbox.send(socket));
  assertFalse(outbox.send(socket));
  assert(outbox.length > 0 && outbox.length < 200_000);
  gate.resolve();
  using poller = new Poller();
  poller.register(socket, POLLOUT);
  while (!outbox.send(socket)) await poller.poll();
  await socket.shutdown();
  assertEquals(sent, 200_000);
});

Deno.test("Outbox.send() reports a closed Socket only if something is unsent", () => {
  const socket = new Socket({ read: () => Promise.resolve(null), close() {} });
  socket.close();
  const outbox = new Outbox();
  outbox.add(NO_BYTES);
  assert(outbox.send(socket));
  outbox.add(encode("x"));
  assertThrows(() => outbox.send(socket), Deno.errors.BadResource);
});
