/**
 * The live page: markup, styles and the modules of its script, put together into
 * one file of HTML.
 *
 * @module
 */

import { createHash } from "node:crypto";
import clients from "./page/clients.js" with { type: "text" };
import dom from "./page/dom.js" with { type: "text" };
import feed from "./page/feed.js" with { type: "text" };
import log from "./page/log.js" with { type: "text" };
import main from "./page/main.js" with { type: "text" };
import markup from "./page/page.html" with { type: "text" };
import query from "./page/query.js" with { type: "text" };
import record from "./page/record.js" with { type: "text" };
import reply from "./page/reply.js" with { type: "text" };
import rows from "./page/rows.js" with { type: "text" };
import stream from "./page/stream.js" with { type: "text" };
import styles from "./page/page.css" with { type: "text" };
import text from "./page/text.js" with { type: "text" };
import totals from "./page/totals.js" with { type: "text" };
import view from "./page/view.js" with { type: "text" };

/** Each after those that it imports. */
const MODULES = [
  text,
  record,
  query,
  view,
  dom,
  feed,
  rows,
  log,
  clients,
  totals,
  reply,
  stream,
  main,
];

/** What a browser is sent. */
export interface LivePage {
  readonly html: string;
  /** Nothing but the page's own script and style, and the server's events. */
  readonly policy: string;
}

let made: LivePage | undefined;

/** The page, made when it is first asked for: most servers have none, and it takes milliseconds. */
export function livePage(): LivePage {
  return made ??= makePage();
}

function makePage(): LivePage {
  // In one scope, modules need neither imports nor exports.
  const script = tabbed(`\n"use strict";\n{\n${MODULES.map(bare).join("\n")}}\n`);
  const style = tabbed(`\n${styles}`);
  return {
    html: tabbed(markup)
      .replace("<style></style>", () => `<style>${style}</style>`)
      .replace("<script></script>", () => `<script>${script}</script>`),
    policy: policyOf(script, style),
  };
}

function policyOf(script: string, style: string): string {
  return [
    "default-src 'none'",
    `script-src ${hashOf(script)}`,
    `style-src ${hashOf(style)}`,
    "connect-src 'self'",
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; ");
}

/** Without imports and exports, and doc comments of a line, which are for readers of the source. */
function bare(module: string): string {
  return module.replace(/^\/\*\*.*?\*\/\s+/s, "")
    .replace(/^import [^;]*;\n+/gm, "").replace(/^export /gm, "")
    .replace(/^ *\/\*\* .*\*\/\n/gm, "");
}

/** Indentation costs a browser half of what it costs here. */
function tabbed(text: string): string {
  return text.replace(/^(?: {2})+/gm, (spaces) => "\t".repeat(spaces.length / 2));
}

function hashOf(content: string): string {
  return `'sha256-${createHash("sha256").update(content).digest("base64")}'`;
}
