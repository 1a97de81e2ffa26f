/**
 * Elements, and what is said to the reader in passing.
 *
 * @module
 */

export const $ = (id) => document.getElementById(id);

export function element(name, className, text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

/** Sets a text only if it changes: what is the same need not be drawn or read out. */
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

const SAID_MS = 6000;
let saidTimer;

/** Says something for some seconds. */
export function say(text) {
  setText($("said"), text);
  clearTimeout(saidTimer);
  saidTimer = setTimeout(() => setText($("said"), ""), SAID_MS);
}

/** Copies a text; says `what` was copied. */
export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    if (!copyBySelecting(text)) return say("This browser does not let the page copy");
  }
  say(`${what} copied`);
}

/** Where the page is no secure context, this is left. */
function copyBySelecting(text) {
  const field = element("textarea", "", text);
  const focused = document.activeElement;
  document.body.append(field);
  field.select();
  const isCopied = document.execCommand("copy");
  field.remove();
  focused?.focus();
  return isCopied;
}
