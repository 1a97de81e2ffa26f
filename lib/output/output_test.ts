import { assert, assertEquals, assertRejects } from "@std/assert";
import { decode, encode } from "../bytes.ts";
import { numbered } from "../../tests/support/data.ts";
import { noSpace, outputTo } from "../../tests/support/disks.ts";
import { tempDir } from "../../tests/support/files.ts";
import { FILES } from "../../tests/support/needs.ts";
import { replaced } from "../../tests/support/replaced.ts";
import { GatedOutput } from "../../tests/support/gated_output.ts";
import { Clock } from "../../tests/support/waiting.ts";
import { Failure } from "../errors.ts";

Deno.test.sanitizer({ ops: true, resources: true });

// -- Writing --

Deno.test("Output.write() writes all of it, however little is taken at a time", async () => {
  const stdout = new GatedOutput();
  using output = outputTo({ stdout }).output;
  const writing = output.write(encode("one\ntwo\n"), true);
  for (let i = 0; i < 8; i++) await stdout.take(1);
  await writing;
  assertEquals(stdout.out.text, "one\ntwo\n");
  assertEquals(output.writtenBytes, 8);
});

Deno.test("Output.write() stays on its thread only with what is small", async () => {
  const calls: string[] = [];
  const take = (name: string) => (bytes: Uint8Array) => {
    calls.push(name);
    return Promise.resolve(bytes.length);
  };
  const { output } = outputTo({ stdout: { write: take("write"), writeInline: take("inline") } });
  await output.write(encode("small"), true);
  await output.write(encode("large"), false);
  assertEquals(calls, ["inline", "write"]);
});

Deno.test("Output.write() takes the count of a write that is done at once", async () => {
  const taken: Uint8Array[] = [];
  const writeInline = (bytes: Uint8Array) => taken.push(bytes.slice(0, 2)) && 2;
  const write = () => Promise.reject(new Error("beside the loop"));
  const { output } = outputTo({ stdout: { write, writeInline } });
  await output.write(encode("abcd"), true);
  assertEquals(taken.map(decode), ["ab", "cd"]);
});

Deno.test("Output.write() tries again when a write throws at once", async () => {
  using clock = new Clock();
  let tries = 0;
  const writeInline = (bytes: Uint8Array) => {
    if (++tries < 3) throw noSpace();
    return bytes.length;
  };
  const write = () => Promise.reject(new Error("beside the loop"));
  const { output, said } = outputTo({ stdout: { write, writeInline } });
  const writing = output.write(encode("abcd"), true);
  await clock.pass(2000);
  await writing;
  assertEquals([tries, output.writtenBytes, said.length], [3, 4, 2]);
});

Deno.test("Output.write() leaves its thread after a slow write", async () => {
  using clock = new Clock();
  const calls: string[] = [];
  const write = (bytes: Uint8Array) => {
    calls.push(`write ${bytes.length}`);
    return Promise.resolve(bytes.length);
  };
  const writeInline = async (bytes: Uint8Array) => {
    calls.push(`inline ${bytes.length}`);
    if (calls.length === 1) await clock.pass(150);
    return bytes.length;
  };
  const { output } = outputTo({ stdout: { write, writeInline } });
  for (let i = 0; i < 3; i++) await output.write(new Uint8Array(20_000), true);
  assertEquals(calls, ["inline 20000", "write 5000", "write 10000", "inline 5000", "inline 20000"]);
});

for (
  const [error, reason] of [
    [new Deno.errors.BrokenPipe("Broken pipe (os error 32)"), "broken pipe"],
    [Object.assign(new Error("write EPIPE"), { code: "EPIPE" }), "broken pipe"],
    [new Deno.errors.BadResource("Bad resource ID"), "bad resource ID"],
  ] as const
) {
  Deno.test(`Output.write() fails when nobody will ever read it: ${error.message}`, async () => {
    const { output, said } = outputTo({ stdout: { write: () => Promise.reject(error) } });
    await assertRejects(
      () => output.write(encode("x\n"), true),
      Failure,
      `Cannot write to stdout: ${reason}`,
    );
    assertEquals(said, []);
  });
}

