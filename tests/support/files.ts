/**
 * Folders, files and FIFOs. Not published.
 *
 * @module
 */

import { assert } from "@std/assert";
import { decode } from "../../lib/bytes.ts";
import { closeSync as closeFd, constants, openSync as openFd, readSync as readFd } from "node:fs";
import { codeOf } from "../../lib/errors.ts";

/** A directory that is gone after the test. */
export function tempDir() {
  const path = Deno.makeTempDirSync({ prefix: "earshot-" });
  return { path, [Symbol.dispose]: () => Deno.removeSync(path, { recursive: true }) };
}

export function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

/** What is in a directory, by name; subdirectories have no text. */
export function listing(path: string): Record<string, string> {
  const names = Array.from(Deno.readDirSync(path), ({ name }) => name).sort();
  return Object.fromEntries(names.map((name) => {
    const file = `${path}/${name}`;
    return [name, Deno.lstatSync(file).isDirectory ? "" : Deno.readTextFileSync(file)];
  }));
}

export function makeFifo(path: string): void {
  assert(new Deno.Command("mkfifo", { args: [path] }).outputSync().success);
}

/** The reader of a FIFO. */
export function readerOf(path: string) {
  const fd = openFd(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const target = new Uint8Array(64 * 1024);
  return {
    /** What is there; undefined if that is nothing yet. */
    read(): string | undefined {
      try {
        return decode(target.subarray(0, readFd(fd, target)));
      } catch (error) {
        if (codeOf(error) === "EAGAIN") return undefined;
        throw error;
      }
    },
    [Symbol.dispose]: () => closeFd(fd),
  };
}
