import { randomInt } from 'node:crypto';

/** Numbers of one millisecond: 2^53 / 2^11 milliseconds since 1970 are over in the year 2109. */
const NUMBERS_PER_MS = 2 ** 11;

/**
 * A source of generations that never gives a number twice: not after a restart, which has kept nothing, nor for a run that
 * was deleted and opened again. They are the clock's milliseconds and eleven random bits, so that a clock that was set back
 * does not repeat them either, and rise within a process whatever the clock does. Exact in a JavaScript number.
 */
export function generationIssuer(now: () => number = Date.now): () => number {
  let last = 0;
  return () => {
    last = Math.max(last + 1, now() * NUMBERS_PER_MS + randomInt(NUMBERS_PER_MS));
    return last;
  };
}
