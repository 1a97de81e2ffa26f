import { assertEquals, assertStringIncludes } from "@std/assert";
import { Poller, ServerSocket } from "../../poller.ts";
import { Networks, parseNetwork, type Peer } from "../addresses.ts";
import { DescriptorReserve } from "../descriptor_reserve.ts";
import { Admission, type AdmissionOptions } from "./admission.ts";
import { MemoryListener } from "../../tests/support/memory.ts";

Deno.test.sanitizer({ ops: true, resources: true });

function ip(host: string, port = 1): Peer {
  return { kind: "ip", host, port };
}

function networks(...rules: string[]): Networks {
  return new Networks(rules.map((rule) => parseNetwork(rule)!));
}

/** An admission with one listener in memory, and what it says. */
function admissionWith(options: Partial<AdmissionOptions> = {}) {
  const listener = new MemoryListener();
  const socket = new ServerSocket(listener);
  const multiplexer = new Poller();
  const said: string[] = [];
  const counts = { errors: 0 };
  const admission = new Admission({
    listeners: [socket],
    multiplexer,
    maxConnections: 1000,
    maxPerHost: undefined,
    allowed: undefined,
    denied: undefined,
    reserve: new DescriptorReserve(0),
    say: (message) => said.push(message),
    onAcceptError: () => counts.errors++,
    ...options,
  });
  return {
    admission,
    listener,
    said,
    counts,
    isWatching: () => multiplexer.size === 1,
    /** Takes in whoever has come; returns how many. */
    async accept(): Promise<number> {
      await multiplexer.poll(0);
      let count = 0;
      for (const accepted of admission.accept(socket)) {
        accepted.close();
        admission.enter();
        count++;
      }
      return count;
    },
    async [Symbol.asyncDispose]() {
      multiplexer.close();
      await socket[Symbol.asyncDispose]();
    },
  };
}

function fault(code: string): Error {
  return Object.assign(new Error(`Fault ${code} (os error 1)`), { code });
}

Deno.test("Admission.accept() takes as many as there are places, and watches again when one is free", async () => {
  await using one = admissionWith({ maxConnections: 2 });
  for (let i = 0; i < 3; i++) one.listener.connect();
  assertEquals([await one.accept(), one.isWatching()], [2, false]);
  assertEquals([one.admission.trouble, one.admission.isPaused], ["Full: 2 connections", false]);
  one.admission.left(undefined);
  assertEquals(one.admission.trouble, undefined);
  assertEquals([one.isWatching(), await one.accept()], [true, 1]);
});

Deno.test("Admission says once that it is full, and that it is not when that lasts", async () => {
  await using one = admissionWith({ maxConnections: 1 });
  for (let i = 0; i < 3; i++) one.listener.connect();
  await one.accept();
  for (let i = 0; i < 2; i++) {
    one.admission.left(undefined);
    await one.accept();
  }
  assertEquals(one.said, ["earshot: 1 connection, no more are accepted (--max-connections)"]);
  one.admission.left(undefined);
  one.admission.onDue(one.admission.dueAtMs);
  assertEquals(one.said.slice(1), ["earshot: connections are accepted again"]);
  assertEquals(one.admission.dueAtMs, Infinity);
});

Deno.test("Admission.refusalOf() lets deny win over allow, and keeps out what is not allowed", async () => {
  await using one = admissionWith({
    allowed: networks("10.0.0.0/8"),
    denied: networks("10.6.6.6"),
  });
  assertEquals(one.admission.refusalOf(ip("10.1.2.3")), undefined);
  assertEquals(one.admission.refusalOf(ip("10.6.6.6")), "not allowed");
  assertEquals(one.admission.refusalOf(ip("192.0.2.7")), "not allowed");
  assertEquals(one.admission.refusalOf({ kind: "unix", path: "a" }), undefined);
});

Deno.test("Admission.refusalOf() counts the connections of one address", async () => {
  await using one = admissionWith({ maxPerHost: 1 });
  one.admission.enter();
  one.admission.count(ip("10.0.0.1", 5));
  assertEquals(one.admission.refusalOf(ip("10.0.0.1", 6)), "1 connection already");
  assertEquals(one.admission.refusalOf(ip("10.0.0.2")), undefined);
  one.admission.left(ip("10.0.0.1", 5));
  assertEquals(one.admission.refusalOf(ip("10.0.0.1", 6)), undefined);
});

Deno.test("Admission.refusalOf() counts IPv6 by /64 and Unix peers not at all", async () => {
  await using one = admissionWith({ maxPerHost: 2 });
  for (const host of ["2001:db8::1", "2001:db8::2"]) one.admission.count(ip(host));
  assertEquals(one.admission.refusalOf(ip("2001:db8::3")), "2 connections already");
  assertEquals(one.admission.refusalOf(ip("2001:db8:0:1::1")), undefined);
  const local: Peer = { kind: "unix", path: "a" };
  for (let i = 0; i < 3; i++) one.admission.count(local);
  assertEquals(one.admission.refusalOf(local), undefined);
});

