/**
 * What SIGHUP asks for: files are opened and read anew.
 *
 * @module
 */

import type { NameTable } from "../accept/names.ts";
import type { Tls } from "../accept/tls.ts";
import type { Datagrams } from "../clients/datagrams.ts";
import type { Say } from "../messages.ts";
import type { LogWriter } from "../output/log_writer.ts";

export interface ReloadOptions {
  readonly logWriter: Pick<LogWriter, "reopen">;
  readonly tls: Pick<Tls, "reload"> | undefined;
  readonly names: Pick<NameTable, "hasFile" | "reload">;
  readonly datagrams: Pick<Datagrams, "forgetNames">;
  readonly say: Say;
}

/**
 * Reads certificates and names anew, and opens the log files anew. What cannot be read or
 * opened is said, and the old one stays.
 *
 * @returns Whether there was anything to do.
 */
export function reload({ logWriter, tls, names, datagrams, say }: ReloadOptions): boolean {
  const done: string[] = [];
  const attempt = (what: string, action: () => void) => {
    try {
      action();
      done.push(`${what} read`);
    } catch (error) {
      say(`earshot: ${(error as Error).message}; the old ${what} stay`);
    }
  };
  if (tls) attempt("certificates", () => tls.reload());
  if (names.hasFile) {
    attempt("names", () => {
      names.reload();
      datagrams.forgetNames();
    });
  }
  // Last, for it may be done at once, or only when a write has ended.
  const hasFile = logWriter.reopen(() => tell(["output opened anew", ...done], say));
  if (!hasFile) tell(done, say);
  return hasFile || tls !== undefined || names.hasFile;
}

function tell(done: readonly string[], say: Say): void {
  if (done.length > 0) say(`earshot: SIGHUP: ${done.join(", ")}`);
}
