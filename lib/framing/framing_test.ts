import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { LF } from "../bytes.ts";
import { createFramer, type Framing, FRAMINGS } from "./framing.ts";
import {
  assertFlushes,
  assertFrames,
  assertGivenUp,
  assertPieces,
  between,
  countMoves,
  CUT,
  end,
  everySplit,
  everyText,
  everyThird,
  expectedOf,
  type Frame,
  Frames,
  framesFlushed,
  framesOf,
  joinPieces,
  lengthOf,
  nameOf,
  nastyText,
  OUTSIDE,
  OUTSIDE_PIECE,
  push,
  randomReads,
  Sizes,
  utf8,
  WHOLE,
} from "../../tests/support/framing.ts";
import { bytesOf, latin1 } from "../../tests/support/data.ts";
import { pick, withSeeds } from "../../tests/support/random.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const MLLP = between("\x0b", "\x1c\r");

/** Framings by marks that no input can make unintelligible. */
const MARKED: readonly Framing[] = [
  "newline",
  "nul",
  "any",
  "syslog",
  end(";"),
  end("\x1c\r"),
  MLLP,
  between("<", ">"),
];

// -- Where frames end --

const FRAMED: [framing: Framing, maxBytes: number, input: string, frames: Frame[]][] = [
  ["newline", 99, "", []],
  ["newline", 99, "\n", [["", WHOLE]]],
  ["newline", 99, "one\ntwo\r\n\r\nthree", [
    ["one", WHOLE],
    ["two", WHOLE],
    ["", WHOLE],
    ["three", CUT],
  ]],
  ["newline", 99, "a\rb\r\r\nc\r", [["a\rb\r", WHOLE], ["c\r", CUT]]],
  ["newline", 99, "a\0b\n", [["a\0b", WHOLE]]],
  ["newline", 4, "1234\r\n", [["1234", WHOLE]]],
  ["newline", 4, "1234\n", [["1234", WHOLE]]],
  ["newline", 4, "12345\r\n", [["1234", CUT], ["5", WHOLE]]],
  ["newline", 4, "12345678\r\nx\n", [["1234", CUT], ["5678", WHOLE], ["x", WHOLE]]],
  ["newline", 4, "1234\r5\n", [["1234", CUT], ["\r5", WHOLE]]],
  ["newline", 4, "1234\r", [["1234", CUT], ["\r", CUT]]],
  ["newline", 4, "123456789", [["1234", CUT], ["5678", CUT], ["9", CUT]]],
  ["newline", 4, "123\xE2\x82\xAC4\n", [["123", CUT], ["\xE2\x82\xAC4", WHOLE]]],
  ["newline", 4, "123\xE245\n", [["123\xE2", CUT], ["45", WHOLE]]],
  ["newline", 5, "1\xF0\x9F\x98\x80\xF0\x9F\x98\x80\n", [
    ["1\xF0\x9F\x98\x80", CUT],
    ["\xF0\x9F\x98\x80", WHOLE],
  ]],
  ["newline", 2, "\x80\x80\x80\x80\x80\n", [["\x80\x80", CUT], ["\x80\x80", CUT], ["\x80", WHOLE]]],
  ["nul", 99, "one\0two\r\n\0\0three", [
    ["one", WHOLE],
    ["two\r\n", WHOLE],
    ["", WHOLE],
    ["three", CUT],
  ]],
  ["nul", 4, "123\r\0", [["123\r", WHOLE]]],
  ["nul", 4, "12345\0", [["1234", CUT], ["5", WHOLE]]],
  ["any", 99, "one\rtwo\r\nthree\nfour", [
    ["one", WHOLE],
    ["two", WHOLE],
    ["three", WHOLE],
    ["four", CUT],
  ]],
  ["any", 99, "a\r\0b\r\r\n\0c\n\rd\0e", [
    ["a", WHOLE],
    ["b", WHOLE],
    ["", WHOLE],
    ["\0c", WHOLE],
    ["", WHOLE],
    ["d\0e", CUT],
  ]],
  ["any", 99, "a\r\n\nb\r\0\0", [["a", WHOLE], ["", WHOLE], ["b", WHOLE], ["\0", CUT]]],
  ["any", 4, "1234\r\n12345\r", [["1234", WHOLE], ["1234", CUT], ["5", WHOLE]]],
  ["octet", 99, "5 hello3 a\nb1 x", [["hello", WHOLE], ["a\nb", WHOLE], ["x", WHOLE]]],
  ["octet", 99, "6 hello\n1 \n2 \n\n3 a\r\n", [
    ["hello", WHOLE],
    ["", WHOLE],
    ["\n", WHOLE],
    ["a", WHOLE],
  ]],
  ["octet", 99, "5 hello\r\n3 abc\x002 de\r\n4 fg\r\n", [
    ["hello", WHOLE],
    ["abc", WHOLE],
    ["de", WHOLE],
    ["fg", WHOLE],
  ]],
  ["octet", 99, "4 abc\x005 abc\n\x003 ab\r4 abc\r", [
    ["abc", WHOLE],
    ["abc\n", WHOLE],
    ["ab\r", WHOLE],
    ["abc\r", WHOLE],
  ]],
  ["octet", 99, "5 hello\r", [["hello", WHOLE], ["\r", CUT]]],
  ["octet", 4, "6 1234\r\n6 12345\r3 abc", [
    ["1234", WHOLE],
    ["1234", CUT],
    ["5\r", WHOLE],
    ["abc", WHOLE],
  ]],
  ["octet", 99, "6 hello\n\n3 abc", [["hello", WHOLE], ["abc", WHOLE]]],
  ["octet", 99, "5 hello\n3 abc\n2 de\n", [["hello", WHOLE], ["abc", WHOLE], ["de", WHOLE]]],
  ["octet", 99, "9 hello", [["hello", CUT]]],
  ["octet", 99, "12345678 hello", [["hello", CUT]]],
  ["octet", 99, "5 hello12", [["hello", WHOLE], ["12", CUT]]],
  ["octet", 4, "9 1234567893 abc", [["1234", CUT], ["5678", CUT], ["9", WHOLE], ["abc", WHOLE]]],
  ["octet", 4, "4 12345 1234\n", [["1234", WHOLE], ["1234", WHOLE]]],
  ["octet", 4, "8 123\xE2\x82\xAC45", [["123", CUT], ["\xE2\x82\xAC4", CUT], ["5", WHOLE]]],
  ["syslog", 99, "5 <1>ab<2>c\r\n6 <3>\nd\n\n\n", [
    ["<1>ab", WHOLE],
    ["<2>c", WHOLE],
    ["<3>\nd", WHOLE],
    ["", WHOLE],
  ]],
  ["syslog", 99, "42 degrees\n042 <1>\n123456789 <1>\n42  <1>\n0 <\n 3 <1>\n42<\n", [
    ["42 degrees", WHOLE],
    ["042 <1>", WHOLE],
    ["123456789 <1>", WHOLE],
    ["42  <1>", WHOLE],
    ["0 <", WHOLE],
    [" 3 <1>", WHOLE],
    ["42<", WHOLE],
  ]],
  ["syslog", 99, "12\r\n12 \r\n12 \n3 <1>", [
    ["12", WHOLE],
    ["12 ", WHOLE],
    ["12 ", WHOLE],
    ["<1>", WHOLE],
  ]],
  ["syslog", 99, "5 <1>ab\r\n7 <1>ab\r\n\x006 <2>c\n\n<3>d\0<4>\r\0\0", [
    ["<1>ab", WHOLE],
    ["<1>ab", WHOLE],
    ["<2>c\n", WHOLE],
    ["<3>d", WHOLE],
    ["<4>\r", WHOLE],
    ["", WHOLE],
  ]],
  ["syslog", 99, "3 <1>\rx\n3 <2>\r3 <3>\n3 <4>\r", [
    ["<1>", WHOLE],
    ["\rx", WHOLE],
    ["<2>", WHOLE],
    ["\r3 <3>", WHOLE],
    ["<4>", WHOLE],
    ["\r", CUT],
  ]],
  ["syslog", 99, "<1>a\n12345678", [["<1>a", WHOLE], ["12345678", CUT]]],
  ["syslog", 99, "<1>a\n42 ", [["<1>a", WHOLE], ["42 ", CUT]]],
  ["syslog", 99, "42 <1>un", [["<1>un", CUT]]],
  ["syslog", 99, "no end\r", [["no end\r", CUT]]],
  ["syslog", 4, "7 <1>abcd12345678 x\n", [
    ["<1>a", CUT],
    ["bcd", WHOLE],
    ["1234", CUT],
    ["5678", CUT],
    [" x", WHOLE],
  ]],
  ["syslog", 4, "1234\r\n5 <123\n", [["1234", WHOLE], ["<123", WHOLE]]],
];

