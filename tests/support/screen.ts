/**
 * A terminal in memory: it shows what is written to it, and presses keys. Not published.
 *
 * @module
 */

import { decode } from "../../lib/bytes.ts";
import type { Sink, Terminal } from "../../lib/io.ts";
import { MemoryStream } from "./memory.ts";

// deno-lint-ignore no-control-regex -- what a terminal obeys
const SEQUENCE = /\x1B\[(\d*)([A-Z])|[^]/gu;

/** Rows of characters, and the cursor, which waits behind the last column before it wraps. */
export class Screen implements Sink {
  readonly rows: string[] = [""];
  readonly columns: number;
  row = 0;
  column = 0;
  bells = 0;

  constructor(columns: number) {
    this.columns = columns;
  }

  write(bytes: Uint8Array): Promise<number> {
    for (const [character, count, letter] of decode(bytes).matchAll(SEQUENCE)) {
      if (letter === undefined) this.#show(character);
      else this.#obey(letter, Number(count || 1), count);
    }
    return Promise.resolve(bytes.length);
  }

  #show(character: string): void {
    if (character === "\r") this.column = 0;
    else if (character === "\n") this.#feed();
    else if (character === "\x07") this.bells++;
    else this.#print(character);
  }

  /** As terminals are set: a new line begins at its start. */
  #feed(): void {
    this.column = 0;
    this.rows[++this.row] ??= "";
  }

  #print(character: string): void {
    if (this.column === this.columns) this.#feed();
    const text = this.rows[this.row]!.padEnd(this.column);
    this.rows[this.row] = text.slice(0, this.column) + character + text.slice(this.column + 1);
    this.column++;
  }

  #obey(letter: string, count: number, given = ""): void {
    this.column = Math.min(this.column, this.columns - 1);
    if (letter === "A") this.row = Math.max(0, this.row - count);
    else if (letter === "C") this.column = Math.min(this.columns - 1, this.column + count);
    else if (letter === "D") this.column = Math.max(0, this.column - count);
    else if (letter === "G") this.column = count - 1;
    else if (letter === "J" && Number(given) === 0) this.#eraseBelow();
    else throw new Error(`Not known to this terminal: CSI ${given}${letter}`);
  }

  #eraseBelow(): void {
    this.rows.length = this.row + 1;
    this.rows[this.row] = this.rows[this.row]!.slice(0, this.column);
  }

  /** The rows without blanks at their ends. */
  get lines(): string[] {
    return this.rows.map((row) => row.trimEnd());
  }
}

/** The same with a keyboard. */
export class MemoryTerminal implements Terminal {
  readonly keys: MemoryStream = new MemoryStream();
  readonly screen: Screen;
  readonly hasStdout = true;
  isRaw = false;
  listeners: { resized(): void; continued(): void } | undefined;

  constructor(columns: number) {
    this.screen = new Screen(columns);
  }

  setRaw(isRaw: boolean): void {
    this.isRaw = isRaw;
  }

  columns(): number {
    return this.screen.columns;
  }

  listen(on: { resized(): void; continued(): void }): Disposable {
    this.listeners = on;
    return { [Symbol.dispose]: () => this.listeners = undefined };
  }
}
