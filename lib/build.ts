/**
 * Makes every part of a server from its configuration, which nothing else knows as
 * a whole but the program itself. Each part is given what it needs by name.
 *
 * @module
 */

import { Poller, POLLIN, Socket } from "../poller.ts";
import { ConnectionAcceptor } from "./accept/acceptor.ts";
import { Admission } from "./accept/admission.ts";
import { HANDSHAKE_FAULTS } from "./accept/handshake_faults.ts";
import { Handshakes } from "./accept/handshakes.ts";
import { type Listening, onlyPortOf, portsOf, type StreamListening } from "./accept/listeners.ts";
import type { NameTable } from "./accept/names.ts";
import { Tls } from "./accept/tls.ts";
import { type Network, Networks } from "./addresses.ts";
import type { Config } from "./cli/options.ts";
import { LF, NUL } from "./bytes.ts";
import type { LastFrame } from "./clients/client.ts";
import { ClientHints } from "./clients/client_hints.ts";
import { Clients } from "./clients/clients.ts";
import { Datagrams } from "./clients/datagrams.ts";
import { SharedInput } from "./clients/input.ts";
import { Interactive, promptFor } from "./clients/interactive.ts";
import { LineEditor } from "./clients/line_editor.ts";
import { MAX_RELAYED_BYTES, Relay } from "./clients/relay.ts";
import { parseReplyRule, Replies } from "./clients/replies.ts";
import { Dialer } from "./clients/target.ts";
import type { DescriptorReserve } from "./descriptor_reserve.ts";
import { createDecodingFramer } from "./framing/encodings.ts";
import type { Framer, Framing } from "./framing/framing.ts";
import type { Io } from "./io.ts";
import { type Deadline, Interval } from "./loop/deadlines.ts";
import { type Multiplexer, Selector } from "./loop/selector.ts";
import { TaskQueue } from "./loop/task_queue.ts";
import { InternalErrors, type Messages, type Say } from "./messages.ts";
import { LogWriter } from "./output/log_writer.ts";
import { Output } from "./output/output.ts";
import { LogDestinations } from "./output/destinations.ts";
import { parsePattern } from "./patterns.ts";
import { PathTemplate } from "./output/path_template.ts";
import { createFormat } from "./records/formats.ts";
import { History } from "./records/history.ts";
import { Ending } from "./records/ending.ts";
import { RecordCalls } from "./records/record_calls.ts";
import { Recorder } from "./records/recorder.ts";
import type { Format } from "./records/records.ts";
import { Timestamp } from "./records/timestamp.ts";
import { Stats } from "./stats.ts";
import { metricsText } from "./web/metrics.ts";
import type { SendToClients } from "./web/sending.ts";
import { Web } from "./web/web.ts";

/** The most that one receive brings. Lines can become a hundred times as many bytes of log. */
const READ_BYTES = { frames: 8 * 1024, reads: 64 * 1024 } as const;
const MIN_READ_BYTES = 64;
const HANDSHAKE_MS = 10_000;
const DIAL_MS = 10_000;
/** What a client may leave unread before it is no longer read itself. */
const MAX_UNREAD_BYTES = 1024 * 1024;
/** How many senders of datagrams can be answered by typing their address. */
const MAX_CORRESPONDENTS = 1000;
/** How often it is looked whether files are gone. */
const LOOK_MS = 1000;

/** What is opened before the parts are made. */
export interface Opened {
  readonly io: Io;
  readonly messages: Messages;
  /** Says what may contain a path, or what a client sent: in one line all the same. */
  readonly say: Say;
  /** Descriptors for when clients hold all others. */
  readonly reserve: DescriptorReserve;
  /** What the log is written to. */
  readonly outputs: readonly Output[];
  readonly listening: readonly Listening[];
  readonly tls: Tls | undefined;
  readonly names: NameTable;
  /** Connects to the server that clients are forwarded to. */
  readonly dialer: Dialer | undefined;
  /** Edits the line that is typed, on a terminal. */
  readonly editor: LineEditor | undefined;
}

/** The parts of a server that its loop works with. */
export interface ServerParts {
  readonly multiplexer: Multiplexer;
  readonly tasks: TaskQueue;
  readonly recorder: Recorder;
  readonly logWriter: LogWriter;
  readonly admission: Admission;
  readonly handshakes: Handshakes;
  readonly acceptor: ConnectionAcceptor;
  readonly clients: Clients;
  readonly datagrams: Datagrams;
  readonly interactive: Interactive;
  /** What is typed, if it is read. */
  readonly stdin: Socket | undefined;
  readonly web: Web | undefined;
  readonly stats: Stats;
  readonly ending: Ending;
  readonly deadlines: readonly Deadline[];
  readonly internalErrors: InternalErrors;
  /** Says the summary of what was counted. */
  readonly report: () => void;
}

