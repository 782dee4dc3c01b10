import { setImmediate as immediate } from 'node:timers/promises';

/** Longest time that one piece of work holds the event loop: other calls, health checks and pings run in between. */
const SLICE_MS = 4;

/** Runs work to its end. It has no clock, so it yields often and this decides when to let others run. */
export async function inSlices<Result>(work: Iterator<void, Result>): Promise<Result> {
  return await run(work, immediate);
}

/**
 * The same for what a client asks: of all that are under way one has a slice in each turn of the loop, in turn, so that a
 * hundred of them together hold it no longer than one does.
 */
export async function inTurns<Result>(work: Iterator<void, Result>): Promise<Result> {
  await nextTurn();
  return await run(work, nextTurn);
}

/** Runs work that is nearly always one slice: the first slice has no turn to wait for. */
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

/** Who waits for a slice, and whether this turn of the loop has given one away. */
const waiting: (() => void)[] = [];
let isTaken = false;

/** Resolves when it is the caller's turn: at once when nobody else has had one in this turn of the loop. */
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
