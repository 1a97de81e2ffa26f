/**
 * Outputs, and disks that are full. Not published.
 *
 * @module
 */

import type { Sink } from "../../lib/io.ts";
import type { Rotation } from "../../lib/output/rotation.ts";
import { DescriptorReserve } from "../../lib/descriptor_reserve.ts";
import { PathTemplate } from "../../lib/output/path_template.ts";
import { Output } from "../../lib/output/output.ts";
import { replaced } from "./replaced.ts";

interface Given {
  readonly stdout?: Sink;
  readonly path?: string;
  readonly rotate?: Rotation;
  readonly hasLines?: boolean;
}

/** An output and what it says. */
export function outputTo({ stdout = nowhere(), path, rotate, hasLines = true }: Given) {
  const said: string[] = [];
  const say = (message: string) => void said.push(message);
  return {
    output: new Output({
      stdout,
      path: path === undefined ? undefined : new PathTemplate(path),
      rotate,
      hasLines,
      say,
      reserve: new DescriptorReserve(0),
    }),
    said,
  };
}

function nowhere(): Sink {
  return { write: () => Promise.reject(new Error("Written to stdout")) };
}

export function noSpace(): Error {
  return Object.assign(new Error("No space left on device (os error 28)"), { code: "ENOSPC" });
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
