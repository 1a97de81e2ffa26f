/**
 * The choices of `--format`.
 *
 * @module
 */

import { HexFormat, HexLineFormat } from "./hex.ts";
import { JsonFormat } from "./json.ts";
import { RawFormat } from "./raw.ts";
import type { Format, FormatName } from "./records.ts";
import { TextFormat } from "./text.ts";

/**
 * Makes a format; the options are for those that people read. `countsLines`: whether what
 * clients say becomes frames at all.
 */
export function createFormat(
  name: FormatName,
  isColored: boolean,
  countsLines: boolean = name === "text",
): Format {
  const options = { isColored, countsLines };
  switch (name) {
    case "text":
      return new TextFormat(options);
    case "json":
      return new JsonFormat();
    case "raw":
      return new RawFormat();
    case "hex":
      return new HexFormat(options);
    case "hexline":
      return new HexLineFormat(options);
  }
}