Deno.test("Output.write() tries a full disk again each second and loses nothing", async () => {
  using clock = new Clock();
  const stdout = new GatedOutput();
  const { output, said } = outputTo({ stdout });
  const writing = output.write(encode("one\ntwo\n"), true);
  await stdout.take(3);
  for (let i = 0; i < 3; i++) {
    await stdout.fail(noSpace());
    await clock.pass(999);
    await assertNotAsked(stdout, clock);
    await clock.pass(1);
  }
  assertEquals(said, ["earshot: Cannot write to stdout: no space left on device; clients wait"]);
  await stdout.take();
  await writing;
  assertEquals(said.slice(1), ["earshot: stdout works again"]);
  assertEquals(stdout.out.text, "one\ntwo\n");
});

async function assertNotAsked(stdout: GatedOutput, clock: Clock): Promise<void> {
  let isAsked = false;
  stdout.size().then(() => isAsked = true);
  await clock.settle();
  assert(!isAsked, "Tried again too early");
}

Deno.test("Output.write() offers a slow reader less and less, a fast one more again", async () => {
  using clock = new Clock();
  const stdout = new GatedOutput();
  using output = outputTo({ stdout }).output;
  const writing = output.write(new Uint8Array(1_000_000), false);
  const sizes: number[] = [];
  for (let i = 0; i < 6; i++) {
    sizes.push(await stdout.size());
    await clock.pass(i < 4 ? 200 : 1);
    await stdout.take(64 * 1024);
    await clock.settle();
  }
  assertEquals(sizes, [1_000_000, 16_384, 4096, 4096, 4096, 8192]);
  while (output.writtenBytes < 1_000_000) {
    await stdout.take();
    await clock.settle();
  }
  await writing;
});

// -- Trouble --

Deno.test("Output.trouble() tells when no write has finished for a second", async () => {
  using clock = new Clock();
  const stdout = new GatedOutput();
  using output = outputTo({ stdout }).output;
  await clock.pass(5000);
  assertEquals(output.trouble(clock.nowMs), undefined);
  const writing = output.write(encode("one\n"), true);
  await clock.pass(999);
  assertEquals(output.trouble(clock.nowMs), undefined);
  await clock.pass(2001);
  assertEquals(output.trouble(clock.nowMs), "No write to stdout has finished for 3 s");
  await stdout.take();
  await writing;
  assertEquals(output.trouble(clock.nowMs), undefined);
  await clock.pass(5000);
  assertEquals(output.trouble(clock.nowMs), undefined);
});

Deno.test("Output.trouble() is undefined while a slow reader takes a little", async () => {
  using clock = new Clock();
  const stdout = new GatedOutput();
  using output = outputTo({ stdout }).output;
  const writing = output.write(new Uint8Array(20_000), true);
  for (let i = 0; i < 5; i++) {
    await clock.pass(900);
    assertEquals(output.trouble(clock.nowMs), undefined);
    await stdout.take(4000);
    await clock.settle();
  }
  await writing;
});

Deno.test("Output.trouble() tells why the last write failed", async () => {
  using clock = new Clock();
  const stdout = new GatedOutput();
  using output = outputTo({ stdout }).output;
  const writing = output.write(encode("one\n"), true);
  await stdout.fail(noSpace());
  await clock.settle();
  assertEquals(output.trouble(clock.nowMs), "Cannot write to stdout: no space left on device");
  await clock.pass(1000);
  await stdout.take();
  await writing;
  assertEquals(output.trouble(clock.nowMs), undefined);
});

// -- The end --

const LOST = "Cannot write to stdout: nobody takes it; what was not written is lost";

Deno.test("Output.stop() gives up a write that makes no progress for a second", async () => {
  using clock = new Clock();
  using output = outputTo({ stdout: new GatedOutput() }).output;
  const writing = output.write(encode("one\n"), true);
  await clock.pass(5000);
  output.stop();
  const lost = assertRejects(() => writing, Failure, LOST);
  await clock.pass(999);
  await assertUnsettled(lost, clock);
  await clock.pass(1);
  await lost;
});

