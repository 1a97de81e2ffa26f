import { assertEquals } from "@std/assert";
import { encode } from "../bytes.ts";
import {
  codePointAt,
  HANGUL_FILLER,
  isUnsafe,
  LEADS,
  NARROW_LEAD,
  NO_LEAD,
  NOT_UTF8,
  WIDE_LEAD,
  widthOf,
} from "./utf8.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** Code points beyond ASCII with their bytes: those of up to three bytes, and some of four. */
function* characters(): Generator<[code: number, bytes: Uint8Array]> {
  for (let code = 0x80; code < 0x110000; code += code < 0xFFFF ? 1 : 1023) {
    if (code < 0xD800 || code > 0xDFFF) yield [code, encode(String.fromCodePoint(code))];
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

Deno.test("codePointAt() reads a character, and none that is cut", () => {
  const wrong: number[] = [];
  for (const [code, bytes] of characters()) {
    const view = viewOf(bytes);
    const isRight = codePointAt(view, 0, bytes.length) === code &&
      codePointAt(view, 0, bytes.length - 1) === NOT_UTF8 && widthOf(code) === bytes.length;
    if (!isRight) wrong.push(code);
  }
  assertEquals(wrong, []);
});

Deno.test("codePointAt() takes no surrogate, no overlong form and nothing beyond U+10FFFF", () => {
  const wrong = [
    ...[[0xED, 0xA0, 0x80], [0xED, 0xBF, 0xBF], [0xC0, 0xAF], [0xC1, 0xBF], [0xE0, 0x9F, 0xBF]],
    ...[[0xF0, 0x8F, 0xBF, 0xBF], [0xF4, 0x90, 0x80, 0x80], [0xF5, 0x80, 0x80, 0x80], [0x80], [
      0xFF,
    ]],
  ];
  for (const bytes of wrong) {
    assertEquals(codePointAt(viewOf(Uint8Array.from(bytes)), 0, bytes.length), NOT_UTF8);
  }
});

Deno.test("LEADS promises nothing that isUnsafe() does not keep", () => {
  const wrong: number[] = [];
  for (const [code, bytes] of characters()) {
    const lead = LEADS[bytes[0]!]!;
    const number = bytes.reduce((number, byte) => number << 8 | byte, 0);
    const isWrong = lead === NO_LEAD ||
      lead === NARROW_LEAD && (bytes.length !== 2 || isUnsafe(code)) ||
      lead === WIDE_LEAD && (bytes.length !== 3 || isUnsafe(code) && number !== HANGUL_FILLER);
    if (isWrong) wrong.push(code);
  }
  assertEquals(wrong, []);
});
