import { assert, assertEquals } from "@std/assert";
import { dirname } from "node:path";
import { encode } from "../lib/bytes.ts";
import { connectTo } from "./support/connections.ts";
import { noSpace } from "./support/disks.ts";
import { exists, tempDir } from "./support/files.ts";
import { replaced } from "./support/replaced.ts";
import { serve } from "./support/serving.ts";
import { untilTrue } from "./support/waiting.ts";
import { writeAll } from "../lib/io.ts";
import { FILES } from "./support/needs.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const CLIENTS = 8;
/** Lines that a client says at once. */
const STEP = 200;
const SIZE_BYTES = 16 * 1024;
/** The most that is written at once, with the records of the read that went over it. */
const MAX_ROUND_BYTES = 2 * 1024 * 1024;

interface Running extends Awaited<ReturnType<typeof serve>> {
  readonly path: string;
}

/** A server that rotates the file at `path` every {@linkcode SIZE_BYTES}. */
async function serveRotating(args: readonly string[]): Promise<Running> {
  const folder = tempDir();
  const path = `${folder.path}/log`;
  const rotate = ["--output", path, "--rotate-size", `${SIZE_BYTES}`, ...args];
  const running = await serve(["--time", "none", "--quiet", ...rotate]);
  return {
    ...running,
    path,
    async [Symbol.asyncDispose]() {
      await running[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    },
  };
}

/** Says numbered lines, a few hundred at a time, until there are `count`, or `isOver`. */
async function talk(
  port: number,
  name: string,
  count: number,
  isOver = () => false,
): Promise<number> {
  using conn = await connectTo(port);
  let said = 0;
  while (said < count && !isOver()) {
    const numbers = Array.from({ length: Math.min(STEP, count - said) }, (_, i) => said + i);
    await writeAll(conn, encode(numbers.map((n) => `${name} ${n} ${"-".repeat(40)}\n`).join("")));
    said += numbers.length;
  }
  await conn.closeWrite();
  while (await conn.read(new Uint8Array(1)) !== null);
  return said;
}

/** Resolves to how many lines each client has said. */
function talkAll({ port }: Running, count: number, isOver?: () => boolean): Promise<number[]> {
  return Promise.all(
    Array.from({ length: CLIENTS }, (_, i) => talk(port, `c${i}`, count, isOver)),
  );
}

/** Stops the server; then all is written. */
async function stop({ server }: Running): Promise<void> {
  server.stop();
  await server.finished;
}

/** The log's files, the oldest first. */
function filesOf(path: string): string[] {
  let last = 0;
  while (exists(`${path}.${last + 1}`)) last++;
  const old = Array.from({ length: last }, (_, i) => `${path}.${last - i}`);
  return [...old, path];
}

function textOf(path: string): Promise<string> {
  return Deno.readTextFile(path);
}

async function sizeOf(path: string): Promise<number> {
  return (await Deno.stat(path)).size;
}

/** Checks that the files together have every line of every client once, whole and in order. */
function assertComplete(files: readonly string[], said: readonly number[]): void {
  const next = new Map<string, number>();
  for (const file of files) {
    const text = Deno.readTextFileSync(file);
    assert(text === "" || text.endsWith("\n"), `${file} ends within a record`);
    for (const line of text.split("\n").slice(0, -1)) {
      const [, name = "", number] = /^#\d+ \S+ \| (c\d+) (\d+) -{40}$/.exec(line) ?? [];
      assertEquals(Number(number), next.get(name) ?? 0, `${file}: ${line}`);
      next.set(name, Number(number) + 1);
    }
  }
  assertEquals(said.map((_, i) => next.get(`c${i}`)), said);
}

/** No file could have taken the round that began the next one. */
function assertSizes(files: readonly string[]): void {
  for (const file of files) {
    const { size } = Deno.statSync(file);
    assert(size > 0 && size < MAX_ROUND_BYTES, `${file}: ${size} bytes`);
  }
}

Deno.test({
  ...FILES,
  name: "no record is lost, doubled or torn over hundreds of rotations under 8 clients",
  async fn() {
    await using running = await serveRotating(["--rotate-keep", "1000"]);
    const said = await talkAll(running, Infinity, () => exists(`${running.path}.150`));
    await stop(running);
    const files = filesOf(running.path);
    assertComplete(files, said);
    assertSizes(files);
    assertEquals(running.err.count("earshot: "), 0);
  },
});

Deno.test({
  ...FILES,
  name: "no record is lost when the file is opened anew between rotations",
  async fn() {
    await using running = await serveRotating(["--rotate-keep", "1000"]);
    const reloading = setInterval(() => running.server.reload(), 3);
    const said = await talkAll(running, Infinity, () => exists(`${running.path}.50`));
    clearInterval(reloading);
    await stop(running);
    assertComplete(filesOf(running.path), said);
    const reports = running.err.lines.filter((line) => line.startsWith("earshot: "));
    assertEquals(reports.filter((line) => line !== "earshot: SIGHUP: output opened anew"), []);
  },
});

Deno.test({
  ...FILES,
  name: "a file that others have moved is left to them, and the next is counted anew",
  async fn() {
    await using running = await serveRotating(["--rotate-keep", "1000"]);
    await talk(running.port, "c0", 20);
    await untilTrue(() => Deno.statSync(running.path).size > 0);
    await Deno.rename(running.path, `${running.path}.moved`);
    running.server.reload();
    await talk(running.port, "c0", 20);
    await stop(running);
    assertEquals((await textOf(`${running.path}.moved`)).split("\n").length, 21);
    assertEquals((await textOf(running.path)).split("\n").length, 21);
    assertEquals(filesOf(running.path), [running.path]);
  },
});

Deno.test({
  ...FILES,
  name: "only so many old files are kept as asked",
  async fn() {
    await using running = await serveRotating(["--rotate-keep", "3"]);
    const { path, err } = running;
    await talkAll(running, Infinity, () => exists(`${path}.3`));
    const oldest = await textOf(`${path}.3`);
    for (let i = 0; i < 5; i++) await talk(running.port, "c8", 2 * STEP);
    await stop(running);
    const names = await Array.fromAsync(Deno.readDir(dirname(path)), ({ name }) => name);
    assertEquals(names.sort(), ["log", "log.1", "log.2", "log.3"]);
    assert(oldest !== await textOf(`${path}.3`));
    assertSizes(filesOf(path));
    assertEquals(err.count("earshot: "), 0);
  },
});

Deno.test({
  ...FILES,
  name: "a rotation that fails is told once, and the old file goes on until it works",
  async fn() {
    await using running = await serveRotating(["--rotate-keep", "1000"]);
    await Deno.mkdir(`${running.path}.1`);
    const said = await talkAll(running, 1_000);
    const { length } = said;
    for (let i = 0; i < 5; i++) said[length + i] = await talk(running.port, `c${length + i}`, 1);
    const complaints = () => running.err.text.split("\n").filter((line) => /^earshot: /.test(line));
    assertEquals(complaints(), [
      `earshot: Cannot rotate ${running.path}: ${running.path}.1 is a directory`,
    ]);
    assert(await sizeOf(running.path) > 4 * SIZE_BYTES);
    await Deno.remove(`${running.path}.1`);
    said[length + 5] = await talk(running.port, `c${length + 5}`, 1);
    await stop(running);
    const files = filesOf(running.path);
    assertEquals(files, [`${running.path}.1`, running.path]);
    assertComplete(files, said);
    assertEquals((await textOf(running.path)).split("\n").length, 2);
    assertEquals(complaints().length, 1);
  },
});

/** Files whose disk is full at times: in the middle of what is to be written. */
function fullDisk(): Disposable {
  const open = Deno.openSync;
  let writes = 0;
  const isFull = () => [20, 60].includes(++writes);
  return replaced("openSync", (path: string, options: Deno.OpenOptions) => {
    const file = open(path, options);
    const [write, writeSync] = [file.write.bind(file), file.writeSync.bind(file)];
    const piece = (bytes: Uint8Array) => bytes.subarray(0, Math.ceil(bytes.length / 2));
    return Object.assign(file, {
      write: (bytes: Uint8Array) => isFull() ? Promise.reject(noSpace()) : write(piece(bytes)),
      writeSync(bytes: Uint8Array) {
        if (isFull()) throw noSpace();
        return writeSync(piece(bytes));
      },
    });
  });
}

Deno.test({
  ...FILES,
  name: "a full disk between rotations loses nothing, also when the file is moved meanwhile",
  async fn() {
    using _disk = fullDisk();
    await using running = await serveRotating(["--rotate-keep", "1000"]);
    const { path, err, server } = running;
    const moved = `${path}.moved`;
    let older = 0;
    const moving = setInterval(() => {
      if (exists(moved) || err.count("clients wait") === err.count("works again")) return;
      older = filesOf(path).length - 1;
      Deno.renameSync(path, moved);
      server.reload();
    }, 1);
    const hasRotated = () => exists(moved) && filesOf(path).length > older + 5;
    const said = await talkAll(running, Infinity, hasRotated);
    clearInterval(moving);
    await stop(running);
    const files = filesOf(path);
    assertComplete(files.toSpliced(older, 0, moved), said);
    assert(err.count("no space left on device; clients wait") > 0);
    assertEquals(err.count("works again"), err.count("clients wait"));
  },
});

Deno.test({
  ...FILES,
  name: "the size of a file that is there already counts",
  fn: async () => {
    using folder = tempDir();
    const path = `${folder.path}/log`;
    await Deno.writeTextFile(path, "x".repeat(SIZE_BYTES - 1) + "\n");
    const args = ["--time", "none", "--quiet", "--output", path, "--rotate-size", `${SIZE_BYTES}`];
    await using running = await serve(args);
    await talk(running.port, "c0", 1);
    await running.server[Symbol.asyncDispose]();
    assertEquals(await sizeOf(`${path}.1`), SIZE_BYTES);
    assert((await textOf(path)).includes("| c0 0 "));
  },
});
