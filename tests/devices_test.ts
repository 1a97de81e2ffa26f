// What devices say, by the bytes of published protocols: each frame is a record, however it is split.

import { assertEquals } from "@std/assert";
import { parseConfig } from "../main.ts";
import { encode } from "../lib/bytes.ts";
import { createDecodingFramer } from "../lib/framing/encodings.ts";
import { bytesOf } from "./support/data.ts";
import { logOf, serve } from "./support/serving.ts";
import { everySplit } from "./support/framing.ts";
import { NET, UDP } from "./support/needs.ts";

Deno.test.sanitizer({ ops: true, resources: true });

function hex(digits: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.fromHex(digits.replaceAll(" ", ""));
}

// An ADT message of HL7 2.x: segments end in CR, the block in FS CR.
const HL7 =
  "\x0BMSH|^~\\&|ADT|HOSP|||202611221030||ADT^A01|1|P|2.5\rPID|1||4711||M\xFCller\r\x1C\r";

interface Device {
  readonly name: string;
  readonly args: readonly string[];
  readonly said: Uint8Array<ArrayBuffer>;
  readonly records: readonly string[];
}

const DEVICES: readonly Device[] = [
  {
    name: "HL7 by MLLP",
    args: ["--framing", "between:\\x0b,\\x1c\\r", "--encoding", "latin1"],
    said: bytesOf(HL7 + HL7),
    records: Array(2).fill(
      "| MSH|^~\\&|ADT|HOSP|||202611221030||ADT^A01|1|P|2.5\\x0DPID|1||4711||Müller\\x0D",
    ),
  },
  {
    name: "A GT06 tracker: login, heartbeat",
    args: ["--framing", "between:xx,\\r\\n", "--format", "hexline"],
    said: hex("7878 0D 01 0123456789012345 0001 8CDD 0D0A 7878 0A 13 4004040001 000F DCEE 0D0A"),
    records: ["| 0d01012345678901234500018cdd", "| 0a134004040001000fdcee"],
  },
  {
    name: "A Teltonika tracker: IMEI",
    args: ["--framing", "length:2"],
    said: hex("000F 333536333037303432343431303133"),
    records: ["| 356307042441013"],
  },
  {
    name: "SIA DC-09: a null message and an event",
    args: ["--framing", "between:\\n,\\r"],
    said: bytesOf(
      '\nC4D60017"NULL"0000R0L0#1234[]\r\n3B2E0026"SIA-DCS"0002L0#1234[#1234|NFA129]\r',
    ),
    records: [
      '| C4D60017"NULL"0000R0L0#1234[]',
      '| 3B2E0026"SIA-DCS"0002L0#1234[#1234|NFA129]',
    ],
  },
  {
    name: "AIS in NMEA 0183",
    args: [],
    said: bytesOf(
      "!AIVDM,1,1,,B,177KQJ5000G?tO`K>RA1wUbN0TKH,0*5C\r\n$GPZDA,201530.00,04,07,2002,00,00*60\r\n",
    ),
    records: [
      "| !AIVDM,1,1,,B,177KQJ5000G?tO`K>RA1wUbN0TKH,0*5C",
      "| $GPZDA,201530.00,04,07,2002,00,00*60",
    ],
  },
  {
    name: "A TK103 tracker, whose messages end in a semicolon",
    args: ["--framing", "end:;"],
    said: bytesOf(
      "##,imei:359586015829802,A;359586015829802;imei:359586015829802,tracker,0809231929,,F,,;",
    ),
    records: [
      "| ##,imei:359586015829802,A",
      "| 359586015829802",
      "| imei:359586015829802,tracker,0809231929,,F,,",
    ],
  },
  {
    name: "A scale between STX and ETX, with noise on the line",
    args: ["--framing", "between:\\x02,\\x03"],
    said: bytesOf("\x02 12.340 kg\x03\r\n\x02 12.345 kg\x03"),
    records: ["|  12.340 kg", "+ \\x0D\\x0A", "|  12.345 kg"],
  },
  {
    name: "DNS over TCP: a query with its length before it",
    args: ["--framing", "length:2", "--format", "hexline"],
    said: hex("001D 2F1D 0120 0001 0000 0000 0000 076578616D706C65036F7267 00 0001 0001"),
    records: ["| 2f1d01200001000000000000076578616d706c65036f72670000010001"],
  },
  {
    name: "Cisco IOS: counted syslog with a line end behind each message",
    args: ["--framing", "syslog"],
    said: bytesOf("12 <189>1 - - -\n13 <189>10: a b \r\n7 <13>old\0<14>plain\n"),
    records: ["| <189>1 - - -", "| <189>10: a b ", "| <13>old", "| <14>plain"],
  },
];

/** What records say, without who said it. */
function messagesIn(lines: readonly string[]): string[] {
  return lines.flatMap((line) => / [|+<] .*/.exec(line)?.[0].slice(1) ?? []);
}

