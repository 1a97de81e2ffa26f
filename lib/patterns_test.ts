import { assertEquals, assertThrows } from "@std/assert";
import { encode } from "./bytes.ts";
import { ByteSearch, Candidate, parseBytes, parsePattern, unescapeBytes } from "./patterns.ts";

function frame(text: string): Candidate {
  return new Candidate(encode(text));
}

function isSeen(pattern: string, text: string): boolean {
  return parsePattern(pattern).match(frame(text)) !== undefined;
}

// -- Bytes --

Deno.test("parseBytes() takes text as UTF-8", () => {
  assertEquals(parseBytes("a ;é€😀"), encode("a ;é€😀"));
  assertEquals(parseBytes(""), new Uint8Array(0));
});

Deno.test("parseBytes() knows each escape", () => {
  assertEquals([...parseBytes("\\n\\r\\t\\0\\\\")], [10, 13, 9, 0, 92]);
  assertEquals([...parseBytes("\\x1c\\xFF\\x00a")], [0x1C, 0xFF, 0, 0x61]);
  assertEquals(parseBytes("\\u{e9}\\u{1F600}\\u{0}"), encode("é😀\0"));
  assertEquals(parseBytes("\\\\n\\x5cn"), encode("\\n\\n"));
  assertEquals(parseBytes("\\01"), encode("\0" + "1"));
  assertEquals(parseBytes("é".repeat(200_000)).length, 400_000);
});

Deno.test("parseBytes() names the escape that is wrong", () => {
  const wrong = [
    ["a\\q", '"\\q"'],
    ["\\", '"\\"'],
    ["\\x1", '"\\x1"'],
    ["\\xg1z", '"\\xg1"'],
    ["\\u0041", '"\\u"'],
    ["\\u{110000}", '"\\u{110000}"'],
    ["\\u{D800}", '"\\u{D800}"'],
    ["\\u{}", '"\\u{}"'],
    ["\\u{41", '"\\u{41"'],
    ["ok\\n\\😀", '"\\😀"'],
    ["\\N", '"\\N"'],
    ["\\X41", '"\\X"'],
  ] as const;
  for (const [text, named] of wrong) {
    assertThrows(() => parseBytes(text), SyntaxError, `${named} is no escape`);
  }
});

Deno.test("unescapeBytes() keeps bytes that are not UTF-8", () => {
  const typed = Uint8Array.of(0xFF, ...encode("\\xfe\\u{1F600}é"), 0xC3, ...encode("\\\\\\n"));
  const bytes = Uint8Array.of(0xFF, 0xFE, ...encode("😀é"), 0xC3, 0x5C, 0x0A);
  assertEquals(new Uint8Array(unescapeBytes(typed)), bytes);
  assertEquals(unescapeBytes(encode("plain")), encode("plain"));
  assertThrows(() => unescapeBytes(encode("a\\é")), SyntaxError, '"\\é" is no escape');
  assertThrows(() => unescapeBytes(encode("\\u{110000}")), SyntaxError, '"\\u{110000}"');
});

// -- Search --

/** Ends of the leftmost matches that do not overlap, by the simplest means. */
function naiveEnds(text: string, wanted: string): number[] {
  const ends = [];
  for (let at = 0; (at = text.indexOf(wanted, at)) >= 0;) ends.push(at += wanted.length);
  return ends;
}

/** The same by a ByteSearch that is given the text in pieces. */
function foundEnds(pieces: readonly string[], wanted: string): number[] {
  const search = new ByteSearch(encode(wanted));
  const ends = [];
  let before = 0;
  for (const piece of pieces.map(encode)) {
    for (let at = 0; (at = search.find(piece, at, piece.length)) >= 0;) ends.push(before + at);
    before += piece.length;
  }
  return ends;
}

Deno.test("ByteSearch.find() finds the leftmost matches wherever the bytes are split", () => {
  const wanted = ["a", "ab", "aa", "aab", "aba", "abab", "abaab"];
  for (let n = 0; n < 2 ** 10; n++) {
    const text = n.toString(2).padStart(10, "0").replaceAll("0", "a").replaceAll("1", "b");
    for (const one of wanted) {
      const ends = naiveEnds(text, one);
      assertEquals(foundEnds([...text], one), ends);
      for (const split of [0, 3, 7]) {
        assertEquals(foundEnds([text.slice(0, split), text.slice(split)], one), ends);
      }
    }
  }
});

Deno.test("ByteSearch.matched is how much of the end may belong to a match", () => {
  const search = new ByteSearch(encode("abac"));
  search.find(encode("xaba"), 0, 4);
  assertEquals(search.matched, 3);
  search.find(encode("b"), 0, 1);
  assertEquals(search.matched, 2);
  search.reset();
  assertEquals(search.matched, 0);
});

Deno.test("ByteSearch.find() looks at each byte once, in near matches too", () => {
  const size = 1 << 20;
  const search = new ByteSearch(encode(`${"a".repeat(1 << 14)}b`));
  const started = performance.now();
  assertEquals(search.find(new Uint8Array(size).fill(0x61), 0, size), -1);
  // A search that begins anew at each byte takes 2^34 steps.
  assertEquals(performance.now() - started < 2000, true);
});

// -- Patterns --

Deno.test("parsePattern() takes text byte by byte, with escapes", () => {
  assertEquals(isSeen("READY", "system READY."), true);
  assertEquals(isSeen("ready", "READY"), false);
  assertEquals(isSeen("\\u{e9}", "é"), true);
  assertEquals(isSeen(".", "a"), false);
  const half = parsePattern("\\xc3");
  assertEquals(half.match(frame("é")), []);
  assertEquals(parsePattern("b").match(new Candidate(encode("abc"), 0, 1)), undefined);
  assertThrows(() => parsePattern("a\\d"), SyntaxError, '"\\d" is no escape');
});

Deno.test("Pattern.match() keeps nothing from one frame to the next", () => {
  const pattern = parsePattern("ab");
  assertEquals([pattern.match(frame("a")), pattern.match(frame("b"))], [undefined, undefined]);
  const regex = parsePattern("/b/");
  assertEquals(regex.match(frame("ab"))?.[0], "b");
  assertEquals(regex.match(frame("ab"))?.[0], "b");
});

Deno.test("parsePattern() takes /regex/ and /regex/i, with groups", () => {
  assertEquals([...parsePattern("/^id=(\\d+)(x)?/").match(frame("id=42;"))!], [
    "id=42",
    "42",
    undefined,
  ]);
  assertEquals(isSeen("/ready/", "READY"), false);
  assertEquals(isSeen("/ready/i", "READY"), true);
  assertEquals(isSeen("/a/b/", "xa/by"), true);
  assertEquals(parsePattern("/x/").isRegex, true);
});

Deno.test("A regex is tried on text, in which U+FFFD stands for what is not UTF-8", () => {
  const bytes = Uint8Array.of(0x61, 0xFF, 0x62);
  assertEquals(parsePattern("/a\\uFFFDb/").match(new Candidate(bytes))?.length, 1);
  assertEquals(isSeen("/^é$/", "é"), true);
});

Deno.test("parsePattern() takes as text what begins with / and ends otherwise", () => {
  for (const text of ["/dev/tty0", "/", "//", "/x/g", "/tmp/x/in"]) {
    assertEquals(parsePattern(text).isRegex, false, text);
    assertEquals(isSeen(text, `see ${text} there`), true);
  }
});

Deno.test("parsePattern() says why a regex does not compile", () => {
  assertThrows(() => parsePattern("/(/"), SyntaxError, "Invalid regular expression: /(/");
});