for (const [framing, maxBytes, input, frames] of FRAMED) {
  Deno.test(`createFramer() cuts ${JSON.stringify(input)} the same when split anywhere (${nameOf(framing)}, ${maxBytes})`, () => {
    for (const reads of everySplit(bytesOf(input))) {
      assertEquals(framesOf(framing, maxBytes, reads), { frames, reason: undefined });
    }
    for (const reads of everyThird(bytesOf(input))) {
      assertFrames(framesOf(framing, maxBytes, reads).frames, frames);
    }
  });
}

const BAD_COUNTS: [input: string, good: string[], rest: string][] = [
  ["hello world", [], "hello world"],
  ["05 hello", [], "05 hello"],
  ["0 ", [], "0 "],
  [" 5 hello", [], " 5 hello"],
  ["\n5 hello", [], "\n5 hello"],
  ["123456789 x", [], "123456789 x"],
  ["5x hello", [], "5x hello"],
  ["5\n", [], "5\n"],
  ["5 hello\n\n3 abc", ["hello"], "\n3 abc"],
  ["6 hello\n\n\n3 abc", ["hello"], "\n3 abc"],
  ["5 hello\r3 abc", ["hello"], "\r3 abc"],
  ["5 hello\r\0", ["hello"], "\r\0"],
  ["5 hello\n\x003 abc", ["hello"], "\x003 abc"],
  ["5 hello3 abc-1 x", ["hello", "abc"], "-1 x"],
];

