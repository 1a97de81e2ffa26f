import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { decode, encode } from "../bytes.ts";
import { numbered } from "../../tests/support/data.ts";
import { crampedDisk, noSpace, outputTo } from "../../tests/support/disks.ts";
import { exists, listing, makeFifo, readerOf, tempDir } from "../../tests/support/files.ts";
import { GatedOutput } from "../../tests/support/gated_output.ts";
import { randomNumbers } from "../../tests/support/random.ts";
import { failingAt, replaced } from "../../tests/support/replaced.ts";
import { Clock, turn, untilTrue } from "../../tests/support/waiting.ts";
import { Failure } from "../errors.ts";
import type { Rotation } from "./rotation.ts";
import { FILES, UNIX } from "../../tests/support/needs.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const {
  mkdirSync: makeDir,
  readTextFileSync: reads,
  removeSync: remove,
  renameSync: rename,
  statSync: stat,
  symlinkSync: link,
  truncateSync: truncate,
  writeTextFileSync: put,
} = Deno;

// -- Files --

Deno.test({
  ...FILES,
  name: "Output appends to its file, which others may not read",
  async fn() {
    using dir = tempDir();
    const path = `${dir.path}/log`;
    for (const text of ["one\n", "two\n"]) {
      using output = outputTo({ path }).output;
      assert(output.isFile);
      await output.write(encode(text), true);
      await output.write(encode(text), false);
    }
    assertEquals(reads(path), "one\none\ntwo\ntwo\n");
    if (Deno.build.os !== "windows") assertEquals(stat(path).mode! & 0o137, 0);
  },
});

Deno.test({
  ...FILES,
  name: "Output appends to the file that a symbolic link names",
  async fn() {
    using dir = tempDir();
    put(`${dir.path}/real`, "one\n");
    link("real", `${dir.path}/log`);
    using output = outputTo({ path: `${dir.path}/log` }).output;
    await output.write(encode("two\n"), true);
    assertEquals(reads(`${dir.path}/real`), "one\ntwo\n");
  },
});

for (
  const [left, hasLines, begin] of [
    ["whole\ntorn", true, "whole\ntorn\n"],
    ["whole\n", true, "whole\n"],
    ["", true, ""],
    // Raw bytes have no lines of ours.
    ["bytes", false, "bytes"],
  ] as const
) {
  Deno.test({
    ...FILES,
    name: `Output begins on a line of its own behind ${JSON.stringify(left)}, hasLines ${hasLines}`,
    async fn() {
      using dir = tempDir();
      const path = `${dir.path}/log`;
      put(path, left);
      Deno.utimeSync(path, 0, 0);
      for (const text of ["one\n", "half", " line\n"]) {
        using output = outputTo({ path, hasLines }).output;
        await output.write(encode(text), true);
      }
      assertEquals(reads(path), `${begin}one\nhalf line\n`);
    },
  });
}

Deno.test({
  ...FILES,
  name: "Output counts the line end that it adds for the size at which its file rotates",
  async fn() {
    using dir = tempDir();
    const path = `${dir.path}/log`;
    put(path, "torn");
    Deno.utimeSync(path, 0, 0);
    using output = outputTo({ path, rotate: { sizeBytes: 8, keep: 1 } }).output;
    await output.write(encode("one\n"), true);
    assertEquals(listing(dir.path), { log: "one\n", "log.1": "torn\n" });
  },
});

Deno.test({
  ...FILES,
  name: "Output fails when its path is a directory or in none",
  fn() {
    using dir = tempDir();
    for (
      const [path, reason] of [[dir.path, "is a directory"], [`${dir.path}/no/log`, "no such file"]]
    ) {
      assertThrows(() => outputTo({ path: path! }), Failure, `Cannot write to ${path}: ${reason}`);
    }
  },
});

Deno.test({
  ...UNIX,
  name: "Output fails when its path is a FIFO that nobody reads",
  fn() {
    using dir = tempDir();
    makeFifo(`${dir.path}/fifo`);
    assertThrows(
      () => outputTo({ path: `${dir.path}/fifo` }),
      Failure,
      `Cannot write to ${dir.path}/fifo: a FIFO that nobody reads`,
    );
  },
});

