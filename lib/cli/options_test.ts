import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { type Config, parseConfig, usage, UsageError } from "./options.ts";
import { READ } from "../../tests/support/needs.ts";

Deno.test.sanitizer({ ops: true, resources: true });

// -- parseConfig() --

const DEFAULT_CONFIG: Config = {
  ports: [1234],
  udpPorts: [],
  hosts: ["127.0.0.1"],
  unixPaths: [],
  tlsCert: undefined,
  tlsKey: undefined,
  tlsClientCa: undefined,
  backlog: 4096,
  reusePort: false,
  maxConnections: 1000,
  maxPerHost: undefined,
  proxyFrom: [],
  allow: [],
  deny: [],
  idleTimeoutMs: 0,
  framing: "newline",
  maxLineBytes: 65536,
  flushAfterMs: 0,
  format: "text",
  time: "utc",
  color: "auto",
  output: undefined,
  rotateSizeBytes: undefined,
  rotateKeep: 5,
  quiet: false,
  interactive: false,
  crlf: false,
  escapes: false,
  greet: new Uint8Array(0),
  replies: [],
  forward: undefined,
  forwardCa: undefined,
  echo: false,
  web: undefined,
  statsMs: 0,
  multiplexer: "poll",
};

const TEN = { address: "10.0.0.0", prefix: 8, family: "ipv4" } as const;
const FD00 = { address: "fd00::", prefix: 8, family: "ipv6" } as const;

