/**
 * Senders of datagrams, and what the kernel drops of them.
 *
 * @module
 */

import { type Ledger, lineOf } from "./ledger.ts";
import { random } from "./random.ts";
import { sleep } from "./servers.ts";

const DATAGRAMS_PER_VISIT = 100;

/** Sends from `hostname`, a datagram each tenth of a second or so, until it is over. */
export async function sendDatagrams(
  ledger: Ledger,
  hostname: string,
  port: number,
  isOver: () => boolean,
): Promise<void> {
  for (let visit = visitOf(hostname); !isOver(); visit += 10) {
    const socket = Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
    const to = { transport: "udp", hostname: "127.0.0.1", port } as const;
    const reading = ignoreAnswers(socket);
    for (const verb of ["say", "ok"] as const) ledger.open(verb, visit, hostname);
    for (let left = DATAGRAMS_PER_VISIT; left > 0 && !isOver(); left--) {
      const asks = random(3) === 0 ? ` ask v${visit}.${ledger.next("ok", visit)}` : "";
      const line = lineOf("say", visit, ledger.next("say", visit), random(200));
      await socket.send(new TextEncoder().encode(line + asks), to);
      await sleep(random(200));
    }
    await sleep(1000);
    for (const verb of ["say", "ok"] as const) ledger.close(verb, visit);
    socket.close();
    await reading;
  }
}

/** Each sender has numbers of its own: 1, 11, 21 or 2, 12, 22. */
function visitOf(hostname: string): number {
  return Number(hostname.split(".").at(-1));
}

async function ignoreAnswers(socket: Deno.DatagramConn): Promise<void> {
  for await (const _ of socket);
}

/** What the kernel has dropped at a port, because nobody read it in time. */
export async function udpDrops(port: number): Promise<number> {
  const address = `0100007F:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const sockets = (await Deno.readTextFile("/proc/net/udp")).split("\n").map((line) =>
    line.trim().split(/\s+/)
  );
  return Number(sockets.find(([, local]) => local === address)?.at(-1) ?? 0);
}
