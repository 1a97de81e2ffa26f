import { assertEquals, assertThrows } from "@std/assert";
import { type NamedNetwork, parseNamedNetwork, type Peer } from "../addresses.ts";
import { Failure } from "../errors.ts";
import { tempDir } from "../../tests/support/files.ts";
import { FILES } from "../../tests/support/needs.ts";
import { NameTable } from "./names.ts";

Deno.test.sanitizer({ ops: true, resources: true });

function peer(host: string): Peer {
  return { kind: "ip", host, port: 1 };
}

function named(...rules: [network: string, name: string][]): NamedNetwork[] {
  return rules.map(([network, name]) => parseNamedNetwork(network, name)!);
}

Deno.test("NameTable.of() knows an address by the longest prefix", () => {
  const rules = named(["10.0.0.0/8", "plant"], ["10.1.2.0/24", "hall"], ["10.1.2.3", "pump"]);
  const table = new NameTable(rules.toReversed(), undefined);
  const names = ["10.1.2.3", "10.1.2.4", "10.1.3.3", "11.1.2.3", "::1"].map((host) =>
    table.of(peer(host))
  );
  assertEquals(names, ["pump", "hall", "plant", undefined, undefined]);
  assertEquals(new NameTable(rules, undefined).of({ kind: "unix", path: "s" }), undefined);
});

Deno.test("NameTable.of() knows IPv6 addresses however they are spelled", () => {
  const table = new NameTable(
    named(["2001:db8::/33", "site"], ["2001:0DB8:0::7", "pump"], ["::/0", "rest"], [
      "0.0.0.0/0",
      "old",
    ]),
    undefined,
  );
  const hosts = ["2001:db8::7", "2001:db8:7fff::1", "2001:db8:8000::1", "fe80::1%lo", "1.2.3.4"];
  assertEquals(hosts.map((host) => table.of(peer(host))), ["pump", "site", "rest", "rest", "old"]);
});

Deno.test({
  ...FILES,
  name: "NameTable reads lines of an address and a name, and those of the command line count more",
  fn() {
    using dir = tempDir();
    const file = `${dir.path}/names`;
    const text = "\uFEFF# devices\r\n192.0.2.7\tpump # the old one\n\n  fd00::/8 site\n192.0.2.8 b";
    Deno.writeTextFileSync(file, text);
    const table = new NameTable(named(["192.0.2.8", "mine"]), file);
    const hosts = ["192.0.2.7", "fd00::1", "192.0.2.8"];
    assertEquals(hosts.map((host) => table.of(peer(host))), ["pump", "site", "mine"]);
    Deno.writeTextFileSync(file, "192.0.2.7 new\n");
    table.reload();
    assertEquals(table.of(peer("192.0.2.7")), "new");
    assertEquals(table.of(peer("fd00::1")), undefined);
  },
});

Deno.test({
  ...FILES,
  name: "NameTable names a wrong line or file, and keeps the old names",
  fn() {
    using dir = tempDir();
    const file = `${dir.path}/names`;
    Deno.writeTextFileSync(file, "192.0.2.7 pump\n");
    const table = new NameTable([], file);
    for (const line of ["192.0.2.7", "pump 192.0.2.7", "192.0.2.7 a b", "300.1.1.1 x", "::1 a/b"]) {
      Deno.writeTextFileSync(file, `10.0.0.1 fine\n${line} # no\n`);
      const error = assertThrows(() => table.reload(), Failure);
      assertEquals(
        error.message,
        `Cannot use --names ${file}, line 2: "${line}" is not an address and a name, ` +
          "such as 192.0.2.7 pump",
      );
    }
    Deno.removeSync(file);
    assertThrows(() => table.reload(), Failure, `Cannot read --names ${file}: no such file`);
    assertEquals(table.of(peer("192.0.2.7")), "pump");
  },
});
