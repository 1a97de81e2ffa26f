/**
 * The log: what is drawn, what is found, and a place that stays while one reads.
 *
 * @module
 */

import { $, element, setText } from "./dom.js";
import { feedOf, MAX_REMEMBERED } from "./feed.js";
import {
  entries,
  fill,
  filter,
  find,
  isConcernedByFind,
  isVisible,
  limitRows,
  log,
  markLinked,
  resetLabels,
  rowOf,
  setFilter,
  setFind,
  timeText,
} from "./rows.js";
import { gap, plural } from "./text.js";
import { onChange, view } from "./view.js";

const MAX_ROWS = MAX_REMEMBERED;
/** While one reads, so much is kept of what a filter hides. */
const MAX_HELD = 2 * MAX_ROWS;
const MIN_GAP_MS = 1000;

/** Whose records are shown. */
let shownFeed = feedOf("");
/** What the rows are made of while they stand still, because one reads or has paused. */
let held;
/** How many came since they began to. */
let belowCount = 0;
/** Whether there is no room for what comes meanwhile. */
let isHeldFull = false;
export let isPaused = false;

export function isFollowing() {
  return $("follow").checked;
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
  limitRows(visible);
  if (held) addHeld(added, visible);
  else append(visible);
  if (!held) trimRows();
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
  resetLabels();
  removeRows(Infinity);
  append((held ?? shownFeed.entries).filter(isVisible).slice(-MAX_ROWS));
  if (place) returnTo(place);
  keepUp();
  showNotes();
}

/** Makes room: first go rows of what is forgotten, which need not be at the top. */
function trimRows() {
  for (let row = log.firstElementChild; row && log.childElementCount > MAX_ROWS;) {
    const next = row.nextElementSibling;
    if (entries.get(row)?.isForgotten) removeRow(row);
    row = next;
  }
  removeRows(log.childElementCount - MAX_ROWS);
}

/** Takes rows away from the top. */
function removeRows(count) {
  for (let row = log.firstElementChild; row && count > 0; row = log.firstElementChild, count--) {
    removeRow(row);
  }
}

/** Takes a row away, and what holds it. */
function removeRow(row) {
  const entry = entries.get(row);
  if (entry) entry.row = undefined;
  row.remove();
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

function showFound(text) {
  setFind(text);
  sayProblem($("find"), find);
  keepingPlace(() => refill(isConcernedByFind));
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
  const linked = shownFeed.entries.find((entry) =>
    entry.record?.timestamp === timestamp && placeOf(entry) === view.at
  );
  markLinked(linked);
  if (!linked?.row) return false;
  setFollowing(false);
  linked.row.scrollIntoView({ block: "center" });
  return true;
}

// -- Notes --

export function showNotes() {
  const notes = [];
  if (isPaused) notes.push("paused");
  const rows = log.getElementsByClassName("row").length;
  notes.push(filter.terms.length > 0 ? `${rows} matching` : plural(rows, "record"));
  if (shownFeed.isFull && shownFeed.choice === "") notes.push("the newest of each client");
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
  if (changed.includes("find")) showFound(view.find);
  if (changed.includes("filter")) {
    setFilter(view.filter);
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
