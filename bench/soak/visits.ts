/**
 * What clients do that behave: all that they send is accounted for.
 *
 * @module
 */

import type { Caller } from "./caller.ts";
import { type Ledger, lineOf, type Verb } from "./ledger.ts";
import { random } from "./random.ts";
import { sleep } from "./servers.ts";

/** A server as its clients see it. */
export interface Site {
  readonly ledger: Ledger;
  /** Who answers, and with it how an answer is asked for. */
  readonly answer: Exclude<Verb, "say">;
  connect(host: string): Promise<Caller>;
}

/** What went wrong for clients. */
export class Complaints {
  visits = 0;
  unanswered = 0;
  broken = 0;
  readonly reasons = new Map<string, number>();

  /** Runs one visit, and takes down why it failed. */
  async during(visit: () => Promise<string | undefined>): Promise<void> {
    this.visits++;
    const limit = Promise.withResolvers<string>();
    const timer = setTimeout(() => limit.resolve("did not come to an end"), VISIT_LIMIT_MS);
    const reason = await Promise.race([visit().catch((error) => String(error)), limit.promise]);
    clearTimeout(timer);
    if (reason === undefined) return;
    if (reason === UNANSWERED) this.unanswered++;
    else this.broken++;
    this.reasons.set(reason, (this.reasons.get(reason) ?? 0) + 1);
  }
}

const UNANSWERED = "not answered in time";
/** The longest visit is a quiet one, of 70 s. */
const VISIT_LIMIT_MS = 180_000;
let visits = 0;

/** The account of one visit, and the connection that it is about. */
class Visit {
  readonly #site: Site;
  readonly #caller: Caller;
  readonly #number = ++visits;
  #asked = 0;

  private constructor(site: Site, caller: Caller, host: string) {
    this.#site = site;
    this.#caller = caller;
    site.ledger.open("say", this.#number, host);
    site.ledger.open(site.answer, this.#number, host);
  }

  static async begin(site: Site, host: string): Promise<Visit> {
    return new Visit(site, await site.connect(host), host);
  }

  /** A line, which may be answered, may come in halves, and may have no end. */
  async say({ letters = 1, asks = false, pauseMs = 0, end = "\n" } = {}): Promise<void> {
    const { ledger, answer } = this.#site;
    const isAsked = answer === "ok" ? asks : end === "\n";
    const number = ledger.next("say", this.#number);
    const line = lineOf("say", this.#number, number, letters);
    const request = answer === "ok" && isAsked
      ? ` ask v${this.#number}.${ledger.next("ok", this.#number)}`
      : "";
    if (isAsked) this.#asked++;
    const text = `${line}${request}${end}`;
    if (pauseMs === 0) return await this.#caller.write(text);
    const half = 1 + random(text.length - 1);
    await this.#caller.write(text.slice(0, half));
    await sleep(pauseMs);
    await this.#caller.write(text.slice(half));
  }

  heard(): Promise<void> {
    return this.#site.ledger.whenHeard("say", this.#number);
  }

  /** Waits for all answers, and leaves. */
  async end(): Promise<string | undefined> {
    const isAnswered = await this.#caller.answered(this.#asked);
    const reason = await this.#caller.end();
    this.#close();
    return isAnswered ? reason : UNANSWERED;
  }

  async reset(): Promise<void> {
    await this.#caller.answered(this.#asked);
    await this.#caller.reset();
    this.#close();
  }

  #close(): void {
    this.#site.ledger.close("say", this.#number);
    this.#site.ledger.close(this.#site.answer, this.#number);
  }
}

// -- Manners --

/** Half lines and whole ones, with pauses; the last may have no end. */
export async function talk(site: Site, host: string): Promise<string | undefined> {
  const visit = await Visit.begin(site, host);
  for (let left = 5 + random(30); left > 0; left--) {
    const pauseMs = random(4) === 0 ? random(300) : 0;
    await visit.say({ letters: random(200), asks: random(3) === 0, pauseMs });
    await sleep(random(400));
  }
  if (random(3) === 0) await visit.say({ end: "" });
  return await visit.end();
}

/** Many lines at once. */
export async function burst(site: Site, host: string): Promise<string | undefined> {
  const visit = await Visit.begin(site, host);
  const lines = Array.from({ length: 100 + random(900) }, () => visit.say({ letters: random(60) }));
  await Promise.all(lines);
  return await visit.end();
}

/** Comes, says a line, and leaves. */
export async function call(site: Site, host: string): Promise<string | undefined> {
  const visit = await Visit.begin(site, host);
  const isUnended = random(4) === 0;
  await visit.say(isUnended ? { end: "" } : { asks: random(2) === 0 });
  return await visit.end();
}

/** Says nothing for long, and then a line; `isOver` ends the silence. */
export async function beQuiet(
  site: Site,
  host: string,
  isOver: () => boolean,
): Promise<string | undefined> {
  const visit = await Visit.begin(site, host);
  for (let seconds = 10 + random(60); seconds > 0 && !isOver(); seconds--) await sleep(1000);
  await visit.say();
  return await visit.end();
}

/** Resets when all was heard: what a reset overtakes is lost. */
export async function sayAndReset(site: Site, host: string): Promise<undefined> {
  const visit = await Visit.begin(site, host);
  if (random(2) === 0) {
    await visit.say({ letters: random(100) });
    await visit.heard();
  }
  await visit.reset();
}
