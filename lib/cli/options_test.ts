import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { usage } from "./help.ts";
import { UsageError } from "./option.ts";
import type { Config } from "./options.ts";
import { parseConfig } from "./parse.ts";
import { bytesOf } from "../../tests/support/data.ts";
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
  framing: undefined,
  encoding: undefined,
  udpLines: false,
  maxLineBytes: 65536,
  flushAfterMs: 0,
  format: "text",
  time: "utc",
  color: "auto",
  output: undefined,
  tee: false,
  until: [],
  count: undefined,
  forMs: 0,
  rotateSizeBytes: undefined,
  rotateKeep: 5,
  names: [],
  namesFile: undefined,
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
  webHosts: [],
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
  ["-p 5000-5003 -p 7", { ports: [5000, 5001, 5002, 5003, 7] }],
  ["-p 1-1000", { ports: Array.from({ length: 1000 }, (_, i) => i + 1) }],
  ["-p 0-0", { ports: [0] }],
  ["--udp 5000-5001", { udpPorts: [5000, 5001], ports: [] }],
  ["--udp 239.1.2.3:5000 --udp 5", {
    udpPorts: [{ group: "239.1.2.3", port: 5000, interfaces: [] }, 5],
    ports: [],
  }],
  ["--udp [ff02::fb]:5353 --udp 224.0.0.1:0 -H 127.0.0.1 -H ::1", {
    hosts: ["127.0.0.1", "::1"],
    udpPorts: [
      { group: "ff02::fb", port: 5353, interfaces: ["::1"] },
      { group: "224.0.0.1", port: 0, interfaces: ["127.0.0.1"] },
    ],
    ports: [],
  }],
  ["--udp 514", { udpPorts: [514], ports: [] }],
  ["--udp 514 --udp=0 -p 514", { udpPorts: [514, 0], ports: [514] }],
  ["--udp 514 --unix s", { udpPorts: [514], unixPaths: ["s"], ports: [] }],
  ["-H 0.0.0.0", { hosts: ["0.0.0.0"] }],
  ["-H::", { hosts: ["::"] }],
  ["--host [::1] --host localhost", { hosts: ["::1", "localhost"] }],
  ["-H fe80::1%eth0", { hosts: ["fe80::1%eth0"] }],
  ["-u /run/a -u b", { unixPaths: ["/run/a", "b"], ports: [] }],
  ["-u/run/a -p 5", { unixPaths: ["/run/a"], ports: [5] }],
  ["-u @app", { unixPaths: ["@app"], ports: [] }],
  ["-u a,mode=0660", { unixPaths: [{ path: "a", mode: 0o660, type: "stream" }], ports: [] }],
  [
    "-u a,type=datagram,mode=600 -u @b,type=datagram",
    {
      unixPaths: [
        { path: "a", mode: 0o600, type: "datagram" },
        { path: "@b", type: "datagram" },
      ],
      ports: [],
    },
  ],
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
  ["--proxy-from unix -u a", { proxyFrom: ["unix"], unixPaths: ["a"], ports: [] }],
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
  ["--framing newline", { framing: "newline" }],
  ["--framing end:;", { framing: { kind: "end", end: bytesOf(";") } }],
  ["--framing end:, --framing end:\\x1c\\r", { framing: { kind: "end", end: bytesOf("\x1c\r") } }],
  ["--framing between:\\x0b,\\x1c\\r -f hex --max-line 9 --flush-after 1", {
    framing: { kind: "between", start: bytesOf("\x0b"), end: bytesOf("\x1c\r") },
    format: "hex",
    maxLineBytes: 9,
    flushAfterMs: 1000,
  }],
  ["--framing between:\\x2c,;", {
    framing: { kind: "between", start: bytesOf(","), end: bytesOf(";") },
  }],
  ["--framing length:2", {
    framing: { kind: "length", width: 2, isLittleEndian: false, offset: 0 },
  }],
  ["--framing length:4le-4", {
    framing: { kind: "length", width: 4, isLittleEndian: true, offset: -4 },
  }],
  ["--framing length:1+3 -f hexline", {
    framing: { kind: "length", width: 1, isLittleEndian: false, offset: 3 },
    format: "hexline",
  }],
  ["--encoding latin1", { encoding: "windows-1252" }],
  ["--encoding utf8 -f raw", { encoding: undefined, format: "raw" }],
  ["--encoding UTF-8", { encoding: undefined }],
  ["--encoding utf-16le --framing end:é", {
    encoding: "utf-16le",
    framing: { kind: "end", end: bytesOf("\xC3\xA9") },
  }],
  ["--unix s,type=datagram --udp-lines", {
    unixPaths: [{ path: "s", type: "datagram" }],
    udpLines: true,
    ports: [],
  }],
  ["--udp 1 --udp-lines", { udpPorts: [1], udpLines: true, ports: [] }],
  ["--name 192.0.2.7=pump --name fd00::/8=plant.1_a-B", {
    names: [
      { network: { address: "192.0.2.7", prefix: 32, family: "ipv4" }, name: "pump" },
      { network: FD00, name: "plant.1_a-B" },
    ],
  }],
  ["--names hosts", { namesFile: "hosts" }],
  ["--max-line 1", { maxLineBytes: 1 }],
  ["--max-line 67108864", { maxLineBytes: 67108864 }],
  ["--max-line 64k", { maxLineBytes: 65536 }],
  ["--max-line 64M", { maxLineBytes: 67108864 }],
  ["--flush-after .2", { flushAfterMs: 200 }],
  ["-f raw -f json", { format: "json" }],
  ["--format hex", { format: "hex" }],
  ["-t elapsed", { time: "elapsed" }],
  ["-t delta", { time: "delta" }],
  ["--until READY --until /ok/i --count 3 --for 2.5", {
    until: ["READY", "/ok/i"],
    count: 3,
    forMs: 2500,
  }],
  ["-o logs/%h.log --tee", { output: "logs/%h.log", tee: true }],
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
  ["--web 8080 --web-host Logs.example --web-host pump", {
    web: { host: "127.0.0.1", port: 8080 },
    webHosts: ["logs.example", "pump"],
  }],
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
const FIELDS =
  "is no field: use %h (name), %a (address), %n (number), %l (port), %Y %m %d %H or %%";
