/**
 * Records what happens: one face for the log, for whoever observes the records,
 * and for what they are dated with.
 *
 * @module
 */

import type { Log } from "./log.ts";
import type { ConnectionEvent, Subject, Target } from "./records.ts";
import type { Timestamp } from "./timestamp.ts";

/** Where records go. */
export interface Destinations {
  /** Logs of what a subject says. */
  logsOf(subject: Subject): readonly Log[];
  /** Logs of what happens to a subject or is sent to it; of what concerns nobody without one. */
  noticesOf(subject: Subject | undefined): readonly Log[];
}

/** Is told of each record, in order: the history of the live page, for example. */
export interface RecordObserver {
  /** `bytes` are valid during the call. */
  received(
    subject: Subject,
    bytes: Uint8Array,
    start: number,
    end: number,
    isWhole: boolean,
    timeMs: number,
  ): void;
  /** `bytes` are valid during the call. */
  sent(to: Target, bytes: Uint8Array, isWhole: boolean, timeMs: number): void;
  event(subject: Subject, event: ConnectionEvent, timeMs: number): void;
}

export interface RecorderOptions {
  readonly destinations: Destinations;
  readonly observers: readonly RecordObserver[];
  readonly timestamp: Timestamp;
  /** Whether connects, disconnects and refusals are left out. */
  readonly isQuiet: boolean;
}

export class Recorder {
  readonly #options: RecorderOptions;

  constructor(options: RecorderOptions) {
    this.#options = options;
  }

  /** Dates the records from here on; milliseconds since 1970. */
  setTime(nowMs: number): void {
    this.#options.timestamp.set(nowMs);
  }

  /** A recorder of what one subject says, which makes the label of its records once. */
  child(subject: Subject): SubjectRecorder {
    const { destinations, observers, timestamp } = this.#options;
    return new SubjectRecorder(subject, destinations.logsOf(subject), observers, timestamp);
  }

  /** Records what happened to a connection. */
  event(subject: Subject, event: ConnectionEvent): void {
    const { destinations, observers, timestamp, isQuiet } = this.#options;
    if (isQuiet) return;
    for (const log of destinations.noticesOf(subject)) log.event(subject, event);
    for (const observer of observers) observer.event(subject, event, timestamp.nowMs);
  }

  /** Records what was sent, without its line end; `isWhole` is false if it has none. */
  sent(to: Target, bytes: Uint8Array, isWhole: boolean): void {
    const { destinations, observers, timestamp } = this.#options;
    const logs = destinations.noticesOf("clients" in to ? undefined : to);
    for (const log of logs) log.sent(to, bytes, isWhole);
    for (const observer of observers) observer.sent(to, bytes, isWhole, timestamp.nowMs);
  }
}

/** The child logger of one subject, in the words of logging libraries. */
export class SubjectRecorder {
  readonly #subject: Subject;
  readonly #logs: readonly Log[];
  readonly #labels: readonly Uint8Array[];
  readonly #observers: readonly RecordObserver[];
  readonly #timestamp: Timestamp;

  constructor(
    subject: Subject,
    logs: readonly Log[],
    observers: readonly RecordObserver[],
    timestamp: Timestamp,
  ) {
    this.#subject = subject;
    this.#logs = logs;
    this.#labels = logs.map((log) => log.labelOf(subject));
    this.#observers = observers;
    this.#timestamp = timestamp;
  }

  /** Records a frame of what the subject said; `isWhole` is false if no end came here. */
  frame(bytes: Uint8Array, start: number, end: number, isWhole: boolean): void {
    this.#log(bytes, start, end, isWhole, 0);
    this.#tell(bytes, start, end, isWhole);
  }

  /** Records a read, for formats that take reads; `offset` is that of its first byte in all. */
  read(bytes: Uint8Array, offset: number): void {
    this.#log(bytes, 0, bytes.length, true, offset);
    this.#tell(bytes, 0, bytes.length, true);
  }

  /** The same for a read that was received into the log: it is recorded there already. */
  readInPlace(bytes: Uint8Array): void {
    this.#tell(bytes, 0, bytes.length, true);
  }

  #log(bytes: Uint8Array, start: number, end: number, isWhole: boolean, offset: number): void {
    const logs = this.#logs;
    for (let i = 0; i < logs.length; i++) {
      logs[i]!.received(this.#labels[i]!, bytes, start, end, isWhole, offset);
    }
  }

  #tell(bytes: Uint8Array, start: number, end: number, isWhole: boolean): void {
    const observers = this.#observers;
    for (let i = 0; i < observers.length; i++) {
      observers[i]!.received(this.#subject, bytes, start, end, isWhole, this.#timestamp.nowMs);
    }
  }
}
