/**
 * The process: its streams, its signals, and whether a terminal is watching.
 *
 * @module
 */

import { fstatSync } from "node:fs";
import { type Io, maySeeProcess, type Terminal } from "../io.ts";
import { standardStreams } from "../output/stdout.ts";

const DEFAULT_COLUMNS = 80;

/** Looked up at the start: a terminal that has hung up is none any more. */
const HAS_TERMINAL = [Deno.stdin, Deno.stdout, Deno.stderr].some((stream) => stream.isTerminal());

/** Whether stdin, stdout or stderr was a terminal when the program was loaded. */
export function hasTerminal(): boolean {
  return HAS_TERMINAL;
}

/** The process's own streams, clock and exit. */
export function processIo(): Io {
  return {
    stdin: Deno.stdin,
    ...standardStreams(),
    terminal: openTerminal(),
    wantsColor: Deno.stdout.isTerminal() && !Deno.noColor,
    isTerminal: Deno.stdout.isTerminal(),
    now: Date.now,
    exit: Deno.exit,
  };
}

// -- The terminal --

/** The terminal that stdin and stderr are, if they are one, and lines can be edited on it. */
function openTerminal(): Terminal | undefined {
  const isOne = Deno.stdin.isTerminal() && Deno.stderr.isTerminal();
  if (!isOne || Deno.build.os === "windows") return;
  return {
    keys: Deno.stdin,
    screen: Deno.stderr,
    hasStdout: Deno.stdout.isTerminal() && fstatSync(1).rdev === fstatSync(2).rdev,
    setRaw: makeRaw,
    columns,
    listen: ({ resized, continued }) => listen({ SIGWINCH: resized, SIGCONT: continued }),
  };
}

/** With cbreak, Ctrl-C and Ctrl-Z make signals as ever. */
function makeRaw(isRaw: boolean): void {
  try {
    Deno.stdin.setRaw(isRaw, { cbreak: isRaw });
  } catch {
    // It has hung up.
  }
}

function columns(): number {
  try {
    return Deno.consoleSize().columns || DEFAULT_COLUMNS;
  } catch {
    return DEFAULT_COLUMNS;
  }
}

// -- Signals --

/** What signals ask of the server. They come at any time: set a flag and wake the loop. */
export interface SignalActions {
  /** SIGINT, SIGTERM: ends the server, for the first of them. */
  stop(): void;
  /** SIGHUP; returns false if it ends the server as SIGTERM does. */
  hangUp(): boolean;
  /** SIGUSR2. */
  report(): void;
}

const NOT_ON_WINDOWS: readonly Deno.Signal[] = ["SIGUSR2", "SIGXFSZ"];
const SIGNAL_NUMBERS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;

/** Listens to signals until it is disposed. A second one that stops ends the process at once. */
export function handleSignals(actions: SignalActions, exit: (code: number) => void): Disposable {
  // Read before the first listener is added, which would change it.
  const ignoresHangUp = isIgnored(SIGNAL_NUMBERS.SIGHUP);
  let isStopping = false;
  const stop = (signal: keyof typeof SIGNAL_NUMBERS) => {
    if (isStopping) return exit(128 + SIGNAL_NUMBERS[signal]);
    isStopping = true;
    actions.stop();
  };
  return listen({
    SIGINT: () => stop("SIGINT"),
    SIGTERM: () => stop("SIGTERM"),
    SIGHUP: () => actions.hangUp() || ignoresHangUp || stop("SIGHUP"),
    SIGUSR2: () => actions.report(),
    // Unheard, it ends the process at the limit of a file's size; heard, the write fails.
    SIGXFSZ: () => {},
  });
}

function listen(handlers: Partial<Record<Deno.Signal, () => void>>): Disposable {
  const listening = new DisposableStack();
  for (const [name, handler] of Object.entries(handlers)) {
    const signal = name as Deno.Signal;
    if (Deno.build.os === "windows" && NOT_ON_WINDOWS.includes(signal)) continue;
    Deno.addSignalListener(signal, handler);
    listening.defer(() => Deno.removeSignalListener(signal, handler));
  }
  return listening;
}

/** Whether a signal was ignored at the start, as by nohup; where that may be seen. */
function isIgnored(number: number): boolean {
  if (!maySeeProcess()) return false;
  const status = Deno.readTextFileSync("/proc/self/status");
  const [, ignored = "0"] = /^SigIgn:\s*([0-9a-f]+)/m.exec(status) ?? [];
  return (BigInt(`0x${ignored}`) >> BigInt(number - 1) & 1n) === 1n;
}
