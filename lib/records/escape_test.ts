import { assert, assertEquals } from "@std/assert";
import { ByteBuffer, decode, encode } from "../bytes.ts";
import { appendBase64, appendJson, appendShown, quoted, shown } from "./escape.ts";
import { bytesOf, latin1 } from "../../tests/support/data.ts";
import { pick, type Random, withSeeds } from "../../tests/support/random.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const STRICT = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Characters that a terminal obeys or nobody sees, by Unicode's own properties and by name. */
const UNSAFE =
  /[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}\uFFF9-\uFFFB\uFFFE\uFFFF]|(?![\u200C\u200D\uFE0E\uFE0F])\p{DI}/u;

/** The character that starts there, if that is valid UTF-8. */
function characterAt(bytes: Uint8Array, at: number): string | undefined {
  const lead = bytes[at]!;
  const length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  try {
    return STRICT.decode(bytes.subarray(at, at + length));
  } catch {
    return undefined;
  }
}

function hex(value: number, digits: number): string {
  return value.toString(16).toUpperCase().padStart(digits, "0");
}

function shownCharacter(character: string): string {
  if (character === "\t" || !UNSAFE.test(character)) return character;
  const code = character.codePointAt(0)!;
  return code < 0x80 ? `\\x${hex(code, 2)}` : `\\u{${hex(code, 4)}}`;
}

/** What is shown of a client's bytes, in the plainest way. */
function shownExpected(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length;) {
    const character = characterAt(bytes, at);
    text += character === undefined ? `\\x${hex(bytes[at]!, 2)}` : shownCharacter(character);
    at += character === undefined ? 1 : encode(character).length;
  }
  return text;
}

function jsonCharacter(character: string): string {
  const usual = JSON.stringify(character).slice(1, -1);
  if (/^\\[^u]/.test(usual) || !UNSAFE.test(character)) return usual;
  return character.split("").map((unit) => `\\u${hex(unit.charCodeAt(0), 4)}`).join("");
}

/** The same for JSON, `undefined` for what is not UTF-8. */
function jsonExpected(bytes: Uint8Array): string | undefined {
  try {
    return Array.from(STRICT.decode(bytes), jsonCharacter).join("");
  } catch {
    return undefined;
  }
}

const OUT = new ByteBuffer(0);

/** What `append` adds, between bytes of others on both sides. */
function appended(
  append: (out: ByteBuffer, bytes: Uint8Array, start: number, end: number) => void,
  bytes: Uint8Array,
  before = "x",
  behind = "\xBF\xBF\xBF",
): string {
  OUT.clear();
  OUT.appendText("head");
  const context = bytesOf(before + latin1(bytes) + behind);
  append(OUT, context, before.length, before.length + bytes.length);
  assert(OUT.length <= OUT.bytes.length);
  assertEquals(decode(OUT.filled.subarray(0, 4)), "head");
  return STRICT.decode(OUT.filled.subarray(4));
}

function jsonOf(bytes: Uint8Array): string | undefined {
  let isUtf8: boolean | undefined;
  const text = appended((...args) => isUtf8 = appendJson(...args), bytes);
  if (!isUtf8) assertEquals(text, "", "what cannot be put into JSON leaves nothing behind");
  return isUtf8 ? text : undefined;
}

