/**
 * An output that a test reads and waits for. Not published.
 *
 * @module
 */

import { decode } from "../../lib/bytes.ts";
import { bytesOf, latin1 } from "./data.ts";

/** Takes what is written, and lets a test wait for it. */
export class Capture {
  #text = "";
  readonly #waiting = new Set<(more: string) => void>();

  write(bytes: Uint8Array): Promise<number> {
    return Promise.resolve(this.writeSync(bytes));
  }

  writeSync(bytes: Uint8Array): number {
    const more = latin1(bytes);
    this.#text += more;
    for (const look of this.#waiting) look(more);
    return bytes.length;
  }

  /** One character a byte. */
  get binary(): string {
    return this.#text;
  }

  get text(): string {
    return decode(bytesOf(this.#text));
  }

  /** Lines with what differs between runs, ports and durations, made equal. */
  get lines(): string[] {
    return this.text.split("\n").slice(0, -1).map((line) =>
      line.replace(/(127\.0\.0\.1|\[::1\]):\d+/, "$1:PORT").replace(/"port":\d+/, `"port":1`)
        .replace(/ \d+\.\d s\b/, " 0.0 s").replace(/"seconds":[\d.]+/, `"seconds":0`)
    );
  }

  count(part: string): number {
    return this.#text.split(part).length - 1;
  }

  /** Waits until `part` is there `count` times. Looks at what is new only: there may be megabytes. */
  async until(part: string, count = 1): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    let [found, rest] = [0, ""];
    const look = (more: string) => {
      const pieces = (rest + more).split(part);
      found += pieces.length - 1;
      rest = pieces.at(-1)!.slice(-part.length);
      if (found >= count) resolve();
    };
    this.#waiting.add(look);
    look(this.#text);
    await promise;
    this.#waiting.delete(look);
  }
}
