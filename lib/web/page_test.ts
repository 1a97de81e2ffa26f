import { assert, assertEquals } from "@std/assert";
import { ByteBuffer, decode, encode } from "../bytes.ts";
import { appendShown } from "../records/escape.ts";
import { isUnsafe } from "../records/utf8.ts";
import { livePage } from "./page.ts";
import { Feed } from "./page/feed.js";
import { hitsOf, matches, parseQuery } from "./page/query.js";
import { labelOf, lineOf, wordsOf } from "./page/record.js";
import { gap, shownBytes, shownText, withoutPiles } from "./page/text.js";

// -- Put together --

Deno.test("livePage() is one script that parses, below 80 KB, and its policy has no unsafe source", () => {
  const { html, policy } = livePage();
  const [, script = ""] = /<script>(.*?)<\/script>/s.exec(html) ?? [];
  assert(script.length > 10_000);
  assert(!/^(import|export) /m.test(script));
  new Function(script);
  assert(encode(html).length < 80_000);
  assert(!policy.includes("unsafe"));
});

// -- Text --

function escaped(bytes: Uint8Array): string {
  const out = new ByteBuffer(0);
  appendShown(out, bytes, 0, bytes.length);
  return decode(out.bytes.subarray(0, out.length));
}

/** Bytes of every kind: text, control characters, halves of characters, anything. */
function* samples(): Generator<Uint8Array> {
  const pieces = ["plain", "é", "Жук", "漢字", "🙂", "\0\t\r\x7F", "\u202E", "\u200B", "e\u0301"];
  let seed = 1;
  const random = (below: number) => (seed = Math.imul(seed, 48271) >>> 1) % below;
  for (let i = 0; i < 500; i++) {
    const bytes = encode(Array.from({ length: 8 }, () => pieces[random(pieces.length)]).join(""));
    for (let damages = random(4); damages > 0; damages--) {
      bytes[random(bytes.length)] = random(256);
    }
    yield bytes.subarray(random(3));
  }
}

Deno.test("shownBytes() escapes as the text format does", () => {
  for (const bytes of samples()) assertEquals(shownBytes(bytes).text, escaped(bytes));
});

Deno.test("shownText() escapes as the text format does", () => {
  for (const bytes of samples()) {
    const text = new TextDecoder().decode(bytes);
    assertEquals(shownText(text).text, escaped(encode(text)));
  }
});

Deno.test("shownText() escapes every character that the text format escapes", () => {
  for (let code = 0x80; code < 0x110000; code++) {
    if (code >= 0xD800 && code < 0xE000 || !isUnsafe(code)) continue;
    assert(shownText(String.fromCodePoint(code)).text.startsWith("\\u{"), code.toString(16));
  }
});

Deno.test("shownText() and shownBytes() cut between characters, and count all", () => {
  assertEquals({ ...shownText("abcdef", 4) }, { text: "abcd", length: 6 });
  assertEquals({ ...shownText("ab\0cd", 4) }, { text: "ab", length: 8 });
  assertEquals({ ...shownText("a🙂b", 2) }, { text: "a", length: 4 });
  const bytes = new Uint8Array(65_536).fill(0xFF);
  const { text, length } = shownBytes(bytes, 2000);
  assertEquals([text.length, length], [2000, 4 * 65_536]);
});

Deno.test("withoutPiles() leaves what scripts need, and escapes the rest of a pile", () => {
  const word = "Việt ก็ е́";
  assertEquals(withoutPiles(word), word);
  assertEquals(
    withoutPiles(`a${"\u0301".repeat(14)}b`),
    `a${"\u0301".repeat(12)}\\u{0301}\\u{0301}b`,
  );
});

Deno.test("gap() is exact where it is short", () => {
  assertEquals([1, 4.24, 59.94, 125, 7384].map(gap), [
    "+1.0 s",
    "+4.2 s",
    "+59.9 s",
    "+2 min 5 s",
    "+2 h 3 min",
  ]);
});

// -- Records --

const AT = { timestamp: "2026-11-28T21:00:00.000Z" };
const CLIENT = { ...AT, connection: 3, host: "192.0.2.7", port: 4711 };

