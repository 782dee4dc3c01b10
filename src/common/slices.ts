/**
 * Long work is a generator that yields between slices of about a millisecond, by what it has counted: it has no clock, and
 * whoever runs it decides how often others have their turn.
 */

/** Runs work to its end in one go, where nobody waits. */
export function toEnd<Result>(work: Generator<void, Result>): Result {
  for (;;) {
    const { done, value } = work.next();
    if (done === true) return value;
  }
}
