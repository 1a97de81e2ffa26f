"use strict";

const MAX_RECORDS = 2000;
const MAX_GONE = 50;
const MAX_SHOWN_CHARACTERS = 16384;
const SPARK_SECONDS = 60;
const RATE_SECONDS = 120;
const RETRY_MS = 1000;
// The colours of the terminal (32, 166, 71, 133, 37, 167, 97, 136 of 256).
const PALETTE = [
  "#0087d7",
  "#d75f00",
  "#5faf5f",
  "#af5faf",
  "#00afaf",
  "#d75f5f",
  "#875faf",
  "#af8700",
];

const $ = (id) => document.getElementById(id);
const logBox = $("log");

/** All that is remembered of the log, oldest first. */
let records = [];
/** While paused: what was there then, and what is still shown. */
let frozen;
/** Number of the client whose lines alone are shown. */
let chosen;
let needle = "";
/** By number: { item, button, ..., lines, bytes, heardAtMs, isGone, samples }. */
const clients = new Map();
const rates = [];
let lastTotals;
let skippedBefore = 0;
let skipped = 0;

// -- Words --

const UNSAFE_REGEXP =
  // deno-lint-ignore no-control-regex
  /[\0-\x08\x0A-\x1F\x7F-\x9F\u00AD\u061C\u180E\u200B\u200E\u200F\u2028-\u202E\u2060-\u2064\u2066-\u206F\uFEFF\uFFF9-\uFFFB\uFFFE\uFFFF\u{E0000}-\u{E007F}\u{E0100}-\u{E01EF}]/gu;

/** A client's text made harmless, as in the text format. */
function shown(text) {
  return text.replace(UNSAFE_REGEXP, (character) => {
    const code = character.codePointAt(0);
    return code <= 0x7F
      ? byteText(code)
      : `\\u{${code.toString(16).toUpperCase().padStart(4, "0")}}`;
  });
}

function byteText(byte) {
  return `\\x${byte.toString(16).toUpperCase().padStart(2, "0")}`;
}

const STRICT_DECODER = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Bytes that are not all UTF-8. */
function shownBytes(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  let text = "";
  for (let at = 0; at < bytes.length;) {
    const lead = bytes[at];
    const length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    try {
      text += shown(STRICT_DECODER.decode(bytes.subarray(at, at + length)));
      at += length;
    } catch {
      text += byteText(lead);
      at++;
    }
  }
  return text;
}

function messageOf(record) {
  const text = record.message_base64 === undefined
    ? shown(record.message ?? "")
    : shownBytes(record.message_base64);
  const rest = text.length - MAX_SHOWN_CHARACTERS;
  return rest > 0 ? `${text.slice(0, MAX_SHOWN_CHARACTERS)} … and ${count(rest)} characters` : text;
}

