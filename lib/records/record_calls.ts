/**
 * Records as objects, for a program that has the server in it.
 *
 * @module
 */

import { ByteBuffer, decode } from "../bytes.ts";
import type { LogRecord } from "../io.ts";
import { JsonFormat } from "./json.ts";
import type { RecordSink } from "./log.ts";
import type { ConnectionEvent, Format, RunEvent, Sent, Subject, Target } from "./records.ts";

export interface RecordCallsOptions {
  readonly onRecord: (record: LogRecord) => void;
  /** What the callee throws is not the server's trouble. */
  readonly onError: (error: unknown) => void;
}

/** Calls somebody with each record, right when it is made. */
export class RecordCalls implements RecordSink {
  readonly #options: RecordCallsOptions;
  readonly #format = new JsonFormat();
  readonly #out = new ByteBuffer(64 * 1024);

  constructor(options: RecordCallsOptions) {
    this.#options = options;
  }

  /** What dates the records. */
  get format(): Format {
    return this.#format;
  }

  labelOf(subject: Subject): Uint8Array {
    return this.#format.label(subject);
  }

  received(
    label: Uint8Array,
    bytes: Uint8Array,
    start: number,
    end: number,
    isWhole: boolean,
  ): void {
    this.#call((out) => this.#format.received(out, label, bytes, start, end, isWhole));
  }

  sentLabelOf(to: Target): Uint8Array {
    return this.#format.sentLabel(to);
  }

  sent(label: Uint8Array, sent: Sent): void {
    this.#call((out) => this.#format.sent(out, label, sent));
  }

  event(subject: Subject, event: ConnectionEvent): void {
    this.#call((out) => this.#format.event(out, subject, event));
  }

  run(event: RunEvent): void {
    this.#call((out) => this.#format.run(out, event));
  }

  #call(write: (out: ByteBuffer) => void): void {
    const { onRecord, onError } = this.#options;
    this.#out.clear();
    write(this.#out);
    const record: LogRecord = JSON.parse(decode(this.#out.filled));
    try {
      onRecord(record);
    } catch (error) {
      onError(error);
    }
  }
}
