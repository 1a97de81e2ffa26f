/**
 * The choices of `--format`.
 *
 * @module
 */

import { HexFormat } from "./hex.ts";
import { JsonFormat } from "./json.ts";
import { RawFormat } from "./raw.ts";
import type { Format, FormatName } from "./records.ts";
import { TextFormat, type TextOptions } from "./text.ts";

/** Makes a format; the options are for those that people read. */
export function createFormat(name: FormatName, options: TextOptions): Format {
  switch (name) {
    case "text":
      return new TextFormat(options);
    case "json":
      return new JsonFormat();
    case "raw":
      return new RawFormat();
    case "hex":
    case "hexline":
      return new HexFormat(name, options);
  }
}
