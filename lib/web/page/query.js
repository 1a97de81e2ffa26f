/**
 * What is typed into Filter and Find: words, all of which must be there, `-word`
 * for one that must not, `/regex/` and `/regex/i`.
 *
 * @module
 */

/** A regular expression between slashes, up to the end of its word. */
const REGEXP_TERM = /^\/((?:\\.|[^\\])+?)\/(i?)(?=\s|$)/;
const SPECIAL_REGEXP = /[\\^$.*+?()[\]{}|/]/g;

/**
 * Reads a query. With `problem`, what is wrong with a regular expression, it
 * matches everything.
 */
export function parseQuery(text) {
  const terms = [];
  for (let rest = text.trim(); rest !== "";) {
    const isNot = rest.length > 1 && rest[0] === "-" && !/\s/.test(rest[1]);
    if (isNot) rest = rest.slice(1);
    const pattern = REGEXP_TERM.exec(rest);
    const word = pattern ? pattern[0] : /^\S+/.exec(rest)[0];
    try {
      terms.push({
        isNot,
        regexp: pattern ? new RegExp(pattern[1], `g${pattern[2]}`) : wordRegexp(word),
      });
    } catch (error) {
      return { terms: [], problem: `${word}: ${error.message.split(": ").at(-1)}` };
    }
    rest = rest.slice(word.length).trimStart();
  }
  return { terms, problem: undefined };
}

function wordRegexp(word) {
  return new RegExp(word.replace(SPECIAL_REGEXP, "\\$&"), "giu");
}

/** Whether all words are there, and none that must not be. */
export function matches({ terms }, text) {
  return terms.every(({ isNot, regexp }) => {
    regexp.lastIndex = 0;
    return regexp.test(text) !== isNot;
  });
}

/** Where the words are: at most `limit` pairs of start and end, in order, that do not overlap. */
export function hitsOf({ terms }, text, limit) {
  const hits = [];
  for (const { isNot, regexp } of terms) {
    if (isNot) continue;
    regexp.lastIndex = 0;
    for (let found; hits.length < limit * terms.length && (found = regexp.exec(text));) {
      if (found[0] === "") regexp.lastIndex++;
      else hits.push([found.index, found.index + found[0].length]);
    }
  }
  hits.sort(([a], [b]) => a - b);
  let end = 0;
  return hits.filter((hit) => hit[0] >= end && (end = hit[1])).slice(0, limit);
}
