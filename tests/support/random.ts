/**
 * Random numbers and delays that are the same at every run. Not published.
 *
 * @module
 */

import { pause, turn } from "./waiting.ts";

/** Numbers from 0 to below `limit`, the same at every run (mulberry32). */
export function randomNumbers(seed: number): Random {
  return (limit) => {
    seed = seed + 0x6D2B79F5 | 0;
    let t = Math.imul(seed ^ seed >>> 15, 1 | seed);
    t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t;
    return ((t ^ t >>> 14) >>> 0) % limit;
  };
}

/** More runs of the random tests; `deno task fuzz` sets it. */
const FUZZ_RUNS = fuzzRuns();

function fuzzRuns(): number {
  const name = "EARSHOT_FUZZ_RUNS";
  const { state } = Deno.permissions.querySync({ name: "env", variable: name });
  return state === "granted" ? Number(Deno.env.get(name) ?? 0) : 0;
}

export type Random = (limit: number) => number;

/** Runs a test with one seed after the other; a failure names its seed. */
export async function withSeeds(count: number, run: (random: Random) => void | Promise<void>) {
  for (let seed = 1; seed <= Math.max(count, FUZZ_RUNS); seed++) {
    try {
      await run(randomNumbers(seed));
    } catch (error) {
      throw new Error(`Failed with seed ${seed}: ${error}`, { cause: error });
    }
  }
}

export function pick<T>(random: Random, ...choices: readonly T[]): T {
  return choices[random(choices.length)]!;
}

/** Microtasks, turns or milliseconds that an operation takes. */
export async function lag(random: Random): Promise<void> {
  const kind = random(8);
  if (kind < 5) { for (let i = random(6); i > 0; i--) await undefined; }
  else if (kind < 7) await turn();
  else await pause(random(4));
}
