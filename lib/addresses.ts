/**
 * Who is at the other end, and networks of such addresses.
 *
 * @module
 */

import { BlockList, isIP, isIPv4, isIPv6 } from "node:net";

/** Who is at the other end; a Unix peer has the path that it connected to. */
export type Peer =
  | { readonly kind: "ip"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

/** The peer of a connection or datagram; `path` is that of the Unix socket it came by. */
export function peerOf(addr: Deno.Addr | undefined, path = ""): Peer {
  if (addr && "hostname" in addr) {
    return { kind: "ip", host: unmapped(addr.hostname), port: addr.port };
  }
  return { kind: "unix", path };
}

/** A peer as records show it: `127.0.0.1:53122`, `[::1]:53122`, `unix`. */
export function peerText(peer: Peer): string {
  return peer.kind === "unix" ? "unix" : `${bracketed(peer.host)}:${peer.port}`;
}

/** Where one listens, in words: `127.0.0.1:1234`, `udp [::1]:514`, the path of a Unix socket. */
export function addrText(addr: Deno.Addr): string {
  // The kernel tells an abstract name by a NUL in front.
  if ("path" in addr) return addr.path.replace(/^\0/, "@");
  if (!("hostname" in addr)) return addr.transport;
  return `${addr.transport === "udp" ? "udp " : ""}${bracketed(addr.hostname)}:${addr.port}`;
}

/** An address as it stands before a port. */
export function bracketed(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}

/** `::ffff:10.1.2.3` is what a socket for both families calls the IPv4 peer 10.1.2.3. */
function unmapped(address: string): string {
  const [, ipv4 = ""] = /^::ffff:([\d.]+)$/i.exec(address) ?? [];
  return isIPv4(ipv4) ? ipv4 : address;
}

/** A range of addresses: all whose first `prefix` bits are the same. */
export interface Network {
  /** One of them, such as `10.0.0.0` or `fd00::`. */
  readonly address: string;
  /** From 0 for all addresses to 32 (IPv4) or 128 (IPv6) for one. */
  readonly prefix: number;
  /** An IPv4-mapped IPv6 network counts as IPv4. */
  readonly family: "ipv4" | "ipv6";
}

/**
 * Reads `10.0.0.0/8`, `10.1.2.3` or `fd00::/8`; returns `undefined` for anything
 * else. IPv4-mapped IPv6 becomes IPv4, as the peers do.
 */
export function parseNetwork(rule: string): Network | undefined {
  const [, address = "", bits] = /^([^/]*)(?:\/(\d{1,3}))?$/.exec(rule) ?? [];
  const mapped = unmapped(address);
  const family = isIP(mapped);
  const width = family === 4 ? 32 : 128;
  const prefix = Number(bits ?? (isIP(address) === 4 ? 32 : 128)) - (mapped === address ? 0 : 96);
  if (family === 0 || address.includes("%") || prefix < 0 || prefix > width) return undefined;
  return { address: mapped, prefix, family: family === 4 ? "ipv4" : "ipv6" };
}

/** A multicast group, and the port that it is sent to. */
export interface MulticastGroup {
  /** Its address. */
  readonly group: string;
  /** The UDP port. */
  readonly port: number;
  /** Addresses of the interfaces to join it on; empty for the system's choice. */
  readonly interfaces: readonly string[];
}

/** Whether an address is that of a multicast group. */
export function isMulticast(address: string): boolean {
  if (isIPv4(address)) return /^2(2[4-9]|3\d)\./.test(address);
  return isIPv6(address) && /^ff/i.test(address);
}

// -- Names --

/** The name that the operator gives to a network. */
export interface NamedNetwork {
  /** The addresses that have it. */
  readonly network: Network;
  /** 1 to 64 letters, digits, `.`, `_` and `-`. */
  readonly name: string;
}

/** Reads a network and its name; returns `undefined` if one of them is wrong. */
export function parseNamedNetwork(rule: string, name: string): NamedNetwork | undefined {
  const network = parseNetwork(rule);
  return network && /^[\w.-]{1,64}$/.test(name) ? { network, name } : undefined;
}

/**
 * Names of addresses. The longest prefix wins, and of two that are the same the later one.
 * A look-up takes a step for each length of prefix that occurs.
 */
export class Names {
  readonly #names = new Map<string, string>();
  /** Lengths of prefixes of each family, longest first. */
  readonly #prefixes: Record<Network["family"], number[]> = { ipv4: [], ipv6: [] };

  constructor(named: readonly NamedNetwork[]) {
    for (const { network: { address, prefix, family }, name } of named) {
      this.#names.set(prefixKey(address, prefix), name);
      if (!this.#prefixes[family].includes(prefix)) this.#prefixes[family].push(prefix);
    }
    for (const prefixes of Object.values(this.#prefixes)) prefixes.sort((a, b) => b - a);
  }

  /** The name of a peer's address; a Unix peer has none. */
  of(peer: Peer): string | undefined {
    if (peer.kind === "unix" || this.#names.size === 0) return undefined;
    for (const prefix of this.#prefixes[isIPv4(peer.host) ? "ipv4" : "ipv6"]) {
      const name = this.#names.get(prefixKey(peer.host, prefix));
      if (name !== undefined) return name;
    }
    return undefined;
  }
}

/** The first bits of an address as text, the same however it is spelled. */
function prefixKey(address: string, prefix: number): string {
  const groups = isIPv4(address) ? address.split(".").map(Number) : groupsOf(address);
  const width = isIPv4(address) ? 8 : 16;
  const bits = groups.map((group) => group.toString(2).padStart(width, "0")).join("");
  return `${width}:${bits.slice(0, prefix)}`;
}

/** A Unix socket to listen on. */
export interface UnixSocket {
  /** Path of its file; a name that begins with `@` has none. */
  readonly path: string;
  /** Permissions of the file; as the umask has it if `undefined`. */
  readonly mode?: number;
  /** Whether clients connect to it, or send datagrams. */
  readonly type: "stream" | "datagram";
}

// -- Lists and limits --

/** A list of networks that answers in one look-up. */
export class Networks {
  readonly #list = new BlockList();
  readonly #hasUnix: boolean;

  /** `"unix"` is where the peers of Unix sockets are. */
  constructor(networks: readonly (Network | "unix")[]) {
    this.#hasUnix = networks.includes("unix");
    for (const network of networks) {
      if (network === "unix") continue;
      this.#list.addSubnet(network.address, network.prefix, network.family);
    }
  }

  /** Whether one of them has the peer. */
  has(peer: Peer): boolean {
    if (peer.kind === "unix") return this.#hasUnix;
    return this.#list.check(peer.host, isIPv4(peer.host) ? "ipv4" : "ipv6");
  }
}

/**
 * What limits per address count by. Whoever has one IPv6 address has the whole
 * /64 around it, so that counts as one. Those of one link are all in one /64, and
 * count each for itself.
 */
export function hostKey(peer: Peer): string {
  if (peer.kind === "unix") return "unix";
  if (!isIPv6(peer.host)) return peer.host;
  const groups = groupsOf(peer.host);
  return groups.slice(0, isLinkLocal(groups) ? 8 : 4).map((group) => group.toString(16)).join(":");
}

/** fe80::/10 */
function isLinkLocal([first = 0]: readonly number[]): boolean {
  return (first & 0xFFC0) === 0xFE80;
}

/** The eight groups of an IPv6 address, however it is spelled. */
function groupsOf(host: string): number[] {
  const spelled = new URL(`http://[${host.replace(/%.*/, "")}]`).hostname.slice(1, -1);
  const [head = "", tail = ""] = spelled.split("::");
  const before = head.split(":").filter(Boolean);
  const after = tail.split(":").filter(Boolean);
  const zeros = Array<string>(8 - before.length - after.length).fill("0");
  return [...before, ...zeros, ...after].map((group) => parseInt(group, 16));
}
