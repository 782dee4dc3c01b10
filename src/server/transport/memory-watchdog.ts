import { getHeapStatistics } from 'node:v8';
import type { Logger } from '../../common/index.js';
import { collectNow } from '../loop/collect-soon.js';
import type { Transport } from './transport.js';

/** How often the memory of the process is looked at. A 10 Gbit/s network brings 60 MB in that time. */
const LOOK_MS = 50;

/**
 * Shares of the kernel's limit and of V8's heap limit that the process may use. The rest is for what a network brings
 * between two looks, and for the garbage collector's own need.
 */
const RSS_SHARE_MAX = 0.94;
const HEAP_SHARE_MAX = 0.8;

/** Least time between two collections of all garbage, because each takes some 100 ms. */
const COLLECT_PAUSE_MS = 2_000;

/** Share of all streams that one look ends, the newest first. */
const SHED_SHARE = 1 / 16;

/** The memory of the process, and how much it may have. */
export interface ProcessMemory {
  readonly rssBytes: number;
  readonly rssBytesMax: number;
  readonly heapBytes: number;
  readonly heapBytesMax: number;
}

/**
 * The last guard of memory: what no budget counts still shows in the memory of the process. Near the limit the watchdog
 * first collects all garbage. When that does not help it ends the newest streams and refuses new ones, before the
 * kernel kills the process or V8 aborts it. Runs and what they have committed are never touched.
 */
export class MemoryWatchdog {
  readonly #transport: Transport;
  readonly #log: Logger;
  readonly #look: () => ProcessMemory;
  readonly #collect: () => void;
  readonly #timer: NodeJS.Timeout;
  #collectedMs = Number.NEGATIVE_INFINITY;
  #isShort = false;

  constructor(transport: Transport, log: Logger, look: () => ProcessMemory, collect = collectNow) {
    this.#transport = transport;
    this.#log = log;
    this.#look = look;
    this.#collect = collect;
    this.#timer = setInterval(() => this.check(), LOOK_MS).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  check(): void {
    let memory = this.#look();
    if (isShort(memory) && performance.now() - this.#collectedMs > COLLECT_PAUSE_MS) {
      this.#collect();
      this.#collectedMs = performance.now();
      memory = this.#look();
    }
    if (!isShort(memory)) {
      if (this.#isShort) this.#log.info({ ...memory, shed: this.#transport.shedCount }, 'memory is no longer short');
      this.#isShort = false;
      this.#transport.refusal = undefined;
      return;
    }
    const why = `the process is short of memory: ${describe(memory)}`;
    this.#transport.refusal = why;
    const count = Math.ceil(this.#transport.streamCount * SHED_SHARE);
    const shed = this.#transport.shedNewest(count, why);
    if (!this.#isShort) this.#log.warn({ ...memory, shed }, 'memory is short: the newest streams are ended');
    this.#isShort = true;
  }
}

/** The memory of this process, which the kernel lets have `limitBytes`. */
export function processMemory(limitBytes: number): ProcessMemory {
  const { used_heap_size, heap_size_limit } = getHeapStatistics();
  return {
    rssBytes: process.memoryUsage.rss(),
    rssBytesMax: Math.floor(limitBytes * RSS_SHARE_MAX),
    heapBytes: used_heap_size,
    heapBytesMax: Math.floor(heap_size_limit * HEAP_SHARE_MAX),
  };
}

function isShort({ rssBytes, rssBytesMax, heapBytes, heapBytesMax }: ProcessMemory): boolean {
  return rssBytes > rssBytesMax || heapBytes > heapBytesMax;
}

function describe({ rssBytes, rssBytesMax, heapBytes, heapBytesMax }: ProcessMemory): string {
  return rssBytes > rssBytesMax
    ? `${rssBytes} bytes resident, at most ${rssBytesMax}`
    : `${heapBytes} bytes of heap, at most ${heapBytesMax}`;
}
