/**
 * The PEM files of certificates and keys, as certbot, openssl's pkcs12, HAProxy and
 * editors write them: with a byte order mark, with text between the blocks, and
 * certificate and key in one file, in any order.
 *
 * @module
 */

import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { Failure, reasonOf } from "../errors.ts";

/** Where certificate, key and the authorities of client certificates are, all PEM. */
export interface TlsFiles {
  readonly certFile: string;
  /** It may be the same file. */
  readonly keyFile: string;
  /** If it is there, clients must show a certificate signed by one of these. */
  readonly clientCaFile?: string;
}

/** What was in the files: nothing but blocks of PEM. */
export interface TlsMaterial {
  /** That of the server, and then the chain. */
  readonly cert: string;
  readonly key: string;
  readonly ca: string | undefined;
}

/** Reads the files; throws a {@linkcode Failure} that names the one that is of no use. */
export function readTlsFiles({ certFile, keyFile, clientCaFile }: TlsFiles): TlsMaterial {
  const certificates = readCertificates("--tls-cert", certFile);
  const key = readKey(keyFile);
  const [own] = certificates.filter((pem) => belongs(pem, key.object));
  if (own === undefined) {
    const reason = `it does not belong to the certificate in ${certFile}`;
    throw unusable("--tls-key", keyFile, reason);
  }
  return {
    cert: [own, ...certificates.filter((pem) => pem !== own)].join("\n"),
    key: key.pem,
    ca: clientCaFile === undefined
      ? undefined
      : readCertificates("--tls-client-ca", clientCaFile).join("\n"),
  };
}

/** A file that is of no use, and why. */
export function unusable(option: string, file: string, reason: string): Failure {
  return new Failure(`Cannot use ${option} ${file}: ${reason}`);
}

function readCertificates(option: string, file: string): string[] {
  const text = readText(file);
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g);
  if (!blocks) throw unusable(option, file, "no certificate in it");
  try {
    for (const block of blocks) new X509Certificate(block);
  } catch {
    throw unusable(option, file, "a certificate in it is damaged");
  }
  return blocks;
}

const KEY_REGEXP = /-----BEGIN ((?:[A-Z]+ )*)PRIVATE KEY-----.*?-----END \1PRIVATE KEY-----/s;

function readKey(file: string): { readonly pem: string; readonly object: KeyObject } {
  const [pem, kind] = KEY_REGEXP.exec(readText(file)) ?? [];
  if (pem === undefined) throw unusable("--tls-key", file, "no private key in it");
  if (kind === "ENCRYPTED " || pem.includes("Proc-Type: 4,ENCRYPTED")) {
    const reason = "the key in it is encrypted, and there is no way to give a passphrase";
    throw unusable("--tls-key", file, reason);
  }
  try {
    return { pem, object: createPrivateKey(pem) };
  } catch {
    throw unusable("--tls-key", file, "the private key in it is damaged");
  }
}

function belongs(certificate: string, key: KeyObject): boolean {
  return new X509Certificate(certificate).checkPrivateKey(key);
}

function readText(file: string): string {
  try {
    return Deno.readTextFileSync(file);
  } catch (error) {
    throw new Failure(`Cannot read ${file}: ${reasonOf(error)}`);
  }
}
