/**
 * Whether something grows, told from samples that jump.
 *
 * @module
 */

import { median } from "../figures.ts";

/** Medians of the second and the last quarter of a run. */
export interface Trend {
  readonly before: number;
  readonly after: number;
  readonly isGrowing: boolean;
}

const MOST_GROWTH = 1.3;

/** The first quarter warms up. `allowance` is what may be added whatever the share. */
export function trendOf(values: readonly number[], allowance: number): Trend {
  const quarter = Math.floor(values.length / 4);
  const before = median(values.slice(quarter, 2 * quarter)) ?? 0;
  const after = median(values.slice(values.length - quarter)) ?? 0;
  return { before, after, isGrowing: after > MOST_GROWTH * before + allowance };
}
