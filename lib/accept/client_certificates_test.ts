import { assertEquals } from "@std/assert";
import { X509Certificate } from "node:crypto";
import { makeAuthority, makeClientCertificate } from "../../tests/support/certificates.ts";
import { tempDir } from "../../tests/support/files.ts";
import { TLS } from "../../tests/support/needs.ts";
import { ClientCertificates } from "./client_certificates.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** Replaces the clock until it is disposed. */
function atTime(nowMs: number): Disposable {
  const { now } = Date;
  Date.now = () => nowMs;
  return { [Symbol.dispose]: () => void (Date.now = now) };
}

Deno.test({
  ...TLS,
  name: "ClientCertificates.whyRefused() lets a session go on until its certificate has expired",
  fn() {
    using dir = tempDir();
    const { cert } = makeClientCertificate(dir.path, makeAuthority(dir.path), "/CN=x");
    const { raw: der, validTo } = new X509Certificate(Deno.readTextFileSync(cert));
    const certificates = new ClientCertificates();
    const resumed = { code: "", der, isResumed: true };
    assertEquals(
      certificates.whyRefused(resumed)?.words,
      "resumed session, whose client certificate these authorities have not verified",
    );
    assertEquals(certificates.whyRefused({ code: "", der, isResumed: false }), undefined);
    assertEquals(certificates.whyRefused(resumed), undefined);
    using _ = atTime(Date.parse(validTo) + 1000);
    assertEquals(certificates.whyRefused(resumed)?.words, "client certificate expired");
  },
});
