import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { type Browser, CHROMIUM } from "./support/browser.ts";
import { needs } from "./support/needs.ts";
import { LOG, logHas, pageHas, stage } from "./support/page_stage.ts";
import { untilTrue } from "./support/waiting.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const BROWSER = needs(CHROMIUM);
const FOLLOW = `document.querySelector("#follow").checked`;

// -- Filter and Find --

Deno.test({
  ...BROWSER,
  name: "page filters by words, exclusions and regular expressions, and keeps them in the URL",
  async fn() {
    await using scene = await stage((events) => [
      events.record(1, "a.c one"),
      events.record(1, "abc two"),
      events.record(2, "ABC three"),
    ]);
    const { browser, events } = scene;
    const counts: [string, number][] = [
      ["a.c", 1],
      ["abc", 2],
      ["abc -two", 1],
      ["#2", 1],
      ["/abc/", 1],
      ["/abc/i", 2],
      ["/(/", 3],
      ["two one", 0],
      ["", 3],
    ];
    for (const [query, count] of counts) {
      await browser.type("searchbox", "Filter", query);
      await browser.until(`${LOG}.childElementCount === ${count}`);
    }
    await browser.type("searchbox", "Filter", "/[/");
    await browser.until(`document.querySelector("#filter").ariaInvalid === "true"`);
    await browser.until(pageHas("Filter: /[/: Unterminated character class"));
    await browser.type("searchbox", "Filter", "two");
    await browser.until(`location.hash === "#filter=two"`);
    events.say(events.record(2, "four"), events.record(2, "and two"));
    await browser.until(logHas("| and two"));
    assertEquals(await browser.value(`${LOG}.childElementCount`), 2);
    await browser.call("Page.reload");
    await browser.until(`${logHas("abc two")} && !${logHas("one")}`);
    assertEquals(await browser.value(`document.querySelector("#filter").value`), "two");
    await browser.value(`location.hash = "#toString=1&time=never&sort=odd&host=..%2F&filter=one"`);
    await browser.until(`location.hash === "#filter=one" && ${logHas("a.c one")}`);
  },
});

Deno.test({
  ...BROWSER,
  name: "page finds without hiding, and steps with a line above and below in view",
  async fn() {
    await using scene = await stage((events) =>
      Array.from(
        { length: 170 },
        (_, i) => events.record(1, `line ${i} ${i % 10 ? "-" : "NEEDLE"}.`),
      )
    );
    const { browser } = scene;
    await browser.until(logHas("line 169"));
    await browser.value(`${LOG}.scrollTop = 0`);
    await browser.until(`!${FOLLOW}`);
    await browser.type("searchbox", "Find", "needle");
    await browser.until(pageHas("1 of 17"));
    assertEquals(await browser.value(`${LOG}.childElementCount`), 170);
    assertEquals(await browser.value(`${LOG}.querySelectorAll("mark").length`), 17);
    await browser.click("button", "Next");
    await browser.click("button", "Next");
    await browser.until(pageHas("3 of 17"));
    assertEquals(await browser.value(FOLLOW), false);
    await browser.press("Enter");
    await browser.until(pageHas("4 of 17"));
    await browser.press("Escape");
    await browser.type("searchbox", "Find", "needle");
    await browser.until(pageHas("of 17"));
    await browser.on("log", "Log", "this.focus()");
    for (let i = 0; i < 3; i++) await browser.press("N");
    const inView = await browser.value<boolean>(`(() => {
      const marks = ${LOG}.querySelectorAll("mark[aria-current=true]");
      const row = marks[0].closest(".row"), box = ${LOG}.getBoundingClientRect();
      return marks.length === 1 && row.previousElementSibling.getBoundingClientRect().top >= box.top &&
        row.nextElementSibling.getBoundingClientRect().bottom <= box.bottom;
    })()`);
    assert(inView);
  },
});