const KEPT = "expected an integer from 1 to 1000";
const PORT = "expected an integer from 0 to 65535, or a range such as 5000-5010";
const UDP = `${PORT}, or a multicast group such as 239.1.2.3:5000 or [ff02::fb]:5353`;
const FRAMING = "expected newline, nul, octet, any, syslog, none, end:<bytes>, " +
  "between:<start>,<end> or length:<1|2|4>[le][+n|-n]";
const LABEL =
  "expected a label of the Encoding Standard, such as latin1, shift_jis, gbk or utf-16le";
const NAMED = "expected an address or a network and a name, such as 192.0.2.7=pump; " +
  "names have 1 to 64 letters, digits, ., _ and -";
const ESCAPES = "use \\n, \\r, \\t, \\0, \\\\, \\xNN or \\u{N}";
const ADDRESS = "expected an address, such as 127.0.0.1, 0.0.0.0 or ::";
const COMMA = "expected a start and an end with one comma between; a comma is \\x2c";
const NETWORK = "expected an address or a network, such as 10.0.0.0/8 or fd00::/8";
const SECONDS = "expected a number of seconds, 0 for never";
const LINE = "expected a size in bytes from 1 to 64M, such as 4096, 64k or 10M";
const FILE = "expected a size in bytes from 1 to 1024G, such as 4096, 64k or 10M";
const PEM = "expected a file in PEM format";
const WEB_NAME = "expected a name without scheme and port, such as logs.example.com";
const WEB = "expected a port, alone or with a host, such as 8080, 0.0.0.0:8080 or [::1]:8080";

