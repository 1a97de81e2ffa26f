import { DescriptorReserve } from "../descriptor_reserve.ts";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { ServerResponse } from "node:http";
import { encode } from "../bytes.ts";
import { MemoryListener } from "../../tests/support/memory.ts";
import { replaced } from "../../tests/support/replaced.ts";
import { turn } from "../../tests/support/waiting.ts";
import { NET } from "../../tests/support/needs.ts";
import { InternalErrors } from "../messages.ts";
import { HttpPort } from "./http.ts";

Deno.test.sanitizer({ ops: true, resources: true });

function fault(code: string): Error {
  return Object.assign(new Error(`Fault ${code} (os error 1)`), { code });
}

/** A port whose connections come from memory, and what it says. */
function openPort() {
  const listener = new MemoryListener();
  const said: string[] = [];
  using _ = replaced("listen", () => listener);
  const port = new HttpPort({
    host: "127.0.0.1",
    port: 0,
    answer: () => false,
    isLogShort: () => false,
    reserve: new DescriptorReserve(0),
    say: (message) => said.push(message),
    internalErrors: new InternalErrors(() => {}),
  });
  return { listener, said, [Symbol.asyncDispose]: () => port.close() };
}

Deno.test("HttpPort says that accepting fails, and not that a client was gone", async () => {
  await using one = openPort();
  one.listener.fail(new Deno.errors.NotConnected("Socket is not connected"));
  await turn();
  assertEquals(one.said, []);
  one.listener.fail(fault("EMFILE"));
  await turn();
  assertEquals(one.said, ["earshot: Cannot accept HTTP connections for now: fault EMFILE"]);
});

Deno.test({
  ...NET,
  name: "HttpPort reports an error of ours, and answers the next",
  async fn() {
    const said: string[] = [];
    const answers = [() => {
      throw new TypeError("not a function");
    }, (response: ServerResponse) => void response.end("fine")];
    const port = new HttpPort({
      host: "127.0.0.1",
      port: 0,
      answer(_request, response) {
        answers.shift()!(response);
        return false;
      },
      isLogShort: () => false,
      say: () => {},
      reserve: new DescriptorReserve(0),
      internalErrors: new InternalErrors((message) => said.push(message)),
    });
    const ask = async () => {
      using conn = await Deno.connect({ port: port.addr.port });
      await conn.write(encode("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"));
      return await new Response(conn.readable).text();
    };
    assertEquals(await ask(), "");
    assertMatch(said.join(), /^earshot: internal error: TypeError: not a function \(http_test/);
    assertStringIncludes(await ask(), "fine");
    await port.close();
  },
});

Deno.test({
  ...NET,
  name: "HttpPort accepts no more while what was answered is not paid",
  async fn() {
    let answered = 0;
    const port = new HttpPort({
      host: "127.0.0.1",
      port: 0,
      answer(_request, response) {
        answered++;
        const untilMs = performance.now() + 50;
        while (performance.now() < untilMs);
        response.end();
        return false;
      },
      isLogShort: () => false,
      say: () => {},
      reserve: new DescriptorReserve(0),
      internalErrors: new InternalErrors(() => {}),
    });
    const startMs = performance.now();
    const ask = async () => {
      using conn = await Deno.connect({ port: port.addr.port });
      await conn.write(encode("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"));
      await new Response(conn.readable).text();
    };
    for (let i = 0; i < 4; i++) await ask();
    const seconds = (performance.now() - startMs) / 1000;
    assertEquals(answered, 4);
    // 50 ms are 200 tokens, of which 100 are there at first and 400 come in a second; unpaid, the
    // four take 0.2 s.
    assert(seconds > 0.5, `four answers in ${seconds} s`);
    await port.close();
  },
});