for (const { name, args, said, records } of DEVICES) {
  Deno.test({
    ...NET,
    name: `startServer() hears a record a frame: ${name}`,
    async fn() {
      const lines = await logOf(args, said);
      assertEquals(messagesIn(lines), records);
      const count = records.filter((record) => record.startsWith("|")).length;
      assertEquals(/ (\d+) lines?, /.exec(lines.at(-1)!)?.[1], String(count), lines.at(-1));
    },
  });

  Deno.test(`createDecodingFramer() finds the same frames wherever they are split: ${name}`, () => {
    const config = parseConfig([...args]);
    if (typeof config === "string") throw new Error(config);
    const { framing = "newline", maxLineBytes, encoding } = config;
    const framesOf = (reads: readonly Uint8Array[]) => {
      const frames: string[] = [];
      const framer = createDecodingFramer(framing, maxLineBytes, encoding);
      const add = (mark: string) => (bytes: Uint8Array, start: number, end: number) =>
        void frames.push(mark + bytes.subarray(start, end).toHex());
      const sink = { frame: add("|"), outside: add("+") };
      for (const read of reads) framer.push(read, sink);
      framer.end(sink);
      return frames;
    };
    const whole = framesOf([said]);
    assertEquals(whole.length, records.length);
    for (const reads of everySplit(said)) assertEquals(framesOf(reads), whole);
  });
}

Deno.test({
  ...NET,
  name: "startServer() disconnects a client whose length is impossible, and logs what came",
  async fn() {
    const lines = await logOf(["--framing", "length:2-2"], bytesOf("\0\x04ab\0\x01rest"));
    assertEquals(messagesIn(lines), ["| ab", "+ \\x00\\x01rest"]);
    assertEquals(
      /disconnected: 10 bytes, 2 lines, .* s (.*)/.exec(lines.at(-1)!)?.[1],
      "(bad length)",
    );
  },
});

// -- Dumps --

Deno.test({
  ...NET,
  name: "startServer() begins the dump of each frame at 0 when --framing is given with hex",
  async fn() {
    const lines = await logOf(["-f", "hex", "--framing", "end:;"], bytesOf("ab;;c"));
    assertEquals(lines.slice(1, -1).map((line) => line.replace(/^#1 \S+ /, "")), [
      "> 2 bytes",
      "00000000  61 62                                             |ab|",
      "> 0 bytes",
      "> 1 byte",
      "00000000  63                                                |c|",
    ]);
  },
});

Deno.test({
  ...NET,
  name: "startServer() writes a read as a line of pairs with hexline",
  async fn() {
    const [, line = "", end = ""] = await logOf(["-f", "hexline"], Uint8Array.of(0, 10, 0xFF));
    assertEquals(messagesIn([line]), ["| 000aff"]);
    assertEquals(end.replace(/.*(disconnected: 3 bytes, ).*/, "$1"), "disconnected: 3 bytes, ");
  },
});

// -- Texts in other encodings --

Deno.test({
  ...NET,
  name: "startServer() writes what is not UTF-8 as UTF-8 when its encoding is given",
  async fn() {
    const said = bytesOf("\x93\xFA\x96\x7B\n");
    assertEquals(messagesIn(await logOf(["--encoding", "shift_jis"], said)), ["| 日本"]);
    const json = await logOf(["--encoding", "latin1", "-f", "json"], bytesOf("caf\xE9\n"));
    assertEquals(JSON.parse(json[1] ?? "{}").message, "café");
  },
});

// -- Datagrams --

function utf16(text: string): Uint8Array<ArrayBuffer> {
  const codes = Array.from(text, (character) => character.charCodeAt(0));
  return Uint8Array.from(codes.flatMap((code) => [code & 0xFF, code >> 8]));
}

/** The records of datagrams, one after the other. */
async function heardOf(args: readonly string[], datagrams: readonly Uint8Array[]) {
  await using running = await serve(["--udp", "0", "-t", "none", "-q", ...args]);
  const { port } = running.server.addrs[0] as Deno.NetAddr;
  const sender = Deno.listenDatagram({ hostname: "127.0.0.1", port: 0, transport: "udp" });
  using _ = { [Symbol.dispose]: () => sender.close() };
  const to = { transport: "udp", hostname: "127.0.0.1", port } as const;
  const last = args.includes("utf-16le") ? utf16("end") : encode("end");
  for (const datagram of [...datagrams, last]) await sender.send(datagram, to);
  await running.out.until("end");
  return messagesIn(running.out.lines).slice(0, -1);
}

Deno.test({
  ...UDP,
  name: "startServer() makes each line of a datagram a record with --udp-lines",
  async fn() {
    const datagrams = [
      "gorets:1|c\nglork:320|ms\n",
      "!AIVDM,1\r\n!AIVDM,2\r\n\r\n",
      "",
      "\n",
      "a\n\0",
      "one",
    ];
    const args = ["--udp-lines", "--max-line", "12"];
    assertEquals(await heardOf(args, datagrams.map(encode)), [
      ...["| gorets:1|c", "| glork:320|ms", "| !AIVDM,1", "| !AIVDM,2", "| "],
      ...["| ", "| ", "| a", "| one"],
    ]);
    assertEquals(await heardOf(["--udp-lines", "--max-line", "4"], [encode("12345\n6")]), [
      ...["+ 1234", "| 5", "| 6"],
    ]);
  },
});

Deno.test({
  ...UDP,
  name: "startServer() decodes datagrams",
  async fn() {
    assertEquals(await heardOf(["--encoding", "gbk"], [bytesOf("\xC4\xE3\n"), bytesOf("\xC4")]), [
      ...["| 你", "| \uFFFD"],
    ]);
    const args = ["--encoding", "utf-16le", "--udp-lines"];
    assertEquals(await heardOf(args, [utf16("\uFEFFé\na\r\n")]), ["| é", "| a"]);
  },
});