Deno.test({
  ...UNIX,
  name: "Output fails when its path is a socket",
  async fn() {
    using dir = tempDir();
    const path = `${dir.path}/socket`;
    using _listener = Deno.listen({ transport: "unix", path });
    assertThrows(() => outputTo({ path }), Failure, `Cannot write to ${path}: a socket`);
    await turn();
  },
});

Deno.test({
  ...UNIX,
  name: "Output writes to a FIFO until its reader has gone",
  async fn() {
    using dir = tempDir();
    const path = `${dir.path}/fifo`;
    makeFifo(path);
    const reader = readerOf(path);
    using output = outputTo({ path, rotate: { sizeBytes: 1, keep: 1 } }).output;
    for (const text of ["one\n", "two\n"]) {
      await output.write(encode(text), true);
      assertEquals(reader.read(), text);
    }
    reader[Symbol.dispose]();
    await assertRejects(
      () => output.write(encode("three\n"), false),
      Failure,
      `Cannot write to ${path}: broken pipe`,
    );
    assert(!exists(`${path}.1`));
  },
});

Deno.test({
  ...UNIX,
  name: "Output.stop() gives up a FIFO whose reader takes nothing",
  async fn() {
    using dir = tempDir();
    makeFifo(`${dir.path}/fifo`);
    using reader = readerOf(`${dir.path}/fifo`);
    const { output } = outputTo({ path: `${dir.path}/fifo` });
    const writing = output.write(new Uint8Array(200_000), false);
    const lost = assertRejects(() => writing, Failure, "nobody takes it; what was not written");
    // As much as a pipe holds.
    await untilTrue(() => output.writtenBytes === 65_536);
    output.stop();
    await lost;
    output[Symbol.dispose]();
    // The thread that is still writing comes to an end.
    while (reader.read() !== "") await turn();
    await turn();
  },
});

Deno.test({
  ...UNIX,
  name: "Output says that a device is full, and gives up when it ends",
  async fn() {
    const { output, said } = outputTo({ path: "/dev/full", rotate: { sizeBytes: 1, keep: 1 } });
    using _ = output;
    const writing = output.write(encode("one\n"), true);
    output.stop();
    await assertRejects(
      () => writing,
      Failure,
      "Cannot write to /dev/full: no space left on device; what was not written is lost",
    );
    assertEquals(said, [
      "earshot: Cannot write to /dev/full: no space left on device; clients wait",
    ]);
  },
});

// -- Opening anew --

Deno.test({
  ...FILES,
  name: "Output.reopen() opens the file anew before the next record",
  async fn() {
    using dir = tempDir();
    const path = `${dir.path}/log`;
    using output = outputTo({ path }).output;
    await output.write(encode("one\n"), true);
    rename(path, `${dir.path}/old`);
    await output.write(encode("two\n"), true);
    output.reopen();
    assert(exists(path), "Only the next record makes the file");
    await output.write(encode("three\n"), true);
    assertEquals(listing(dir.path), { log: "three\n", old: "one\ntwo\n" });
  },
});

Deno.test({
  ...FILES,
  name: "Output.reopen() waits for the write under way",
  async fn() {
    using dir = tempDir();
    const path = `${dir.path}/log`;
    using output = outputTo({ path }).output;
    const bytes = encode(numbered(10_000).join(""));
    const writing = output.write(bytes, false);
    rename(path, `${dir.path}/old`);
    for (let storm = 0; storm < 100; storm++) output.reopen();
    await writing;
    await output.write(encode("next\n"), true);
    assertEquals(listing(dir.path), { log: "next\n", old: decode(bytes) });
  },
});

Deno.test({
  ...UNIX,
  name: "Output.reopen() keeps the old file when the new one cannot be opened",
  async fn() {
    using dir = tempDir();
    const path = `${dir.path}/log`;
    const { output, said } = outputTo({ path });
    using _ = output;
    await output.write(encode("one\n"), true);
    rename(path, `${dir.path}/old`);
    makeFifo(path);
    output.reopen();
    await output.write(encode("two\n"), true);
    assertEquals(reads(`${dir.path}/old`), "one\ntwo\n");
    assertEquals(said, [
      `earshot: Cannot write to ${path}: a FIFO that nobody reads; the old file stays open`,
    ]);
  },
});

