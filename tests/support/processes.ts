/**
 * The command as a process, and what /proc says of one. Not published.
 *
 * @module
 */

import { Capture } from "./capture.ts";

interface CliOptions {
  readonly permissions?: readonly string[];
  /** Whether stdout is read, left alone, or closed. */
  readonly stdout?: "read" | "unread" | "closed";
  /** What a shell does before it becomes the process: limits, redirections. */
  readonly before?: string;
}

/** The command as a process. Disposing kills it. */
export function spawnCli(args: readonly string[], options: CliOptions = {}) {
  const { permissions = ["--allow-all"], stdout = "read" } = options;
  const script = new URL("../../main.ts", import.meta.url).href;
  const command = [Deno.execPath(), "run", "--quiet", "--no-prompt", ...permissions, script];
  const shell = ["sh", "-c", `${options.before}; exec "$0" "$@"`];
  const [program, ...rest] = options.before ? [...shell, ...command] : command;
  const child = new Deno.Command(program!, {
    args: [...rest, ...args],
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const out = new Capture();
  const err = new Capture();
  const collect = async (stream: ReadableStream<Uint8Array>, capture: Capture) => {
    for await (const bytes of stream) capture.writeSync(bytes);
  };
  const collecting = [collect(child.stderr, err)];
  if (stdout === "read") collecting.push(collect(child.stdout, out));
  if (stdout === "closed") collecting.push(child.stdout.cancel());
  const ended = async () => {
    const { code } = await child.status;
    await Promise.all(collecting);
    return code;
  };
  let isUnread = stdout === "unread";
  return {
    pid: child.pid,
    out,
    err,
    /** Starts to read stdout that was left alone. */
    read(): Promise<void> {
      isUnread = false;
      return collect(child.stdout, out);
    },
    kill: (signal: Deno.Signal) => child.kill(signal),
    /** Waits for the end and all output; resolves to the exit status. */
    ended,
    async port(): Promise<number> {
      await err.until("listening on 127.0.0.1:");
      await err.until("\n");
      return Number(/127\.0\.0\.1:(\d+)/.exec(err.text)![1]);
    },
    async [Symbol.asyncDispose]() {
      try {
        child.kill("SIGKILL");
      } catch {
        // It has ended.
      }
      if (isUnread) await child.stdout.cancel();
      await ended();
    },
  };
}

/** Figures of a process from /proc: memory in KB, and processor time in ticks of 10 ms. */
export function figuresOf(pid: number) {
  const status = Deno.readTextFileSync(`/proc/${pid}/status`);
  const field = (name: string) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)![1]);
  const stat = Deno.readTextFileSync(`/proc/${pid}/stat`).replace(/^.*\) /, "").split(" ");
  return {
    rssKb: field("VmRSS"),
    peakKb: field("VmHWM"),
    ticks: Number(stat[11]) + Number(stat[12]),
  };
}
