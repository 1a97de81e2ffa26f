/**
 * What was said, against what was logged. Each line that counts is a token,
 * `say v12.3 5 xxxxx`: the verb says who spoke, 12 is the visit of a client and 3
 * the number of the line in it, and so many letters follow.
 *
 * @module
 */

/** A client says, a target answers, and a rule of `--reply` does. */
export type Verb = "say" | "re" | "ok";

/** A token that was found in the log. */
interface Token {
  readonly verb: Verb;
  readonly visit: number;
  readonly number: number;
  readonly isWhole: boolean;
}

interface Account {
  readonly host: string;
  sent: number;
  heard: number;
  /** When nothing more was to be sent; 0 before. */
  closedAtMs: number;
}

/** What a line of the log, and what a client is answered, has of these. */
const TOKEN = /\b(say|re|ok) v(\d+)\.(\d+) (\d+) (x*)/;
/** So long may a line take from the end of its client to the log. */
const OVERDUE_MS = 20_000;

export function lineOf(verb: Verb, visit: number, number: number, letters = 1): string {
  return `${verb} v${visit}.${number} ${letters} ${"x".repeat(letters)}`;
}

export function tokenIn(text: string): Token | undefined {
  const found = TOKEN.exec(text);
  if (!found) return undefined;
  const [, verb, visit, number, letters, filler] = found;
  return {
    verb: verb as Verb,
    visit: Number(visit),
    number: Number(number),
    isWhole: filler!.length === Number(letters),
  };
}

/** Whether a record names that host, and none whose address only begins like it. */
function isLabelled(record: string, host: string): boolean {
  const at = record.indexOf(host);
  return at >= 0 && !/[\d.]/.test(record[at + host.length] ?? "");
}

/** Accounts of what is on its way, and the faults that were found. */
export class Ledger {
  readonly #accounts = new Map<string, Account>();
  readonly #waiting = new Map<string, () => void>();
  /** Of all visits, for what is compared at the end. */
  readonly sentByHost = new Map<string, number>();
  heard = 0;
  lost = 0;
  doubled = 0;
  /** Torn lines, and lines under somebody else's label. */
  damaged = 0;
  /** The first faults, in words. */
  readonly faults: string[] = [];

  /** Opens an account for what is to be found under the label of `host`. */
  open(verb: Verb, visit: number, host: string): void {
    this.#accounts.set(`${verb} ${visit}`, { host, sent: 0, heard: 0, closedAtMs: 0 });
  }

  /** The number of the token that is sent next; counted as sent. */
  next(verb: Verb, visit: number): number {
    const account = this.#accounts.get(`${verb} ${visit}`);
    if (!account) throw new Error(`There is no account ${verb} ${visit}`);
    this.sentByHost.set(account.host, (this.sentByHost.get(account.host) ?? 0) + 1);
    return account.sent++;
  }

  /** Nothing more is sent. */
  close(verb: Verb, visit: number): void {
    const key = `${verb} ${visit}`;
    const account = this.#accounts.get(key);
    if (!account) return;
    account.closedAtMs = performance.now();
    this.#settle(key, account);
  }

  /** A record was logged. */
  hear(record: string): void {
    const token = tokenIn(record);
    if (!token) return;
    const { verb, visit, number, isWhole } = token;
    const key = `${verb} ${visit}`;
    const account = this.#accounts.get(key);
    this.heard++;
    if (!account || number < account.heard) return this.#double(record);
    if (!isWhole || !isLabelled(record, account.host)) this.#damage(record);
    if (number > account.heard) this.#lose(number - account.heard, `before "${record}"`);
    account.heard = number + 1;
    this.#settle(key, account);
  }

  /** Settles when all that has been sent so far was logged. */
  whenHeard(verb: Verb, visit: number): Promise<void> {
    const key = `${verb} ${visit}`;
    const account = this.#accounts.get(key);
    if (!account || account.heard === account.sent) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.set(key, resolve));
  }

  #settle(key: string, account: Account): void {
    if (account.heard < account.sent) return;
    this.#waiting.get(key)?.();
    this.#waiting.delete(key);
    if (account.closedAtMs > 0) this.#accounts.delete(key);
  }

  /** Gives up what should have been logged long ago, or `now` whatever is left. */
  giveUp(isEnd = false): void {
    const limitMs = isEnd ? Infinity : performance.now() - OVERDUE_MS;
    for (const [key, { host, sent, heard, closedAtMs }] of this.#accounts) {
      if (!isEnd && (closedAtMs === 0 || closedAtMs > limitMs)) continue;
      if (sent > heard) this.#lose(sent - heard, `at the end of "${key}" of ${host}`);
      this.#accounts.delete(key);
      this.#waiting.get(key)?.();
      this.#waiting.delete(key);
    }
  }

  #lose(count: number, where: string): void {
    this.lost += count;
    this.#note(`${count} lost ${where}`);
  }

  #double(record: string): void {
    this.doubled++;
    this.#note(`again: "${record}"`);
  }

  #damage(record: string): void {
    this.damaged++;
    this.#note(`not whole, or with a wrong label: "${record}"`);
  }

  #note(fault: string): void {
    if (this.faults.length < 20) this.faults.push(fault.slice(0, 200));
  }
}
