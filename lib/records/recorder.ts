/**
 * Records what happens: one face for the log, for whoever observes the records,
 * and for what they are dated with.
 *
 * @module
 */

import type { Ending } from "./ending.ts";
import type { RecordSink } from "./log.ts";
import type { ConnectionEvent, RunEvent, Sent, Subject, Target } from "./records.ts";
import type { Timestamp } from "./timestamp.ts";

/** Where records go. */
export interface Destinations {
  /** Logs of what a subject says. */
  logsOf(subject: Subject): readonly RecordSink[];
  /** Logs of what happens to a subject or is sent to it; of what concerns nobody without one. */
  noticesOf(subject: Subject | undefined): readonly RecordSink[];
  /** Logs that begin and end with a record, as files do. */
  readonly runs: readonly RecordSink[];
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
  /** The bytes are valid during the call. */
  sent(to: Target, sent: Sent, timeMs: number): void;
  event(subject: Subject, event: ConnectionEvent, timeMs: number): void;
  /** A connection is gone, whether there was a record of it or not. */
  left?(subject: Subject): void;
}

export interface RecorderOptions {
  readonly destinations: Destinations;
  readonly observers: readonly RecordObserver[];
  readonly timestamp: Timestamp;
  /** Whether connects, disconnects and refusals are left out. */
  readonly isQuiet: boolean;
  /** Decides which record of what is received is the last, if that depends on records. */
  readonly ending?: Ending | undefined;
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
    return new SubjectRecorder(subject, this.#options);
  }

  /** Records what happened to a connection. */
  event(subject: Subject, event: ConnectionEvent): void {
    const { destinations, observers, timestamp, isQuiet } = this.#options;
    if (!isQuiet) {
      timestamp.beginRecord();
      for (const log of destinations.noticesOf(subject)) log.event(subject, event);
      for (const observer of observers) observer.event(subject, event, timestamp.nowMs);
    }
    if (event.event === "disconnected") { for (const one of observers) one.left?.(subject); }
  }

  /** Records what happened to the server, where files begin and end with it. */
  run(event: RunEvent): void {
    const { destinations: { runs }, timestamp, isQuiet } = this.#options;
    if (isQuiet || runs.length === 0) return;
    timestamp.beginRecord();
    for (const log of runs) log.run(event);
  }

  /** Records what was sent: to one subject, or to so many clients. */
  sent(to: Target, sent: Sent): void {
    const { destinations, observers, timestamp } = this.#options;
    const logs = destinations.noticesOf("clients" in to ? undefined : to);
    timestamp.beginRecord();
    for (const log of logs) log.sent(log.sentLabelOf(to), sent);
    for (const observer of observers) observer.sent(to, sent, timestamp.nowMs);
  }
}

/** The child logger of one subject, in the words of logging libraries. */
export class SubjectRecorder {
  readonly #subject: Subject;
  readonly #logs: readonly RecordSink[];
  readonly #labels: readonly Uint8Array[];
  readonly #observers: readonly RecordObserver[];
  readonly #timestamp: Timestamp;
  readonly #destinations: Destinations;
  /** Made when they are first needed: few subjects are sent anything. */
  #answers: Sending | undefined;
  #forwards: Sending | undefined;

  readonly #ending: Ending | undefined;

  constructor(subject: Subject, options: RecorderOptions) {
    const { destinations, observers, timestamp, ending } = options;
    this.#ending = ending;
    this.#subject = subject;
    this.#destinations = destinations;
    this.#logs = destinations.logsOf(subject);
    this.#labels = this.#logs.map((log) => log.labelOf(subject));
    this.#observers = observers;
    this.#timestamp = timestamp;
  }

  /** Records a frame of what the subject said; `isWhole` is false if no end came here. */
  frame(bytes: Uint8Array, start: number, end: number, isWhole: boolean): void {
    if (this.#ending?.isReached) return;
    this.#log(bytes, start, end, isWhole, 0);
    this.#tell(bytes, start, end, isWhole);
  }

  /** Records a read, for formats that take reads; `offset` is that of its first byte in all. */
  read(bytes: Uint8Array, offset: number): void {
    if (this.#ending?.isReached) return;
    this.#log(bytes, 0, bytes.length, true, offset);
    this.#tell(bytes, 0, bytes.length, true);
  }

  /** The same for a read that was received into the log: it is recorded there already. */
  readInPlace(bytes: Uint8Array): void {
    this.#tell(bytes, 0, bytes.length, true);
  }

  /** Records what the subject was sent in answer. */
  answered(sent: Sent): void {
    this.#answers ??= sendingTo(this.#subject, this.#destinations.noticesOf(this.#subject));
    this.#recordSent(this.#answers, sent);
  }

  /** Records what another has said to the subject: a notice as little as what it says itself. */
  forwarded(sent: Sent): void {
    this.#forwards ??= sendingTo(this.#subject, this.#logs);
    this.#recordSent(this.#forwards, sent);
  }

  #recordSent({ logs, labels }: Sending, sent: Sent): void {
    this.#timestamp.beginRecord();
    for (let i = 0; i < logs.length; i++) logs[i]!.sent(labels[i]!, sent);
    for (const observer of this.#observers) {
      observer.sent(this.#subject, sent, this.#timestamp.nowMs);
    }
  }

  #log(bytes: Uint8Array, start: number, end: number, isWhole: boolean, offset: number): void {
    const logs = this.#logs;
    this.#timestamp.beginRecord();
    for (let i = 0; i < logs.length; i++) {
      logs[i]!.received(this.#labels[i]!, bytes, start, end, isWhole, offset);
    }
  }

  #tell(bytes: Uint8Array, start: number, end: number, isWhole: boolean): void {
    const observers = this.#observers;
    for (let i = 0; i < observers.length; i++) {
      observers[i]!.received(this.#subject, bytes, start, end, isWhole, this.#timestamp.nowMs);
    }
    this.#ending?.received(bytes, start, end, isWhole);
  }
}

/** Logs, and what their records of what a subject is sent have between time and data. */
interface Sending {
  readonly logs: readonly RecordSink[];
  readonly labels: readonly Uint8Array[];
}

function sendingTo(subject: Subject, logs: readonly RecordSink[]): Sending {
  return { logs, labels: logs.map((log) => log.sentLabelOf(subject)) };
}
