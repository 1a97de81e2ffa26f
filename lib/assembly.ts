/**
 * Wires the rooms of a server: each is given what it needs of the configuration,
 * which nothing else knows as a whole but the program itself.
 *
 * @module
 */

import { Poller, POLLIN, Socket } from "../poller.ts";
import { type Network, Networks } from "./addresses.ts";
import type { Input } from "./client.ts";
import { Clients } from "./clients.ts";
import { Crowd } from "./crowd.ts";
import { Datagrams } from "./datagrams.ts";
import { Door } from "./door.ts";
import { createFramer } from "./framing.ts";
import { Handshakes } from "./handshakes.ts";
import type { Io, Messages, Say } from "./io.ts";
import { Journal } from "./journal.ts";
import type { Listening, StreamListening } from "./listeners.ts";
import { Log } from "./log.ts";
import { Mailbox } from "./mailbox.ts";
import type { Config } from "./options.ts";
import type { Output } from "./output.ts";
import { Recent } from "./recent.ts";
import { Reception } from "./reception.ts";
import { type Multiplexer, Selector } from "./selector.ts";
import { Stats, Summaries } from "./stats.ts";
import { Tls } from "./tls.ts";
import { Web } from "./web.ts";

/** The most that one receive brings. Lines can become a hundred times as many bytes of log. */
const READ_BYTES = { lines: 8 * 1024, chunks: 64 * 1024 } as const;
const HANDSHAKE_MS = 10_000;

/** What is opened before the rooms are assembled. */
export interface Parts {
  readonly io: Io;
  readonly messages: Messages;
  /** Says what may contain a path, or what a client sent: in one line all the same. */
  readonly say: Say;
  readonly output: Output;
  readonly listening: readonly Listening[];
  readonly tls: Tls | undefined;
}

export type Rooms = ReturnType<typeof assemble>;

export function assemble(config: Config, parts: Parts) {
  const base = assembleBase(config, parts);
  const guests = assembleGuests(config, base);
  return { ...base, ...guests, ...assembleOthers(config, base, guests.clients, guests.door) };
}

/** What waits, and what is written. */
function assembleBase(config: Config, parts: Parts) {
  const { io, messages, output, listening } = parts;
  const multiplexer: Multiplexer = config.multiplexer === "poll" ? new Poller() : new Selector();
  const log = new Log({
    format: config.format,
    time: config.time,
    isQuiet: config.quiet,
    isColored: wantsColor(config, io),
    startMs: io.now(),
  });
  return {
    ...parts,
    multiplexer,
    mailbox: new Mailbox(() => multiplexer.wake()),
    streams: listening.filter((one) => one.kind === "stream"),
    datagramSockets: listening.filter((one) => one.kind === "datagram").map((one) => one.socket),
    log,
    recent: config.web && new Recent(framerOf(config, log)),
    stats: new Stats(performance.now(), config.udpPorts.length > 0),
    journal: new Journal({
      log,
      output,
      say: messages.say,
      said: () => messages.taken(),
      onFailure: () => multiplexer.wake(),
    }),
    allowed: networksOf(config.allow),
    denied: networksOf(config.deny),
  };
}

type Base = ReturnType<typeof assembleBase>;

/** Who connects. */
function assembleGuests(config: Config, base: Base) {
  const { log, stats, recent, journal, streams } = base;
  const door = new Door({
    ...base,
    listeners: streams.map(({ socket }) => socket),
    maxConnections: config.maxConnections,
    maxPerHost: config.maxPerHost,
    onAcceptError: () => stats.acceptErrors++,
  });
  const clients = new Clients({
    ...base,
    isEchoing: config.echo,
    createFramer: framerOf(config, log),
    input: inputOf(config, log, recent),
    maxReadBytes: maxReadBytesOf(log),
    isReceivedIntoLog: isReceivedIntoLog(config),
    idleTimeoutMs: config.idleTimeoutMs,
    flushAfterMs: config.flushAfterMs,
    onTalk: (client) => journal.talked(client),
    isLong: () => journal.isLong,
    onLeft: (peer) => door.left(peer),
  });
  const handshakes = new Handshakes({
    limitMs: Math.min(HANDSHAKE_MS, config.idleTimeoutMs || Infinity),
    idleMs: config.idleTimeoutMs || Infinity,
    proxies: networksOf(config.proxyFrom),
    whyRefused: (peer) => door.refusalOf(peer),
  });
  const reception = new Reception({
    ...base,
    door,
    handshakes,
    listening: streams,
    onArrival: (arrival) => clients.connect(arrival),
    onRefused: (peer, reason) => clients.refuse(peer, reason),
    onFailed: (peer, acceptedAtMs, reason) => clients.fail(peer, acceptedAtMs, reason),
  });
  return { door, clients, handshakes, reception };
}

