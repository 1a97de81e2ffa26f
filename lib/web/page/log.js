/**
 * The log: rows, what is hidden and marked, and a place that stays while one reads.
 *
 * @module
 */

import { $, element, setText } from "./dom.js";
import { feedOf, MAX_REMEMBERED } from "./feed.js";
import { hitsOf, matches, parseQuery } from "./query.js";
import { colorOf, isMessage, wordsOf } from "./record.js";
import { cut, gap, plural, span, withoutPiles } from "./text.js";
import { onChange, view } from "./view.js";

const MAX_ROWS = MAX_REMEMBERED;
/** While one reads, so much is kept of what a filter hides. */
const MAX_HELD = 2 * MAX_ROWS;
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
const MIN_GAP_MS = 1000;
const MAX_LABEL_WIDTH = 28;

export const log = $("log");
const entries = new WeakMap();

/** Whose records are shown. */
let shownFeed = feedOf("");
let filter = parseQuery("");
let find = parseQuery("");
/** What the rows are made of while they stand still, because one reads or has paused. */
let held;
/** How many came since they began to. */
let belowCount = 0;
/** Whether there is no room for what comes meanwhile. */
let isHeldFull = false;
export let isPaused = false;
let labelWidth = 0;

export function isFollowing() {
  return $("follow").checked;
}

// -- Rows --

function isVisible(entry) {
  return entry.note !== undefined || filter.terms.length === 0 || matches(filter, textOf(entry));
}

/** What is searched: what a row says, whole. */
function textOf(entry) {
  return `${entry.label} ${wordsOf(entry.record, { asHex: view.hex }).text}`;
}