Deno.test({
  ...BROWSER,
  name: "page cuts a long row, opens it, and shows a hit beyond with the words around it",
  async fn() {
    const long = `${"x".repeat(30_000)} the hidden word ${"y".repeat(30_000)}`;
    await using scene = await stage((events) => [events.record(1, long), events.record(1, "next")]);
    const { browser } = scene;
    await browser.until(logHas("next"));
    const row = `${LOG}.querySelector(".row")`;
    assert(await browser.value<number>(`${row}.innerText.length`) < 2100);
    await browser.type("searchbox", "Find", "hidden");
    await browser.until(`${row}.querySelector("mark")`);
    await browser.until(logHas("xxx the hidden word yyy"));
    assert(await browser.value<number>(`${row}.innerText.length`) < 2300);
    await browser.click("button", `${long.length} characters`);
    await browser.until(`${row}.innerText.length > 60000`);
    await browser.click("button", "Show less");
    await browser.until(`${row}.innerText.length < 2300`);
  },
});

Deno.test({
  ...BROWSER,
  name: "page keeps what quiet clients said when a flood fills it, and says what it keeps",
  async fn() {
    await using scene = await stage((events) => [
      events.record(2, "error: out of paper"),
      ...events.lines(1, 10, "before"),
    ]);
    const { browser, events } = scene;
    assert(!await browser.value(pageHas("the newest of each client")));
    for (let i = 0; i < 5; i++) events.say(...events.lines(1, 1000, `flood ${i}`));
    events.say(events.record(2, "error: still no paper"));
    await browser.until(logHas("still no paper"));
    assertEquals(await browser.value(`${LOG}.childElementCount`), 2000);
    assert(await browser.value(`${LOG}.firstElementChild.innerText.endsWith("out of paper")`));
    assert(!await browser.value(logHas("before")));
    await browser.until(pageHas("2000 records, the newest of each client"));
    await browser.type("searchbox", "Filter", "error");
    await browser.until(pageHas("2 matching"));
    await browser.type("searchbox", "Filter", "");
    await browser.click("button", "Clear");
    await browser.until(pageHas("0 records"));
    assert(!await browser.value(pageHas("the newest of each client")));
  },
});

Deno.test({
  ...BROWSER,
  name: "page forgets the oldest when more clients spoke than it remembers records",
  async fn() {
    await using scene = await stage();
    const { browser, events } = scene;
    events.say(...Array.from({ length: 3000 }, (_, i) => events.record(i + 1, `once ${i + 1}`)));
    await browser.until(`${LOG}.lastElementChild.innerText.endsWith("once 3000")`);
    assertEquals(await browser.value(`${LOG}.childElementCount`), 2000);
    assert(await browser.value(`${LOG}.firstElementChild.innerText.endsWith("once 1001")`));
  },
});

// -- Still while one reads --

Deno.test({
  ...BROWSER,
  name: "page keeps the row at the top and what is selected under a flood",
  async fn() {
    await using scene = await stage((events) => events.lines(1, 500));
    const { browser, events } = scene;
    await browser.until(logHas("line 499."));
    await browser.value(`${LOG}.scrollTop = 2000`);
    await browser.until(`!${FOLLOW}`);
    const top = `(() => {
      const { left, top } = ${LOG}.getBoundingClientRect();
      return document.elementFromPoint(left + 300, top + 5).closest(".row").innerText;
    })()`;
    const before = await browser.value(top);
    await browser.value(
      `getSelection().selectAllChildren(${LOG}.children[120].querySelector(".said"))`,
    );
    for (let i = 0; i < 30; i++) events.say(...events.lines(2, 100, "flood"));
    await browser.until(pageHas("3000 new below"));
    assertEquals(await browser.value(top), before);
    assertEquals(await browser.value("getSelection().toString()"), "| line 120.");
    assertEquals(await browser.value(`${LOG}.scrollTop`), 2000);
    assert(await browser.value<number>(`${LOG}.childElementCount`) <= 2000);
    await browser.click("checkbox", "Follow");
    await browser.until(`${LOG}.lastElementChild.innerText.includes("flood 99.")`);
    await browser.until(`${LOG}.scrollTop + ${LOG}.clientHeight > ${LOG}.scrollHeight - 4`);
    assertEquals(await browser.value(pageHas("new below")), false);
  },
});

