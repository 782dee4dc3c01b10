import type { Failure } from './errors.js';
import type { ReconnectOptions } from './types.js';

/** A service that is started again is there within it; a trainer that waits longer has better be told. */
const DEADLINE_MS = 60_000;

/** Longest wait before the first attempt: a broken connection is often whole again at once. */
const FIRST_DELAY_MS = 100;

/** Longest wait before any: a service that is back is found soon. */
const DELAY_MS_MAX = 5_000;

/**
 * Waits between attempts to come back: random ones, so that the writers that a service has lost together do not return
 * together, from a range that doubles each time. All time without a connection counts towards the deadline, until
 * something was achieved.
 */
export class Backoff {
  readonly #deadlineMs: number;
  /** Attempts since something was achieved. */
  #attempts = 0;
  /** Time without a connection before the present outage, since something was achieved. */
  #spentMs = 0;
  #downSinceMs: number | undefined;

  constructor({ deadlineMs = DEADLINE_MS }: ReconnectOptions) {
    this.#deadlineMs = deadlineMs;
  }

  /** What is left of the deadline, milliseconds. */
  get leftMs(): number {
    const downMs = this.#downSinceMs === undefined ? 0 : performance.now() - this.#downSinceMs;
    return this.#deadlineMs - this.#spentMs - downMs;
  }

  /** Waits before the next attempt. Rejects with the failure of the last one when the time is up, or with the signal's. */
  async wait(failure: Failure, signal: AbortSignal | undefined): Promise<void> {
    this.#downSinceMs ??= performance.now();
    const leftMs = this.leftMs;
    if (leftMs <= 0) throw failure;
    const rangeMs = Math.min(DELAY_MS_MAX, FIRST_DELAY_MS * 2 ** this.#attempts);
    this.#attempts += 1;
    await sleep(Math.min(Math.random() * rangeMs, leftMs), signal);
  }

  /** The connection is there again; whether it achieves something is yet to be seen. */
  connected(): void {
    this.#spentMs = this.#deadlineMs - this.leftMs;
    this.#downSinceMs = undefined;
  }

  /** Something was achieved: the next outage begins anew. */
  reset(): void {
    this.#attempts = 0;
    this.#spentMs = 0;
  }
}

/** Not that of node:timers/promises: it rejects with an AbortError, not with the signal's reason. */
async function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted();
  await new Promise<void>((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done, { once: true });
  });
  signal?.throwIfAborted();
}
