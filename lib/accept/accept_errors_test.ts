import { assertEquals } from "@std/assert";
import { acceptFaultOf } from "./accept_errors.ts";

function fault(code: string): Error {
  return Object.assign(new Error(`Fault ${code} (os error 1)`), { code });
}

Deno.test("acceptFaultOf() tells clients that were gone from what ails the listener", () => {
  const { NotConnected, ConnectionReset, Interrupted, BadResource } = Deno.errors;
  assertEquals(acceptFaultOf(fault("ECONNABORTED")), "lost client");
  assertEquals(acceptFaultOf(new NotConnected("Socket is not connected")), "lost client");
  assertEquals(acceptFaultOf(new ConnectionReset("Connection reset by peer")), "lost client");
  assertEquals(acceptFaultOf(new Interrupted("operation canceled")), "lost client");
  assertEquals(acceptFaultOf(fault("EMFILE")), "shortage");
  assertEquals(acceptFaultOf(fault("ENOBUFS")), "shortage");
  assertEquals(acceptFaultOf(fault("EBADF")), "gone");
  assertEquals(acceptFaultOf(new BadResource("Listener has been closed")), "gone");
});

Deno.test("acceptFaultOf() takes what it does not know for trouble that may pass", () => {
  for (const error of [fault("EPERM"), fault("ENETDOWN"), new Error("odd"), "no error at all"]) {
    assertEquals(acceptFaultOf(error), "trouble");
  }
});
