import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { Failure } from "../errors.ts";
import { closeListeners, type ListenOptions, openListeners } from "./listeners.ts";
import { exists, tempDir } from "../../tests/support/files.ts";
import { FILES, IPV6, NET } from "../../tests/support/needs.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const NOTHING: ListenOptions = {
  hosts: ["127.0.0.1"],
  ports: [],
  udpPorts: [],
  unixPaths: [],
  backlog: 10,
  reusePort: false,
  isTls: false,
};

/** What is opened, with ports made equal. */
async function greetings(options: Partial<ListenOptions>): Promise<string[]> {
  const listening = await openListeners({ ...NOTHING, ...options });
  await closeListeners(listening);
  return listening.map(({ greeting }) => greeting.replace(/:\d+(?= |$)/, ":PORT"));
}

Deno.test({
  ...NET,
  name: "openListeners() opens every port on every address, and says how far it reaches",
  async fn() {
    const reach = "every IPv4 interface";
    const local = "this machine only; --host 0.0.0.0 for every interface";
    assertEquals(
      await greetings({ hosts: ["127.0.0.1", "0.0.0.0"], ports: [0, 0], udpPorts: [0] }),
      [
        ...[local, local, reach, reach].map((note, i) =>
          `listening on ${i < 2 ? "127.0.0.1" : "0.0.0.0"}:PORT (${note})`
        ),
        `listening on udp 127.0.0.1:PORT (${local})`,
        `listening on udp 0.0.0.0:PORT (${reach})`,
      ],
    );
    assertEquals(await greetings({ ports: [0], isTls: true }), [
      `listening on 127.0.0.1:PORT (TLS; ${local})`,
    ]);
  },
});

Deno.test({
  ...IPV6,
  name: "openListeners() names the address's own family in its hint",
  async fn() {
    assertEquals(await greetings({ hosts: ["::1", "::"], ports: [0] }), [
      "listening on [::1]:PORT (this machine only; --host :: for every interface)",
      "listening on [::]:PORT (every interface)",
    ]);
  },
});

Deno.test({
  ...NET,
  name: "openListeners() closes what it opened when one cannot be opened",
  async fn() {
    using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = taken.addr;
    for (
      const wrong of [{ ports: [0, port] }, { ports: [0], udpPorts: [0], hosts: ["x.invalid"] }]
    ) {
      const error = await assertRejects(() => openListeners({ ...NOTHING, ...wrong }), Failure);
      assertMatch(error.message, /^Cannot listen on (127\.0\.0\.1|x\.invalid):\d+: [a-z].+/);
    }
  },
});

Deno.test({
  ...NET,
  name: "openListeners() frees a UDP port when it closes, and says when it is taken",
  async fn() {
    const [first] = await openListeners({ ...NOTHING, udpPorts: [0] });
    if (first?.kind !== "datagram") throw new Error("No datagrams");
    const { port } = first.socket.localAddr as Deno.NetAddr;
    const error = await assertRejects(
      () => openListeners({ ...NOTHING, udpPorts: [port] }),
      Failure,
    );
    assertEquals(error.message, `Cannot listen on udp 127.0.0.1:${port}: address already in use`);
    await closeListeners([first]);
    await closeListeners(await openListeners({ ...NOTHING, udpPorts: [port] }));
  },
});

Deno.test({
  ...FILES,
  name: "closeListeners() removes the file of a Unix socket",
  async fn() {
    using dir = tempDir();
    const path = `${dir.path}/e.sock`;
    const listening = await openListeners({ ...NOTHING, unixPaths: [path] });
    assertEquals(exists(path), true);
    await closeListeners(listening);
    assertEquals(exists(path), false);
  },
});

Deno.test({
  ...FILES,
  name: "closeListeners() leaves a file that is a successor's by now",
  // The listener that nobody can reach stays open to the end of the process.
  sanitizeResources: false,
  async fn() {
    using dir = tempDir();
    const path = `${dir.path}/e.sock`;
    const first = await openListeners({ ...NOTHING, unixPaths: [path] });
    Deno.removeSync(path);
    const second = await openListeners({ ...NOTHING, unixPaths: [path] });
    await closeListeners(first);
    (await Deno.connect({ transport: "unix", path })).close();
    await closeListeners(second);
    assertEquals(exists(path), false);
  },
});
