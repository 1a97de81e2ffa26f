/**
 * The choices of `--format`.
 *
 * @module
 */

import { HexFormat } from "./hex.ts";
import { JsonFormat } from "./json.ts";
import { RawFormat } from "./raw.ts";
import type { Format, FormatName } from "./records.ts";
import { TextFormat } from "./text.ts";

/** Makes a format; `isColored` is for those that people read. */
export function createFormat(name: FormatName, isColored: boolean): Format {
  switch (name) {
    case "text":
      return new TextFormat({ isColored, countsLines: true });
    case "json":
      return new JsonFormat();
    case "raw":
      return new RawFormat();
    case "hex":
      return new HexFormat({ isColored, countsLines: false });
  }
}
