import { setTimeout } from 'node:timers/promises';
import type { ReaderPatience } from '../../engine/index.js';

/** Longest time that one step waits for a read that makes progress: enough for a few GiB on a local network. */
const WAIT_MS_MAX = 10_000;

/** A step does not wait for a read that has sent nothing for this long: its evaluator is slow, or gone. */
const STALL_MS = 250;

/** Waits for readers take at most one part in TIME_SHARE of a trainer's time. */
const TIME_SHARE = 4;

/** How often a wait looks whether its read has ended or moved on. */
const LOOK_MS = 5;

/**
 * Makes the function with which a run's steps wait for readers. Where the ledger has no room to copy the pages that
 * readers hold, a step evicts those readers, and evaluators beside a trainer that never pauses would never finish a
 * read. So now and then a step waits for the read that it is given.
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