export function buildServer(config: Config, opened: Opened): ServerParts {
  const { io, editor, messages, say, outputs, listening, tls, names, dialer } = opened;
  const streams = listening.filter((one) => one.kind === "stream");
  const datagramSockets = listening.filter((one) => one.kind === "datagram");
  const multiplexer: Multiplexer = config.multiplexer === "poll" ? new Poller() : new Selector();
  const tasks = new TaskQueue(() => multiplexer.wake());
  const stats = new Stats(performance.now(), datagramSockets.length > 0, () => lostOf(listening));
  const internalErrors = new InternalErrors(say);
  const makeFramer = framerOf(config);
  const history = config.web && new History();
  const destinations = destinationsOf(config, {
    io,
    outputs,
    listening,
    internalErrors,
    now: () => timestamp.nowMs,
  });
  const timestamp = new Timestamp(config.time, io.now(), destinations.formats);
  const ending = new Ending({
    until: config.until.map(parsePattern),
    count: config.count,
    limitMs: config.forMs || undefined,
  }, performance.now());
  const watchedEnding = ending.isWatching ? ending : undefined;
  const recorder = new Recorder({
    ending: watchedEnding,
    destinations,
    observers: history ? [history] : [],
    timestamp,
    isQuiet: config.quiet,
  });
  const logWriter = new LogWriter({
    outlets: destinations.outlets,
    notices: destinations.notices,
    isRaw: config.format === "raw",
    say: messages.say,
    said: () => messages.taken(),
    onFailure: () => multiplexer.wake(),
  });
  const admission = new Admission({
    listeners: streams.map(({ socket }) => socket),
    multiplexer,
    maxConnections: config.maxConnections,
    maxPerHost: config.maxPerHost,
    allowed: networksOf(config.allow),
    denied: networksOf(config.deny),
    say,
    onAcceptError: () => stats.acceptErrors++,
  });
  const rawLog = config.format === "raw" && !history ? destinations.onlyLog : undefined;
  const replies = config.replies.length > 0
    ? new Replies(config.replies.map(parseReplyRule))
    : undefined;
  const maxReadBytes = makeFramer ? maxFrameBytes(replies) : READ_BYTES.reads;
  const relay = dialer && new Relay({
    dialer,
    createFramer: makeFramer,
    maxReadBytes,
    flushAfterMs: config.flushAfterMs,
    multiplexer,
    tasks,
  });
  const ports = portsOf(listening);
  const hints = new ClientHints({
    isPlain: tls === undefined,
    framing: hintedFraming(config),
    say,
  });
  const clients = new Clients({
    hints,
    names,
    recorder,
    stats,
    isEchoing: config.echo,
    replies,
    greeting: config.greet,
    relay,
    maxLineBytes: config.maxLineBytes,
    maxUnreadBytes: relay ? MAX_RELAYED_BYTES : MAX_UNREAD_BYTES,
    createFramer: makeFramer,
    ending: watchedEnding && { ending, stepEnd: stepEndOf(framingOf(config)) },
    input: history ?? rawLog ?? new SharedInput(maxReadBytes),
    isReceivedIntoLog: rawLog !== undefined,
    maxReadBytes,
    multiplexer,
    idleTimeoutMs: config.idleTimeoutMs,
    flushAfterMs: config.flushAfterMs,
    logWriter,
    admission,
    tasks,
    internalErrors,
  });
  const handshakes = new Handshakes({
    limitMs: Math.min(HANDSHAKE_MS, config.idleTimeoutMs || Infinity),
    idleMs: config.idleTimeoutMs || Infinity,
    proxies: networksOf(config.proxyFrom),
    whyRefused: (peer) => admission.refusalOf(peer),
  });
  const acceptor = new ConnectionAcceptor({
    admission,
    handshakes,
    tls,
    listening: streams,
    ports,
    tasks,
    clients,
    stats,
  });
  const datagrams = new Datagrams({
    recorder,
    stats,
    allowed: networksOf(config.allow),
    denied: networksOf(config.deny),
    names,
    ports,
    text: takesText(config) ? config : undefined,
    replies,
    ending: watchedEnding,
    maxCorrespondents: config.interactive ? MAX_CORRESPONDENTS : 0,
    paths: new Map(datagramSockets.map(({ socket, path = "" }) => [socket, path])),
    multiplexer,
    say,
  });
  for (const { socket } of datagramSockets) multiplexer.register(socket, POLLIN);
  const interactive = new Interactive({
    clients,
    datagrams,
    recorder,
    end: config.escapes ? "escapes" : config.crlf ? "crlf" : "lf",
    say,
    said: () => messages.taken(),
    onChosen: (number) => editor?.setPrompt(promptFor(number)),
  });
  const stdin = config.interactive ? new Socket(io.stdin) : undefined;
  if (stdin) multiplexer.register(stdin, POLLIN);
  const report = () => say(stats.summary(clients.size, performance.now()));
  const lookMs = logWriter.isFile ? LOOK_MS : 0;
  const looks = new Interval(lookMs, performance.now(), () => logWriter.look(performance.now()));
  const summaries = new Interval(config.statsMs, performance.now(), report);
  const web = config.web && history &&
    webOf(config, config.web, {
      io,
      say,
      streams,
      history,
      clients,
      admission,
      logWriter,
      stats,
      internalErrors,
      interactive,
      tasks,
      reserve: opened.reserve,
    });
  return {
    multiplexer,
    tasks,
    recorder,
    logWriter,
    admission,
    handshakes,
    acceptor,
    clients,
    datagrams,
    interactive,
    stdin,
    web,
    stats,
    ending,
    deadlines: [admission, ...clients.deadlines, hints, datagrams, summaries, looks, ending],
    internalErrors,
    report,
  };
}

