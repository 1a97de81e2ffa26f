import { assertEquals } from "@std/assert";
import { MemoryTerminal } from "../../tests/support/screen.ts";
import { pick, type Random, withSeeds } from "../../tests/support/random.ts";
import { turn } from "../../tests/support/waiting.ts";
import { decode, encode } from "../bytes.ts";
import { LineEditor } from "./line_editor.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** An editor with its terminal, whose lines are read as they come. */
async function editing(columns = 40) {
  const terminal = new MemoryTerminal(columns);
  const editor = new LineEditor(terminal, "all> ");
  const got = { text: "", isEnded: false };
  const reading = readAll(editor, got);
  await turn();
  const log = editor.above(terminal.screen);
  return {
    terminal,
    editor,
    got,
    get lines() {
      return terminal.screen.lines;
    },
    async press(keys: string) {
      terminal.keys.push(keys);
      await turn();
    },
    log: (text: string) => log.write(encode(text)),
    async [Symbol.asyncDispose]() {
      editor.close();
      await reading;
      await editor[Symbol.asyncDispose]();
    },
  };
}

async function readAll(editor: LineEditor, got: { text: string; isEnded: boolean }) {
  const target = new Uint8Array(10_000);
  for (let count; (count = await editor.read(target)) !== null;) {
    got.text += decode(target.subarray(0, count));
  }
  got.isEnded = true;
}

const [UP, LEFT, HOME, BACKSPACE] = ["\x1B[A", "\x1B[D", "\x01", "\x7F"];
const [CTRL_D, CTRL_U] = ["\x04", "\x15"];

Deno.test("LineEditor gives typed lines, and draws a prompt for the next", async () => {
  await using one = await editing();
  assertEquals(one.terminal.isRaw, true);
  await one.press("hel");
  assertEquals(one.lines, ["all> hel"]);
  await one.press("lo\ré\r");
  assertEquals([one.got.text, one.lines], ["hello\né\n", ["all> hello", "all> é", "all>"]]);
});

Deno.test("LineEditor.above() writes above the line, which stays with its cursor", async () => {
  await using one = await editing();
  await one.press(`typed${LEFT}${LEFT}`);
  await one.log("#1 | one\n#2 | two\n");
  assertEquals(one.lines, ["#1 | one", "#2 | two", "all> typed"]);
  assertEquals([one.terminal.screen.row, one.terminal.screen.column], [2, 8]);
  await one.press("X\r");
  assertEquals(one.got.text, "typXed\n");
});

Deno.test("LineEditor.above() writes above a line that wraps", async () => {
  await using one = await editing(10);
  await one.press("abcdefghijklmnopqrst");
  assertEquals(one.lines, ["all> abcde", "fghijklmno", "pqrst"]);
  await one.log("#1 | one\n");
  await one.press(HOME);
  await one.log("#2 | two\n");
  await one.press(BACKSPACE + "<");
  await one.log("#3 | four\n");
  assertEquals(one.lines, [
    "#1 | one",
    "#2 | two",
    "#3 | four",
    "all> <abcd",
    "efghijklmn",
    "opqrst",
  ]);
});

Deno.test("LineEditor.above() writes a record in pieces, with nothing between them", async () => {
  await using one = await editing(200_000);
  await one.press("typed");
  const record = `${"x".repeat(100_000)}\n`;
  const sent = await one.log(record);
  await one.press("!");
  assertEquals(await one.log(record.slice(sent)), record.length - sent);
  assertEquals(one.lines, [record.trimEnd(), "all> typed!"]);
});

Deno.test("LineEditor has history, cursor keys and Ctrl-U as a shell has", async () => {
  await using one = await editing();
  await one.press("first\rsecond\r");
  await one.press(`${UP}${UP}!\r`);
  await one.press(`lost${CTRL_U}kept${HOME}I \r`);
  assertEquals(one.got.text, "first\nsecond\nfirst!\nI kept\n");
});