for (const [input, good, rest] of BAD_COUNTS) {
  Deno.test(`createFramer() gives what came when the octet count is bad: ${JSON.stringify(input)}`, () => {
    const whole = good.map((text): Frame => [text, WHOLE]);
    const cut: Frame = [rest, CUT];
    const expected = { frames: [...whole, cut], reason: "bad octet count" };
    assertEquals(framesOf("octet", 99, [bytesOf(input)]), expected);
    for (const reads of everySplit(bytesOf(input))) {
      const { frames, reason } = framesOf("octet", 99, reads);
      const [last, isWhole] = frames.pop()!;
      assertEquals([frames, isWhole, reason], [whole, CUT, "bad octet count"]);
      assert(last.length > 0 && rest.startsWith(last), last);
    }
  });
}

Deno.test("createFramer() gives nothing again when the input ends after a bad count", () => {
  const frames = new Frames();
  const framer = createFramer("octet", 99);
  assertEquals(framer.push(bytesOf("12x"), frames), "bad octet count");
  framer.end(frames);
  assertEquals(frames.list, [["12x", CUT]]);
});

Deno.test("createFramer() gives each read as it comes when framing is none", () => {
  const input = bytesOf("one\ntwo\r\nthree\0");
  for (const reads of everySplit(input)) {
    const frames = reads.map((read): Frame => [latin1(read), WHOLE]);
    assertEquals(framesOf("none", 99, reads).frames, frames);
  }
  assertEquals(framesOf("none", 4, [bytesOf("123456789")]).frames, [
    ["1234", CUT],
    ["5678", CUT],
    ["9", WHOLE],
  ]);
});

Deno.test("createFramer() waits for nothing when a CR ends a line of any kind", () => {
  const frames = new Frames();
  createFramer("any", 99).push(bytesOf("OK\r"), frames);
  assertEquals(frames.list, [["OK", WHOLE]]);
});

Deno.test("createFramer() gives a counted message at once when a line end may follow it", () => {
  for (const framing of ["octet", "syslog"] as const) {
    const frames = new Frames();
    createFramer(framing, 99).push(bytesOf("3 <1>"), frames);
    assertEquals(frames.list, [["<1>", WHOLE]]);
  }
});

const ALPHABETS: [framing: Framing, alphabet: string, length: number][] = [
  ["newline", "a\r\n\0", 5],
  ["nul", "a\r\n\0", 5],
  ["any", "a\r\n\0", 6],
  ["octet", "012 \na", 5],
  ["octet", "1 \r\n\0", 6],
  ["syslog", "13 <\r\na", 5],
  ["syslog", "2 <\n", 6],
  ["syslog", "1 <\r\n\0", 5],
  [end(";"), "a;\r", 5],
  [end("\r\n"), "a\r\n", 6],
  [end("aab"), "ab", 8],
  [end("abab"), "ab", 8],
  [between("<", ">"), "<>a", 6],
  [between("ab", "ba"), "abc", 6],
  [between("aa", "aa"), "ab", 8],
  [between("\x0b", "\x1c\r"), "\x0b\x1c\ra", 5],
  [lengthOf(1), "\0\x01\x02a", 5],
  [lengthOf(2), "\0\x01\x02a", 5],
  [lengthOf(2, { isLittleEndian: true, offset: 1 }), "\0\x01a", 6],
  [lengthOf(1, { offset: -1 }), "\0\x01\x03a", 5],
  [lengthOf(2, { offset: -2 }), "\0\x02\x03a", 5],
];

