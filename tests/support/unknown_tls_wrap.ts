/**
 * Takes a method away from the class on which `node:tls` stands, so that nobody knows it
 * in this file's tests. Not published.
 *
 * @module
 */

import { Duplex } from "node:stream";
import { TLSSocket } from "node:tls";

const socket = new TLSSocket(new Duplex({ read() {}, write() {} }), { isServer: true });
const { prototype } = Reflect.get(socket, "ssl").constructor;
socket.destroy();
// `node:tls` itself has no use for it.
Reflect.deleteProperty(prototype, "setOnread");