/** The most that is read at once where it becomes frames: each may be a byte and have an answer. */
function maxFrameBytes(replies: Replies | undefined): number {
  const fitting = Math.trunc(MAX_UNREAD_BYTES / (replies?.maxOwnBytes || 1));
  return Math.min(READ_BYTES.frames, Math.max(MIN_READ_BYTES, fitting));
}

// -- Records --

/** Opens what the log is written to: with --tee two. */
export function openOutputs(
  config: Config,
  { stdout }: Io,
  say: Say,
  reserve: DescriptorReserve,
): Output[] {
  const { output, tee } = config;
  const path = output === undefined ? undefined : new PathTemplate(output);
  const outputs = [new Output({ stdout, path, rotate: rotationOf(config), say, reserve })];
  if (tee) outputs.push(new Output({ stdout, path: undefined, rotate: undefined, say, reserve }));
  return outputs;
}

interface Recorded {
  readonly io: Io;
  readonly outputs: readonly Output[];
  readonly listening: readonly Listening[];
  readonly internalErrors: InternalErrors;
  readonly now: () => number;
}

function destinationsOf(config: Config, recorded: Recorded): LogDestinations {
  const { io, outputs, listening, internalErrors, now } = recorded;
  const template = config.output === undefined ? undefined : new PathTemplate(config.output);
  return new LogDestinations({
    outputs: outputs.map((output) => ({ output, format: formatOf(config, io, output) })),
    isRaw: config.format === "raw",
    template: template?.only === undefined ? template : undefined,
    isLocal: config.time === "local",
    port: onlyPortOf(listening),
    calls: callsOf(io, internalErrors),
    now,
  });
}

function callsOf({ onRecord }: Io, internalErrors: InternalErrors): RecordCalls | undefined {
  return onRecord && new RecordCalls({
    onRecord,
    onError: (error) => internalErrors.report(error),
  });
}

function formatOf(config: Config, io: Io, { isFile }: Output): Format {
  return createFormat(config.format, {
    isColored: wantsColor(config, io, isFile),
    countsLines: framingOf(config) !== undefined,
    // Without records of who connects, the addresses must stay.
    isBrief: !isFile && !config.quiet && (io.isTerminal ?? false),
  });
}

function wantsColor({ color }: Config, io: Io, isFile: boolean): boolean {
  return color === "auto" ? !isFile && io.wantsColor : color === "always";
}

/** Whether records are text, not bytes. */
function takesText({ format }: Config): boolean {
  return format === "text" || format === "json";
}

/** How clients are framed; `undefined` where records are made of reads as they come. */
function framingOf(config: Config): Framing | undefined {
  if (config.format === "raw") return undefined;
  return config.framing ?? (takesText(config) ? "newline" : undefined);
}

/** The framing that clients may not keep to unseen; `undefined` where all that comes is shown. */
function hintedFraming(config: Config): Framing | undefined {
  const framing = takesText(config) && config.flushAfterMs === 0 ? framingOf(config) : "none";
  return framing === "none" ? undefined : framing;
}

/** Makes the framers of clients, if there are frames at all. */
function framerOf(config: Config): (() => Framer) | undefined {
  const framing = framingOf(config);
  const { maxLineBytes, encoding } = config;
  return framing && (() => createDecodingFramer(framing, maxLineBytes, encoding));
}

