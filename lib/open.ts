/**
 * Opens what a server needs before its parts are made: streams, outputs, certificates.
 *
 * @module
 */

import type { Listening } from "./accept/listeners.ts";
import type { NameTable } from "./accept/names.ts";
import { Tls } from "./accept/tls.ts";
import type { Config } from "./cli/options.ts";
import { promptFor } from "./clients/interactive.ts";
import { LineEditor } from "./clients/line_editor.ts";
import { Dialer } from "./clients/target.ts";
import { DescriptorReserve, FORWARD_SPARES, LOG_SPARES } from "./descriptor_reserve.ts";
import type { Io } from "./io.ts";
import type { Messages, Say } from "./messages.ts";
import { Output } from "./output/output.ts";
import { PathTemplate } from "./output/path_template.ts";

const DIAL_MS = 10_000;

/** What is opened before the parts are made. */
export interface Opened {
  readonly io: Io;
  readonly messages: Messages;
  /** Says what may contain a path, or what a client sent: in one line all the same. */
  readonly say: Say;
  /** Descriptors for when clients hold all others. */
  readonly reserve: DescriptorReserve;
  /** What the log is written to. */
  readonly outputs: readonly Output[];
  readonly listening: readonly Listening[];
  readonly tls: Tls | undefined;
  readonly names: NameTable;
  /** Connects to the server that clients are forwarded to. */
  readonly dialer: Dialer | undefined;
  /** Edits the line that is typed, on a terminal. */
  readonly editor: LineEditor | undefined;
}

/** Descriptors for when clients hold all others. */
export function reserveOf({ forward }: Config): DescriptorReserve {
  return new DescriptorReserve(forward ? LOG_SPARES + FORWARD_SPARES : LOG_SPARES);
}

/** Opens what the log is written to: with --tee two. */
export function openOutputs(
  config: Config,
  { stdout }: Io,
  say: Say,
  reserve: DescriptorReserve,
): Output[] {
  const { output, tee } = config;
  const path = output === undefined ? undefined : new PathTemplate(output);
  const shared = { stdout, hasLines: config.format !== "raw", say, reserve };
  const outputs = [new Output({ ...shared, path, rotate: rotationOf(config) })];
  if (tee) outputs.push(new Output({ ...shared, path: undefined, rotate: undefined }));
  return outputs;
}

export function tlsOf({ tlsCert, tlsKey, tlsClientCa }: Config): Tls | undefined {
  if (tlsCert === undefined || tlsKey === undefined) return;
  const files = { certFile: tlsCert, keyFile: tlsKey };
  return new Tls(tlsClientCa === undefined ? files : { ...files, clientCaFile: tlsClientCa });
}

export function dialerOf({ forward, forwardCa }: Config): Dialer | undefined {
  return forward && new Dialer(forward, DIAL_MS, forwardCa);
}

/** The streams of the process, on which a line is edited where they are a terminal. */
export function editedIo(config: Config, io: Io): { io: Io; editor: LineEditor | undefined } {
  const { terminal } = io;
  if (!config.interactive || !terminal) return { io, editor: undefined };
  const editor = new LineEditor(terminal, promptFor(undefined));
  return {
    editor,
    io: {
      ...io,
      stdin: editor,
      stdout: terminal.hasStdout ? editor.above(io.stdout) : io.stdout,
      stderr: editor.above(io.stderr),
    },
  };
}

function rotationOf({ rotateSizeBytes, rotateKeep }: Config) {
  return rotateSizeBytes === undefined
    ? undefined
    : { sizeBytes: rotateSizeBytes, keep: rotateKeep };
}
