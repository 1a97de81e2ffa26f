// All tests of TLS once more, in a runtime whose inside is not known.
import { assertEquals } from "@std/assert";
import { TLS } from "../../tests/support/needs.ts";
import { tempDir } from "../../tests/support/files.ts";
import { makeCertificate } from "../../tests/support/certificates.ts";
import "../../tests/support/unknown_tls_wrap.ts";
import "./tls_test.ts";
import { readTlsFiles } from "./tls_files.ts";
import { findTlsWrap } from "./tls_wrap.ts";

Deno.test({
  ...TLS,
  name: "findTlsWrap() finds nothing when a method is missing",
  fn() {
    using dir = tempDir();
    const { cert, key } = makeCertificate(dir.path);
    assertEquals(findTlsWrap(readTlsFiles({ certFile: cert, keyFile: key })), undefined);
  },
});
