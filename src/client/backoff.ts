import type { Failure } from './errors.js';
import type { ReconnectOptions } from './types.js';

/** Default deadline. A restarted service is back within it, and a trainer that waits longer should be told. */
const DEADLINE_MS = 60_000;

/** Longest wait before the first attempt. It is short because a broken connection can often be opened again at once. */
const PAUSE_MS_FIRST = 100;

/** Longest wait before any attempt, so that a service that is back is found soon. */
const PAUSE_MS_MAX = 5_000;

/**
 * Waits between attempts to reconnect. The waits are random, from a range that doubles each time, so that writers that
 * lost the service together do not all come back at the same moment. All time without a connection counts towards the
 * deadline, until `reset` says that something was achieved.
 */
export class Backoff {
  readonly #deadlineMs: number;
  /** Number of attempts since something was achieved. */
  #attempts = 0;
  /** Time without a connection since something was achieved, without the present outage. */
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

  /**
   * Waits before the next attempt. Rejects with `failure`, the last attempt's, when the time is up, or with the
   * signal's reason.
   */
  async wait(failure: Failure, signal: AbortSignal | undefined): Promise<void> {
    this.#downSinceMs ??= performance.now();
    const leftMs = this.leftMs;
    if (leftMs <= 0) throw failure;
    const rangeMs = Math.min(PAUSE_MS_MAX, PAUSE_MS_FIRST * 2 ** this.#attempts);
    this.#attempts += 1;
    await sleep(Math.min(Math.random() * rangeMs, leftMs), signal);
  }

  /** Says that the connection is there again. The deadline does not start anew until `reset` is called. */
  connected(): void {
    this.#spentMs = this.#deadlineMs - this.leftMs;
    this.#downSinceMs = undefined;
  }

  /** Says that something was achieved, so that the next outage has the whole deadline. */
  reset(): void {
    this.#attempts = 0;
    this.#spentMs = 0;
  }
}

/**
 * Waits `ms` or until the signal aborts, and rejects with its reason; node:timers/promises rejects with an AbortError.
 */
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
