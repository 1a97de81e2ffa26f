/**
 * A headless Chromium, over its DevTools protocol. What is on the page is found as
 * people find it who do not see: by role and name. Not published.
 *
 * @module
 */

import { needs } from "./needs.ts";
import { pause } from "./waiting.ts";

export const CHROMIUM = "/usr/bin/chromium";

const FLAGS = [
  ..."headless no-sandbox disable-gpu disable-quic no-first-run disable-sync".split(" "),
  ..."disable-background-networking disable-component-update remote-debugging-port=0".split(" "),
];

const PATIENCE_MS = 20_000;

/** What stands on the page for programs that read it out. */
export interface Accessible {
  readonly role: string;
  readonly name: string;
  readonly node: number;
}

interface AxNode {
  readonly ignored: boolean;
  readonly role?: { readonly value: string };
  readonly name?: { readonly value: string };
  readonly backendDOMNodeId?: number;
}

/** One Chromium for all tests of a file: its start takes a second of a processor. */
let chromium: Chromium | undefined;

if (!needs(CHROMIUM).ignore) {
  // Of the file that imports this.
  Deno.test.beforeAll(async () => {
    chromium = await Chromium.start();
  });
  Deno.test.afterAll(() => chromium?.[Symbol.asyncDispose]());
}

class Chromium implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #folder: string;
  readonly url: string;

  private constructor(process: Deno.ChildProcess, folder: string, url: string) {
    this.#process = process;
    this.#folder = folder;
    this.url = url;
  }

  static async start(): Promise<Chromium> {
    const folder = await Deno.makeTempDir();
    const flags = [...FLAGS, `user-data-dir=${folder}`].map((flag) => `--${flag}`);
    const quiet = { stdin: "null", stdout: "null", stderr: "null" } as const;
    const process = new Deno.Command(CHROMIUM, { args: [...flags, "about:blank"], ...quiet })
      .spawn();
    return new Chromium(process, folder, await debuggerUrl(folder));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGTERM");
    await this.#process.status;
    await removeFolder(this.#folder);
  }
}

/** Windows that no test has now: the process behind a new one takes half a second. */
const parked: string[] = [];

