import { assertEquals, assertMatch } from "@std/assert";
import { writeAll } from "../lib/io.ts";
import { decode, encode } from "../lib/bytes.ts";
import { Browser, CHROMIUM } from "./support/browser.ts";
import { needs } from "./support/needs.ts";
import { logHas } from "./support/page_stage.ts";
import { serve } from "./support/serving.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** A server with its page open in a browser. */
async function watch(...args: string[]) {
  const running = await serve(["--web", "127.0.0.1:0", ...args], { now: Date.now });
  await running.err.until("watch at");
  await running.err.until("\n");
  const [url = ""] = /http:\/\/\S+/.exec(running.err.text) ?? [];
  const browser = await Browser.start();
  await browser.open(url);
  return {
    ...running,
    url,
    browser,
    async [Symbol.asyncDispose]() {
      await browser[Symbol.asyncDispose]();
      await running[Symbol.asyncDispose]();
      assertEquals(browser.errors, []);
    },
  };
}

Deno.test({
  ...needs(CHROMIUM),
  name: "page of a server shows who comes, what is said, and who goes",
  async fn() {
    await using scene = await watch();
    const { browser } = scene;
    using alice = await scene.connect();
    await writeAll(alice, encode("hello\n\xFF\nlast"));
    await browser.until(logHas("| hello"));
    await browser.find("button", /^#1 127\.0\.0\.1:\d+ .*2 lines/);
    await alice.closeWrite();
    await browser.until(logHas("+ last"));
    await browser.find("button", /^#1 .*3 lines.*disconnected$/);
  },
});

/** What the log shows of a client, in order. */
function shown(word: string): string {
  return `[...document.querySelectorAll("[role=log] .row")].map((row) => row.innerText)
    .filter((text) => text.includes("${word}")).length`;
}

Deno.test({
  ...needs(CHROMIUM),
  name: "page of a server shows a chosen client whole while another floods",
  async fn() {
    await using scene = await watch("--output", "/dev/null");
    const { browser } = scene;
    using loud = await scene.connect();
    using quiet = await scene.connect();
    const flood = encode(`${"x".repeat(60)}\n`.repeat(2000));
    await writeAll(quiet, encode("quiet begins\n"));
    await browser.click("button", /^#2 /);
    await browser.until(logHas("quiet begins"));
    for (let i = 0; i < 20; i++) {
      await writeAll(loud, flood);
      await writeAll(quiet, encode(`quiet ${i}\n`));
    }
    await browser.until(`${shown("quiet")} === 21`);
    assertEquals(await browser.value(shown("xxx")), 0);
    assertEquals(await browser.value("document.body.innerText.includes('skipped')"), false);
  },
});

Deno.test({
  ...needs(CHROMIUM),
  name: "page of a server goes on where it was when it was hidden, and says what is missing",
  async fn() {
    await using scene = await watch("--output", "/dev/null");
    const { browser } = scene;
    using alice = await scene.connect();
    await writeAll(alice, encode("before\n"));
    await browser.until(logHas("| before"));
    await browser.hide(true);
    await writeAll(alice, encode("while hidden\n".repeat(1500)));
    await browser.until(`fetch("metrics").then((answer) => answer.text())
      .then((metrics) => metrics.includes("earshot_lines_total 1501\\n"))`);
    await browser.hide(false);
    await browser.until(logHas("records not shown here, the log has them"));
    const missing = await browser.value<number>(`Number(
      document.querySelector(".note").innerText.split(" ")[0])`);
    assertEquals(missing + await browser.value<number>(shown("while hidden")), 1500);
    assertEquals(await browser.value(shown("before")), 1);
  },
});

Deno.test({
  ...needs(CHROMIUM),
  name: "page of a server replies with the key of the greeting, which the address loses",
  async fn() {
    await using scene = await watch("--interactive");
    const { browser, url } = scene;
    assertMatch(url, /#key=.{22}/);
    using alice = await scene.connect();
    await browser.until(logHas("connected"));
    assertEquals(await browser.value("location.hash"), "");
    await browser.click("button", /^#1 /);
    await browser.type("textbox", "Reply to #1", "set interval=5");
    await browser.press("Enter");
    await browser.until(logHas("< set interval=5"));
    const answer = new Uint8Array(100);
    const length = await alice.read(answer) ?? 0;
    assertEquals(decode(answer.subarray(0, length)), "set interval=5\n");
    await browser.until(`document.querySelector("#reply-text").value === ""`);
  },
});