/** Bytes in which good and bad UTF-8, plain and unsafe characters stand in any order. */
function nastyBytes(random: Random, length: number): Uint8Array<ArrayBuffer> {
  const parts = [
    "plain text, as most is, longer than two words ",
    ..."aZ09 ~",
    "\t",
    '"',
    "\\",
    "\n",
    "\r",
    "\0",
    "\x1B[31m",
    "\x7F",
    ...["é", "ß", "Жук", "שלום", "سلام", "°", "€", "天地", "한", "😀", "\u{20000}"],
    ..."\u0080\u009B\u00AD\u061C\u180E\u200B\u200C\u200D\u200E\u202E\u2028\u2066\u2064\uFEFF\uFE0F",
    ..."\u034E\u034F\u0378\u115F\u17B4\u180B\u3163\u3164\u3165\uFE00\uFE0E\uFFA0\u{1D173}",
    ..."\uFFFD\uFFFE\uFFFF\u{E0001}\u{E0100}\u{E01F0}\u{10FFFF}\u0800\uD7FF\uE000",
  ].map((text) => latin1(encode(text)));
  const bad = ["\xFF", "\xC0\xAF", "\xC1", "\xE0\x80\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80"]
    .concat(["\xF0\x8F\xBF\xBF", "\xE2\x82", "\xF0\x9F\x98", "\xC3", "\x80", "\xBF\xBF", "\xF5"]);
  const badness = pick(random, 0, 0, 1, 10);
  let text = "";
  while (text.length < length) {
    if (random(20) >= badness) text += pick(random, ...parts);
    else text += random(2) === 0 ? String.fromCharCode(random(256)) : pick(random, ...bad);
  }
  return bytesOf(text.slice(0, length));
}

Deno.test("appendShown() shows control characters, bytes that are not UTF-8 and what is not seen", () => {
  for (
    const [said, expected] of [
      ["tab\there", "tab\there"],
      ["back\\slash", "back\\slash"],
      ["a\x1B[2Jb\rc\nd\0\x7F", "a\\x1B[2Jb\\x0Dc\\x0Ad\\x00\\x7F"],
      ["\xFF\xFE \xC0\xAF \xE2\x82", "\\xFF\\xFE \\xC0\\xAF \\xE2\\x82"],
      ["\xED\xA0\x80 \xF4\x90\x80\x80", "\\xED\\xA0\\x80 \\xF4\\x90\\x80\\x80"],
      [latin1(encode("é€😀 שלום سلام")), "é€😀 שלום سلام"],
      [latin1(encode("\u0085\u00AD\u202E\uFEFF")), "\\u{0085}\\u{00AD}\\u{202E}\\u{FEFF}"],
      [latin1(encode("\u{E0041}\u{E01EF}")), "\\u{E0041}\\u{E01EF}"],
      [latin1(encode("👨‍👩‍👧 ❤️ ❤︎ می‌خواهم")), "👨‍👩‍👧 ❤️ ❤︎ می‌خواهم"],
    ] as const
  ) assertEquals(appended(appendShown, bytesOf(said)), expected);
});

Deno.test("appendJson() escapes what a terminal obeys or nobody sees, and nothing else", () => {
  for (
    const [said, expected] of [
      ["plain /", "plain /"],
      [`"\\\b\f\n\r\t`, `\\"\\\\\\b\\f\\n\\r\\t`],
      ["\0\x1B\x1F\x7F", "\\u0000\\u001B\\u001F\\u007F"],
      ["é€😀\u200D", "é€😀\u200D"],
      ["\u0085\u202E\uFEFF", "\\u0085\\u202E\\uFEFF"],
      ["\u{E0041}\u{E01EF}", "\\uDB40\\uDC41\\uDB40\\uDDEF"],
    ] as const
  ) assertEquals(jsonOf(encode(said)), expected);
  for (const bad of ["\xFF", "a\xC3", "\xE2\x82", "\xED\xA0\x80", `${"x".repeat(200)}\xC0\xAF`]) {
    assertEquals(jsonOf(bytesOf(bad)), undefined);
  }
});

Deno.test("appendShown() and appendJson() treat every code point of Unicode right", () => {
  for (let first = 0; first < 0x110000; first += 0x100) {
    if (first >= 0xD800 && first < 0xE000) continue;
    const characters = Array.from({ length: 0x100 }, (_, i) => String.fromCodePoint(first + i));
    const bytes = encode(characters.join(""));
    assertEquals(appended(appendShown, bytes), characters.map(shownCharacter).join(""));
    assertEquals(jsonOf(bytes), characters.map(jsonCharacter).join(""));
  }
});

Deno.test("appendShown() and appendJson() treat every pair of bytes that begins beyond ASCII right, wherever it stands", () => {
  for (let pair = 0x8000; pair < 0x10000; pair++) {
    const bytes = Uint8Array.of(pair >> 8, pair & 0xFF);
    const padded = bytesOf("abcdefg".slice(pair % 7) + latin1(bytes) + latin1(encode("é")));
    assertEquals(appended(appendShown, padded), shownExpected(padded));
    assertEquals(jsonOf(padded), jsonExpected(padded));
  }
});

