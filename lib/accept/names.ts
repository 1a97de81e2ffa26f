/**
 * The operator's names for addresses, from the command line and from a file.
 *
 * @module
 */

import { type NamedNetwork, Names, parseNamedNetwork, type Peer } from "../addresses.ts";
import { Failure, reasonOf } from "../errors.ts";

/** Names that can be read anew. */
export class NameTable {
  readonly #given: readonly NamedNetwork[];
  readonly #file: string | undefined;
  #names: Names;

  /**
   * Of two names for the same network, that of the command line counts.
   *
   * @throws {Failure} If the file cannot be read, or a line of it is wrong.
   */
  constructor(given: readonly NamedNetwork[], file: string | undefined) {
    this.#given = given;
    this.#file = file;
    this.#names = this.#read();
  }

  /** The name of a peer's address, if it has one. */
  of(peer: Peer): string | undefined {
    return this.#names.of(peer);
  }

  /** Whether there is a file to read anew. */
  get hasFile(): boolean {
    return this.#file !== undefined;
  }

  /**
   * Reads the file anew.
   *
   * @throws {Failure} As the constructor does; the old names stay then.
   */
  reload(): void {
    this.#names = this.#read();
  }

  #read(): Names {
    const inFile = this.#file === undefined ? [] : namesIn(this.#file);
    return new Names([...inFile, ...this.#given]);
  }
}

/** The names in a file of lines `address name`; `#` begins a comment. */
function namesIn(file: string): NamedNetwork[] {
  const lines = textOf(file).replace(/^\uFEFF/, "").split(/\r?\n/);
  return lines.flatMap((line, i) => {
    const words = line.replace(/#.*/, "").trim();
    return words === "" ? [] : [namedIn(words, `${file}, line ${i + 1}`)];
  });
}

function textOf(file: string): string {
  try {
    return Deno.readTextFileSync(file);
  } catch (error) {
    throw new Failure(`Cannot read --names ${file}: ${reasonOf(error)}`);
  }
}

function namedIn(words: string, where: string): NamedNetwork {
  const [address = "", name = "", ...more] = words.split(/\s+/);
  const named = more.length === 0 ? parseNamedNetwork(address, name) : undefined;
  if (named) return named;
  throw new Failure(
    `Cannot use --names ${where}: "${words.slice(0, 100)}" is not an address and a name, ` +
      `such as 192.0.2.7 pump`,
  );
}