const GOOD: [args: string, expected: Partial<Config>][] = [
  ["", {}],
  ["--", {}],
  ["-p 5140", { ports: [5140] }],
  ["--port=0", { ports: [0] }],
  ["-p65535", { ports: [65535] }],
  ["-p=1", { ports: [1] }],
  ["-p 1 --port 2 -p 1", { ports: [1, 2, 1] }],
  ["--udp 514", { udpPorts: [514], ports: [] }],
  ["--udp 514 --udp=0 -p 514", { udpPorts: [514, 0], ports: [514] }],
  ["--udp 514 --unix s", { udpPorts: [514], unixPaths: ["s"], ports: [] }],
  ["-H 0.0.0.0", { hosts: ["0.0.0.0"] }],
  ["-H::", { hosts: ["::"] }],
  ["--host [::1] --host localhost", { hosts: ["::1", "localhost"] }],
  ["-H fe80::1%eth0", { hosts: ["fe80::1%eth0"] }],
  ["-u /run/a -u b", { unixPaths: ["/run/a", "b"], ports: [] }],
  ["-u/run/a -p 5", { unixPaths: ["/run/a"], ports: [5] }],
  ["--tls-cert c.pem --tls-key k.pem", { tlsCert: "c.pem", tlsKey: "k.pem" }],
  [
    "--tls-cert c --tls-key k --tls-client-ca ca -u s -p 1",
    { tlsCert: "c", tlsKey: "k", tlsClientCa: "ca", unixPaths: ["s"], ports: [1] },
  ],
  ["--backlog 1", { backlog: 1 }],
  ["--reuse-port", { reusePort: true }],
  ["--reuse-port --udp 1 -p 2", { reusePort: true, udpPorts: [1], ports: [2] }],
  ["-m 2147483647", { maxConnections: 2147483647 }],
  ["--max-connections 1", { maxConnections: 1 }],
  ["--max-per-host 1", { maxPerHost: 1 }],
  ["--proxy-from 10.0.0.0/8 --proxy-from fd00::/8", { proxyFrom: [TEN, FD00] }],
  ["--allow 10.0.0.0/8 --allow fd00::/8", { allow: [TEN, FD00] }],
  ["--deny ::ffff:10.0.0.0/104", { deny: [TEN] }],
  ["--deny 10.1.2.3", { deny: [{ address: "10.1.2.3", prefix: 32, family: "ipv4" }] }],
  ["-i 30", { idleTimeoutMs: 30_000 }],
  ["-i.5", { idleTimeoutMs: 500 }],
  ["--idle-timeout 0.0001", { idleTimeoutMs: 1 }],
  ["--framing nul", { framing: "nul" }],
  ["--framing octet", { framing: "octet" }],
  ["--framing any", { framing: "any" }],
  ["--framing syslog", { framing: "syslog" }],
  ["--framing none", { framing: "none" }],
  ["--max-line 1", { maxLineBytes: 1 }],
  ["--max-line 67108864", { maxLineBytes: 67108864 }],
  ["--max-line 64k", { maxLineBytes: 65536 }],
  ["--max-line 64M", { maxLineBytes: 67108864 }],
  ["--flush-after .2", { flushAfterMs: 200 }],
  ["-f raw -f json", { format: "json" }],
  ["--format hex", { format: "hex" }],
  ["-t elapsed", { time: "elapsed" }],
  ["--time local --time none", { time: "none" }],
  ["--color never", { color: "never" }],
  ["--color x --color always", { color: "always" }],
  ["-o all.log", { output: "all.log" }],
  ["-o all.log --output -", { output: undefined }],
  ["--output=-f", { output: "-f" }],
  ["-o f --rotate-size 1G", { output: "f", rotateSizeBytes: 1024 ** 3 }],
  ["-o f --rotate-size 10M --rotate-keep 1", {
    output: "f",
    rotateSizeBytes: 10485760,
    rotateKeep: 1,
  }],
  ["--quiet", { quiet: true }],
  ["--interactive", { interactive: true }],
  ["-I --crlf", { interactive: true, crlf: true }],
  ["-I --escapes", { interactive: true, escapes: true }],
  ["--greet hi\\r\\n", { greet: Uint8Array.of(104, 105, 13, 10) }],
  ["--reply \\x06 --reply=/^a/i=>$1", { replies: ["\\x06", "/^a/i=>$1"] }],
  ["--forward 10.0.0.5:80", { forward: { host: "10.0.0.5", port: 80, isTls: false } }],
  ["--forward [::1]:80", { forward: { host: "::1", port: 80, isTls: false } }],
  ["--forward tls://db.example:443 --forward-ca ca.pem", {
    forward: { host: "db.example", port: 443, isTls: true },
    forwardCa: "ca.pem",
  }],
  ["-eq", { echo: true, quiet: true }],
  ["-eqp 7", { echo: true, quiet: true, ports: [7] }],
  ["-eqp7", { echo: true, quiet: true, ports: [7] }],
  ["--echo --echo", { echo: true }],
  ["--web 8080", { web: { host: "127.0.0.1", port: 8080 } }],
  ["--web 0.0.0.0:0", { web: { host: "0.0.0.0", port: 0 } }],
  ["--web [::1]:8080", { web: { host: "::1", port: 8080 } }],
  ["--web x --web localhost:1", { web: { host: "localhost", port: 1 } }],
  ["--stats 2.5", { statsMs: 2500 }],
  ["--multiplexer select", { multiplexer: "select" }],
];

Deno.test("parseConfig() takes every option", () => {
  for (const [args, expected] of GOOD) {
    const actual = parseConfig(args.split(" ").filter(Boolean));
    assertEquals(actual, { ...DEFAULT_CONFIG, ...expected }, args);
  }
  const tried = GOOD.map(([args]) => args).join(" ");
  const options = rows().map(({ name }) => name).filter((name) => !/^(help|version)$/.test(name));
  assertEquals(options.filter((name) => !new RegExp(`--${name}\\b(?!-)`).test(tried)), []);
});

const COUNT = "expected an integer from 1 to 2147483647";
const KEPT = "expected an integer from 1 to 1000";
const PORT = "expected an integer from 0 to 65535";
const ADDRESS = "expected an address, such as 127.0.0.1, 0.0.0.0 or ::";
const NETWORK = "expected an address or a network, such as 10.0.0.0/8 or fd00::/8";
const SECONDS = "expected a number of seconds, 0 for never";
const LINE = "expected a size in bytes from 1 to 64M, such as 4096, 64k or 10M";
const FILE = "expected a size in bytes from 1 to 1024G, such as 4096, 64k or 10M";
const PEM = "expected a file in PEM format";
const WEB = "expected a port, alone or with a host, such as 8080, 0.0.0.0:8080 or [::1]:8080";

