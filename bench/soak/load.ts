/**
 * Who talks to the servers, and how much.
 *
 * @module
 */

import { Caller } from "./caller.ts";
import { Ends } from "./ends.ts";
import {
  BAD_FORWARDS,
  BAD_HANDSHAKES,
  FLOODS,
  type Manner as Hostility,
  misbehave,
} from "./hostile.ts";
import { random } from "./random.ts";
import { sleep } from "./servers.ts";
import type { Stage } from "./stage.ts";
import { sendDatagrams } from "./udp.ts";
import { beQuiet, burst, call, Complaints, sayAndReset, type Site, talk } from "./visits.ts";
import { Watching, watchNowAndThen } from "./watchers.ts";

const STORM_SECONDS = 15;
const STORM_CLIENTS = 300;
const HANG_UP_SECONDS = 20;
const MOVED_AT_ONCE = 5;
/** More than the 64 log files that are open at once. */
const HOSTS = Array.from({ length: 100 }, (_, i) => `127.4.0.${i + 1}`);
const HOSTILE_HOSTS = ["127.66.0.1", "127.66.0.2", "127.66.0.3"];
const UDP_HOSTS = ["127.5.0.1", "127.5.0.2", "127.5.0.3"];

type Manner = (site: Site, host: string) => Promise<string | undefined>;

/** The load, and what those who make it have met. */
export class Load {
  readonly complaints = new Complaints();
  readonly watching = new Watching();
  readonly ends = new Ends();
  readonly #stage: Stage;
  readonly #scale: number;
  readonly #isOver: () => boolean;

  constructor(stage: Stage, scale: number, isOver: () => boolean) {
    this.#stage = stage;
    this.#scale = scale;
    this.#isOver = isOver;
  }

  /** What clients, pages and short-lived servers have met. */
  get faults(): number {
    const { complaints, watching, ends } = this;
    return complaints.unanswered + complaints.broken + watching.gaps + watching.failures.length +
      ends.faults.length;
  }

  async run(): Promise<void> {
    const { sites, ports, servers } = this.#stage;
    const { plain, unix, tls, forward } = sites;
    const quiet: Manner = (site, host) => beQuiet(site, host, this.#isOver);
    const urls = await Promise.all(servers.map((server) => server.webUrl()));
    await Promise.all([
      ...this.#crowd(80, plain, talk, 500),
      ...this.#crowd(100, plain, quiet, 500),
      ...this.#crowd(6, plain, call, 200),
      ...this.#crowd(3, plain, sayAndReset, 300),
      ...this.#crowd(1, plain, burst, 2000),
      ...this.#crowd(3, unix, talk, 500, () => "unix"),
      ...this.#crowd(6, tls, talk, 1000),
      ...this.#crowd(10, tls, quiet, 1000),
      ...this.#crowd(2, tls, call, 1000),
      ...this.#crowd(1, tls, sayAndReset, 2000),
      ...this.#crowd(16, forward, talk, 500),
      ...this.#crowd(10, forward, quiet, 500),
      ...this.#crowd(2, forward, call, 300),
      ...this.#crowd(1, forward, burst, 4000),
      ...UDP_HOSTS.map((host) => this.#sendDatagrams(host)),
      this.#misbehave(ports.plain, FLOODS, 3000),
      this.#misbehave(ports.tls, BAD_HANDSHAKES, 2000),
      this.#misbehave(ports.forward, BAD_FORWARDS, 5000),
      this.#storm(),
      this.#hangUp(),
      watchNowAndThen(this.watching, urls, HOSTS, this.#isOver),
      watchNowAndThen(this.watching, urls, HOSTS, this.#isOver),
      this.ends.runAll(this.#isOver),
    ]);
  }

  /** So many clients at once, each with a pause between two visits. */
  #crowd(count: number, site: Site, manner: Manner, pauseMs: number, host = anyHost) {
    return Array.from({ length: Math.ceil(count * this.#scale) }, async () => {
      await sleep(random(pauseMs + 3000));
      while (!this.#isOver()) {
        await this.complaints.during(() => manner(site, host()));
        await sleep(random(2 * pauseMs));
      }
    });
  }

  /** One client after the other; what they meet is no fault. */
  async #misbehave(port: number, manners: readonly Hostility[], pauseMs: number): Promise<void> {
    while (!this.#isOver()) {
      const localAddress = HOSTILE_HOSTS[random(HOSTILE_HOSTS.length)]!;
      const connect = () => Caller.open({ host: "127.0.0.1", port, localAddress });
      await misbehave(connect, manners).catch(() => {});
      await sleep(random(2 * pauseMs));
    }
  }

  async #sendDatagrams(host: string): Promise<void> {
    const { ledgers, ports } = this.#stage;
    await sendDatagrams(ledgers.udp, host, ports.udp, this.#isOver);
  }

  async #storm(): Promise<void> {
    while (!this.#isOver()) {
      await sleep(1000 * STORM_SECONDS);
      const calls = Array.from(
        { length: Math.ceil(STORM_CLIENTS * this.#scale) },
        () => this.complaints.during(() => call(this.#stage.sites.plain, anyHost())),
      );
      await Promise.all(calls);
    }
  }

  /** As logrotate does: moves some files away, and has all opened anew. */
  async #hangUp(): Promise<void> {
    const { logs, moved, plain, tls } = this.#stage;
    for (let turn = 1; !this.#isOver(); turn++) {
      await sleep(1000 * HANG_UP_SECONDS);
      for (let i = 0; i < MOVED_AT_ONCE; i++) {
        const name = `${anyHost()}.log`;
        await Deno.rename(`${logs}/${name}`, `${moved}/${name}.${turn}.${i}`).catch(() => {});
      }
      plain.kill("SIGHUP");
      tls.kill("SIGHUP");
    }
  }
}

function anyHost(): string {
  return HOSTS[random(HOSTS.length)]!;
}
