/**
 * The live page: markup, styles and script, put together into one file of HTML.
 *
 * @module
 */

import { createHash } from "node:crypto";
import markup from "./page/page.html" with { type: "text" };
import styles from "./page/page.css" with { type: "text" };
import script from "./page/page.js" with { type: "text" };

/** What a browser is sent. */
export const PAGE = markup
  .replace("<style></style>", () => `<style>\n${styles}</style>`)
  .replace("<script></script>", () => `<script>\n${script}</script>`);

/** Nothing but the page's own script and style, and the server's events. */
export const PAGE_POLICY = [
  "default-src 'none'",
  `script-src ${hashOf(`\n${script}`)}`,
  `style-src ${hashOf(`\n${styles}`)}`,
  "connect-src 'self'",
  "img-src data:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

function hashOf(text: string): string {
  return `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
}