const BAD: [args: string[], message: string][] = [
  [["--nonsense", "1"], `Unknown option "--nonsense"`],
  [["--nonsense=1"], `Unknown option "--nonsense=1"`],
  [["-x"], `Unknown option "-x"`],
  [["-ex"], `Unknown option "-ex"`],
  [["-ofile"], `Unknown option "-ofile"`],
  [["-oa.log"], `Unknown option "-oa.log"`],
  [["-5"], `Unknown option "-5"`],
  [["--q"], `Unknown option "--q"`],
  [["--no-echo"], `Unknown option "--no-echo"`],
  [["--constructor"], `Unknown option "--constructor"`],
  [["--__proto__", "x"], `Unknown option "--__proto__"`],
  [["-_"], `Unknown option "-_"`],
  [["--_", "x"], `Unknown option "--_"`],
  [["--=x"], `Unknown option "--=x"`],
  [["---"], `Unknown option "---"`],
  [["--quite"], `Unknown option "--quite": did you mean --quiet?`],
  [["stray"], `Cannot use argument "stray": only options are taken`],
  [["-"], `Cannot use argument "-": only options are taken`],
  [[""], `Cannot use argument "": only options are taken`],
  [["--", "stray"], `Cannot use argument "stray": only options are taken`],
  [["--", "--help"], `Cannot use argument "--help": only options are taken`],
  [["-p", "1", "2"], `Cannot use argument "2": only options are taken`],
  [["1234"], `Cannot use argument "1234": use --port 1234`],
  [["--echo", "no"], `Cannot use argument "no": only options are taken`],
  [["--echo", "true"], `Cannot use argument "true": only options are taken`],
  [["--echo=no"], `Option "--echo" takes no value: got "no"`],
  [["--echo="], `Option "--echo" takes no value: got ""`],
  [["-q5"], `Option "--quiet" takes no value: got "5"`],
  [["-e=5"], `Option "--echo" takes no value: got "5"`],
  [["-eq/x"], `Option "--quiet" takes no value: got "/x"`],
  [["-eqp7q"], `Cannot use --port "7q": ${PORT}`],
  [["--version=1"], `Option "--version" takes no value: got "1"`],
  [["--help=no"], `Option "--help" takes no value: got "no"`],
  [["-pe", "5"], `Option "--port" needs a value: ${PORT}`],
  [["--port"], `Option "--port" needs a value: ${PORT}`],
  [["--port="], `Option "--port" needs a value: ${PORT}`],
  [["-p="], `Option "--port" needs a value: ${PORT}`],
  [["-p", ""], `Option "--port" needs a value: ${PORT}`],
  [["-p", "--echo"], `Option "--port" needs a value: ${PORT}`],
  [["-p", "-e"], `Option "--port" needs a value: ${PORT}`],
  [["-p", "abc"], `Cannot use --port "abc": ${PORT}`],
  [["-p", "-1"], `Cannot use --port "-1": ${PORT}`],
  [["-p", "-0"], `Cannot use --port "-0": ${PORT}`],
  [["-p", "65536"], `Cannot use --port "65536": ${PORT}`],
  [["-p", "1.5"], `Cannot use --port "1.5": ${PORT}`],
  [["-p", "0x50"], `Cannot use --port "0x50": ${PORT}`],
  [["-p", "5\n"], `Cannot use --port "5\n": ${PORT}`],
  [["-p", "5", "-p", "x"], `Cannot use --port "x": ${PORT}`],
  [["--udp", "65536"], `Cannot use --udp "65536": ${PORT}`],
  [["-H", ""], `Option "--host" needs a value: ${ADDRESS}`],
  [["-H", "[::1"], `Cannot use --host "[::1": ${ADDRESS}`],
  [["-H", "10.0.0.0/8"], `Cannot use --host "10.0.0.0/8": ${ADDRESS}`],
  [
    ["--host", "*"],
    `Cannot use --host "*": use --host 0.0.0.0 for every IPv4 interface, --host :: for every one`,
  ],
  [["--host", "5140"], `Cannot use --host "5140": use --port 5140`],
  [["--host", "[::]:80"], `Cannot use --host "[::]:80": use --host [::] --port 80`],
  [["-u"], `Option "--unix" needs a value: expected the path of a socket`],
  [["-o", ""], `Option "--output" needs a value: expected the path of a file`],
  [["-o", "-f"], `Option "--output" needs a value: expected the path of a file`],
  [["--tls-cert"], `Option "--tls-cert" needs a value: ${PEM}`],
  [["--tls-client-ca"], `Option "--tls-client-ca" needs a value: ${PEM}`],
  [["--backlog", "0"], `Cannot use --backlog "0": ${COUNT}`],
  [["-m", "2147483648"], `Cannot use --max-connections "2147483648": ${COUNT}`],
  [["--max-per-host", "0"], `Cannot use --max-per-host "0": ${COUNT}`],
  [["--rotate-keep", "0"], `Cannot use --rotate-keep "0": ${KEPT}`],
  [["--rotate-keep", "1001"], `Cannot use --rotate-keep "1001": ${KEPT}`],
  [["--max-line", "0"], `Cannot use --max-line "0": ${LINE}`],
  [["--max-line", "67108865"], `Cannot use --max-line "67108865": ${LINE}`],
  [["--max-line", "65M"], `Cannot use --max-line "65M": ${LINE}`],
  [["--max-line", "1.5M"], `Cannot use --max-line "1.5M": ${LINE}`],
  [["--rotate-size", "0k"], `Cannot use --rotate-size "0k": ${FILE}`],
  [["--rotate-size", "1T"], `Cannot use --rotate-size "1T": ${FILE}`],
  [["-i", "1e3"], `Cannot use --idle-timeout "1e3": ${SECONDS}`],
  [["-i", "-5"], `Cannot use --idle-timeout "-5": ${SECONDS}`],
  [["--flush-after", "x"], `Cannot use --flush-after "x": ${SECONDS}`],
  [["--stats", "soon"], `Cannot use --stats "soon": ${SECONDS}`],
  [
    ["--framing", "lf"],
    `Cannot use --framing "lf": expected newline, nul, octet, any, syslog or none`,
  ],
  [["-f", "xml"], `Cannot use --format "xml": expected text, json, raw or hex`],
  [["-t", "gmt"], `Cannot use --time "gmt": expected utc, local, elapsed or none`],
  [["--color", "yes"], `Cannot use --color "yes": expected auto, always or never`],
  [["--multiplexer", "epoll"], `Cannot use --multiplexer "epoll": expected poll or select`],
  [["--allow", "10.0.0.0/33"], `Cannot use --allow "10.0.0.0/33": ${NETWORK}`],
  [["--allow", "example.org"], `Cannot use --allow "example.org": ${NETWORK}`],
  [["--allow", "fe80::1%eth0"], `Cannot use --allow "fe80::1%eth0": ${NETWORK}`],
  [["--deny", "10.0.0.0/"], `Cannot use --deny "10.0.0.0/": ${NETWORK}`],
  [["--deny", "::ffff:10.0.0.0/90"], `Cannot use --deny "::ffff:10.0.0.0/90": ${NETWORK}`],
  [["--proxy-from", "haproxy"], `Cannot use --proxy-from "haproxy": ${NETWORK}`],
  [["--web", "localhost"], `Cannot use --web "localhost": ${WEB}`],
  [["--web", "::1:8080"], `Cannot use --web "::1:8080": ${WEB}`],
  [["--web", ":8080"], `Cannot use --web ":8080": ${WEB}`],
  [["--web", "8080", "--web", "65536"], `Cannot use --web "65536": ${WEB}`],
  [["--web="], `Option "--web" needs a value: ${WEB}`],
];

