import { assert, assertEquals, assertMatch } from "@std/assert";
import type { Acceptor, ByteStream } from "../poller.ts";
import { encode } from "../lib/bytes.ts";
import { makeCertificate } from "./support/certificates.ts";
import { Capture } from "./support/capture.ts";
import { connectTo, freePort, listenLocal, readUpTo } from "./support/connections.ts";
import { tempDir } from "./support/files.ts";
import { serveFrom } from "./support/serving.ts";
import { pause, untilTrue } from "./support/waiting.ts";
import { needs } from "./support/needs.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const CLIENTS = 30;

// -- A server that tells how many have come --

class CountingListener implements Acceptor {
  readonly #listener = listenLocal();
  #count = 0;

  get addr(): Deno.NetAddr {
    return this.#listener.addr;
  }

  /** A check that was reset before it was accepted came, too. */
  async accept(): Promise<ByteStream> {
    try {
      return await this.#listener.accept();
    } finally {
      this.#count++;
    }
  }

  close(): void {
    this.#listener.close();
  }

  /** Waits until so many more have come. */
  async more(count: number): Promise<void> {
    const wanted = this.#count + count;
    await untilTrue(() => this.#count >= wanted);
  }
}

// -- Proxies --

interface Proxy extends AsyncDisposable {
  readonly port: number;
  /** Of the client that found out that it answers. */
  readonly firstPort: number;
}

/** Starts a program with a configuration; it answers at `port` when this is resolved. */
async function start(program: string, args: string[], port: number): Promise<Proxy> {
  const child = new Deno.Command(program, {
    args,
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const err = new Capture();
  const collecting = (async () => {
    for await (const bytes of child.stderr) err.writeSync(bytes);
  })();
  let hasEnded = false;
  child.status.then(() => hasEnded = true);
  const firstPort = await untilAnswered(port, () => assert(!hasEnded, err.text));
  return {
    port,
    firstPort,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.status;
      await collecting;
    },
  };
}

async function untilAnswered(port: number, demandLife: () => void): Promise<number> {
  for (;;) {
    try {
      return await talk(port, 0);
    } catch {
      demandLife();
      await pause(20);
    }
  }
}

async function startHaproxy(folder: string, to: number, settings: string): Promise<Proxy> {
  const port = freePort();
  const path = `${folder}/haproxy.cfg`;
  await Deno.writeTextFile(
    path,
    `
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen log
  bind 127.0.0.1:${port}
  server earshot 127.0.0.1:${to} ${settings}
`,
  );
  return start("haproxy", ["-db", "-f", path], port);
}

async function startNginx(folder: string, to: number): Promise<Proxy> {
  const port = freePort();
  const path = `${folder}/nginx.conf`;
  await Deno.writeTextFile(
    path,
    `
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
master_process off;
pid ${folder}/nginx.pid;
error_log stderr error;
events {}
stream {
  server {
    listen 127.0.0.1:${port};
    proxy_pass 127.0.0.1:${to};
    proxy_protocol on;
  }
}
`,
  );
  return start("nginx", ["-p", folder, "-e", "stderr", "-c", path], port);
}

// -- Clients --

/** Says two lines, the second without an end; returns the port that it came from. */
async function talk(port: number, id: number): Promise<number> {
  using conn = await connectTo(port);
  await conn.write(encode(`first of ${id}\nsecond of ${id}`));
  await conn.closeWrite();
  await readUpTo(conn, 1);
  return conn.localAddr.port;
}

/** What is logged of a client: the first of them found out whether the proxy answers. */
function recordsOf(port: number, index: number): string[] {
  const id = Math.max(0, index - 1);
  return [
    `127.0.0.1:${port} connected (through)`,
    `127.0.0.1:${port} | first of ${id}`,
    `127.0.0.1:${port} + second of ${id}`,
    `127.0.0.1:${port} disconnected`,
  ];
}

/** What of a list another one lacks: of 124 records a failure shows those that differ. */
function lacking(list: readonly string[], other: readonly string[]): string[] {
  const left = [...other];
  return list.filter((item) => {
    const at = left.indexOf(item);
    if (at >= 0) left.splice(at, 1);
    return at < 0;
  });
}

/** What was logged, without what differs between runs. */
function recordsIn({ text }: Capture): string[] {
  return text.trimEnd().split("\n").map((line) =>
    line.replace(/^#\d+ /, "").replace(/\(through 127\.0\.0\.1:\d+\)/, "(through)")
      .replace(/disconnected: .*/, "disconnected")
  );
}

/** Has clients talk through a proxy, and compares what was logged with what they are. */
async function assertLoggedBehind(
  startProxy: (folder: string, port: number) => Promise<Proxy>,
  checks = 0,
): Promise<void> {
  using folder = tempDir();
  const listener = new CountingListener();
  const rules = ["--proxy-from", "127.0.0.0/8", "--max-connections", "40"];
  await using running = await serveFrom(listener, ["--time", "none", ...rules]);
  await using proxy = await startProxy(folder.path, listener.addr.port);
  await listener.more(checks);
  const talking = Array.from({ length: CLIENTS }, (_, id) => talk(proxy.port, id));
  const ports = [proxy.firstPort, ...await Promise.all(talking)];
  await running.out.until("disconnected", ports.length);
  await listener.more(checks);
  const [logged, wanted] = [recordsIn(running.out), ports.flatMap(recordsOf)];
  assertEquals({ unwanted: lacking(logged, wanted), lost: lacking(wanted, logged) }, {
    unwanted: [],
    lost: [],
  });
  const numbers = [...running.out.text.matchAll(/#(\d+) \S+ connected/g)].map(([, n]) => n);
  assertEquals(numbers.map(Number), ports.map((_, i) => i + 1));
}

const CHECK = "check inter 20ms";

for (const header of ["send-proxy", "send-proxy-v2"]) {
  for (const check of ["", CHECK, `${CHECK} check-send-proxy`]) {
    Deno.test({
      ...needs("haproxy"),
      name: `a server logs the clients of HAProxy with ${header} ${check}`.trimEnd(),
      fn: () =>
        assertLoggedBehind(
          (folder, port) => startHaproxy(folder, port, `${header} ${check}`),
          check ? 5 : 0,
        ),
    });
  }
}

Deno.test({
  ...needs("nginx"),
  name: "a server logs the clients of nginx's stream module",
  fn: () => assertLoggedBehind(startNginx),
});

Deno.test({
  ...needs("haproxy", "openssl"),
  name: "a server takes TLS that HAProxy passes on behind its header",
  fn: async () => {
    using folder = tempDir();
    const { cert, key } = makeCertificate(folder.path);
    const listener = new CountingListener();
    const tls = ["--tls-cert", cert, "--tls-key", key];
    const args = ["--time", "none", "--proxy-from", "127.0.0.0/8", ...tls];
    await using running = await serveFrom(listener, args);
    const settings = `send-proxy-v2 ${CHECK}`;
    await using proxy = await startHaproxy(folder.path, listener.addr.port, settings);
    await listener.more(5);
    const caCerts = [await Deno.readTextFile(cert)];
    using conn = await Deno.connectTls({ hostname: "localhost", port: proxy.port, caCerts });
    await conn.write(encode("secret\n"));
    await running.out.until("| secret");
    const { port } = conn.localAddr;
    const [connected, line] = running.out.text.split("\n").filter((line) =>
      line.includes(`${port}`)
    );
    assertMatch(connected!, new RegExp(`^#\\d+ 127.0.0.1:${port} connected \\(through 127`));
    assertMatch(line!, new RegExp(`^#\\d+ 127.0.0.1:${port} \\| secret$`));
  },
});
