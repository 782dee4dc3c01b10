import { setImmediate as immediate } from 'node:timers/promises';

/**
 * Longest time that one slice of work holds the event loop. Other calls, health checks and pings run between slices.
 */
const SLICE_MS = 4;

/** Runs work to its end. The work has no clock, so it yields often, and this function decides when others may run. */
export async function inSlices<Result>(work: Iterator<void, Result>): Promise<Result> {
  return await run(work, immediate);
}

/**
 * Runs work that a client asks for to its end. Of all such work under way one piece has a slice in each turn of the
 * event loop, in turn, so that a hundred requests together hold the loop no longer than one does.
 */
export async function inTurns<Result>(work: Iterator<void, Result>): Promise<Result> {
  await nextTurn();
  return await run(work, nextTurn);
}

/** Runs work that is nearly always done in its first slice, which therefore does not wait for a turn. */
export async function soon<Result>(work: Iterator<void, Result>): Promise<Result> {
  const { done, value } = work.next();
  return done === true ? value : await inTurns(work);
}

async function run<Result>(work: Iterator<void, Result>, next: () => Promise<unknown>): Promise<Result> {
  let sliceBeganMs = performance.now();
  for (;;) {
    const { done, value } = work.next();
    if (done === true) return value;
    if (performance.now() - sliceBeganMs < SLICE_MS) continue;
    await next();
    sliceBeganMs = performance.now();
  }
}

/** The callers of `nextTurn` that wait, and whether somebody has had this turn of the event loop already. */
const waiting: (() => void)[] = [];
let isTaken = false;

/** Resolves when it is the caller's turn: at once when nobody else has had this turn of the event loop. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    waiting.push(resolve);
    if (!isTaken) giveTurn();
  });
}

function giveTurn(): void {
  const go = waiting.shift();
  isTaken = go !== undefined;
  if (go === undefined) return;
  go();
  setImmediate(giveTurn);
}
