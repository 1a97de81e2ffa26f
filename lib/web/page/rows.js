/**
 * Rows of the log: what they say, what is marked in them, and what is hidden.
 *
 * @module
 */

import { $, element } from "./dom.js";
import { hitsOf, matches, parseQuery } from "./query.js";
import { colorOf, isMessage, wordsOf } from "./record.js";
import { cut, span, withoutPiles } from "./text.js";
import { view } from "./view.js";

/** Characters that a row shows until it is opened. */
const MAX_SHOWN = 2000;
/** Of what comes at once, so much is shown: a flood of long rows would freeze the page. */
const MAX_SHOWN_AT_ONCE = 60_000;
const MIN_SHOWN = 300;
const MAX_MARKS = 20;
const MAX_OPEN_MARKS = 500;
/** Hits beyond what a row shows, and how many characters are shown around them. */
const MAX_EXCERPTS = 3;
const EXCERPT_CHARACTERS = 60;
const MAX_LABEL_WIDTH = 28;

export const log = $("log");
/** By row. */
export const entries = new WeakMap();

export let filter = parseQuery("");
export let find = parseQuery("");
let linked;
let labelWidth = 0;

// -- What matches --

export function setFilter(text) {
  filter = parseQuery(text);
}

export function setFind(text) {
  find = parseQuery(text);
}

export function isVisible(entry) {
  return entry.note !== undefined || filter.terms.length === 0 || matches(filter, textOf(entry));
}

/** What is searched: what a row says, whole. */
function textOf(entry) {
  return `${entry.label} ${wordsOf(entry.record, { asHex: view.hex }).text}`;
}

/** Whether something is found in it. */
function isFound(entry) {
  return find.terms.length > 0 && matches(find, textOf(entry));
}

/** Whether a change of what is found changes it. */
export function isConcernedByFind(entry) {
  return entry.isMarked || isFound(entry);
}

// -- Rows --

/** What comes at once is cut further the more it is. */
export function limitRows(visible) {
  const limit = Math.max(MIN_SHOWN, Math.floor(MAX_SHOWN_AT_ONCE / visible.length));
  if (limit < MAX_SHOWN) { for (const entry of visible) entry.limit = limit; }
}

export function rowOf(entry) {
  if (entry.note !== undefined) return element("div", "note", entry.note);
  const { record } = entry;
  const kind = !isMessage(record) ? " event" : record.event === "sent" ? " sent" : "";
  const row = element("div", `row${kind}`);
  const color = colorOf(record);
  if (color) row.style.setProperty("--color", color);
  entry.row = row;
  entries.set(row, entry);
  if (record.event !== "refused") widen(entry.label.length);
  fill(row, entry);
  return row;
}

/** Labels begin a column anew. */
export function resetLabels() {
  labelWidth = 0;
}

/** Labels are a column as wide as the longest. */
function widen(length) {
  if (length <= labelWidth || length > MAX_LABEL_WIDTH) return;
  labelWidth = length;
  log.style.setProperty("--who", `${length + 1}ch`);
}

/** Writes what a row says, with what is found in it marked. */
export function fill(row, entry) {
  const { record, isOpen, label } = entry;
  const limit = isOpen ? Infinity : entry.limit ?? MAX_SHOWN;
  const words = wordsOf(record, { limit, asHex: view.hex });
  const isLong = words.length > (entry.limit ?? MAX_SHOWN);
  const text = cut(withoutPiles(words.text), limit + 2);
  const isHit = isFound(entry);
  const who = element("span", "who");
  const said = element("span", "said");
  addMarked(who, label, isHit ? hitsOf(find, label, MAX_MARKS) : []);
  addMarked(said, text, isHit ? hitsOf(find, text, isOpen ? MAX_OPEN_MARKS : MAX_MARKS) : []);
  row.replaceChildren(timeOf(entry), " ", who, " ", said);
  if (isLong && !isOpen) addExcerpts(row, entry, text.length);
  if (isLong) row.append(" ", openerOf(entry, words.length));
  row.classList.toggle("linked", entry === linked);
  entry.isMarked = isHit;
}

function addMarked(parent, text, hits) {
  let from = 0;
  for (const [start, end] of hits) {
    parent.append(text.slice(from, start), element("mark", "", text.slice(start, end)));
    from = end;
  }
  parent.append(text.slice(from));
}

/** Hits beyond what is shown, with the words around them. */
function addExcerpts(row, entry, shownLength) {
  const query = isFound(entry) ? find : filter;
  if (query.terms.length === 0) return;
  const { text } = wordsOf(entry.record, { asHex: view.hex });
  const beyond = hitsOf(query, text, Infinity).filter(([, end]) => end > shownLength);
  for (const [start, end] of beyond.slice(0, MAX_EXCERPTS)) {
    const before = withoutPiles(text.slice(Math.max(0, start - EXCERPT_CHARACTERS), start));
    const after = withoutPiles(text.slice(end, end + EXCERPT_CHARACTERS));
    const hit = withoutPiles(cut(text.slice(start, end), MAX_SHOWN));
    const excerpt = element("span", "excerpt", ` … ${before}`);
    excerpt.append(query === find ? element("mark", "", hit) : hit, `${after} …`);
    row.append(excerpt);
  }
}

function openerOf({ isOpen }, length) {
  const opener = element("button", "opener", isOpen ? "Show less" : `${length} characters`);
  opener.type = "button";
  opener.setAttribute("aria-expanded", String(isOpen));
  if (!isOpen) opener.title = "Show all of it";
  return opener;
}

/** Opens a long row, or closes it. */
export function toggleRow(row) {
  const entry = entries.get(row);
  entry.isOpen = !entry.isOpen;
  fill(row, entry);
  row.querySelector(".opener").focus({ preventScroll: true });
}

export function entryAt(node) {
  const row = node.closest?.(".row");
  return row && entries.get(row);
}

/** What is shown, in order. */
export function shownRecords() {
  return [...log.children].flatMap((row) => entries.get(row)?.record ?? []);
}

/** The record that a link leads to is shown as such. */
export function markLinked(entry) {
  linked = entry;
  entry?.row?.classList.add("linked");
}

// -- Times --

const LOCAL_TIME = new Intl.DateTimeFormat("sv", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  fractionalSecondDigits: 3,
});

function timeOf({ record, timeMs }) {
  const time = element("time");
  time.dateTime = record.timestamp;
  time.title = `${record.timestamp}: copy a link`;
  if (view.time === "UTC") {
    const [, date, clock, fraction] = /^(.*T)?(.*?)(\.\d+)?Z?$/.exec(record.timestamp);
    time.append(
      element("span", "date", date),
      clock,
      element("span", "fraction", `${fraction ?? ""}Z`),
    );
  } else time.append(timeText(timeMs));
  return time;
}

export function timeText(timeMs) {
  if (view.time === "local") return LOCAL_TIME.format(timeMs).replace(",", ".");
  return `${span(Math.max(0, Date.now() - timeMs) / 1000)} ago`;
}
