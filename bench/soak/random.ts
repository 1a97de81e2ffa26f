/**
 * Numbers that are the same at every run with the same seed (mulberry32).
 *
 * @module
 */

let state = 1;

export function seed(value: number): void {
  state = value;
}

/** From 0 to below `limit`. */
export function random(limit: number): number {
  state = state + 0x6D2B79F5 | 0;
  let t = Math.imul(state ^ state >>> 15, 1 | state);
  t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t;
  return ((t ^ t >>> 14) >>> 0) % limit;
}