const BAD: [args: string[], message: string][] = [
  [["--nonsense", "1"], `Unknown option "--nonsense"`],
  [["--nonsense=1"], `Unknown option "--nonsense=1"`],
  [["-x"], `Unknown option "-x"`],
  [["-ex"], `Unknown option "-ex"`],

  [["-oa.log"], `Unknown option "-oa.log": did you mean -o a.log?`],
  // Each letter of the value is that of an option, too.
  [["-ofoo.log"], `Unknown option "-ofoo.log": did you mean -o foo.log?`],
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
  [
    ["--reply", "-ok"],
    'Option "--reply" needs a value: expected [pattern=>]answer; one that begins with "-" is ' +
    "joined: --reply=-ok",
  ],
  [["-p", "abc"], `Cannot use --port "abc": ${PORT}`],
  [["-p", "-1"], `Cannot use --port "-1": ${PORT}`],
  [["-p", "-0"], `Cannot use --port "-0": ${PORT}`],
  [["-p", "65536"], `Cannot use --port "65536": ${PORT}`],
  [["-p", "1.5"], `Cannot use --port "1.5": ${PORT}`],
  [["-p", "0x50"], `Cannot use --port "0x50": ${PORT}`],
  [["-p", "5\n"], `Cannot use --port "5\n": ${PORT}`],
  [["-p", "5", "-p", "x"], `Cannot use --port "x": ${PORT}`],
  [["--udp", "65536"], `Cannot use --udp "65536": ${UDP}`],
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
  [
    ["-u", "5140"],
    `Cannot use --unix "5140": it is for Unix sockets: use --udp 5140, or ./5140 for a file of that name`,
  ],
  [
    ["TCP-LISTEN:1234,fork", "STDOUT"],
    `Cannot use argument "TCP-LISTEN:1234,fork": use --port 1234`,
  ],
  [["UDP4-RECV:514"], `Cannot use argument "UDP4-RECV:514": use --udp 514`],
  [
    ["--sh-exec", "cat"],
    `Unknown option "--sh-exec": earshot runs no program: --reply answers, --forward relays`,
  ],
  [["--ssl"], `Unknown option "--ssl": use --tls-cert and --tls-key`],
  [["--tls"], `Unknown option "--tls": use --tls-cert and --tls-key`],
  [["--bind", "0.0.0.0"], `Unknown option "--bind": use --host`],
  ...[["-e", "CMD"], ["-qe", "CMD", "-p", "0"]].map((args): [string[], string] => [
    args,
    'Cannot use argument "CMD": earshot runs no program: --reply answers, --forward relays',
  ]),
  [["-p", "0", "-e", "/bin/cat"], 'Cannot use argument "/bin/cat": -e alone sends back what comes'],
  [["-e", "1234"], `Cannot use argument "1234": use --port 1234`],
  [["--echo", "CMD"], `Cannot use argument "CMD": only options are taken`],
  [["-C"], `Unknown option "-C": typed lines end in CR LF with --interactive --crlf`],
  [["-o", ""], `Option "--output" needs a value: expected the path of a file`],
  [["-o", "-f"], `Option "--output" needs a value: expected the path of a file`],
  [["-o", "log-%x.log"], `Cannot use --output "log-%x.log": "%x" ${FIELDS}`],
  [["-o", "50%.log"], `Cannot use --output "50%.log": "%." ${FIELDS}`],
  [["-o", "%h/"], `Cannot use --output "%h/": a file needs a name, such as %h.log`],
  [["-o", "%h/.."], `Cannot use --output "%h/..": a file needs a name, such as %h.log`],
  [["-o", "%h/."], `Cannot use --output "%h/.": a file needs a name, such as %h.log`],
  [["--tls-cert"], `Option "--tls-cert" needs a value: ${PEM}`],
  [["--tls-client-ca"], `Option "--tls-client-ca" needs a value: ${PEM}`],
  [["--backlog", "0"], `Cannot use --backlog "0": ${COUNT}`],
  [["-m", "2147483648"], `Cannot use --max-connections "2147483648": ${COUNT}`],
  [["--max-per-host", "0"], `Cannot use --max-per-host "0": ${COUNT}`],
  [
    ["--until", "/(/"],
    `Cannot use --until "/(/": Invalid regular expression: /(/: Unterminated group`,
  ],
  [["--until", "a\\q"], `Cannot use --until "a\\q": "\\q" is no escape: ${ESCAPES}`],
  [["--until"], `Option "--until" needs a value: expected text or /regex/`],
  [["--count", "0"], `Cannot use --count "0": ${COUNT}`],
  [["--for", "5m"], `Cannot use --for "5m": it is in seconds, use 300`],
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
  [["-p", "80,443"], `Cannot use --port "80,443": use --port 80 --port 443`],
  [["-p", "0.0.0.0:25151"], `Cannot use --port "0.0.0.0:25151": use --host 0.0.0.0 --port 25151`],
  [["-p", "[::]:514"], `Cannot use --port "[::]:514": use --host :: --port 514`],
  [["-p", "localhost:80"], `Cannot use --port "localhost:80": use --host localhost --port 80`],
  [["-p", "1.2.3.4:65536"], `Cannot use --port "1.2.3.4:65536": ${PORT}`],
  [["--udp", "5000:5010"], `Cannot use --udp "5000:5010": use 5000-5010`],
  [["-i", "5m"], `Cannot use --idle-timeout "5m": it is in seconds, use 300`],
  [["--max-line", "10MB"], `Cannot use --max-line "10MB": use 10M`],
  [["--format", "JSON"], `Cannot use --format "JSON": use json`],
  [
    ["--allow", "localhost"],
    `Cannot use --allow "localhost": use 127.0.0.0/8, and ::1 beside it for IPv6`,
  ],
  [["--deny", "192.168.1.*"], `Cannot use --deny "192.168.1.*": use 192.168.1.0/24`],
  [["--deny", "10.*.*.*"], `Cannot use --deny "10.*.*.*": use 10.0.0.0/8`],
  [
    ["--web", "http://localhost:8080"],
    `Cannot use --web "http://localhost:8080": use localhost:8080`,
  ],
  [["--no-color"], `Unknown option "--no-color": use --color never`],
  [["-d"], `Unknown option "-d": it stays in the foreground: leave that to systemd, or to &`],
  [["-ofile"], `Unknown option "-ofile": did you mean -o file?`],
  [["localhost", "1234"], `Cannot use argument "localhost": use --host localhost --port 1234`],
  [["-p", "0-5"], `Cannot use --port "0-5": a range begins at 1 at least, 0 is any free port`],
  [["-p", "9-5"], `Cannot use --port "9-5": a range goes upwards: 5-9`],
  [["-p", "1-1001"], `Cannot use --port "1-1001": a range has at most 1,000 ports`],
  [["-p", "5-65536"], `Cannot use --port "5-65536": a range has at most 1,000 ports`],
  [["--udp", "65000-65536"], `Cannot use --udp "65000-65536": ${UDP}`],
  [
    ["--udp", "10.0.0.1:5"],
    `Cannot use --udp "10.0.0.1:5": that is no multicast group: use --host 10.0.0.1 --udp 5`,
  ],
  [["--udp", "239.1.2.3"], `Cannot use --udp "239.1.2.3": use --udp 239.1.2.3:5000`],
  [["--udp", "ff02::fb"], `Cannot use --udp "ff02::fb": use --udp [ff02::fb]:5000`],
  [["--framing", "lf"], `Cannot use --framing "lf": use newline, which takes both LF and CRLF`],
  [["--framing", "CRLF"], `Cannot use --framing "CRLF": use newline, which takes both LF and CRLF`],
  [
    ["--framing", "cr"],
    `Cannot use --framing "cr": use any, which ends lines at LF, CRLF and CR`,
  ],
  [["--framing", "line:"], `Cannot use --framing "line:": ${FRAMING}`],
  [["--framing", "end:"], `Cannot use --framing "end:": a mark has 1 to 16 bytes, this 0`],
  [
    ["--framing", "end:12345678901234567"],
    `Cannot use --framing "end:12345678901234567": a mark has 1 to 16 bytes, this 17`,
  ],
  [
    ["--framing", "end:\\q"],
    `Cannot use --framing "end:\\q": "\\q" is no escape: ${ESCAPES}`,
  ],
  [
    ["--framing", "between:a"],
    `Cannot use --framing "between:a": ${COMMA}`,
  ],
  [["--framing", "between:a,b,c"], `Cannot use --framing "between:a,b,c": ${COMMA}`],
  [
    ["--framing", "between:,b"],
    `Cannot use --framing "between:,b": a mark has 1 to 16 bytes, this 0`,
  ],
  [["--framing", "length:3"], `Cannot use --framing "length:3": ${FRAMING}`],
  [["--framing", "length:2be"], `Cannot use --framing "length:2be": ${FRAMING}`],
  [["--framing", "length:2-"], `Cannot use --framing "length:2-": ${FRAMING}`],
  [["--encoding", "klingon"], `Cannot use --encoding "klingon": ${LABEL}`],
  [["--name", "pump"], `Cannot use --name "pump": ${NAMED}`],
  [["--name", "pump=10.0.0.1"], `Cannot use --name "pump=10.0.0.1": ${NAMED}`],
  [["--name", "10.0.0.1="], `Cannot use --name "10.0.0.1=": ${NAMED}`],
  [["--name", "10.0.0.1=a b"], `Cannot use --name "10.0.0.1=a b": ${NAMED}`],
  [["-f", "xml"], `Cannot use --format "xml": expected text, json, raw, hex or hexline`],
  [["-t", "gmt"], `Cannot use --time "gmt": expected utc, local, elapsed, delta or none`],
  [["--color", "yes"], `Cannot use --color "yes": expected auto, always or never`],
  [["--multiplexer", "epoll"], `Cannot use --multiplexer "epoll": expected poll or select`],
  [["--allow", "10.0.0.0/33"], `Cannot use --allow "10.0.0.0/33": ${NETWORK}`],
  [["--allow", "example.org"], `Cannot use --allow "example.org": ${NETWORK}`],
  [["--allow", "fe80::1%eth0"], `Cannot use --allow "fe80::1%eth0": ${NETWORK}`],
  [["--deny", "10.0.0.0/"], `Cannot use --deny "10.0.0.0/": ${NETWORK}`],
  [["--deny", "::ffff:10.0.0.0/90"], `Cannot use --deny "::ffff:10.0.0.0/90": ${NETWORK}`],
  [["--proxy-from", "haproxy"], `Cannot use --proxy-from "haproxy": ${NETWORK}, or unix`],
  [["--allow", "unix"], `Cannot use --allow "unix": ${NETWORK}`],
  ...[
    ...[",mode=0660", "@", "@,type=stream", "a,", "a,mode=8", "a,mode=01660", "a,mode=66"],
    ...["a,mode=0660,mode=0600", "a,type=seqpacket", "a,b", "a,mode", "@a,mode=0600"],
  ].map((socket): [string[], string] => [
    ["--unix", socket],
    `Cannot use --unix "${socket}": expected a path or @name, and perhaps ,mode=0660 or ` +
    ",type=datagram behind it",
  ]),
  [["--web", "localhost"], `Cannot use --web "localhost": ${WEB}`],
  [["--web", "::1:8080"], `Cannot use --web "::1:8080": ${WEB}`],
  [["--web", ":8080"], `Cannot use --web ":8080": ${WEB}`],
  [["--web", "8080", "--web", "65536"], `Cannot use --web "65536": ${WEB}`],
  ...["http://pump", "pump:8080", "*.pump", "pump/", "a b"].map((name): [string[], string] => [
    ["--web", "8080", "--web-host", name],
    `Cannot use --web-host "${name}": ${WEB_NAME}`,
  ]),
  [["--web-host", "pump"], "--web-host is for the page: add --web"],
  [["--web="], `Option "--web" needs a value: ${WEB}`],
];

