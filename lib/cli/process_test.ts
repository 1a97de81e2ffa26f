import { assert, assertEquals, assertMatch } from "@std/assert";
import { handleSignals, hasTerminal, processIo } from "./process.ts";
import { type Run, runProgram } from "../../tests/support/programs.ts";
import { untilTrue } from "../../tests/support/waiting.ts";
import { needs, PROC, UNIX } from "../../tests/support/needs.ts";

Deno.test.sanitizer({ ops: true, resources: true });

// -- Helpers --

const MODULE = new URL("./process.ts", import.meta.url).href;
const IMPORTS = `import { handleSignals, hasTerminal } from "${MODULE}";`;

function run(body: string, options?: Run) {
  return runProgram(IMPORTS, body, options);
}

// -- Terminals --

Deno.test({
  ...UNIX,
  name: "hasTerminal() is false without a terminal",
  async fn() {
    const { err } = await run("say(hasTerminal());");
    assertEquals(err, "false\n");
  },
});

Deno.test({
  ...needs("script"),
  name: "hasTerminal() is true with one, and after it has hung up",
  async fn() {
    const { out } = await run(
      `const said = Promise.withResolvers();
       using _ = handleSignals({ stop() {}, hangUp() { said.resolve(); return true; }, report() {} }, Deno.exit);
       Deno.writeTextFileSync("ready", "");
       await said.promise;
       Deno.writeTextFileSync("answer", [hasTerminal(), Deno.stdin.isTerminal()].join(" "));`,
      {
        permissions: ["--allow-write"],
        // Without the program that makes it, the terminal hangs up.
        shell: `script -qc "$RUN" /dev/null > /dev/null &
          until [ -e ready ]; do sleep 0.05; done
          kill -9 $!
          until [ -s answer ]; do sleep 0.05; done
          cat answer`,
      },
    );
    assertEquals(out, "true false");
  },
});

// -- Signals --

/** Listens in this process, which signals itself. */
function listening(hangUp: () => boolean) {
  const heard: string[] = [];
  const handlers = handleSignals({
    stop: () => void heard.push("stop"),
    hangUp: () => (heard.push("hangUp"), hangUp()),
    report: () => void heard.push("report"),
  }, (code) => void heard.push(`exit ${code}`));
  /** Signals, and waits until that is heard. */
  const signal = async (name: Deno.Signal, count = 1) => {
    const before = heard.length;
    Deno.kill(Deno.pid, name);
    await untilTrue(() => heard.length >= before + count);
    return heard.slice(before);
  };
  return { signal, [Symbol.dispose]: () => handlers[Symbol.dispose]() };
}

for (
  const [first, second, code] of [
    ["SIGINT", "SIGTERM", 143],
    ["SIGTERM", "SIGINT", 130],
    ["SIGTERM", "SIGTERM", 143],
  ] as const
) {
  // In a program of its own: the test runner takes SIGINT for itself.
  Deno.test({
    ...UNIX,
    name: `handleSignals() stops at ${first} and exits at once at a following ${second}`,
    async fn() {
      const { code: status, err } = await run(
        `const stop = () => { say("stop"); Deno.kill(Deno.pid, "${second}"); };
       handleSignals({ stop, hangUp: () => true, report() {} }, Deno.exit);
       Deno.kill(Deno.pid, "${first}");
       await new Promise((resolve) => setTimeout(resolve, 60_000));`,
        { permissions: ["--allow-run"] },
      );
      assertEquals([err, status], ["stop\n", code]);
    },
  });
}

Deno.test({
  ...UNIX,
  name: "handleSignals() tells of SIGHUP and SIGUSR2, however often they come",
  async fn() {
    using process = listening(() => true);
    for (let i = 0; i < 3; i++) {
      assertEquals(await process.signal("SIGHUP"), ["hangUp"]);
      assertEquals(await process.signal("SIGUSR2"), ["report"]);
    }
    assertEquals(await process.signal("SIGTERM"), ["stop"]);
  },
});

Deno.test({
  ...UNIX,
  name: "handleSignals() takes SIGHUP as a signal to stop where that is asked for",
  async fn() {
    using process = listening(() => false);
    assertEquals(await process.signal("SIGHUP", 2), ["hangUp", "stop"]);
    assertEquals(await process.signal("SIGHUP", 2), ["hangUp", "exit 129"]);
  },
});

Deno.test({
  ...UNIX,
  name: "handleSignals() leaves signals to the system when it is disposed",
  async fn() {
    const { code } = await run(
      `handleSignals({ stop() {}, hangUp: () => true, report() {} }, Deno.exit)[Symbol.dispose]();
     Deno.kill(Deno.pid, "SIGTERM");
     await new Promise((resolve) => setTimeout(resolve, 60_000));`,
      { permissions: ["--allow-run"], shell: "$RUN; exit $?" },
    );
    assertEquals(code, 143);
  },
});

Deno.test({
  ...PROC,
  name: "handleSignals() has a write fail where SIGXFSZ would end the process",
  async fn() {
    const { code, err } = await run(
      `using _ = handleSignals({ stop() {}, hangUp: () => true, report() {} }, Deno.exit);
       // Deno installs a handler beside the loop.
       const status = () => Deno.readTextFileSync("/proc/self/status");
       const isCaught = () => BigInt("0x" + /SigCgt:\\s+(\\w+)/.exec(status())[1]) >> 24n & 1n;
       while (!isCaught()) await new Promise((resolve) => setTimeout(resolve, 10));
       const limitSize = (limit) => {
         const args = ["--pid", String(Deno.pid), "--fsize=" + limit];
         new Deno.Command("prlimit", { args }).outputSync();
       };
       limitSize("100000:unlimited");
       try {
         Deno.writeFileSync("log", new Uint8Array(1_000_000));
       } finally {
         // Deno writes its cache at the end, when nobody catches the signal any more.
         limitSize("unlimited");
       }`,
      { permissions: ["--allow-all"], shell: "$RUN; exit $?" },
    );
    assertEquals(code, 0);
    assertMatch(err, /File too large/);
  },
});

Deno.test({
  ...PROC,
  name: "handleSignals() does not stop at a SIGHUP that was ignored at the start",
  async fn() {
    const body = `const stopped = Promise.withResolvers();
      const actions = { stop: stopped.resolve, report: () => {}, hangUp() {
        setTimeout(() => { say("goes on"); Deno.exit(0); }, 100);
        return false;
      } };
      using _ = handleSignals(actions, Deno.exit);
      Deno.kill(Deno.pid, "SIGHUP");
      await stopped.promise;
      say("stopped");`;
    const permissions = ["--allow-all"];
    const ignored = await run(body, { permissions, shell: "trap '' HUP; $RUN" });
    assertEquals(ignored.err, "goes on\n");
    assertEquals((await run(body, { permissions })).err, "stopped\n");
  },
});

// -- The rest --

Deno.test("processIo() has the clock, the colours and the exit of the process", () => {
  const { now, wantsColor, exit, stdin } = processIo();
  assert(Math.abs(now() - Date.now()) < 1000);
  assertEquals(wantsColor, Deno.stdout.isTerminal() && !Deno.noColor);
  assertEquals(exit, Deno.exit);
  assertEquals(stdin, Deno.stdin);
  assertEquals(typeof hasTerminal(), "boolean");
});
