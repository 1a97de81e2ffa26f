import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { createPrivateKey, X509Certificate } from "node:crypto";
import {
  type CertificateFiles,
  makeAuthority,
  makeCertificate,
  makeClientCertificate,
  openssl,
} from "../../tests/support/certificates.ts";
import { tempDir } from "../../tests/support/files.ts";
import { TLS } from "../../tests/support/needs.ts";
import { Failure } from "../errors.ts";
import { readTlsFiles } from "./tls_files.ts";

const BYTE_ORDER_MARK = "\uFEFF";

/** A folder with a server's certificate that an authority has signed. */
function madeFiles() {
  const dir = tempDir();
  const authority = makeAuthority(dir.path);
  const server = makeClientCertificate(dir.path, authority, "/CN=localhost", { name: "server" });
  return {
    folder: dir.path,
    authority,
    server,
    [Symbol.dispose]: () => dir[Symbol.dispose](),
    write(name: string, text: string): string {
      Deno.writeTextFileSync(`${dir.path}/${name}`, text);
      return `${dir.path}/${name}`;
    },
  };
}

type Made = ReturnType<typeof madeFiles>;

function textOf(path: string): string {
  return Deno.readTextFileSync(path);
}

/** Asserts that a server can use what is in the files, and that its own certificate is the first. */
function assertUsable(certFile: string, keyFile = certFile, count = 1): void {
  const { cert, key } = readTlsFiles({ certFile, keyFile });
  const certificates = cert.split(/(?<=-----END CERTIFICATE-----)\n?/).filter(Boolean);
  assertEquals(certificates.length, count);
  const [own] = certificates.map((pem) => new X509Certificate(pem));
  assertEquals(own!.subject, "CN=localhost");
  assert(own!.checkPrivateKey(createPrivateKey(key)));
  assertMatch(key, /^-----BEGIN [A-Z ]*PRIVATE KEY-----[^]*-----END [A-Z ]*PRIVATE KEY-----$/);
}

Deno.test({
  ...TLS,
  name: "readTlsFiles() takes certificate and key from one file, in both orders, with a mark",
  fn() {
    using made = madeFiles();
    const [cert, key] = [textOf(made.server.cert), textOf(made.server.key)];
    for (const [at, text] of [cert + key, key + cert].entries()) {
      for (const mark of ["", BYTE_ORDER_MARK]) {
        assertUsable(made.write(`both${at}.pem`, mark + text));
        assertUsable(made.write("crlf.pem", mark + text.replaceAll("\n", "\r\n")));
      }
    }
  },
});

Deno.test({
  ...TLS,
  name: "readTlsFiles() puts the certificate of the key before those that signed it",
  fn() {
    using made = madeFiles();
    const [leaf, authority] = [textOf(made.server.cert), textOf(made.authority.cert)];
    for (const [at, chain] of [leaf + authority, authority + leaf].entries()) {
      assertUsable(made.write(`chain${at}.pem`, chain), made.server.key, 2);
    }
  },
});

Deno.test({
  ...TLS,
  name: "readTlsFiles() takes what openssl writes of a pkcs12 file, with text between the blocks",
  fn() {
    using made = madeFiles();
    const [store, out] = [`${made.folder}/store.p12`, `${made.folder}/store.pem`];
    const secret = ["-passout", "pass:x"];
    openssl([
      ...["pkcs12", "-export", "-inkey", made.server.key, "-in", made.server.cert],
      ...["-certfile", made.authority.cert, "-name", "my server", ...secret, "-out", store],
    ]);
    openssl(["pkcs12", "-in", store, "-passin", "pass:x", "-nodes", "-out", out]);
    assertMatch(textOf(out), /^Bag Attributes/);
    assertUsable(out, out, 2);
  },
});

Deno.test({
  ...TLS,
  name: "readTlsFiles() takes keys of the older kinds, and the parameters before them",
  fn() {
    using made = madeFiles();
    const out = `${made.folder}/old.key`;
    openssl(["ec", "-in", made.server.key, "-out", out]);
    assertMatch(textOf(out), /BEGIN EC PRIVATE KEY/);
    assertUsable(made.server.cert, out);
    const parameters =
      "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    assertUsable(made.server.cert, made.write("parameters.key", parameters + textOf(out)));
  },
});

