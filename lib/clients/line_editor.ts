/**
 * A line that is edited on a terminal, to which others write at the same time.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { EventEmitter } from "node:events";
import { createInterface, type Interface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import type { ByteStream } from "../../poller.ts";
import { encode, LF } from "../bytes.ts";
import { PIPE_BYTES, type Sink, type Terminal, writeAll } from "../io.ts";

/** The longest line, as in a terminal that is not raw; readline slows down with the length. */
const MAX_LINE = 4096;
/** So many characters at once are pasted, not pressed. */
const PASTED = 16;
const KEY_BYTES = 1024;
const HISTORY_LINES = 1000;
/** What no key makes: only text, its tabs and its line ends. */
// deno-lint-ignore no-control-regex -- keys are control characters
const TEXT = /^[^\x00-\x08\x0B\x0C\x0E-\x1F\x7F]*$/;
const LINE_END = /\r\n|\r|\n/;
const BELL = "\x07";
const TOO_LONG =
  `earshot: Cannot send a line of more than ${MAX_LINE} characters from a terminal: it is dropped\n`;

/**
 * The lines that are typed on a terminal, as a stream. What others write goes through
 * {@linkcode above}: it stands above the line that is being typed, which is drawn again.
 * Everything that goes to the terminal is composed in the order in which it is written, so that
 * what readline draws always meets what it has drawn before.
 */
export class LineEditor implements ByteStream, AsyncDisposable {
  readonly #terminal: Terminal;
  readonly #keys = new Keys();
  readonly #canvas: Canvas;
  readonly #readline: Readline;
  readonly #decoder = new TextDecoder();
  readonly #typed = new Lines();
  #listening: Disposable | undefined;
  #state: "new" | "open" | "ended" = "new";
  /** Whether the line is on the screen: not in the middle of what others write. */
  #isDrawn = false;
  /** Whether characters were refused that do not fit in the line. */
  #isTooLong = false;
  /** Whether Ctrl-D was the last key, behind a line that is not empty. */
  #isHandedOver = false;
  /** How the line looks, until it changes. */
  #lastLook: { readonly of: string; readonly text: string; readonly rows: number } | undefined;
  #written: Promise<void> = Promise.resolve();

  constructor(terminal: Terminal, prompt: string) {
    this.#terminal = terminal;
    this.#canvas = new Canvas(terminal.columns(), (text) => this.#isDrawn && this.#put(text));
    this.#readline = createInterface({
      input: this.#keys as unknown as Readable,
      output: this.#canvas as unknown as Writable,
      terminal: true,
      prompt,
      historySize: HISTORY_LINES,
    });
    this.#readline.on("line", (line) => this.#onLine(line));
    this.#keys.prependListener("keypress", (_, key) => this.#beforeKey(key));
  }

  // -- The stream --

  /** Reads typed lines, each with its line end. */
  read(target: Uint8Array): Promise<number | null> {
    if (this.#state === "new") this.#open();
    return this.#typed.read(target);
  }

  #open(): void {
    this.#state = "open";
    this.#terminal.setRaw(true);
    this.#listening = this.#terminal.listen({
      resized: () => {
        this.#canvas.columns = this.#terminal.columns();
        this.#erase();
        this.#draw();
      },
      continued: () => {
        this.#terminal.setRaw(true);
        this.#draw();
      },
    });
    this.#isDrawn = true;
    this.#draw();
    this.#hearKeys();
  }

  async #hearKeys(): Promise<void> {
    const target = new Uint8Array(KEY_BYTES);
    try {
      while (this.#state === "open") {
        const count = await this.#terminal.keys.read(target);
        if (count === null) break;
        this.#type(this.#decoder.decode(target.subarray(0, count), { stream: true }));
        // A terminal that is slow takes fewer keys.
        await this.#written;
      }
      this.#finish();
    } catch (error) {
      this.#finish();
      this.#typed.fail(error as Error);
    }
  }

  close(): void {
    this.#finish();
    this.#terminal.keys.close?.();
  }

  /** Closes it, and waits until the terminal has taken what was written. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#finish();
    await this.#written;
  }

  /** Gives the terminal back as it was. */
  #finish(): void {
    if (this.#state === "ended") return;
    if (this.#state === "open") this.#terminal.setRaw(false);
    this.#state = "ended";
    this.#listening?.[Symbol.dispose]();
    this.#erase();
    this.#isDrawn = false;
    this.#readline.close();
    this.#typed.end();
  }

  // -- Keys --

  #type(text: string): void {
    if (text.length < PASTED || !TEXT.test(text)) return this.#press(text);
    for (const [i, part] of text.split(LINE_END).entries()) {
      if (i > 0) this.#press("\r");
      this.#paste(part);
    }
  }

  #press(keys: string): void {
    if (this.#hasRoom(keys)) this.#keys.emit("data", encode(keys));
    if (this.#readline.line === "") this.#isTooLong = false;
  }

  /** Key by key, readline would look at the whole line for each. */
  #paste(text: string): void {
    if (text === "" || !this.#hasRoom(text)) return;
    this.#readline.prevRows = this.#readline.getCursorPos().rows;
    this.#readline.write(text);
  }

  /** Refuses text for which the line has no room; other keys may make some. */
  #hasRoom(keys: string): boolean {
    if (!TEXT.test(keys) || LINE_END.test(keys)) return true;
    if (this.#readline.line.length + keys.length <= MAX_LINE) return true;
    this.#isTooLong = true;
    this.#put(BELL);
    return false;
  }

  /**
   * Ctrl-D ends the typing in an empty line. Behind one that is not empty, where readline does
   * nothing, a second one does, as in a terminal that is not raw.
   */
  #beforeKey({ ctrl, name }: { readonly ctrl?: boolean; readonly name?: string }): void {
    const { line, cursor } = this.#readline;
    this.#readline.prevRows = this.#readline.getCursorPos().rows;
    const isAtEnd = ctrl === true && name === "d" && cursor === line.length;
    if (isAtEnd && (line === "" || this.#isHandedOver)) {
      this.#typed.put(encode(line));
      this.#finish();
      this.#put("earshot: typing has ended\n");
    }
    this.#isHandedOver = isAtEnd;
  }

  #onLine(line: string): void {
    if (this.#isTooLong) this.#put(TOO_LONG);
    else this.#typed.put(encode(`${line}\n`));
    this.#isTooLong = false;
    this.#draw();
  }

  // -- The screen --

  /** Has the prompt say this from now on. */
  setPrompt(prompt: string): void {
    this.#erase();
    this.#readline.setPrompt(prompt);
    this.#draw();
  }

  /** A sink on the same terminal: what goes there is written above the line. */
  above(sink: Sink): Sink {
    const write = (bytes: Uint8Array) => this.#writeAbove(sink, bytes);
    return { write, writeInline: write };
  }

  async #writeAbove(sink: Sink, bytes: Uint8Array): Promise<number> {
    if (this.#state !== "open") {
      await this.#written;
      return await sink.write(bytes);
    }
    const piece = wholeLines(bytes);
    const before = this.#erasure;
    this.#isDrawn = piece.at(-1) === LF;
    await this.#write(sink, Buffer.concat([encode(before), piece, encode(this.#drawing)]));
    return piece.length;
  }

  #draw(): void {
    this.#put(this.#drawing);
  }

  #erase(): void {
    this.#put(this.#erasure);
  }

  /** What draws the line where the cursor is at the start of a row. */
  get #drawing(): string {
    return this.#isDrawn ? this.#look.text : "";
  }

  /** What takes the line away; the cursor is at the start of a row then. */
  get #erasure(): string {
    if (!this.#isDrawn) return "";
    const { rows } = this.#look;
    return `${rows > 0 ? `\x1B[${rows}A` : ""}\r\x1B[J`;
  }

  /** The look of the line is kept: to find it takes readline a microsecond a character. */
  get #look() {
    const { line, cursor } = this.#readline;
    const of = [cursor, this.#canvas.columns, this.#readline.getPrompt(), line].join(" ");
    if (this.#lastLook?.of !== of) {
      const text = this.#canvas.capture(() => refresh(this.#readline));
      this.#lastLook = { of, text, rows: this.#readline.getCursorPos().rows };
    }
    return this.#lastLook;
  }

  #put(text: string): void {
    if (text !== "") this.#write(this.#terminal.screen, encode(text)).catch(() => {});
  }

  /** Writes behind all that was written before; a failure is the caller's. */
  #write(sink: Sink, bytes: Uint8Array): Promise<void> {
    const writing = this.#written.then(() => writeAll(sink, bytes));
    this.#written = writing.catch(() => {});
    return writing;
  }
}

