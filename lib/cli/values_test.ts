import { assertEquals } from "@std/assert";
import { address, integer, type Kind, path, seconds, size, socketAddress, word } from "./values.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** Reads each text, and holds what comes out against what is written beside it. */
function assertReads<T>(kind: Kind<T>, table: Record<string, T | undefined>): void {
  for (const [text, expected] of Object.entries(table)) {
    assertEquals(kind.read(text), expected, JSON.stringify(text));
  }
}

const NOTHING = undefined;

Deno.test("integer() reads decimal digits between its bounds", () => {
  assertReads(integer(1, 65535), { "1": 1, "065535": 65535, "0": NOTHING, "65536": NOTHING });
  assertReads(integer(0), { "0": 0, "2147483647": 2147483647, "2147483648": NOTHING });
  assertReads(integer(0), { "-0": NOTHING, "1.0": NOTHING, "0x1": NOTHING, " 1": NOTHING });
});

Deno.test("size() reads bytes and units of 1024", () => {
  const kind = size(2 * 1024 ** 3, "2G");
  assertReads(kind, { "1": 1, "4096": 4096, "64k": 65536, "64K": 65536, "10M": 10485760 });
  assertReads(kind, { "2G": 2147483648, "2147483649": NOTHING, "3G": NOTHING, "0": NOTHING });
  assertReads(kind, { "k": NOTHING, "1.5k": NOTHING, "1kB": NOTHING, "1 k": NOTHING });
});

Deno.test("seconds reads fractions, and never less than was said", () => {
  assertReads(seconds, { "0": 0, "30": 30000, "2.5": 2500, ".5": 500, "5.": 5000, "0.0001": 1 });
  assertReads(seconds, { "1e9": NOTHING, "1000000001": NOTHING, "-1": NOTHING, ".": NOTHING });
});

Deno.test("word() reads its words and nothing inherited", () => {
  assertReads(word("poll", "select"), { poll: "poll", Poll: NOTHING, constructor: NOTHING });
});

Deno.test("path() reads any text", () => {
  assertReads(path("expected a path"), { "-": "-", "a b\n": "a b\n" });
});

Deno.test("address reads addresses and names, without brackets", () => {
  assertReads(address, { "0.0.0.0": "0.0.0.0", "::": "::", "[::1]": "::1", "a-b.c": "a-b.c" });
  assertReads(address, { "fe80::1%eth0": "fe80::1%eth0", "[fe80::1%eth0]": "fe80::1%eth0" });
  assertReads(address, { "*": NOTHING, "1234": NOTHING, "a:1": NOTHING, "[a]": NOTHING });
  assertReads(address, { "::x": NOTHING, "10.0.0.0/8": NOTHING, "a b": NOTHING });
});

Deno.test("socketAddress() reads a port, alone or with a host", () => {
  const kind = socketAddress("127.0.0.1");
  assertReads(kind, {
    "8080": { host: "127.0.0.1", port: 8080 },
    "0.0.0.0:0": { host: "0.0.0.0", port: 0 },
    "[::1]:65535": { host: "::1", port: 65535 },
    "localhost:1": { host: "localhost", port: 1 },
  });
  assertReads(kind, { ":1": NOTHING, "::1:1": NOTHING, "[]:1": NOTHING, "[a]:1": NOTHING });
  assertReads(kind, { "a:": NOTHING, "a:65536": NOTHING, "*:1": NOTHING, "http://a:1": NOTHING });
});
