/**
 * What `--multiplexer select` waits with: a poll object made of `select()`.
 *
 * @module
 */

import { POLLERR, POLLIN, POLLOUT, select, Socket, type Source } from "../../poller.ts";

/** What the server needs of a multiplexer; `Poller` is one. */
export interface Multiplexer {
  register(source: Source, mask: number): void;
  modify(source: Source, mask: number): void;
  unregister(source: Source): void;
  poll(timeoutMs: number): Promise<[Source, number][]>;
  wake(): void;
  close(): void;
}

export class Selector implements Multiplexer {
  readonly #masks = new Map<Source, number>();
  #wake = Promise.withResolvers<void>();
  /** The self-pipe: its one byte comes when wake() is called. */
  readonly #alarm = new Socket({
    read: async () => {
      await this.#wake.promise;
      this.#wake = Promise.withResolvers();
      return 1;
    },
  });

  register(source: Source, mask: number): void {
    this.#masks.set(source, mask);
  }

  modify(source: Source, mask: number): void {
    this.#masks.set(source, mask);
  }

  unregister(source: Source): void {
    this.#masks.delete(source);
  }

  async poll(timeoutMs: number): Promise<[Source, number][]> {
    const readers = [this.#alarm, ...this.#wanting(POLLIN)];
    const lists = await select(
      readers,
      this.#wanting(POLLOUT),
      this.#masks.keys(),
      timeoutMs / 1000,
    );
    const events = new Map<Source, number>();
    for (const [i, bit] of [POLLIN, POLLOUT, POLLERR].entries()) {
      for (const source of lists[i]!) events.set(source, (events.get(source) ?? 0) | bit);
    }
    if (events.delete(this.#alarm)) this.#alarm.recv(1);
    return [...events];
  }

  #wanting(event: number): Source[] {
    return [...this.#masks].filter(([, mask]) => mask & event).map(([source]) => source);
  }

  wake(): void {
    this.#wake.resolve();
  }

  close(): void {
    this.#alarm.close();
    this.wake();
  }
}
