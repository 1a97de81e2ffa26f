/**
 * A file per client, or per host, port or day: the records of a round lie in one buffer,
 * and what belongs into each file is known by its spans.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import type { Log, RecordSink } from "../records/log.ts";
import type { ConnectionEvent, RunEvent, Sent, Subject, Target } from "../records/records.ts";
import type { Part } from "./output.ts";
import { FOR_ALL, pathDate, type PathFields, type PathTemplate } from "./path_template.ts";

export interface RoutesOptions {
  readonly template: PathTemplate;
  /** Takes all records. */
  readonly log: Log;
  /** The port that is listened on, if there is only one: subjects need not name it. */
  readonly port: number | undefined;
  /** Whether dates in paths are local, or in UTC. */
  readonly isLocal: boolean;
  /** The time that records have now, milliseconds since 1970. */
  readonly now: () => number;
}

/** Where the records of one subject end that lie together. */
interface Span {
  readonly fields: PathFields;
  endBytes: number;
}

/** Records of many files, in the order in which they came. */
export class Routes {
  readonly #options: RoutesOptions;
  #spans: Span[] = [];

  constructor(options: RoutesOptions) {
    this.#options = options;
  }

  /** Takes the records of a subject, or those that concern nobody. */
  sinkOf(subject: Subject | undefined): RecordSink {
    const { port, log } = this.#options;
    return new Route(this, subject ? fieldsOf(subject, port) : FOR_ALL, log);
  }

  /** What was recorded since the last call belongs to these fields. */
  note(fields: PathFields): void {
    const last = this.#spans.at(-1);
    const endBytes = this.#options.log.length;
    if (last?.fields === fields) last.endBytes = endBytes;
    else this.#spans.push({ fields, endBytes });
  }

  /** Bytes that wait to be taken. */
  get length(): number {
    return this.#options.log.length;
  }

  /** Gives the records away, a part for each file; they stay as they are until the next call. */
  takeParts(): Part[] {
    const { log, template, isLocal, now } = this.#options;
    const bytes = log.take();
    const date = pathDate(now(), isLocal);
    const byPath = new Map<string, Uint8Array[]>();
    let start = 0;
    for (const { fields, endBytes } of this.#spans) {
      const path = template.fill(fields, date);
      const piece = bytes.subarray(start, endBytes);
      start = endBytes;
      const pieces = byPath.get(path);
      if (pieces) pieces.push(piece);
      else byPath.set(path, [piece]);
    }
    this.#spans = [];
    return Array.from(byPath, ([path, pieces]) => ({ path, bytes: joined(pieces) }));
  }
}

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  return pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
}

/** Records for the file of one subject. */
class Route implements RecordSink {
  readonly #routes: Routes;
  readonly #fields: PathFields;
  readonly #log: Log;

  constructor(routes: Routes, fields: PathFields, log: Log) {
    this.#routes = routes;
    this.#fields = fields;
    this.#log = log;
  }

  labelOf(subject: Subject): Uint8Array {
    return this.#log.labelOf(subject);
  }

  received(
    label: Uint8Array,
    bytes: Uint8Array,
    start: number,
    end: number,
    isWhole: boolean,
    offset: number,
  ): void {
    this.#log.received(label, bytes, start, end, isWhole, offset);
    this.#routes.note(this.#fields);
  }

  sentLabelOf(to: Target): Uint8Array {
    return this.#log.sentLabelOf(to);
  }

  sent(label: Uint8Array, sent: Sent): void {
    this.#log.sent(label, sent);
    this.#routes.note(this.#fields);
  }

  event(subject: Subject, event: ConnectionEvent): void {
    this.#log.event(subject, event);
    // A peer that is kept out gets no number.
    const isRefused = event.event === "refused";
    this.#routes.note(isRefused ? { ...this.#fields, number: FOR_ALL.number } : this.#fields);
  }

  run(event: RunEvent): void {
    this.#log.run(event);
    this.#routes.note(this.#fields);
  }
}

/** Nothing of it is a client's own words. */
function fieldsOf({ number, peer, name, to }: Subject, onlyPort: number | undefined): PathFields {
  const isUnix = peer.kind === "unix";
  const address = isUnix ? "unix" : peer.host;
  return {
    address,
    name: name ?? address,
    number: number === undefined ? "udp" : `${number}`,
    port: `${to ?? (isUnix ? "unix" : onlyPort ?? "unix")}`,
  };
}
