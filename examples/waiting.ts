/**
 * The log server inside another program: it waits until a device says that it is ready, and
 * answers with its own exit status.
 *
 * ```sh
 * deno run --allow-net examples/waiting.ts 1234 READY 10
 * ```
 *
 * @module
 */

import { startServer } from "../main.ts";

const [port = "1234", text = "READY", seconds = "10"] = Deno.args;

await using server = await startServer(
  { ports: [Number(port)], until: [text], forMs: 1000 * Number(seconds), time: "elapsed" },
  {
    onRecord(record) {
      // deno-lint-ignore no-console
      if (record.event === "connected") console.log(`a device at ${record.host}`);
    },
  },
);
await server.finished;
Deno.exitCode = server.unseen.length === 0 ? 0 : 3;
