/** What is written in the background, while the next round is read. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { Failure } from "../main.ts";
import { upTo } from "./support/data.ts";
import { noSpace } from "./support/disks.ts";
import { GatedOutput } from "./support/gated_output.ts";
import { Feed, MemoryListener } from "./support/memory.ts";
import { replaced } from "./support/replaced.ts";
import { serveFrom } from "./support/serving.ts";
import { turn, untilTrue } from "./support/waiting.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const MULTIPLEXERS = ["poll", "select"] as const;

/** Numbered lines, from `first` to below `end`. */
function numbered(first: number, end: number): string {
  return Array.from({ length: end - first }, (_, i) => `line ${first + i} ${"x".repeat(90)}\n`)
    .join("");
}

/** The numbers of the lines that were logged of `port`. */
function numbersIn(text: string, port: number): number[] {
  const found = text.matchAll(
    new RegExp(`^#\\d+ 127\\.0\\.0\\.1:${port} \\| line (\\d+) x{90}$`, "gm"),
  );
  return Array.from(found, ([, number]) => Number(number));
}

/** A server whose log is being written, 16 KiB or more at once, while it reads on. */
async function serveOverlapped(multiplexer: string) {
  const listener = new MemoryListener();
  const output = new GatedOutput();
  const args = ["-q", "-t", "none", "--multiplexer", multiplexer];
  const running = await serveFrom(listener, args, { stdout: output });
  const [bulky, other] = [new Feed(), new Feed()];
  listener.connect(bulky);
  listener.connect(other);
  bulky.push(numbered(0, 600));
  while (await output.size() < 16 * 1024) await output.take();
  const bytesHeard = () => {
    running.server.reportStats();
    return Number(/(\d+) bytes/.exec(running.err.lines.at(-1)!)![1]);
  };
  /** Has ten lines of another client read while that write waits. */
  const readOn = async () => {
    const before = bytesHeard();
    other.push(numbered(0, 10));
    for (let turns = 0; bytesHeard() === before; turns++) {
      assert(turns < 1000, "Nothing is read while a bulky round is written");
      await turn();
    }
  };
  return {
    ...running,
    output,
    bulky,
    other,
    readOn,
    messages: () => running.err.lines.filter((line) => line.startsWith("earshot: ")),
    [Symbol.asyncDispose]: () => running[Symbol.asyncDispose](),
  };
}

for (const multiplexer of MULTIPLEXERS) {
  /** Stops the server, lets it write all and checks that each line is there once and in order. */
  const assertComplete = async (
    { server, output, bulky, other }: Awaited<ReturnType<typeof serveOverlapped>>,
    most = Infinity,
  ) => {
    for (const feed of [bulky, other]) feed.push("last\n");
    const ended = server.finished.then(() => true);
    await output.takeUntil(`:${bulky.remoteAddr.port} | last\n`, most);
    await output.takeUntil(`:${other.remoteAddr.port} | last\n`, most);
    server.stop();
    assert(await ended);
    assertEquals(numbersIn(output.out.text, bulky.remoteAddr.port), upTo(600));
    assertEquals(numbersIn(output.out.text, other.remoteAddr.port), upTo(10));
    assertEquals(output.out.count("\n"), 612);
  };

  Deno.test({
    name: `startServer() writes rounds in order though the next is read meanwhile (${multiplexer})`,
    async fn() {
      await using running = await serveOverlapped(multiplexer);
      await running.readOn();
      await assertComplete(running);
    },
  });

  Deno.test({
    name: `startServer() goes on where a write in the background stopped short (${multiplexer})`,
    async fn() {
      await using running = await serveOverlapped(multiplexer);
      await running.readOn();
      await assertComplete(running, 5000);
    },
  });

  Deno.test({
    name:
      `startServer() ends when the write in the background meets a broken pipe and nobody talks (${multiplexer})`,
    async fn() {
      await using running = await serveOverlapped(multiplexer);
      await running.output.fail(new Deno.errors.BrokenPipe("Broken pipe"));
      await assertRejects(() => running.server.finished, Failure, "broken pipe");
    },
  });

  Deno.test({
    name:
      `startServer() writes again what a full disk did not take in the background (${multiplexer})`,
    async fn() {
      await using running = await serveOverlapped(multiplexer);
      await running.readOn();
      await running.output.take(7000);
      await running.output.fail(noSpace());
      await running.output.fail(noSpace());
      await assertComplete(running);
      assertEquals(running.messages(), [
        "earshot: Cannot write to stdout: no space left on device; clients wait",
        "earshot: stdout works again",
      ]);
    },
  });

  Deno.test({
    name: `startServer() waits for the write in the background when it is stopped (${multiplexer})`,
    async fn() {
      await using running = await serveOverlapped(multiplexer);
      const { server, output, bulky, other } = running;
      await running.readOn();
      server.stop();
      await turn();
      let hasEnded = false;
      server.finished.then(() => hasEnded = true);
      while (!hasEnded) await Promise.race([output.take(9000), server.finished]);
      assertEquals(numbersIn(output.out.text, bulky.remoteAddr.port), upTo(600));
      assertEquals(numbersIn(output.out.text, other.remoteAddr.port), upTo(10));
    },
  });
}

Deno.test("startServer() ends when nobody takes the write in the background after a stop", async () => {
  await using running = await serveOverlapped("poll");
  running.server.stop();
  await assertRejects(() => running.server.finished, Failure, "nobody takes it");
});

Deno.test("startServer() opens its file anew behind the write in the background", async () => {
  const files: GatedOutput[] = [];
  const open = () => {
    const file = new GatedOutput();
    files.push(file);
    const writeSync = (bytes: Uint8Array) => file.out.writeSync(bytes);
    const nothing = () => {};
    return Object.assign(file, {
      writeSync,
      seekSync: () => 0,
      close: nothing,
      [Symbol.dispose]: nothing,
    });
  };
  using _ = replaced("openSync", open);
  const listener = new MemoryListener();
  await using running = await serveFrom(listener, ["-q", "-t", "none", "-o", "log"]);
  const feed = new Feed();
  listener.connect(feed);
  feed.push(numbered(0, 600));
  const [first] = files;
  while (await first!.size() < 16 * 1024) await first!.take();
  for (let storm = 0; storm < 100; storm++) assert(running.server.reload());
  feed.push(numbered(600, 610));
  await turn();
  assertEquals(files.length, 1);
  await first!.take(100);
  await first!.take();
  await untilTrue(() => files.length > 1);
  while (!files.some(({ out }) => out.count("line 609"))) {
    await files.at(-1)!.takePending();
    await turn();
  }
  running.server.stop();
  await running.server.finished;
  const texts = files.map(({ out }) => out.text);
  for (const text of texts) assert(text === "" || text.endsWith("\n"));
  assertEquals(numbersIn(texts.join(""), feed.remoteAddr.port), upTo(610));
  assert(texts.slice(1).join("").length > 0);
});