for (const isInline of [true, false]) {
  Deno.test({
    ...FILES,
    name: `Output.reopen() tears no record while the disk is full, isInline ${isInline}`,
    async fn() {
      using dir = tempDir();
      using clock = new Clock();
      using _disk = crampedDisk(10);
      const { output, said } = outputTo({ path: `${dir.path}/log` });
      using _output = output;
      const writing = output.write(encode("line 1\nline 2\nline 3\n"), isInline);
      await clock.pass(10);
      assertEquals(reads(`${dir.path}/log`), "line 1\nlin");
      rename(`${dir.path}/log`, `${dir.path}/old`);
      output.reopen();
      await clock.settle();
      await writing;
      assertEquals(listing(dir.path), { log: "line 2\nline 3\n", old: "line 1\n" });
      assertEquals(said, [
        `earshot: Cannot write to ${dir.path}/log: no space left on device; clients wait`,
        `earshot: ${dir.path}/log works again`,
      ]);
    },
  });
}

Deno.test({
  ...FILES,
  name: "Output.stop() leaves whole records in a file whose disk stays full",
  async fn() {
    using dir = tempDir();
    using clock = new Clock();
    using _disk = crampedDisk(10);
    const { output } = outputTo({ path: `${dir.path}/log` });
    using _output = output;
    const writing = output.write(encode("line 1\nline 2\nline 3\n"), true);
    writing.catch(() => {});
    await clock.pass(10);
    assertEquals(reads(`${dir.path}/log`), "line 1\nlin");
    output.stop();
    await clock.pass(1500);
    await assertRejects(() => writing, Failure, "what was not written is lost");
    assertEquals(reads(`${dir.path}/log`), "line 1\n");
  },
});

Deno.test({
  ...FILES,
  name: "Output.reopen() does not say that a disk works which is still full",
  async fn() {
    using dir = tempDir();
    using clock = new Clock();
    using disk = crampedDisk(10, 10);
    const { output, said } = outputTo({ path: `${dir.path}/log` });
    using _output = output;
    const writing = output.write(encode("line 1\nline 2\nline 3\n"), true);
    await clock.pass(10);
    output.reopen();
    await clock.pass(10);
    assertEquals(said, [
      `earshot: Cannot write to ${dir.path}/log: no space left on device; clients wait`,
    ]);
    disk.files[1]!.roomBytes = Infinity;
    await clock.pass(1000);
    await writing;
    assertEquals(said.slice(1), [`earshot: ${dir.path}/log works again`]);
    assertEquals(reads(`${dir.path}/log`), "line 1\nline 2\nline 3\n");
  },
});

Deno.test({
  ...FILES,
  name: "Output.reopen() goes on within a record when the new file fails, too",
  async fn() {
    using dir = tempDir();
    using clock = new Clock();
    using disk = crampedDisk(10);
    const { output, said } = outputTo({ path: `${dir.path}/log` });
    using _output = output;
    const writing = output.write(encode("line 1\nline 2\n"), true);
    await clock.pass(10);
    rename(`${dir.path}/log`, `${dir.path}/old`);
    makeDir(`${dir.path}/log`);
    output.reopen();
    await clock.settle();
    disk.files[0]!.roomBytes = Infinity;
    await clock.pass(1000);
    await writing;
    assertEquals(reads(`${dir.path}/old`), "line 1\nline 2\n");
    assertEquals(said.length, 3);
  },
});

Deno.test({
  ...FILES,
  name: "Output.reopen() leaves alone what others have written behind a torn record",
  async fn() {
    using dir = tempDir();
    using clock = new Clock();
    using _disk = crampedDisk(10);
    using output = outputTo({ path: `${dir.path}/log` }).output;
    const writing = output.write(encode("line 1\nline 2\n"), true);
    await clock.pass(10);
    rename(`${dir.path}/log`, `${dir.path}/old`);
    put(`${dir.path}/old`, "\nanother's\n", { append: true });
    output.reopen();
    await clock.settle();
    await writing;
    assertEquals(listing(dir.path), { log: "e 2\n", old: "line 1\nlin\nanother's\n" });
  },
});

