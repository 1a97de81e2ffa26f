import { DescriptorReserve } from "../descriptor_reserve.ts";
import { assertEquals } from "@std/assert";
import { MemoryListener } from "../../tests/support/fakes.ts";
import { replaced, turn } from "../../tests/support/testing.ts";
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
