/**
 * Rules that tie two options together.
 *
 * @module
 */

import { bracketed, isMulticast, type UnixSocket } from "../addresses.ts";
import { decode } from "../bytes.ts";
import { isUtf16 } from "../framing/encodings.ts";
import { countsBytes } from "../framing/framing.ts";
import { contentOf } from "../records/records.ts";
import { UsageError } from "./option.ts";
import { type Config, GROUP_PORT, OPTIONS } from "./options.ts";

/** What is asked for, as rules look at it. */
interface Asked {
  readonly config: Config;
  readonly isGiven: (field: keyof Config) => boolean;
  readonly isTcp: boolean;
  readonly hearsStreams: boolean;
  readonly hearsDatagrams: boolean;
  readonly isHex: boolean;
  readonly isRaw: boolean;
}

interface Rule {
  /** Options of which one that is given may break it. */
  readonly fields: readonly (keyof Config)[];
  readonly isBroken: (asked: Asked) => boolean;
  /** What is wrong with that option, in words that name the other. */
  readonly problem: (asked: Asked) => string;
}

const RULES: readonly Rule[] = [
  {
    fields: ["tlsClientCa"],
    isBroken: ({ isGiven }) => !isGiven("tlsCert"),
    problem: () => "needs a certificate: add --tls-cert and --tls-key",
  },
  {
    fields: ["tlsCert", "reusePort"],
    isBroken: ({ isTcp }) => !isTcp,
    problem: () => "is for TCP ports: add --port",
  },
  {
    fields: ["framing", "maxLineBytes", "flushAfterMs"],
    isBroken: ({ isRaw }) => isRaw,
    problem: () => "does not go with --format raw: it takes reads as they come",
  },
  {
    fields: ["maxLineBytes", "flushAfterMs"],
    isBroken: ({ isHex, isGiven }) => isHex && !isGiven("framing"),
    problem: ({ config }) =>
      `does not go with --format ${config.format}, which takes reads as they come: add --framing`,
  },
  {
    fields: ["encoding"],
    isBroken: ({ config, isRaw, isHex }) => config.encoding !== undefined && (isRaw || isHex),
    problem: ({ config }) => `does not go with --format ${config.format}: it shows bytes, not text`,
  },
  {
    fields: ["encoding"],
    isBroken: ({ config: { encoding, framing } }) =>
      isUtf16(encoding) && framing !== undefined && countsBytes(framing),
    problem: ({ config }) => `${config.encoding} does not go with a --framing that counts bytes`,
  },
  {
    fields: ["framing"],
    isBroken: ({ config }) => isUtf16(config.encoding) && hasBinaryMark(config.framing),
    problem: ({ config }) =>
      `needs text with --encoding ${config.encoding}, such as end:; or end:\\u{e9}`,
  },
  {
    fields: ["hosts"],
    isBroken: ({ config }) => config.hosts.some(isMulticast),
    problem: ({ config }) => groupHint(config.hosts, config.udpPorts),
  },
  {
    fields: ["udpLines"],
    isBroken: ({ hearsDatagrams }) => !hearsDatagrams,
    problem: () => "is for datagrams: add --udp",
  },
  {
    fields: ["udpLines"],
    isBroken: ({ isRaw, isHex }) => isRaw || isHex,
    problem: ({ config }) => `does not go with --format ${config.format}: it has datagrams whole`,
  },
  {
    fields: ["rotateKeep"],
    isBroken: ({ isGiven }) => !isGiven("rotateSizeBytes"),
    problem: () => "is for files that rotate: add --rotate-size",
  },
  {
    fields: ["rotateSizeBytes", "tee"],
    isBroken: ({ config }) => config.output === undefined,
    problem: () => "is for a file: name one with --output",
  },
  {
    fields: ["crlf", "escapes"],
    isBroken: ({ config }) => !config.interactive,
    problem: () => "is for lines that are typed: add --interactive",
  },
  {
    fields: ["crlf"],
    isBroken: ({ config }) => config.escapes,
    problem: () => "does not go with --escapes: lines end as they are typed",
  },
  {
    fields: ["forward"],
    isBroken: ({ hearsStreams }) => !hearsStreams,
    problem: () => "is for connections: add --port",
  },
  {
    fields: ["echo", "greet", "replies"],
    isBroken: ({ config }) => config.forward !== undefined,
    problem: () => "does not go with --forward: the target answers",
  },
  {
    fields: ["webHosts"],
    isBroken: ({ config }) => config.web === undefined,
    problem: () => "is for the page: add --web",
  },
  {
    fields: ["forwardCa"],
    isBroken: ({ config }) => !config.forward?.isTls,
    problem: () => "is for a target that speaks TLS: --forward tls://...",
  },
];

/** Throws a {@linkcode UsageError} for the first rule that is broken. */
export function assertCompatible(config: Config, isGiven: Asked["isGiven"]): void {
  if (isGiven("tlsCert") !== isGiven("tlsKey")) {
    throw new UsageError("--tls-cert and --tls-key go together: give both or neither");
  }
  const asked = askedOf(config, isGiven);
  for (const { fields, isBroken, problem } of RULES) {
    const field = fields.find(isGiven);
    if (field && isBroken(asked)) {
      throw new UsageError(`--${OPTIONS[field].name} ${problem(asked)}`);
    }
  }
}

function askedOf(config: Config, isGiven: Asked["isGiven"]): Asked {
  const { ports, udpPorts, unixPaths, format } = config;
  const isTcp = ports.length > 0;
  return {
    config,
    isGiven,
    isTcp,
    hearsStreams: isTcp || unixPaths.some(isStreamSocket),
    hearsDatagrams: udpPorts.length > 0 || !unixPaths.every(isStreamSocket),
    isHex: contentOf(format) === "bytes",
    isRaw: contentOf(format) === "reads",
  };
}

/** What to write for a group that is given as an address to listen on. */
function groupHint(hosts: Config["hosts"], udpPorts: Config["udpPorts"]): string {
  const group = hosts.find(isMulticast) ?? "";
  const port = udpPorts.find((port) => typeof port === "number") || GROUP_PORT;
  return `takes no multicast group: use --udp ${bracketed(group)}:${port}`;
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
