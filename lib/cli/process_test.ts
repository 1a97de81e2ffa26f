import { assert, assertEquals, assertMatch } from "@std/assert";
import { decode } from "../bytes.ts";
import { handleSignals, hasTerminal, processIo } from "./process.ts";
import { tempDir, untilTrue } from "../../tests/support/testing.ts";
import { needs, PROC, UNIX } from "../../tests/support/needs.ts";

Deno.test.sanitizer({ ops: true, resources: true });

// -- Helpers --

const MODULE = new URL("./process.ts", import.meta.url).href;

/** A program that uses this room; `say` is a line on stderr. */
function programOf(body: string): string {
  return `import { handleSignals, hasTerminal, processIo } from "${MODULE}";
    const io = processIo();
    const say = (text) => Deno.stderr.writeSync(new TextEncoder().encode(text + "\\n"));
    const bytes = (count) => new Uint8Array(count).fill(120);
    const writeAll = async (bytes, name) => {
      for (let sent = 0; sent < bytes.length;) sent += await io.stdout[name](bytes.subarray(sent));
    };
    try { ${body} } catch (error) { say(error.name + ": " + error.message); }
    Deno.exit(0);`;
}

interface Run {
  /** What a shell runs; `$RUN` is the program. */
  readonly shell?: string;
  readonly permissions?: readonly string[];
}

/** Runs a program under a shell until it ends. */
async function run(body: string, { shell = "$RUN", permissions = [] }: Run = {}) {
  using dir = tempDir();
  await Deno.writeTextFile(`${dir.path}/program.js`, programOf(body));
  const program = [Deno.execPath(), "run", "--no-config", "--no-lock", "--quiet", ...permissions];
  const command = new Deno.Command("sh", {
    args: ["-c", shell],
    cwd: dir.path,
    env: { RUN: [...program, "program.js"].join(" "), NO_COLOR: "1" },
    stdin: "null",
  });
  const { code, stdout, stderr } = await command.output();
  return { code, out: decode(stdout), err: decode(stderr) };
}

// -- Standard output --

for (const name of ["write", "writeInline"]) {
  Deno.test({
    ...UNIX,
    name: `processIo().stdout.${name}() writes all to a pipe`,
    async fn() {
      const { code, out } = await run(`await writeAll(bytes(1_000_000), "${name}");`);
      assertEquals([code, out.length], [0, 1_000_000]);
    },
  });

  Deno.test({
    ...UNIX,
    name: `processIo().stdout.${name}() writes all to a file`,
    async fn() {
      const { code, out } = await run(`await writeAll(bytes(1_000_000), "${name}");`, {
        shell: "$RUN > log; echo $?; wc -c < log",
      });
      assertEquals([code, out.trim().split(/\s+/)], [0, ["0", "1000000"]]);
    },
  });

  Deno.test({
    ...UNIX,
    name: `processIo().stdout.${name}() appends to a file`,
    async fn() {
      const { out } = await run(`await writeAll(bytes(3), "${name}");`, {
        shell: "echo one > log; $RUN >> log; $RUN >> log; cat log",
      });
      assertEquals(out, "one\nxxxxxx");
    },
  });

  Deno.test({
    ...UNIX,
    name: `processIo().stdout.${name}() rejects when nobody will ever read the pipe`,
    async fn() {
      const { err } = await run(
        `const turn = () => new Promise((resolve) => setTimeout(resolve, 20));
       while (true) await io.stdout.${name}(bytes(1000)).catch(async (error) => {
         await turn();
         say(error.code ?? error.name);
         Deno.exit(0);
       });`,
        { shell: "$RUN | true" },
      );
      assertMatch(err, /^(EPIPE|BrokenPipe)\n$/);
    },
  });

  Deno.test({
    ...UNIX,
    name: `processIo().stdout.${name}() takes at most 64 KiB at a time for a pipe`,
    async fn() {
      const { err } = await run(`say(await io.stdout.${name}(bytes(1_000_000)));`, {
        shell: "$RUN | cat > /dev/null",
      });
      assertEquals(err, "65536\n");
    },
  });

  Deno.test({
    ...UNIX,
    name: `processIo().stdout.${name}() leaves signals and timers their turn in a full pipe`,
    async fn() {
      const { err } = await run(
        `setTimeout(() => { say("timer"); Deno.exit(0); }, 100);
       await writeAll(bytes(1_000_000), "${name}");`,
        { shell: "$RUN | sh -c 'exec sleep 1'" },
      );
      assertEquals(err, "timer\n");
    },
  });

  Deno.test({
    ...PROC,
    name: `processIo().stdout.${name}() rejects when stdout was closed at the start`,
    async fn() {
      const body = `await io.stdout.${name}(bytes(10)); say("written");`;
      const permissions = ["--allow-all"];
      const closed = await run(body, { permissions, shell: "$RUN >&-" });
      assertEquals(closed.err, "BadResource: it is closed\n");
      const device = await run(body, { permissions, shell: "$RUN > /dev/null" });
      assertEquals(device.err, "written\n");
      const daemon = await run(`${body} Deno.exit(9);`, {
        permissions,
        shell: "$RUN <> /dev/null 1<> /dev/null 2<> /dev/null",
      });
      assertEquals(daemon.code, 9);
      const unseen = await run(body, { permissions: ["--allow-read"], shell: "$RUN >&-" });
      assertEquals(unseen.err, "written\n");
    },
  });
}

Deno.test({
  ...UNIX,
  name: "processIo().stdout.write() lets the loop turn",
  async fn() {
    const { err } = await run(
      `let hasFired = false;
     setTimeout(() => hasFired = true, 0);
     for (let i = 0; i < 200; i++) await io.stdout.write(bytes(1));
     say(hasFired);`,
    );
    assertEquals(err, "true\n");
  },
});

Deno.test({
  ...PROC,
  name: "processIo().stdout changes the pipe only when something is written",
  async fn() {
    const { err } = await run(
      `const flags = () => /flags:.*?(\\d)\\d{3}\\n/.exec(Deno.readTextFileSync("/proc/self/fdinfo/1"));
       const blocks = () => (Number(flags()?.[1] ?? 0) & 4) === 0;
       say(blocks());
       await io.stdout.write(bytes(1));
       say(blocks());`,
      { permissions: ["--allow-all"], shell: "$RUN | cat > /dev/null" },
    );
    assertEquals(err, "true\nfalse\n");
  },
});

// -- Standard error --

Deno.test({
  ...UNIX,
  name: "processIo().stderr waits for its reader though the pipe does not block",
  async fn() {
    const { out } = await run(
      `await io.stdout.write(bytes(1));
     const text = new Uint8Array(1_000_000).fill(121);
     for (let sent = 0; sent < text.length;) sent += await io.stderr.write(text.subarray(sent));`,
      { shell: "$RUN 2>&1 | (sleep 0.3; wc -c)" },
    );
    assertEquals(out.trim(), "1000001");
  },
});

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
