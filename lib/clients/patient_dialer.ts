/**
 * Connects clients to their target although other clients hold all descriptors.
 *
 * @module
 */

import type { ByteStream } from "../../poller.ts";
import type { Admission } from "../accept/admission.ts";
import { type DescriptorReserve, LOG_SPARES } from "../descriptor_reserve.ts";
import { lacksDescriptor } from "../errors.ts";
import type { Dialer, ForwardTarget } from "./target.ts";

/** All who wait together try a thousand times a second at most. */
const MIN_RETRY_MS = 20;

/** A descriptor that is missing is no fault of the target: it is waited for. */
export class PatientDialer {
  readonly #dialer: Dialer;
  readonly #admission: Pick<Admission, "hold">;
  readonly #reserve: DescriptorReserve;
  #waiting = 0;

  constructor(dialer: Dialer, admission: Pick<Admission, "hold">, reserve: DescriptorReserve) {
    this.#dialer = dialer;
    this.#admission = admission;
    this.#reserve = reserve;
  }

  get target(): ForwardTarget {
    return this.#dialer.target;
  }

  /** Connects, as {@linkcode Dialer.dial} does. */
  async dial(signal: AbortSignal): Promise<ByteStream> {
    try {
      return await this.#dialer.dial(signal);
    } catch (error) {
      const { cause } = error as Error;
      if (!lacksDescriptor(cause)) throw error;
      using _waiting = this.#wait(cause);
      return await this.#retry(signal);
    }
  }

  /** Tries with a descriptor in reserve, or one that a client has given back. */
  async #retry(signal: AbortSignal): Promise<ByteStream> {
    for (const untilMs = performance.now() + this.#dialer.limitMs;;) {
      const hasSpare = this.#reserve.release(LOG_SPARES);
      if (!hasSpare) await paused(Math.max(MIN_RETRY_MS, this.#waiting), signal);
      try {
        return await this.#dialer.dial(signal);
      } catch (error) {
        if (!lacksDescriptor((error as Error).cause) || performance.now() >= untilMs) throw error;
      }
    }
  }

  #wait(cause: unknown): Disposable {
    this.#waiting++;
    const hold = this.#admission.hold(cause);
    return {
      [Symbol.dispose]: () => {
        this.#waiting--;
        hold[Symbol.dispose]();
      },
    };
  }
}

/** Waits, unless `signal` ends it. */
export function paused(ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const end = () => resolve();
  const timer = setTimeout(end, ms);
  signal.addEventListener("abort", end);
  return promise.finally(() => {
    clearTimeout(timer);
    signal.removeEventListener("abort", end);
  });
}