Deno.test({
  ...FILES,
  name: "Output.reopen() does not wait after a write that fails while it is under way",
  async fn() {
    using dir = tempDir();
    using clock = new Clock();
    const [first, second] = [new GatedOutput(), new GatedOutput()];
    const files = [first, second];
    using _open = replaced("openSync", () => Object.assign(files.shift()!, { close() {} }));
    const { output } = outputTo({ path: `${dir.path}/log` });
    const writing = output.write(encode("line 1\n"), false);
    await first.size();
    output.reopen();
    await first.fail(noSpace());
    await clock.settle();
    assertEquals(files.length, 0);
    await second.take();
    await writing;
    assertEquals([first.out.text, second.out.text], ["", "line 1\n"]);
  },
});

// -- Files that are gone --

/** The clock goes on far enough for another look. */
const LOOK_MS = 250;

for (const isInline of [true, false]) {
  Deno.test({
    ...FILES,
    name: `Output makes a deleted file anew before the next record, isInline ${isInline}`,
    async fn() {
      using dir = tempDir();
      using clock = new Clock();
      const path = `${dir.path}/log`;
      const { output, said } = outputTo({ path });
      using _ = output;
      await output.write(encode("one\n"), isInline);
      remove(path);
      await clock.pass(LOOK_MS);
      await output.write(encode("two\n"), isInline);
      await output.write(encode("six\n"), isInline);
      assertEquals(listing(dir.path), { log: "two\nsix\n" });
      assertEquals(said, [`earshot: ${path} was gone and is made anew`]);
    },
  });
}

Deno.test({
  ...FILES,
  name: "Output follows when its file was moved and another one is in its place",
  async fn() {
    using dir = tempDir();
    using clock = new Clock();
    const path = `${dir.path}/log`;
    using output = outputTo({ path }).output;
    await output.write(encode("one\n"), true);
    rename(path, `${dir.path}/log.1`);
    put(path, "by logrotate\n");
    await clock.pass(LOOK_MS);
    await output.write(encode("two\n"), true);
    assertEquals(listing(dir.path), { log: "by logrotate\ntwo\n", "log.1": "one\n" });
  },
});

Deno.test({
  ...UNIX,
  name: "Output follows a symbolic link that leads to another file",
  async fn() {
    using dir = tempDir();
    using clock = new Clock();
    const path = `${dir.path}/log`;
    for (const name of ["a", "b"]) put(`${dir.path}/${name}`, "");
    link("a", path);
    using output = outputTo({ path }).output;
    await output.write(encode("one\n"), true);
    remove(path);
    link("b", path);
    await clock.pass(LOOK_MS);
    await output.write(encode("two\n"), true);
    assertEquals([reads(`${dir.path}/a`), reads(`${dir.path}/b`)], ["one\n", "two\n"]);
  },
});

Deno.test({
  ...FILES,
  name: "Output.look() makes a deleted file anew without a record",
  async fn() {
    using dir = tempDir();
    using clock = new Clock();
    const path = `${dir.path}/log`;
    const { output, said } = outputTo({ path, rotate: { sizeBytes: 5, keep: 1 } });
    using _ = output;
    await output.write(encode("one\n"), true);
    output.look(clock.nowMs);
    remove(path);
    await clock.pass(LOOK_MS);
    output.look(clock.nowMs);
    assertEquals(listing(dir.path), { log: "" });
    await output.write(encode("two\n"), true);
    assertEquals(listing(dir.path), { log: "two\n" });
    assertEquals(said.length, 1);
  },
});

Deno.test({
  ...FILES,
  name: "Output waits when a deleted file cannot be made anew, and loses nothing",
  async fn() {
    using dir = tempDir();
    using clock = new Clock();
    makeDir(`${dir.path}/logs`);
    const path = `${dir.path}/logs/log`;
    const { output, said } = outputTo({ path });
    using _ = output;
    await output.write(encode("one\n"), true);
    remove(`${dir.path}/logs`, { recursive: true });
    await clock.pass(LOOK_MS);
    for (let i = 0; i < 3; i++) output.look(clock.nowMs);
    assertEquals(output.trouble(clock.nowMs), `Cannot write to ${path}: no such file or directory`);
    const writing = output.write(encode("two\n"), true);
    await clock.pass(5000);
    makeDir(`${dir.path}/logs`);
    await clock.pass(1000);
    await writing;
    assertEquals(reads(path), "two\n");
    assertEquals(said, [
      `earshot: Cannot write to ${path}: no such file or directory; clients wait`,
      `earshot: ${path} was gone and is made anew`,
      `earshot: ${path} works again`,
    ]);
  },
});