const TLS = ["--tls-cert", "c", "--tls-key", "k"];
const ESCAPES = "use \\n, \\r, \\t, \\0, \\\\, \\xNN or \\u{N}";
const READS = "it takes reads as they come";

const EXCLUDED: typeof BAD = [
  [["--tls-cert", "c"], "--tls-cert and --tls-key go together: give both or neither"],
  [["--tls-key", "k"], "--tls-cert and --tls-key go together: give both or neither"],
  [
    ["--tls-client-ca", "ca"],
    "--tls-client-ca needs a certificate: add --tls-cert and --tls-key",
  ],
  [["-u", "s", ...TLS], "--tls-cert is for TCP ports: add --port"],
  [["--udp", "5", ...TLS], "--tls-cert is for TCP ports: add --port"],
  [["-u", "s", "--reuse-port"], "--reuse-port is for TCP ports: add --port"],
  [["--udp", "5", "--reuse-port"], "--reuse-port is for TCP ports: add --port"],
  [["--framing", "nul", "-f", "raw"], `--framing does not go with --format raw: ${READS}`],
  [["--max-line", "65536", "-f", "hex"], `--max-line does not go with --format hex: ${READS}`],
  [["-f", "raw", "--flush-after", "0"], `--flush-after does not go with --format raw: ${READS}`],
  [["--rotate-size", "1M"], "--rotate-size is for a file: name one with --output"],
  [["--rotate-size", "1M", "-o", "-"], "--rotate-size is for a file: name one with --output"],
  [["-o", "f", "--rotate-keep", "5"], "--rotate-keep is for files that rotate: add --rotate-size"],
  [["--rotate-keep", "5"], "--rotate-keep is for files that rotate: add --rotate-size"],
  [["--crlf"], "--crlf is for lines that are typed: add --interactive"],
  [["--escapes"], "--escapes is for lines that are typed: add --interactive"],
  [
    ["-I", "--crlf", "--escapes"],
    "--crlf does not go with --escapes: lines end as they are typed",
  ],
  [["--greet", "a\\q"], `Cannot use --greet "a\\q": "\\q" is no escape: ${ESCAPES}`],
  [["--reply", "a=>\\x1"], `Cannot use --reply "a=>\\x1": "\\x1" is no escape: ${ESCAPES}`],
  [
    ["--reply", "/(/=>x"],
    'Cannot use --reply "/(/=>x": Invalid regular expression: /(/: Unterminated group',
  ],
  ...["80", "host", "host:0", "host:65536", ":80", "http://host:80", "tls://", "::1:80"].map(
    (target): [string[], string] => [
      ["--forward", target],
      `Cannot use --forward "${target}": expected host:port or tls://host:port, ` +
      "such as 10.0.0.5:80 or [::1]:80",
    ],
  ),
  [["--forward", "a:1", "--udp", "1"], "--forward is for connections: add --port"],
  ...[["--echo"], ["--greet", "x"], ["--reply", "x"]].map((option): [string[], string] => [
    ["--forward", "a:1", ...option],
    `${option[0]} does not go with --forward: the target answers`,
  ]),
  [
    ["--forward", "a:1", "--forward-ca", "f"],
    "--forward-ca is for a target that speaks TLS: --forward tls://...",
  ],
  [["--forward-ca", "f"], "--forward-ca is for a target that speaks TLS: --forward tls://..."],
];

