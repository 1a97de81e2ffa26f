/**
 * Records by themselves: copied out of the memory that the next ones overwrite.
 *
 * @module
 */

import { eventJson, lineJson, sentJson } from "./json.ts";
import type { ConnectionEvent, Subject } from "./records.ts";

export interface Remembered {
  /** Its place in the log; that of the first record is 0. */
  readonly sequence: number;
  readonly timeMs: number;
  readonly content: Content;
}

export type Content =
  | {
    readonly tag: "said" | "sent";
    readonly subject: Subject;
    readonly bytes: Uint8Array;
    readonly isWhole: boolean;
  }
  | {
    readonly tag: "sentToAll";
    readonly clients: number;
    readonly bytes: Uint8Array;
    readonly isWhole: boolean;
  }
  | { readonly tag: "event"; readonly subject: Subject; readonly event: ConnectionEvent };

/** How many bytes of data it has. */
export function sizeOf({ content }: Remembered): number {
  return content.tag === "event" ? 0 : content.bytes.length;
}

/** The object that `--format json` would write, with its time in UTC. */
export function jsonOf({ timeMs, content }: Remembered): string {
  switch (content.tag) {
    case "event":
      return eventJson(timeMs, content.subject, content.event);
    case "said":
      return lineJson(
        timeMs,
        content.subject,
        content.bytes,
        0,
        content.bytes.length,
        content.isWhole,
      );
    case "sent":
      return sentJson(timeMs, content.subject, sentOf(content));
    case "sentToAll":
      return sentJson(timeMs, { clients: content.clients }, sentOf(content));
  }
}

function sentOf({ bytes, isWhole }: { readonly bytes: Uint8Array; readonly isWhole: boolean }) {
  return { bytes, lineBytes: bytes.length, isWhole, offset: 0 };
}
