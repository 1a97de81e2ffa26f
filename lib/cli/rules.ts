/**
 * Rules that tie two options together.
 *
 * @module
 */

import { bracketed, isMulticast, type UnixSocket } from "../addresses.ts";
import { decode } from "../bytes.ts";
import { isUtf16 } from "../framing/encodings.ts";
import { UsageError } from "./option.ts";
import { type Config, GROUP_PORT, OPTIONS } from "./options.ts";

/** Rules that tie two options together, in words that name both. */
export function assertCompatible(config: Config, isGiven: (field: keyof Config) => boolean): void {
  const isTcp = config.ports.length > 0;
  const hearsStreams = isTcp || config.unixPaths.some(isStreamSocket);
  const { format, framing, hosts, udpPorts } = config;
  const hearsDatagrams = udpPorts.length > 0 || !config.unixPaths.every(isStreamSocket);
  const isHex = format === "hex" || format === "hexline";
  const isRaw = format === "raw";
  const isEncoded = config.encoding !== undefined;
  const rules: [fields: (keyof Config)[], isWrong: boolean, problem: string][] = [
    [["tlsClientCa"], !isGiven("tlsCert"), "needs a certificate: add --tls-cert and --tls-key"],
    [["tlsCert", "reusePort"], !isTcp, "is for TCP ports: add --port"],
    [
      ["framing", "maxLineBytes", "flushAfterMs"],
      isRaw,
      `does not go with --format raw: it takes reads as they come`,
    ],
    [
      ["maxLineBytes", "flushAfterMs"],
      isHex && !isGiven("framing"),
      `does not go with --format ${format}, which takes reads as they come: add --framing`,
    ],
    [
      ["encoding"],
      isEncoded && (isRaw || isHex),
      `does not go with --format ${format}: it shows bytes, not text`,
    ],
    [
      ["encoding"],
      isUtf16(config.encoding) && countsBytes(framing),
      `${config.encoding} does not go with a --framing that counts bytes`,
    ],
    [
      ["framing"],
      isUtf16(config.encoding) && hasBinaryMark(framing),
      `needs text with --encoding ${config.encoding}, such as end:; or end:\\u{e9}`,
    ],
    [["hosts"], hosts.some(isMulticast), groupHint(hosts, udpPorts)],
    [["udpLines"], !hearsDatagrams, "is for datagrams: add --udp"],
    [["udpLines"], isRaw || isHex, `does not go with --format ${format}: it has datagrams whole`],
    [["rotateKeep"], !isGiven("rotateSizeBytes"), "is for files that rotate: add --rotate-size"],
    [
      ["rotateSizeBytes", "tee"],
      config.output === undefined,
      "is for a file: name one with --output",
    ],
    [["crlf", "escapes"], !config.interactive, "is for lines that are typed: add --interactive"],
    [["crlf"], config.escapes, "does not go with --escapes: lines end as they are typed"],
    [["forward"], !hearsStreams, "is for connections: add --port"],
    [
      ["echo", "greet", "replies"],
      config.forward !== undefined,
      "does not go with --forward: the target answers",
    ],
    [["webHosts"], config.web === undefined, "is for the page: add --web"],
    [["forwardCa"], !config.forward?.isTls, "is for a target that speaks TLS: --forward tls://..."],
  ];
  if (isGiven("tlsCert") !== isGiven("tlsKey")) {
    throw new UsageError("--tls-cert and --tls-key go together: give both or neither");
  }
  for (const [fields, isWrong, problem] of rules) {
    const field = fields.find(isGiven);
    if (isWrong && field) throw new UsageError(`--${OPTIONS[field].name} ${problem}`);
  }
}

/** What to write for a group that is given as an address to listen on. */
function groupHint(hosts: Config["hosts"], udpPorts: Config["udpPorts"]): string {
  const group = hosts.find(isMulticast) ?? "";
  const port = udpPorts.find((port) => typeof port === "number") || GROUP_PORT;
  return `takes no multicast group: use --udp ${bracketed(group)}:${port}`;
}

/** Whether its frames have lengths in bytes. */
function countsBytes(framing: Config["framing"]): boolean {
  if (typeof framing === "object") return framing.kind === "length";
  return framing === "octet" || framing === "syslog";
}

/** Whether its frames are marked by bytes that no text has. */
function hasBinaryMark(framing: Config["framing"]): boolean {
  if (typeof framing !== "object" || framing.kind === "length") return false;
  const marks = framing.kind === "end" ? [framing.end] : [framing.start, framing.end];
  return marks.some((mark) => decode(mark).includes("\uFFFD"));
}

function isStreamSocket(socket: string | UnixSocket): boolean {
  return typeof socket === "string" || socket.type === "stream";
}