/** Up to where at most one frame ends: marks and lengths may end one at any byte. */
function stepEndOf(framing: Framing | undefined): LastFrame["stepEnd"] {
  const lineEnd = framing === "newline" ? LF : framing === "nul" ? NUL : undefined;
  return (bytes, at) => {
    if (framing === "none") return bytes.length;
    if (lineEnd === undefined) return at + 1;
    return bytes.indexOf(lineEnd, at) + 1 || bytes.length;
  };
}

// -- The page --

/** What the page shows, and who knows it. */
interface Shown {
  readonly io: Io;
  readonly say: Say;
  readonly streams: readonly StreamListening[];
  readonly history: History;
  readonly clients: Clients;
  readonly admission: Admission;
  readonly logWriter: LogWriter;
  readonly stats: Stats;
  readonly internalErrors: InternalErrors;
  readonly interactive: Interactive;
  readonly tasks: TaskQueue;
  readonly reserve: DescriptorReserve;
}

function webOf(
  config: Config,
  { host, port }: NonNullable<Config["web"]>,
  shown: Shown,
): Web {
  const {
    io,
    say,
    streams,
    history,
    clients,
    admission,
    logWriter,
    stats,
    internalErrors,
    reserve,
  } = shown;
  const startMs = io.now();
  return new Web({
    host,
    port,
    hostNames: config.webHosts,
    sendToClients: config.interactive ? senderOf(shown) : undefined,
    example: exampleOf(streams),
    history,
    now: () => io.now(),
    clients,
    totals: () => stats.totals(clients.size),
    trouble: () => logWriter.trouble(performance.now()) ?? admission.trouble,
    isLogShort: () => admission.isPaused,
    reserve,
    say,
    internalErrors,
    metrics: () =>
      metricsText(stats, {
        open: clients.size,
        maxConnections: admission.maxConnections,
        handshakeFaults: HANDSHAKE_FAULTS,
        outputBytes: logWriter.writtenBytes,
        isOutputStalled: logWriter.trouble(performance.now()) !== undefined,
        startMs,
      }),
  });
}

/** Has the loop send what comes by HTTP, which runs beside it: so it is dated and logged at once. */
function senderOf({ interactive, tasks }: Shown): SendToClients {
  return (to, text, isLine) =>
    new Promise((resolve) => {
      const bytes = isLine ? interactive.bytesOf(text, false) : text;
      tasks.post(() => resolve(interactive.send(to, bytes)));
    });
}

/** A line to try, for a page that has nothing to show yet. */
function exampleOf(streams: readonly StreamListening[]): string {
  const addr = streams[0]?.socket.addr;
  if (!addr || !("hostname" in addr)) return "nc 127.0.0.1 1234";
  const isEverywhere = addr.hostname === "0.0.0.0" || addr.hostname === "::";
  return `nc ${isEverywhere ? "127.0.0.1" : addr.hostname} ${addr.port}`;
}

// -- Values --

export function tlsOf({ tlsCert, tlsKey, tlsClientCa }: Config): Tls | undefined {
  if (tlsCert === undefined || tlsKey === undefined) return;
  const files = { certFile: tlsCert, keyFile: tlsKey };
  return new Tls(tlsClientCa === undefined ? files : { ...files, clientCaFile: tlsClientCa });
}

export function dialerOf({ forward, forwardCa }: Config): Dialer | undefined {
  return forward && new Dialer(forward, DIAL_MS, forwardCa);
}

/** The streams of the process, on which a line is edited where they are a terminal. */
export function editedIo(config: Config, io: Io): { io: Io; editor: LineEditor | undefined } {
  const { terminal } = io;
  if (!config.interactive || !terminal) return { io, editor: undefined };
  const editor = new LineEditor(terminal, promptFor(undefined));
  return {
    editor,
    io: {
      ...io,
      stdin: editor,
      stdout: terminal.hasStdout ? editor.above(io.stdout) : io.stdout,
      stderr: editor.above(io.stderr),
    },
  };
}

function rotationOf({ rotateSizeBytes, rotateKeep }: Config) {
  return rotateSizeBytes === undefined
    ? undefined
    : { sizeBytes: rotateSizeBytes, keep: rotateKeep };
}

function networksOf(networks: readonly (Network | "unix")[]): Networks | undefined {
  return networks.length > 0 ? new Networks(networks) : undefined;
}

/** Clients that were gone before they were accepted. */
function lostOf(listening: readonly Listening[]): number {
  let lost = 0;
  for (const one of listening) if (one.kind === "stream") lost += one.socket.lost;
  return lost;
}
