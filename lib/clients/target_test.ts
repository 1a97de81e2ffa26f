import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { FILES, NET } from "../../tests/support/needs.ts";
import { listenLocal } from "../../tests/support/connections.ts";
import { tempDir } from "../../tests/support/files.ts";
import { Failure } from "../errors.ts";
import { Dialer, targetText } from "./target.ts";

Deno.test.sanitizer({ ops: true, resources: true });

function targetAt({ addr }: Deno.TcpListener, isTls = false) {
  return { host: "127.0.0.1", port: addr.port, isTls };
}

Deno.test("targetText() shows a target as records do", () => {
  assertEquals(targetText({ host: "10.0.0.5", port: 80, isTls: false }), "10.0.0.5:80");
  assertEquals(targetText({ host: "::1", port: 443, isTls: true }), "[::1]:443");
});

Deno.test({
  ...NET,
  name: "Dialer.dial() gives a connection, and says why there is none",
  async fn() {
    const listener = listenLocal();
    const dialer = new Dialer(targetAt(listener), 10_000, undefined);
    const { signal } = new AbortController();
    const [stream, accepted] = await Promise.all([dialer.dial(signal), listener.accept()]);
    stream.close!();
    accepted.close();
    listener.close();
    const error = await assertRejects(() => dialer.dial(signal), Error);
    assertEquals(error.message, "connection refused");
  },
});

Deno.test({
  ...NET,
  name: "Dialer.dial() gives up a target that does not answer",
  async fn() {
    // Of one that does not accept, the kernel takes two and lets the next hang.
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0, tcpBacklog: 1 });
    using waiting = new DisposableStack();
    const { signal } = new AbortController();
    const dialer = new Dialer(targetAt(listener), 300, undefined);
    const dial = async () => {
      const stream = await dialer.dial(signal);
      waiting.defer(() => stream.close!());
    };
    const outcomes = await Promise.allSettled(Array.from({ length: 6 }, dial));
    const failed = outcomes.filter((outcome) => outcome.status === "rejected");
    assertEquals(failed.length > 0, true);
    for (const { reason } of failed) assertEquals(reason.message, "no connection within 0.3 s");
  },
});

Deno.test({
  ...NET,
  name: "Dialer.dial() gives up a TLS handshake that hangs, and when it is told to",
  async fn() {
    using listener = listenLocal();
    const dialer = new Dialer(targetAt(listener, true), 200, undefined);
    const first = assertRejects(() => dialer.dial(new AbortController().signal), Error);
    using _accepted = await listener.accept();
    assertEquals((await first).message, "no connection within 0.2 s");
    const attempt = new AbortController();
    const second = assertRejects(() => dialer.dial(attempt.signal), Error);
    using _other = await listener.accept();
    attempt.abort();
    await second;
  },
});

Deno.test({
  ...FILES,
  name: "new Dialer() names a file of authorities that is of no use",
  fn() {
    using dir = tempDir();
    const path = `${dir.path}/ca.pem`;
    const make = () => new Dialer({ host: "a", port: 1, isTls: true }, 1000, path);
    assertThrows(make, Failure, `Cannot use --forward-ca ${path}: no such file or directory`);
    Deno.writeTextFileSync(path, "nothing");
    assertThrows(make, Failure, `Cannot use --forward-ca ${path}: no certificate in it`);
  },
});