Deno.test({
  ...FILES,
  name: "Output goes on in a moved file while there cannot be a new one",
  async fn() {
    using dir = tempDir();
    using clock = new Clock();
    makeDir(`${dir.path}/logs`);
    const path = `${dir.path}/logs/log`;
    const { output, said } = outputTo({ path });
    using _ = output;
    await output.write(encode("one\n"), true);
    rename(`${dir.path}/logs`, `${dir.path}/old`);
    for (const text of ["two\n", "six\n"]) {
      await clock.pass(LOOK_MS);
      await output.write(encode(text), true);
    }
    makeDir(`${dir.path}/logs`);
    await clock.pass(LOOK_MS);
    await output.write(encode("ten\n"), true);
    assertEquals([reads(`${dir.path}/old/log`), reads(path)], ["one\ntwo\nsix\n", "ten\n"]);
    assertEquals(said, [
      `earshot: Cannot write to ${path}: no such file or directory; the old file stays open`,
      `earshot: ${path} was gone and is made anew`,
    ]);
  },
});

Deno.test({
  ...FILES,
  name: "Output goes on when its file is deleted while the disk is full",
  async fn() {
    using dir = tempDir();
    using clock = new Clock();
    using _disk = crampedDisk(10);
    const path = `${dir.path}/log`;
    const { output, said } = outputTo({ path });
    using _ = output;
    const writing = output.write(encode("line 1\nline 2\nline 3\n"), true);
    await clock.pass(10);
    remove(path);
    await clock.pass(1000);
    await writing;
    assertEquals(reads(path), "line 2\nline 3\n");
    assertEquals(said, [
      `earshot: Cannot write to ${path}: no space left on device; clients wait`,
      `earshot: ${path} was gone and is made anew`,
      `earshot: ${path} works again`,
    ]);
  },
});

/** A file whose handle becomes stale when `isStale` says so. */
function staleFiles(isStale: () => boolean) {
  const open = Deno.openSync;
  return replaced("openSync", (path: string, options: Deno.OpenOptions) => {
    const file = open(path, options);
    const writeSync = file.writeSync.bind(file);
    const error = Object.assign(new Error("Stale file handle (os error 116)"), { code: "ESTALE" });
    return Object.assign(file, {
      writeSync(bytes: Uint8Array) {
        if (isStale()) throw error;
        return writeSync(bytes.subarray(0, 10));
      },
    });
  });
}

Deno.test({
  ...FILES,
  name: "Output opens a file anew whose handle is stale, and begins it with a whole record",
  async fn() {
    using dir = tempDir();
    using clock = new Clock();
    const path = `${dir.path}/log`;
    let writes = 0;
    using _files = staleFiles(() => ++writes === 2);
    const { output, said } = outputTo({ path });
    using _ = output;
    await output.write(encode("line 1\nline 2\nline 3\n"), true);
    assertEquals(reads(path), "line 1\nlinline 2\nline 3\n");
    assertEquals(said, [`earshot: ${path} was gone and is made anew`]);
    assertEquals(clock.timers, 0);
  },
});

Deno.test({
  ...FILES,
  name: "Output waits while handles become stale as soon as they are opened",
  async fn() {
    using dir = tempDir();
    using clock = new Clock();
    let isStale = true;
    using _files = staleFiles(() => isStale);
    const { output, said } = outputTo({ path: `${dir.path}/log` });
    using _ = output;
    const writing = output.write(encode("one\n"), true);
    await clock.pass(2500);
    isStale = false;
    await clock.pass(1000);
    await writing;
    assertEquals(reads(`${dir.path}/log`), "one\n");
    assertEquals(said.filter((line) => line.endsWith("clients wait")).length, 1);
  },
});

Deno.test({
  ...FILES,
  name: "Output never looks without the permission to read, and asks nobody for it",
  permissions: { read: false, write: true },
  async fn() {
    const path = await Deno.makeTempFile();
    using clock = new Clock();
    {
      using output = outputTo({ path }).output;
      await output.write(encode("one\n"), true);
      remove(path);
      await clock.pass(LOOK_MS);
      await output.write(encode("two\n"), true);
    }
    assertThrows(() => remove(path), Deno.errors.NotFound);
  },
});