const TLS = ["--tls-cert", "c", "--tls-key", "k"];
const READS = "it takes reads as they come";
const UTF16 = ["--encoding", "utf-16le"];

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
  [
    ["--max-line", "65536", "-f", "hex"],
    "--max-line does not go with --format hex, which takes reads as they come: add --framing",
  ],
  [
    ["--flush-after", "1", "-f", "hexline"],
    "--flush-after does not go with --format hexline, which takes reads as they come: add --framing",
  ],
  [
    ["--encoding", "gbk", "-f", "hexline"],
    "--encoding does not go with --format hexline: it shows bytes, not text",
  ],
  [
    ["--encoding", "gbk", "-f", "raw"],
    "--encoding does not go with --format raw: it shows bytes, not text",
  ],
  ...["octet", "syslog", "length:2"].map((framing): typeof BAD[number] => [
    [...UTF16, "--framing", framing],
    "--encoding utf-16le does not go with a --framing that counts bytes",
  ]),
  [
    [...UTF16, "--framing", "end:\\xff"],
    "--framing needs text with --encoding utf-16le, such as end:; or end:\\u{e9}",
  ],
  [["--udp-lines"], "--udp-lines is for datagrams: add --udp"],
  [
    ["--udp", "5", "--udp-lines", "-f", "hex"],
    "--udp-lines does not go with --format hex: it has datagrams whole",
  ],
  [
    ["-H", "239.255.255.250", "--udp", "1900"],
    "--host takes no multicast group: use --udp 239.255.255.250:1900",
  ],
  [["-H", "ff02::fb"], "--host takes no multicast group: use --udp [ff02::fb]:5000"],
  [["-f", "raw", "--flush-after", "0"], `--flush-after does not go with --format raw: ${READS}`],
  [["--rotate-size", "1M"], "--rotate-size is for a file: name one with --output"],
  [["--tee"], "--tee is for a file: name one with --output"],
  [["--tee", "-o", "-"], "--tee is for a file: name one with --output"],
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
    ...["-p, --port <n>", "--udp <port>", "-H, --host <address>", "-u, --unix <path>"],
    ...["--tls-cert <file>", "--tls-key <file>", "--tls-client-ca <file>", "--backlog <n>"],
    ...["--reuse-port", "-m, --max-connections <n>", "--max-per-host <n>", "--proxy-from <cidr>"],
    ...["--allow <cidr>", "--deny <cidr>", "-i, --idle-timeout <s>", "--framing <kind>"],
    ...["--encoding <label>", "--udp-lines"],
    ...["--max-line <bytes>", "--flush-after <s>", "-f, --format <kind>", "-t, --time <kind>"],
    ...["--color <when>", "-o, --output <file>", "--tee", "--rotate-size <bytes>"],
    "--rotate-keep <n>",
    ...["--name <address>=<name>", "--names <file>"],
    ...["-q, --quiet", "-I, --interactive", "--crlf", "--escapes", "--greet <text>"],
    ...["--reply <rule>", "--forward <target>", "--forward-ca <file>", "-e, --echo"],
    ...["--until <pattern>", "--count <n>", "--for <s>", "--web <[host:]port>"],
    "--web-host <name>",
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
    ...[
      ["idle-timeout", "0"],
      ["framing", "newline"],
      ["encoding", "utf-8"],
      ["max-line", "65536"],
      ["flush-after", "0"],
    ],
    ...[["format", "text"], ["time", "utc"], ["color", "auto"], ["rotate-keep", "5"], ["for", "0"]],
    ...[["stats", "0"], ["multiplexer", "poll"]],
  ]);
  const needed = ["--output=f", "--rotate-size=1"];
  const given = defaults.map((row) => `--${row.name}=${row.default}`);
  // What is not given depends on the format there.
  const expected = parseConfig([...needed, "--framing=newline"]);
  assertEquals(parseConfig([...needed, ...given]), expected);
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