Deno.test({
  ...BROWSER,
  name: "page says what is not shown where one reads, though there is no room for more",
  async fn() {
    await using scene = await stage();
    const { browser, events } = scene;
    for (let i = 0; i < 20; i++) events.say(...events.lines(1, 100));
    await browser.until(`${LOG}.childElementCount === 2000`);
    await browser.value(`${LOG}.scrollTop = 2000`);
    await browser.until(`!${FOLLOW}`);
    events.snapshot = () => ({ records: events.lines(1, 5, "after"), resumed: true, missed: 12 });
    events.drop();
    await browser.until(
      `${LOG}.lastElementChild.innerText.startsWith("12 records not shown here")`,
    );
    await browser.until(pageHas("5 new below"));
    assertEquals(await browser.value(`${LOG}.scrollTop`), 2000);
    await browser.click("button", "5 new below");
    await browser.until(`${LOG}.lastElementChild.innerText.includes("after 4.")`);
    assertEquals(await browser.value(`${LOG}.querySelectorAll(".note").length`), 1);
  },
});

Deno.test({
  ...BROWSER,
  name: "page keeps the row at the top when switches change the rows",
  async fn() {
    await using scene = await stage((events) =>
      Array.from({ length: 200 }, (_, i) => events.record(1, `row ${i} ${"word ".repeat(60)}`))
    );
    const { browser } = scene;
    await browser.until(logHas("row 199"));
    await browser.value(`${LOG}.children[100].scrollIntoView({ block: "start" })`);
    await browser.until(`!${FOLLOW}`);
    const offset =
      `Math.abs(${LOG}.children[100].getBoundingClientRect().top - ${LOG}.getBoundingClientRect().top)`;
    for (const [name, hash] of [["Wrap", "wrap=off"], ["Hex", "hex=on"]] as const) {
      await browser.click("checkbox", name);
      await browser.until(`location.hash.includes("${hash}")`);
      const moved = await browser.value<number>(offset);
      assert(moved <= 1, `${name}: ${moved}`);
    }
    await browser.until(logHas("72 6f 77 20 31"));
    await browser.resize(800, 600);
    await browser.until(`innerWidth === 800`);
    assert(await browser.value<number>(offset) <= 2);
  },
});

Deno.test({
  ...BROWSER,
  name: "page stands still while paused, catches up, clears, and goes on",
  async fn() {
    await using scene = await stage((events) => [events.record(1, "before")]);
    const { browser, events } = scene;
    await browser.until(logHas("before"));
    await browser.click("button", "Pause");
    events.say(events.record(1, "meanwhile"));
    await browser.until(pageHas("1 new below"));
    assertEquals(await browser.value(logHas("meanwhile")), false);
    await browser.click("button", "Resume");
    await browser.until(logHas("meanwhile"));
    await browser.click("button", "Clear");
    await browser.until(`${LOG}.childElementCount === 0`);
    events.say(events.record(1, "new"));
    await browser.until(logHas("new"));
    assertEquals(await browser.value(`${LOG}.childElementCount`), 1);
  },
});

Deno.test({
  ...BROWSER,
  name: "page follows the end until it is scrolled up",
  async fn() {
    await using scene = await stage();
    const { browser, events } = scene;
    const isAtEnd =
      `${LOG}.scrollTop > 0 && ${LOG}.scrollTop + ${LOG}.clientHeight > ${LOG}.scrollHeight - 4`;
    for (let i = 0; i < 30; i++) events.say(...events.lines(1, 100));
    await browser.until(`${LOG}.childElementCount === 2000 && ${isAtEnd}`);
    await browser.value(`${LOG}.scrollTop -= 300`);
    await browser.until(`!${FOLLOW}`);
    await browser.press("f");
    await browser.until(`${FOLLOW} && ${isAtEnd}`);
  },
});

