/**
 * The page in a browser, with events that a test says, and what is looked for in it. Not published.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { Browser } from "./browser.ts";
import { type Members, PageEvents } from "./page_events.ts";

/** The log, as an expression in the page. */
export const LOG = `document.querySelector("[role=log]")`;

export function logHas(text: string): string {
  return `${LOG}.innerText.includes(${JSON.stringify(text)})`;
}

export function pageHas(text: string): string {
  return `document.body.innerText.includes(${JSON.stringify(text)})`;
}

export interface StageOptions {
  /** What is known of client #1 besides. */
  readonly first?: Members;
  /** What the address of the page has behind its path. */
  readonly hash?: string;
}

/** A page with clients #1 and #2 that shows these records. Disposed, it must have had no error. */
export async function stage(
  snapshot: (events: PageEvents) => Members[] = () => [],
  { first = {}, hash = "" }: StageOptions = {},
) {
  const events = new PageEvents();
  events.list(1, first);
  events.list(2);
  const records = snapshot(events);
  events.snapshot = () => ({ records });
  const browser = await Browser.start();
  await browser.open(events.url + hash);
  return {
    events,
    browser,
    async [Symbol.asyncDispose]() {
      await browser[Symbol.asyncDispose]();
      await events[Symbol.asyncDispose]();
      assertEquals(browser.errors, []);
    },
  };
}
