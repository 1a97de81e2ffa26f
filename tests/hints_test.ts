// What stderr says when nothing else shows.

import { assertEquals } from "@std/assert";
import { encode } from "../lib/bytes.ts";
import { connectAndReset } from "./support/connections.ts";
import { bytesOf } from "./support/data.ts";
import { spawnCli } from "./support/processes.ts";
import { serve } from "./support/serving.ts";
import { needs, NET, UNIX } from "./support/needs.ts";

Deno.test.sanitizer({ ops: true, resources: true });

Deno.test({
  ...NET,
  name: "startServer() says who has sent bytes and no line end",
  async fn() {
    await using running = await serve(["-t", "none"]);
    using client = await running.connect();
    await client.write(encode("4006381333931\r4012345678901\r"));
    await running.err.until("no line end");
    assertEquals(
      running.err.lines.at(-1),
      "earshot: #1 has sent 28 bytes and no line end: --flush-after 0.5 shows them, " +
        "--framing any ends lines at CR, --format hex shows all",
    );
  },
});

Deno.test({
  ...NET,
  name: "startServer() says that a client speaks TLS to a plain port, in every format",
  async fn() {
    for (const format of ["text", "raw", "hexline"]) {
      await using running = await serve(["-t", "none", "-f", format]);
      using client = await running.connect();
      await client.write(bytesOf("\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03"));
      await running.err.until("speaks TLS: give --tls-cert and --tls-key\n");
    }
  },
});

Deno.test({
  ...needs("openssl"),
  name: "openssl s_client is recognized at a plain port",
  async fn() {
    await using running = await serve(["-t", "none", "-q"]);
    const child = new Deno.Command("openssl", {
      args: ["s_client", "-connect", `127.0.0.1:${running.port}`],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    await running.err.until("earshot: #1 speaks TLS: give --tls-cert and --tls-key\n");
    await running.server[Symbol.asyncDispose]();
    await child.status;
  },
});

Deno.test({
  ...UNIX,
  name: "The command says how many clients were gone before they were accepted",
  async fn() {
    await using cli = spawnCli(["-p", "0"]);
    const port = await cli.port();
    cli.kill("SIGSTOP");
    for (let i = 0; i < 3; i++) await connectAndReset(port);
    cli.kill("SIGCONT");
    await cli.err.until("what they sent is lost");
    const [, line = ""] = cli.err.text.split("\n");
    assertEquals(
      line,
      "earshot: 3 clients were gone before they were accepted: what they sent is lost",
    );
  },
});

Deno.test({
  ...UNIX,
  name: "The command only counts lost clients where proxies probe it",
  async fn() {
    await using cli = spawnCli(["-p", "0", "--proxy-from", "127.0.0.0/8"]);
    const port = await cli.port();
    cli.kill("SIGSTOP");
    for (let i = 0; i < 3; i++) await connectAndReset(port);
    cli.kill("SIGCONT");
    const probe = await Deno.connect({ hostname: "127.0.0.1", port });
    probe.close();
    cli.kill("SIGTERM");
    assertEquals(await cli.ended(), 0);
    assertEquals(cli.err.text.includes("lost"), false, cli.err.text);
  },
});
