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
import { KeepAlive } from "./accept/keep_alive.ts";
import { type Listening, onlyPortOf, portsOf, type StreamListening } from "./accept/listeners.ts";
import { type Network, Networks } from "./addresses.ts";
import type { Config } from "./cli/options.ts";
import { LF, NUL } from "./bytes.ts";
import type { LastFrame } from "./clients/client.ts";
import { ClientHints } from "./clients/client_hints.ts";
import { Clients } from "./clients/clients.ts";
import { Datagrams } from "./clients/datagrams.ts";
import { SharedInput } from "./clients/input.ts";
import { Interactive, promptFor } from "./clients/interactive.ts";
import { PatientDialer } from "./clients/patient_dialer.ts";
import { MAX_RELAYED_BYTES, Relay } from "./clients/relay.ts";
import { parseReplyRule, Replies } from "./clients/replies.ts";
import { createDecodingFramer, isUtf16 } from "./framing/encodings.ts";
import type { Framer, Framing } from "./framing/framing.ts";
import type { Io } from "./io.ts";
import { type Deadline, Deadlines, Interval } from "./loop/deadlines.ts";
import { type Multiplexer, Selector } from "./loop/selector.ts";
import { TaskQueue } from "./loop/task_queue.ts";
import { InternalErrors } from "./messages.ts";
import { LogWriter } from "./output/log_writer.ts";
import type { Output } from "./output/output.ts";
import { LogDestinations } from "./output/destinations.ts";
import { parsePattern } from "./patterns.ts";
import { PathTemplate } from "./output/path_template.ts";
import { createFormat } from "./records/formats.ts";
import { History } from "./records/history.ts";
import { Ending } from "./records/ending.ts";
import { RecordCalls } from "./records/record_calls.ts";
import { Recorder } from "./records/recorder.ts";
import { contentOf, type Format } from "./records/records.ts";
import { Timestamp } from "./records/timestamp.ts";
import { Stats } from "./stats.ts";
import { metricsText } from "./web/metrics.ts";
import type { SendToClients } from "./web/sending.ts";
import { Web } from "./web/web.ts";
import type { Opened } from "./open.ts";

/** The most that one receive brings. Lines can become a hundred times as many bytes of log. */
const READ_BYTES = { frames: 8 * 1024, reads: 64 * 1024 } as const;
const MIN_READ_BYTES = 64;
const HANDSHAKE_MS = 10_000;
/** What a client may leave unread before it is no longer read itself. */
const MAX_UNREAD_BYTES = 1024 * 1024;
/** How many senders of datagrams can be answered by typing their address. */
const MAX_CORRESPONDENTS = 1000;
/** How often it is looked whether files are gone. */
const LOOK_MS = 1000;

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
  /** All that has to be done at a time. */
  readonly deadlines: Deadlines;
  readonly internalErrors: InternalErrors;
  /** Says the summary of what was counted. */
  readonly report: () => void;
}

export function buildServer(config: Config, opened: Opened): ServerParts {
  const { say } = opened;
  const core = coreOf(config, opened);
  const { multiplexer, tasks, stats, internalErrors } = core;
  const recording = recordingOf(config, opened, core);
  const { recorder, logWriter, ending } = recording;
  const replies = repliesOf(config);
  const admission = admissionOf(config, opened, core);
  const isPlain = opened.tls === undefined;
  const hints = new ClientHints({ isPlain, framing: hintedFraming(config), say });
  const clients = clientsOf(config, opened, { core, recording, replies, admission, hints });
  const handshakes = handshakesOf(config, admission);
  const keepAlive = new KeepAlive((socket) => clients.has(socket));
  const acceptor = acceptorOf(opened, { core, admission, handshakes, clients, keepAlive });
  const datagrams = datagramsOf(config, opened, { core, recording, replies });
  const interactive = interactiveOf(config, opened, { clients, datagrams, recorder });
  const stdin = stdinOf(config, opened, multiplexer);
  const report = () => say(stats.summary(clients.size, performance.now()));
  const web = webOf(config, opened, { core, recording, admission, clients, interactive });
  const periodic = periodicOf(config, logWriter, report);
  const timed = [admission, keepAlive, clients.deadlines, hints, datagrams, ...periodic, ending];
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
    deadlines: new Deadlines(timed),
    internalErrors,
    report,
  };
}

// -- What all parts share --

interface Core {
  readonly multiplexer: Multiplexer;
  readonly tasks: TaskQueue;
  readonly stats: Stats;
  readonly internalErrors: InternalErrors;
}

function coreOf({ multiplexer: kind }: Config, { say, listening }: Opened): Core {
  const multiplexer = kind === "poll" ? new Poller() : new Selector();
  const hearsDatagrams = listening.some((one) => one.kind === "datagram");
  return {
    multiplexer,
    tasks: new TaskQueue(() => multiplexer.wake()),
    stats: new Stats(performance.now(), hearsDatagrams, () => lostOf(listening)),
    internalErrors: new InternalErrors(say),
  };
}