/** Whole lines from the front, as many as fit; of one that is too long, as much as fits. */
function wholeLines(bytes: Uint8Array): Uint8Array {
  const end = bytes.lastIndexOf(LF, PIPE_BYTES - 1) + 1;
  return bytes.subarray(0, end || PIPE_BYTES);
}

/**
 * Readline goes up so many rows before it draws its line anew: those that the cursor was down
 * when it last did so, which is wrong after a wide character at the edge, after a paste, and where
 * others have written since.
 */
type Readline = Interface & { prevRows?: number };

/** Has readline draw its line where the cursor is. */
function refresh(readline: Readline): void {
  readline.prevRows = 0;
  readline.prompt(true);
}

/** What readline takes for a stream of keys. */
class Keys extends EventEmitter {
  resume(): this {
    return this;
  }

  pause(): this {
    return this;
  }
}

/** What readline takes for a terminal to draw on. */
class Canvas extends EventEmitter {
  readonly isTTY = true;
  columns: number;
  readonly #onDrawn: (text: string) => void;
  #captured: string | undefined;

  constructor(columns: number, onDrawn: (text: string) => void) {
    super();
    this.columns = columns;
    this.#onDrawn = onDrawn;
  }

  write(text: string): boolean {
    if (this.#captured === undefined) this.#onDrawn(text);
    else this.#captured += text;
    return true;
  }

  /** What is drawn meanwhile goes nowhere, but is returned. */
  capture(draw: () => void): string {
    this.#captured = "";
    draw();
    const text = this.#captured;
    this.#captured = undefined;
    return text;
  }
}

/** Lines that wait to be read. */
class Lines {
  #waiting = new Uint8Array(0);
  #end: { readonly error: Error | undefined } | undefined;
  #arrived = Promise.withResolvers<void>();

  put(bytes: Uint8Array): void {
    this.#waiting = new Uint8Array(Buffer.concat([this.#waiting, bytes]));
    this.#arrived.resolve();
  }

  end(): void {
    this.#end ??= { error: undefined };
    this.#arrived.resolve();
  }

  /** The end is a failure. */
  fail(error: Error): void {
    this.#end = { error };
    this.#arrived.resolve();
  }

  async read(target: Uint8Array): Promise<number | null> {
    await this.#arrived.promise;
    const count = Math.min(this.#waiting.length, target.length);
    target.set(this.#waiting.subarray(0, count));
    this.#waiting = this.#waiting.subarray(count);
    if (this.#waiting.length === 0 && !this.#end) this.#arrived = Promise.withResolvers();
    if (count > 0) return count;
    if (this.#end?.error) throw this.#end.error;
    return null;
  }
}