for (const [framing, alphabet, length] of ALPHABETS) {
  Deno.test(`createFramer() finds the frames of every text of ${length} of ${JSON.stringify(alphabet)}, however it is read (${nameOf(framing)})`, () => {
    for (const text of everyText(alphabet, length)) {
      const expected = expectedOf(framing, text);
      for (const maxBytes of [1, 99]) {
        for (const reads of everySplit(bytesOf(text))) {
          try {
            assertFound(framing, maxBytes, reads, expected);
          } catch (error) {
            const about = JSON.stringify([nameOf(framing), text, maxBytes, reads.length]);
            throw new Error(`${about}: ${error}`, { cause: error });
          }
        }
      }
    }
  });
}

/** Checks what is found of an input of a few bytes. */
function assertFound(
  framing: Framing,
  maxBytes: number,
  reads: readonly Uint8Array[],
  expected: ReturnType<typeof expectedOf>,
): void {
  const { frames, reason } = framesOf(framing, maxBytes, reads);
  assertStrictEquals(reason !== undefined, expected.isBad);
  assert(frames.every(([piece]) => piece.length <= maxBytes));
  if (expected.isBad) assertGivenUp(joinPieces(frames), expected.frames);
  else assertFrames(joinPieces(frames), expected.frames);
}

Deno.test("createFramer() finds the frames of random input, in every framing and at every limit", async () => {
  await withSeeds(300, (random) => {
    const text = nastyText(random, random(pick(random, 10, 200, 5000)));
    const maxBytes = pick(random, 1, 2, 3, 4, 1 + random(100), 65536);
    const reads = randomReads(random, bytesOf(text));
    const counted = [lengthOf(1), lengthOf(2, { isLittleEndian: true, offset: -2 })];
    for (const framing of [...FRAMINGS, ...MARKED, ...counted]) {
      const { frames, reason } = framesOf(framing, maxBytes, reads);
      const { frames: expected, isBad } = framing === "none"
        ? { frames: reads.map((read): Frame => [latin1(read), WHOLE]), isBad: false }
        : expectedOf(framing, text);
      assertEquals(reason !== undefined, isBad);
      assertPieces(frames, maxBytes);
      if (isBad) assertGivenUp(joinPieces(frames), expected);
      else assertEquals(joinPieces(frames), expected);
    }
  });
});

Deno.test("createFramer() cuts random input at the same places, however it is read", async () => {
  await withSeeds(100, (random) => {
    const text = nastyText(random, random(60));
    const maxBytes = 1 + random(12);
    for (const framing of MARKED) {
      const { frames } = framesOf(framing, maxBytes, [bytesOf(text)]);
      for (const reads of everySplit(bytesOf(text))) {
        assertFrames(framesOf(framing, maxBytes, reads).frames, frames, nameOf(framing), text);
      }
    }
  });
});

Deno.test("createFramer() counts the octets of random input as RFC 6587 says, or gives up", async () => {
  await withSeeds(400, (random) => {
    let text = "";
    for (let i = random(8); i > 0; i--) {
      const message = nastyText(random, 1 + random(40));
      const count = message.length + (random(12) === 0 ? random(5) - 2 : 0);
      text += (random(20) === 0 ? "0" : "") + count + (random(20) === 0 ? "" : " ") + message;
      if (random(3) === 0) text += "\n".repeat(1 + random(random(4) === 0 ? 2 : 1));
      if (random(20) === 0) {
        text += pick(random, "123456789 x", "99999999 x", "-1 x", "1e3 x", "0 ");
      }
    }
    const { frames: expected, isBad } = expectedOf("octet", text);
    const { frames, reason } = framesOf("octet", 1_000_000, [bytesOf(text)]);
    assertEquals([frames, reason !== undefined], [expected, isBad]);
    const maxBytes = pick(random, 1, 3, 7, 1000);
    const cut = framesOf("octet", maxBytes, randomReads(random, bytesOf(text)));
    assertPieces(cut.frames, maxBytes);
    assertEquals(cut.reason !== undefined, isBad);
    if (isBad) assertGivenUp(joinPieces(cut.frames), expected);
    else assertEquals(joinPieces(cut.frames), expected);
  });
});

Deno.test("createFramer() tells random lines from counted messages", async () => {
  await withSeeds(400, (random) => {
    let text = "";
    const frames: Frame[] = [];
    for (let i = random(8); i > 0; i--) {
      const content = `<${nastyText(random, 1 + random(40))}`;
      if (random(2) === 0) {
        text += `${content.length} ${content}`;
        frames.push([content.replace(/(\r?\n|\0)$/, ""), WHOLE]);
      } else {
        const start = pick(random, "", "42 degrees ", "7", "007 ", "123456789 ", "12  ");
        const line = start + content.replaceAll(/[\n\0]/g, "");
        text += `${line}\n`;
        frames.push([line.replace(/\r$/, ""), WHOLE]);
      }
    }
    assertEquals(framesOf("syslog", 1000, randomReads(random, bytesOf(text))).frames, frames);
  });
});

