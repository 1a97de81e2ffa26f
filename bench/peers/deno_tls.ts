// A read loop per TLS client: deno run --allow-net --allow-read deno_tls.ts PORT CERT KEY

const [port, cert, key] = Deno.args as [string, string, string];
const listener = Deno.listenTls({
  hostname: "127.0.0.1",
  port: Number(port),
  tcpBacklog: 4096,
  cert: Deno.readTextFileSync(cert),
  key: Deno.readTextFileSync(key),
});

function print(bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length;) done += Deno.stdout.writeSync(bytes.subarray(done));
}

async function serve(client: Deno.TlsConn): Promise<void> {
  using _client = client;
  const buffer = new Uint8Array(64 * 1024);
  for (;;) {
    const count = await client.read(buffer).catch(() => null);
    if (count === null) return;
    print(buffer.subarray(0, count));
  }
}

for (;;) serve(await listener.accept());
