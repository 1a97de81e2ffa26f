import { assertEquals } from "@std/assert";
import { ByteBuffer, decode, encode } from "./bytes.ts";

Deno.test.sanitizer({ ops: true, resources: true });

Deno.test("ByteBuffer keeps what was appended in order when it grows", () => {
  const buffer = new ByteBuffer(1000);
  const long = "é".repeat(100_000);
  buffer.append(encode("one "));
  buffer.appendText(long);
  buffer.append(encode(" three"));
  assertEquals(decode(buffer.filled), `one ${long} three`);
});

Deno.test("ByteBuffer.reserve() makes room to write behind the length", () => {
  const buffer = new ByteBuffer(1000);
  buffer.append(encode("ab"));
  buffer.reserve(100_000);
  buffer.bytes.fill(0x63, buffer.length, buffer.length + 100_000);
  buffer.length += 100_000;
  assertEquals(decode(buffer.filled), `ab${"c".repeat(100_000)}`);
});

Deno.test("ByteBuffer.clear() keeps memory up to its limit and gives more back", () => {
  const buffer = new ByteBuffer(1_000_000);
  buffer.reserve(500_000);
  const kept = buffer.bytes;
  buffer.clear();
  assertEquals(buffer.bytes === kept, true);
  buffer.reserve(2_000_000);
  buffer.clear();
  assertEquals([buffer.bytes.length < 1_000_000, buffer.length], [true, 0]);
});

Deno.test("decode() keeps a byte order mark, and shows what is not UTF-8 as U+FFFD", () => {
  assertEquals(decode(Uint8Array.of(0xEF, 0xBB, 0xBF, 0x61, 0xFF)), "\uFEFFa\uFFFD");
});