// -- Long lines --

Deno.test("createFramer() cuts between characters, at most 3 bytes early", () => {
  const text = "aé€😀€éa😀".repeat(20);
  const bytes = new TextEncoder().encode(text);
  const strict = new TextDecoder("utf-8", { fatal: true });
  for (const framing of MARKED) {
    for (let maxBytes = 4; maxBytes < 20; maxBytes++) {
      for (const reads of [[bytes], Array.from(bytes, (byte) => Uint8Array.of(byte))]) {
        const { frames } = framesOf(framing, maxBytes, reads);
        assertEquals(frames.map(([piece]) => strict.decode(bytesOf(piece))).join(""), text);
        for (const [piece] of frames.slice(0, -1)) {
          assert(piece.length <= maxBytes && piece.length >= maxBytes - 3);
        }
      }
    }
  }
});

Deno.test("createFramer() takes a count of 8 digits and holds no more than maxBytes of it", () => {
  for (const framing of ["octet", "syslog"] as const) {
    const count = 20_000_000;
    const framer = createFramer(framing, 1000);
    const sizes = new Sizes();
    framer.push(bytesOf(`${count} `), sizes);
    const read = new Uint8Array(65_536).fill(0x3C);
    for (let sent = 0; sent < count;) {
      const bytes = read.subarray(0, Math.min(read.length, count - sent));
      assertEquals(framer.push(bytes, sizes), undefined);
      sent += bytes.length;
      assert([...sizes.lengths.keys()].every((length) => length <= 1000));
    }
    assertEquals([sizes.lengths, sizes.whole], [new Map([[1000, 20_000]]), 1]);
  }
  for (const bad of ["100000000 ", "000000001 x", "01 x", "0 x", "+1 x", " 1 x"]) {
    assertEquals(createFramer("octet", 9).push(bytesOf(bad), new Frames()), "bad octet count", bad);
  }
});

/** The framings that hold bytes, with what begins and what ends a frame of `count` bytes. */
function holding(count: number): [framing: Framing, begin: string, end: string][] {
  return [
    ["newline", "", "\n"],
    ["nul", "", "\0"],
    ["any", "", "\r"],
    ["octet", `${count + 1} `, "\n"],
    ["syslog", `${count + 1} <`.slice(0, -1), "\n"],
    ["syslog", "", "\r\n"],
    [end("\x1c\r"), "", "\x1c\r"],
    [MLLP, "\x0b", "\x1c\r"],
    [lengthOf(4), latin1(Uint8Array.of(count >> 24, count >> 16, count >> 8, count)), ""],
  ];
}

Deno.test("createFramer() moves a byte a few times at most, however long the line and small the reads", () => {
  const large = new Uint8Array(4096).fill(0x3C);
  const small = large.subarray(0, 1);
  const reads = [...Array<Uint8Array>(512).fill(large), ...Array<Uint8Array>(5000).fill(small)];
  const count = 512 * 4096 + 5000;
  for (const [framing, begin, end] of holding(count)) {
    for (const maxBytes of [1000, 65_536, 64 * 1024 * 1024]) {
      const sizes = new Sizes();
      const framer = createFramer(framing, maxBytes);
      using moves = countMoves();
      framer.push(bytesOf(begin), sizes);
      for (const read of reads) framer.push(read, sizes);
      framer.push(bytesOf(end), sizes);
      assertEquals(sizes.whole, 1, nameOf(framing));
      assert(moves.bytes >= count && moves.bytes < 5 * count, `${nameOf(framing)}: ${moves.bytes}`);
    }
  }
});

Deno.test("createFramer() holds at most maxBytes and one read", () => {
  const count = 1024 * 1024;
  for (const [framing, begin, end] of holding(count)) {
    for (const maxBytes of [1000, 100_000, 2 * count]) {
      for (const readBytes of [100, 4096, 65_536]) {
        const sizes = new Sizes();
        const framer = createFramer(framing, maxBytes);
        framer.push(bytesOf(begin), sizes);
        const read = new Uint8Array(readBytes).fill(0x3C);
        for (let sent = 0; sent < count;) {
          const bytes = read.slice(0, Math.min(readBytes, count - sent));
          framer.push(bytes, sizes);
          sent += bytes.length;
        }
        framer.push(bytesOf(end), sizes);
        assertEquals(sizes.whole, 1);
        assert(
          sizes.largestMemory <= maxBytes + readBytes + 16,
          `${nameOf(framing)}: ${sizes.largestMemory}`,
        );
      }
    }
  }
});