Deno.test("lineOf() has the words of the text format", () => {
  const lines = [
    { ...CLIENT, event: "connected", to: 5141, proxy: "10.0.0.1:5", certificate: "cn\n" },
    { ...CLIENT, event: "line", name: "pump", message: "a\tb\x1B" },
    { ...CLIENT, event: "line", message_base64: "Yf/DqQ==", cut: true },
    { ...CLIENT, event: "sent", message: "ok" },
    { ...AT, event: "sent", clients: 2, message: "to all" },
    { ...CLIENT, event: "disconnected", bytes: 1, lines: 2, seconds: 3, reason: "reset by peer" },
    { ...AT, event: "refused", host: "::1", port: 9, reason: "12 connections already" },
    { ...AT, event: "refused", host: "::1", port: 9, reason: "not allowed" },
    { ...AT, event: "datagram", transport: "udp", host: "::1", port: 9, to: 514, message: "" },
    { ...AT, event: "sent", transport: "udp", host: "::1", port: 9, message: "ack" },
    { ...AT, event: "line", connection: 4, path: "/run/s", message: "local" },
  ];
  assertEquals(lines.map((record) => lineOf(record).slice(AT.timestamp.length + 1)), [
    "#3 192.0.2.7:4711 connected to :5141 (through 10.0.0.1:5; certificate cn\\x0A)",
    "#3 pump:4711 | a\tb\\x1B",
    "#3 192.0.2.7:4711 + a\\xFFé",
    "#3 192.0.2.7:4711 < ok",
    "* all < to all",
    "#3 192.0.2.7:4711 disconnected: 1 byte, 2 lines, 3.0 s (reset by peer)",
    "refused [::1]:9 (12 connections already)",
    "refused [::1]:9",
    "udp [::1]:9 to :514 |",
    "udp [::1]:9 < ack",
    "#4 unix | local",
  ]);
  assertEquals(labelOf(lines[0]), "#3 192.0.2.7:4711");
});

Deno.test("wordsOf() shows bytes as pairs", () => {
  const record = { ...CLIENT, event: "line", message: "aé" };
  assertEquals(wordsOf(record, { asHex: true }), { text: "| 61 c3 a9", length: 8 });
});

// -- Queries --

Deno.test("parseQuery() reads words, exclusions and regular expressions", () => {
  const text = "#1 pump:4711 | Temperature 21 /dev/tty0 - done";
  const table: [string, boolean][] = [
    ["", true],
    ["temp PUMP", true],
    ["temp absent", false],
    ["temp -absent", true],
    ["temp -pump", false],
    ["a.c", false],
    ["/Temp\\w+ \\d+/", true],
    ["/temp/", false],
    ["/temp/i", true],
    ["-/temp/i", false],
    ["/dev/tty0", true],
    ["/dev/tty1", false],
    ["/", true],
    ["-", true],
    ["//", false],
    ["/e 21/ done", true],
  ];
  for (const [query, isMatch] of table) {
    assertEquals(matches(parseQuery(query), text), isMatch, query);
  }
});

Deno.test("parseQuery() says what is wrong with a regular expression, which then hides nothing", () => {
  const query = parseQuery("/(/ absent");
  assert(query.problem?.includes("("));
  assert(matches(query, "anything"));
});

Deno.test("hitsOf() finds each word, in order, without overlaps", () => {
  assertEquals(hitsOf(parseQuery("b ab -x"), "abab b", 10), [[0, 2], [2, 4], [5, 6]]);
  assertEquals(hitsOf(parseQuery("/x*/"), "axxb", 10), [[1, 3]]);
  assertEquals(hitsOf(parseQuery("İ i"), "İi", 10), [[0, 1], [1, 2]]);
  assertEquals(hitsOf(parseQuery("a"), "aaaa", 2).length, 2);
});

// -- Feeds --

function entry(second: number, message: string) {
  const timestamp = new Date(second * 1000).toISOString();
  return { record: { timestamp, message }, timeMs: second * 1000, label: "", number: 0 };
}

Deno.test("Feed.merge() keeps what is older than the server's records, once", () => {
  const feed = new Feed("");
  feed.push([entry(1, "a"), entry(2, "b"), entry(2, "c"), entry(3, "hole")]);
  feed.merge([entry(2, "c"), entry(3, "d")]);
  const messages = feed.entries.map(({ record }: { record: { message: string } }) =>
    record.message
  );
  assertEquals(messages, ["a", "b", "c", "d"]);
});

Deno.test("Feed.push() remembers no more records and characters than it may", () => {
  const feed = new Feed("");
  feed.push(Array.from({ length: 2500 }, (_, i) => entry(i, "")));
  assertEquals(feed.entries.length, 2000);
  feed.push([entry(3000, "x".repeat(15_000_000)), entry(3001, "y".repeat(15_000_000))]);
  assertEquals(feed.entries.length, 1);
});