// -- Of no use --

function complaintOf(made: Made, files: { cert?: string; key?: string; ca?: string }): string {
  const { cert = made.server.cert, key = made.server.key, ca } = files;
  const clientCa = ca !== undefined ? { clientCaFile: ca } : {};
  const read = () => readTlsFiles({ certFile: cert, keyFile: key, ...clientCa });
  return assertThrows(read, Failure).message.replaceAll(`${made.folder}/`, "");
}

const MISSING = "no such file or directory";
const NO_CERTIFICATE = "no certificate in it";

Deno.test({
  ...TLS,
  name: "readTlsFiles() names the file that is missing or swapped",
  fn() {
    using made = madeFiles();
    const { server: { cert, key }, folder, authority } = made;
    const empty = made.write("empty", "");
    const say = (files: { cert?: string; key?: string; ca?: string }) => complaintOf(made, files);
    assertEquals(say({ cert: `${folder}/none` }), `Cannot read none: ${MISSING}`);
    assertEquals(say({ key: `${folder}/none` }), `Cannot read none: ${MISSING}`);
    assertMatch(say({ cert: folder }), /^Cannot read \S+: is a directory$/);
    assertEquals(
      say({ cert: key, key: cert }),
      `Cannot use --tls-cert server.key: ${NO_CERTIFICATE}`,
    );
    assertEquals(say({ key: cert }), "Cannot use --tls-key server.pem: no private key in it");
    assertEquals(say({ cert: empty }), `Cannot use --tls-cert empty: ${NO_CERTIFICATE}`);
    assertEquals(say({ ca: empty }), `Cannot use --tls-client-ca empty: ${NO_CERTIFICATE}`);
    assertEquals(
      say({ ca: authority.key }),
      `Cannot use --tls-client-ca authority.key: ${NO_CERTIFICATE}`,
    );
    assertEquals(
      say({ key: authority.key }),
      "Cannot use --tls-key authority.key: it does not belong to the certificate in server.pem",
    );
  },
});

Deno.test({
  ...TLS,
  name: "readTlsFiles() names the file in which something is damaged or locked",
  fn() {
    using made = madeFiles();
    const block = (kind: string) => `-----BEGIN ${kind}-----\nAAAA\n-----END ${kind}-----\n`;
    const say = (files: { cert?: string; key?: string; ca?: string }) => complaintOf(made, files);
    const damaged = "a certificate in it is damaged";
    const bad = made.write("bad.pem", block("CERTIFICATE"));
    assertEquals(say({ cert: bad }), `Cannot use --tls-cert bad.pem: ${damaged}`);
    const half = made.write("half.pem", textOf(made.authority.cert) + block("CERTIFICATE"));
    assertEquals(say({ ca: half }), `Cannot use --tls-client-ca half.pem: ${damaged}`);
    assertEquals(
      say({ key: made.write("bad.key", block("PRIVATE KEY")) }),
      "Cannot use --tls-key bad.key: the private key in it is damaged",
    );
    assertMatch(
      say({ key: made.write("locked.key", block("ENCRYPTED PRIVATE KEY")) }),
      /^Cannot use --tls-key locked\.key: the key in it is encrypted/,
    );
    const old = `${made.folder}/oldlocked.key`;
    openssl(["ec", "-in", made.server.key, "-aes128", "-passout", "pass:x", "-out", old]);
    assertMatch(say({ key: old }), /^Cannot use --tls-key oldlocked\.key: .* encrypted/);
  },
});

/** `makeCertificate()` gives a certificate that has signed itself. */
Deno.test({
  ...TLS,
  name: "readTlsFiles() takes a certificate that has signed itself",
  fn() {
    using dir = tempDir();
    const { cert, key }: CertificateFiles = makeCertificate(dir.path);
    assertUsable(cert, key);
  },
});
