import { performance } from 'node:perf_hooks';
import { IN_FLIGHT_MAX } from '../reads/paced-writer.js';

/** Bytes that all readers together get for each byte that trainers send, while there is not enough time for all. */
const READ_SHARE = 1 / 3;

/** What readers may have saved up: a chunk each, for a few of them. */
const CREDIT_BYTES_MAX = 8 << 20;

/** A trainer that has sent nothing for so long in the middle of a step does not need the loop; with many readers a chunk takes a while. */
const INGEST_IDLE_MS = 1_000;

/**
 * Time over which the loop's utilization is taken, and the share of it from which on readers are held back. A loop that
 * shares its core with others waits for it and is never full.
 */
const SAMPLE_MS = 25;
const BUSY_UTILIZATION = 0.5;

/** How often readers that wait look whether they still must. */
const LOOK_MS = 10;

/** Chunks that all readers together have with gRPC, and how few one has at least; their bytes are the transport's. */
const CHUNKS_IN_FLIGHT_MAX = 64;
const CHUNKS_IN_FLIGHT_MIN = 2;

/** A reader that waits for its turn. */
interface Waiting {
  readonly bytes: number;
  go(): void;
}

/**
 * Keeps readers from slowing the trainers down: the loop that folds a step is the one that serves reads, and evaluators that
 * pull without pause would take most of it. While trainers send and the loop is busy, readers get a share of what trainers
 * send, in turn; at any other time they go as fast as they can.
 */
export class ReadTurns {
  #creditBytes = 0;
  /** Writers in the middle of a step. */
  #sending = 0;
  #lastReceivedMs = Number.NEGATIVE_INFINITY;
  readonly #waiting: Waiting[] = [];
  #timer: NodeJS.Timeout | undefined;
  #sample = performance.eventLoopUtilization();
  #sampledMs = performance.now();
  #isBusy = false;

  /** How many reads there are. */
  readerCount = 0;

  /** How many chunks a reader may have with gRPC now. */
  get inFlightMax(): number {
    const share = Math.floor(CHUNKS_IN_FLIGHT_MAX / Math.max(1, this.readerCount));
    return Math.max(CHUNKS_IN_FLIGHT_MIN, Math.min(IN_FLIGHT_MAX, share));
  }

  /** A writer has begun a step; the returned function says that it has sent it, or is gone. */
  begin(): () => void {
    this.#sending += 1;
    let isSending = true;
    return () => {
      if (isSending) this.#sending -= 1;
      isSending = false;
    };
  }

  /** A writer has sent so many bytes. */
  received(bytes: number): void {
    this.#lastReceivedMs = performance.now();
    this.#creditBytes = Math.min(CREDIT_BYTES_MAX, this.#creditBytes + READ_SHARE * bytes);
    for (
      let first = this.#waiting[0];
      first !== undefined && first.bytes <= this.#creditBytes;
      first = this.#waiting[0]
    ) {
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
      this.#timer ??= setTimeout(() => this.#look(), LOOK_MS);
    });
  }

  /** Lets everybody go when nothing is short any more. */
  #look(): void {
    this.#timer = undefined;
    if (!this.#isContended()) for (const { go } of this.#waiting.splice(0)) go();
    if (this.#waiting.length > 0) this.#timer = setTimeout(() => this.#look(), LOOK_MS);
  }

  #isContended(): boolean {
    const nowMs = performance.now();
    if (nowMs - this.#sampledMs >= SAMPLE_MS) {
      this.#isBusy = performance.eventLoopUtilization(this.#sample).utilization >= BUSY_UTILIZATION;
      this.#sample = performance.eventLoopUtilization();
      this.#sampledMs = nowMs;
    }
    return this.#sending > 0 && this.#isBusy && nowMs - this.#lastReceivedMs < INGEST_IDLE_MS;
  }
}
