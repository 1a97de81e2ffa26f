/**
 * Unix sockets, for connections and for datagrams: their files, and names without a file.
 *
 * @module
 */

import { DatagramSocket, ServerSocket } from "../../poller.ts";
import type { UnixSocket } from "../addresses.ts";
import { Failure, reasonOf } from "../errors.ts";

/** The file of a socket, and what tells it from a later one of the same name. */
export interface SocketFile {
  readonly path: string;
  readonly device: number;
  readonly inode: number | null;
}

/** A Unix socket that is listened on. */
export interface OpenedUnixSocket<S> {
  readonly socket: S;
  /** `undefined` for a name without a file. */
  readonly file: SocketFile | undefined;
}

/** Listens for connections. A stale socket file is replaced. */
export function openUnixStream(wanted: UnixSocket): Promise<OpenedUnixSocket<ServerSocket>> {
  return open(wanted, (path) => new ServerSocket(Deno.listen({ transport: "unix", path })));
}

/** Listens for datagrams, in the same way. */
export function openUnixDatagrams(
  wanted: UnixSocket,
): Promise<OpenedUnixSocket<DatagramSocket>> {
  const listen = (path: string) => Deno.listenDatagram({ transport: "unixpacket", path });
  return open(wanted, (path) => new DatagramSocket(listen(path)));
}

async function open<S extends ServerSocket | DatagramSocket>(
  { path, mode }: UnixSocket,
  listen: (path: string) => S,
): Promise<OpenedUnixSocket<S>> {
  await using opened = new AsyncDisposableStack();
  try {
    // The kernel tells an abstract name by a NUL in front.
    const isAbstract = path.startsWith("@");
    if (!isAbstract) await removeStaleSocket(path);
    const socket = opened.use(listen(isAbstract ? `\0${path.slice(1)}` : path));
    if (mode !== undefined) await Deno.chmod(path, mode);
    const file = isAbstract ? undefined : await fileOf(path);
    opened.move();
    return { socket, file };
  } catch (error) {
    throw new Failure(`Cannot listen on ${path}: ${reasonOf(error)}`);
  }
}

/** `undefined` if somebody has removed it already. */
async function fileOf(path: string): Promise<SocketFile | undefined> {
  try {
    const { dev: device, ino: inode } = await Deno.lstat(path);
    return { path, device, inode };
  } catch {
    return;
  }
}

/** Whether a file is still the one that was made, or gone. */
export function isOurs(file: SocketFile | undefined): boolean {
  if (!file) return true;
  try {
    const { dev, ino } = Deno.lstatSync(file.path);
    return dev === file.device && ino === file.inode;
  } catch {
    return true;
  }
}

/** Deno removes the file of a listener when it is closed, but not that of a port for datagrams. */
export function removeSocketFile({ path }: SocketFile): void {
  try {
    Deno.removeSync(path);
  } catch {
    // Somebody has removed it already.
  }
}

/** A crash leaves the socket's file behind: one that nobody answers at is removed. */
async function removeStaleSocket(path: string): Promise<void> {
  try {
    if (!await isStaleSocket(path)) throw new Failure("another process listens there");
    await Deno.remove(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

async function isStaleSocket(path: string): Promise<boolean> {
  if (!(await Deno.lstat(path)).isSocket) throw new Failure("a file that is no socket is there");
  try {
    (await Deno.connect({ transport: "unix", path })).close();
    return false;
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionRefused) return true;
    // Somebody takes datagrams there. Deno gives this error (EPROTOTYPE) no code.
    if (reasonOf(error).includes("wrong type for socket")) return false;
    throw error;
  }
}
