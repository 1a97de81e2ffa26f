import { assert, assertEquals } from "@std/assert";
import { makeCertificate } from "../../tests/support/certificates.ts";
import { tempDir } from "../../tests/support/files.ts";
import { TLS } from "../../tests/support/needs.ts";
import { readTlsFiles, type TlsMaterial } from "./tls_files.ts";
import type { TlsWrap } from "./tls_session.ts";
import { findTlsWrap } from "./tls_wrap.ts";

function material(): TlsMaterial {
  using dir = tempDir();
  const { cert, key } = makeCertificate(dir.path);
  return readTlsFiles({ certFile: cert, keyFile: key });
}

Deno.test({
  ...TLS,
  name: "findTlsWrap() finds the class of this runtime, if it does what it is known for",
  async fn() {
    const files = material();
    const { prototype } = findTlsWrap(files)!;
    for (
      const [name, otherwise] of [
        ["getBytesRead", () => 0],
        ["useUserBuffer", () => {}],
        ["drainEncOut", () => new Uint8Array(0)],
        ["shutdown", () => 0],
        ["setHandle", () => {}],
        ["initServerTls", () => -1],
      ] as const
    ) {
      // A module of its own, which has not found anything yet.
      const fresh: { findTlsWrap: typeof findTlsWrap } = await import(`./tls_wrap.ts?${name}`);
      const original = prototype[name as keyof TlsWrap];
      Object.assign(prototype, { [name]: otherwise });
      try {
        assertEquals(fresh.findTlsWrap(files), undefined, name);
      } finally {
        Object.assign(prototype, { [name]: original });
      }
      assert(fresh.findTlsWrap(files));
    }
  },
});