Deno.test("appendShown() and appendJson() see what is unsafe among letters of every width", () => {
  const unsafe = [
    ...'\0\t\n\x1F\x7F"\\\u0080\u009F\u00AD\u061C\u180E\u200B\u202E\u034F\u3164\uFEFF\u{E0001}',
  ];
  const odd = [
    ...unsafe.map((character) => latin1(encode(character))),
    "\xFF",
    "\xC3",
    "\xD8",
    "\x9C",
  ];
  for (const letter of ["a", "Ж", "ش", "天", "😀"].map((letter) => latin1(encode(letter)))) {
    for (let count = 0; count < 5; count++) {
      for (let shift = 0; shift < 4; shift++) {
        for (const it of odd) {
          const bytes = bytesOf("a".repeat(shift) + letter.repeat(count) + it + letter.repeat(4));
          assertEquals(appended(appendShown, bytes), shownExpected(bytes));
          assertEquals(jsonOf(bytes), jsonExpected(bytes));
        }
      }
    }
  }
});

Deno.test("appendShown() and appendJson() do as a plain model does with random bytes", async () => {
  await withSeeds(400, (random) => {
    const bytes = nastyBytes(random, random(pick(random, 12, 40, 300)));
    assertEquals(appended(appendShown, bytes), shownExpected(bytes));
    assertEquals(jsonOf(bytes), jsonExpected(bytes));
  });
});

Deno.test("appendShown() and appendJson() do the same with random bytes at the end of their memory", async () => {
  await withSeeds(200, (random) => {
    const bytes = nastyBytes(random, random(24));
    assertEquals(appended(appendShown, bytes, "", ""), shownExpected(bytes));
    const shifted = new Uint8Array(bytes.length + 3).subarray(3);
    shifted.set(bytes);
    assertEquals(appended(appendShown, shifted, "", ""), shownExpected(bytes));
  });
});

Deno.test("appendShown() and appendJson() keep random characters whole that lie across blocks", async () => {
  await withSeeds(8, (random) => {
    const bytes = nastyBytes(random, 16 * 1024 * 2 + random(100));
    assertEquals(appended(appendShown, bytes), shownExpected(bytes));
    assertEquals(jsonOf(bytes), jsonExpected(bytes));
  });
});

Deno.test("appendShown() and appendJson() find room for the worst that a long line can become", () => {
  for (const length of [1, 7, 100, 16 * 1024, 100_000]) {
    for (const character of ["\0", "\x7F", '"', "\u0085", "\u202E", "\u{E0001}"]) {
      const bytes = encode(character.repeat(length));
      assertEquals(appended(appendShown, bytes), shownCharacter(character).repeat(length));
      assertEquals(jsonOf(bytes), jsonCharacter(character).repeat(length));
    }
    for (const byte of [0xFF, 0x80, 0xC3]) {
      const bytes = new Uint8Array(length).fill(byte);
      assertEquals(appended(appendShown, bytes, "", ""), `\\x${hex(byte, 2)}`.repeat(length));
    }
  }
});

Deno.test("appendBase64() writes what can be read back", async () => {
  await withSeeds(50, (random) => {
    const bytes = Uint8Array.from({ length: random(70) }, () => random(256));
    assertEquals(appended(appendBase64, bytes), bytes.toBase64());
  });
});

Deno.test("shown() escapes a text of our own", () => {
  assertEquals(shown("plain"), "plain");
  assertEquals(shown("a\nb\x1B[m é\u202E"), "a\\x0Ab\\x1B[m é\\u{202E}");
  assertEquals(shown(""), "");
});

Deno.test("quoted() makes a JSON string that drives no terminal", () => {
  assertEquals(quoted("plain"), `"plain"`);
  assertEquals(quoted(`"\n\x9B`), `"\\"\\n\\u009B"`);
  assertEquals(JSON.parse(quoted("é\u{E0001}\u2028")), "é\u{E0001}\u2028");
});
