import { randomInt } from 'node:crypto';

/** Generations of one millisecond. They stay exact in a JavaScript number until 2^53 / 2^11 ms after 1970, in 2109. */
const NUMBERS_PER_MS = 2 ** 11;

/**
 * A source of generations that never gives a number twice, not after a restart that has kept nothing, nor for a run
 * that was deleted and opened again. A generation is the clock's milliseconds followed by eleven random bits, so that a
 * clock that was set back hardly repeats one either. Within a process generations rise whatever the clock does.
 */
export function generationIssuer(now: () => number = Date.now): () => number {
  let last = 0;
  return () => {
    last = Math.max(last + 1, now() * NUMBERS_PER_MS + randomInt(NUMBERS_PER_MS));
    return last;
  };
}