Deno.test("Admission.accept() goes on at once after a client that was gone already", async () => {
  await using one = admissionWith();
  for (const code of ["ENOTCONN", "ECONNABORTED", "EPROTO"]) one.listener.fail(fault(code));
  one.listener.connect();
  let accepted = 0;
  while (accepted === 0) accepted = await one.accept();
  assertEquals([one.counts.errors, one.said], [0, []]);
});

for (
  const code of [
    "EMFILE",
    "ENFILE",
    "ENOMEM",
    "EPERM",
    "ENETDOWN",
    "EHOSTDOWN",
    "ENONET",
    "ENOPROTOOPT",
    "EOPNOTSUPP",
    "EINVAL",
  ]
) {
  Deno.test(`Admission.accept() pauses when accepting fails with ${code}, and says so once`, async () => {
    await using one = admissionWith();
    one.listener.fail(fault(code));
    assertEquals([await one.accept(), one.isWatching()], [0, false]);
    assertEquals(one.admission.trouble, `Accepting is paused: fault ${code}`);
    one.listener.fail(fault(code));
    one.admission.onDue(one.admission.dueAtMs);
    assertEquals([one.isWatching(), await one.accept()], [true, 0]);
    const message = `Cannot accept connections for now: fault ${code}; new clients wait`;
    assertEquals(one.said, [`earshot: ${message}`]);
    assertEquals([one.counts.errors, one.admission.failure], [2, undefined]);
  });
}

Deno.test("Admission.accept() tries again when a client leaves, for its descriptor is free", async () => {
  await using one = admissionWith();
  one.listener.connect();
  await one.accept();
  one.listener.fail(fault("EMFILE"));
  while (one.isWatching()) await one.accept();
  one.admission.left(undefined);
  assertEquals([one.isWatching(), one.admission.trouble], [true, undefined]);
});

Deno.test("Admission fails for good when the listener is gone", async () => {
  for (const error of [fault("EBADF"), fault("ENOTSOCK"), new Deno.errors.BadResource("gone")]) {
    await using one = admissionWith();
    one.listener.fail(error);
    await one.accept();
    assertStringIncludes(one.admission.failure!.message, "Cannot accept connections: ");
    assertEquals(one.isWatching(), false);
  }
});

Deno.test("Admission fails for good after ten failures in a row, and not when one succeeds", async () => {
  await using one = admissionWith();
  for (let i = 0; i < 9; i++) one.listener.fail(fault("EPERM"));
  one.listener.connect();
  for (let i = 0; i < 10; i++) one.listener.fail(fault("EPERM"));
  let accepted = 0;
  while (!one.admission.failure) {
    accepted += await one.accept();
    one.admission.onDue(one.admission.dueAtMs);
  }
  assertEquals([accepted, one.counts.errors], [1, 19]);
});

Deno.test("Admission.hold() accepts nobody until all who lack a descriptor have one", async () => {
  await using one = admissionWith();
  one.listener.connect();
  one.admission.enter();
  const holds = [one.admission.hold(fault("EMFILE")), one.admission.hold(fault("EMFILE"))];
  assertEquals([one.isWatching(), one.admission.isPaused], [false, true]);
  assertEquals(one.admission.dueAtMs, Infinity);
  holds[0]![Symbol.dispose]();
  one.admission.left(undefined);
  one.admission.onDue(Infinity);
  assertEquals([one.isWatching(), await one.accept()], [false, 0]);
  holds[1]![Symbol.dispose]();
  assertEquals([one.isWatching(), await one.accept(), one.said.length], [true, 1, 1]);
});

Deno.test("Admission.accept() leaves a client waiting while a descriptor in reserve is missing", async () => {
  let isMissing = true;
  const demand = () => {
    if (isMissing) throw fault("EMFILE");
  };
  await using one = admissionWith({ reserve: { demand } });
  one.listener.connect();
  assertEquals([await one.accept(), one.isWatching()], [0, false]);
  isMissing = false;
  one.admission.onDue(one.admission.dueAtMs);
  assertEquals([one.isWatching(), await one.accept()], [true, 1]);
});

for (const code of ["EMFILE", "ENFILE", "ENOMEM", "ENOBUFS"]) {
  Deno.test(`Admission outlives ${code}, however long whoever took all keeps it`, async () => {
    await using one = admissionWith();
    for (let i = 0; i < 30; i++) one.listener.fail(fault(code));
    one.listener.connect();
    let accepted = 0;
    while (accepted === 0 && !one.admission.failure) {
      accepted += await one.accept();
      one.admission.onDue(one.admission.dueAtMs);
    }
    assertEquals([accepted, one.counts.errors, one.admission.failure], [1, 30, undefined]);
  });
}

Deno.test("Admission.close() lets nobody in any more", async () => {
  await using one = admissionWith();
  one.listener.connect();
  one.admission.close();
  one.admission.left(undefined);
  assertEquals([one.isWatching(), await one.accept()], [false, 0]);
});
