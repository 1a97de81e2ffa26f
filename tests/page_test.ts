import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { encode } from "../lib/bytes.ts";
import { History } from "../lib/records/history.ts";
import type { Subject } from "../lib/records/records.ts";
import { pause } from "./support/testing.ts";
import type { Watched } from "../lib/web/event_stream.ts";
import { Web } from "../lib/web/web.ts";
import { needs } from "./support/needs.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const CHROMIUM = "/usr/bin/chromium";

// -- A browser, over its DevTools protocol --

class Browser implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #folder: string;
  readonly #socket: WebSocket;
  readonly #calls = new Map<number, PromiseWithResolvers<Record<string, unknown>>>();
  #session: string | undefined;
  #lastId = 0;

  private constructor(process: Deno.ChildProcess, folder: string, socket: WebSocket) {
    this.#process = process;
    this.#folder = folder;
    this.#socket = socket;
    socket.onmessage = ({ data }) => {
      const { id, result, error } = JSON.parse(data);
      const call = this.#calls.get(id);
      if (error) call?.reject(new Error(error.message));
      else call?.resolve(result);
    };
  }

  static async start(): Promise<Browser> {
    const folder = await Deno.makeTempDir();
    const process = new Deno.Command(CHROMIUM, {
      args: [
        ..."headless no-sandbox disable-gpu disable-quic no-first-run disable-sync".split(" "),
        ..."disable-background-networking disable-component-update".split(" "),
        "remote-debugging-port=0",
        `user-data-dir=${folder}`,
      ].map((flag) => `--${flag}`).concat("about:blank"),
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    const socket = new WebSocket(await debuggerUrl(folder));
    await new Promise((resolve) => socket.onopen = resolve);
    const browser = new Browser(process, folder, socket);
    const { targetInfos } = await browser.call("Target.getTargets") as {
      targetInfos: { type: string; targetId: string }[];
    };
    const { targetId } = targetInfos.find(({ type }) => type === "page")!;
    const attached = await browser.call("Target.attachToTarget", { targetId, flatten: true });
    browser.#session = attached.sessionId as string;
    return browser;
  }

  async call(method: string, params: object = {}): Promise<Record<string, unknown>> {
    const id = ++this.#lastId;
    const call = Promise.withResolvers<Record<string, unknown>>();
    this.#calls.set(id, call);
    const sessionId = this.#session;
    this.#socket.send(JSON.stringify({ id, method, params, ...sessionId && { sessionId } }));
    return await call.promise;
  }

  /** The value of an expression in the page. */
  async value<T>(expression: string): Promise<T> {
    const { result, exceptionDetails } = await this.call("Runtime.evaluate", {
      expression,
      returnByValue: true,
      awaitPromise: true,
    }) as { result: { value: T }; exceptionDetails?: { text: string } };
    if (exceptionDetails) throw new Error(`${exceptionDetails.text} in ${expression}`);
    return result.value;
  }

  /** Waits until an expression is true in the page. */
  async until(expression: string): Promise<void> {
    while (!await this.value<boolean>(`Boolean(${expression})`)) await pause(20);
  }

  async open(url: string): Promise<void> {
    await this.call("Page.navigate", { url });
    await this.until(`document.querySelector("#state")?.textContent.startsWith("live")`);
  }

  async resize(width: number, height: number): Promise<void> {
    const size = { width, height, deviceScaleFactor: 1, mobile: width < 600 };
    await this.call("Emulation.setDeviceMetricsOverride", size);
  }

  async wear(scheme: "light" | "dark"): Promise<void> {
    const features = [{ name: "prefers-color-scheme", value: scheme }];
    await this.call("Emulation.setEmulatedMedia", { features });
  }

  async screenshot(file: string): Promise<void> {
    const { data } = await this.call("Page.captureScreenshot") as { data: string };
    await Deno.writeFile(file, Uint8Array.fromBase64(data));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#socket.onclose = resolve);
    this.#session = undefined;
    this.#socket.send(JSON.stringify({ id: 0, method: "Browser.close" }));
    await this.#process.status;
    await closed;
    await removeFolder(this.#folder);
  }
}

/** Helpers of the browser may still write there for a moment. */
async function removeFolder(folder: string): Promise<void> {
  for (let tries = 0; tries < 50; tries++) {
    try {
      return await Deno.remove(folder, { recursive: true });
    } catch {
      await pause(50);
    }
  }
}

async function debuggerUrl(folder: string): Promise<string> {
  for (;;) {
    try {
      const text = await Deno.readTextFile(`${folder}/DevToolsActivePort`);
      const [port, path] = text.split("\n");
      if (path) return `ws://127.0.0.1:${port}${path}`;
    } catch {
      // Not written yet.
    }
    await pause(20);
  }
}

// -- A server without a log --

class Stage implements AsyncDisposable {
  readonly history = new History();
  readonly clients: (Watched & { lines: number; bytes: number })[] = [];
  #lines = 0;
  #web: Web;

  constructor() {
    this.#web = this.#open(0);
  }

  #open(port: number): Web {
    return new Web({
      host: "127.0.0.1",
      port,
      history: this.history,
      clients: this.clients,
      totals: () => ({
        open: this.clients.length,
        connections: this.clients.length,
        refused: 0,
        lines: this.#lines,
        bytes: 100 * this.#lines,
        cut: 0,
        datagrams: 0,
      }),
      metrics: () => "",
      trouble: () => undefined,
      isLogShort: () => false,
      say: () => {},
      example: "nc 127.0.0.1 1234",
      now: Date.now,
    });
  }

  get url(): string {
    return `http://127.0.0.1:${this.#web.addr.port}/`;
  }

  connect(number: number, host = "127.0.0.1"): Subject {
    const peer = { kind: "ip", host, port: 50_000 + number } as const;
    const subject = { number, peer };
    this.clients.push({ subject, connectedAtMs: performance.now(), lines: 0, bytes: 0 });
    this.history.event(subject, { event: "connected" }, Date.now());
    return subject;
  }

  say(from: Subject, text: string | Uint8Array): void {
    const bytes = typeof text === "string" ? encode(text) : text;
    this.history.received(from, bytes, 0, bytes.length, true, Date.now());
    this.#lines++;
    const client = this.clients.find(({ subject }) => subject.number === from.number);
    if (client) client.lines++, client.bytes += bytes.length;
  }

  disconnect({ number, peer }: Subject): void {
    const at = this.clients.findIndex(({ subject }) => subject.number === number);
    const [{ lines, bytes }] = this.clients.splice(at, 1) as [Watched];
    const reason = { tag: "closed" } as const;
    const event = { event: "disconnected", bytes, lines, seconds: 0.9, reason } as const;
    this.history.event({ number: number!, peer }, event, Date.now());
  }

  async restart(during: () => Promise<void>): Promise<void> {
    const { port } = this.#web.addr;
    await this.#web.finish();
    await during();
    this.#web = this.#open(port);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#web.finish();
  }
}

const TEXTS = `[...document.querySelectorAll("[role=log] > *")].map((row) => row.innerText)`;

function logHas(text: string): string {
  return `document.querySelector("[role=log]").innerText.includes(${JSON.stringify(text)})`;
}

function click(selector: string): string {
  return `document.querySelector(${JSON.stringify(selector)}).click()`;
}

function type(text: string): string {
  return `{
    const field = document.querySelector("[aria-label=Filter]");
    field.value = ${JSON.stringify(text)};
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }`;
}

Deno.test({
  ...needs(CHROMIUM),
  name: "page shows the line to try, and then who is there and what is said",
  async fn() {
    await using stage = new Stage();
    await using browser = await Browser.start();
    await browser.open(stage.url);
    assertStringIncludes(await browser.value("document.body.innerText"), "nc 127.0.0.1 1234");
    const alice = stage.connect(1);
    stage.say(alice, "hello world");
    await browser.until(logHas("#1 127.0.0.1:50001 | hello world"));
    await browser.until(`document.querySelector("#clients button svg")`);
    await browser.until(`document.querySelector("#clients li").innerText.includes("1 line,")`);
    assertEquals(
      await browser.value("getComputedStyle(document.getElementById('empty')).display"),
      "none",
    );
    stage.disconnect(alice);
    await browser.until(logHas("#1 127.0.0.1:50001 disconnected: 11 bytes, 1 line, 0.9 s"));
    await browser.until(`document.querySelector("#clients").innerText.includes("disconnected")`);
  },
});

Deno.test({
  ...needs(CHROMIUM),
  name: "page offers its parts by name",
  async fn() {
    await using stage = new Stage();
    await using browser = await Browser.start();
    stage.say(stage.connect(1), "hello");
    await browser.open(stage.url);
    await browser.until(`document.querySelector("#clients button")`);
    const { nodes } = await browser.call("Accessibility.getFullAXTree") as {
      nodes: { role?: { value: string }; name?: { value: string } }[];
    };
    const names = nodes.map(({ role, name }) => `${role?.value} ${name?.value}`);
    for (
      const name of [
        "list Clients",
        "log Log",
        "searchbox Filter",
        "button Pause",
        "checkbox Follow",
        "button Clear",
      ]
    ) assert(names.includes(name), `${name} in ${names.join(", ")}`);
    assert(
      names.some((name) => /^button #1 127.0.0.1:50001 .*1 line/.test(name)),
      names.join(", "),
    );
  },
});

Deno.test({
  ...needs(CHROMIUM),
  name: "page shows one client's lines when it is chosen, and all the second time",
  async fn() {
    await using stage = new Stage();
    await using browser = await Browser.start();
    const [alice, bob] = [stage.connect(1), stage.connect(2)];
    stage.say(alice, "from alice");
    stage.say(bob, "from bob");
    await browser.open(stage.url);
    await browser.until(logHas("from bob"));
    await browser.value(click("#clients button"));
    await browser.until(`!${logHas("from bob")} && ${logHas("from alice")}`);
    assertEquals(
      await browser.value("document.querySelector('#clients button').ariaPressed"),
      "true",
    );
    stage.say(bob, "bob again");
    stage.say(alice, "alice again");
    await browser.until(logHas("alice again"));
    assertEquals(await browser.value(logHas("bob again")), false);
    await browser.value(click("#clients button"));
    await browser.until(`${logHas("from bob")} && ${logHas("bob again")}`);
  },
});

Deno.test({
  ...needs(CHROMIUM),
  name: "page filters by literal text",
  async fn() {
    await using stage = new Stage();
    await using browser = await Browser.start();
    const alice = stage.connect(1);
    for (const line of ["a.c", "abc", "(x"]) stage.say(alice, line);
    await browser.open(stage.url);
    await browser.until(logHas("| (x"));
    await browser.value(type("a.c"));
    await browser.until(`!${logHas("| abc")} && ${logHas("| a.c")}`);
    await browser.value(type("(x"));
    await browser.until(`!${logHas("| a.c")} && ${logHas("| (x")}`);
    await browser.value(type(""));
    await browser.until(logHas("| abc"));
  },
});

Deno.test({
  ...needs(CHROMIUM),
  name: "page stands still while paused and catches up",
  async fn() {
    await using stage = new Stage();
    await using browser = await Browser.start();
    const alice = stage.connect(1);
    stage.say(alice, "before");
    await browser.open(stage.url);
    await browser.until(logHas("| before"));
    await browser.value(click("#pause"));
    assertEquals(await browser.value("document.querySelector('#pause').textContent"), "Resume");
    stage.say(alice, "meanwhile");
    await browser.until(`document.querySelector("#clients").innerText.includes("2 lines")`);
    assertEquals(await browser.value(logHas("meanwhile")), false);
    await browser.value(click("#pause"));
    await browser.until(logHas("| meanwhile"));
  },
});

Deno.test({
  ...needs(CHROMIUM),
  name: "page follows the end until it is scrolled up",
  async fn() {
    await using stage = new Stage();
    await using browser = await Browser.start();
    const alice = stage.connect(1);
    await browser.open(stage.url);
    for (let i = 0; i < 300; i++) stage.say(alice, `line ${i}`);
    await browser.until(logHas("line 299"));
    const isAtEnd = "logBox.scrollTop > 0 && isAtEnd()";
    await browser.until(isAtEnd);
    await browser.value("logBox.scrollTop = 500");
    await browser.until("!document.querySelector('#follow').checked");
    stage.say(alice, "one more");
    await browser.until(logHas("one more"));
    assertEquals(await browser.value("logBox.scrollTop"), 500);
    await browser.value(click("#follow"));
    await browser.until(isAtEnd);
  },
});

Deno.test({
  ...needs(CHROMIUM),
  name: "page clears the log, and goes on",
  async fn() {
    await using stage = new Stage();
    await using browser = await Browser.start();
    const alice = stage.connect(1);
    stage.say(alice, "old");
    await browser.open(stage.url);
    await browser.until(logHas("| old"));
    await browser.value(click("#clear"));
    await browser.until(`!${logHas("| old")}`);
    stage.say(alice, "new");
    await browser.until(logHas("| new"));
  },
});

Deno.test({
  ...needs(CHROMIUM),
  name: "page says that the connection is lost, and comes back",
  async fn() {
    await using stage = new Stage();
    await using browser = await Browser.start();
    await browser.open(stage.url);
    await stage.restart(() => browser.until(`document.body.innerText.includes("connection lost")`));
    stage.say(stage.connect(1), "back");
    await browser.until(logHas("| back"));
    assertEquals(await browser.value(`document.body.innerText.includes("connection lost")`), false);
  },
});

Deno.test({
  ...needs(CHROMIUM),
  name: "page shows the last 500 records after a reload",
  async fn() {
    await using stage = new Stage();
    await using browser = await Browser.start();
    const alice = stage.connect(1);
    for (let i = 0; i < 700; i++) stage.say(alice, `line ${i}.`);
    await browser.open(stage.url);
    await browser.until(logHas("line 699."));
    const texts = await browser.value<string[]>(TEXTS);
    assertEquals(texts.length, 500);
    assertStringIncludes(texts[0]!, "| line 200.");
  },
});

Deno.test({
  ...needs(CHROMIUM),
  name: "page counts the records that a flood leaves out",
  async fn() {
    await using stage = new Stage();
    await using browser = await Browser.start();
    const alice = stage.connect(1);
    await browser.open(stage.url);
    for (let i = 0; i < 5000; i++) stage.say(alice, `line ${i}.`);
    await browser.until(logHas("line 4999."));
    await browser.until(`document.body.innerText.includes("4500 records skipped")`);
  },
});

Deno.test({
  ...needs(CHROMIUM),
  name: "page takes what clients say as text",
  async fn() {
    await using stage = new Stage();
    await using browser = await Browser.start();
    const alice = stage.connect(1);
    const markup =
      `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>`;
    stage.say(alice, markup);
    stage.say(alice, "\x1b[31mred\u202Eevil\u{E0041}\u200B");
    stage.say(alice, new Uint8Array([0x61, 0xFF, 0xC3, 0xA9, 0xE2, 0x82]));
    await browser.open(stage.url);
    await browser.until(logHas(`| ${markup}`));
    await browser.until(logHas("| \\x1B[31mred\\u{202E}evil\\u{E0041}\\u{200B}"));
    await browser.until(logHas("| a\\xFFé\\xE2\\x82"));
    assertEquals(await browser.value("document.title"), "earshot");
    assertEquals(
      await browser.value("document.querySelectorAll('#log img, #log script').length"),
      0,
    );
  },
});

Deno.test({
  ...needs(CHROMIUM),
  name: "page fits a phone, in light and dark",
  async fn() {
    await using stage = new Stage();
    await using browser = await Browser.start();
    for (let i = 1; i <= 5; i++) stage.say(stage.connect(i, `2001:db8::${i}`), "word ".repeat(100));
    await browser.resize(360, 740);
    await browser.wear("dark");
    await browser.open(stage.url);
    await browser.until(logHas("#5 [2001:db8::5]:50005 | word"));
    assert(await browser.value<number>("document.documentElement.scrollWidth") <= 360);
    assert(await browser.value<number>("logBox.clientHeight") > 200);
    const ground = "getComputedStyle(document.body).backgroundColor";
    const dark = await browser.value(ground);
    await browser.wear("light");
    assert(dark !== await browser.value(ground));
  },
});

Deno.test({
  ...needs(CHROMIUM),
  name: "page says how many clients are not listed",
  async fn() {
    await using stage = new Stage();
    await using browser = await Browser.start();
    for (let i = 1; i <= 230; i++) stage.connect(i);
    await browser.open(stage.url);
    await browser.until(`document.querySelector("#more").innerText === "and 30 more"`);
    assertEquals(await browser.value("document.querySelectorAll('#clients li').length"), 200);
  },
});
