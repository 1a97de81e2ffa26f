/**
 * The reply box: to the chosen client or all, for those who have the key.
 *
 * @module
 */

import { $, say, setText } from "./dom.js";
import { choiceName } from "./record.js";
import { plural } from "./text.js";
import { onChange, replyKey, view } from "./view.js";

const box = $("reply");
const field = $("reply-text");

/** Whom a reply goes to; nobody for a sender of datagrams. */
function receiver() {
  if (view.choice === "") return "all";
  return view.choice.startsWith("connection=") ? Number(view.choice.slice(11)) : undefined;
}

/** Whether the server takes replies, as far as it has said so. */
let isInteractive = true;

/** Shows the box to those who can use it. */
export function showReply(isTaken = isInteractive) {
  isInteractive = isTaken;
  const to = receiver();
  box.hidden = replyKey === undefined || to === undefined || !isInteractive;
  const name = `Reply to ${to === "all" ? "all" : choiceName(view.choice)}`;
  field.ariaLabel = name;
  field.placeholder = name;
}

async function send() {
  const body = { to: receiver(), text: field.value, escapes: $("escapes").checked };
  setText($("reply-problem"), "");
  say("");
  try {
    const answer = await fetch("send", {
      method: "POST",
      headers: { "content-type": "application/json", "x-earshot-key": replyKey },
      body: JSON.stringify(body),
    });
    if (!answer.ok) return refuse(await reasonOf(answer));
    const { clients } = await answer.json();
    if (field.value === body.text) field.value = "";
    say(`Sent to ${body.to === "all" ? plural(clients, "client") : `#${body.to}`}`);
  } catch {
    refuse("connection lost");
  }
}

async function reasonOf(answer) {
  const reason = (await answer.text()).trim() || `status ${answer.status}`;
  return reason === "Wrong key"
    ? `${reason}: each start of earshot makes one, for the address that it prints`
    : reason;
}

/** What could not be sent stays in the box. */
function refuse(reason) {
  setText($("reply-problem"), `Not sent: ${reason}`);
  field.focus();
}

box.addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
field.addEventListener("input", () => setText($("reply-problem"), ""));
/** What was not sent yet, by choice: nothing that is meant for one goes to all. */
const drafts = new Map();
let shownChoice = view.choice;

onChange((changed) => {
  if (changed.includes("key")) showReply();
  if (!changed.includes("choice")) return;
  drafts.set(shownChoice, field.value);
  shownChoice = view.choice;
  field.value = drafts.get(shownChoice) ?? "";
  setText($("reply-problem"), "");
  say("");
  showReply();
});
