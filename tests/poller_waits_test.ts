import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { Poller, POLLIN, POLLNVAL, select, Socket, type Source } from "../poller.ts";
import { untyped } from "./support/data.ts";
import { MemoryStream } from "./support/memory.ts";
import { closeAll, pollerOf, recvText } from "./support/sources.ts";
import { assertPending, turn } from "./support/waiting.ts";

Deno.test.sanitizer({ ops: true, resources: true });

// -- { signal } --

/** A signal that knows how many listeners it has. */
function countedSignal() {
  const controller = new AbortController();
  const { signal } = controller;
  const listeners = new Set<unknown>();
  const { addEventListener, removeEventListener } = signal;
  signal.addEventListener = (type: string, listener: EventListener) => {
    listeners.add(listener);
    addEventListener.call(signal, type, listener);
  };
  signal.removeEventListener = (type: string, listener: EventListener) => {
    listeners.delete(listener);
    removeEventListener.call(signal, type, listener);
  };
  return { controller, signal, listeners };
}

type Call = (
  source: Source,
  timeoutMs: number | undefined,
  signal: AbortSignal,
) => Promise<unknown>;

const bySelect: Call = (source, timeoutMs, signal) =>
  select([source], [], [], timeoutMs === undefined ? undefined : timeoutMs / 1000, { signal });

const byPoll: Call = async (source, timeoutMs, signal) => {
  using poller = pollerOf(source);
  return await poller.poll(timeoutMs, { signal });
};

for (const [name, wait] of [["select()", bySelect], ["Poller.poll()", byPoll]] as const) {
  for (const timeoutMs of [undefined, 0, 1000]) {
    Deno.test(`${name} rejects at once when aborted before (timeout ${timeoutMs})`, async () => {
      using source = new Socket(new MemoryStream("x"));
      const { controller, signal, listeners } = countedSignal();
      const reason = new SyntaxError("mine");
      controller.abort(reason);
      const error = await wait(source, timeoutMs, signal).catch((error) => error);
      assertEquals([error === reason, listeners.size], [true, 0]);
      assertEquals(await select([source], [], []), [[source], [], []]);
    });
  }

  for (const timeoutMs of [undefined, 60_000]) {
    Deno.test(`${name} rejects with the reason while it waits (timeout ${timeoutMs})`, async () => {
      const stream = new MemoryStream();
      using source = new Socket(stream);
      const { controller, signal, listeners } = countedSignal();
      const waiting = wait(source, timeoutMs, signal).catch((error) => error);
      await assertPending(waiting);
      assertEquals(listeners.size, 1);
      controller.abort("any value");
      assertEquals([await waiting, listeners.size], ["any value", 0]);
      stream.push("kept");
      assertEquals(await select([source], [], []), [[source], [], []]);
      assertEquals(recvText(source), "kept");
    });
  }

  Deno.test(`${name} leaves no listener on a signal that is never aborted`, async () => {
    const { signal, listeners } = countedSignal();
    for (const text of ["x", ""]) {
      using source = new Socket(new MemoryStream(text));
      await wait(source, 2, signal);
      assertEquals(listeners.size, 0);
    }
  });
}

Deno.test("Poller.poll() stays usable after it was aborted", async () => {
  const stream = new MemoryStream();
  using source = new Socket(stream);
  using poller = pollerOf(source);
  await assertRejects(() => poller.poll(null, { signal: AbortSignal.timeout(1) }), DOMException);
  stream.push("x");
  assertEquals(await poller.poll(null, { signal: new AbortController().signal }), [
    [source, POLLIN],
  ]);
});

Deno.test("select() and Poller.poll() reject a signal that is none", async () => {
  using poller = new Poller();
  for (const signal of [null, 1, {}, new EventTarget()]) {
    await assertRejects(() => poller.poll(0, { signal: untyped(signal) }), TypeError, "signal");
    await assertRejects(() => select([], [], [], 0, { signal: untyped(signal) }), TypeError);
  }
  assertEquals(await poller.poll(0, {}), []);
  assertEquals(await poller.poll(0, { signal: undefined }), []);
});

// -- Iteration --

/** Sources that are ready, in their order. */
async function readySources(...texts: string[]): Promise<Socket[]> {
  const sources = texts.map((text) => new Socket(new MemoryStream(text)));
  await select(sources, [], [], 0);
  return sources;
}

Deno.test("Poller iterates over entries in order of readiness, again and again", async () => {
  const [a, b] = await readySources("1", "2") as [Socket, Socket];
  using poller = pollerOf(a, b);
  const seen: [Source, number][] = [];
  for await (const entry of poller) {
    seen.push(entry);
    if (seen.length === 4) break;
  }
  assertEquals(seen, [[a, POLLIN], [b, POLLIN], [a, POLLIN], [b, POLLIN]]);
  assertEquals(await poller.poll(), [[a, POLLIN], [b, POLLIN]]);
  closeAll(a, b);
});

Deno.test("Poller's iteration leaves out what was unregistered or closed meanwhile", async () => {
  const [a, b, c, d] = await readySources("1", "2", "3", "4") as [Socket, Socket, Socket, Socket];
  using poller = pollerOf(a, b, c, d);
  const seen: [Source, number][] = [];
  for await (const entry of poller) {
    seen.push(entry);
    if (entry[0] === a && seen.length === 1) {
      poller.unregister(b);
      c.close();
    }
    if (entry[0] === c) break;
  }
  assertEquals(seen, [[a, POLLIN], [d, POLLIN], [a, POLLIN], [c, POLLNVAL]]);
  closeAll(a, b, d);
});