Deno.test({
  ...BROWSER,
  name: "page does not freeze on bytes, long lines or marks that pile up",
  async fn() {
    await using scene = await stage();
    const { browser, events } = scene;
    await browser.call("Performance.enable", { timeDomain: "threadTicks" });
    const before = await taskSeconds(browser);
    const binary = {
      message: undefined,
      "message_base64": new Uint8Array(1024).fill(0xFF).toBase64(),
    };
    for (let i = 0; i < 10; i++) {
      events.say(...Array.from({ length: 100 }, () => events.record(1, "", binary)));
    }
    events.say(events.record(1, `Z${"\u0301".repeat(29_000)}`));
    events.say(...Array.from({ length: 20 }, () => events.record(1, `Z${"\u0329".repeat(1500)}`)));
    events.say(...Array.from({ length: 10 }, () => events.record(1, "w".repeat(65_536))));
    events.say(events.record(1, "the end"));
    await browser.until(logHas("the end"));
    const seconds = await taskSeconds(browser) - before;
    assert(seconds < 3, `${seconds} s of CPU`);
    assert(await browser.value(`[...${LOG}.children].every((row) => row.innerText.length < 2200)`));
  },
});

/** What the page's thread has worked, whatever else the machine does. */
async function taskSeconds(browser: Browser): Promise<number> {
  const { metrics } = await browser.call("Performance.getMetrics") as {
    metrics: { name: string; value: number }[];
  };
  return metrics.find(({ name }) => name === "TaskDuration")!.value;
}

// -- Taking along --

Deno.test({
  ...BROWSER,
  name: "page takes what clients say as text",
  async fn() {
    const markup = `<img src=x onerror="document.title='owned'"><script>document.title=1</script>`;
    const raw = { message: undefined, "message_base64": "Yf/DqeKC" };
    await using scene = await stage((events) => [
      events.record(1, markup),
      events.record(1, "\x1b[31mred\u202Eevil\u{E0041}\u200B"),
      events.record(1, "", raw),
    ]);
    const { browser } = scene;
    await browser.until(logHas(`| ${markup}`));
    await browser.until(logHas("| \\x1B[31mred\\u{202E}evil\\u{E0041}\\u{200B}"));
    await browser.until(logHas("| a\\xFFé\\xE2\\x82"));
    assertEquals(await browser.value("document.title"), "earshot");
    assertEquals(await browser.value(`${LOG}.querySelectorAll("img, script").length`), 0);
  },
});

Deno.test({
  ...BROWSER,
  name: "page copies and downloads what is shown, and links to a record without the key",
  async fn() {
    const key = "0123456789abcdef";
    await using scene = await stage((events) => [
      events.record(1, "shown one"),
      events.record(2, "hidden"),
      events.record(1, "shown two"),
    ], { hash: `#key=${key}&filter=shown` });
    const { browser, events } = scene;
    await browser.until(logHas("shown two"));
    await browser.value(`{
      navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); };
      HTMLAnchorElement.prototype.click = function () {
        fetch(this.href).catch(() => {});
        window.saved = this.download;
      };
      const made = URL.createObjectURL;
      URL.createObjectURL = (blob) => { blob.text().then((text) => window.savedText = text); return made(blob); };
    }`);
    await browser.click("button", "Copy");
    await browser.until("window.copied");
    assertMatch(
      await browser.value<string>("copied"),
      /^2026-\S+Z #1 127\.0\.0\.1:50001 \| shown one\n2026-\S+Z #1 127\.0\.0\.1:50001 \| shown two\n$/,
    );
    await browser.click("button", "Download text");
    await browser.until("window.savedText === window.copied");
    assertMatch(await browser.value<string>("saved"), /^earshot.*\.log$/);
    await browser.click("button", "Download JSON");
    await browser.until("window.savedText !== window.copied");
    assertMatch(await browser.value<string>("saved"), /^earshot.*\.jsonl$/);
    const objects = (await browser.value<string>("savedText")).trim().split("\n");
    assertEquals(objects.map((line) => JSON.parse(line).message), ["shown one", "shown two"]);

    await browser.value(`window.copied = "", ${LOG}.querySelector("time").click()`);
    await browser.until("window.copied");
    const link = await browser.value<string>("copied");
    assertStringIncludes(link, "filter=shown&at=2026-");
    assert(!link.includes(key) && !(await browser.value<string>("location.href")).includes(key));
    await browser.open(link);
    await browser.until(`${LOG}.querySelector(".linked")?.innerText.includes("shown one")`);
    assertEquals(events.streams, 1);
  },
});

