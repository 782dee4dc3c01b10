import { setImmediate } from 'node:timers/promises';

/** Longest time that a fold holds the event loop: other calls, health checks and pings run in between. */
const SLICE_MS = 4;

/** Runs a fold to its end. The engine has no clock, so it yields often and this decides when to let others run. */
export async function driveFold(fold: Iterable<void>): Promise<void> {
  let sliceBeganMs = performance.now();
  for (const _ of fold) {
    if (performance.now() - sliceBeganMs < SLICE_MS) continue;
    await setImmediate();
    sliceBeganMs = performance.now();
  }
}
