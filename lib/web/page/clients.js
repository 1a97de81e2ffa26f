/**
 * Who is connected, who was, and who sends datagrams: the list, sorted and searched.
 *
 * @module
 */

import { $, element, setText } from "./dom.js";
import { addressOf, choiceName, choiceOf, colorOf } from "./record.js";
import { count, pace, plural, shownText, size, span } from "./text.js";
import { change, onChange, view } from "./view.js";

const MAX_GONE = 50;
const SAMPLES = 60;
const REFRESH_MS = 2000;
const PAGE_SIZE = 200;
/** Of a list that is cut, who has not been heard of for so long is left out. */
const STALE_MS = 5000;
/** The list keeps its order while a hand is on it. */
const STILL_MS = 3000;

const list = $("clients");
const scroller = $("scroller");

/** By choice: `connection=3`, `host=192.0.2.7`. */
const clients = new Map();
/** How many there are, and how many of them are searched for. */
let total = 0;
let matching = 0;
/** Whether the server's events list all of them. */
let isWhole = true;
/** How many of a list that is cut have been asked for. */
let wanted = PAGE_SIZE;
let isAsking = false;

// -- What is known --

function clientOf(listed) {
  const key = choiceOf(listed);
  let client = clients.get(key);
  if (!client) {
    client = { key, samples: [], isGone: false, sampledAtMs: performance.now() };
    clients.set(key, client);
  }
  return client;
}

/** Takes what the server says of a client; a snapshot has the last minute of those who spoke. */
function takeClient(listed, isSnapshot = false) {
  const client = clientOf(listed);
  const nowMs = performance.now();
  if (isSnapshot) client.samples = listed.minute ?? [];
  else addSamples(client, listed.lines, nowMs);
  Object.assign(client, listed, { isGone: false, sampledAtMs: nowMs, seenAtMs: nowMs });
  client.silentSinceMs = nowMs - 1000 * (listed.silent ?? 0);
}

/** One sample a second, however seldom it is asked for. */
function addSamples({ samples, lines: before, sampledAtMs }, lines, nowMs) {
  if (before === undefined) return;
  const seconds = Math.max(1, Math.round((nowMs - sampledAtMs) / 1000));
  const perSecond = Math.max(0, lines - before) / seconds;
  for (let i = 0; i < Math.min(seconds, SAMPLES); i++) samples.push(perSecond);
  samples.splice(0, samples.length - SAMPLES);
}

/** Takes the list of a snapshot or of a second; it has the first of them only. */
export function takeClients({ clients: listed, total: all, totals }, isSnapshot) {
  for (const client of listed) takeClient(client, isSnapshot);
  total = Math.max(listed.length, all ?? totals.open);
  if (view.search.trim() === "") matching = total;
  isWhole = total === listed.length;
  if (isWhole) markGone(new Set(listed.map(choiceOf)));
  showClients();
}

/** Whom a whole list does not have has left; a sender of datagrams is forgotten. */
function markGone(listed) {
  for (const client of clients.values()) {
    if (listed.has(client.key)) continue;
    if (client.connection === undefined) clients.delete(client.key);
    else client.isGone = true;
  }
}

/** What records tell about clients. */
export function noteRecords(records) {
  for (const record of records) {
    if (record.event !== "disconnected" || record.connection === undefined) continue;
    const { connection, host, port, path, name, lines, bytes } = record;
    const client = clientOf(record);
    Object.assign(client, { connection, host, port, path, name, lines, bytes, isGone: true });
  }
}

/** Of those who left the last stay. */
function forgetGone() {
  const gone = [...clients.values()].filter(({ isGone, key }) => isGone && key !== view.choice);
  for (const { key } of gone.slice(0, -MAX_GONE)) clients.delete(key);
}

/** Another run of the server: its numbers begin anew. */
export function forgetClients() {
  clients.clear();
  total = 0;
  wanted = PAGE_SIZE;
}

export function forgetAllGone() {
  for (const { isGone, key } of clients.values()) {
    if (isGone && key !== view.choice) clients.delete(key);
  }
  showClients();
}

// -- A list that is cut --

/** Asks for the pages that the list has been scrolled to. */
export async function refreshPages() {
  if (isWhole || isAsking || document.hidden) return;
  isAsking = true;
  const { sort, search } = view;
  try {
    for (let from = 0; from < wanted; from += PAGE_SIZE) {
      const query = new URLSearchParams({ from, sort, search });
      const answer = await fetch(`clients?${query}`);
      if (!answer.ok || sort !== view.sort || search !== view.search) break;
      const page = await answer.json();
      matching = page.total;
      for (const client of page.clients) takeClient(client);
      if (from + PAGE_SIZE >= matching) break;
    }
  } catch {
    // The stream says that the connection is lost.
  }
  isAsking = false;
  showClients();
  // Two frames on it is known whether the end has left the view.
  requestAnimationFrame(() => requestAnimationFrame(wantMore));
}