Deno.test({
  ...BROWSER,
  name: "page shows times in UTC, local and relative",
  async fn() {
    await using scene = await stage((events) => [events.record(1, "hello")]);
    const { browser } = scene;
    await browser.until(logHas("hello"));
    const time = `${LOG}.querySelector("time").innerText`;
    assertMatch(await browser.value<string>(time), /^21:00:00\.\d{3}Z$/);
    const pick = (name: string) =>
      browser.on(
        "combobox",
        "Time",
        `this.value = "${name}"; this.dispatchEvent(new Event("input"))`,
      );
    await pick("relative");
    assertMatch(await browser.value<string>(time), / ago$/);
    await pick("local");
    assertMatch(await browser.value<string>(time), /^\d\d:\d\d:\d\d\.\d{3}$/);
  },
});

// -- Reply --

Deno.test({
  ...BROWSER,
  name: "page replies to all or the chosen client, and keeps what could not be sent",
  async fn() {
    await using scene = await stage((events) => [events.record(1, "hello")], {
      hash: "#key=secret",
    });
    const { browser, events } = scene;
    events.other = () => Response.json({ clients: 2 });
    await browser.until(`!location.href.includes("secret")`);
    await browser.type("textbox", "Reply to all", "reset");
    await browser.press("Enter");
    await untilTrue(() => events.asked.some(({ url }) => url.pathname === "/send"));
    assertEquals(events.asked.at(-1)!.body, { to: "all", text: "reset", escapes: false });
    await browser.until(`document.querySelector("#reply-text").value === ""`);
    await browser.until(pageHas("Sent to 2 clients"));
    await browser.click("button", /^#2 /);
    assert(!await browser.value(pageHas("Sent to")), "it was another choice");
    events.other = () => new Response("#2 is not connected\n", { status: 409 });
    await browser.click("checkbox", "Escapes");
    await browser.type("textbox", "Reply to #2", "\\x06");
    await browser.click("button", "Send");
    await browser.until(pageHas("Not sent: #2 is not connected"));
    assertEquals(events.asked.at(-1)!.body, { to: 2, text: "\\x06", escapes: true });
    assertEquals(await browser.value(`document.querySelector("#reply-text").value`), "\\x06");
    events.other = () => new Response("Wrong key\n", { status: 403 });
    await browser.click("button", "Send");
    await browser.until(pageHas("Wrong key: each start of earshot makes one"));
    await browser.press("Escape");
    await browser.press("Escape");
    await browser.find("textbox", "Reply to all");
    assertEquals(await browser.value(`document.querySelector("#reply-text").value`), "");
    await browser.click("button", /^#2 /);
    assertEquals(await browser.value(`document.querySelector("#reply-text").value`), "\\x06");
    await browser.call("Page.reload");
    await browser.find("textbox", "Reply to #2");
  },
});