function addressOf({ host, port, path }) {
  if (host === undefined) return path === undefined ? "" : "unix";
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

function whoOf(record) {
  switch (record.event) {
    case "datagram":
      return `udp ${addressOf(record)}`;
    case "refused":
      return `refused ${addressOf(record)}`;
    case "sent":
      if (record.clients !== undefined) return "* all";
  }
  return record.connection === undefined
    ? addressOf(record)
    : `#${record.connection} ${addressOf(record)}`;
}

function wordsOf(record) {
  switch (record.event) {
    case "connected":
      return `connected${originOf(record)}`;
    case "disconnected":
      return partingOf(record);
    case "refused":
      return record.reason === "not allowed" ? "" : `(${shown(record.reason)})`;
    case "sent":
      return `< ${messageOf(record)}`;
    default:
      return `${record.cut ? "+" : "|"} ${messageOf(record)}`;
  }
}

function originOf({ proxy, certificate }) {
  const facts = [];
  if (proxy !== undefined) facts.push(`through ${shown(proxy)}`);
  if (certificate !== undefined) facts.push(`certificate ${shown(certificate)}`);
  return facts.length === 0 ? "" : ` (${facts.join("; ")})`;
}

function partingOf({ bytes, lines, seconds, reason }) {
  const ending = reason === "closed" ? "" : ` (${shown(reason)})`;
  return `disconnected: ${plural(bytes, "byte")}, ${plural(lines, "line")}, ${
    seconds.toFixed(1)
  } s${ending}`;
}

function plural(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

function count(number) {
  return number.toLocaleString("en");
}

function size(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  const power = Math.min(4, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** power;
  return `${value.toFixed(value < 10 ? 1 : 0)} ${" kMGT"[power]}B`;
}

function span(seconds) {
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h`;
}

function pace(perSecond) {
  return perSecond > 0 && perSecond < 10 ? perSecond.toFixed(1) : count(Math.round(perSecond));
}

function colorOf(record) {
  if (record.connection !== undefined) return PALETTE[record.connection % PALETTE.length];
  if (record.event !== "datagram") return "transparent";
  const bytes = new TextEncoder().encode(record.host ?? record.path ?? "");
  return PALETTE[bytes.reduce((sum, byte) => sum + byte, 0) % PALETTE.length];
}

function element(name, className, text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

// -- The log --

/** Adds what only showing it needs. */
function prepare(record) {
  record.who = shown(whoOf(record));
  record.words = wordsOf(record);
  record.searched = `${record.who} ${record.words}`.toLowerCase();
  return record;
}

function matches(record) {
  return (chosen === undefined || record.connection === chosen) && record.searched.includes(needle);
}

function rowOf(record) {
  const isEvent = ["connected", "disconnected", "refused"].includes(record.event);
  const row = element("div", isEvent ? "row event" : "row");
  row.style.setProperty("--color", colorOf(record));
  const time = element("time", "");
  time.dateTime = record.timestamp;
  time.title = record.timestamp;
  time.append(element("span", "date", record.timestamp.slice(0, 11)), record.timestamp.slice(11));
  row.append(
    time,
    " ",
    element("span", "who", record.who),
    " ",
    element("span", "said", record.words),
  );
  return row;
}

function takeRecords(added) {
  for (const record of added) noteRecord(prepare(record));
  records.push(...added);
  if (records.length > MAX_RECORDS) records.splice(0, records.length - MAX_RECORDS);
  if (!frozen) showLater(added);
  showNotes();
}

/** Records wait for the next frame: a flood is drawn sixty times a second at most. */
let waiting = [];

function showLater(added) {
  if (waiting.length === 0) requestAnimationFrame(showWaiting);
  waiting.push(...added);
  if (waiting.length > MAX_RECORDS) waiting = waiting.slice(-MAX_RECORDS);
}

function showWaiting() {
  const rows = waiting.filter(matches).map(rowOf);
  waiting = [];
  logBox.append(...rows);
  while (logBox.childElementCount > MAX_RECORDS) logBox.firstElementChild.remove();
  keepUp();
  showNotes();
}

/** Draws the whole log anew. */
function redraw() {
  waiting = [];
  logBox.replaceChildren(...(frozen ?? records).filter(matches).map(rowOf));
  keepUp();
  showNotes();
}

function showNotes() {
  const isEmpty = records.length === 0 && !frozen;
  $("empty").hidden = !isEmpty || clients.size > 0;
  const notes = [];
  if (frozen) notes.push("paused");
  if (chosen !== undefined) notes.push(`only #${chosen}`);
  if (needle !== "") notes.push(`${count(logBox.childElementCount)} matching`);
  $("count").textContent = notes.join(", ");
  const lost = skippedBefore + skipped;
  $("skipped").hidden = lost === 0;
  $("skipped").textContent = lost === 0 ? "" : `${lost} records skipped`;
}

// -- Following --

let lastTop = 0;

function isAtEnd() {
  return logBox.scrollHeight - logBox.scrollTop - logBox.clientHeight < 4;
}

function keepUp() {
  if ($("follow").checked) logBox.scrollTop = logBox.scrollHeight;
  lastTop = logBox.scrollTop;
}

// The end runs away under load: only a way up is somebody's wish to stay.
logBox.addEventListener("scroll", () => {
  if (isAtEnd()) $("follow").checked = true;
  else if (logBox.scrollTop < lastTop) $("follow").checked = false;
  lastTop = logBox.scrollTop;
});
new ResizeObserver(keepUp).observe(logBox);
$("follow").addEventListener("change", keepUp);

// -- Clients --

function clientOf(number, address) {
  let client = clients.get(number);
  if (client) return client;
  client = {
    number,
    lines: 0,
    bytes: 0,
    heardAtMs: undefined,
    isGone: false,
    samples: [],
    item: element("li", ""),
  };
  const button = element("button", "");
  button.type = "button";
  button.style.setProperty("--color", PALETTE[number % PALETTE.length]);
  button.addEventListener("click", () => choose(number));
  const name = element("span", "name");
  name.append(element("b", "", `#${number}`), ` ${shown(address)}`);
  name.title = address;
  const spark = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  spark.setAttribute("class", "spark");
  spark.setAttribute("viewBox", `0 0 ${SPARK_SECONDS} 16`);
  spark.setAttribute("preserveAspectRatio", "none");
  spark.setAttribute("aria-hidden", "true");
  client.path = spark.appendChild(document.createElementNS(spark.namespaceURI, "path"));
  client.figures = element("span", "figures");
  client.pace = element("span", "pace");
  button.append(name, " ", spark, " ", client.figures, " ", client.pace);
  client.button = button;
  client.item.append(button);
  $("clients").append(client.item);
  clients.set(number, client);
  mark(client);
  return client;
}

function mark(client) {
  client.button.setAttribute("aria-pressed", String(client.number === chosen));
  client.item.className = client.isGone ? "gone" : "";
}

function choose(number) {
  chosen = chosen === number ? undefined : number;
  for (const client of clients.values()) mark(client);
  redraw();
}

/** What a record tells about clients. */
function noteRecord(record) {
  if (record.connection === undefined || record.event === "sent") return;
  const known = clients.get(record.connection);
  if (record.event === "disconnected") {
    const client = known ?? clientOf(record.connection, addressOf(record));
    client.isGone = true;
    client.lines = record.lines;
    client.bytes = record.bytes;
    mark(client);
    showClient(client);
    forgetGone();
  } else if (known && record.event === "line") {
    known.heardAtMs = Date.parse(record.timestamp);
  }
}

/** Of those who left the last stay. */
function forgetGone() {
  const gone = [...clients.values()].filter((client) => client.isGone && client.number !== chosen);
  for (const client of gone.slice(0, Math.max(0, gone.length - MAX_GONE))) forget(client);
}

function forget(client) {
  client.item.remove();
  clients.delete(client.number);
}

/** Takes the list of who is connected; with `isSample` one second has passed. */
function takeClients(listed, totals, isSample) {
  const open = new Set();
  for (const { connection, lines, bytes, since, ...address } of listed) {
    const client = clientOf(connection, addressOf(address));
    open.add(connection);
    if (isSample) client.samples.push(Math.max(0, lines - client.lines));
    client.samples.splice(0, client.samples.length - SPARK_SECONDS);
    if (isSample && bytes > client.bytes) client.heardAtMs = Date.now();
    client.since = since;
    client.lines = lines;
    client.bytes = bytes;
    client.isGone = false;
    mark(client);
  }
  // Beyond the end of a list that was cut, nobody can tell who left.
  const isCut = totals.open > listed.length;
  for (const client of [...clients.values()]) {
    if (open.has(client.number) || client.isGone) continue;
    if (isCut && client.number > Math.max(...open)) forget(client);
    else {
      client.isGone = true;
      mark(client);
    }
  }
  forgetGone();
  for (const client of clients.values()) showClient(client);
  $("nobody").hidden = clients.size > 0;
  $("more").hidden = !isCut;
  $("more").textContent = isCut ? `and ${totals.open - listed.length} more` : "";
}

function showClient(client) {
  const { lines, bytes, samples, since, heardAtMs } = client;
  client.figures.textContent = `${plural(lines, "line")}, ${size(bytes)}`;
  client.path.setAttribute("d", curve(samples, SPARK_SECONDS, 16));
  const rate = samples.at(-1) ?? 0;
  const silentSeconds = Math.max(
    0,
    Math.floor((Date.now() - (heardAtMs ?? Date.parse(since))) / 1000),
  );
  client.pace.textContent = client.isGone
    ? "disconnected"
    : rate > 0
    ? `${pace(rate)}/s`
    : `silent ${span(silentSeconds || 0)}`;
  client.button.title = since ? `connected since ${since}` : "";
}

/** A line through samples, the last at the right. */
function curve(samples, width, height) {
  const highest = Math.max(1, ...samples);
  const points = samples.map((value, i) =>
    `${width - samples.length + i + 1} ${(height - 1 - (height - 2) * value / highest).toFixed(1)}`
  );
  return points.length === 0 ? "" : `M${points.join("L")}`;
}

// -- Figures of all --

function takeTotals(totals) {
  if (lastTotals) {
    rates.push(
      Math.max(0, totals.lines - lastTotals.lines + totals.datagrams - lastTotals.datagrams),
    );
  }
  rates.splice(0, rates.length - RATE_SECONDS);
  lastTotals = totals;
  $("open").textContent = count(totals.open);
  $("lines").textContent = count(totals.lines + totals.datagrams);
  $("bytes").textContent = size(totals.bytes);
  $("pace").textContent = pace(rates.at(-1) ?? 0);
  const line = curve(rates, RATE_SECONDS, 30);
  $("rate").querySelector(".line").setAttribute("d", line);
  $("rate").querySelector(".area").setAttribute(
    "d",
    line && `${line}V30H${RATE_SECONDS - rates.length + 1}Z`,
  );
}

// -- The stream --

let stream;
let retry;

function connect() {
  clearTimeout(retry);
  stream?.close();
  stream = new EventSource("events");
  stream.addEventListener("snapshot", (event) => takeSnapshot(JSON.parse(event.data)));
  stream.addEventListener("records", (event) => takeRecords(JSON.parse(event.data)));
  stream.addEventListener("stats", (event) => takeStats(JSON.parse(event.data)));
  stream.addEventListener("error", () => {
    // By itself it gives up for good when it is refused.
    disconnect();
    setState("lost", "connection lost");
    retry = setTimeout(connect, RETRY_MS);
  });
}

function disconnect() {
  clearTimeout(retry);
  stream?.close();
  stream = undefined;
  skippedBefore += skipped;
  skipped = 0;
}

function takeSnapshot(snapshot) {
  setState("live", `live at ${location.host}`);
  $("example").textContent = snapshot.example;
  lastTotals = undefined;
  for (const client of clients.values()) client.isGone = true;
  takeClients(snapshot.clients, snapshot.totals, false);
  takeTotals(snapshot.totals);
  records = [];
  waiting = [];
  if (!frozen) logBox.replaceChildren();
  takeRecords(snapshot.records.filter((record) => !(record.timestamp <= clearedAt)));
  for (const client of clients.values()) showClient(client);
}

function takeStats(stats) {
  skipped = stats.skipped;
  takeClients(stats.clients, stats.totals, true);
  takeTotals(stats.totals);
  showNotes();
}

function setState(name, text) {
  $("state").className = name;
  if ($("state").textContent !== text) $("state").textContent = text;
}

// A browser has six connections to a host: a tab that nobody sees needs none.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) disconnect();
  else connect();
});

// -- Hands --

/** Time of the newest record that was cleared, so that it does not come back with a new stream. */
let clearedAt = "";

function togglePause() {
  if (frozen) frozen = undefined;
  else frozen = records.slice();
  $("pause").textContent = frozen ? "Resume" : "Pause";
  $("pause").toggleAttribute("data-paused", Boolean(frozen));
  redraw();
}

function clear() {
  clearedAt = records.at(-1)?.timestamp ?? clearedAt;
  records = [];
  if (frozen) frozen = [];
  for (const client of [...clients.values()]) {
    if (client.isGone && client.number !== chosen) forget(client);
  }
  $("nobody").hidden = clients.size > 0;
  skippedBefore = -skipped;
  redraw();
}

function setNeedle(text) {
  needle = text.toLowerCase();
  redraw();
}

$("pause").addEventListener("click", togglePause);
$("clear").addEventListener("click", clear);
$("filter").addEventListener("input", (event) => setNeedle(event.target.value));
$("clients").addEventListener("keydown", (event) => {
  const item = event.target.closest("li");
  const next =
    { ArrowDown: item?.nextElementSibling, ArrowUp: item?.previousElementSibling }[event.key];
  if (!next) return;
  event.preventDefault();
  next.firstElementChild.focus();
});

const KEYS = {
  "/": () => $("filter").focus(),
  "p": togglePause,
  "f": () => $("follow").click(),
  "c": clear,
  "Escape": () => chosen !== undefined && choose(chosen),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target === $("filter")) {
    if (event.key !== "Escape") return;
    $("filter").value = "";
    setNeedle("");
    return logBox.focus();
  }
  const act = Object.hasOwn(KEYS, event.key) ? KEYS[event.key] : undefined;
  if (!act) return;
  event.preventDefault();
  act();
});

if (!document.hidden) connect();
