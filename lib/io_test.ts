import { assertEquals, assertRejects } from "@std/assert";
import { decode, encode } from "./bytes.ts";
import { writeAll } from "./io.ts";

Deno.test.sanitizer({ ops: true, resources: true });

Deno.test("writeAll() goes on where a write stopped short", async () => {
  const taken: string[] = [];
  const write = (bytes: Uint8Array) => {
    taken.push(decode(bytes.subarray(0, 4)));
    return Promise.resolve(Math.min(bytes.length, 4));
  };
  await writeAll({ write }, encode("0123456789"));
  assertEquals(taken, ["0123", "4567", "89"]);
});

Deno.test("writeAll() writes nothing when there is nothing, and rejects with the sink's error", async () => {
  const write = () => Promise.reject(new Deno.errors.BrokenPipe("Broken pipe"));
  await writeAll({ write }, new Uint8Array());
  await assertRejects(() => writeAll({ write }, encode("x")), Deno.errors.BrokenPipe);
});
