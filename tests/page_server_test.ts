import { assertEquals } from "@std/assert";
import { writeAll } from "../lib/io.ts";
import { encode } from "../lib/bytes.ts";
import { Browser, CHROMIUM } from "./support/browser.ts";
import { needs } from "./support/needs.ts";
import { serve } from "./support/serving.ts";

Deno.test.sanitizer({ ops: true, resources: true });

function logHas(text: string): string {
  return `document.querySelector("[role=log]").innerText.includes(${JSON.stringify(text)})`;
}

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
