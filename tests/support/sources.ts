/**
 * Questions to the sources of poller.ts. Not published.
 *
 * @module
 */

import {
  Poller,
  POLLERR,
  POLLIN,
  POLLOUT,
  POLLPRI,
  POLLRDHUP,
  select,
  type Socket,
  type Source,
} from "../../poller.ts";
import { decode } from "../../lib/bytes.ts";
import { turn } from "./waiting.ts";

export const HIGH_WATER_BYTES = 64 * 1024;

export const ALL_EVENTS = POLLIN | POLLPRI | POLLOUT | POLLRDHUP;

export function recvText(source: Socket, max = 1000): string {
  return decode(source.recv(max));
}

export function pollerOf(...sources: Source[]): Poller {
  const poller = new Poller();
  for (const source of sources) poller.register(source);
  return poller;
}

export function closeAll(...sources: Source[]): void {
  for (const source of sources) source.close();
}

/** Sends until nothing more is taken; returns how many bytes were. */
export async function fill(socket: Socket): Promise<number> {
  using poller = new Poller();
  poller.register(socket, POLLOUT);
  let sent = 0;
  while ((await poller.poll(20)).length > 0) sent += socket.send(new Uint8Array(HIGH_WATER_BYTES));
  return sent;
}

/** The event bits of the first answer that has some of `wanted`. */
export async function eventsOf(source: Source, mask = ALL_EVENTS, wanted = mask): Promise<number> {
  using poller = new Poller();
  poller.register(source, wanted);
  await poller.poll();
  poller.modify(source, mask);
  const [entry] = await poller.poll(0);
  return entry?.[1] ?? 0;
}

/** The event bits of a source once everything that has happened to it is known. */
export async function eventsNow(source: Source, mask = ALL_EVENTS): Promise<number> {
  using poller = new Poller();
  poller.register(source, mask);
  await poller.poll(0);
  await turn();
  const [entry] = await poller.poll(0);
  return entry?.[1] ?? 0;
}

/** Asks one front end which of `sources` have which of the events in `mask`. */
export type Wait = <S extends Source>(
  sources: Iterable<S>,
  mask: number,
  timeoutMs?: number | null,
) => Promise<[S, number][]>;

export const waitBySelect: Wait = async (sources, mask, timeoutMs) => {
  const list = [...sources];
  const [readable, writable, failing] = await select(
    mask & POLLIN ? list : [],
    mask & POLLOUT ? list : [],
    list,
    typeof timeoutMs === "number" ? timeoutMs / 1000 : timeoutMs,
  );
  return list.map((source): [typeof source, number] => [
    source,
    (readable.includes(source) ? POLLIN : 0) | (writable.includes(source) ? POLLOUT : 0) |
    (failing.includes(source) ? POLLERR : 0),
  ]).filter(([, events]) => events !== 0);
};

export const waitByPoll: Wait = async (sources, mask, timeoutMs) => {
  const list = [...sources];
  using poller = new Poller();
  for (const source of list) poller.register(source, mask);
  const ready = new Map(await poller.poll(timeoutMs));
  return list.filter((source) => ready.has(source)).map((
    source,
  ) => [source, ready.get(source)! & (POLLIN | POLLOUT | POLLERR)]);
};