Deno.test("Poller's iteration ends when the poller is closed", async () => {
  using source = new Socket(new MemoryStream("x"));
  const poller = pollerOf(source);
  let turns = 0;
  for await (const _ of poller) {
    turns++;
    poller.close();
  }
  assertEquals(turns, 1);
  for await (const _ of poller) turns++;
  assertEquals(turns, 1);
});

Deno.test("Poller's iteration ends when the poller is closed while it waits", async () => {
  using source = new Socket(new MemoryStream());
  const poller = pollerOf(source);
  const next = poller[Symbol.asyncIterator]().next();
  await assertPending(next);
  poller.close();
  assertEquals(await next, { done: true, value: undefined });
});

Deno.test("Poller's iteration goes on when it is woken, and throws Busy beside a poll()", async () => {
  const stream = new MemoryStream();
  using source = new Socket(stream);
  using poller = pollerOf(source);
  const next = poller[Symbol.asyncIterator]().next();
  poller.wake();
  await assertPending(next);
  await assertRejects(() => poller[Symbol.asyncIterator]().next(), Deno.errors.Busy);
  stream.push("x");
  assertEquals((await next).value, [source, POLLIN]);
  await turn();
});

Deno.test("Poller.has() tells whether a source is registered", () => {
  using source = new Socket(new MemoryStream());
  const poller = new Poller();
  assert(!poller.has(source));
  poller.register(source);
  assert(poller.has(source));
  poller.close();
  assert(!poller.has(source));
  assertThrows(() => poller.has(untyped({})), TypeError);
});

/** Runs `work` by a clock that goes on by 5 ms whenever it is looked at; returns the delays of all timers. */
async function delaysOf(work: () => Promise<unknown>): Promise<unknown[]> {
  const { setTimeout } = globalThis;
  const { now } = performance;
  const delays: unknown[] = [];
  let nowMs = now.call(performance);
  performance.now = () => nowMs += 5;
  globalThis.setTimeout = Object.assign(
    (...args: Parameters<typeof setTimeout>) => {
      delays.push(args[1]);
      return setTimeout(...args);
    },
    setTimeout,
  );
  try {
    await work();
  } finally {
    performance.now = now;
    globalThis.setTimeout = setTimeout;
  }
  return delays;
}

// Deno warns of a negative one on stderr, and stands still where nobody reads that.
Deno.test("select() and Poller.poll() set no timer for a time that has passed", async () => {
  using source = new Socket({ read: () => new Promise(() => {}) });
  using poller = pollerOf(source);
  for (const timeoutMs of [1, 4, 6, 11]) {
    const delays = [
      ...await delaysOf(() => poller.poll(timeoutMs)),
      ...await delaysOf(() => select([source], [], [], timeoutMs / 1000)),
    ];
    assertEquals(delays.filter((delay) => Number(delay) < 0), []);
  }
});

for (const name of ["select()", "Poller.poll()"]) {
  Deno.test(`${name} waits on when others take what was there while it wakes`, async () => {
    const stream = new MemoryStream();
    using source = new Socket(stream);
    let heard = "";
    const hear = async () => {
      using poller = pollerOf(source);
      const wait = () =>
        name === "select()"
          ? select([source], [], [], 10).then(([readable]) => readable.length)
          : poller.poll(10_000).then((entries) => entries.length);
      while (heard.length < 40) {
        assertEquals(await wait(), 1, `after ${heard.length}`);
        try {
          heard += recvText(source, 1);
        } catch (error) {
          if (!(error instanceof Deno.errors.WouldBlock)) throw error;
        }
      }
    };
    const hearing = Promise.all([hear(), hear(), hear()]);
    for (let i = 0; i < 21; i++) {
      stream.push("ab");
      await turn();
    }
    await hearing;
  });
}

for (const [name, timeoutMs] of [["select()", 20], ["Poller.poll()", 20]] as const) {
  Deno.test(`${name} is over about when a timer of its time is, and never before`, async () => {
    using source = new Socket(new MemoryStream());
    using poller = pollerOf(source);
    const wait = () =>
      name === "select()" ? select([source], [], [], timeoutMs / 1000) : poller.poll(timeoutMs);
    const lateBy: number[] = [];
    for (let i = 0; i < 15; i++) {
      const startMs = performance.now();
      await new Promise((resolve) => setTimeout(resolve, timeoutMs));
      const timerMs = performance.now() - startMs;
      await wait();
      const waitMs = performance.now() - startMs - timerMs;
      assert(waitMs >= timeoutMs, `${waitMs} ms`);
      lateBy.push(waitMs - timerMs);
    }
    lateBy.sort((a, b) => a - b);
    // 2.5 if it looked afterwards; a busy machine delays some.
    assert(lateBy[4]! < 1.5, `${lateBy[4]} ms later than a timer`);
  });
}

Deno.test("Poller.poll() of a few milliseconds answers at once when something comes", async () => {
  const stream = new MemoryStream();
  using source = new Socket(stream);
  using poller = pollerOf(source);
  for (const timeoutMs of [1, 2, 3, 50]) {
    const waiting = poller.poll(timeoutMs);
    stream.push("x");
    assertEquals(await waiting, [[source, POLLIN]]);
    assertEquals(recvText(source), "x");
  }
});
