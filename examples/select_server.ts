// deno-lint-ignore-file no-console
/**
 * The classic select() server: echoes to each client what it says.
 *
 *     deno run --allow-net examples/select_server.ts [port]
 *     telnet 127.0.0.1 1234
 *
 * @module
 */

import { select, ServerSocket, Socket } from "../poller.ts";

const listener = Deno.listen({ hostname: "127.0.0.1", port: Number(Deno.args[0] ?? 1234) });
const server = new ServerSocket(listener);
console.error(`listening on 127.0.0.1:${listener.addr.port}`);

/** What one client may leave unread of its echo; then it is not read until it drains. */
const MAX_QUEUED = 64;

/** Sources that we expect to read from. */
const inputs = new Set<ServerSocket | Socket>([server]);
/** Sockets that we expect to write to. */
const outputs = new Set<Socket>();
/** Outgoing messages. */
const queues = new Map<Socket, Uint8Array[]>();
/** Clients that have said all: they are closed when their queue is empty. */
const ending = new Set<Socket>();

while (inputs.size > 0) {
  const [readable, writable, exceptional] = await select(inputs, outputs, inputs);

  for (const source of readable) {
    try {
      if (source instanceof ServerSocket) onConnection(source);
      else onData(source);
    } catch (error) { // it was reset
      console.error(String(error));
    }
  }

  for (const client of writable) {
    try {
      onRoom(client);
    } catch { // it has gone
      close(client);
    }
  }

  for (const source of exceptional) {
    if (source instanceof Socket) close(source);
  }
}

function onConnection(server: ServerSocket): void {
  const client = server.accept();
  console.log("new connection from", client.remoteAddr);
  inputs.add(client);
  queues.set(client, []);
}

function onData(client: Socket): void {
  const queue = queues.get(client) ?? [];
  const data = client.recv(1024);
  if (data.length > 0) queue.push(data);
  else ending.add(client);
  outputs.add(client);
  if (ending.has(client) || queue.length >= MAX_QUEUED) inputs.delete(client);
}

function onRoom(client: Socket): void {
  const queue = queues.get(client) ?? [];
  const message = queue.shift();
  if (message) {
    const sent = client.send(message);
    if (sent < message.length) queue.unshift(message.subarray(sent));
  } else if (ending.has(client)) {
    console.log("closing", client.remoteAddr);
    outputs.delete(client);
    close(client); // what was sent still leaves
  } else {
    outputs.delete(client);
    inputs.add(client);
  }
}

function close(client: Socket): void {
  inputs.delete(client);
  outputs.delete(client);
  queues.delete(client);
  ending.delete(client);
  client.close();
}