Deno.test("createFramer() uses its memory again when every read splits a short line", () => {
  for (const [framing, begin, end] of holding(4)) {
    const sizes = new Sizes();
    const framer = createFramer(framing, 65_536);
    framer.push(bytesOf(`${begin}<a`), sizes);
    const memories = new Set<unknown>();
    for (let i = 0; i < 100; i++) {
      framer.push(bytesOf(`bc${end}${begin}<a`), sizes);
      memories.add(sizes.memory);
    }
    assertEquals([memories.size, sizes.whole], [1, 100], nameOf(framing));
  }
});

Deno.test("createFramer() keeps no large memory when the line that needed it has ended", () => {
  const long = "<".repeat(100_000);
  for (const [framing, begin, end] of holding(long.length)) {
    const [, beginShort] = holding(4).find(([name, text]) => {
      return nameOf(name) === nameOf(framing) && (text === "") === (begin === "");
    })!;
    const sizes = new Sizes();
    const framer = createFramer(framing, 1_000_000);
    framer.push(bytesOf(begin + long), sizes);
    framer.push(bytesOf(`${end}${beginShort}<a`), sizes);
    assertEquals(sizes.memory?.byteLength! >= long.length, true);
    framer.push(bytesOf(`bc${end}`), sizes);
    assertEquals(sizes.whole, 2);
    assert(sizes.memory!.byteLength < 4096, `${nameOf(framing)}: ${sizes.memory!.byteLength}`);
  }
});

// -- Flush --

const FLUSHED: [framing: Framing, maxBytes: number, input: string, frames: Frame[]][] = [
  ["newline", 99, "login: ~root\n", [["login: ", CUT], ["root", WHOLE]]],
  ["newline", 99, "login: ~\nx\n", [["login: ", CUT], ["", WHOLE], ["x", WHOLE]]],
  ["newline", 99, "login: ~\r\n", [["login: ", CUT], ["", WHOLE]]],
  ["newline", 99, "login: \r~\n", [["login: \r", CUT], ["", WHOLE]]],
  ["newline", 99, "login: \r~x\n", [["login: \r", CUT], ["x", WHOLE]]],
  ["newline", 99, "~a~~b~", [["a", CUT], ["b", CUT]]],
  ["newline", 99, "5 \xE2\x82~\xAC\n", [["5 ", CUT], ["\xE2\x82\xAC", WHOLE]]],
  ["newline", 99, "\xF0\x9F\x98~\x80~", [["\xF0\x9F\x98\x80", CUT]]],
  ["newline", 99, "\xE2\x82~", [["\xE2\x82", CUT]]],
  ["newline", 99, "\xFF~\x80~", [["\xFF", CUT], ["\x80", CUT]]],
  ["newline", 4, "ab~cdef\n", [["ab", CUT], ["cdef", WHOLE]]],
  ["newline", 4, "ab~cdefg\r\n", [["ab", CUT], ["cdef", CUT], ["g", WHOLE]]],
  ["newline", 4, "abcd\r~\n", [["abcd", CUT], ["\r", CUT], ["", WHOLE]]],
  ["nul", 99, "a\r~\0", [["a\r", CUT], ["", WHOLE]]],
  ["any", 99, "> ~\r~\n~\0~x\r", [["> ", CUT], ["", WHOLE], ["\0", CUT], ["x", WHOLE]]],
  ["octet", 99, "1~0 hello~world", [["hello", CUT], ["world", WHOLE]]],
  ["octet", 99, "6 hello~\n", [["hello", CUT], ["", WHOLE]]],
  ["octet", 99, "7 ~hello\r~", [["hello\r", CUT]]],
  ["octet", 99, "1~2", [["12", CUT]]],
  ["syslog", 99, "<1>a~b\n", [["<1>a", CUT], ["b", WHOLE]]],
  ["syslog", 99, "<1>a\r~\n", [["<1>a\r", CUT], ["", WHOLE]]],
  ["syslog", 99, "6 <1>a\r~\n", [["<1>a\r", CUT], ["", WHOLE]]],
  ["syslog", 99, "42~ degrees\n", [["42", CUT], [" degrees", WHOLE]]],
  ["syslog", 99, "4~2~ ~degrees\n", [["4", CUT], ["2", CUT], [" ", CUT], ["degrees", WHOLE]]],
  ["syslog", 99, "4~2 degrees\n3 <1>", [["4", CUT], ["2 degrees", WHOLE], ["<1>", WHOLE]]],
  ["syslog", 99, "42~\r\n", [["42", CUT], ["", WHOLE]]],
  ["syslog", 99, "4~ ~<1>x3 <2>", [["4", CUT], [" ", CUT], ["<1>x", WHOLE], ["<2>", WHOLE]]],
  ["syslog", 4, "12345678~ <", [["1234", CUT], ["5678", CUT], ["<", CUT]]],
  ["octet", 99, "3 abc\r~\n3 def\r~", [["abc", WHOLE], ["def", WHOLE], ["\r", CUT]]],
  ["syslog", 99, "3 <1>\r~\n3 <2>~\0~x\r~", [["<1>", WHOLE], ["<2>", WHOLE], ["x\r", CUT]]],
  ["syslog", 99, "3 <1>\r~x~\n", [["<1>", WHOLE], ["\rx", CUT], ["", WHOLE]]],
  [end(";"), 99, "a~b;~;~c", [["a", CUT], ["b", WHOLE], ["", WHOLE], ["c", CUT]]],
  [end(";"), 99, "a~;b~", [["a", CUT], ["", WHOLE], ["b", CUT]]],
  [end("\x1c\r"), 99, "a\x1c~\rb\r~\x1c\r", [["a\x1c", CUT], ["", WHOLE], ["b\r", CUT], [
    "",
    WHOLE,
  ]]],
  [end("\x1c\r"), 99, "a\x1c~b\x1c\r", [["a\x1c", CUT], ["b", WHOLE]]],
  [end("abab"), 99, "aba~abab", [["aba", CUT], ["", WHOLE]]],
  [end("abab"), 99, "ab~cab~ab", [["ab", CUT], ["cab", CUT], ["", WHOLE]]],
  [end("\x1c\r"), 2, "ab\x1c~\r", [["ab", CUT], ["\x1c", CUT], ["", WHOLE]]],
  [MLLP, 99, "\x0ba~b\x1c\r", [["a", CUT], ["b", WHOLE]]],
  [MLLP, 99, "~ab~c\x0bd\x1c~\r~e~", [
    ["ab", OUTSIDE_PIECE],
    ["c", OUTSIDE],
    ["d\x1c", CUT],
    ["", WHOLE],
    ["e", OUTSIDE_PIECE],
  ]],
  [between("<<", ">"), 99, "a<~<b>~<~", [
    ["a", OUTSIDE_PIECE],
    ["b", WHOLE],
    ["<", OUTSIDE_PIECE],
  ]],
  [lengthOf(2), 99, "\0~\x04ab~cd\0~", [["ab", CUT], ["cd", WHOLE], ["\0", CUT]]],
  ["none", 99, "a~b~", [["a", WHOLE], ["b", WHOLE], ["", WHOLE]]],
];

