/**
 * The hands: buttons, boxes and keys.
 *
 * @module
 */

import { choose, chooseNext, forgetAllGone, refreshPages } from "./clients.js";
import { $, copy, element, say } from "./dom.js";
import {
  clearLog,
  isFollowing,
  placeOf,
  refreshTimes,
  setFollowing,
  step,
  togglePause,
} from "./log.js";
import { choiceOf, lineOf } from "./record.js";
import { entryAt, log, shownRecords, toggleRow } from "./rows.js";
import { clear, connect } from "./stream.js";
import { plural } from "./text.js";
import { change, linkTo, onChange, readAddress, view } from "./view.js";

const TIMES = ["UTC", "local", "relative"];
const TYPING_MS = 150;

// -- What is chosen --

/** Boxes and switches that stand for what is chosen, by name. */
const CONTROLS = {
  filter: $("filter"),
  find: $("find"),
  search: $("search"),
  sort: $("sort"),
  time: $("time"),
  wrap: $("wrap"),
  hex: $("hex"),
};

const typingTimers = {};

for (const [name, control] of Object.entries(CONTROLS)) {
  control.addEventListener("input", () => {
    clearTimeout(typingTimers[name]);
    if (control.type === "search") typingTimers[name] = setTimeout(() => take(name), TYPING_MS);
    else take(name);
  });
}

/** Takes what a control says; returns whether it is new. */
function take(name) {
  clearTimeout(typingTimers[name]);
  const { type, checked, value } = CONTROLS[name];
  const before = view[name];
  change({ [name]: type === "checkbox" ? checked : value });
  return view[name] !== before;
}

function showControls() {
  for (const [name, control] of Object.entries(CONTROLS)) {
    if (control.type === "checkbox") control.checked = view[name];
    else if (control.value !== view[name] && control !== document.activeElement) {
      control.value = view[name];
    }
  }
}

function empty(field) {
  field.value = "";
  change({ [field.id]: "" });
}

// -- Taking along --

function textOfShown() {
  return shownRecords().map((record) => `${lineOf(record)}\n`).join("");
}

function jsonOfShown() {
  return shownRecords().map((record) => `${JSON.stringify(record)}\n`).join("");
}

function copyShown() {
  copy(textOfShown(), plural(shownRecords().length, "record"));
}

function download(text, type, ending) {
  const link = element("a");
  const now = new Date().toISOString().slice(0, 19).replaceAll(":", "-");
  link.download = `earshot-${now}.${ending}`;
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  say(`${plural(shownRecords().length, "record")} saved as ${link.download}`);
}

// -- Buttons --

function clearAll() {
  clear();
  clearLog();
  forgetAllGone();
}

function showKeys() {
  if (!$("keys").open) $("keys").showModal();
}

/** Where there is no room for it, the list is a sheet above the log. */
function hideSide() {
  $("chip").setAttribute("aria-expanded", "false");
  $("chip").focus();
}

/** What a button shows or hides. */
function toggle(button) {
  button.setAttribute("aria-expanded", String(button.ariaExpanded !== "true"));
}

const BUTTONS = {
  "pause": togglePause,
  "clear": clearAll,
  "previous": () => step(-1),
  "next": () => step(1),
  "copy": copyShown,
  "save-text": () => download(textOfShown(), "text/plain", "log"),
  "save-json": () => download(jsonOfShown(), "application/x-ndjson", "jsonl"),
  "show-keys": showKeys,
  "hide-keys": () => $("keys").close(),
  "tools-more": () => toggle($("tools-more")),
  "chip": () => {
    toggle($("chip"));
    $("hide-side").focus();
  },
  "hide-side": hideSide,
  "show-all": () => choose(view.choice),
  "leave": () => choose(view.choice),
};
for (const [id, act] of Object.entries(BUTTONS)) $(id).addEventListener("click", act);

log.addEventListener("click", ({ target }) => {
  const entry = entryAt(target);
  if (!entry || !document.getSelection().isCollapsed) return;
  if (target.closest(".opener")) toggleRow(target.closest(".row"));
  else if (target.closest("time")) copyLink(entry);
  else if (target.closest(".who")) {
    const key = choiceOf(entry.record);
    if (key && key !== view.choice) choose(key);
  }
});

function copyLink(entry) {
  change({ at: placeOf(entry) });
  copy(linkTo({}), "Link");
}

// -- Keys --

const KEYS = {
  "/": () => goToBox($("filter")),
  "s": () => goToBox($("find")),
  "n": () => step(1),
  "N": () => step(-1),
  "p": togglePause,
  "f": () => setFollowing(!isFollowing()),
  "c": clearAll,
  "w": () => change({ wrap: !view.wrap }),
  "x": () => change({ hex: !view.hex }),
  "t": () => change({ time: TIMES[(TIMES.indexOf(view.time) + 1) % TIMES.length] }),
  "y": copyShown,
  "l": () => goToBox($("search")),
  "[": () => chooseNext(-1),
  "]": () => chooseNext(1),
  "r": () => $("reply-text").focus(),
  "?": showKeys,
  "Escape": () => {
    if ($("chip").ariaExpanded === "true") hideSide();
    else if (view.choice !== "") choose(view.choice);
  },
};

/** Moves to a box, wherever it is hidden. */
function goToBox(field) {
  for (const button of [$("tools-more"), $("chip")]) {
    if (!field.checkVisibility()) toggle(button);
    if (!field.checkVisibility()) toggle(button);
  }
  field.focus();
  field.select();
}

function isTyping({ type, tagName }) {
  return tagName === "SELECT" || tagName === "TEXTAREA" ||
    tagName === "INPUT" && type !== "checkbox";
}

document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open) return;
  if (isTyping(target)) return keyWhileTyping(event);
  if (!Object.hasOwn(KEYS, key)) return;
  event.preventDefault();
  KEYS[key]();
});

function keyWhileTyping({ key, target, shiftKey }) {
  if (key === "Enter" && target === $("find") && !take("find")) step(shiftKey ? -1 : 1);
  if (key !== "Escape") return;
  if (target.type === "search" && target.value !== "") empty(target);
  else log.focus();
}

// -- Begin --

onChange(showControls);
readAddress();
showControls();
setInterval(refreshTimes, 1000);
if (!document.hidden) connect();
refreshPages();
