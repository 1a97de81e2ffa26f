// deno-lint-ignore-file no-console
/**
 * A chat server on asyncore: what one says in a line, all others get, with its name.
 *
 *     deno run --allow-net examples/asyncore_chat.ts [port]
 *     telnet 127.0.0.1 1234
 *
 * @module
 */

import { AsyncChat, Dispatcher, loop } from "./asyncore.ts";
import type { Socket } from "../poller.ts";

const sessions = new Set<Session>();

function tellAll(text: string, but?: Session): void {
  const line = new TextEncoder().encode(`${text}\r\n`);
  for (const session of sessions) if (session !== but) session.push(line);
}

class ChatServer extends Dispatcher {
  override handleAccepted(socket: Socket): void {
    const session = new Session(socket);
    sessions.add(session);
    tellAll(`* ${session.name} comes in, now ${sessions.size}`);
  }
}

class Session extends AsyncChat {
  readonly name: string;
  #line = "";
  readonly #decoder = new TextDecoder();

  constructor(socket: Socket) {
    super(socket);
    this.name = `guest ${socket.id}`;
    this.setTerminator("\n");
  }

  collectIncomingData(data: Uint8Array): void {
    this.#line += this.#decoder.decode(data, { stream: true });
    if (this.#line.length > 1000) this.handleClose(); // nobody talks like that
  }

  foundTerminator(): void {
    const line = this.#line.trimEnd();
    this.#line = "";
    if (line !== "/quit") return tellAll(`${this.name}: ${line}`, this);
    this.push(new TextEncoder().encode("bye\r\n"));
    this.handleClose(); // what was sent still leaves
  }

  override handleClose(): void {
    this.close();
    if (sessions.delete(this)) tellAll(`* ${this.name} leaves, now ${sessions.size}`);
  }
}

const addr = new ChatServer().listen({
  hostname: "127.0.0.1",
  port: Number(Deno.args[0] ?? 1234),
});
console.error(`listening on 127.0.0.1:${addr.port}`);
await loop();
