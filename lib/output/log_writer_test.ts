import { assert, assertEquals } from "@std/assert";
import { encode, NO_BYTES } from "../bytes.ts";
import { Log } from "../records/log.ts";
import { RawFormat } from "../records/raw.ts";
import { upTo } from "../../tests/support/data.ts";
import { turn } from "../../tests/support/waiting.ts";
import { LogWriter, type LogWriterOptions, type Outlet } from "./log_writer.ts";

Deno.test.sanitizer({ ops: true, resources: true });

interface Write {
  readonly bytes: number;
  /** Whether it was asked for without another thread. */
  readonly isInline: boolean;
  settle(error?: Error): void;
}

/** An outlet with records of `log`, whose writes wait until the test settles them. */
function outletOf(log: Log, writes: Write[]): Outlet {
  return {
    records: {
      get length() {
        return log.length;
      },
      takeParts: () => [{ bytes: log.take() }],
    },
    output: {
      isFile: false,
      writtenBytes: 0,
      trouble: () => undefined,
      reopen: () => {},
      look: () => {},
      stop: () => {},
      writeParts(parts, isInline) {
        const { promise, resolve, reject } = Promise.withResolvers<void>();
        const settle = (error?: Error) => error ? reject(error) : resolve();
        writes.push({ bytes: parts[0]!.bytes.length, isInline, settle });
        return promise;
      },
    },
  };
}

/** A writer whose writes wait until the test settles them. */
function writerWith(options: Partial<LogWriterOptions> = {}) {
  const log = new Log(new RawFormat());
  const notices = new Log(new RawFormat());
  const [writes, said, failures]: [Write[], string[], string[]] = [[], [], []];
  const writer = new LogWriter({
    outlets: [outletOf(log, writes)],
    notices,
    isRaw: false,
    say: (message) => said.push(message),
    said: () => Promise.resolve(),
    onFailure: () => failures.push("failed"),
    ...options,
  });
  writer.beginRound(0);
  return {
    writer,
    writes,
    said,
    failures,
    log: (bytes: number) => append(log, new Uint8Array(bytes)),
    notice: (text: string) => append(notices, encode(text)),
    /** Lets that many talk, once each. */
    talk(count: number): void {
      for (const _ of upTo(count)) writer.talked({ talkedAtMs: -1 });
    },
  };
}

function append(log: Log, bytes: Uint8Array): void {
  log.received(NO_BYTES, bytes, 0, bytes.length, true, 0);
}

/** Whether a flush is over although its write is not. */
async function isOver(flushing: Promise<number>): Promise<boolean> {
  let over = false;
  flushing.then(() => over = true);
  await turn();
  return over;
}

const [BULK, SMALL] = [64 * 1024, 1000];

for (
  const [what, talkers, bytes, isRaw, expected] of [
    ["much of few while the next round is read", 2, BULK, false, { isInline: false, over: true }],
    ["little of few at once", 2, SMALL, false, { isInline: true, over: false }],
    ["much of few at once if it is raw", 2, BULK, true, { isInline: true, over: true }],
    ["what many said beside the loop, and waits for it", 200, SMALL, false, {
      isInline: false,
      over: false,
    }],
  ] as const
) {
  Deno.test(`LogWriter.flush() writes ${what}`, async () => {
    const { writer, writes, log, talk } = writerWith({ isRaw });
    talk(talkers);
    log(bytes);
    const flushing = writer.flush();
    assertEquals(await isOver(flushing), expected.over);
    assertEquals(writes.map(({ bytes, isInline }) => ({ bytes, isInline })), [
      { bytes, isInline: expected.isInline },
    ]);
    writes[0]!.settle();
    await flushing;
  });
}

Deno.test("LogWriter.flush() writes rounds in order, one write at a time", async () => {
  const { writer, writes, log } = writerWith();
  log(BULK);
  await writer.flush();
  log(SMALL);
  const second = writer.flush();
  await turn();
  assertEquals(writes.length, 1);
  writes[0]!.settle();
  await turn();
  assertEquals(writes.map(({ bytes }) => bytes), [BULK, SMALL]);
  writes[1]!.settle();
  await second;
});

