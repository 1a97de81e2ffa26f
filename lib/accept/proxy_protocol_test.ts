import { assert, assertEquals } from "@std/assert";
import { type Peer, peerOf } from "../addresses.ts";
import { MAX_PROXY_HEADER_BYTES, parseProxyHeader, type ProxyHeader } from "./proxy_protocol.ts";
import { freePort, listenLocal, readUpTo } from "../../tests/support/connections.ts";
import { bytesOf, latin1 } from "../../tests/support/data.ts";
import { exists, tempDir } from "../../tests/support/files.ts";
import { pick, type Random, withSeeds } from "../../tests/support/random.ts";
import { pause } from "../../tests/support/waiting.ts";
import { needs } from "../../tests/support/needs.ts";

Deno.test.sanitizer({ ops: true, resources: true });

// -- Headers --

const SIGNATURE = "\r\n\r\n\0\r\nQUIT\n";
const LOCAL = 0x20;
const PROXY = 0x21;

/** Bytes as characters of one byte each. */
function chars(...bytes: number[]): string {
  return String.fromCharCode(...bytes);
}

function word(number: number): string {
  return chars(number >> 8, number & 0xFF);
}

/** A header of version 2 whose length counts `block`, unless another is given. */
function binary(command: number, kind: number, block: string, length = block.length): string {
  return SIGNATURE + chars(command, kind) + word(length) + block;
}

/** One of the values behind the addresses. */
function value(type: number, text: string, length = text.length): string {
  return chars(type) + word(length) + text;
}

/** The header with the right checksum in place of `CRC?`. */
function checked(header: string): string {
  const at = header.indexOf("CRC?");
  const sum = crc32cOf(bytesOf(header.replace("CRC?", "\0\0\0\0")));
  return header.slice(0, at) + word(sum >>> 16) + word(sum & 0xFFFF) + header.slice(at + 4);
}

/** CRC-32C bit by bit. */
function crc32cOf(bytes: Uint8Array): number {
  let crc = 0xFFFFFFFF;
  for (let bit = 0; bit < 8 * bytes.length; bit++) {
    const isSet = ((crc ^ bytes[bit >> 3]! >> (bit & 7)) & 1) === 1;
    crc = crc >>> 1 ^ (isSet ? 0x82F63B78 : 0);
  }
  return ~crc >>> 0;
}

const IPV4 = chars(192, 168, 0, 1, 10, 0, 0, 254) + word(56_324) + word(443);
const IPV6 = chars(0x20, 0x01, 0x0D, 0xB8, ...new Array(11).fill(0), 1, ...new Array(16).fill(0)) +
  word(65_535) + word(1);
const MAPPED = "\0".repeat(10) + chars(0xFF, 0xFF, 10, 1, 2, 3) + "\0".repeat(16) + word(7) +
  word(8);

function paths(source: string, destination = "/run/front.sock"): string {
  return source.padEnd(108, "\0") + destination.padEnd(108, "\0");
}

function ip(host: string, port: number): Peer {
  return { kind: "ip", host, port };
}

function unix(path: string): Peer {
  return { kind: "unix", path };
}

const CHECKED = checked(binary(PROXY, 0x11, IPV4 + value(4, "pad") + value(3, "CRC?")));

