/**
 * The server's events: a stream for each choice, which goes on where it was.
 *
 * @module
 */

import {
  chosenClient,
  forgetClients,
  noteRecords,
  refreshPages,
  showClients,
  takeClients,
} from "./clients.js";
import { $, say, setText } from "./dom.js";
import { entryOf, feedOf, forgetOthers, noteOf } from "./feed.js";
import { isPaused, refreshFeed, showAdded, showFeed, showLinked } from "./log.js";
import { isOfChoice } from "./record.js";
import { showReply } from "./reply.js";
import { log } from "./rows.js";
import { forgetTotals, takeTotals } from "./totals.js";
import { onChange, view } from "./view.js";

const RETRY_MS = 1000;
/** Records a second that a screen reader can still follow. */
const READABLE_RECORDS = 5;

let feed = feedOf("");
let stream;
let retry;
/** Time of the newest record that was cleared, so that it does not come back with a snapshot. */
let clearedAt = "";
let recordsOfSecond = 0;
/** The server's run: another has other clients by the same numbers. */
let run;

// -- Connecting --

export function connect() {
  disconnect();
  const query = [];
  if (feed.choice) query.push(feed.choice);
  if (feed.id !== undefined) query.push(`after=${encodeURIComponent(feed.id)}`);
  stream = new EventSource(`events${query.length > 0 ? `?${query.join("&")}` : ""}`);
  on("snapshot", takeSnapshot);
  on("records", takeRecords);
  on("stats", takeStats);
  stream.addEventListener("error", () => {
    // By itself it gives up for good when it is refused.
    disconnect();
    setState("lost", "connection lost");
    retry = setTimeout(connect, RETRY_MS);
  });
}

function on(name, take) {
  stream.addEventListener(name, ({ data, lastEventId }) => {
    take(JSON.parse(data), lastEventId || undefined);
  });
}

export function disconnect() {
  clearTimeout(retry);
  retry = undefined;
  stream?.close();
  stream = undefined;
  feed.endStream();
}

function setState(name, text) {
  $("state").className = name;
  setText($("where"), name === "live" ? `at ${location.host}` : "");
  setText($("state"), text);
}

// -- Events --

function takeSnapshot(snapshot, id) {
  setState("live", "live");
  setText($("example"), snapshot.example ?? "");
  const isFirst = feed.id === undefined;
  if (run !== undefined && snapshot.run !== run) beginAnew();
  run = snapshot.run;
  takeClients(snapshot, true);
  takeTotals(snapshot.totals, snapshot.minute);
  if (snapshot.resumed) goOn(snapshot);
  else takeWhole(snapshot.records, isFirst);
  feed.id = id;
  if (view.at && !showLinked() && isFirst) {
    say("The record of this link is not remembered, the log has it");
  }
  showReply(snapshot.interactive);
  showFacts();
  refreshPages();
}

/** Another run of the server: what it says of #1 is about somebody else. */
function beginAnew() {
  forgetClients();
  forgetTotals();
  forgetOthers(feed);
  add([noteOf("earshot was started anew, numbers begin anew")]);
}

function goOn({ records, missed = 0 }) {
  if (missed > 0) add([noteOf(`${missed} records not shown here, the log has them`)]);
  takeRecords(records);
}

function takeWhole(records, isFirst) {
  noteRecords(records);
  feed.merge(records.filter(isWanted).map(entryOf));
  // What is paused stays, but for a client that was just chosen.
  if (!isPaused || isFirst) refreshFeed();
}

function isWanted(record) {
  return record.timestamp > clearedAt && isOfChoice(record, feed.choice, true);
}

function takeRecords(records, id) {
  noteRecords(records);
  add(records.filter((record) => isOfChoice(record, feed.choice, true)).map(entryOf));
  recordsOfSecond += records.length;
  if (id !== undefined) feed.id = id;
  if (records.some(({ event }) => event === "disconnected")) showClients();
}

function add(entries) {
  feed.push(entries);
  showAdded(entries);
  showEmpty();
}

function takeStats(stats) {
  feed.skipped = stats.skipped;
  takeClients(stats, false);
  takeTotals(stats.totals);
  // A flood would keep a screen reader speaking of the past.
  log.ariaLive = recordsOfSecond > READABLE_RECORDS ? "off" : "polite";
  recordsOfSecond = 0;
  showFacts();
}

// -- What is said of it --

/** Says whom the log is of, and what it lacks. */
function showFacts() {
  const skipped = feed.skippedBefore + feed.skipped;
  setText($("skipped"), skipped > 0 ? `${skipped} records skipped: the log has them` : "");
  $("chosen").hidden = $("leave").hidden = feed.choice === "";
  const { name, facts } = chosenClient();
  setText($("chip"), feed.choice === "" ? "All clients" : name);
  setText($("chosen-name"), name);
  setText($("chosen-facts"), facts.join(" · "));
  showEmpty();
}

function showEmpty() {
  const isQuiet = feed.entries.length === 0;
  $("empty").hidden = !isQuiet;
  $("try").hidden = !isQuiet || feed.choice !== "" || $("clients").childElementCount > 0;
  setText(
    $("waiting"),
    $("try").hidden ? "Nothing here yet." : "Nothing here yet. Try it from another terminal:",
  );
}

/** Forgets what is shown; it does not come back. */
export function clear() {
  clearedAt = feed.entries.findLast(({ record }) => record)?.record.timestamp ?? clearedAt;
  feed.skippedBefore = -feed.skipped;
  showFacts();
}

onChange((changed) => {
  if (!changed.includes("choice")) return;
  feed.endStream();
  feed = feedOf(view.choice);
  showFeed(feed);
  showFacts();
  if (stream || retry) connect();
});

// A browser has six connections to a host: a tab that nobody sees needs none.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) disconnect();
  else connect();
});
globalThis.addEventListener("pagehide", disconnect);
globalThis.addEventListener("pageshow", ({ persisted }) => persisted && connect());
