import { getHeapStatistics } from 'node:v8';
import type { Logger } from '../../common/index.js';
import { collectNow } from '../loop/collect-soon.js';
import type { Transport } from './transport.js';

/** How often the process is looked at: a 10 Gbit/s network brings 60 MB in that time. */
const LOOK_MS = 50;

/** How near to the limit the process may come: what a network brings between two looks, and the collector's own need. */
const RSS_SHARE_MAX = 0.94;
const HEAP_SHARE_MAX = 0.8;

/** A collection of everything takes some 100 ms: not at each look. */
const COLLECT_PAUSE_MS = 2_000;

/** At a look the newest of the streams are ended, so many of all. */
const SHED_SHARE = 1 / 16;

/** What a look at the process finds. */
export interface ProcessMemory {
  readonly rssBytes: number;
  readonly rssBytesMax: number;
  readonly heapBytes: number;
  readonly heapBytesMax: number;
}

/**
 * The last guard: whatever is not counted shows in the process's memory. Near its limit everything unused is collected;
 * when that does not help the newest streams are ended, and new ones refused, before the kernel ends the process or V8
 * itself. Runs and what they have committed are never touched.
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

/** The memory of this process, whose limit the kernel has set. */
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
