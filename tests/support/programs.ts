/**
 * Programs that run under a shell, with redirections and limits. Not published.
 *
 * @module
 */

import { decode } from "../../lib/bytes.ts";
import { tempDir } from "./files.ts";

export interface Run {
  /** What a shell runs; `$RUN` is the program. */
  readonly shell?: string;
  readonly permissions?: readonly string[];
}

/**
 * Runs a program under a shell until it ends: `imports`, then `body`, in which `say` is a line
 * on stderr.
 */
export async function runProgram(imports: string, body: string, options: Run = {}) {
  const { shell = "$RUN", permissions = [] } = options;
  using dir = tempDir();
  await Deno.writeTextFile(`${dir.path}/program.js`, programOf(imports, body));
  const program = [Deno.execPath(), "run", "--no-config", "--no-lock", "--quiet", ...permissions];
  const command = new Deno.Command("sh", {
    args: ["-c", shell],
    cwd: dir.path,
    env: { RUN: [...program, "program.js"].join(" "), NO_COLOR: "1" },
    stdin: "null",
  });
  const { code, stdout, stderr } = await command.output();
  return { code, out: decode(stdout), err: decode(stderr) };
}

function programOf(imports: string, body: string): string {
  return `${imports}
    const say = (text) => Deno.stderr.writeSync(new TextEncoder().encode(text + "\\n"));
    try { ${body} } catch (error) { say(error.name + ": " + error.message); }
    Deno.exit(0);`;
}
