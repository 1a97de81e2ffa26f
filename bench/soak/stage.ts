/**
 * The servers that are soaked, and how each is reached.
 *
 * @module
 */

import { Caller } from "./caller.ts";
import { Ledger } from "./ledger.ts";
import { ServerProcess } from "./servers.ts";
import { startTarget } from "./target.ts";
import type { Site } from "./visits.ts";

/** At this size a log file is rotated; a quiet host takes two minutes or so for it. */
const ROTATE_BYTES = 32 * 1024;
const ROTATIONS_PER_MINUTE = 3;
const REPLY = String.raw`--reply=/ask (\S+)$/=>ok $1 1 x\n`;

export type Stage = Awaited<ReturnType<typeof setStage>>;

/** Starts all; `folder` gets sockets, certificates and log files. */
export async function setStage(folder: string, minutes: number, multiplexer: string) {
  const ledgers = {
    plain: new Ledger(),
    udp: new Ledger(),
    tls: new Ledger(),
    forward: new Ledger(),
  };
  const { logs, moved } = await makeFolders(folder);
  const target = await startTarget(ledgers.forward);
  const start = (name: string, options: readonly string[], hear: (record: string) => void) =>
    new ServerProcess(
      name,
      ["--port=0", "--time=none", "--web=0", `--multiplexer=${multiplexer}`, ...options],
      hear,
    );
  const plain = start("plain", plainOptions(folder, logs, minutes), (record) => {
    if (record.startsWith("udp ")) ledgers.udp.hear(record);
    else ledgers.plain.hear(record);
  });
  const tls = start(
    "tls",
    ["--format=json", REPLY, ...await makeCertificate(folder)],
    (record) => ledgers.tls.hear(record),
  );
  const forward = start(
    "forward",
    ["--format=json", `--forward=127.0.0.1:${target.port}`],
    (record) => ledgers.forward.hear(record),
  );
  const ports = {
    plain: await plain.port(),
    udp: await plain.udpPort(),
    tls: await tls.port(),
    forward: await forward.port(),
  };
  return {
    ledgers,
    logs,
    moved,
    plain,
    tls,
    servers: [plain, tls, forward],
    ports,
    sites: {
      plain: tcpSite(ledgers.plain, "ok", ports.plain),
      unix: unixSite(ledgers.plain, `${folder}/socket`),
      tls: tcpSite(ledgers.tls, "ok", ports.tls, true),
      forward: tcpSite(ledgers.forward, "re", ports.forward),
    },
    target,
  };
}

async function makeFolders(folder: string): Promise<{ logs: string; moved: string }> {
  const folders = { logs: `${folder}/logs`, moved: `${folder}/moved` };
  for (const path of Object.values(folders)) await Deno.mkdir(path);
  return folders;
}

/** Hosts that flood fill the files that they may have. */
function plainOptions(folder: string, logs: string, minutes: number): string[] {
  const keep = Math.ceil(Math.min(1000, Math.max(50, ROTATIONS_PER_MINUTE * minutes)));
  return [
    ...["--udp=0", `--unix=${folder}/socket`, REPLY, "--max-connections=2000"],
    ...[`--output=${logs}/%h.log`, "--tee"],
    ...[`--rotate-size=${ROTATE_BYTES}`, `--rotate-keep=${keep}`],
  ];
}

async function makeCertificate(folder: string): Promise<string[]> {
  const [cert, key] = [`${folder}/cert.pem`, `${folder}/key.pem`];
  const what = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
  const args = [...what.split(" "), "-subj", "/CN=localhost", "-keyout", key, "-out", cert];
  const { success, stderr } = await new Deno.Command("openssl", { args }).output();
  if (!success) throw new Error(`openssl: ${new TextDecoder().decode(stderr)}`);
  return [`--tls-cert=${cert}`, `--tls-key=${key}`];
}

function tcpSite(ledger: Ledger, answer: Site["answer"], port: number, isTls = false): Site {
  return {
    ledger,
    answer,
    connect: (localAddress) => Caller.open({ host: "127.0.0.1", port, localAddress }, isTls),
  };
}

function unixSite(ledger: Ledger, path: string): Site {
  return { ledger, answer: "ok", connect: () => Caller.open({ path }) };
}