/** Whether the end of the list is seen, or nearly. */
let isEndSeen = false;

/** Asks for another page while the end is seen: it may stay there while the list grows. */
function wantMore() {
  if (!isEndSeen || wanted >= matching) return;
  wanted += PAGE_SIZE;
  refreshPages();
}

setInterval(refreshPages, REFRESH_MS);
new IntersectionObserver((changes) => {
  isEndSeen = changes.at(-1).isIntersecting;
  wantMore();
}, { root: scroller, rootMargin: "200px" }).observe($("unlisted"));

function forgetStale() {
  const nowMs = performance.now();
  for (const { key, isGone, seenAtMs } of clients.values()) {
    if (!isGone && key !== view.choice && nowMs - seenAtMs > STALE_MS) clients.delete(key);
  }
}

// -- Order --

const ORDERS = {
  number: (a, b) =>
    (a.connection ?? Infinity) - (b.connection ?? Infinity) ||
    compare(a.host ?? "", b.host ?? ""),
  name: (a, b) =>
    Number(a.name === undefined) - Number(b.name === undefined) ||
    compare((a.name ?? "").toLowerCase(), (b.name ?? "").toLowerCase()) ||
    ORDERS.number(a, b),
  silence: (a, b) =>
    Number(a.isGone) - Number(b.isGone) ||
    Math.round((a.silentSinceMs - b.silentSinceMs) / 1000) ||
    ORDERS.number(a, b),
  rate: (a, b) =>
    Number(a.isGone) - Number(b.isGone) || rateOf(b) - rateOf(a) || ORDERS.number(a, b),
};

function compare(a, b) {
  return a === b ? 0 : a < b ? -1 : 1;
}

/** Lines a second over the last ten. */
function rateOf({ rate, samples }) {
  return rate ?? samples.slice(-10).reduce((sum, value) => sum + value, 0) / 10;
}

function isSearched(client, words) {
  const { connection, certificate = "", host } = client;
  const unnamed = addressOf({ ...client, name: undefined });
  const label = connection === undefined ? "udp" : `#${connection}`;
  const text = `${label} ${client.name ?? ""} ${unnamed} ${host ?? ""} ${certificate}`
    .toLowerCase();
  return words.every((word) => text.includes(word));
}

// -- Items --

let pointedAtMs = -STILL_MS;
scroller.addEventListener("pointermove", () => pointedAtMs = performance.now());

/** Draws the list: items are made, moved and taken away only where something has changed. */
export function showClients() {
  forgetGone();
  if (!isWhole) forgetStale();
  const words = view.search.toLowerCase().split(/\s+/).filter(Boolean);
  const order = ORDERS[view.sort] ?? ORDERS.number;
  const found = [...clients.values()].filter((client) => isSearched(client, words)).sort(order);
  const isStill = performance.now() - pointedAtMs < STILL_MS &&
    found.length === list.childElementCount;
  if (!isStill || found.some(({ item }) => !item?.isConnected)) place(found);
  for (const client of found) show(client);
  const connected = [...clients.values()].filter(({ isGone }) => !isGone).length;
  const rest = isWhole ? 0 : Math.max(0, matching - found.filter(({ isGone }) => !isGone).length);
  setText($("unlisted"), rest > 0 ? `and ${rest} more` : "");
  setText($("listed"), count(Math.max(total, connected)));
  $("nobody").hidden = found.length > 0;
  setText($("nobody"), clients.size > 0 ? "No client matches." : "Nobody is connected.");
}

function place(found) {
  const focused = list.contains(document.activeElement) && document.activeElement;
  const items = new Set(found.map((client) => (client.item ??= itemOf(client))));
  for (const item of [...list.children]) if (!items.has(item)) item.remove();
  let next = list.firstElementChild;
  for (const item of items) {
    if (item === next) next = next.nextElementSibling;
    else list.insertBefore(item, next);
  }
  if (focused && focused !== document.activeElement && focused.isConnected) focused.focus();
  keepOneTabStop();
}

function itemOf(client) {
  const item = element("li");
  const button = element("button");
  button.type = "button";
  button.style.setProperty("--color", colorOf({ ...client, transport: "udp" }));
  button.addEventListener("click", () => choose(client.key));
  const spark = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  spark.setAttribute("class", "spark");
  spark.setAttribute("viewBox", `0 0 ${SAMPLES} 16`);
  spark.setAttribute("preserveAspectRatio", "none");
  spark.setAttribute("aria-hidden", "true");
  const path = spark.appendChild(document.createElementNS(spark.namespaceURI, "path"));
  const name = element("span", "name");
  const figures = element("span", "figures");
  const rate = element("span", "pace");
  button.append(name, " ", spark, " ", figures, " ", rate);
  item.append(button);
  client.parts = { button, name, path, figures, rate };
  return item;
}

