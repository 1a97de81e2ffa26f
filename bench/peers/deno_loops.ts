// A read loop per client, the usual Deno server: deno run --allow-net deno_loops.ts PORT

const listener = Deno.listen({
  hostname: "127.0.0.1",
  port: Number(Deno.args[0]),
  tcpBacklog: 4096,
});

function print(bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length;) done += Deno.stdout.writeSync(bytes.subarray(done));
}

async function serve(client: Deno.TcpConn): Promise<void> {
  using _client = client;
  const buffer = new Uint8Array(64 * 1024);
  for (;;) {
    const count = await client.read(buffer).catch(() => null);
    if (count === null) return;
    print(buffer.subarray(0, count));
  }
}

for (;;) serve(await listener.accept());