// -- Rotation --

/** Writes records and returns the texts of all files, oldest first. */
async function writeRecords(path: string, rotate: Rotation, writes: Iterable<string>) {
  const { output, said } = outputTo({ path, rotate });
  using _ = output;
  let isInline = false;
  for (const text of writes) await output.write(encode(text), isInline = !isInline);
  return { texts: textsOf(path), said };
}

function textsOf(path: string): string[] {
  const texts = [reads(path)];
  for (let i = 1; exists(`${path}.${i}`); i++) texts.unshift(reads(`${path}.${i}`));
  return texts;
}

Deno.test({
  ...FILES,
  name: "Output rotates hundreds of times without losing, doubling or mixing a line",
  async fn() {
    using dir = tempDir();
    const random = randomNumbers(1);
    const lines = numbered(3000);
    const writes: string[] = [];
    for (let at = 0; at < lines.length;) {
      const count = 1 + random(9);
      writes.push(lines.slice(at, at + count).join(""));
      at += count;
    }
    const { texts, said } = await writeRecords(
      `${dir.path}/log`,
      { sizeBytes: 100, keep: 1000 },
      writes,
    );
    assert(texts.length > 250, `${texts.length} files`);
    for (const text of texts) assert(text.length <= 100 && text.endsWith("\n"));
    assertEquals(texts.join(""), lines.join(""));
    assertEquals(said, []);
    assertEquals(Object.keys(listing(dir.path)).length, texts.length);
  },
});

Deno.test({
  ...FILES,
  name: "Output keeps as many old files as it should, the newest",
  async fn() {
    using dir = tempDir();
    const { texts, said } = await writeRecords(
      `${dir.path}/log`,
      { sizeBytes: 20, keep: 3 },
      numbered(500),
    );
    assertEquals(texts, [
      "line 492\nline 493\n",
      "line 494\nline 495\n",
      "line 496\nline 497\n",
      "line 498\nline 499\n",
    ]);
    assertEquals(said, []);
    assertEquals(Object.keys(listing(dir.path)), ["log", "log.1", "log.2", "log.3"]);
  },
});

Deno.test({
  ...FILES,
  name: "Output counts the size that its file has at the start",
  async fn() {
    using dir = tempDir();
    put(`${dir.path}/log`, "x".repeat(20));
    const { texts } = await writeRecords(`${dir.path}/log`, { sizeBytes: 20, keep: 1 }, ["one\n"]);
    assertEquals(texts, ["x".repeat(20), "one\n"]);
  },
});

Deno.test({
  ...FILES,
  name: "Output fills a file to the very byte",
  async fn() {
    using dir = tempDir();
    const rotate = { sizeBytes: 8, keep: 9 };
    const { texts } = await writeRecords(`${dir.path}/log`, rotate, ["one\n", "two\n", "six\n"]);
    assertEquals(texts, ["one\ntwo\n", "six\n"]);
  },
});

Deno.test({
  ...FILES,
  name: "Output gives a write that is larger than the size a file of its own",
  async fn() {
    using dir = tempDir();
    const large = `${"x".repeat(99)}\n`;
    const writes = [large, "a\n", large, large, "b\n", "c\n"];
    const { texts } = await writeRecords(`${dir.path}/log`, { sizeBytes: 10, keep: 9 }, writes);
    assertEquals(texts, [large, "a\n", large, large, "b\nc\n"]);
  },
});

Deno.test({
  ...FILES,
  name: "Output shifts old files only up to the first gap",
  async fn() {
    using dir = tempDir();
    for (const name of ["log", "log.1", "log.3"]) put(`${dir.path}/${name}`, name);
    await writeRecords(`${dir.path}/log`, { sizeBytes: 3, keep: 5 }, ["new"]);
    assertEquals(listing(dir.path), {
      log: "new",
      "log.1": "log",
      "log.2": "log.1",
      "log.3": "log.3",
    });
  },
});

Deno.test({
  ...FILES,
  name: "Output leaves what lies beyond the number that it keeps",
  async fn() {
    using dir = tempDir();
    for (const name of ["log", "log.1", "log.2", "log.3"]) {
      put(`${dir.path}/${name}`, name);
    }
    await writeRecords(`${dir.path}/log`, { sizeBytes: 3, keep: 1 }, ["new"]);
    assertEquals(listing(dir.path), {
      log: "new",
      "log.1": "log",
      "log.2": "log.2",
      "log.3": "log.3",
    });
  },
});

