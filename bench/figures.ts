/**
 * What runs have measured, over their rounds.
 *
 * @module
 */

import { type Figures, LOADS, MEMORY_LOADS } from "./loads.ts";

/** One run of one server under one load. */
export interface Run {
  readonly load: string;
  readonly server: string;
  /** Servers of one round ran one after the other. */
  readonly round: number;
  /** Absent if there is a fault. */
  readonly figures?: Figures;
  readonly fault?: string;
}

/** A load, and a server under it. */
export type Place = readonly [load: string, server: string];

/** The middle one, or the mean of the two in the middle; `undefined` of nothing. */
export function median(values: readonly number[]): number | undefined {
  const sorted = values.toSorted((a, b) => a - b);
  const low = sorted[(sorted.length - 1) >> 1];
  const high = sorted[sorted.length >> 1];
  return low === undefined || high === undefined ? undefined : (low + high) / 2;
}

/** One figure of one server under one load, the median over the rounds. */
export function figureOf(
  runs: readonly Run[],
  load: string,
  server: string,
  key: string,
): number | undefined {
  return median(valuesOf(runs, load, server, key).filter((value) => value !== undefined));
}

/** By round. */
function valuesOf(
  runs: readonly Run[],
  load: string,
  server: string,
  key: string,
): (number | undefined)[] {
  const values: (number | undefined)[] = [];
  for (const run of runs) {
    if (run.load === load && run.server === server) values[run.round] = run.figures?.[key];
  }
  return values;
}

/** The median of the ratios within each round: what disturbs a round disturbs both. */
export function ratioOf(
  runs: readonly Run[],
  key: string,
  place: Place,
  base: Place,
): number | undefined {
  const below = valuesOf(runs, ...base, key);
  const ratios = valuesOf(runs, ...place, key).map((value, round) => {
    const under = below[round];
    return value === undefined || !under ? undefined : value / under;
  });
  return median(ratios.filter((ratio) => ratio !== undefined));
}

/** What a quiet client takes more, from the load with fewer to the one with more. */
export function memorySlopeKb(runs: readonly Run[], server: string): number | undefined {
  const [fewer, more] = MEMORY_LOADS.map((name) => LOADS.find((load) => load.name === name)!);
  const fewerKb = figureOf(runs, fewer!.name, server, "quietKb");
  const moreKb = figureOf(runs, more!.name, server, "quietKb");
  if (fewerKb === undefined || moreKb === undefined) return undefined;
  return (moreKb - fewerKb) / (more!.clients - fewer!.clients);
}