Deno.test("LineEditor ends at Ctrl-D in an empty line, and says so", async () => {
  await using one = await editing();
  await one.press(`one\r${CTRL_D}`);
  assertEquals(one.lines, ["all> one", "earshot: typing has ended", ""]);
  assertEquals([one.got.text, one.got.isEnded, one.terminal.isRaw], ["one\n", true, false]);
  await one.log("#1 | later\n");
  assertEquals(one.lines, ["all> one", "earshot: typing has ended", "#1 | later", ""]);
});

Deno.test("LineEditor ends at a second Ctrl-D behind a line, which is given", async () => {
  await using one = await editing();
  await one.press(`half${CTRL_D}`);
  assertEquals(one.got, { text: "", isEnded: false });
  await one.press(` of it${CTRL_D}`);
  await one.press(CTRL_D);
  assertEquals(one.got, { text: "half of it", isEnded: true });
});

Deno.test("LineEditor deletes at Ctrl-D within a line", async () => {
  await using one = await editing();
  await one.press(`xabc${HOME}${CTRL_D}${CTRL_D}${CTRL_D}\r`);
  assertEquals([one.got.text, one.got.isEnded], ["c\n", false]);
});

Deno.test("LineEditor.setPrompt() draws the line with another prompt", async () => {
  await using one = await editing(10);
  await one.press("abcdef");
  one.editor.setPrompt("#3> ");
  await turn();
  assertEquals(one.lines, ["#3> abcdef", ""]);
});

Deno.test("LineEditor takes what is pasted at once, with its line ends", async () => {
  await using one = await editing(100);
  const pasted = Array.from({ length: 30 }, (_, i) => `line ${i} of what is pasted`);
  await one.press(pasted.join("\r"));
  assertEquals(one.got.text, pasted.slice(0, -1).map((line) => `${line}\n`).join(""));
  assertEquals(one.lines, pasted.map((line) => `all> ${line}`));
});

Deno.test("LineEditor drops a line that is too long, says so and goes on", async () => {
  await using one = await editing(5000);
  for (let i = 0; i < 5; i++) await one.press("x".repeat(1000));
  await one.press("y");
  await one.press("\rnext\r");
  assertEquals(one.got.text, "next\n");
  assertEquals(
    one.lines[1],
    "earshot: Cannot send a line of more than 4096 characters from a terminal: it is dropped",
  );
  await one.press("x".repeat(1000));
});

Deno.test("LineEditor draws its line again after Ctrl-Z, raw as before", async () => {
  await using one = await editing();
  await one.press("typed");
  one.terminal.isRaw = false;
  one.terminal.screen.write(encode("\r\nStopped\nfg\n"));
  one.terminal.listeners!.continued();
  await turn();
  assertEquals(one.lines, ["all> typed", "Stopped", "fg", "all> typed"]);
  assertEquals(one.terminal.isRaw, true);
});

Deno.test("LineEditor ends when the terminal has gone", async () => {
  await using one = await editing();
  one.terminal.keys.end();
  await turn();
  await turn();
  assertEquals(one.got.isEnded, true);
});

Deno.test("LineEditor is never torn: random keys and records leave whole lines", async () => {
  await withSeeds(8, async (random) => {
    await using one = await editing(pick(random, 7, 20, 79));
    const records: string[] = [];
    for (let i = 0; i < 60; i++) {
      if (random(3) > 0) {
        one.terminal.keys.push(randomKeys(random));
      } else {
        records.push(`#${i} | ${"r".repeat(random(30))}`);
        one.log(`${records.at(-1)}\n`);
      }
      if (random(2) > 0) await turn();
    }
    await one.press(CTRL_U + "\x0B");
    const shown = one.terminal.screen.rows.join("");
    for (const record of records) assertEquals(shown.split(record).length, 2, record);
    assertEquals(shown.endsWith("all> "), true);
    assertEquals(shown.replaceAll(/#\d+ \| r*/g, ""), "all> ");
  });
});

function randomKeys(random: Random): string {
  return pick(random, "a", "bcd", "w".repeat(30), LEFT, HOME, BACKSPACE, "\x05", "\x17", CTRL_U);
}