function show(client) {
  const { item, parts, key, isGone } = client;
  const { button, name, path, figures, rate } = parts;
  const [label, ...address] = nameOf(client).split(" ");
  if (name.textContent !== nameOf(client)) {
    name.replaceChildren(element("b", "", label), ` ${address.join(" ")}`);
  }
  item.classList.toggle("gone", isGone);
  button.setAttribute("aria-pressed", String(key === view.choice));
  setText(figures, figuresOf(client));
  setText(rate, paceOf(client));
  const title = [nameOf(client), ...factsOf(client)].join("\n");
  if (button.title !== title) button.title = title;
  if (!isGone) path.setAttribute("d", curve(client.samples, SAMPLES, 16));
}

/** `#3 pump:41000`, or `udp` and the address of a sender of datagrams. */
function nameOf(client) {
  const label = client.connection === undefined ? "udp" : `#${client.connection}`;
  return `${label} ${shownText(addressOf(client)).text}`;
}

function figuresOf({ name, host, path, lines = 0, bytes = 0, to, certificate }) {
  const figures = [`${plural(lines, "line")}, ${size(bytes)}`];
  if (name !== undefined) figures.push(shownText(host ?? path ?? "").text);
  if (to !== undefined) figures.push(`:${to}`);
  if (certificate !== undefined) figures.push(shownText(certificate).text);
  return figures.join(" · ");
}

function paceOf(client) {
  if (client.isGone) return "disconnected";
  const rate = rateOf(client);
  if (rate > 0) return `${pace(rate)}/s`;
  const { silent, silentSinceMs } = client;
  return silent === undefined ? "" : `silent ${span((performance.now() - silentSinceMs) / 1000)}`;
}

/** What there is to say of a client, beside its figures. */
function factsOf({ name, host, port, path, since, to, certificate, connection }) {
  const facts = [];
  if (name !== undefined || path !== undefined) facts.push(path ?? addressOf({ host, port }));
  if (to !== undefined) facts.push(`to :${to}`);
  if (certificate !== undefined) facts.push(`certificate ${certificate}`);
  if (connection !== undefined && since) facts.push(`connected since ${since.slice(0, 19)}Z`);
  return facts.map((fact) => shownText(fact).text);
}

/** A line through samples, the last at the right. */
export function curve(samples, width, height) {
  const highest = Math.max(1, ...samples);
  const points = samples.map((value, i) =>
    `${width - samples.length + i + 1} ${(height - 1 - (height - 2) * value / highest).toFixed(1)}`
  );
  return points.length === 0 ? "" : `M${points.join("L")}`;
}

// -- Choosing --

/** Shows one client alone; the second time all. */
export function choose(key) {
  $("chip").setAttribute("aria-expanded", "false");
  change({ choice: view.choice === key ? "" : key, at: "" });
}

/** Chooses the client after the chosen one in the list, or with -1 the one before. */
export function chooseNext(direction) {
  const keys = [...list.children].map((item) => keyOf(item));
  if (keys.length === 0) return;
  const at = keys.indexOf(view.choice);
  const next = at < 0 ? (direction > 0 ? 0 : keys.length - 1) : at + direction;
  if (keys[next]) choose(keys[next]);
  list.children[next]?.scrollIntoView({ block: "nearest" });
}

function keyOf(item) {
  return [...clients.values()].find((client) => client.item === item)?.key;
}

/** What is said above a conversation: a name, and facts. */
export function chosenClient() {
  const client = clients.get(view.choice);
  if (!client) return { name: choiceName(view.choice), facts: ["has not come yet"] };
  const { lines = 0, bytes = 0 } = client;
  const figures = [plural(lines, "line"), size(bytes), paceOf(client)];
  return { name: nameOf(client), facts: [...factsOf(client), ...figures].filter(Boolean) };
}

// Arrows walk through the list, which is one stop of the Tab key.
list.addEventListener("keydown", (event) => {
  const item = event.target.closest("li");
  const next = {
    ArrowDown: item?.nextElementSibling,
    ArrowUp: item?.previousElementSibling,
    Home: list.firstElementChild,
    End: list.lastElementChild,
  }[event.key];
  if (!next) return;
  event.preventDefault();
  next.firstElementChild.focus();
});
list.addEventListener("focusin", keepOneTabStop);

function keepOneTabStop() {
  const buttons = [...list.querySelectorAll("button")];
  const stop = buttons.find((button) => button === document.activeElement) ??
    buttons.find((button) => button.ariaPressed === "true") ?? buttons[0];
  for (const button of buttons) button.tabIndex = button === stop ? 0 : -1;
}

onChange((changed) => {
  if (changed.some((name) => ["sort", "search", "choice"].includes(name))) {
    pointedAtMs = -STILL_MS;
    if (changed.includes("search")) wanted = PAGE_SIZE;
    showClients();
    refreshPages();
  }
});
