/**
 * Where `--forward` connects clients to: answers each line, in its order.
 *
 * @module
 */

import { createServer, type Socket } from "node:net";
import { type Ledger, lineOf, tokenIn } from "./ledger.ts";

export interface Target {
  readonly port: number;
  close(): void;
}

export async function startTarget(ledger: Ledger): Promise<Target> {
  const server = createServer({ allowHalfOpen: true }, (socket) => answer(socket, ledger));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { port: (server.address() as { port: number }).port, close: () => server.close() };
}

/** What has no token is not answered. The end is, with the end. */
function answer(socket: Socket, ledger: Ledger): void {
  let rest = "";
  socket.on("data", (data: Uint8Array) => {
    const lines = (rest + new TextDecoder("latin1").decode(data)).split("\n");
    rest = lines.pop()!.slice(-1000);
    const answers = lines.flatMap((line) => {
      const token = tokenIn(line);
      if (token?.verb !== "say") return [];
      return [`${lineOf("re", token.visit, ledger.next("re", token.visit))}\n`];
    });
    if (answers.length > 0) socket.write(answers.join(""));
  });
  socket.on("end", () => socket.end());
  socket.on("error", () => socket.destroy());
}
