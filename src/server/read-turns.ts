import { performance } from 'node:perf_hooks';

/** Bytes that all readers together get for each byte that trainers send, while there is not enough time for all. */
const READ_SHARE = 0.5;

/** What readers may have saved up: a chunk each, for a few of them. */
const CREDIT_BYTES_MAX = 8 << 20;

/** A trainer that has sent nothing for so long does not need the loop. */
const INGEST_IDLE_MS = 10;

/** Time over which the loop's utilization is taken, and the share of it from which on it is full. */
const SAMPLE_MS = 25;
const FULL_UTILIZATION = 0.95;

/** A reader that waits for its turn. */
interface Waiting {
  readonly bytes: number;
  go(): void;
}

/**
 * Keeps readers from slowing the trainers down: the loop that folds a step is the one that serves reads, and evaluators that
 * pull without pause would take most of it. While trainers send and the loop is full, readers get a share of what trainers
 * send, in turn; at any other time they go as fast as they can.
 */
export class ReadTurns {
  #creditBytes = 0;
  #lastReceivedMs = Number.NEGATIVE_INFINITY;
  readonly #waiting: Waiting[] = [];
  #timer: NodeJS.Timeout | undefined;
  #sample = performance.eventLoopUtilization();
  #sampledMs = performance.now();
  #isFull = false;

  /** A trainer has sent so many bytes. */
  received(bytes: number): void {
    this.#lastReceivedMs = performance.now();
    this.#creditBytes = Math.min(CREDIT_BYTES_MAX, this.#creditBytes + READ_SHARE * bytes);
    for (let first = this.#waiting[0]; first !== undefined && first.bytes <= this.#creditBytes; first = this.#waiting[0]) {
      this.#creditBytes -= first.bytes;
      this.#waiting.shift();
      first.go();
    }
  }

  /** Undefined: a reader may send so many bytes. Otherwise it is its turn when the promise resolves. */
  turn(bytes: number): Promise<void> | undefined {
    if (!this.#isContended()) return undefined;
    return new Promise((go) => {
      this.#waiting.push({ bytes, go });
      this.#timer ??= setTimeout(() => this.#look(), INGEST_IDLE_MS);
    });
  }

  /** Lets everybody go when nothing is short any more. */
  #look(): void {
    this.#timer = undefined;
    if (!this.#isContended()) for (const { go } of this.#waiting.splice(0)) go();
    if (this.#waiting.length > 0) this.#timer = setTimeout(() => this.#look(), INGEST_IDLE_MS);
  }

  #isContended(): boolean {
    const nowMs = performance.now();
    if (nowMs - this.#sampledMs >= SAMPLE_MS) {
      this.#isFull = performance.eventLoopUtilization(this.#sample).utilization >= FULL_UTILIZATION;
      this.#sample = performance.eventLoopUtilization();
      this.#sampledMs = nowMs;
    }
    return this.#isFull && nowMs - this.#lastReceivedMs < INGEST_IDLE_MS;
  }
}
