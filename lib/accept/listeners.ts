/**
 * Opens the sockets that clients connect or send to, and closes them again.
 *
 * @module
 */

import { isIPv4 } from "node:net";
import { type Acceptor, DatagramSocket, ServerSocket, type Source } from "../../poller.ts";
import { bracketed, type MulticastGroup, type UnixSocket } from "../addresses.ts";
import { codeOf, Failure, reasonOf } from "../errors.ts";
import { type LostClients, WatchedListener } from "./lost_clients.ts";
import {
  isOurs,
  openUnixDatagrams,
  openUnixStream,
  removeSocketFile,
  type SocketFile,
} from "./unix_listeners.ts";

/** Below this, Linux asks for rights. */
const PRIVILEGED_PORTS = 1024;

/** What is to be listened on. */
export interface ListenOptions {
  readonly hosts: readonly string[];
  readonly ports: readonly number[];
  readonly udpPorts: readonly (number | MulticastGroup)[];
  readonly unixPaths: readonly (string | UnixSocket)[];
  readonly backlog: number;
  readonly reusePort: boolean;
  /** Whether the TCP ports speak TLS. */
  readonly isTls: boolean;
  /** Told of clients that were gone before they were accepted; `undefined` where those are daily. */
  readonly lostClients?: LostClients | undefined;
}

/** A socket that clients connect to. */
export interface StreamListening {
  readonly kind: "stream";
  readonly socket: ServerSocket;
  readonly greeting: string;
  readonly isTls: boolean;
  /** Path or name of a Unix socket. */
  readonly path?: string;
  /** The file of a Unix socket. */
  readonly file: SocketFile | undefined;
}

/** A socket that anybody sends datagrams to. */
export interface DatagramListening {
  readonly kind: "datagram";
  readonly socket: DatagramSocket;
  readonly greeting: string;
  /** Path or name of a Unix socket. */
  readonly path?: string;
  /** The file of a Unix socket. */
  readonly file?: SocketFile | undefined;
}

export type Listening = StreamListening | DatagramListening;

/**
 * Opens every port on every address, and every Unix socket. If one cannot be
 * opened, those that were are closed again.
 */
export async function openListeners(options: ListenOptions): Promise<Listening[]> {
  const listening: Listening[] = [];
  const { hosts, ports, udpPorts, unixPaths } = options;
  try {
    for (const host of hosts) {
      for (const port of ports) listening.push(listenTcp(options, host, port, listening));
    }
    for (const host of hosts) {
      for (const port of udpPorts) {
        if (typeof port === "number") listening.push(listenUdp(host, port, listening));
      }
    }
    for (const port of udpPorts) {
      if (typeof port === "object") listening.push(await listenMulticast(port));
    }
    for (const one of unixPaths) {
      listening.push(
        await listenUnix(typeof one === "string" ? { path: one, type: "stream" } : one),
      );
    }
    return listening;
  } catch (error) {
    await closeListeners(listening);
    throw error;
  }
}

/**
 * The ports of sockets, if they are several: then records say by which one they came.
 * Unix sockets have none.
 */
export function portsOf(listening: readonly Listening[]): ReadonlyMap<Source, number> {
  const ports = new Map(numbered(listening));
  return new Set(ports.values()).size > 1 ? ports : new Map();
}

/** The port of all sockets that have one, if it is the same. */
export function onlyPortOf(listening: readonly Listening[]): number | undefined {
  const [port, ...others] = new Set(numbered(listening).map(([, port]) => port));
  return others.length === 0 ? port : undefined;
}

function numbered(listening: readonly Listening[]): [Source, number][] {
  return listening.flatMap(({ socket }): [Source, number][] => {
    const addr = socket instanceof ServerSocket ? socket.addr : socket.localAddr;
    return addr && "port" in addr ? [[socket, addr.port]] : [];
  });
}

/**
 * Closes them, and waits until their ports and files are free. Deno removes the file of a Unix
 * socket by its name when the listener is closed. If it is a successor's by now, the listener,
 * which nobody can reach any more, is left to the end of the process.
 */
export async function closeListeners(listening: readonly Listening[]): Promise<void> {
  const ours = listening.filter(({ file }) => isOurs(file));
  for (const { socket } of ours) socket.close();
  await Promise.all(ours.map(({ socket }) => socket.closed));
  for (const { kind, file } of ours) if (kind === "datagram" && file) removeSocketFile(file);
}

function listenTcp(
  options: ListenOptions,
  hostname: string,
  port: number,
  others: readonly Listening[],
): Listening {
  const { backlog: tcpBacklog, reusePort, isTls, lostClients } = options;
  // Without the flag Deno would end the process at reusePort.
  if (reusePort) assertUnstableNet("--reuse-port");
  const listener = opened(
    { transport: "tcp", hostname, port },
    () => Deno.listen({ hostname, port, tcpBacklog, reusePort }),
    others,
  );
  return {
    kind: "stream",
    socket: new ServerSocket(lostClients ? new WatchedListener(listener, lostClients) : listener),
    greeting: `listening on ${greetingOf(listener.addr, isTls)}`,
    isTls,
    file: undefined,
  };
}

function listenUdp(hostname: string, port: number, others: readonly Listening[]): Listening {
  assertUnstableNet("--udp");
  const conn = opened(
    { transport: "udp", hostname, port },
    () => Deno.listenDatagram({ hostname, port, transport: "udp" }),
    others,
  );
  return {
    kind: "datagram",
    socket: new DatagramSocket(conn),
    greeting: `listening on udp ${greetingOf(conn.addr as Deno.NetAddr, false)}`,
  };
}

