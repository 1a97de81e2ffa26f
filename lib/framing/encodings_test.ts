import { assertEquals } from "@std/assert";
import { createDecodingFramer, Transcoder } from "./encodings.ts";
import type { Framer, FrameSink, Framing } from "./framing.ts";
import { bytesOf } from "../../tests/support/data.ts";
import {
  between,
  CUT,
  end,
  everySplit,
  OUTSIDE,
  utf8,
  WHOLE,
} from "../../tests/support/framing.ts";

/** The frames as text. */
class Texts implements FrameSink {
  readonly list: [text: string, mark: boolean | "outside"][] = [];

  frame(bytes: Uint8Array, start: number, end: number, isWhole: boolean): void {
    this.list.push([new TextDecoder().decode(bytes.subarray(start, end)), isWhole]);
  }

  outside(bytes: Uint8Array, start: number, end: number): void {
    this.list.push([new TextDecoder().decode(bytes.subarray(start, end)), OUTSIDE]);
  }
}

interface Input {
  readonly framing?: Framing;
  readonly maxBytes?: number;
  readonly encoding: string;
}

function framerOf({ framing = "newline", maxBytes = 99, encoding }: Input): Framer {
  return createDecodingFramer(framing, maxBytes, encoding);
}

function textsOf(input: Input, reads: readonly Uint8Array[]): Texts["list"] {
  const texts = new Texts();
  const framer = framerOf(input);
  for (const read of reads) framer.push(read.slice(), texts);
  framer.end(texts);
  return texts.list;
}

function utf16(text: string, isBigEndian = false): Uint8Array {
  const view = new DataView(new ArrayBuffer(2 * text.length));
  for (let i = 0; i < text.length; i++) view.setUint16(2 * i, text.charCodeAt(i), !isBigEndian);
  return new Uint8Array(view.buffer);
}

const GBK = bytesOf("\xC4\xE3\xBA\xC3\n\xC4\xE3\r\n\xBA");
const SHIFT_JIS = bytesOf("\x93\xFA\x96\x7B\n\x83\\\n");

const DECODED: [input: Input, bytes: Uint8Array, texts: Texts["list"]][] = [
  [{ encoding: "windows-1252" }, bytesOf("caf\xE9 5\x80\r\n\xFC"), [["café 5€", WHOLE], [
    "ü",
    CUT,
  ]]],
  [{ encoding: "gbk" }, GBK, [["你好", WHOLE], ["你", WHOLE], ["\uFFFD", CUT]]],
  [{ encoding: "shift_jis" }, SHIFT_JIS, [["日本", WHOLE], ["ソ", WHOLE]]],
  [{ encoding: "shift_jis" }, bytesOf("a\x93\nb\n"), [["a\uFFFD", WHOLE], ["b", WHOLE]]],
  [{ encoding: "iso-2022-jp" }, bytesOf("\x1B$BF|K\\\x1B(B\nx\n"), [["日本", WHOLE], ["x", WHOLE]]],
  [{ encoding: "windows-1252", framing: end("\xFF") }, bytesOf("\xE9\xFFb"), [["é", WHOLE], [
    "b",
    CUT,
  ]]],
  [{ encoding: "gbk", framing: "octet" }, bytesOf("4 \xC4\xE3\xBA\xC32 \xC4\xE3"), [
    ["你好", WHOLE],
    ["你", WHOLE],
  ]],
  [{ encoding: "gbk", framing: between("<", ">") }, bytesOf("\xC4<\xC4\xE3>\xC4\xE3"), [
    ["\uFFFD", OUTSIDE],
    ["你", WHOLE],
    ["你", OUTSIDE],
  ]],
  [{ encoding: "utf-16le" }, utf16("\uFEFFonè\n\r\n😀\uFEFF"), [
    ["onè", WHOLE],
    ["", WHOLE],
    ["😀\uFEFF", CUT],
  ]],
  [{ encoding: "utf-16be" }, utf16("\u0A0Aa\u0D0A\r\nb", true), [["\u0A0Aa\u0D0A", WHOLE], [
    "b",
    CUT,
  ]]],
  [{ encoding: "utf-16le" }, utf16("a\nb").subarray(0, 5), [["a", WHOLE], ["\uFFFD", CUT]]],
  [{ encoding: "utf-16le", framing: end(utf8("é;")) }, utf16("aé;b;"), [["a", WHOLE], ["b;", CUT]]],
];

for (const [input, bytes, texts] of DECODED) {
  Deno.test(`createDecodingFramer() makes UTF-8 of ${JSON.stringify(texts)} however it is read (${JSON.stringify(input)})`, () => {
    for (const reads of everySplit(bytes)) {
      assertEquals(textsOf(input, reads), texts);
    }
  });
}

Deno.test("createDecodingFramer() splits no character when it cuts or is flushed", () => {
  const texts = new Texts();
  const framer = framerOf({ encoding: "gbk", maxBytes: 3 });
  framer.push(bytesOf("\xC4\xE3\xBA\xC3\xC4"), texts);
  framer.flush(texts);
  framer.push(bytesOf("\xE3\n"), texts);
  assertEquals(texts.list, [["你", CUT], ["好", CUT], ["你", WHOLE]]);
});

Deno.test("createDecodingFramer() gives a character of one byte at once when it is flushed", () => {
  const texts = new Texts();
  const framer = framerOf({ encoding: "windows-1252" });
  framer.push(bytesOf("mot de passe oubli\xE9"), texts);
  framer.flush(texts);
  assertEquals(texts.list, [["mot de passe oublié", CUT]]);
});

Deno.test("createDecodingFramer() joins a character that two reads have, where reads are the frames", () => {
  for (
    const [encoding, bytes] of [["gbk", bytesOf("\xC4\xE3")], ["utf-16le", utf16("你")]] as const
  ) {
    const input = { encoding, framing: "none" } as const;
    const reads = [bytes.subarray(0, 1), bytes.subarray(1)];
    assertEquals(textsOf(input, reads), [["你", WHOLE]]);
    assertEquals(textsOf(input, reads.slice(0, 1)).map(([text]) => text), ["\uFFFD"]);
  }
});

Deno.test("createDecodingFramer() leaves UTF-8 as it is", () => {
  const texts = new Texts();
  createDecodingFramer("newline", 99, undefined).push(bytesOf("\xEF\xBB\xBFa\xFF\n"), texts);
  assertEquals(texts.list, [["a\uFFFD", WHOLE]]);
});

Deno.test("Transcoder.convert() drops a BOM at the start only", () => {
  const transcoder = new Transcoder("utf-16le");
  const texts = [utf16("\uFEFF").subarray(0, 1), utf16("\uFEFF").subarray(1), utf16("\uFEFFa")];
  const converted = texts.map((bytes) => transcoder.convert(bytes, true));
  assertEquals(converted, ["", "", "\uFEFFa"].map((text) => new TextEncoder().encode(text)));
});