Deno.test({
  ...FILES,
  name: "Output begins a new file when the old one was renamed by somebody else",
  async fn() {
    using dir = tempDir();
    const { output, said } = outputTo({
      path: `${dir.path}/log`,
      rotate: { sizeBytes: 5, keep: 5 },
    });
    using _ = output;
    await output.write(encode("one\n"), true);
    rename(`${dir.path}/log`, `${dir.path}/moved`);
    await output.write(encode("two\n"), true);
    assertEquals(listing(dir.path), { log: "two\n", moved: "one\n" });
    assertEquals(said, []);
  },
});

Deno.test({
  ...FILES,
  name: "Output does not rotate a file that was truncated meanwhile",
  async fn() {
    using dir = tempDir();
    const { output } = outputTo({ path: `${dir.path}/log`, rotate: { sizeBytes: 10, keep: 5 } });
    using _ = output;
    await output.write(encode("line 1\n"), true);
    truncate(`${dir.path}/log`, 0);
    await output.write(encode("line 2\n"), true);
    await output.write(encode("line 3\n"), true);
    assertEquals(listing(dir.path), { log: "line 3\n", "log.1": "line 2\n" });
  },
});

Deno.test({
  ...FILES,
  name: "Output rotates when only a symbolic link is at its path",
  async fn() {
    using dir = tempDir();
    makeDir(`${dir.path}/far`);
    put(`${dir.path}/far/log`, "old\n");
    link("far/log", `${dir.path}/log`);
    const { texts } = await writeRecords(`${dir.path}/log`, { sizeBytes: 4, keep: 2 }, [
      "one\n",
      "two\n",
    ]);
    assertEquals(texts, ["old\n", "one\n", "two\n"]);
  },
});

Deno.test({
  ...FILES,
  name: "Output rotates after it was opened anew, too",
  async fn() {
    using dir = tempDir();
    const { output } = outputTo({ path: `${dir.path}/log`, rotate: { sizeBytes: 8, keep: 5 } });
    using _ = output;
    await output.write(encode("one\n"), true);
    rename(`${dir.path}/log`, `${dir.path}/moved`);
    output.reopen();
    for (const text of ["two\n", "six\n", "ten\n"]) await output.write(encode(text), true);
    assertEquals(listing(dir.path), { log: "ten\n", "log.1": "two\nsix\n", moved: "one\n" });
  },
});

Deno.test({
  ...FILES,
  name: "Output does not rotate within a write that a full disk has interrupted",
  async fn() {
    using dir = tempDir();
    using clock = new Clock();
    using disk = crampedDisk(25);
    const { output } = outputTo({ path: `${dir.path}/log`, rotate: { sizeBytes: 30, keep: 5 } });
    using _ = output;
    await output.write(encode("line 1\n"), true);
    const writing = output.write(encode("line 2\nline 3\nline 4\n"), true);
    await clock.pass(10);
    disk.files[0]!.roomBytes = Infinity;
    await clock.pass(1000);
    await writing;
    await output.write(encode("line 5\n"), true);
    assertEquals(listing(dir.path), {
      log: "line 5\n",
      "log.1": "line 1\nline 2\nline 3\nline 4\n",
    });
  },
});

Deno.test({
  ...FILES,
  name: "Output does not rotate within a record when it could not be opened anew",
  async fn() {
    using dir = tempDir();
    using clock = new Clock();
    using disk = crampedDisk(10);
    const { output } = outputTo({ path: `${dir.path}/log`, rotate: { sizeBytes: 12, keep: 5 } });
    using _ = output;
    const writing = output.write(encode("line 1\nline 2\n"), true);
    await clock.pass(10);
    const { openSync: open } = Deno;
    using _failing = replaced("openSync", failingAt(0, open));
    output.reopen();
    await clock.settle();
    disk.files[0]!.roomBytes = Infinity;
    await clock.pass(1000);
    await writing;
    assertEquals(listing(dir.path), { log: "line 1\nline 2\n" });
  },
});