/** Who sends datagrams, types, or looks on. */
function assembleOthers(config: Config, base: Base, clients: Clients, door: Door) {
  const { io, say, log, recent, stats, multiplexer, datagramSockets } = base;
  const datagrams = new Datagrams({ ...base, maxLineBytes: config.maxLineBytes });
  for (const socket of datagramSockets) multiplexer.register(socket, POLLIN);
  const crowd = new Crowd({
    clients,
    endsInCrLf: config.crlf,
    say,
    onSent(to, line) {
      log.sent(to, line);
      recent?.sent(to, line, log.timeMs);
    },
    onAnswered: (client) => clients.update(client),
  });
  const stdin = config.interactive ? new Socket(io.stdin) : undefined;
  if (stdin) multiplexer.register(stdin, POLLIN);
  const report = () => say(stats.summary(clients.size, performance.now()));
  const summaries = new Summaries(config.statsMs, performance.now(), report);
  const web = webOf(config, base, clients, door);
  return { datagrams, crowd, stdin, report, summaries, web };
}

function webOf(config: Config, base: Base, clients: Clients, door: Door): Web | undefined {
  const { io, stats, output, recent } = base;
  if (!config.web || !recent) return;
  const startMs = io.now();
  const trouble = () => output.trouble(performance.now()) ?? door.trouble;
  return new Web({
    ...config.web,
    example: exampleOf(base.streams),
    recent,
    now: () => io.now(),
    clients,
    totals: () => stats.totals(clients.size),
    trouble,
    isLogShort: () => door.trouble !== undefined,
    metrics: () =>
      stats.metrics({
        open: clients.size,
        outputBytes: output.writtenBytes,
        isOutputStalled: output.trouble(performance.now()) !== undefined,
        startMs,
      }),
  });
}

/** A line to try, for a page that has nothing to show yet. */
function exampleOf(streams: readonly StreamListening[]): string {
  const addr = streams[0]?.socket.addr;
  if (!addr || !("hostname" in addr)) return "nc 127.0.0.1 1234";
  const isEverywhere = addr.hostname === "0.0.0.0" || addr.hostname === "::";
  return `nc ${isEverywhere ? "127.0.0.1" : addr.hostname} ${addr.port}`;
}

export function tlsOf({ tlsCert, tlsKey, tlsClientCa }: Config): Tls | undefined {
  if (tlsCert === undefined || tlsKey === undefined) return;
  const files = { certFile: tlsCert, keyFile: tlsKey };
  return new Tls(tlsClientCa === undefined ? files : { ...files, clientCaFile: tlsClientCa });
}

export function rotationOf({ rotateSizeBytes, rotateKeep }: Config) {
  return rotateSizeBytes === undefined
    ? undefined
    : { sizeBytes: rotateSizeBytes, keep: rotateKeep };
}

function networksOf(networks: readonly Network[]): Networks | undefined {
  return networks.length > 0 ? new Networks(networks) : undefined;
}

function wantsColor({ color, output }: Config, io: Io): boolean {
  return color === "auto" ? output === undefined && io.wantsColor : color === "always";
}

/** Makes the framers of clients, if reads become lines at all. */
function framerOf({ framing, maxLineBytes }: Config, { takesLines }: Log) {
  return takesLines ? () => createFramer(framing, maxLineBytes) : undefined;
}

/** Raw bytes are received into the log itself, unless the live page has to remember them. */
function isReceivedIntoLog({ format, web }: Config): boolean {
  return format === "raw" && web === undefined;
}

function maxReadBytesOf({ takesLines }: Log): number {
  return takesLines ? READ_BYTES.lines : READ_BYTES.chunks;
}

/** Where clients' bytes are received. */
function inputOf(config: Config, log: Log, recent: Recent | undefined): Input {
  const maxBytes = maxReadBytesOf(log);
  if (recent) {
    return {
      receive: (socket) => socket.recvInto(recent.input(maxBytes)),
      last: (count) => recent.received(count),
    };
  }
  if (isReceivedIntoLog(config)) {
    return {
      receive: (socket) => log.receive(socket, maxBytes),
      last: (count) => log.last(count),
    };
  }
  const input = new Uint8Array(maxBytes);
  return {
    receive: (socket) => socket.recvInto(input),
    last: (count) => input.subarray(0, count),
  };
}
