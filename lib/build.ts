/**
 * Wires the parts of a server: each is given what it needs of the configuration,
 * which nothing else knows as a whole but the program itself.
 *
 * @module
 */

import { Poller, POLLIN, Socket } from "../poller.ts";
import { type Network, Networks } from "./addresses.ts";
import type { Input } from "./clients/client.ts";
import { Clients } from "./clients/clients.ts";
import { Interactive } from "./clients/interactive.ts";
import { Datagrams } from "./clients/datagrams.ts";
import { Admission } from "./accept/admission.ts";
import { createFramer } from "./framing/framing.ts";
import { Handshakes } from "./accept/handshakes.ts";
import type { Io } from "./io.ts";
import type { Messages, Say } from "./messages.ts";
import { LogWriter } from "./output/log_writer.ts";
import type { Listening, StreamListening } from "./accept/listeners.ts";
import { Log } from "./records/log.ts";
import { TaskQueue } from "./loop/task_queue.ts";
import type { Config } from "./cli/options.ts";
import type { Output } from "./output/output.ts";
import { History } from "./records/history.ts";
import { ConnectionAcceptor } from "./accept/acceptor.ts";
import { type Multiplexer, Selector } from "./loop/selector.ts";
import { Stats } from "./stats.ts";
import { Interval } from "./loop/deadlines.ts";
import { metricsText } from "./web/metrics.ts";
import { Tls } from "./accept/tls.ts";
import { Web } from "./web/web.ts";

/** The most that one receive brings. Lines can become a hundred times as many bytes of log. */
const READ_BYTES = { lines: 8 * 1024, chunks: 64 * 1024 } as const;
const HANDSHAKE_MS = 10_000;

/** What is opened before the parts are assembled. */
export interface Opened {
  readonly io: Io;
  readonly messages: Messages;
  /** Says what may contain a path, or what a client sent: in one line all the same. */
  readonly say: Say;
  readonly output: Output;
  readonly listening: readonly Listening[];
  readonly tls: Tls | undefined;
}

export type ServerParts = ReturnType<typeof buildServer>;

export function buildServer(config: Config, parts: Opened) {
  const base = assembleBase(config, parts);
  const guests = assembleGuests(config, base);
  return { ...base, ...guests, ...assembleOthers(config, base, guests.clients, guests.admission) };
}

/** What waits, and what is written. */
function assembleBase(config: Config, parts: Opened) {
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
    tasks: new TaskQueue(() => multiplexer.wake()),
    streams: listening.filter((one) => one.kind === "stream"),
    datagramSockets: listening.filter((one) => one.kind === "datagram").map((one) => one.socket),
    log,
    history: config.web && new History(framerOf(config, log)),
    stats: new Stats(performance.now(), config.udpPorts.length > 0),
    logWriter: new LogWriter({
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
  const { log, stats, history, logWriter, streams } = base;
  const admission = new Admission({
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
    input: inputOf(config, log, history),
    maxReadBytes: maxReadBytesOf(log),
    isReceivedIntoLog: isReceivedIntoLog(config),
    idleTimeoutMs: config.idleTimeoutMs,
    flushAfterMs: config.flushAfterMs,
    onTalk: (client) => logWriter.talked(client),
    isLong: () => logWriter.isLong,
    onLeft: (peer) => admission.left(peer),
  });
  const handshakes = new Handshakes({
    limitMs: Math.min(HANDSHAKE_MS, config.idleTimeoutMs || Infinity),
    idleMs: config.idleTimeoutMs || Infinity,
    proxies: networksOf(config.proxyFrom),
    whyRefused: (peer) => admission.refusalOf(peer),
  });
  const acceptor = new ConnectionAcceptor({
    ...base,
    admission,
    handshakes,
    listening: streams,
    onArrival: (arrival) => clients.connect(arrival),
    onRefused: (peer, reason) => clients.refuse(peer, reason),
    onFailed: (peer, acceptedAtMs, reason) => clients.fail(peer, acceptedAtMs, reason),
  });
  return { admission, clients, handshakes, acceptor };
}

/** Who sends datagrams, types, or looks on. */
function assembleOthers(config: Config, base: Base, clients: Clients, admission: Admission) {
  const { io, say, log, history, stats, multiplexer, datagramSockets } = base;
  const datagrams = new Datagrams({ ...base, maxLineBytes: config.maxLineBytes });
  for (const socket of datagramSockets) multiplexer.register(socket, POLLIN);
  const interactive = new Interactive({
    clients,
    endsInCrLf: config.crlf,
    say,
    onSent(to, line) {
      log.sent(to, line);
      history?.sent(to, line, log.timeMs);
    },
    onAnswered: (client) => clients.update(client),
  });
  const stdin = config.interactive ? new Socket(io.stdin) : undefined;
  if (stdin) multiplexer.register(stdin, POLLIN);
  const report = () => say(stats.summary(clients.size, performance.now()));
  const summaries = new Interval(config.statsMs, performance.now(), report);
  const web = webOf(config, base, clients, admission);
  return { datagrams, interactive, stdin, report, summaries, web };
}

function webOf(
  config: Config,
  base: Base,
  clients: Clients,
  admission: Admission,
): Web | undefined {
  const { io, say, stats, output, history } = base;
  if (!config.web || !history) return;
  const startMs = io.now();
  const trouble = () => output.trouble(performance.now()) ?? admission.trouble;
  return new Web({
    ...config.web,
    example: exampleOf(base.streams),
    history,
    now: () => io.now(),
    clients,
    totals: () => stats.totals(clients.size),
    trouble,
    isLogShort: () => admission.trouble !== undefined,
    say,
    metrics: () =>
      metricsText(stats, {
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
function inputOf(config: Config, log: Log, history: History | undefined): Input {
  const maxBytes = maxReadBytesOf(log);
  if (history) {
    return {
      receive: (socket) => socket.recvInto(history.input(maxBytes)),
      last: (count) => history.received(count),
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
