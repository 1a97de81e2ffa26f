import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { encode } from "../lib/bytes.ts";
import { Failure } from "../main.ts";
import { exists, tempDir } from "./support/files.ts";
import { serve } from "./support/serving.ts";
import { needs, UNIX } from "./support/needs.ts";

Deno.test.sanitizer({ ops: true, resources: true });

function openSender(): Deno.DatagramConn {
  // A name of its own, which has no file, so that nothing is left behind.
  const path = `\0earshot-test-${crypto.randomUUID()}`;
  return Deno.listenDatagram({ transport: "unixpacket", path });
}

function to(path: string): Deno.UnixAddr {
  return { transport: "unixpacket", path };
}

// -- Datagrams --

Deno.test({
  ...UNIX,
  name: "a server logs the datagrams that come to a Unix socket",
  async fn() {
    using dir = tempDir();
    const path = `${dir.path}/log.sock`;
    await using running = await serve(["--unix", `${path},type=datagram`, "--time", "none"]);
    const sender = openSender();
    for (const text of ["<13>hello\n", "", "two\nlines"]) await sender.send(encode(text), to(path));
    await running.out.until("lines");
    sender.close();
    assertEquals(running.out.lines, ["unix | <13>hello", "unix | ", "unix | two\\x0Alines"]);
    assertMatch(running.err.text, /^listening on \S+log\.sock \(datagrams\)\n$/);
  },
});

Deno.test({
  ...UNIX,
  name: "a server gives the path of a Unix socket with each datagram in json",
  async fn() {
    using dir = tempDir();
    const path = `${dir.path}/log.sock`;
    const format = ["--format", "json", "--time", "none", "--allow", "10.0.0.0/8"];
    await using running = await serve(["--unix", `${path},type=datagram`, ...format]);
    const sender = openSender();
    await sender.send(encode("hello"), to(path));
    await running.out.until("\n");
    sender.close();
    assertEquals(JSON.parse(running.out.text), { event: "datagram", path, message: "hello" });
  },
});

Deno.test({
  ...UNIX,
  name: "--reply says once that datagrams of a Unix socket have no answer, and records none",
  async fn() {
    using dir = tempDir();
    const path = `${dir.path}/log.sock`;
    const args = ["--reply", "no=>", "--reply", "ok", "--time", "none"];
    await using running = await serve(["--unix", `${path},type=datagram`, ...args]);
    const sender = openSender();
    await sender.send(encode("no"), to(path));
    await running.out.until("no\n");
    assertEquals(running.err.count("earshot: "), 0);
    for (const text of ["one", "two"]) await sender.send(encode(text), to(path));
    await running.out.until("two\n");
    await running.err.until("earshot: ");
    sender.close();
    assertEquals(running.out.lines, ["unix | no", "unix | one", "unix | two"]);
    assertEquals(
      running.err.text.split("\n").slice(1),
      ["earshot: Cannot answer a Unix datagram: Deno sends none by a socket that receives", ""],
    );
  },
});

Deno.test({
  ...UNIX,
  name: "a server that has ended leaves no file of a Unix socket, and replaces a stale one",
  async fn() {
    using dir = tempDir();
    const path = `${dir.path}/log.sock`;
    // Deno leaves the file of such a socket behind.
    Deno.listenDatagram({ transport: "unixpacket", path }).close();
    assertEquals(exists(path), true);
    {
      await using _running = await serve(["--unix", `${path},type=datagram`]);
      await assertRejects(
        () => serve(["--unix", `${path},type=datagram`]),
        Failure,
        "another process listens there",
      );
      await assertRejects(() => serve(["--unix", path]), Failure, "another process listens there");
      assertEquals(exists(path), true);
    }
    assertEquals(exists(path), false);
  },
});

Deno.test({
  ...needs("logger"),
  name: "a server takes the messages of logger by a Unix socket",
  async fn() {
    using dir = tempDir();
    const path = `${dir.path}/log.sock`;
    await using running = await serve(["--unix", `${path},type=datagram`, "--time", "none"]);
    const args = ["--socket", path, "--tag", "pump", "running dry"];
    await new Deno.Command("logger", { args, stdin: "null" }).output();
    await running.out.until("\n");
    assertMatch(running.out.text, /^unix \| <13>.* pump: running dry\n$/);
  },
});

// -- Files and names --

Deno.test({
  ...UNIX,
  name: "--unix gives the socket's file the mode that is asked for",
  async fn() {
    using dir = tempDir();
    for (const [setting, mode] of [["mode=0660", 0o660], ["mode=600", 0o600]] as const) {
      for (const type of ["stream", "datagram"]) {
        const path = `${dir.path}/${type}${mode}.sock`;
        await using _running = await serve(["--unix", `${path},${setting},type=${type}`]);
        assertEquals(Deno.statSync(path).mode! & 0o777, mode);
      }
    }
  },
});

Deno.test({
  ...UNIX,
  name: "--unix @name listens on a name without a file",
  async fn() {
    const name = `@earshot-test-${crypto.randomUUID()}`;
    const args = ["--unix", name, "--format", "json", "--time", "none", "--quiet"];
    await using running = await serve(args);
    using conn = await Deno.connect({ transport: "unix", path: `\0${name.slice(1)}` });
    await conn.write(encode("hello\n"));
    await running.out.until("\n");
    assertEquals(JSON.parse(running.out.text), {
      event: "line",
      connection: 1,
      path: name,
      message: "hello",
    });
    assertMatch(running.err.text, /^listening on @earshot-test-\S+\n$/);
    await assertRejects(() => serve(["--unix", name]), Failure, `Cannot listen on ${name}: `);
  },
});

Deno.test({
  ...UNIX,
  name: "--unix @name is what a file begins with",
  async fn() {
    using dir = tempDir();
    const name = `@earshot-test-${crypto.randomUUID()}`;
    const output = `${dir.path}/log`;
    {
      await using _running = await serve(["--unix", name, "--output", output, "--time", "none"]);
    }
    assertMatch(Deno.readTextFileSync(output), new RegExp(`, listening on ${name}\n`));
  },
});

// -- Proxies --

Deno.test({
  ...UNIX,
  name: "--proxy-from unix trusts the PROXY headers that come by a Unix socket, and no others",
  async fn() {
    using dir = tempDir();
    const path = `${dir.path}/proxy.sock`;
    const header = "PROXY TCP4 192.0.2.7 10.0.0.9 4711 1234\r\n";
    const args = ["--unix", path, "--port", "0", "--proxy-from", "unix", "--time", "none"];
    await using running = await serve(args);
    {
      using conn = await Deno.connect({ transport: "unix", path });
      await conn.write(encode(`${header}hello\n`));
      await running.out.until("hello");
    }
    await running.out.until("disconnected");
    assertEquals(running.out.lines.slice(0, 2), [
      "#1 192.0.2.7:4711 connected (through unix)",
      "#1 192.0.2.7:4711 | hello",
    ]);
    using other = await running.connect();
    await other.write(encode(header));
    await running.out.until("| PROXY TCP4");
  },
});
