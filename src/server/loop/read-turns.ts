import { performance } from 'node:perf_hooks';
import { IN_FLIGHT_MAX } from '../reads/paced-writer.js';

/** Bytes that all readers together may send for each byte that trainers send, while the event loop is busy. */
const READ_SHARE = 1 / 3;

/** Most credit that readers can save up, bytes: a chunk each for a few of them. */
const CREDIT_BYTES_MAX = 8 << 20;

/**
 * When no trainer has sent anything for this long in the middle of a step, readers are not held back. It is long
 * because beside many readers one chunk of a trainer takes a while.
 */
const INGEST_IDLE_MS = 1_000;

/**
 * The loop's utilization is measured over SAMPLE_MS, and from BUSY_UTILIZATION on readers are held back. The threshold
 * is below 1 because a loop that shares its core with other processes never gets there.
 */
const SAMPLE_MS = 25;
const BUSY_UTILIZATION = 0.5;

/** How often the loop is looked at while readers wait, so that they go on once it is no longer busy. */
const LOOK_MS = 10;

/**
 * Most chunks that all readers together have with gRPC, and the least that one has. The transport counts their bytes.
 */
const CHUNKS_IN_FLIGHT_MAX = 64;
const CHUNKS_IN_FLIGHT_MIN = 2;

/** A reader that waits for its turn. */
interface Waiting {
  readonly bytes: number;
  go(): void;
}

/**
 * Keeps readers from slowing the trainers down. One event loop folds steps and serves reads, and evaluators that pull
 * without pause would take most of it. While trainers send and the loop is busy, readers may send a share of what
 * trainers send, in turn. At any other time they go as fast as they can.
 */
export class ReadTurns {
  #creditBytes = 0;
  /** How many writers are in the middle of a step. */
  #sending = 0;
  #lastReceivedMs = Number.NEGATIVE_INFINITY;
  readonly #waiting: Waiting[] = [];
  #timer: NodeJS.Timeout | undefined;
  #sample = performance.eventLoopUtilization();
  #sampledMs = performance.now();
  #isBusy = false;

  /** How many reads are under way. */
  readerCount = 0;

  /** How many chunks a reader may have with gRPC now. */
  get inFlightMax(): number {
    const share = Math.floor(CHUNKS_IN_FLIGHT_MAX / Math.max(1, this.readerCount));
    return Math.max(CHUNKS_IN_FLIGHT_MIN, Math.min(IN_FLIGHT_MAX, share));
  }

  /** Says that a writer has begun a step. The returned function says that it has sent the step whole, or is gone. */
  begin(): () => void {
    this.#sending += 1;
    let isSending = true;
    return () => {
      if (isSending) this.#sending -= 1;
      isSending = false;
    };
  }

  /** Says that a writer has sent `bytes` bytes. Lets readers go that the new credit suffices for. */
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

  /** Asks for a reader's turn to send `bytes` bytes: undefined when it may send now, else a promise of its turn. */
  turn(bytes: number): Promise<void> | undefined {
    if (!this.#isContended()) return undefined;
    return new Promise((go) => {
      this.#waiting.push({ bytes, go });
      this.#timer ??= setTimeout(() => this.#look(), LOOK_MS);
    });
  }

  /** Lets all waiting readers go when trainers no longer contend for the loop. */
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
