import { assertEquals } from "@std/assert";
import { find } from "./swar.ts";

Deno.test("find() finds what indexOf() does, wherever the bytes lie in their memory", () => {
  const memory = new Uint8Array(200);
  for (const byte of [0x00, 0x01, 0x0A, 0x7F, 0x80, 0x81, 0xFF]) {
    // The neighbours of a byte, and those that differ in the top bit, are the likely mistakes.
    for (const other of [byte ^ 0x80, byte + 1 & 0xFF, byte - 1 & 0xFF, byte ^ 1]) {
      memory.fill(other);
      for (let at = 0; at < 80; at++) {
        memory[60 + at] = byte;
        for (const offset of [57, 58, 59, 60]) {
          const bytes = memory.subarray(offset, 160);
          assertEquals(find(bytes, byte, 0), bytes.indexOf(byte));
        }
        memory[60 + at] = other;
      }
    }
  }
});

Deno.test("find() returns the end where nothing is found before it", () => {
  const bytes = new Uint8Array(100);
  bytes[70] = 1;
  for (let start = 0; start <= 70; start++) {
    assertEquals(find(bytes, 1, start), 70);
    assertEquals(find(bytes, 1, start, 70), 70);
    assertEquals(find(bytes, 1, start, 71), 70);
    assertEquals(find(bytes, 1, Math.min(start, 65), 65), 65);
  }
  assertEquals(find(bytes, 1, 71), 100);
  assertEquals(find(new Uint8Array(0), 1, 0), 0);
});
