/**
 * Certificates for tests, made with openssl. Not published.
 *
 * @module
 */

import { assert } from "@std/assert";

/** A PEM file each. */
export interface CertificateFiles {
  readonly cert: string;
  readonly key: string;
}

/** Keys that are quickly made. */
const EC_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

/** Makes a certificate for localhost that has signed itself; its files are called `<name>.*`. */
export function makeCertificate(folder: string, name = "server", key = EC_KEY): CertificateFiles {
  const files = filesOf(folder, name);
  openssl([
    ...["req", "-x509", ...key, "-days", "2", "-subj", "/CN=localhost"],
    ...["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
    ...["-addext", "basicConstraints=critical,CA:FALSE"],
    ...["-keyout", files.key, "-out", files.cert],
  ]);
  return files;
}

/** Makes a certificate that signs others. */
export function makeAuthority(folder: string, name = "authority"): CertificateFiles {
  const files = filesOf(folder, name);
  openssl([
    ...["req", "-x509", ...EC_KEY, "-days", "2", "-subj", `/CN=${name}`],
    ...["-keyout", files.key, "-out", files.cert],
  ]);
  return files;
}

/** What a client's certificate may have besides its subject. */
export interface ClientOptions {
  readonly name?: string;
  readonly altName?: string;
  readonly usage?: string;
  readonly valid?: readonly [from: string, to: string];
}

/**
 * Makes a client's certificate, signed by an authority, for `subject` (`/CN=sensor 7`)
 * and from one time to another (`20240131120000Z`), or for two days from now. It has
 * extensions, for without any it would be of version 1, which rustls refuses.
 */
export function makeClientCertificate(
  folder: string,
  authority: CertificateFiles,
  subject: string,
  { name = "client", altName = "", usage = "clientAuth", valid }: ClientOptions = {},
): CertificateFiles {
  const files = filesOf(folder, name);
  const [request, extensions] = [`${folder}/${name}.csr`, `${folder}/${name}.ext`];
  openssl(["req", "-new", ...EC_KEY, "-subj", subject, "-keyout", files.key, "-out", request]);
  Deno.writeTextFileSync(
    extensions,
    `basicConstraints=CA:FALSE\nextendedKeyUsage=${usage}\n${
      altName && `subjectAltName=${altName}\n`
    }`,
  );
  const config = `${folder}/ca.conf`;
  Deno.writeTextFileSync(config, caConfig(folder));
  Deno.writeTextFileSync(`${folder}/index.txt`, "");
  openssl([
    ...["ca", "-batch", "-config", config, "-notext", "-preserveDN"],
    ...["-in", request, "-cert", authority.cert, "-keyfile", authority.key],
    ...valid ? ["-startdate", valid[0], "-enddate", valid[1]] : ["-days", "2"],
    ...["-extfile", extensions, "-out", files.cert],
  ]);
  return files;
}

/** What `openssl ca` has to be told: of all commands it alone takes the dates. */
function caConfig(folder: string): string {
  return `
    [ca]
    default_ca = here
    [here]
    database = ${folder}/index.txt
    new_certs_dir = ${folder}
    rand_serial = yes
    default_md = sha256
    policy = any
    [any]
    commonName = optional
    organizationName = optional
    organizationalUnitName = optional
  `;
}

function filesOf(folder: string, name: string): CertificateFiles {
  return { cert: `${folder}/${name}.pem`, key: `${folder}/${name}.key` };
}

export function openssl(args: readonly string[]): void {
  const quiet = { stdin: "null", stdout: "null", stderr: "piped" } as const;
  const { success, stderr } = new Deno.Command("openssl", { args: [...args], ...quiet })
    .outputSync();
  assert(success, new TextDecoder().decode(stderr));
}
