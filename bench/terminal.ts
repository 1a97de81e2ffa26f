// The picture of the README, from a real run:
//   deno run -A bench/terminal.ts > docs/terminal.svg
//
// Three clients talk to a server at the same time; one sends an escape sequence. What the
// server printed, colours included, becomes SVG text, as `deno fmt` wants it. Only the ports and
// the time of the first record are put in place of the real ones, so that two runs differ little.

const WIDTH = 980;
const LINE = 21;
const LEFT = 20;
const TOP = 62;
// A ground of its own, on which ink and labels stand out 4.5 : 1 on a white page and on a dark one.
const GROUND = "#0d1117";
const INK = "#c9d1d9";
const EDGE = "#747c87";

const main = new URL("../main.ts", import.meta.url).href;
const server = new Deno.Command(Deno.execPath(), {
  args: ["run", "-q", "--allow-net", main, "--port", "0", "--color", "always"],
  stdout: "piped",
  stderr: "piped",
}).spawn();

let greeting = "";
const stderr = server.stderr.pipeThrough(new TextDecoderStream()).getReader();
while (!greeting.includes("\n")) greeting += (await stderr.read()).value ?? "";
const port = Number(/:(\d+) /.exec(greeting)![1]);

const encoder = new TextEncoder();
const connect = () => Deno.connect({ hostname: "127.0.0.1", port });
const pause = (ms = 100) => new Promise((resolve) => setTimeout(resolve, ms));
async function say(client: Deno.Conn, text: string) {
  await client.write(encoder.encode(text));
  await pause();
}

const door = await connect();
await pause();
const sensor = await connect();
await pause();
await say(door, "door 7 ");
await say(sensor, "temperature 21.5\n");
const stranger = await connect();
await pause();
await say(door, "open\n");
await say(stranger, "\x1B[2J\x1B[1;31mall your screen are belong to us\n");
stranger.close();
await pause();
await say(sensor, "temperature 21.6\n");
await say(door, "no end");
door.close();
await pause();
server.kill("SIGINT");
const output = await new Response(server.stdout).text();
await server.status;
await stderr.cancel();
sensor.close();

/** When the first record is said to be written. */
const START = Date.UTC(2026, 10, 23, 11, 8, 34);
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/;
const shiftMs = START - Date.parse(TIME.exec(output)![0]);
const shifted = (time: string) => new Date(Date.parse(time) + shiftMs).toISOString();
const lines = [greeting, ...output.split("\n")].map((line) => line.trimEnd()).filter(Boolean);
const shown = lines.map((line) =>
  line.replace(`127.0.0.1:${port} `, "127.0.0.1:1234 ")
    .replace(TIME, shifted)
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
  // deno-lint-ignore no-control-regex
  const html = escape(line).replace(/\x1B\[38;5;(\d+)m(.*?)\x1B\[0m/g, (_, index, text) => {
    return `<tspan fill="${colorOf(Number(index))}">${text}</tspan>`;
  });
  if (html.includes("\x1B")) throw new Error(`an escape sequence got through: ${html}`);
  return html;
}

const rows = [`$ deno run -q --allow-net main.ts`, ...shown];
const height = TOP + LINE * rows.length + 4;
const body = rows.map((row, i) => `  <text x="${LEFT}" y="${TOP + LINE * i}">${spans(row)}</text>`);
const svg =
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-labelledby="t d" font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="14" fill="${INK}" xml:space="preserve">
  <title id="t">earshot in a terminal</title>
  <desc id="d">Three clients talk at once. Each has its number, address and colour. The first sends one line in two packets while the second speaks; the third sends an escape sequence, which is shown as text; the first leaves in the middle of a line, and Ctrl-C ends the server.</desc>
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
