import { assertEquals, assertThrows } from "@std/assert";
import { NET, PROC } from "../tests/support/needs.ts";
import { DescriptorReserve } from "./descriptor_reserve.ts";

Deno.test.sanitizer({ ops: true, resources: true });

function noDescriptor(): Error {
  return Object.assign(new Error("Too many open files (os error 24)"), { code: "EMFILE" });
}

Deno.test({
  ...PROC,
  name: "DescriptorReserve.lend() opens in the place of a spare one, and takes it back",
  async fn() {
    // Descriptors are the whole process's, and other tests run in this one.
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["eval", "--quiet", PROGRAM],
      stderr: "inherit",
    }).output();
    const { before, within, after } = JSON.parse(new TextDecoder().decode(stdout));
    assertEquals([within, after], [before - 2, before]);
  },
});

/** Counts descriptors before, within and after a loan whose opening fails twice. */
const PROGRAM = `
  import { DescriptorReserve } from "${import.meta.resolve("./descriptor_reserve.ts")}";
  using reserve = new DescriptorReserve();
  const held = () => Array.from(Deno.readDirSync("/proc/self/fd")).length;
  const before = held();
  let failures = 2;
  const within = reserve.lend(() => {
    if (failures-- > 0) throw Object.assign(new Error("none left"), { code: "EMFILE" });
    return held();
  });
  console.log(JSON.stringify({ before, within, after: held() }));
`;

Deno.test({
  ...NET,
  name:
    "DescriptorReserve.lend() throws what opening throws when nothing is left, or for another reason",
  fn() {
    using reserve = new DescriptorReserve(2);
    let calls = 0;
    const fail = (error: Error) => () => {
      calls++;
      throw error;
    };
    assertThrows(() => reserve.lend(fail(noDescriptor())), Error, "Too many open files");
    assertEquals(calls, Deno.build.os === "linux" ? 3 : 1);
    assertThrows(() => reserve.lend(fail(new Error("another"))), Error, "another");
    assertEquals(reserve.release(), false);
    reserve.refill();
    assertEquals(reserve.release(), Deno.build.os === "linux");
  },
});

Deno.test({
  name: "DescriptorReserve has none without the permission, and asks nobody",
  permissions: { net: false },
  fn() {
    using reserve = new DescriptorReserve();
    assertEquals(reserve.release(), false);
  },
});
