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

/** In one scope, modules need neither imports nor exports. */
const SCRIPT = tabbed(`\n"use strict";\n{\n${MODULES.map(bare).join("\n")}}\n`);
const STYLES = tabbed(`\n${styles}`);

/** What a browser is sent. */
export const PAGE = tabbed(markup)
  .replace("<style></style>", () => `<style>${STYLES}</style>`)
  .replace("<script></script>", () => `<script>${SCRIPT}</script>`);

/** Nothing but the page's own script and style, and the server's events. */
export const PAGE_POLICY = [
  "default-src 'none'",
  `script-src ${hashOf(SCRIPT)}`,
  `style-src ${hashOf(STYLES)}`,
  "connect-src 'self'",
  "img-src data:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

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
