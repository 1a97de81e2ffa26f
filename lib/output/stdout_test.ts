import { assertEquals, assertMatch } from "@std/assert";
import { PROC, UNIX } from "../../tests/support/needs.ts";
import { type Run, runProgram } from "../../tests/support/programs.ts";

Deno.test.sanitizer({ ops: true, resources: true });

// -- Helpers --

const MODULE = new URL("./stdout.ts", import.meta.url).href;
const IMPORTS = `import { standardStreams } from "${MODULE}";
  const io = standardStreams();
  const bytes = (count) => new Uint8Array(count).fill(120);
  const writeAll = async (bytes, name) => {
    for (let sent = 0; sent < bytes.length;) sent += await io.stdout[name](bytes.subarray(sent));
  };`;

function run(body: string, options?: Run) {
  return runProgram(IMPORTS, body, options);
}

// -- Standard output --

for (const name of ["write", "writeInline"]) {
  Deno.test({
    ...UNIX,
    name: `standardStreams().stdout.${name}() writes all to a pipe`,
    async fn() {
      const { code, out } = await run(`await writeAll(bytes(1_000_000), "${name}");`);
      assertEquals([code, out.length], [0, 1_000_000]);
    },
  });

  Deno.test({
    ...UNIX,
    name: `standardStreams().stdout.${name}() writes all to a file`,
    async fn() {
      const { code, out } = await run(`await writeAll(bytes(1_000_000), "${name}");`, {
        shell: "$RUN > log; echo $?; wc -c < log",
      });
      assertEquals([code, out.trim().split(/\s+/)], [0, ["0", "1000000"]]);
    },
  });

  Deno.test({
    ...UNIX,
    name: `standardStreams().stdout.${name}() appends to a file`,
    async fn() {
      const { out } = await run(`await writeAll(bytes(3), "${name}");`, {
        shell: "echo one > log; $RUN >> log; $RUN >> log; cat log",
      });
      assertEquals(out, "one\nxxxxxx");
    },
  });

  Deno.test({
    ...UNIX,
    name: `standardStreams().stdout.${name}() rejects when nobody will ever read the pipe`,
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
    name: `standardStreams().stdout.${name}() takes at most 64 KiB at a time for a pipe`,
    async fn() {
      const { err } = await run(`say(await io.stdout.${name}(bytes(1_000_000)));`, {
        shell: "$RUN | cat > /dev/null",
      });
      assertEquals(err, "65536\n");
    },
  });

  Deno.test({
    ...UNIX,
    name: `standardStreams().stdout.${name}() leaves signals and timers their turn in a full pipe`,
    async fn() {
      const { err } = await run(
        `setTimeout(() => { say("timer"); Deno.exit(0); }, 100);
       await writeAll(bytes(1_000_000), "${name}");`,
        { shell: "{ $RUN; touch done; } | sh -c 'until [ -e done ]; do sleep 0.05; done'" },
      );
      assertEquals(err, "timer\n");
    },
  });

  Deno.test({
    ...PROC,
    name: `standardStreams().stdout.${name}() rejects when stdout was closed at the start`,
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
  name: "standardStreams().stdout.write() lets the loop turn",
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
  name: "standardStreams().stdout changes the pipe only when something is written",
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
  name: "standardStreams().stderr waits for its reader though the pipe does not block",
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

// -- Both in one file --

/** Records and messages at once, into a file that may not grow beyond 100 KB for a while. */
const CROWDED = `
  Deno.addSignalListener("SIGXFSZ", () => {});
  const encode = (text) => new TextEncoder().encode(text);
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const record = (i) => \`record \${i} \${"-".repeat(i % 90)}\\n\`;
  const round = (i) => encode(Array.from({ length: 30 }, (_, j) => record(30 * i + j)).join(""));
  const limitSize = (limit) => {
    new Deno.Command("prlimit", { args: ["--pid", String(Deno.pid), "--fsize=" + limit] }).outputSync();
  };
  limitSize("100000:unlimited");
  const lifted = pause(300).then(() => limitSize("unlimited"));
  const told = [];
  for (let i = 0; i < 200; i++) {
    if (i % 3 === 0) told.push(io.stderr.write(encode(\`message \${i}\\n\`)));
    const bytes = round(i);
    for (let sent = 0; sent < bytes.length;) {
      try {
        sent += await io.stdout[NAME](bytes.subarray(sent));
      } catch {
        await pause(50);
      }
    }
    io.stdout.endRound();
  }
  await lifted;
  await Promise.all(told);`;

for (const name of ["write", "writeInline"]) {
  for (const redirection of ["> log 2>&1", ">> log 2>&1", "> log 2>> log"]) {
    Deno.test({
      ...PROC,
      name: `standardStreams() mixes no ${name} to a full disk with messages after ${redirection}`,
      async fn() {
        const { out } = await run(CROWDED.replace("NAME", `"${name}"`), {
          permissions: ["--allow-run", "--allow-sys"],
          shell: `$RUN ${redirection}; cat log`,
        });
        const lines = out.split("\n").slice(0, -1);
        const messages = lines.filter((line) => line.startsWith("message"));
        const records = lines.filter((line) => !line.startsWith("message"));
        const expected = Array.from(
          { length: 6000 },
          (_, i) => `record ${i} ${"-".repeat(i % 90)}`,
        );
        assertEquals(records, expected);
        assertEquals(messages, Array.from({ length: 67 }, (_, i) => `message ${3 * i}`));
      },
    });
  }
}

Deno.test({
  ...UNIX,
  name: "standardStreams().stderr tells a message at once when no round is being written",
  async fn() {
    const { out } = await run(
      `const encode = (text) => new TextEncoder().encode(text);
       const turn = () => new Promise((resolve) => setTimeout(resolve, 20));
       await io.stderr.write(encode("one\\n"));
       await io.stdout.write(encode("two "));
       const told = io.stderr.write(encode("three\\n"));
       await turn();
       await io.stdout.write(encode("words\\n"));
       io.stdout.endRound();
       await told;`,
      { shell: "$RUN > log 2>&1; cat log" },
    );
    assertEquals(out, "one\ntwo words\nthree\n");
  },
});
