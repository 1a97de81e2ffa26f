import { assertEquals } from "@std/assert";
import { hostKey, Networks, parseNetwork, type Peer, peerOf, peerText } from "./addresses.ts";

Deno.test.sanitizer({ ops: true, resources: true });

function ip(host: string): Peer {
  return { kind: "ip", host, port: 1 };
}

Deno.test("peerOf() shows IPv4-mapped IPv6 peers as IPv4", () => {
  const peer = peerOf({ transport: "tcp", hostname: "::ffff:10.1.2.3", port: 5 });
  assertEquals(peerText(peer), "10.1.2.3:5");
});

Deno.test("peerOf() gives a Unix peer the path that it came by", () => {
  const peer = peerOf({ transport: "unix", path: "" }, "/run/e.sock");
  assertEquals(peer, { kind: "unix", path: "/run/e.sock" });
  assertEquals(peerText(peer), "unix");
});

Deno.test("peerText() brackets IPv6", () => {
  assertEquals(peerText(ip("fe80::1%eth0")), "[fe80::1%eth0]:1");
});

Deno.test("parseNetwork() takes addresses and networks, and nothing else", () => {
  assertEquals(parseNetwork("10.0.0.0/8"), {
    address: "10.0.0.0",
    prefix: 8,
    family: "ipv4",
  });
  assertEquals(parseNetwork("::ffff:10.0.0.0/104")?.prefix, 8);
  assertEquals(parseNetwork("fd00::")?.prefix, 128);
  for (const wrong of ["", "10.0.0/8", "10.0.0.0/33", "::ffff:10.0.0.0/8", "fe80::1%eth0", "/8"]) {
    assertEquals(parseNetwork(wrong), undefined, wrong);
  }
});

Deno.test("Networks.has() tells the families apart", () => {
  const all6 = new Networks([parseNetwork("::/0")!]);
  assertEquals([all6.has(ip("10.0.0.1")), all6.has(ip("fe80::1"))], [false, true]);
  assertEquals(all6.has({ kind: "unix", path: "a" }), false);
});

Deno.test("hostKey() counts IPv6 by /64 but link-local addresses whole, however they are spelled", () => {
  const key = hostKey(ip("2001:db8:0:1::5"));
  assertEquals(hostKey(ip("2001:0DB8:0000:0001:ffff:2:3:4")), key);
  assertEquals(hostKey(ip("2001:db8:0:1::5%eth0")), key);
  assertEquals(hostKey(ip("2001:db8:0:2::5")) === key, false);
  assertEquals(hostKey(ip("::1")), hostKey(ip("::2")));
  assertEquals(hostKey(ip("fe80::3")) === hostKey(ip("fe80::4")), false);
  assertEquals(hostKey(ip("febf::3")) === hostKey(ip("febf::4")), false);
  assertEquals(hostKey(ip("fec0::3")), hostKey(ip("fec0::4")));
  assertEquals(hostKey(ip("10.0.0.1")) === hostKey(ip("10.0.0.2")), false);
});