function streamsOf(listening: readonly Listening[]): StreamListening[] {
  return listening.filter((one) => one.kind === "stream");
}

/** Files are looked at now and then, and the summary is said. */
function periodicOf({ statsMs }: Config, logWriter: LogWriter, report: () => void): Deadline[] {
  const nowMs = performance.now();
  const lookMs = logWriter.isFile ? LOOK_MS : 0;
  return [
    new Interval(lookMs, nowMs, () => logWriter.look(performance.now())),
    new Interval(statsMs, nowMs, report),
  ];
}

// -- Who comes in --

function admissionOf(config: Config, opened: Opened, core: Core): Admission {
  const { listening, say, reserve } = opened;
  const { multiplexer, stats } = core;
  return new Admission({
    listeners: streamsOf(listening).map(({ socket }) => socket),
    multiplexer,
    maxConnections: config.maxConnections,
    maxPerHost: config.maxPerHost,
    allowed: networksOf(config.allow),
    denied: networksOf(config.deny),
    reserve,
    say,
    onAcceptError: () => stats.acceptErrors++,
  });
}

function handshakesOf({ idleTimeoutMs, proxyFrom }: Config, admission: Admission): Handshakes {
  return new Handshakes({
    limitMs: Math.min(HANDSHAKE_MS, idleTimeoutMs || Infinity),
    idleMs: idleTimeoutMs || Infinity,
    proxies: networksOf(proxyFrom),
    whyRefused: (peer) => admission.refusalOf(peer),
  });
}

interface ForAcceptor {
  readonly core: Core;
  readonly admission: Admission;
  readonly handshakes: Handshakes;
  readonly clients: Clients;
  readonly keepAlive: KeepAlive;
}

function acceptorOf({ tls, listening }: Opened, parts: ForAcceptor): ConnectionAcceptor {
  return new ConnectionAcceptor({
    admission: parts.admission,
    handshakes: parts.handshakes,
    tls,
    listening: streamsOf(listening),
    ports: portsOf(listening),
    tasks: parts.core.tasks,
    keepAlive: parts.keepAlive,
    clients: parts.clients,
    stats: parts.core.stats,
  });
}

// -- Who speaks --

interface ForClients {
  readonly core: Core;
  readonly recording: Recording;
  readonly replies: Replies | undefined;
  readonly admission: Admission;
  readonly hints: ClientHints;
}

function clientsOf(config: Config, { dialer, names, reserve }: Opened, parts: ForClients): Clients {
  const { multiplexer, tasks, stats, internalErrors } = parts.core;
  const { recorder, logWriter, watchedEnding, history, rawLog } = parts.recording;
  const createFramer = framerOf(config);
  const maxReadBytes = createFramer ? maxFrameBytes(parts.replies) : READ_BYTES.reads;
  const { flushAfterMs } = config;
  const relay = dialer && new Relay({
    dialer: new PatientDialer(dialer, parts.admission, reserve),
    createFramer,
    maxReadBytes,
    flushAfterMs,
    multiplexer,
    tasks,
  });
  return new Clients({
    hints: parts.hints,
    names,
    recorder,
    stats,
    isEchoing: config.echo,
    replies: parts.replies,
    greeting: config.greet,
    relay,
    maxLineBytes: config.maxLineBytes,
    maxUnreadBytes: relay ? MAX_RELAYED_BYTES : MAX_UNREAD_BYTES,
    createFramer,
    ending: watchedEnding && { ending: watchedEnding, stepEnd: stepEndOf(config) },
    input: history ?? rawLog ?? new SharedInput(maxReadBytes),
    isReceivedIntoLog: rawLog !== undefined,
    maxReadBytes,
    multiplexer,
    idleTimeoutMs: config.idleTimeoutMs,
    flushAfterMs,
    logWriter,
    admission: parts.admission,
    tasks,
    internalErrors,
  });
}

interface ForDatagrams {
  readonly core: Core;
  readonly recording: Recording;
  readonly replies: Replies | undefined;
}

function datagramsOf(config: Config, opened: Opened, parts: ForDatagrams): Datagrams {
  const { names, listening, say } = opened;
  const { multiplexer, stats } = parts.core;
  const { recorder, watchedEnding } = parts.recording;
  const ports = listening.filter((one) => one.kind === "datagram");
  const datagrams = new Datagrams({
    recorder,
    stats,
    allowed: networksOf(config.allow),
    denied: networksOf(config.deny),
    names,
    ports: portsOf(listening),
    text: takesText(config) ? config : undefined,
    replies: parts.replies,
    ending: watchedEnding,
    maxCorrespondents: config.interactive ? MAX_CORRESPONDENTS : 0,
    paths: new Map(ports.map(({ socket, path = "" }) => [socket, path])),
    multiplexer,
    say,
  });
  for (const { socket } of ports) multiplexer.register(socket, POLLIN);
  return datagrams;
}

