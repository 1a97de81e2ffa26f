import { assertEquals } from "@std/assert";
import { bytesOf } from "../../tests/support/data.ts";
import { ClientHints, type ClientHintsOptions } from "./client_hints.ts";

Deno.test.sanitizer({ ops: true, resources: true });

// A hello of TLS 1.3 begins as one of TLS 1.0 does.
const HELLO = bytesOf("\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03");
const CURES =
  "--flush-after 0.5 shows them, --framing any ends lines at CR, --format hex shows all";

function hintsOf(options: Partial<ClientHintsOptions> = {}) {
  const said: string[] = [];
  const say = (message: string) => said.push(message);
  const hints = new ClientHints({ isPlain: true, framing: "newline", say, ...options });
  let number = 0;
  return {
    said,
    hints,
    /** A client that has connected `agoMs` ago. */
    client: (agoMs = 0) => ({
      subject: { number: ++number },
      connectedAtMs: performance.now() - agoMs,
      bytes: 0,
      lines: 0,
      say(bytes: Uint8Array) {
        this.bytes += bytes.length;
        hints.heard(this, bytes);
      },
    }),
  };
}

Deno.test("ClientHints says once who has sent bytes and no line end, 3 s after it connected", () => {
  const { said, hints, client } = hintsOf();
  const first = client(1000);
  const second = client();
  first.say(bytesOf("scan 400638133393"));
  first.say(bytesOf("1"));
  second.say(bytesOf("x"));
  const due = Math.round(hints.dueAtMs - first.connectedAtMs);
  assertEquals(due, 3000);
  hints.onDue(hints.dueAtMs - 1);
  assertEquals(said, []);
  hints.onDue(hints.dueAtMs);
  assertEquals(said, [`earshot: #1 has sent 18 bytes and no line end: ${CURES}`]);
  client().say(bytesOf("more"));
  assertEquals(hints.dueAtMs, Infinity);
});

Deno.test("ClientHints does not speak of lines where frames have other ends", () => {
  for (const framing of ["octet", { kind: "end", end: bytesOf(";") }] as const) {
    const { said, hints, client } = hintsOf({ framing });
    client().say(bytesOf("1"));
    hints.onDue(hints.dueAtMs);
    assertEquals(said, [
      "earshot: #1 has sent 1 byte and no whole frame: --flush-after 0.5 shows them, " +
      "--format hex shows all",
    ]);
  }
});

Deno.test("ClientHints waits 3 s for one that is silent at first", () => {
  const { said, hints, client } = hintsOf();
  const late = client(60_000);
  late.say(bytesOf("x"));
  hints.onDue(performance.now() + 2000);
  assertEquals(said, []);
  hints.onDue(performance.now() + 3000);
  assertEquals(said, [`earshot: #1 has sent 1 byte and no line end: ${CURES}`]);
});

Deno.test("ClientHints says nothing of those who end their lines, leave, or are seen anyway", () => {
  const { said, hints, client } = hintsOf();
  const ended = client();
  const left = client();
  ended.say(bytesOf("half"));
  left.say(bytesOf("half"));
  ended.lines++;
  hints.delete(left);
  hints.onDue(performance.now() + 10_000);
  ended.say(bytesOf("half"));
  assertEquals([said, hints.dueAtMs], [[], Infinity]);
  const seen = hintsOf({ framing: undefined });
  seen.client().say(bytesOf("half"));
  assertEquals(seen.hints.dueAtMs, Infinity);
});

Deno.test("ClientHints does not advise what is there already", () => {
  const { said, hints, client } = hintsOf({ framing: "any" });
  client().say(bytesOf("x"));
  hints.onDue(Infinity);
  const cures = "--flush-after 0.5 shows them, --format hex shows all";
  assertEquals(said, [`earshot: #1 has sent 1 byte and no line end: ${cures}`]);
});

Deno.test("ClientHints says once that a client speaks TLS to a plain port", () => {
  const { said, client } = hintsOf();
  client().say(HELLO.subarray(0, 3));
  client().say(HELLO);
  assertEquals(said, ["earshot: #1 speaks TLS: give --tls-cert and --tls-key"]);
});

Deno.test("ClientHints takes nothing else for a TLS hello", () => {
  const { said, client } = hintsOf();
  for (const text of ["\x16", "\x16\x03", "\x16\x03\x05", "\x16\x03\x01\0\0\x02", "GET /"]) {
    client().say(bytesOf(text));
  }
  const later = client();
  later.say(bytesOf("hello\n"));
  later.say(HELLO);
  const secured = hintsOf({ isPlain: false });
  secured.client().say(HELLO);
  assertEquals([said, secured.said], [[], []]);
});