for (const [framing, maxBytes, input, frames] of FLUSHED) {
  Deno.test(`createFramer() gives what is held when it is flushed: ${JSON.stringify(input)} (${nameOf(framing)}, ${maxBytes})`, () => {
    assertEquals(framesFlushed(framing, maxBytes, input), frames);
  });
}

const MIXED: [framing: Framing, input: string][] = [
  ["newline", `one\r\n\ntw${utf8("é€😀")}o\r\rx\r\n\xF0\x9F\nend\r`],
  ["nul", `one\0\0tw${utf8("é€😀")}o\r\n\0\xF0\x9F\0end`],
  ["any", `one\r\n\n\rtw${utf8("é€😀")}o\r\0\0x\r\r\n\xF0\x9F\rend`],
  ["octet", `5 one\r\n12 tw${utf8("é€😀")}o\n4 \n\r\nx\n10 \xF0\x9Fend`],
  ["syslog", `12 <1>${utf8("é€")}\r\n\n42 degrees\r\n123456789 <1>\n3 <x\n7 \r\n10 <\xF0\x9Fend`],
  [end(";"), `one;;tw${utf8("é€😀")}o\r\n;\xF0\x9F;end`],
  [end("\r\n"), `one\r\n\r\r\ntw${utf8("é€😀")}o\r\n\xF0\x9F\r\nend\r`],
  [MLLP, `out\x0bone\x1c\r\x0b${utf8("é€😀")}\x0b\x1c\x1c\r\r\n\x0b\xF0\x9F\x1c\r\x0bend\x1c`],
  [between("<<", ">>"), `<out<<one>>${utf8("é€😀")}<<>><<t<<w>o>><\xF0\x9F<<end>`],
  [lengthOf(1), `\x03one\0\x0btw${utf8("é€😀")}\x02\xF0\x9F\x09end`],
  [lengthOf(2, { isLittleEndian: true, offset: -2 }), `\x05\0one\x02\0\x0a\0${utf8("é€é")}x\x05`],
];

for (const [framing, input] of MIXED) {
  Deno.test(`createFramer() loses and repeats nothing when it is flushed at any two places (${nameOf(framing)})`, () => {
    for (let first = 1; first <= input.length; first++) {
      for (let second = first; second <= input.length; second++) {
        for (const maxBytes of [1, 4, 99]) {
          assertFlushes(framing, maxBytes, input, new Set([first, second]));
        }
      }
    }
  });
}