Deno.test("Output.stop() gives up a write that is begun later, too", async () => {
  using clock = new Clock();
  using output = outputTo({ stdout: new GatedOutput() }).output;
  output.stop();
  await clock.pass(5000);
  const lost = assertRejects(() => output.write(encode("one\n"), true), Failure, LOST);
  await clock.pass(999);
  await assertUnsettled(lost, clock);
  await clock.pass(1);
  await lost;
});

async function assertUnsettled(promise: Promise<unknown>, clock: Clock): Promise<void> {
  let isSettled = false;
  promise.then(() => isSettled = true);
  await clock.settle();
  assert(!isSettled, "Given up too early");
}

Deno.test("Output.stop() lets a slow reader have everything, in small pieces", async () => {
  using clock = new Clock();
  const stdout = new GatedOutput();
  using output = outputTo({ stdout }).output;
  const rest = numbered(5000).join("");
  const writing = output.write(encode(rest), false);
  await clock.settle();
  output.stop();
  await clock.pass(900);
  await stdout.take(4096);
  await clock.settle();
  while (output.writtenBytes < rest.length) {
    assert(await stdout.size() <= 4096);
    await clock.pass(output.writtenBytes % 8192 === 0 ? 900 : 1);
    await stdout.take();
    await clock.settle();
  }
  await writing;
  assertEquals(stdout.out.text, rest);
  assertEquals(clock.timers, 0);
});

Deno.test("Output.stop() gives up a disk that stays full, and says so", async () => {
  using clock = new Clock();
  const stdout = { write: () => Promise.reject(noSpace()) };
  using output = outputTo({ stdout }).output;
  const writing = output.write(encode("one\n"), true);
  await clock.pass(300);
  output.stop();
  const lost = assertRejects(
    () => writing,
    Failure,
    "Cannot write to stdout: no space left on device; what was not written is lost",
  );
  await clock.pass(1000);
  await lost;
});

Deno.test("Output.stop() takes a disk that has room again before a second is over", async () => {
  using clock = new Clock();
  let isFull = true;
  const taken: string[] = [];
  const stdout = {
    write(bytes: Uint8Array): Promise<number> {
      if (isFull) return Promise.reject(noSpace());
      taken.push(decode(bytes));
      return Promise.resolve(bytes.length);
    },
  };
  const { output, said } = outputTo({ stdout });
  const writing = output.write(encode("one\n"), true);
  await clock.settle();
  output.stop();
  await clock.pass(500);
  isFull = false;
  await clock.pass(200);
  await writing;
  assertEquals(taken, ["one\n"]);
  assertEquals(said.length, 2);
});

// -- Opening anew --

Deno.test("Output.reopen() does nothing to stdout", async () => {
  const stdout = new GatedOutput();
  const { output, said } = outputTo({ stdout });
  output.reopen();
  const writing = output.write(encode("one\n"), true);
  await stdout.take();
  await writing;
  assertEquals([stdout.out.text, said], ["one\n", []]);
});

Deno.test({
  ...FILES,
  name: "Output.reopen() opens what is open when there are few descriptors, and says that it did",
  async fn() {
    using dir = tempDir();
    const { output, said } = outputTo({ path: `${dir.path}/%n.log` });
    using _ = output;
    const paths = ["a", "b", "c"].map((name) => `${dir.path}/${name}.log`);
    const write = () =>
      output.writeParts(paths.map((path) => ({ path, bytes: encode("x\n") })), true);
    await write();
    const { openSync } = Deno;
    let failures = 1;
    const scarce = replaced("openSync", (...args: Parameters<typeof openSync>) => {
      if (failures-- > 0) throw Object.assign(new Error("Too many"), { code: "EMFILE" });
      return openSync(...args);
    });
    let reopened = 0;
    output.reopen(() => reopened++);
    scarce[Symbol.dispose]();
    assertEquals([reopened, said], [1, []]);
    await write();
    for (const path of paths) assertEquals(Deno.readTextFileSync(path), "x\nx\n");
  },
});