/** Name, header, and whom it names. */
const GOOD: [string, string, Peer | undefined][] = [
  // Version 1
  ["TCP4", "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", ip("192.168.0.1", 56_324)],
  [
    "the longest TCP4",
    "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
    ip("255.255.255.255", 65_535),
  ],
  ["the shortest TCP4", "PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", ip("0.0.0.0", 0)],
  ["TCP6", "PROXY TCP6 2001:db8::1 ::1 1024 443\r\n", ip("2001:db8::1", 1024)],
  ["the shortest TCP6", "PROXY TCP6 :: :: 0 0\r\n", ip("::", 0)],
  [
    "TCP6 with all its digits",
    `PROXY TCP6 ${"ffff:".repeat(7)}ffff ${"FFFF:".repeat(7)}FFFF 65535 65535\r\n`,
    ip(`${"ffff:".repeat(7)}ffff`, 65_535),
  ],
  [
    "TCP6 in another form than the system's",
    "PROXY TCP6 2001:0DB8:0:0:0:0:0:00A1 1:: 1 2\r\n",
    ip("2001:db8::a1", 1),
  ],
  [
    "TCP6 with :: for one group",
    "PROXY TCP6 1:2:3:4:5:6:7:: ::2:3:4:5:6:7:8 1 2\r\n",
    ip(
      "1:2:3:4:5:6:7:0",
      1,
    ),
  ],
  ["TCP6 with :: in the middle", "PROXY TCP6 1:2::7:8 1:2:3:4::6:7:8 1 2\r\n", ip("1:2::7:8", 1)],
  ["TCP6 that is mapped IPv4", "PROXY TCP6 ::ffff:10.1.2.3 ::1 5 6\r\n", ip("10.1.2.3", 5)],
  ["TCP6 that is mapped IPv4, in hex", "PROXY TCP6 ::FFFF:a01:203 ::1 5 6\r\n", ip("10.1.2.3", 5)],
  [
    "TCP6 with IPv4 at its end",
    "PROXY TCP6 64:ff9b::1.2.3.4 1:2:3:4:5:6:7.8.9.0 5 6\r\n",
    ip(
      "64:ff9b::102:304",
      5,
    ),
  ],
  ["UNKNOWN alone", "PROXY UNKNOWN\r\n", undefined],
  ["UNKNOWN and a space", "PROXY UNKNOWN \r\n", undefined],
  ["UNKNOWN with addresses", "PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", undefined],
  ["UNKNOWN with nonsense", "PROXY UNKNOWN  \0\xFF TCP4 1.2.3\t\r\n", undefined],
  ["UNKNOWN of 107 bytes", `PROXY UNKNOWN ${"x".repeat(91)}\r\n`, undefined],
  // Version 2
  ["LOCAL", binary(LOCAL, 0x00, ""), undefined],
  ["LOCAL with addresses", binary(LOCAL, 0x11, IPV4), undefined],
  ["LOCAL with a family that nobody knows", binary(LOCAL, 0xFF, ""), undefined],
  ["LOCAL with too few bytes for its family", binary(LOCAL, 0x21, "short"), undefined],
  ["LOCAL with 4,096 bytes", binary(LOCAL, 0x00, "x".repeat(4096)), undefined],
  ["LOCAL with a wrong checksum", binary(LOCAL, 0x00, value(3, "CRC?")), undefined],
  ["UNSPEC", binary(PROXY, 0x00, ""), undefined],
  ["UNSPEC with a block", binary(PROXY, 0x00, "\x03\x00\x04...."), undefined],
  ["UNSPEC family, STREAM", binary(PROXY, 0x01, ""), undefined],
  ["UNSPEC protocol, INET", binary(PROXY, 0x10, IPV4), undefined],
  ["INET STREAM", binary(PROXY, 0x11, IPV4), ip("192.168.0.1", 56_324)],
  ["INET DGRAM", binary(PROXY, 0x12, IPV4), ip("192.168.0.1", 56_324)],
  ["INET6 STREAM", binary(PROXY, 0x21, IPV6), ip("2001:db8::1", 65_535)],
  ["INET6 DGRAM", binary(PROXY, 0x22, IPV6), ip("2001:db8::1", 65_535)],
  ["INET6 that is mapped IPv4", binary(PROXY, 0x21, MAPPED), ip("10.1.2.3", 7)],
  ["INET6 of zeros", binary(PROXY, 0x21, "\0".repeat(36)), ip("::", 0)],
  ["UNIX STREAM", binary(PROXY, 0x31, paths("/run/app.sock")), unix("/run/app.sock")],
  ["UNIX DGRAM", binary(PROXY, 0x32, paths("/run/app.sock")), unix("/run/app.sock")],
  ["UNIX with 108 bytes", binary(PROXY, 0x31, paths("p".repeat(108))), unix("p".repeat(108))],
  ["UNIX without a name", binary(PROXY, 0x31, paths("")), unix("")],
  ["UNIX with an abstract name", binary(PROXY, 0x31, paths("\0a\0b")), unix("\0a\0b")],
  ["UNIX with a rest behind the NUL", binary(PROXY, 0x31, paths("/a\0old")), unix("/a")],
  ["UNIX in UTF-8", binary(PROXY, 0x31, paths("/\xC3\xA9")), unix("/é")],
  ["UNIX that is no UTF-8", binary(PROXY, 0x31, paths("/\xE9")), unix("/\uFFFD")],
  [
    "values",
    binary(PROXY, 0x11, IPV4 + value(1, "h2") + value(2, "host") + value(0x30, "")),
    ip("192.168.0.1", 56_324),
  ],
  [
    "values up to 4,096 bytes",
    binary(PROXY, 0x11, IPV4 + value(4, "x".repeat(4081))),
    ip(
      "192.168.0.1",
      56_324,
    ),
  ],
  [
    "a value that is cut",
    binary(PROXY, 0x11, IPV4 + value(4, "cut", 9)),
    ip("192.168.0.1", 56_324),
  ],
  ["two bytes of a value", binary(PROXY, 0x11, `${IPV4}\x03\x00`), ip("192.168.0.1", 56_324)],
  ["a checksum", CHECKED, ip("192.168.0.1", 56_324)],
  [
    "a checksum before other values",
    checked(binary(PROXY, 0x21, IPV6 + value(3, "CRC?") + value(0xE0, "mine"))),
    ip("2001:db8::1", 65_535),
  ],
  [
    "a checksum behind paths",
    checked(binary(PROXY, 0x31, paths("/a") + value(3, "CRC?"))),
    unix("/a"),
  ],
  [
    "a checksum's type within another value",
    binary(PROXY, 0x11, IPV4 + value(5, "\x03\0\x04CRC?")),
    ip(
      "192.168.0.1",
      56_324,
    ),
  ],
];

