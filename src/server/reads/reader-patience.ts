import { setTimeout } from 'node:timers/promises';
import type { ReaderPatience } from '../../engine/index.js';

/** Longest time that one step waits for a read, which must go on meanwhile: a few GiB on a local network. */
const WAIT_MS_MAX = 10_000;

/** A read that has sent nothing for so long is not waited for: its evaluator is slow, or away. */
const STALL_MS = 250;

/** Waits for readers take at most one part in so many of a trainer's time. */
const TIME_SHARE = 4;

const LOOK_MS = 5;

/**
 * Where the ledger has no room for copies of the pages that readers hold, a step ends all reads, and evaluators beside a
 * trainer without pause would never finish one. So now and then a step waits for the oldest read.
 */
export function makeReaderPatience(): ReaderPatience {
  let nextMs = 0;
  return async (reader) => {
    const beganMs = performance.now();
    if (beganMs < nextMs) return;
    let movedMs = beganMs;
    let sentBytes = reader.sentBytes;
    for (let nowMs = beganMs; reader.isOpen; nowMs = performance.now()) {
      if (reader.sentBytes !== sentBytes) movedMs = nowMs;
      sentBytes = reader.sentBytes;
      if (nowMs - movedMs > STALL_MS || nowMs - beganMs > WAIT_MS_MAX) break;
      await setTimeout(LOOK_MS);
    }
    const endedMs = performance.now();
    nextMs = endedMs + (TIME_SHARE - 1) * (endedMs - beganMs);
  };
}
