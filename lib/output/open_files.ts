/**
 * The files that the log is written to and that are open: a few at a time, however many
 * there are.
 *
 * @module
 */

import { dirname } from "node:path";
import type { DescriptorReserve } from "../descriptor_reserve.ts";
import { lacksDescriptor } from "../errors.ts";
import { LogFile, type LogFileOptions } from "./log_file.ts";

/** Files of others must be left some descriptors: a process has 256 or 1,024 by default. */
const MAX_OPEN = 64;
const FOLDER_MODE = 0o750;

export interface OpenFilesOptions extends LogFileOptions {
  /** What a file is opened with when clients hold all descriptors. */
  readonly reserve: DescriptorReserve;
  /** Whether missing folders are made. */
  readonly makesFolders: boolean;
}

/** An LRU cache of files: the one that was least lately written to is closed first. */
export class OpenFiles implements Iterable<LogFile>, Disposable {
  readonly #options: OpenFilesOptions;
  /** By path, in the order of use. */
  readonly #files = new Map<string, LogFile>();

  constructor(options: OpenFilesOptions) {
    this.#options = options;
  }

  [Symbol.iterator](): Iterator<LogFile> {
    return this.#files.values();
  }

  /** The file at a path, opened if need be; throws what the system says. */
  at(path: string): LogFile {
    const found = this.#files.get(path);
    if (found) this.#files.delete(path);
    else if (this.#files.size >= MAX_OPEN) this.#closeOldest();
    const file = found ?? this.#opened(path, () => new LogFile(path, this.#options));
    this.#files.set(path, file);
    return file;
  }

  /** Whether it is open still: it may have been closed to free its descriptor. */
  has(file: LogFile): boolean {
    return this.#files.get(file.path) === file;
  }

  /** Opens a file anew, and closes none of `kept` for that; see {@linkcode LogFile.reopen}. */
  reopen(file: LogFile, tornBytes: number, kept: readonly (LogFile | undefined)[]): number {
    return this.#opened(file.path, () => file.reopen(tornBytes), kept);
  }

  /** Opens, if need be in a new folder, or with the descriptor of a file that is not of `kept`. */
  #opened<T>(path: string, open: () => T, kept: readonly (LogFile | undefined)[] = []): T {
    const { reserve, makesFolders } = this.#options;
    for (let hasFolder = !makesFolders;;) {
      try {
        const opened = open();
        reserve.refill();
        return opened;
      } catch (error) {
        if (lacksDescriptor(error) && (this.#closeOldest(kept) || reserve.release())) continue;
        if (hasFolder || !(error instanceof Deno.errors.NotFound)) throw error;
        makeFolder(dirname(path));
        hasFolder = true;
      }
    }
  }

  #closeOldest(kept: readonly (LogFile | undefined)[] = []): boolean {
    for (const [path, file] of this.#files) {
      if (kept.includes(file)) continue;
      this.#files.delete(path);
      file[Symbol.dispose]();
      return true;
    }
    return false;
  }

  [Symbol.dispose](): void {
    for (const file of this.#files.values()) file[Symbol.dispose]();
    this.#files.clear();
  }
}

/** Makes a folder and those above it. */
export function makeFolder(path: string): void {
  Deno.mkdirSync(path, { recursive: true, mode: FOLDER_MODE });
}
