/**
 * Outputs, files, FIFOs and full disks for tests, and a clock that they set. Not
 * published.
 *
 * @module
 */

import { assert } from "@std/assert";
import { closeSync as closeFd, constants, openSync as openFd, readSync as readFd } from "node:fs";
import { decode } from "../../lib/bytes.ts";
import { noSpace } from "./fakes.ts";
import { codeOf } from "../../lib/errors.ts";
import type { Sink } from "../../lib/io.ts";
import type { Rotation } from "../../lib/output/rotation.ts";
import { Output } from "../../lib/output/output.ts";
import { replaced } from "./testing.ts";

interface Given {
  readonly stdout?: Sink;
  readonly path?: string;
  readonly rotate?: Rotation;
}

/** An output and what it says. */
export function outputTo({ stdout = nowhere(), path, rotate }: Given) {
  const said: string[] = [];
  const say = (message: string) => void said.push(message);
  return { output: new Output({ stdout, path, rotate, say }), said };
}

function nowhere(): Sink {
  return { write: () => Promise.reject(new Error("Written to stdout")) };
}

/** Time that passes only in {@linkcode Clock.pass}. */
export class Clock implements Disposable {
  readonly #real = { setTimeout, clearTimeout, now: performance.now };
  readonly #timers = new Map<number, { atMs: number; fire: () => void }>();
  #nowMs = 0;
  #nextId = 1;

  constructor() {
    const set = (fire: () => void, ms: number) => {
      this.#timers.set(this.#nextId, { atMs: this.#nowMs + ms, fire });
      return this.#nextId++;
    };
    Object.assign(globalThis, {
      setTimeout: set,
      clearTimeout: (id: number) => this.#timers.delete(id),
    });
    performance.now = () => this.#nowMs;
  }

  get nowMs(): number {
    return this.#nowMs;
  }

  get timers(): number {
    return this.#timers.size;
  }

  async pass(ms: number): Promise<void> {
    await this.settle();
    for (const endMs = this.#nowMs + ms; this.#nowMs < endMs;) {
      this.#nowMs++;
      for (const [id, { atMs, fire }] of this.#timers) {
        if (atMs > this.#nowMs) continue;
        this.#timers.delete(id);
        fire();
        await this.settle();
      }
    }
  }

  /** Lets run whatever does not wait for time. */
  settle(): Promise<void> {
    return new Promise((resolve) => this.#real.setTimeout(resolve, 0));
  }

  [Symbol.dispose](): void {
    const { now, ...timers } = this.#real;
    Object.assign(globalThis, timers);
    performance.now = now;
  }
}

export function numbered(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `line ${i}\n`);
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

/** A file on a disk that has room for `roomBytes` more. */
class CrampedFile {
  readonly #file: Deno.FsFile;
  roomBytes: number;

  constructor(file: Deno.FsFile, roomBytes: number) {
    this.#file = file;
    this.roomBytes = roomBytes;
  }

  writeSync(bytes: Uint8Array): number {
    if (this.roomBytes === 0) throw noSpace();
    const count = this.#file.writeSync(bytes.subarray(0, this.roomBytes));
    this.roomBytes -= count;
    return count;
  }

  write(bytes: Uint8Array): Promise<number> {
    return new Promise((resolve) => resolve(this.writeSync(bytes)));
  }

  seekSync(offset: number, whence: Deno.SeekMode): number {
    return this.#file.seekSync(offset, whence);
  }

  truncateSync(length: number): void {
    this.#file.truncateSync(length);
  }

  statSync(): Deno.FileInfo {
    return this.#file.statSync();
  }

  close(): void {
    this.#file.close();
  }

  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]();
  }
}

/** Lets each file that is opened have as much room as `rooms` says, then endless room. */
export function crampedDisk(...rooms: number[]) {
  const open = Deno.openSync;
  const files: CrampedFile[] = [];
  const replacement = replaced("openSync", (path: string, options: Deno.OpenOptions) => {
    files.push(new CrampedFile(open(path, options), rooms.shift() ?? Infinity));
    return files.at(-1)!;
  });
  return { files, [Symbol.dispose]: () => replacement[Symbol.dispose]() };
}

/** Denied at the given call. */
export function failingAt<T extends unknown[], R>(call: number, fn: (...args: T) => R) {
  let calls = 0;
  return (...args: T) => {
    if (calls++ === call) throw new Deno.errors.PermissionDenied("Permission denied (os error 13)");
    return fn(...args);
  };
}