for (const [args, message] of [...BAD, ...EXCLUDED]) {
  Deno.test(`parseConfig() says what is right when given ${JSON.stringify(args)}`, () => {
    const error = assertThrows(() => parseConfig(args), UsageError);
    assertEquals(error.message, message);
  });
}

Deno.test("parseConfig() names the first of several problems", () => {
  const error = assertThrows(() => parseConfig(["-x", "stray", "-p", "abc"]), UsageError);
  assertEquals(error.message, `Unknown option "-x"`);
});

Deno.test("parseConfig() lets --help and --version win over everything else", () => {
  for (const wrong of ["--nonsense", "stray", "--port=abc", "--tls-cert=c", "--echo=no", "-u"]) {
    assertEquals(parseConfig([wrong, "-h"]), "help", wrong);
    assertEquals(parseConfig(["-qh", wrong]), "help", wrong);
    assertEquals(parseConfig([wrong, "--version"]), "version", wrong);
  }
  assertEquals(parseConfig(["-V", "--help"]), "help");
});

Deno.test("parseConfig() leaves its arguments as they are", () => {
  const args = ["-p", "1", "--echo"];
  parseConfig(args);
  assertEquals(args, ["-p", "1", "--echo"]);
});

// -- usage() --

interface Row {
  readonly synopsis: string;
  readonly name: string;
  readonly default: string | undefined;
}

