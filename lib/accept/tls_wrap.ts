/**
 * The class of the runtime on which `node:tls` stands. Driven without its streams, it
 * costs half. It is internal, so it is used only if a connection in memory shows that
 * all of it does what is expected of it.
 *
 * @module
 */

import { Duplex } from "node:stream";
import { TLSSocket } from "node:tls";
import { encode } from "../bytes.ts";
import type { TlsMaterial } from "./tls_files.ts";
import { TlsSession, type TlsWrap } from "./tls_session.ts";

/** Its constructor; `kind` is 0 for a client, 1 for a server. */
export type TlsWrapClass = new (kind: 0 | 1, provider: number) => TlsWrap;

const METHODS: readonly (keyof TlsWrap)[] = [
  "initServerTls",
  "initClientTls",
  "attachJsStream",
  "setHandle",
  "setOnread",
  "useUserBuffer",
  "start",
  "readBuffer",
  "drainEncOut",
  "writeBuffer",
  "shutdown",
  "getBytesRead",
  "getProtocol",
  "getPeerCertificateChain",
  "verifyError",
  "isSessionReused",
  "destroySsl",
];

let found: TlsWrapClass | undefined;

/** The class, if this runtime has it as it is known here. */
export function findTlsWrap(material: TlsMaterial): TlsWrapClass | undefined {
  if (found) return found;
  const candidate = classOf(material);
  if (candidate && passes(candidate, material)) found = candidate;
  return found;
}

function classOf({ cert, key }: TlsMaterial): TlsWrapClass | undefined {
  const idle = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });
  const socket = new TLSSocket(idle, { isServer: true, cert, key });
  socket.on("error", () => {});
  const candidate = Reflect.get(socket, "ssl")?.constructor;
  socket.destroy();
  const hasAll = METHODS.every((name) => typeof candidate?.prototype?.[name] === "function");
  return hasAll ? candidate : undefined;
}

/** Whether a client and a server of this class understand each other, and no one else. */
function passes(TlsWrap: TlsWrapClass, { cert, key }: TlsMaterial): boolean {
  const listen = (wrap: TlsWrap) => wrap.initServerTls({ cert, key });
  const call = (wrap: TlsWrap) => wrap.initClientTls("", { rejectUnauthorized: false, ca: cert });
  try {
    const [server, stranger] = [1, 1].map(() => new TlsSession(new TlsWrap(1, 0), listen));
    const client = new TlsSession(new TlsWrap(0, 0), call);
    const isGood = shakeHands(server!, client) && talk(server!, client) && failWith(stranger!);
    for (const session of [server!, stranger!, client]) session.free();
    return isGood;
  } catch {
    return false;
  }
}

const FLIGHTS = 4;

function shakeHands(server: TlsSession, client: TlsSession): boolean {
  for (let i = 0; i < FLIGHTS; i++) {
    server.receive(client.takeOutput());
    client.receive(server.takeOutput());
  }
  return server.isEstablished && client.isEstablished;
}

function talk(server: TlsSession, client: TlsSession): boolean {
  const hasTalked = hears(server, client) && hears(client, server) && !server.hasEnded;
  server.receive(client.closeNotify());
  return hasTalked && server.hasEnded && !server.error;
}

function hears(listener: TlsSession, speaker: TlsSession): boolean {
  const words = Uint8Array.of(7, 0, 255, 10);
  TlsSession.plain.fill(0);
  const count = listener.receive(speaker.encrypt(words));
  return count === words.length && words.every((byte, at) => TlsSession.plain[at] === byte);
}

const ALERT_RECORD = 21;

function failWith(server: TlsSession): boolean {
  server.receive(encode("GET / HTTP/1.1\r\n\r\n"));
  return server.error !== undefined && server.takeOutput()[0] === ALERT_RECORD;
}