Deno.test({
  ...FILES,
  name: "Output leaves a directory in the way, says so once, and tries again",
  async fn() {
    using dir = tempDir();
    makeDir(`${dir.path}/log.2`);
    put(`${dir.path}/log.1`, "old\n");
    const { output, said } = outputTo({
      path: `${dir.path}/log`,
      rotate: { sizeBytes: 4, keep: 5 },
    });
    using _ = output;
    for (const text of ["one\n", "two\n", "six\n"]) await output.write(encode(text), true);
    assertEquals(listing(dir.path), { log: "one\ntwo\nsix\n", "log.1": "old\n", "log.2": "" });
    assertEquals(said, [
      `earshot: Cannot rotate ${dir.path}/log: ${dir.path}/log.2 is a directory`,
    ]);
    remove(`${dir.path}/log.2`);
    await output.write(encode("ten\n"), true);
    assertEquals(listing(dir.path), { log: "ten\n", "log.1": "one\ntwo\nsix\n", "log.2": "old\n" });
    makeDir(`${dir.path}/log.3`);
    await output.write(encode("new\n"), true);
    assertEquals(said.length, 2);
  },
});

Deno.test({
  ...FILES,
  name: "Output leaves a file in the way of the new one, but not what a killed rotation left",
  async fn() {
    using dir = tempDir();
    put(`${dir.path}/log.new`, "mine");
    const { output, said } = outputTo({
      path: `${dir.path}/log`,
      rotate: { sizeBytes: 4, keep: 5 },
    });
    using _ = output;
    for (const text of ["one\n", "two\n"]) await output.write(encode(text), true);
    assertEquals(listing(dir.path), { log: "one\ntwo\n", "log.new": "mine" });
    assertEquals(said, [
      `earshot: Cannot rotate ${dir.path}/log: ${dir.path}/log.new is in the way`,
    ]);
    truncate(`${dir.path}/log.new`, 0);
    await output.write(encode("six\n"), true);
    assertEquals(listing(dir.path), { log: "six\n", "log.1": "one\ntwo\n" });
  },
});

Deno.test({
  ...FILES,
  name: "Output undoes a rotation that fails, wherever it does",
  async fn() {
    using dir = tempDir();
    const path = `${dir.path}/log`;
    const before = { log: "abc\n", "log.1": "old 1", "log.2": "old 2", "log.3": "beyond" };
    // The renames of log.2, log.1, log and log.new, and the removal of the oldest.
    for (let call = 0; call < 5; call++) {
      for (const [name, text] of Object.entries(before)) {
        put(`${dir.path}/${name}`, text);
      }
      const { output, said } = outputTo({ path, rotate: { sizeBytes: 4, keep: 2 } });
      using _ = output;
      {
        using _rename = replaced("renameSync", failingAt(call < 4 ? call : Infinity, rename));
        using _remove = replaced("removeSync", failingAt(call - 4, remove));
        await output.write(encode("one\n"), true);
      }
      assertEquals(listing(dir.path), { ...before, log: "abc\none\n" });
      assertEquals(said, [`earshot: Cannot rotate ${path}: permission denied`]);
      await output.write(encode("two\n"), true);
      assertEquals(listing(dir.path), {
        ...before,
        log: "two\n",
        "log.1": "abc\none\n",
        "log.2": "old 1",
      });
    }
  },
});

Deno.test({
  ...UNIX,
  name: "Output never rotates what is no regular file",
  async fn() {
    const { output, said } = outputTo({ path: "/dev/null", rotate: { sizeBytes: 1, keep: 1 } });
    using _ = output;
    for (const text of numbered(3)) await output.write(encode(text), true);
    assertEquals([output.writtenBytes, said], [21, []]);
  },
});

for (const name of ["read", "write"] as const) {
  Deno.test({
    ...FILES,
    name: `Output fails when it may not ${name} what it rotates`,
    permissions: { read: name !== "read", write: name !== "write" },
    fn() {
      assertThrows(
        () => outputTo({ path: "log", rotate: { sizeBytes: 1, keep: 1 } }),
        Failure,
        `Cannot rotate log: run again with --allow-${name}`,
      );
    },
  });
}

Deno.test({
  name: "Output fails when it may not write its file",
  permissions: { write: false },
  fn() {
    assertThrows(
      () => outputTo({ path: "log" }),
      Failure,
      "Cannot write to log: run again with --allow-write",
    );
  },
});
