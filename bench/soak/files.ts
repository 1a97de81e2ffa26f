/**
 * The files that a server has left, against what was sent.
 *
 * @module
 */

import { type Ledger, tokenIn } from "./ledger.ts";
import { eachLine } from "./servers.ts";

/** What the files of all hosts have together. */
export interface FileCheck {
  readonly files: number;
  readonly tokens: number;
  readonly expected: number;
  /** How often one was not the next of its visit. */
  readonly jumps: number;
}

/** Files of the hosts in `folders`, rotated and moved ones before those that came later. */
export async function checkFiles(
  folders: readonly string[],
  ledgers: { readonly plain: Ledger; readonly udp: Ledger },
): Promise<FileCheck> {
  const byHost = await filesByHost(folders);
  const sum = { files: 0, tokens: 0, expected: 0, jumps: 0 };
  for (const [host, sent] of [...ledgers.plain.sentByHost, ...ledgers.udp.sentByHost]) {
    const paths = byHost.get(host) ?? [];
    const { tokens, jumps } = await readTokens(paths);
    sum.files += paths.length;
    sum.tokens += tokens;
    sum.expected += sent;
    sum.jumps += jumps;
  }
  return sum;
}

/** By host, the one that was written last at the end. */
async function filesByHost(folders: readonly string[]): Promise<Map<string, string[]>> {
  const found: { host: string; path: string; atMs: number; number: number }[] = [];
  for (const folder of folders) {
    for await (const { name } of Deno.readDir(folder)) {
      const path = `${folder}/${name}`;
      const host = name.replace(/\.log.*$/, "");
      const number = Number(/\.log\.(\d+)$/.exec(name)?.[1] ?? 0);
      found.push({ host, path, atMs: (await Deno.stat(path)).mtime!.getTime(), number });
    }
  }
  const byHost = new Map<string, string[]>();
  // A burst fills several files in one tick of the file system's clock.
  for (const { host, path } of found.toSorted((a, b) => a.atMs - b.atMs || b.number - a.number)) {
    byHost.set(host, [...byHost.get(host) ?? [], path]);
  }
  return byHost;
}

async function readTokens(paths: readonly string[]): Promise<{ tokens: number; jumps: number }> {
  const next = new Map<string, number>();
  let tokens = 0;
  let jumps = 0;
  for (const path of paths) {
    const file = await Deno.open(path);
    await eachLine(file.readable, (line) => {
      const token = tokenIn(line);
      if (!token) return;
      tokens++;
      const key = `${token.verb} ${token.visit}`;
      if (token.number !== (next.get(key) ?? 0)) jumps++;
      next.set(key, token.number + 1);
    });
  }
  return { tokens, jumps };
}