/**
 * Joins a group. An IPv4 group can be bound itself, so that nothing else is heard; an IPv6
 * group cannot, in Deno. Programs share the port of a group, and each hears all of it.
 */
async function listenMulticast(options: MulticastGroup): Promise<Listening> {
  assertUnstableNet("--udp");
  const { group, port, interfaces } = options;
  const hostname = isIPv4(group) ? group : "::";
  const conn = opened(
    { transport: "udp", hostname: group, port },
    () => Deno.listenDatagram({ hostname, port, transport: "udp", reuseAddress: true }),
  );
  const socket = new DatagramSocket(conn);
  try {
    await join(conn, group, interfaces);
  } catch (error) {
    socket.close();
    await socket.closed;
    throw new Failure(`Cannot join the multicast group ${group}: ${reasonOf(error)}`);
  }
  const { port: realPort } = conn.addr as Deno.NetAddr;
  const greeting = `listening on udp ${bracketed(group)}:${realPort} (multicast)`;
  return { kind: "datagram", socket, greeting };
}

/** An IPv4 interface is known by its address, an IPv6 one by a number that only the system knows. */
async function join(conn: Deno.DatagramConn, group: string, interfaces: readonly string[]) {
  if (!isIPv4(group)) return void await conn.joinMulticastV6(group, 0);
  const addresses = interfaces.length > 0 ? interfaces : ["0.0.0.0"];
  for (const address of addresses) await conn.joinMulticastV4(group, address);
}

/** `deno.json` switches this on; a bundle is run without it. */
function assertUnstableNet(option: string): void {
  if (typeof Deno.listenDatagram === "function") return;
  throw new Failure(`Cannot use ${option}: run again with --unstable-net`);
}

function greetingOf({ hostname, port }: Deno.NetAddr, isTls: boolean): string {
  const notes = [isTls ? "TLS" : "", reachOf(hostname)].filter(Boolean).join("; ");
  return `${bracketed(hostname)}:${port}${notes && ` (${notes})`}`;
}

function reachOf(address: string): string {
  if (address === "0.0.0.0") return "every IPv4 interface";
  if (address === "::") return "every interface";
  if (address.startsWith("127.")) return "this machine only; --host 0.0.0.0 for every interface";
  return address === "::1" ? "this machine only; --host :: for every interface" : "";
}

async function listenUnix(wanted: UnixSocket): Promise<Listening> {
  const { path } = wanted;
  if (wanted.type === "stream") {
    const opened = await openUnixStream(wanted);
    return { kind: "stream", greeting: `listening on ${path}`, isTls: false, path, ...opened };
  }
  assertUnstableNet("--unix");
  const opened = await openUnixDatagrams(wanted);
  return { kind: "datagram", greeting: `listening on ${path} (datagrams)`, path, ...opened };
}

/** `others` are those that are open already. */
function opened<L extends Acceptor | Deno.DatagramConn>(
  place: Place,
  open: () => L,
  others: readonly Listening[] = [],
): L {
  try {
    return open();
  } catch (error) {
    const places = others.map(placeOf).filter((other) => other !== undefined);
    throw new Failure(`Cannot listen on ${placeText(place)}: ${listenFault(error, place, places)}`);
  }
}

/** What the system says, with what would be right where that is known. */
function listenFault(error: unknown, place: Place, others: readonly Place[]): string {
  const reason = reasonOf(error);
  const other = others.find((one) => sharesPort(one, place));
  if (error instanceof Deno.errors.AddrInUse && other) {
    return `${placeText(other)} has that port already`;
  }
  if (codeOf(error) === "EADDRNOTAVAIL" || error instanceof Deno.errors.AddrNotAvailable) {
    return "that is no address of this machine, --host 0.0.0.0 is every IPv4 one";
  }
  if (error instanceof Deno.errors.PermissionDenied && place.port < PRIVILEGED_PORTS) {
    return `${reason}; ports below ${PRIVILEGED_PORTS} are root's, 5140 would do`;
  }
  const isZoneless = /^fe[89ab][^%]*$/i.test(place.hostname);
  return isZoneless ? `${reason}; it needs its zone, such as fe80::1%eth0` : reason;
}

/** Where something listens, or is to. */
interface Place {
  readonly transport: "tcp" | "udp";
  readonly hostname: string;
  readonly port: number;
}

/** `undefined` for a Unix socket. */
function placeOf({ kind, socket }: Listening): Place | undefined {
  const addr = socket instanceof ServerSocket ? socket.addr : socket.localAddr;
  if (!addr || !("hostname" in addr)) return undefined;
  return { ...addr, transport: kind === "datagram" ? "udp" : "tcp" };
}

/** As in messages: `127.0.0.1:1234`, `udp [::1]:514`. */
function placeText({ transport, hostname, port }: Place): string {
  return `${transport === "udp" ? "udp " : ""}${bracketed(hostname)}:${port}`;
}

/** Whether one place takes the other's port: at the same address, or at all of them. */
function sharesPort(one: Place, other: Place): boolean {
  if (one.port !== other.port || one.transport !== other.transport) return false;
  const hostnames = [one.hostname, other.hostname];
  return one.hostname === other.hostname || hostnames.some((name) => EVERYWHERE.has(name));
}

const EVERYWHERE: ReadonlySet<string> = new Set(["0.0.0.0", "::"]);