function rowOf(entry) {
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

/** Labels are a column as wide as the longest. */
function widen(length) {
  if (length <= labelWidth || length > MAX_LABEL_WIDTH) return;
  labelWidth = length;
  log.style.setProperty("--who", `${length + 1}ch`);
}

/** Writes what a row says, with what is found in it marked. */
function fill(row, entry) {
  const { record, isOpen, label } = entry;
  const limit = isOpen ? Infinity : entry.limit ?? MAX_SHOWN;
  const words = wordsOf(record, { limit, asHex: view.hex });
  const isLong = words.length > (entry.limit ?? MAX_SHOWN);
  const text = cut(withoutPiles(words.text), limit + 2);
  const isHit = find.terms.length > 0 && matches(find, textOf(entry));
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
  const query = find.terms.length > 0 && entry.row && matches(find, textOf(entry)) ? find : filter;
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

function timeText(timeMs) {
  if (view.time === "local") return LOCAL_TIME.format(timeMs).replace(",", ".");
  return `${span(Math.max(0, Date.now() - timeMs) / 1000)} ago`;
}

/** How long ago changes each second, for the rows that are seen. */
export function refreshTimes() {
  if (view.time !== "relative") return;
  for (let row = rowAtTop(); row && row.offsetTop < log.scrollTop + log.clientHeight;) {
    const entry = entries.get(row);
    if (entry) setText(row.firstElementChild, timeText(entry.timeMs));
    row = row.nextElementSibling;
  }
}

// -- Drawing --

/** The last record that is drawn, for the gap to the next. */
let lastMs;
let waiting = [];

/** Shows another feed, at its end. */
export function showFeed(next) {
  shownFeed = next;
  held = undefined;
  log.classList.toggle("conversation", shownFeed.choice !== "");
  $("follow").checked = true;
  if (isPaused) hold();
  redraw();
}

/** What is remembered of the feed has become another. */
export function refreshFeed() {
  if (held) held = shownFeed.entries.slice();
  redraw();
}

/** Shows what came. Rows wait for the next frame: a flood is drawn sixty times a second at most. */
export function showAdded(added) {
  if (waiting.length === 0) requestAnimationFrame(drawWaiting);
  waiting.push(...added);
  if (waiting.length > MAX_HELD) waiting = waiting.slice(-MAX_HELD);
}

function drawWaiting() {
  const added = waiting;
  waiting = [];
  const visible = added.filter(isVisible);
  const limit = Math.max(MIN_SHOWN, Math.floor(MAX_SHOWN_AT_ONCE / visible.length));
  if (limit < MAX_SHOWN) { for (const entry of visible) entry.limit = limit; }
  if (held) addHeld(added, visible);
  else append(visible);
  if (!held) removeRows(log.childElementCount - MAX_ROWS);
  keepUp();
  showNotes();
}

function append(visible) {
  const rows = [];
  for (const entry of visible) {
    const passedMs = entry.timeMs - lastMs;
    if (shownFeed.choice !== "" && passedMs >= MIN_GAP_MS) {
      rows.push(element("div", "gap", gap(passedMs / 1000)));
    }
    lastMs = entry.timeMs;
    rows.push(rowOf(entry));
  }
  log.append(...rows);
}

/** Draws everything anew; a place where one reads stays. */
export function redraw() {
  const place = held && placeNow();
  waiting = [];
  lastMs = undefined;
  labelWidth = 0;
  removeRows(Infinity);
  append((held ?? shownFeed.entries).filter(isVisible).slice(-MAX_ROWS));
  if (place) returnTo(place);
  keepUp();
  showNotes();
}

/** Takes rows away from the top, and what holds them. */
function removeRows(count) {
  for (let row = log.firstElementChild; row && count > 0; row = log.firstElementChild, count--) {
    const entry = entries.get(row);
    if (entry) entry.row = undefined;
    row.remove();
  }
}

function refill(isConcerned) {
  for (const row of log.children) {
    const entry = entries.get(row);
    if (entry && isConcerned(entry)) fill(row, entry);
  }
}

// -- Standing still --

function hold() {
  if (held) return;
  held = shownFeed.entries.slice();
  belowCount = 0;
  isHeldFull = false;
}

function release() {
  const isBehind = isHeldFull;
  held = undefined;
  if (isBehind) redraw();
  keepUp();
  showNotes();
}

/** While one reads, what comes is added below as long as there is room, or only counted. */
function addHeld(added, visible) {
  belowCount += visible.filter(({ record }) => record).length;
  const room = MAX_ROWS - log.childElementCount;
  isHeldFull ||= isPaused || visible.length > room || held.length + added.length > MAX_HELD;
  if (!isHeldFull) {
    held.push(...added);
    append(visible);
  } else if (!isPaused) append(visible.filter(({ note }) => note !== undefined));
}

export function setFollowing(isOn) {
  $("follow").checked = isOn;
  if (isOn && !isPaused) release();
  else hold();
  showNotes();
}

export function togglePause() {
  isPaused = !isPaused;
  $("pause").textContent = isPaused ? "Resume" : "Pause";
  $("pause").toggleAttribute("data-paused", isPaused);
  if (isPaused) hold();
  else if (isFollowing()) return release();
  else catchUp();
  showNotes();
}

/** Counts again what is not drawn. */
function recount() {
  const last = held.at(-1)?.number ?? 0;
  belowCount =
    shownFeed.entries.filter((entry) => entry.record && entry.number > last && isVisible(entry))
      .length;
  showNotes();
}

/** Adds what came while it was paused, as far as there is room. */
function catchUp() {
  const last = held.at(-1)?.number ?? 0;
  const added = shownFeed.entries.filter(({ number }) => number > last);
  isHeldFull = false;
  belowCount = 0;
  addHeld(added, added.filter(isVisible));
}

let lastTop = 0;

function isAtEnd() {
  return log.scrollHeight - log.scrollTop - log.clientHeight < 4;
}

function keepUp() {
  if (!held) log.scrollTop = log.scrollHeight;
  lastTop = log.scrollTop;
}

// The end runs away under load: only a way up is somebody's wish to stay.
log.addEventListener("scroll", () => {
  const isUp = log.scrollTop < lastTop;
  lastTop = log.scrollTop;
  if (isAtEnd()) {
    if (!isFollowing()) setFollowing(true);
  } else if (isUp && isFollowing()) setFollowing(false);
  lastPlace = held && placeNow();
  refreshTimes();
});
$("follow").addEventListener("change", () => setFollowing(isFollowing()));
$("below").addEventListener("click", () => {
  if (isPaused) togglePause();
  setFollowing(true);
  log.focus();
});

// Who selects wants to read.
document.addEventListener("selectionchange", () => {
  const { isCollapsed, anchorNode } = document.getSelection();
  if (!isCollapsed && log.contains(anchorNode) && isFollowing()) setFollowing(false);
});

/** The first row that is seen. Rows are in order: halving finds it. */
function rowAtTop() {
  const rows = log.children;
  let low = 0;
  for (let high = rows.length; low < high;) {
    const middle = (low + high) >> 1;
    const { offsetTop, offsetHeight } = rows[middle];
    if (offsetTop + offsetHeight > log.scrollTop) high = middle;
    else low = middle + 1;
  }
  return rows[low];
}

/** Where one reads: an entry, and how far its row is scrolled. */
let lastPlace;

function placeNow() {
  const first = rowAtTop();
  let row = first;
  // A row that begins above the view may change its height there.
  while (row && !(entries.has(row) && row.offsetTop >= log.scrollTop - 1)) {
    row = row.nextElementSibling;
  }
  if (!row || row.offsetTop > log.scrollTop + log.clientHeight) row = first;
  return row && entries.has(row) &&
    { entry: entries.get(row), offset: row.offsetTop - log.scrollTop };
}

function returnTo({ entry, offset }) {
  const same = entry.row?.isConnected && entry.row;
  const row = same || [...log.children].find((other) => entries.get(other)?.timeMs >= entry.timeMs);
  if (row) log.scrollTop = row.offsetTop - (same ? offset : 0);
}

/** Does what moves rows, and keeps the one at the top in its place. */
export function keepingPlace(act) {
  const place = held && placeNow();
  act();
  if (place) returnTo(place);
  keepUp();
}

new ResizeObserver(() => {
  if (held && lastPlace) returnTo(lastPlace);
  keepUp();
}).observe(log);

// -- Finding --

const marks = log.getElementsByTagName("mark");
let current;

function setFind(text) {
  find = parseQuery(text);
  sayProblem($("find"), find);
  keepingPlace(() => refill((entry) => entry.isMarked || matches(find, textOf(entry))));
  current = undefined;
  if (marks.length > 0) goTo(nearest());
  showHits();
}

/** The first mark that is seen, or the last above. */
function nearest() {
  const all = [...marks];
  const { top, bottom } = log.getBoundingClientRect();
  const seen = all.find((mark) => mark.getBoundingClientRect().bottom > top);
  return seen && seen.getBoundingClientRect().top < bottom ? seen : all.at(-1);
}

/** Goes to the next mark, or with -1 to the one before. */
export function step(direction) {
  if (marks.length === 0) return;
  setFollowing(false);
  const all = [...marks];
  const at = all.indexOf(current);
  goTo(at < 0 ? nearest() : all.at((at + direction) % all.length));
  showHits();
}

function makeCurrent(mark) {
  current?.removeAttribute("aria-current");
  current = mark;
  mark.setAttribute("aria-current", "true");
}

function goTo(mark) {
  makeCurrent(mark);
  const { top, bottom } = mark.getBoundingClientRect();
  const box = log.getBoundingClientRect();
  const line = bottom - top;
  if (top - line > box.top && bottom + line < box.top + log.clientHeight) return;
  mark.scrollIntoView({ block: "center", inline: "nearest" });
}

/** Says which of how many; who has not stepped is at the newest. */
function showHits() {
  if (find.terms.length === 0) return setText($("hits"), "");
  if (marks.length === 0) return setText($("hits"), "no hits");
  if (!current?.isConnected) makeCurrent(marks[marks.length - 1]);
  const at = Array.prototype.indexOf.call(marks, current);
  setText($("hits"), `${at + 1} of ${marks.length}`);
}

/** Says what is wrong with a query. */
function sayProblem(field, { problem }) {
  field.setAttribute("aria-invalid", String(problem !== undefined));
  setText($(`${field.id}-problem`), problem === undefined ? "" : `${field.ariaLabel}: ${problem}`);
}

// -- A record that a link leads to --

let linked;

/** What a link says of a record: many share a millisecond. */
export function placeOf({ record }) {
  let sum = 0x811C9DC5;
  for (const character of JSON.stringify(record).slice(0, 2000)) {
    sum = Math.imul(sum ^ character.codePointAt(0), 0x01000193) >>> 0;
  }
  return `${record.timestamp}~${sum.toString(16)}`;
}

/** Shows the record that a link leads to; whether it is remembered. */
export function showLinked() {
  const [timestamp] = view.at.split("~");
  linked = shownFeed.entries.find((entry) =>
    entry.record?.timestamp === timestamp && placeOf(entry) === view.at
  );
  if (!linked?.row) return false;
  setFollowing(false);
  linked.row.classList.add("linked");
  linked.row.scrollIntoView({ block: "center" });
  return true;
}

// -- Notes --

export function showNotes() {
  const notes = [];
  if (isPaused) notes.push("paused");
  const rows = log.getElementsByClassName("row").length;
  notes.push(filter.terms.length > 0 ? `${rows} matching` : plural(rows, "record"));
  setText($("notes"), notes.join(", "));
  $("below").hidden = !held || belowCount === 0 && isAtEnd();
  setText($("below"), belowCount === 0 ? "To the end" : `${belowCount} new below`);
  showHits();
}

export function clearLog() {
  shownFeed.replace([]);
  if (held) held = [];
  belowCount = 0;
  redraw();
}

onChange((changed) => {
  if (changed.includes("find")) setFind(view.find);
  if (changed.includes("filter")) {
    filter = parseQuery(view.filter);
    sayProblem($("filter"), filter);
    redraw();
    if (held) recount();
  }
  if (changed.includes("hex")) redraw();
  if (changed.includes("time")) keepingPlace(() => refill(() => true));
  if (changed.includes("wrap")) {
    keepingPlace(() => log.classList.toggle("unwrapped", !view.wrap));
  }
});
