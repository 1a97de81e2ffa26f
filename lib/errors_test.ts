import { assertEquals } from "@std/assert";
import { reasonOf } from "./errors.ts";

Deno.test("reasonOf() names the flag when a permission is missing", () => {
  const error = new Deno.errors.NotCapable(
    `Requires read access to "x", run again with the --allow-read flag`,
  );
  assertEquals(reasonOf(error), "run again with --allow-read");
  assertEquals(reasonOf(new Error("Address in use (os error 98)")), "address in use");
  assertEquals(reasonOf(new Error("No such file (os error 2): open 'a\nb'")), "no such file");
});
