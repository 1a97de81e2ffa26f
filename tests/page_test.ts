import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Browser, CHROMIUM } from "./support/browser.ts";
import { needs } from "./support/needs.ts";
import { PageEvents } from "./support/page_events.ts";
import { LOG, logHas, pageHas, stage } from "./support/page_stage.ts";
import { untilTrue } from "./support/waiting.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const BROWSER = needs(CHROMIUM);

// -- By name --

Deno.test({
  ...BROWSER,
  name: "page offers its parts by name",
  async fn() {
    const hello = (events: PageEvents) => [events.record(1, "hello")];
    await using scene = await stage(hello, { first: { name: "alice" } });
    const { browser, events } = scene;
    await browser.until(logHas("hello"));
    const names = (await browser.accessibles()).map(({ role, name }) => `${role} ${name}`);
    const expected = [
      "list Clients",
      "log Log",
      ...["Filter", "Find", "Search clients"].map((name) => `searchbox ${name}`),
      ...["Sort clients", "Time"].map((name) => `combobox ${name}`),
      ...["Follow", "Wrap", "Hex"].map((name) => `checkbox ${name}`),
      ...["Pause", "Clear", "Previous", "Next", "Copy", "Keys"].map((name) => `button ${name}`),
      ...["Download text", "Download JSON"].map((name) => `button ${name}`),
    ];
    assertEquals(expected.filter((name) => !names.includes(name)), []);
    assert(!names.some((name) => /Reply|Send/.test(name)));
    assertEquals(names.filter((name) => name === "button More"), []);
    await browser.find("button", /^#1 alice:50001 .*0 lines/);

    await browser.resize(700, 800);
    await browser.find("searchbox", "Filter");
    assert(!(await browser.accessibles()).some(({ name }) => name === "Wrap"));
    await browser.click("button", "More");
    for (const name of ["Wrap", "Hex", "Follow"]) await browser.find("checkbox", name);
    assertEquals(events.streams, 1);
  },
});

Deno.test({
  ...BROWSER,
  name: "page is worked by the keyboard alone",
  async fn() {
    await using scene = await stage((events) => {
      for (let i = 3; i <= 200; i++) events.list(i);
      return [events.record(1, "hello")];
    });
    const { browser } = scene;
    await browser.until(`document.querySelectorAll("#clients li").length === 200`);
    const stops: string[] = [];
    for (let i = 0; i < 40 && !stops.includes("log"); i++) {
      await browser.press("Tab");
      stops.push(
        await browser.value("document.activeElement.id || document.activeElement.tagName"),
      );
    }
    assert(stops.indexOf("filter") <= 4, stops.join());
    assertEquals(stops.filter((stop) => stop === "BUTTON").length <= 1, true, stops.join());

    await browser.press("?");
    await browser.find("dialog", "Keys");
    await browser.press("Escape");
    await browser.until(`!document.querySelector("dialog").open`);
    assertEquals(await browser.value("document.activeElement.id"), "log");

    await browser.press("/");
    await browser.press("p");
    await browser.until(`document.activeElement.value === "p"`);
    await browser.find("button", "Pause");
    await browser.press("Escape");
    await browser.press("Escape");
    await browser.press("p");
    await browser.find("button", "Resume");
    await browser.press("]");
    await browser.until(`document.querySelector("#clients button").ariaPressed === "true"`);
    await browser.press("Escape");
    await browser.until(`document.querySelector("#clients button").ariaPressed === "false"`);
  },
});

Deno.test({
  ...BROWSER,
  name: "page fits a phone, a zoom of 200 %, and light and dark",
  async fn() {
    await using scene = await stage((events) =>
      Array.from({ length: 20 }, () => events.record(2, "word ".repeat(100)))
    );
    const { browser } = scene;
    await browser.until(logHas("word word"));
    for (const [width, height] of [[390, 800], [640, 400], [320, 256]] as const) {
      await browser.resize(width, height);
      await browser.until(`innerWidth === ${width}`);
      assert(await browser.value<number>("document.documentElement.scrollWidth") <= width);
      const logHeight = await browser.value<number>(`${LOG}.clientHeight`);
      assert(logHeight > (height > 300 ? height / 2 : 150), `${logHeight} of ${height}`);
    }
    const ground = "getComputedStyle(document.body).backgroundColor";
    await browser.wear("dark");
    const dark = await browser.value(ground);
    await browser.wear("light");
    assert(dark !== await browser.value(ground));
  },
});

// -- Clients --

Deno.test({
  ...BROWSER,
  name: "page shows the line to try, and then who is there and what is said",
  async fn() {
    await using events = new PageEvents();
    await using browser = await Browser.start();
    await browser.open(events.url);
    await browser.until(pageHas("nc 127.0.0.1 1234"));
    events.list(1, { name: "pump" });
    events.tick();
    events.say(events.record(1, "hello world", { name: "pump" }));
    await browser.until(logHas("#1 pump:50001 | hello world"));
    await browser.until(`document.querySelector("#clients button svg")`);
    assertEquals(await browser.value(pageHas("nc 127.0.0.1 1234")), false);
    const end = {
      bytes: 11,
      lines: 1,
      seconds: 0.9,
      reason: "reset by peer",
      event: "disconnected",
    };
    events.say(events.record(1, "", { ...end, message: undefined }));
    await browser.until(
      logHas("#1 127.0.0.1:50001 disconnected: 11 bytes, 1 line, 0.9 s (reset by"),
    );
    await browser.find("button", /^#1 .*1 line.*disconnected$/);
  },
});

Deno.test({
  ...BROWSER,
  name: "page asks the server for the client that is chosen, and goes back to all",
  async fn() {
    await using scene = await stage((events) => [
      events.record(1, "from alice"),
      events.record(2, "from bob"),
    ]);
    const { browser, events } = scene;
    events.snapshot = (url) =>
      url.search.includes("connection=1")
        ? { records: [events.record(1, "complete"), events.record(1, "answer", { event: "sent" })] }
        : { records: [], resumed: true, missed: 7 };
    await browser.click("button", /^#1 /);
    await browser.until(`${logHas("complete")} && !${logHas("from bob")}`);
    await browser.find("button", /^#1 /);
    assertStringIncludes(await browser.value("location.hash"), "#connection=1");
    await untilTrue(() => events.queries.at(-1) === "?connection=1");
    assertEquals(
      await browser.value<string>(`getComputedStyle(${LOG}.querySelector(".sent .said"))
      .borderRightStyle`),
      "solid",
    );
    await browser.click("button", /^#1 /);
    await browser.until(
      `${logHas("from bob")} && ${logHas("7 records not shown here, the log has them")}`,
    );
    await untilTrue(() => events.queries.at(-1) === "?after=id-1");
    await browser.click("button", /^#1 /);
    await browser.until(logHas("complete"));
    await untilTrue(() => events.queries.at(-1) === "?connection=1&after=id-2");
  },
});

Deno.test({
  ...BROWSER,
  name: "page shows gaps of a second and more, with a chosen client only",
  async fn() {
    await using scene = await stage();
    const { browser, events } = scene;
    const records = [
      events.record(1, "one"),
      events.record(1, "two", {}, 0.9),
      events.record(1, "three", {}, 4.2),
    ];
    events.say(...records);
    await browser.until(logHas("three"));
    assertEquals(await browser.value(logHas("+4.2 s")), false);
    events.snapshot = () => ({ records });
    await browser.click("button", /^#1 /);
    await browser.until(logHas("+4.2 s"));
    assertEquals(await browser.value<number>(`${LOG}.childElementCount`), 4);
  },
});

Deno.test({
  ...BROWSER,
  name: "page reaches every client: by scrolling, by sorting, by searching",
  async fn() {
    await using events = new PageEvents();
    for (let i = 1; i <= 450; i++) events.list(i, { rate: i, silent: 1000 - i });
    events.other = ({ searchParams }) => {
      const from = Number(searchParams.get("from"));
      const words = searchParams.get("search") ?? "";
      const found = events.clients.filter(({ connection }) => `#${connection}`.includes(words));
      if (searchParams.get("sort") === "rate") found.reverse();
      return Response.json({ clients: found.slice(from, from + 200), from, total: found.length });
    };
    await using browser = await Browser.start();
    await browser.open(events.url);
    await browser.until(pageHas("and 250 more"));
    const scroll = `document.querySelector("#scroller").scrollTop = 1e6`;
    await browser.until(`(${scroll}, ${pageHas("#450")})`);
    assertEquals(await browser.value(pageHas("more")), false);
    await browser.type("searchbox", "Search clients", "#44");
    await browser.until(`document.querySelectorAll("#clients li").length === 11`);
    await browser.type("searchbox", "Search clients", "");
    await browser.on(
      "combobox",
      "Sort clients",
      `this.value = "rate"; this.dispatchEvent(new Event("input"))`,
    );
    await browser.until(`document.querySelector("#clients li").innerText.startsWith("#450")`);
  },
});

Deno.test({
  ...BROWSER,
  name: "page lists senders of datagrams, with names, certificates and doors",
  async fn() {
    await using events = new PageEvents();
    events.list(1, { certificate: "gateway.example", to: 5141 });
    const udp = {
      transport: "udp",
      host: "192.0.2.7",
      port: 514,
      name: "switch",
      lines: 3,
      bytes: 9,
    };
    events.clients.push({ ...udp, rate: 0, silent: 75 });
    await using browser = await Browser.start();
    await browser.open(events.url);
    const title = await browser.on("button", /^#1 /, "return this.title");
    assertEquals(
      title,
      "#1 127.0.0.1:50001\nto :5141\ncertificate gateway.example\n" +
        "connected since 2026-11-28T21:00:00Z",
    );
    await browser.click("button", /^udp switch:514 3 lines, 9 B · 192.0.2.7 silent 1 min$/);
    await browser.until(`location.hash === "#host=192.0.2.7"`);
    await browser.until(pageHas("192.0.2.7:514 · 3 lines"));
    await untilTrue(() => events.queries.at(-1) === "?host=192.0.2.7");
  },
});

Deno.test({
  ...BROWSER,
  name: "page notices another run of the server",
  async fn() {
    await using scene = await stage((events) => [events.record(1, "old run")]);
    const { browser, events } = scene;
    await browser.until(logHas("old run"));
    events.clients = [];
    events.run = "second";
    events.list(1, { host: "10.0.0.9", port: 9 });
    events.snapshot = () => ({
      records: [events.record(1, "new run", { host: "10.0.0.9", port: 9 })],
    });
    events.drop();
    await browser.until(logHas("#1 10.0.0.9:9 | new run"));
    await browser.until(logHas("earshot was started anew"));
    await browser.find("button", /^#1 10\.0\.0\.9:9 /);
    assertEquals(await browser.value<number>(`document.querySelectorAll("#clients li").length`), 1);
  },
});

// -- Streams --

Deno.test({
  ...BROWSER,
  name: "page says that the connection is lost, and comes back where it was",
  async fn() {
    await using scene = await stage((events) => [events.record(1, "before")]);
    const { browser, events } = scene;
    await browser.until(logHas("before"));
    events.isRefusing = true;
    events.drop();
    await browser.until(pageHas("connection lost"));
    events.snapshot = () => ({ records: [events.record(1, "after")], resumed: true, missed: 0 });
    events.isRefusing = false;
    await browser.until(logHas("| after"));
    assertEquals(events.queries.at(-1), "?after=id-1");
    assertEquals(await browser.value(pageHas("connection lost")), false);
    assertEquals(await browser.value(logHas("not shown here")), false);
    assert(await browser.value(logHas("before")));
  },
});

Deno.test({
  ...BROWSER,
  name: "page lets go of its stream while it is hidden, and keeps its place",
  async fn() {
    await using scene = await stage((events) => events.lines(1, 300));
    const { browser, events } = scene;
    await browser.until(logHas("line 299."));
    await browser.value(`${LOG}.scrollTop = 1000`);
    await browser.until(`!document.querySelector("#follow").checked`);
    await browser.hide(true);
    await untilTrue(() => events.streams === 0);
    events.snapshot = () => ({ records: events.lines(1, 3, "later"), resumed: true, missed: 41 });
    await browser.hide(false);
    await browser.until(logHas("41 records not shown here, the log has them"));
    await browser.until(logHas("later 2."));
    assertEquals(await browser.value(`${LOG}.scrollTop`), 1000);
    assertEquals(await browser.value(`${LOG}.childElementCount`), 304);
    assertEquals(events.queries.at(-1), "?after=id-1");
  },
});

Deno.test({
  ...BROWSER,
  name: "page counts the records that were skipped, over streams",
  async fn() {
    await using scene = await stage();
    const { browser, events } = scene;
    events.tick(4500);
    await browser.until(pageHas("4500 records skipped"));
    events.snapshot = () => ({ records: [], resumed: true, missed: 0 });
    events.drop();
    await browser.until(pageHas("connection lost"));
    await browser.until(pageHas("live at"));
    events.tick(10);
    await browser.until(pageHas("4510 records skipped"));
  },
});
