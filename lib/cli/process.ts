/**
 * The process: its streams, its signals, and whether a terminal is watching.
 *
 * @module
 */

import { type Io, maySeeProcess } from "../io.ts";
import { standardStreams } from "../output/stdout.ts";

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
    wantsColor: Deno.stdout.isTerminal() && !Deno.noColor,
    now: Date.now,
    exit: Deno.exit,
  };
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