Deno.test("createFramer() loses and repeats nothing of random input when it is flushed at random places", async () => {
  await withSeeds(200, (random) => {
    const text = nastyText(random, random(80));
    const places = new Set<number>();
    for (let at = 1; at <= text.length; at++) if (random(4) === 0) places.add(at);
    const maxBytes = pick(random, 1, 2, 5, 1 + random(100));
    for (const framing of [...MARKED, lengthOf(1)]) {
      assertFlushes(framing, maxBytes, text, places);
    }
    const message = nastyText(random, 1 + random(30));
    assertFlushes("octet", maxBytes, `${message.length} ${message}\n3 abc`, places);
  });
});

// -- A sink that throws --

/** Throws at one frame, and keeps the others. */
class FaultySink extends Frames {
  #left: number;

  constructor(left: number) {
    super();
    this.#left = left;
  }

  get hasThrown(): boolean {
    return this.#left < 0;
  }

  override frame(bytes: Uint8Array, start: number, end: number, isWhole: boolean): void {
    if (this.#left-- === 0) throw new Error("No room");
    super.frame(bytes, start, end, isWhole);
  }

  override outside(bytes: Uint8Array, start: number, end: number, isLast: boolean): void {
    if (this.#left-- === 0) throw new Error("No room");
    super.outside(bytes, start, end, isLast);
  }
}

/** Every letter once, so that what is repeated or mixed shows. */
const LETTERS: [framing: Framing, input: string][] = [
  ["newline", "abcdefgh\r\nij\nklmnopqrst\n\nuvw\r\nxyz"],
  ["nul", "abcdefgh\0ij\0klmnopqrst\0\0uvw\0xyz"],
  ["any", "abcdefgh\r\nij\rklmnopqrst\r\0\nuvw\nxyz"],
  ["octet", "8 abcdefgh3 ij\n11 klmnopqrst\n\n3 uvw9 xyz"],
  ["syslog", "9 <abcdefgh<ij\n12 klmnopqrst\r\n4 <uvw99 <xyz"],
  [end("12"), "abcdefgh12ij12klmnopqrst1212uvw12xyz"],
  [between("<1", "2>"), "ab<1cdefgh2>ij<1klmnopqrst2><12>uvw<1xyz"],
  [lengthOf(1), "\x08abcdefgh\x02ij\x0aklmnopqrst\0\x03uvw9xyz"],
];

for (const [framing, input] of LETTERS) {
  Deno.test(`createFramer() gives no byte twice and mixes none when its sink throws (${nameOf(framing)})`, () => {
    const throws = { pushing: 0, flushing: 0 };
    for (const reads of [...everySplit(bytesOf(input)), ...everyThird(bytesOf(input))]) {
      for (const maxBytes of [3, 99]) {
        for (let left = 0; left < 9; left++) {
          const sink = new FaultySink(left);
          const framer = createFramer(framing, maxBytes);
          const attempt = (action: () => void, kind: keyof typeof throws) => {
            const hadThrown = sink.hasThrown;
            try {
              action();
            } catch (error) {
              assert(error instanceof Error && error.message === "No room", String(error));
            }
            if (sink.hasThrown && !hadThrown) throws[kind]++;
          };
          for (const [i, read] of reads.entries()) {
            attempt(() => push(framer, read, sink), "pushing");
            if (i === 1) attempt(() => framer.flush(sink), "flushing");
          }
          attempt(() => framer.end(sink), "pushing");
          assertOnce(input, sink.list);
        }
      }
    }
    assert(throws.pushing > 0 && throws.flushing > 0);
  });
}

/** Checks that each frame is a part of the input, and that none gives again what was before. */
function assertOnce(input: string, frames: readonly Frame[]): void {
  let last = "";
  for (const [text] of frames) {
    if (!input.includes(text)) throw new Error(`${JSON.stringify(text)} is no part of the input`);
    for (const letter of text) {
      if (letter < "a" || letter > "z") continue;
      if (letter <= last) throw new Error(`${letter} behind ${last}: ${JSON.stringify(frames)}`);
      last = letter;
    }
  }
}

Deno.test("createFramer() goes on with the next line when its sink throws at the end of one", () => {
  for (const framing of ["newline", "any", "syslog"] as const) {
    const sink = new FaultySink(0);
    const framer = createFramer(framing, 99);
    framer.push(bytesOf("lo"), sink);
    assertThrows(() => framer.push(Uint8Array.of(0x73, 0x74, LF), sink), Error, "No room");
    framer.push(bytesOf("next\n"), sink);
    framer.end(sink);
    assertEquals(sink.list, [["next", WHOLE]]);
  }
});