/** What usage() says of each option. */
function rows(): Row[] {
  const blocks = usage().split(/^ {2}(?=-\w, --| {4}--)/m).slice(1);
  return blocks.map((block) => {
    const text = block.replace(/\n\n[^]*/, "");
    const [, synopsis = "", name = ""] = /^ *((?:-\w, )?--([a-z-]+)(?: <\S+>)?) /.exec(text) ?? [];
    return { synopsis, name, default: /\(default (\S+)\)\n?$/.exec(text)?.[1] };
  });
}

Deno.test("usage() lists every option", () => {
  assertEquals(rows().map(({ synopsis }) => synopsis), [
    ...["-p, --port <n>", "--udp <n>", "-H, --host <address>", "-u, --unix <path>"],
    ...["--tls-cert <file>", "--tls-key <file>", "--tls-client-ca <file>", "--backlog <n>"],
    ...["--reuse-port", "-m, --max-connections <n>", "--max-per-host <n>", "--proxy-from <cidr>"],
    ...["--allow <cidr>", "--deny <cidr>", "-i, --idle-timeout <s>", "--framing <kind>"],
    ...["--max-line <bytes>", "--flush-after <s>", "-f, --format <kind>", "-t, --time <kind>"],
    ...["--color <when>", "-o, --output <file>", "--rotate-size <bytes>", "--rotate-keep <n>"],
    ...["-q, --quiet", "-I, --interactive", "--crlf", "--escapes", "--greet <text>"],
    ...["--reply <rule>", "--forward <target>", "--forward-ca <file>", "-e, --echo"],
    "--web <[host:]port>",
    ...["--stats <s>", "--multiplexer <kind>", "-h, --help", "-V, --version"],
  ]);
});

Deno.test("usage() fits 100 columns", () => {
  assertEquals(usage().split("\n").filter((line) => line.length > 100), []);
});

Deno.test("usage() names the defaults that parseConfig() takes", () => {
  const defaults = rows().filter((row) => row.default !== undefined);
  assertEquals(defaults.map((row) => [row.name, row.default]), [
    ...[["port", "1234"], ["host", "127.0.0.1"], ["backlog", "4096"], ["max-connections", "1000"]],
    ...[["idle-timeout", "0"], ["framing", "newline"], ["max-line", "65536"], ["flush-after", "0"]],
    ...[["format", "text"], ["time", "utc"], ["color", "auto"], ["rotate-keep", "5"]],
    ...[["stats", "0"], ["multiplexer", "poll"]],
  ]);
  const needed = ["--output=f", "--rotate-size=1"];
  const given = defaults.map((row) => `--${row.name}=${row.default}`);
  assertEquals(parseConfig([...needed, ...given]), parseConfig(needed));
});

Deno.test("usage() gives examples that parseConfig() takes", () => {
  const examples = [...usage().matchAll(/^ {2}earshot (.*?)(?: \|| {2})/gm)];
  assert(examples.length >= 3);
  for (const [, args = ""] of examples) parseConfig(args.split(" "));
});

Deno.test("usage() says which permissions of Deno the options need", () => {
  assertMatch(
    usage().replaceAll("\n", " "),
    /--allow-read for --unix, --tls-cert, .*--forward-ca; --allow-write for --unix, --output/,
  );
});

// -- README --

const README = new URL("../../README.md", import.meta.url);
const NO_DEFAULTS = ["", "off", "all", "none", "stdout"];

Deno.test({
  ...READ,
  name: "README lists every option of usage() with the same default",
  fn() {
    const text = Deno.readTextFileSync(README);
    const listed = [...text.matchAll(/^\| (`-.+?) +\| (.*?) *\|/gm)].flatMap((
      [, options = "", value = ""],
    ) => [...options.matchAll(/`(-.+?)`/g)].map(([, synopsis = ""]) => [synopsis, value]));
    assertEquals(
      listed.map(([synopsis]) => synopsis).sort(),
      rows().map(({ synopsis }) => synopsis).sort(),
    );
    const values = new Map(listed as [string, string][]);
    for (const row of rows()) {
      const value = values.get(row.synopsis) ?? "";
      const expected = row.default ?? NO_DEFAULTS.find((none) => none === value);
      assertEquals(value, expected, row.synopsis);
    }
  },
});
