// The picture of the README, from a real run:
//   deno run -A bench/terminal.ts > docs/terminal.svg
//
// Two devices talk to a server as on a terminal: one is answered by a rule, the other never ends
// its lines until its hint is followed. What the server printed, colours included, becomes SVG
// text, as `deno fmt` wants it. Only the ports are put in place of the real ones, and the time of
// the first record, so that two runs differ little.

import { parseConfig, type Server, startServer } from "../main.ts";

const WIDTH = 1150;
const LINE = 21;
const LEFT = 20;
const TOP = 62;
// A ground of its own, on which ink and labels stand out 4.5 : 1 on a white page and on a dark one.
const GROUND = "#0d1117";
const INK = "#c9d1d9";
const EDGE = "#747c87";
const FAINT = "#8b949e";

const COMMAND = ["--reply", "LOGIN=>OK\\n"];
const decoder = new TextDecoder();
let output = "";
const stream = {
  write(bytes: Uint8Array) {
    output += decoder.decode(bytes);
    return Promise.resolve(bytes.length);
  },
};

const encoder = new TextEncoder();
const pause = (ms = 150) => new Promise((resolve) => setTimeout(resolve, ms));

function connectTo({ addrs }: Server): Promise<Deno.TcpConn> {
  const [addr] = addrs as Deno.NetAddr[];
  return Deno.connect({ hostname: "127.0.0.1", port: addr!.port });
}

async function say(client: Deno.Conn, text: string): Promise<void> {
  await client.write(encoder.encode(text));
  await pause();
}

async function main(): Promise<void> {
  const config = parseConfig([...COMMAND, "--port", "0", "--color", "always"]);
  if (typeof config === "string") throw new TypeError(config);
  const io = { stdout: stream, stderr: stream, isTerminal: true };
  await using server = await startServer(config, io);
  using tracker = await connectTo(server);
  await pause();
  await say(tracker, "LOGIN 356307042441013\n");
  using scale = await connectTo(server);
  await pause();
  await say(scale, "17.30 kg\r");
  await say(tracker, "POS 51.07,6.96\n");
  await say(scale, "17.35 kg\r");
  await say(tracker, "\x1B[2Jno screen of yours is cleared\n");
  await pause(3000);
}

await main();

const [addr] = /127\.0\.0\.1:\d+/.exec(output)!;
// deno-lint-ignore no-control-regex
const HOUR = /^((?:\x1B\[2m)?)(\d\d:\d\d:\d\d\.\d{3})Z/;
const lines = output.split("\n").map((line) => line.trimEnd()).filter(Boolean);
const START = Date.UTC(2026, 10, 23, 11, 8, 34);
const dateOf = (time: string) => Date.parse(`2026-11-23T${time}Z`);
const first = dateOf(lines.map((line) => HOUR.exec(line)?.[2]).find(Boolean)!);
const shifted = (time: string) =>
  new Date(dateOf(time) - first + START).toISOString().slice(11, 23);
const shown = lines.map((line) =>
  line.replace(addr, "127.0.0.1:1234")
    .replace(HOUR, (_, dim, time) => `${dim}${shifted(time)}Z`)
    .replace(/(#(\d) 127\.0\.0\.1):\d+/, (_, label, number) => `${label}:${53120 + 2 * number}`)
);

/** One of the 216 colours of the terminal's cube, or a grey, in hexadecimal. */
function colorOf(index: number): string {
  const levels = [0, 95, 135, 175, 215, 255];
  const cube = index - 16;
  const rgb = index >= 232
    ? Array(3).fill(8 + 10 * (index - 232))
    : [Math.floor(cube / 36), Math.floor(cube / 6) % 6, cube % 6].map((level) => levels[level]!);
  return "#" + rgb.map((value) => value.toString(16).padStart(2, "0")).join("");
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/** The escape sequences of the server, and there must be no others, as spans. */
function spans(line: string): string {
  const html = escape(line)
    // deno-lint-ignore no-control-regex
    .replace(/\x1B\[2m(.*?)\x1B\[0m/g, (_, text) => `<tspan fill="${FAINT}">${text}</tspan>`)
    // deno-lint-ignore no-control-regex
    .replace(/\x1B\[38;5;(\d+)m(.*?)\x1B\[0m/g, (_, index, text) => {
      return `<tspan fill="${colorOf(Number(index))}">${text}</tspan>`;
    });
  if (html.includes("\x1B")) throw new Error(`an escape sequence got through: ${html}`);
  return html;
}

const rows = [`$ earshot --reply 'LOGIN=>OK\\n'`, ...shown];
const height = TOP + LINE * rows.length + 4;
const body = rows.map((row, i) => `  <text x="${LEFT}" y="${TOP + LINE * i}">${spans(row)}</text>`);
const svg =
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-labelledby="t d" font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="14" fill="${INK}" xml:space="preserve">
  <title id="t">earshot in a terminal</title>
  <desc id="d">Two devices talk at once, each with its number and colour. The first logs in and is answered by a rule. The second sends no line ends, which a hint says after three seconds. An escape sequence is shown as text.</desc>
  <rect x="1" y="1" width="${WIDTH - 2}" height="${
    height - 2
  }" rx="8" fill="${GROUND}" stroke="${EDGE}" stroke-width="1.5" />
  <circle cx="22" cy="21" r="6" fill="#d7875f" />
  <circle cx="42" cy="21" r="6" fill="#af875f" />
  <circle cx="62" cy="21" r="6" fill="#5faf5f" />
${body.join("\n")}
</svg>`;
const fmt = new Deno.Command(Deno.execPath(), {
  args: ["fmt", "--ext", "svg", "-"],
  stdin: "piped",
  stdout: "piped",
}).spawn();
await new Response(svg).body!.pipeTo(fmt.stdin);
await fmt.stdout.pipeTo(Deno.stdout.writable);
