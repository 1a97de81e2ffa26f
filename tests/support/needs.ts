/**
 * What a test needs of the machine, as options of `Deno.test`: without it the test is
 * ignored. CI allows no ignored test. Not published.
 *
 * ```ts ignore
 * Deno.test({ ...NET, name: "connect() waits for nobody", fn() {} });
 * Deno.test({ ...needs("telnet"), name: "telnet gets an echo", fn() {} });
 * ```
 *
 * @module
 */

type Permission = "net" | "read" | "write" | "run" | "sys" | "env";

interface Needs {
  readonly ignore: boolean;
  readonly timeout: number;
}

/** Whether one of these permissions is missing. */
export function lacks(...names: readonly Permission[]): boolean {
  return names.some((name) => Deno.permissions.querySync({ name }).state !== "granted");
}

const lacksRun = lacks("net", "read", "write", "run", "sys", "env");

/** Sockets. */
export const NET = needsThat(!lacks("net"));

/** Datagrams, whose API is unstable: deno.json says that we want it. */
export const UDP = needsThat(!lacks("net") && typeof Deno.listenDatagram === "function");

/** An IPv6 loopback address. */
export const IPV6 = needsThat(!lacks("net") && hasIpv6());

/** Files to read. */
export const READ = needsThat(!lacks("read"));

/** Sockets and files. */
export const FILES = needsThat(!lacks("net", "read", "write"));

/** Other processes, earshot itself among them. */
export const RUN = needsThat(!lacksRun);

/** Signals, FIFOs, modes of files. */
export const UNIX = needsThat(!lacksRun && Deno.build.os !== "windows");

/** /proc, limits of descriptors, and time for many clients. */
export const PROC = needsThat(!lacksRun && Deno.build.os === "linux", 120_000);

/** Certificates made by openssl. */
export const TLS = needs("openssl");

/** Other programs, by name. */
export function needs(...programs: readonly string[]): Needs {
  return needsThat(!lacksRun && programs.every(hasProgram));
}

/** As long as a busy machine may take: a test that hangs shows its name. */
function needsThat(isThere: boolean, timeout = 60_000): Needs {
  return { ignore: !isThere, timeout };
}

/** A name without a slash is looked for as a shell would. */
function hasProgram(name: string): boolean {
  if (name.includes("/")) return isFile(name);
  const folders = Deno.env.get("PATH")?.split(":") ?? [];
  return folders.some((folder) => isFile(`${folder}/${name}`));
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

function hasIpv6(): boolean {
  try {
    Deno.listen({ hostname: "::1", port: 0 }).close();
    return true;
  } catch {
    return false;
  }
}