Deno.test("LogWriter.flush() writes nothing when nothing was said", async () => {
  const { writer, writes } = writerWith();
  await writer.flush();
  assertEquals(writes, []);
});

Deno.test("LogWriter wakes its owner when a write in the background fails, and knows why", async () => {
  const { writer, writes, log, failures } = writerWith();
  log(BULK);
  await writer.flush();
  assertEquals([writer.failure, writer.isLost], [undefined, false]);
  const error = new Deno.errors.BrokenPipe("Broken pipe");
  writes[0]!.settle(error);
  await turn();
  assertEquals([failures, writer.failure, writer.isLost], [["failed"], error, true]);
  await writer.settled();
});

Deno.test("LogWriter.flush() forgets records and notices when no output takes them", async () => {
  const { writer, writes, said, log, notice } = writerWith();
  log(SMALL);
  const flushing = writer.flush();
  writes[0]!.settle(new Deno.errors.BrokenPipe("Broken pipe"));
  await flushing;
  log(SMALL);
  notice("gone\n");
  await writer.flush();
  assertEquals([writes.length, writer.waitingBytes, said], [1, 0, []]);
});

Deno.test("LogWriter.flush() writes on to the output that lives when the other has failed", async () => {
  const logs = [new Log(new RawFormat()), new Log(new RawFormat())];
  const [broken, living]: [Write[], Write[]] = [[], []];
  const { writer } = writerWith({
    outlets: [outletOf(logs[0]!, broken), outletOf(logs[1]!, living)],
  });
  const error = new Deno.errors.BrokenPipe("Broken pipe");
  for (const round of upTo(3)) {
    for (const log of logs) append(log, new Uint8Array(SMALL));
    const flushing = writer.flush();
    if (round === 0) broken[0]!.settle(error);
    assertEquals(await isOver(flushing), false);
    living[round]!.settle();
    await flushing;
  }
  assertEquals([broken.length, living.length, writer.waitingBytes], [1, 3, 0]);
  assertEquals([writer.failure, writer.isLost], [error, false]);
});

Deno.test("LogWriter.flush() says how long nobody was listened to", async () => {
  const { writer, writes, log } = writerWith();
  log(SMALL);
  const flushing = writer.flush();
  const startedAtMs = performance.now();
  while (performance.now() < startedAtMs + 5) await turn();
  writes[0]!.settle();
  assert(await flushing >= 5);
});

Deno.test("LogWriter.isLong from 1 MiB of records or 32 KiB of notices on", () => {
  const records = writerWith();
  records.log(2 ** 20 - 1);
  assertEquals(records.writer.isLong, false);
  records.log(1);
  assertEquals([records.writer.isLong, records.writer.waitingBytes], [true, 2 ** 20]);
  const notices = writerWith();
  notices.notice("x".repeat(32 * 1024));
  assertEquals([notices.writer.isLong, notices.writer.waitingBytes], [true, 0]);
});

Deno.test("LogWriter.flush() says notices before it writes, and waits only for many", async () => {
  const { promise: said, resolve } = Promise.withResolvers<void>();
  const few = writerWith({ said: () => said });
  few.notice("one\ntwo\n");
  await few.writer.flush();
  assertEquals(few.said, ["one", "two"]);
  const many = writerWith({ said: () => said });
  many.notice("many\n".repeat(10_000));
  const flushing = many.writer.flush();
  assertEquals(await isOver(flushing), false);
  resolve();
  await flushing;
});

Deno.test("LogWriter.discard() forgets what waits", async () => {
  const { writer, writes, said, log, notice } = writerWith();
  log(SMALL);
  notice("gone\n");
  writer.discard();
  await writer.flush();
  assertEquals([writes, said], [[], []]);
});