/** Name, bytes, and how many of them still are the beginning of a header. */
const BAD: [string, string, number][] = [
  ["HTTP", "GET / HTTP/1.1\r\n", 0],
  ["TLS", "\x16\x03\x01\x02\x00", 0],
  ["a NUL", "\0", 0],
  ["lower case", "proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n", 0],
  ["POST", "POST / HTTP/1.1\r\n", 1],
  ["an empty line", "\r\n\r\nhello", 4],
  // Version 1
  ["two spaces after PROXY", "PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n", 6],
  ["TCP5", "PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n", 9],
  ["TCP46", "PROXY TCP46 1.2.3.4 5.6.7.8 1 2\r\n", 10],
  ["UDP4", "PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n", 7],
  ["UNIX", "PROXY UNIX\r\n", 8],
  ["UNKNOWNS", "PROXY UNKNOWNS\r\n", 13],
  ["TCP4 alone", "PROXY TCP4\r\n", 10],
  ["two spaces after TCP4", "PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n", 11],
  ["two spaces after an address", "PROXY TCP4 1.2.3.4  5.6.7.8 1 2\r\n", 19],
  ["two spaces before a port", "PROXY TCP4 1.2.3.4 5.6.7.8  1 2\r\n", 27],
  ["two spaces between ports", "PROXY TCP4 1.2.3.4 5.6.7.8 1  2\r\n", 29],
  ["a space at the end", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n", 30],
  ["a tab", "PROXY\tTCP4 1.2.3.4 5.6.7.8 1 2\r\n", 5],
  ["a NUL in an address", "PROXY TCP4 1.2\0.3.4 5.6.7.8 1 2\r\n", 14],
  ["a leading zero in an octet", "PROXY TCP4 1.02.3.4 5.6.7.8 1 2\r\n", 14],
  ["an octet of 00", "PROXY TCP4 00.0.0.0 5.6.7.8 1 2\r\n", 12],
  ["an octet of 256", "PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n", 19],
  ["an octet of four digits", "PROXY TCP4 1000.2.3.4 5.6.7.8 1 2\r\n", 14],
  ["no octet between dots", "PROXY TCP4 1..3.4 5.6.7.8 1 2\r\n", 13],
  ["three octets", "PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n", 16],
  ["five octets", "PROXY TCP4 1.2.3.4.5 5.6.7.8 1 2\r\n", 18],
  ["IPv6 in TCP4", "PROXY TCP4 ::1 ::2 1 2\r\n", 11],
  ["IPv6 as destination in TCP4", "PROXY TCP4 1.2.3.4 a::2 1 2\r\n", 19],
  ["IPv4 in TCP6", "PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n", 12],
  ["IPv4 as destination in TCP6", "PROXY TCP6 ::1 5.6.7.8 1 2\r\n", 16],
  ["a digit that is not hex", "PROXY TCP6 fe80::g ::1 1 2\r\n", 17],
  ["five digits in a group", "PROXY TCP6 12345:: ::1 1 2\r\n", 15],
  ["nine groups", "PROXY TCP6 1:2:3:4:5:6:7:8:9 ::1 1 2\r\n", 26],
  ["seven groups", "PROXY TCP6 1:2:3:4:5:6:7 ::1 1 2\r\n", 24],
  ["two ::", "PROXY TCP6 1::2::3 ::1 1 2\r\n", 16],
  [":::", "PROXY TCP6 1::: ::1 1 2\r\n", 14],
  ["a single : at the beginning", "PROXY TCP6 :1:: ::1 1 2\r\n", 12],
  ["a single : at the end", "PROXY TCP6 1::2: ::1 1 2\r\n", 16],
  ["a zone", "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", 18],
  ["brackets", "PROXY TCP6 [::1] ::1 1 2\r\n", 11],
  ["a leading zero in mapped IPv4", "PROXY TCP6 ::ffff:01.2.3.4 ::1 1 2\r\n", 20],
  ["addresses alone", "PROXY TCP4 1.2.3.4 5.6.7.8\r\n", 26],
  ["one port", "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", 28],
  ["three ports", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n", 30],
  ["a leading zero in the source port", "PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n", 28],
  ["a leading zero in the other port", "PROXY TCP4 1.2.3.4 5.6.7.8 1 00\r\n", 30],
  ["a source port of 65536", "PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n", 31],
  ["another port of 65536", "PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n", 33],
  ["a port of six digits", "PROXY TCP4 1.2.3.4 5.6.7.8 100000 2\r\n", 32],
  ["a negative port", "PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n", 27],
  ["a hex port", "PROXY TCP4 1.2.3.4 5.6.7.8 0x1F 2\r\n", 28],
  ["a bare LF", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\nhello", 30],
  ["a bare CR", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\rhello\r\n", 31],
  ["two CR", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\r\n", 31],
  ["a CR within", "PROXY TCP4 1.2.3.4\r\n5.6.7.8 1 2\r\n", 18],
  ["UNKNOWN and a bare LF", "PROXY UNKNOWN\n", 13],
  ["UNKNOWN, a rest and a bare LF", "PROXY UNKNOWN some\nmore\r\n", 18],
  ["UNKNOWN, a rest and a bare CR", "PROXY UNKNOWN some\rmore\r\n", 19],
  ["UNKNOWN of 108 bytes", `PROXY UNKNOWN ${"x".repeat(92)}\r\n`, 105],
  ["UNKNOWN without an end", `PROXY UNKNOWN ${"x".repeat(5000)}`, 105],
  [
    "TCP6 that cannot end in time",
    `PROXY TCP6 ${"ffff:".repeat(6)}255.255.255.255 ${"ffff:".repeat(6)}255.255.255.255 1 2\r\n`,
    101,
  ],
  // Version 2
  ["a signature that ends otherwise", `${SIGNATURE.slice(0, -1)}\r`, 11],
  ["version 1 in binary", binary(0x11, 0x11, IPV4), 12],
  ["version 3", binary(0x31, 0x11, IPV4), 12],
  ["the command 2", binary(0x22, 0x11, IPV4), 12],
  ["the command 15", binary(0x2F, 0x11, IPV4), 12],
  ["the family 4", binary(PROXY, 0x41, IPV4), 13],
  ["the protocol 3", binary(PROXY, 0x13, IPV4), 13],
  ["a protocol that UNSPEC does not have", binary(PROXY, 0x03, ""), 13],
  ["4,097 bytes", binary(PROXY, 0x11, "x".repeat(4097)), 15],
  ["LOCAL with 4,097 bytes", binary(LOCAL, 0x00, "x".repeat(4097)), 15],
  ["65,535 bytes", binary(PROXY, 0x11, "x".repeat(65_535)), 14],
  ["LOCAL with 65,535 bytes", binary(LOCAL, 0x00, "", 65_535), 14],
  ["INET with 11 bytes", binary(PROXY, 0x11, IPV4.slice(1)), 15],
  ["INET without addresses", binary(PROXY, 0x11, ""), 15],
  ["INET6 with addresses of INET", binary(PROXY, 0x21, IPV4), 15],
  ["UNIX with 215 bytes", binary(PROXY, 0x31, paths("/a").slice(1)), 15],
  ["a wrong checksum", binary(PROXY, 0x11, IPV4 + value(3, "CRC?")), 34],
  ["a checksum of 3 bytes", binary(PROXY, 0x11, IPV4 + value(3, "CRC")), 33],
  ["a checksum of 5 bytes", binary(PROXY, 0x11, IPV4 + value(3, "CRC??")), 35],
  ["a checksum that is cut", binary(PROXY, 0x11, IPV4 + value(3, "CRC", 4)), 33],
  ["a header that was changed under its checksum", CHECKED.replace("\xC0\xA8", "\xC0\xA9"), 40],
];

function parse(text: string): ProxyHeader {
  return parseProxyHeader(bytesOf(text));
}

for (const [name, header, source] of GOOD) {
  Deno.test(`parseProxyHeader() reads ${name}, in whatever pieces it comes`, () => {
    for (let length = 0; length < header.length; length++) {
      assertEquals(parse(header.slice(0, length)).tag, "more", `of ${length} bytes`);
    }
    const whole: ProxyHeader = { tag: "header", length: header.length, source };
    assertEquals(parse(header), whole);
    for (const data of ["\0", "\r\n", "hello\n", header, "x".repeat(70_000)]) {
      assertEquals(parse(header + data), whole);
    }
  });
}

for (const [name, text, goodBytes] of BAD) {
  Deno.test(`parseProxyHeader() refuses ${name}, as soon as can be`, () => {
    assertEquals(parse(text.slice(0, goodBytes)).tag, "more");
    for (let length = goodBytes + 1; length <= text.length; length += 1 + (length >> 6)) {
      assertEquals(parse(text.slice(0, length)).tag, "bad", `of ${length} bytes`);
    }
  });
}

Deno.test("parseProxyHeader() reads bytes that begin anywhere in their memory", () => {
  const memory = bytesOf(`???${CHECKED}data`);
  const { length } = CHECKED;
  const source = ip("192.168.0.1", 56_324);
  assertEquals(parseProxyHeader(memory.subarray(3)), { tag: "header", length, source });
  memory[3 + length - 1]! ^= 1; // the checksum
  assertEquals(parseProxyHeader(memory.subarray(3)).tag, "bad");
});

Deno.test("parseProxyHeader() leaves the bytes as they are", () => {
  const bytes = bytesOf(CHECKED);
  parseProxyHeader(bytes);
  assertEquals(bytes, bytesOf(CHECKED));
});

Deno.test("parseProxyHeader() refuses a wrong byte of a beginning at once", () => {
  const starts = [SIGNATURE, "PROXY TCP4 ", "PROXY TCP6 ", "PROXY UNKNOWN"];
  for (const start of starts) {
    for (let at = 0; at < start.length; at++) {
      for (let byte = 0; byte < 256; byte++) {
        const text = start.slice(0, at) + chars(byte);
        const expected = starts.some((other) => other.startsWith(text)) ? "more" : "bad";
        assertEquals(parse(text).tag, expected, JSON.stringify(text));
        if (expected === "bad") assertEquals(parse(text + start.slice(at + 1)).tag, "bad");
      }
    }
  }
});

Deno.test("parseProxyHeader() finds every changed bit under a checksum", () => {
  const firstAddress = SIGNATURE.length + 4;
  const header = bytesOf(CHECKED);
  for (let bit = 8 * firstAddress; bit < 8 * (firstAddress + IPV4.length); bit++) {
    const changed = header.slice();
    changed[bit >> 3]! ^= 1 << (bit & 7);
    assertEquals(parseProxyHeader(changed).tag, "bad");
  }
});

Deno.test("parseProxyHeader() decides within MAX_PROXY_HEADER_BYTES", () => {
  assertEquals(MAX_PROXY_HEADER_BYTES, 16 + 4096);
  const longest = GOOD.map(([, header]) => header.length);
  assertEquals(Math.max(...longest), MAX_PROXY_HEADER_BYTES);
  for (const [, header] of GOOD) {
    const filled = bytesOf(header.slice(0, -1).padEnd(MAX_PROXY_HEADER_BYTES, "x"));
    assert(parseProxyHeader(filled).tag !== "more");
  }
});

// -- Random bytes --

/** A header that was changed, cut, lengthened, or is none. */
function randomText(random: Random): string {
  let [, text] = pick<readonly [string, string, unknown]>(random, ...GOOD, ...BAD);
  for (let changes = random(4); changes > 0; changes--) {
    const at = random(Math.min(text.length, 120) + 1);
    const inserted = pick(random, "", "", " ", "0", ":", ".", "\r", "\n", chars(random(256)));
    text = text.slice(0, at) + inserted + text.slice(at + random(3));
  }
  if (random(4) > 0) return text;
  return Array.from({ length: random(6000) }, () => chars(random(256))).join("");
}

Deno.test("parseProxyHeader() never changes its mind about random bytes", async () => {
  await withSeeds(500, (random) => {
    const bytes = bytesOf(randomText(random) + "x".repeat(random(2) * MAX_PROXY_HEADER_BYTES));
    let last: ProxyHeader = { tag: "more" };
    for (let length = 0; length <= bytes.length; length += 1 + (length >> 5)) {
      const header = parseProxyHeader(bytes.subarray(0, length));
      if (last.tag !== "more") assertEquals(header, last);
      if (header.tag === "header") assert(header.length <= length);
      if (header.tag === "more") assert(length < MAX_PROXY_HEADER_BYTES);
      last = header;
    }
  });
});

/** IPv6 in one of its many forms. */
function randomIpv6(random: Random): string {
  const groups = Array.from({ length: 8 }, () => random(pick(random, 1, 16, 0x10000)).toString(16));
  const hasIpv4 = random(3) === 0;
  if (hasIpv4) groups.splice(6, 2, `${random(256)}.${random(256)}.${random(256)}.${random(256)}`);
  if (random(3) === 0) return groups.map((group) => group.padStart(random(5), "0")).join(":");
  const width = hasIpv4 ? 6 : 8;
  const from = random(width);
  const to = from + 1 + random(width - from);
  return `${groups.slice(0, from).join(":")}::${groups.slice(to).join(":")}`;
}

Deno.test("parseProxyHeader() waits for the end of every random IPv6 address", async () => {
  await withSeeds(200, (random) => {
    const line = `PROXY TCP6 ${randomIpv6(random)} ${randomIpv6(random)} ${random(65_536)} 9\r\n`;
    if (line.length > 107) return;
    for (let length = 0; length < line.length; length++) {
      assertEquals(parse(line.slice(0, length)).tag, "more", line.slice(0, length));
    }
    assertEquals(parse(line).tag, "header", line);
  });
});

// -- Real proxies --

/** A program that is killed at the end of the test. */
function spawn(name: string, ...args: string[]): Deno.ChildProcess {
  return new Deno.Command(name, { args, stdin: "null", stdout: "null", stderr: "null" }).spawn();
}

/** Connects as soon as somebody listens there. */
async function connectSoon<T>(connect: () => Promise<T>): Promise<T> {
  while (true) {
    try {
      return await connect();
    } catch (error) {
      const { NotFound, ConnectionRefused } = Deno.errors;
      if (!(error instanceof NotFound || error instanceof ConnectionRefused)) throw error;
      await pause(10);
    }
  }
}

/** Says it all, and takes what comes out of the proxy in front of `listener`. */
async function passedOn(
  client: Deno.Conn,
  text: string,
  listener: Deno.Listener,
): Promise<Uint8Array> {
  await client.write(bytesOf(text));
  await client.closeWrite();
  using conn = await listener.accept();
  return (await readUpTo(conn, 1024)).slice();
}

/** Reads the header and what follows it. */
function taken(bytes: Uint8Array): { source: Peer | undefined; data: string } {
  const header = parseProxyHeader(bytes);
  if (header.tag !== "header") throw new Error(`Unexpected header: ${JSON.stringify(header)}`);
  return { source: header.source, data: latin1(bytes.subarray(header.length)) };
}

/** HAProxy between the Unix socket `front` of a directory, where it takes headers, and a port. */
function haproxy(directory: string, port: number, ...options: string[]): Deno.ChildProcess {
  const config = [
    "defaults",
    "mode tcp",
    "timeout connect 5s",
    "timeout client 5s",
    "timeout server 5s",
    "listen front",
    `bind ${directory}/front accept-proxy`,
    // A check that waits for an answer is not reset before it is accepted.
    "option tcp-check",
    "tcp-check expect string hello",
    `server back 127.0.0.1:${port} ${options.join(" ")}`,
    "",
  ];
  Deno.writeTextFileSync(`${directory}/config`, config.join("\n"));
  return spawn("haproxy", "-db", "-f", `${directory}/config`);
}

/** What HAProxy makes of a header that it got itself, with "hello" behind it. */
async function passedOnByHaproxy(options: string, line: string): Promise<Uint8Array> {
  using directory = tempDir();
  using listener = listenLocal();
  await using _proxy = haproxy(directory.path, listener.addr.port, options);
  const path = `${directory.path}/front`;
  using client = await connectSoon(() => Deno.connect({ transport: "unix", path }));
  return await passedOn(client, `${line}\r\nhello`, listener);
}

const IPV4_LINE = "PROXY TCP4 192.0.2.7 192.0.2.8 1234 5678";

const PASSED: [string, string, Peer | undefined][] = [
  ["IPv4", IPV4_LINE, ip("192.0.2.7", 1234)],
  ["IPv6", "PROXY TCP6 2001:db8:0:0:0:0:0:7 ::1 1234 5678", ip("2001:db8::7", 1234)],
  ["mapped IPv4", "PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 1234 5678", ip("192.0.2.7", 1234)],
  ["an unknown client", "PROXY UNKNOWN", undefined],
];

const WITH_CHECKSUM = "send-proxy-v2 proxy-v2-options crc32c,unique-id";

for (const options of ["send-proxy", "send-proxy-v2", WITH_CHECKSUM]) {
  for (const [client, line, source] of PASSED) {
    Deno.test({
      ...needs("haproxy"),
      name: `parseProxyHeader() reads ${client} of HAProxy's ${options}`,
      async fn() {
        assertEquals(taken(await passedOnByHaproxy(options, line)), { source, data: "hello" });
      },
    });
  }
}

Deno.test({
  ...needs("haproxy"),
  name: "parseProxyHeader() refuses a header that was changed after HAProxy",
  async fn() {
    const bytes = await passedOnByHaproxy(WITH_CHECKSUM, IPV4_LINE);
    assertEquals(parseProxyHeader(bytes).tag, "header");
    bytes[16]! ^= 1; // the address
    assertEquals(parseProxyHeader(bytes).tag, "bad");
  },
});

/** What HAProxy says in a health check, up to the end of its header, and where it comes from. */
async function checkOfHaproxy(options: string): Promise<{ bytes: Uint8Array; from: Peer }> {
  using directory = tempDir();
  using listener = listenLocal();
  const { port } = listener.addr;
  await using _proxy = haproxy(directory.path, port, options, "check-send-proxy check inter 100ms");
  using conn = await listener.accept();
  const memory = new Uint8Array(MAX_PROXY_HEADER_BYTES);
  for (let length = 0;;) {
    const count = await conn.read(memory.subarray(length));
    length += count ?? 0;
    const bytes = memory.subarray(0, length);
    if (count === null || parseProxyHeader(bytes).tag !== "more") {
      return { bytes, from: peerOf(conn.remoteAddr) };
    }
  }
}

Deno.test({
  ...needs("haproxy"),
  name: "parseProxyHeader() reads HAProxy's own address in its checks of version 1",
  async fn() {
    const { bytes, from } = await checkOfHaproxy("send-proxy");
    assertEquals(taken(bytes), { source: from, data: "" });
  },
});

Deno.test({
  ...needs("haproxy"),
  name: "parseProxyHeader() reads nobody's address in HAProxy's checks of version 2",
  async fn() {
    const { bytes } = await checkOfHaproxy("send-proxy-v2");
    assertEquals(taken(bytes), { source: undefined, data: "" });
  },
});

/** Debian's nginx has its stream module in a file, others have it built in. */
const NGINX_STREAM = "/usr/lib/nginx/modules/ngx_stream_module.so";

function nginx(directory: string, front: string, port: number): Deno.ChildProcess {
  const config = [
    exists(NGINX_STREAM) ? `load_module ${NGINX_STREAM};` : "",
    "daemon off;",
    "master_process off;",
    `pid ${directory}/pid;`,
    "events {}",
    `stream { server { listen ${front}; proxy_pass 127.0.0.1:${port}; proxy_protocol on; } }`,
  ];
  Deno.writeTextFileSync(`${directory}/config`, config.join("\n"));
  return spawn("nginx", "-e", "stderr", "-c", `${directory}/config`);
}

Deno.test({
  ...needs("nginx"),
  name: "parseProxyHeader() reads the client of nginx's proxy_protocol",
  async fn() {
    using directory = tempDir();
    using listener = listenLocal();
    const port = freePort();
    await using _proxy = nginx(directory.path, `127.0.0.1:${port}`, listener.addr.port);
    using client = await connectSoon(() => Deno.connect({ hostname: "127.0.0.1", port }));
    const bytes = await passedOn(client, "hello", listener);
    assertEquals(taken(bytes), { source: peerOf(client.localAddr), data: "hello" });
  },
});

Deno.test({
  ...needs("nginx"),
  name: "parseProxyHeader() reads UNKNOWN of nginx on a Unix socket",
  async fn() {
    using directory = tempDir();
    using listener = listenLocal();
    const path = `${directory.path}/front`;
    await using _proxy = nginx(directory.path, `unix:${path}`, listener.addr.port);
    using client = await connectSoon(() => Deno.connect({ transport: "unix", path }));
    const bytes = await passedOn(client, "hello", listener);
    assertEquals(latin1(bytes), "PROXY UNKNOWN\r\nhello");
    assertEquals(taken(bytes), { source: undefined, data: "hello" });
  },
});
