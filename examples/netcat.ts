// deno-lint-ignore-file no-console
/**
 * nc: what is typed goes to the server, what the server says is printed.
 *
 *     deno run --allow-net examples/netcat.ts [host] port
 *
 * @module
 */

import { select, Socket } from "../poller.ts";

const port = Number(Deno.args.at(-1) ?? 1234);
const hostname = Deno.args.length > 1 ? Deno.args[0] : "127.0.0.1";
const server = new Socket(await Deno.connect({ hostname: hostname!, port }));
const keyboard = new Socket(Deno.stdin);

/** What was typed and not taken yet: until it is, nothing more is read. */
let unsent: Uint8Array = new Uint8Array();
let isTyping = true;
let isHearing = true;

while (isHearing) {
  const reading = isTyping && unsent.length === 0 ? [server, keyboard] : [server];
  const writing = unsent.length > 0 ? [server] : [];
  const [readable, writable] = await select(reading, writing, []);
  try {
    if (readable.includes(keyboard)) unsent = onTyped(keyboard.recv(65_536));
    if (writable.includes(server)) unsent = unsent.subarray(server.send(unsent));
    if (readable.includes(server)) isHearing = await print(server.recv(65_536));
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    Deno.exit(1);
  }
}
Deno.exit(); // a read of the keyboard may still be pending

function onTyped(data: Uint8Array): Uint8Array {
  if (data.length === 0) { // Ctrl-D, or the end of a pipe
    isTyping = false;
    void server.shutdown(); // the server may still have something to say
  }
  return data;
}

/** Returns false at the end of file. */
async function print(data: Uint8Array): Promise<boolean> {
  for (let done = 0; done < data.length;) done += await Deno.stdout.write(data.subarray(done));
  return data.length > 0;
}
