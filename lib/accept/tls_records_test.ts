import { assertEquals } from "@std/assert";
import { bytesOf, latin1 } from "../../tests/support/data.ts";
import { RecordSplitter } from "./tls_records.ts";

function record(text: string): string {
  return `\x17\x03\x03\0${String.fromCharCode(text.length)}${text}`;
}

function splitOf(...pieces: string[]): string[] {
  const splitter = new RecordSplitter();
  return pieces.flatMap((piece) => [...splitter.split(bytesOf(piece))].map(latin1));
}

Deno.test("RecordSplitter.split() gives each record of a read", () => {
  const records = [record("one"), record(""), record("three")];
  assertEquals(splitOf(records.join("")), records);
});

Deno.test("RecordSplitter.split() finds the ends of records in whatever pieces they come", () => {
  const text = [record("one"), record(""), record("x".repeat(200)), record("4")].join("");
  const ends = [8, 13, 218, 224];
  for (let size = 1; size <= text.length; size++) {
    const pieces = text.match(new RegExp(`.{1,${size}}`, "gs"))!;
    let at = 0;
    const cuts = splitOf(...pieces).map((part) => at += part.length);
    assertEquals(at, text.length);
    assertEquals(ends.filter((end) => !cuts.includes(end)), [], `pieces of ${size}`);
    assertEquals(cuts.filter((cut) => !ends.includes(cut) && cut % size !== 0), []);
  }
});

Deno.test("RecordSplitter.split() takes anything", () => {
  assertEquals(splitOf(""), []);
  assertEquals(splitOf("GET / HTTP/1.1\r\n\r\n"), ["GET / HTTP/1.1\r\n\r\n"]);
  assertEquals(splitOf("\x16"), ["\x16"]);
});
