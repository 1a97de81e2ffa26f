/**
 * What the reader has chosen: whom, which words, which switches. The address of
 * the page keeps it, so that a link shows the same.
 *
 * @module
 */

const DEFAULTS = {
  /** Whom alone: `connection=3`, `host=192.0.2.7`, or nothing for all. */
  choice: "",
  filter: "",
  find: "",
  wrap: true,
  hex: false,
  time: "UTC",
  sort: "number",
  search: "",
  /** A record that a link leads to. */
  at: "",
};

/** What some of them may be. */
const VALUES = {
  time: ["UTC", "local", "relative"],
  sort: ["number", "name", "silence", "rate"],
};

const KEY_NAME = "earshot-key";
const listeners = [];

export const view = { ...DEFAULTS };

/** The key that lets this tab reply. */
export let replyKey;

/** Calls back with the names of what has changed. */
export function onChange(listener) {
  listeners.push(listener);
}

/** Changes what is chosen, and keeps it in the address. */
export function change(changes) {
  const changed = Object.keys(changes).filter((name) => view[name] !== changes[name]);
  if (changed.length === 0) return;
  Object.assign(view, changes);
  history.replaceState(null, "", linkTo({}));
  for (const listener of listeners) listener(changed);
}

/** The address of this view, with changes; it never has the key. */
export function linkTo(changes) {
  const parts = [];
  for (const [name, value] of Object.entries({ ...view, ...changes })) {
    if (value === DEFAULTS[name]) continue;
    const text = typeof value === "boolean" ? (value ? "on" : "off") : value;
    parts.push(name === "choice" ? value : `${name}=${encodeURIComponent(text)}`);
  }
  const { origin, pathname, search } = location;
  return `${origin}${pathname}${search}${parts.length === 0 ? "" : `#${parts.join("&")}`}`;
}

/** Reads the address, and takes the key out of it. */
export function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  if (given.has("key")) sessionStorage.setItem(KEY_NAME, given.get("key"));
  replyKey = sessionStorage.getItem(KEY_NAME) ?? undefined;
  history.replaceState(null, "", linkTo({}));
  const changes = { ...DEFAULTS };
  for (const [name, value] of given) Object.assign(changes, chosenBy(name, value));
  change(changes);
  for (const listener of listeners) listener(["key"]);
}

/** What one part of the address chooses; nothing if it is wrong. */
function chosenBy(name, value) {
  if (name === "connection" && /^[1-9]\d{0,14}$/.test(value)) return { choice: `${name}=${value}` };
  if (name === "host" && /^[\da-f.:]+(%.+)?$/i.test(value)) {
    return { choice: `${name}=${encodeURIComponent(value)}` };
  }
  if (name === "choice" || !Object.hasOwn(DEFAULTS, name)) return {};
  if (typeof DEFAULTS[name] === "boolean") return { [name]: value === "on" };
  return VALUES[name]?.includes(value) === false ? {} : { [name]: value };
}

globalThis.addEventListener("hashchange", readAddress);