/** A window for itself, which shares nothing with those of other tests. */
export class Browser implements AsyncDisposable {
  readonly #socket: WebSocket;
  readonly #calls = new Map<number, PromiseWithResolvers<Record<string, unknown>>>();
  /** Errors that the page did not catch. */
  readonly errors: string[] = [];
  #window: string | undefined;
  #session: string | undefined;
  #lastId = 0;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.onmessage = ({ data }) => this.#take(JSON.parse(data));
  }

  static async start(): Promise<Browser> {
    const socket = new WebSocket(chromium!.url);
    await new Promise((resolve) => socket.onopen = resolve);
    const browser = new Browser(socket);
    await browser.#attach(parked.pop() ?? await browser.#openWindow());
    await browser.call("Runtime.enable");
    await browser.resize(1440, 800);
    return browser;
  }

  async #openWindow(): Promise<string> {
    const { browserContextId } = await this.call("Target.createBrowserContext");
    const { targetId } = await this.call("Target.createTarget", {
      url: "about:blank",
      browserContextId,
    });
    return targetId as string;
  }

  /** What a session emulates ends with it. */
  async #attach(targetId: string): Promise<void> {
    const attached = await this.call("Target.attachToTarget", { targetId, flatten: true });
    this.#window = targetId;
    this.#session = attached.sessionId as string;
  }

  #take(message: {
    id?: number;
    method?: string;
    params?: { exceptionDetails: object };
    result: Record<string, unknown>;
    error?: { message: string };
  }): void {
    if (message.method === "Runtime.exceptionThrown") {
      this.errors.push(JSON.stringify(message.params!.exceptionDetails));
    }
    const call = this.#calls.get(message.id ?? 0);
    if (message.error) call?.reject(new Error(message.error.message));
    else call?.resolve(message.result);
  }

  async call(method: string, params: object = {}): Promise<Record<string, unknown>> {
    const id = ++this.#lastId;
    const call = Promise.withResolvers<Record<string, unknown>>();
    this.#calls.set(id, call);
    const sessionId = this.#session;
    this.#socket.send(JSON.stringify({ id, method, params, ...sessionId && { sessionId } }));
    return await call.promise;
  }

  // -- Looking --

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

  /** Waits until an expression is true in the page; one that throws is not yet. */
  async until(expression: string): Promise<void> {
    const deadlineMs = performance.now() + PATIENCE_MS;
    const condition =
      `(async () => { try { return Boolean(await (${expression})); } catch { return false; } })()`;
    while (!await this.value<boolean>(condition)) await patience(deadlineMs, expression);
  }

  /** All that is there by role and name. */
  async accessibles(): Promise<Accessible[]> {
    const { nodes } = await this.call("Accessibility.getFullAXTree") as { nodes: AxNode[] };
    return accessiblesIn(nodes);
  }

  /** What is there of one role: of all, the thousands of rows take a second. */
  async #accessiblesOf(role: string): Promise<Accessible[]> {
    const { result } = await this.call("Runtime.evaluate", { expression: "document" }) as {
      result: { objectId: string };
    };
    const { nodes } = await this.call("Accessibility.queryAXTree", {
      objectId: result.objectId,
      role,
    }) as { nodes: AxNode[] };
    return accessiblesIn(nodes);
  }

  /** Waits for something by its role and name. */
  async find(role: string, name: string | RegExp): Promise<Accessible> {
    const deadlineMs = performance.now() + PATIENCE_MS;
    for (;;) {
      const found = (await this.#accessiblesOf(role)).find((one) =>
        typeof name === "string" ? one.name === name : name.test(one.name)
      );
      if (found) return found;
      await patience(deadlineMs, `${role} ${name}`);
    }
  }

  /** Calls a function, whose `this` is what has that role and name. */
  async on<T>(role: string, name: string | RegExp, body: string): Promise<T> {
    const { node } = await this.find(role, name);
    const { object } = await this.call("DOM.resolveNode", { backendNodeId: node }) as {
      object: { objectId: string };
    };
    const { result } = await this.call("Runtime.callFunctionOn", {
      objectId: object.objectId,
      functionDeclaration: `function () { ${body} }`,
      returnByValue: true,
      userGesture: true,
    }) as { result: { value: T } };
    return result.value;
  }

  // -- Hands --

  async open(url: string): Promise<void> {
    await this.call("Page.navigate", { url: "about:blank" });
    await this.call("Page.navigate", { url });
    await this.until(`document.querySelector("#state").textContent === "live"`);
  }

  async click(role: string, name: string | RegExp): Promise<void> {
    await this.on(role, name, "this.click()");
  }

  async type(role: string, name: string, text: string): Promise<void> {
    await this.on(role, name, `this.focus(); this.select(); document.execCommand("delete")`);
    if (text) await this.call("Input.insertText", { text });
  }

  async press(key: string): Promise<void> {
    const named: Record<string, number> = { Enter: 13, Escape: 27, Tab: 9 };
    const isLetter = /^[a-z]$/i.test(key);
    const windowsVirtualKeyCode = named[key] ?? (isLetter ? key.toUpperCase().charCodeAt(0) : 0);
    const text = key.length === 1 ? key : key === "Enter" ? "\r" : undefined;
    const event = { key, windowsVirtualKeyCode, ...text && { text } };
    await this.call("Input.dispatchKeyEvent", { type: "keyDown", ...event });
    await this.call("Input.dispatchKeyEvent", { type: "keyUp", key, windowsVirtualKeyCode });
  }

  async resize(width: number, height: number): Promise<void> {
    const size = { width, height, deviceScaleFactor: 1, mobile: width < 600 };
    await this.call("Emulation.setDeviceMetricsOverride", size);
  }

  async wear(scheme: "light" | "dark"): Promise<void> {
    const features = [{ name: "prefers-color-scheme", value: scheme }];
    await this.call("Emulation.setEmulatedMedia", { features });
  }

  /** As another tab in front of it would. */
  async hide(isHidden: boolean): Promise<void> {
    await this.value(`{
      Object.defineProperty(document, "hidden", { get: () => ${isHidden}, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.value("{ try { sessionStorage.clear(); } catch {} }");
    await this.call("Page.navigate", { url: "about:blank" });
    parked.push(this.#window!);
    const closed = new Promise((resolve) => this.#socket.onclose = resolve);
    this.#socket.close();
    await closed;
  }
}

function accessiblesIn(nodes: readonly AxNode[]): Accessible[] {
  return nodes.filter(({ ignored }) => !ignored).map((node) => ({
    role: node.role?.value ?? "",
    name: node.name?.value ?? "",
    node: node.backendDOMNodeId ?? 0,
  }));
}

/** A condition that does not come shows itself, and not only the name of its test. */
async function patience(deadlineMs: number, condition: string): Promise<void> {
  if (performance.now() > deadlineMs) throw new Error(`Waited in vain for ${condition}`);
  await pause(20);
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
