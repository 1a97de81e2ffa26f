import { assertEquals } from "@std/assert";
import { optionHint, placeHint } from "./hints.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const OPTIONS = ["port", "udp", "quiet", "max-line", "help", "Version", "output"].map((name) => ({
  name: name.toLowerCase(),
  letter: name === "udp" || name === "max-line" ? undefined : name[0],
}));

const NEAR: [typed: string, hint: string | undefined][] = [
  ["--quite", "--quiet"],
  ["--quit", "--quiet"],
  ["--quiett", "--quiet"],
  ["--quoet", "--quiet"],
  ["--uqiet", "--quiet"],
  ["--uqite", "--quiet"],
  ["--QUIET", "--quiet"],
  ["--prot", "--port"],
  ["--prot=1", "--port"],
  ["--ports", "--port"],
  ["--max_line", "--max-line"],
  ["--Max_Lnie", "--max-line"],
  ["--maxline", "--max-line"],
  ["--max_lnies", "--max-line"],
  ["--upd", "--udp"],
  ["---port", "--port"],
  ["-quiet", "--quiet"],
  ["-help", "--help"],
  ["-prot", "--port"],
  ["-P", "-p"],
  ["-O", "-o"],
  ["-v=1", "-V"],
  // Three edits.
  ["--uqitee", undefined],
  ["--max_lanes-", undefined],
  // Not less than half of what was typed.
  ["--tcp", undefined],
  ["--ud", undefined],
  ["--prtt", undefined],
  ["--q", undefined],
  ["--", undefined],
  ["-x", undefined],
  ["-ofile", undefined],
];

Deno.test("optionHint() names what is at most two edits and less than half of the word away", () => {
  for (const [typed, expected] of NEAR) {
    const hint = optionHint(typed, undefined, OPTIONS);
    assertEquals(hint, expected && `did you mean ${expected}?`, typed);
  }
});

const LISTENS = "earshot always listens, for many clients";
const RECORDS = "who comes and goes is always recorded; -V prints the version";

const HABITS: [typed: string, next: string | undefined, hint: string | undefined][] = [
  ["-l", undefined, LISTENS],
  ["--wait", "5", "--for ends after so long, --idle-timeout disconnects the silent"],
  ["--max-count", "5", "--count ends after so many lines"],
  ["--expect", "ok", "--until ends when that was seen"],
  ["--logfile", "f", "use --output"],
  ["--rotate", "10M", "use --rotate-size"],
  ["--bind", "127.0.0.1", "use --host"],
  ["--bind-address=127.0.0.1", undefined, "use --host"],
  ["--address", "::1", "use --host"],
  ["--tls", undefined, "use --tls-cert and --tls-key"],
  ["--tls-crt", undefined, undefined],
  ["-c", "cat", "earshot runs no program: --reply answers, --forward relays"],
  ["-T", "300", "use --idle-timeout"],
  ["-w", "5", "use --idle-timeout"],
  ["-s", "0.0.0.0", "use --host"],
  ["--hex-dump", "f", "use --format hex"],
  ["-m", "5", "use --max-connections"],
  ["--json", undefined, "use --format json"],
  ["-lkC", "1234", `${LISTENS}; use --port 1234`],
  ["-k", undefined, LISTENS],
  ["-lk", "127.0.0.1", LISTENS],
  ["-l", "1234", `${LISTENS}; use --port 1234`],
  ["-lkp", "1234", `${LISTENS}; use --port 1234`],
  ["-lvnp", "1234", `${LISTENS}; use --port 1234`],
  ["-nvlp1234", undefined, `${LISTENS}; use --port 1234`],
  ["-klu", "514", `${LISTENS}; use --udp 514`],
  ["-lp", "65536", LISTENS],
  ["-v", undefined, RECORDS],
  ["-vn", undefined, RECORDS],
  ["-n", undefined, "names are never looked up"],
  ["--listen", "1234", LISTENS],
  ["--keep-open", undefined, LISTENS],
  ["--verbose", undefined, RECORDS],
  ["--allow-net", undefined, "Deno's permissions go before main.ts"],
  ["--allow-write=/tmp", undefined, "Deno's permissions go before main.ts"],
];

Deno.test("optionHint() answers the habits of nc and Deno", () => {
  for (const [typed, next, expected] of HABITS) {
    assertEquals(optionHint(typed, next, OPTIONS), expected, `${typed} ${next}`);
  }
});

const PLACES: [typed: string, hint: string | undefined][] = [
  ["1234", "use --port 1234"],
  ["65536", undefined],
  ["5", undefined],
  ["0.0.0.0", "use --host 0.0.0.0"],
  ["::1", "use --host ::1"],
  ["localhost:80", "use --host localhost --port 80"],
  ["[::1]:80", "use --host [::1] --port 80"],
  ["*", "use --host 0.0.0.0 for every IPv4 interface, --host :: for every one"],
  ["localhost", undefined],
  ["", undefined],
];

Deno.test("placeHint() says how to name an address or port", () => {
  for (const [typed, expected] of PLACES) assertEquals(placeHint(typed), expected, typed);
});
