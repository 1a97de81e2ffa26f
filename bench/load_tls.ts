/**
 * The loads that speak TLS, with what `load.c` is for the others: starts a server, puts a
 * load on it, kills it, and prints the figures.
 *
 *   deno run --allow-all load_tls.ts bulk  PORT CERT LINES FILE  -- SERVER [ARG...]
 *   deno run --allow-all load_tls.ts lines PORT CERT LINES FILE  -- SERVER [ARG...]
 *   deno run --allow-all load_tls.ts shake PORT CERT COUNT FILE  -- SERVER [ARG...]
 *   deno run --allow-all load_tls.ts quiet PORT CERT COUNT FILE  -- SERVER [ARG...]
 *
 * bulk   CLIENTS send LINES of 100 bytes, 64 KiB a write, to a server whose stdout is FILE.
 * lines  The same, with a record of TLS for each line.
 * shake  Clients connect, shake hands and leave, COUNT times, TOGETHER at a time.
 * quiet  COUNT clients connect and say nothing: how much memory each takes.
 *
 * @module
 */

const CLIENTS = 4;
const TOGETHER = 10;
const LINE_BYTES = 100;
const LINE = new TextEncoder().encode(`${"x".repeat(LINE_BYTES - 1)}\n`);
/** As many whole lines as 64 KiB have. */
const LINES_A_WRITE = 655;
const WARM_UP_SHARE = 0.1;
const WARM_UP_HANDSHAKES = 200;
const TICKS_PER_SECOND = 100;
const RETRY_MS = 20;
const SETTLE_MS = 300;

interface Target {
  readonly port: number;
  readonly caCerts: readonly string[];
  readonly pid: number;
}

async function dial({ port, caCerts }: Target): Promise<Deno.TlsConn> {
  const options = { hostname: "127.0.0.1", port, caCerts: [...caCerts] };
  const client = await Deno.connectTls(options);
  await client.handshake();
  return client;
}

async function waitUntilUp(target: Target): Promise<void> {
  for (;;) {
    try {
      return (await dial(target)).close();
    } catch (error) {
      if (!(error instanceof Deno.errors.ConnectionRefused)) throw error;
      await settled(RETRY_MS);
    }
  }
}

function settled(ms = SETTLE_MS): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** User and system time of all threads so far. */
function cpuMsOf({ pid }: Target): number {
  const fields = Deno.readTextFileSync(`/proc/${pid}/stat`).split(") ")[1]!.split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND * 1000;
}

function memoryKbOf({ pid }: Target, name: "VmRSS" | "VmHWM"): number {
  const status = Deno.readTextFileSync(`/proc/${pid}/status`);
  return Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)![1]);
}

async function send(target: Target, lines: number, linesAWrite: number): Promise<number> {
  const chunk = new Uint8Array(linesAWrite * LINE_BYTES);
  for (let at = 0; at < chunk.length; at += LINE_BYTES) chunk.set(LINE, at);
  const writes = Math.ceil(lines / CLIENTS / linesAWrite);
  await Promise.all(Array.from({ length: CLIENTS }, async () => {
    using client = await dial(target);
    for (let i = 0; i < writes; i++) {
      for (let at = 0; at < chunk.length;) at += await client.write(chunk.subarray(at));
    }
    await client.closeWrite();
    await client.read(new Uint8Array(1)).catch(() => null);
  }));
  return CLIENTS * writes * linesAWrite;
}

async function flood(target: Target, lines: number, linesAWrite: number, file: string) {
  const early = await send(target, lines * WARM_UP_SHARE, linesAWrite);
  const [startMs, cpuMs] = [performance.now(), cpuMsOf(target)];
  const late = await send(target, lines, linesAWrite);
  const seconds = (performance.now() - startMs) / 1000;
  const usedMs = cpuMsOf(target) - cpuMs;
  await settled();
  const mb = late * LINE_BYTES / 1e6;
  return {
    lines: early + late,
    linesLogged: (await Deno.stat(file)).size / LINE_BYTES,
    cpuMs: usedMs / mb,
    cpuUs: usedMs * 1000 / late,
    mbPerSecond: mb / seconds,
    peakKb: memoryKbOf(target, "VmHWM"),
  };
}

/** Makes connections, so many at a time. */
async function shakeHands(target: Target, count: number): Promise<Deno.TlsConn[]> {
  const clients: Deno.TlsConn[] = [];
  while (clients.length < count) {
    clients.push(...await Promise.all(Array.from({ length: TOGETHER }, () => dial(target))));
  }
  return clients;
}

async function shake(target: Target, count: number) {
  const connect = async (count: number) => {
    for (let i = 0; i < count; i += TOGETHER) {
      for (const client of await shakeHands(target, TOGETHER)) client.close();
    }
    await settled();
  };
  await connect(WARM_UP_HANDSHAKES);
  const cpuMs = cpuMsOf(target);
  await connect(count);
  return { cpuUs: (cpuMsOf(target) - cpuMs) / count * 1000, peakKb: memoryKbOf(target, "VmHWM") };
}

async function quiet(target: Target, count: number) {
  const first = await shakeHands(target, count / 2);
  await settled();
  const before = memoryKbOf(target, "VmRSS");
  const second = await shakeHands(target, count);
  await settled();
  const grownKb = memoryKbOf(target, "VmRSS") - before;
  for (const client of [...first, ...second]) client.close();
  return { quietKb: grownKb / count };
}

function run(mode: string, target: Target, count: number, file: string) {
  switch (mode) {
    case "bulk":
      return flood(target, count, LINES_A_WRITE, file);
    case "lines":
      return flood(target, count, 1, file);
    case "shake":
      return shake(target, count);
    default:
      return quiet(target, count);
  }
}

const [mode, port, cert, count, file] = Deno.args as [string, string, string, string, string];
const command = Deno.args.slice(Deno.args.indexOf("--") + 1);
const server = new Deno.Command("sh", {
  args: ["-c", 'file=$1; shift; exec "$@" > "$file"', "sh", file, ...command],
  stderr: "inherit",
}).spawn();
const kill = () => {
  server.kill("SIGKILL");
  Deno.exit(1);
};
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  Deno.addSignalListener(signal, kill);
}
try {
  const target = { port: Number(port), caCerts: [Deno.readTextFileSync(cert)], pid: server.pid };
  await waitUntilUp(target);
  const figures = JSON.stringify(await run(mode, target, Number(count), file));
  await Deno.stdout.write(new TextEncoder().encode(figures));
} finally {
  server.kill("SIGKILL");
}
Deno.exit(0);