interface ForInteractive {
  readonly clients: Clients;
  readonly datagrams: Datagrams;
  readonly recorder: Recorder;
}

function interactiveOf(config: Config, opened: Opened, parts: ForInteractive): Interactive {
  return new Interactive({
    clients: parts.clients,
    datagrams: parts.datagrams,
    recorder: parts.recorder,
    end: config.escapes ? "escapes" : config.crlf ? "crlf" : "lf",
    say: opened.say,
    said: () => opened.messages.taken(),
    onChosen: (number) => opened.editor?.setPrompt(promptFor(number)),
  });
}

/** What is typed, if it is read. */
function stdinOf({ interactive }: Config, { io }: Opened, multiplexer: Multiplexer) {
  if (!interactive) return;
  const stdin = new Socket(io.stdin);
  multiplexer.register(stdin, POLLIN);
  return stdin;
}

function repliesOf({ replies }: Config): Replies | undefined {
  return replies.length > 0 ? new Replies(replies.map(parseReplyRule)) : undefined;
}

/** The most that is read at once where it becomes frames: each may be a byte and have an answer. */
function maxFrameBytes(replies: Replies | undefined): number {
  const fitting = Math.trunc(MAX_UNREAD_BYTES / (replies?.maxOwnBytes || 1));
  return Math.min(READ_BYTES.frames, Math.max(MIN_READ_BYTES, fitting));
}

// -- Records --

interface Recording {
  /** What the page shows, if there is one. */
  readonly history: History | undefined;
  readonly recorder: Recorder;
  readonly logWriter: LogWriter;
  readonly ending: Ending;
  /** The same if what is recorded can end the server. */
  readonly watchedEnding: Ending | undefined;
  /** Where raw bytes are received at once: nothing else asks for them. */
  readonly rawLog: LogDestinations["onlyLog"];
}

function recordingOf(config: Config, opened: Opened, core: Core): Recording {
  const { io, messages } = opened;
  const { multiplexer, internalErrors } = core;
  const history = config.web && new History();
  const destinations = destinationsOf(config, opened, internalErrors, () => timestamp.nowMs);
  const timestamp = new Timestamp(config.time, io.now(), destinations.formats);
  const ending = endingOf(config);
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
  const rawLog = config.format === "raw" && !history ? destinations.onlyLog : undefined;
  return { history, recorder, logWriter, ending, watchedEnding, rawLog };
}

function endingOf({ until, count, forMs }: Config): Ending {
  const conditions = { until: until.map(parsePattern), count, limitMs: forMs || undefined };
  return new Ending(conditions, performance.now());
}

function destinationsOf(
  config: Config,
  { io, outputs, listening }: Opened,
  internalErrors: InternalErrors,
  now: () => number,
): LogDestinations {
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

function takesText({ format }: Config): boolean {
  return contentOf(format) === "text";
}

/** How clients are framed; `undefined` where records are made of reads as they come. */
function framingOf(config: Config): Framing | undefined {
  if (contentOf(config.format) === "reads") return undefined;
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

/** Up to where at most one frame ends: marks, lengths and UTF-16 may end one at any byte. */
function stepEndOf(config: Config): LastFrame["stepEnd"] {
  const framing = framingOf(config);
  const ends = { newline: LF, nul: NUL } as Readonly<Record<string, number>>;
  const lineEnd = isUtf16(config.encoding) ? undefined : ends[`${framing}`];
  return (bytes, at) => {
    if (framing === "none") return bytes.length;
    if (lineEnd === undefined) return at + 1;
    return bytes.indexOf(lineEnd, at) + 1 || bytes.length;
  };
}

// -- The page --

interface ForWeb {
  readonly core: Core;
  readonly recording: Recording;
  readonly admission: Admission;
  readonly clients: Clients;
  readonly interactive: Interactive;
}

function webOf(config: Config, opened: Opened, parts: ForWeb): Web | undefined {
  const { io, say, listening, reserve } = opened;
  const { core, recording, admission, clients, interactive } = parts;
  const { stats, tasks, internalErrors } = core;
  const { history, logWriter } = recording;
  if (!config.web || !history) return;
  const { host, port } = config.web;
  const startMs = io.now();
  return new Web({
    host,
    port,
    hostNames: config.webHosts,
    sendToClients: config.interactive ? senderOf(interactive, tasks) : undefined,
    example: exampleOf(streamsOf(listening)),
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
function senderOf(interactive: Interactive, tasks: TaskQueue): SendToClients {
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

function networksOf(networks: readonly (Network | "unix")[]): Networks | undefined {
  return networks.length > 0 ? new Networks(networks) : undefined;
}

/** Clients that were gone before they were accepted. */
function lostOf(listening: readonly Listening[]): number {
  let lost = 0;
  for (const one of listening) if (one.kind === "stream") lost += one.socket.lost;
  return lost;
}
