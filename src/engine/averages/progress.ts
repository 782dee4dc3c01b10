import type { AverageSpec, Moment } from './spec.js';
import { weightAt } from './weight-at.js';

/** The progress of an average: all that its schedule needs to go on where it was. */
export interface Progress {
  /** Updates folded. */
  readonly numUpdates: number;
  /** Updates pushed since it began: folded, copied, held or passed over. */
  readonly pushes: number;
  /** w of the last commit that touched the shadow, 1 when it was assigned; undefined: the shadow is still empty. */
  readonly weight: number | undefined;
  /** The trainer's step from which time is counted, and that of the last fold; undefined: 0. */
  readonly originStep: number | undefined;
  readonly lastStep: number | undefined;
}

export const NO_PROGRESS: Progress = {
  numUpdates: 0,
  pushes: 0,
  weight: undefined,
  originStep: undefined,
  lastStep: undefined,
};

/** The effect of one commit on an average: its progress afterwards, and the weight of the fold (0 holds). */
export interface Advance {
  readonly progress: Progress;
  readonly weight: number;
}

/** The initial push: shadows are assigned, those that start from ZEROS hold; time begins. */
export function advanceInitial({ start }: AverageSpec, progress: Progress, step: number): Advance {
  const weight = start === 'ZEROS' ? 0 : 1;
  return { weight, progress: { ...progress, weight, originStep: step, lastStep: step } };
}

/** The next push of the trainer's `step`. */
export function advanceUpdate(average: AverageSpec, before: Progress, step: number): Advance {
  const pushes = before.pushes + 1;
  const isTouched = pushes % average.every === average.everyOffset;
  if (pushes <= average.delayUpdates) {
    // What comes before the schedule is no time of its own: it begins at the last step of the delay.
    const delayed = { ...before, pushes, originStep: step, lastStep: step };
    const isCopied = average.delayMode === 'COPY_EACH_UNTIL' || (isTouched && average.delayMode === 'COPY_UNTIL');
    return isCopied ? assign(delayed) : hold(average, delayed);
  }
  if (!isTouched) return hold(average, { ...before, pushes });
  const numUpdates = before.numUpdates + 1;
  const isFirst = numUpdates === 1 && average.start === 'FIRST';
  const moment = momentOf(average, before, pushes, step);
  const weight = isFirst ? 1 : weightAt(average.schedule, average.biasCorrection, moment);
  return { weight, progress: { ...before, numUpdates, pushes, weight, lastStep: step } };
}

function momentOf(average: AverageSpec, before: Progress, pushes: number, step: number): Moment {
  const { decayUnit, firstIndex, indexUnit, delayUpdates } = average;
  if (decayUnit === 'PER_STEP') {
    const origin = before.originStep ?? 0;
    // A trainer that counts from 0 has its first update there: it is one, too.
    const time = Math.max(1, step - origin);
    const elapsed = Math.max(1, step - (before.lastStep ?? origin));
    return { n: firstIndex + time - 1, elapsed, time };
  }
  const time = before.numUpdates + 1;
  const index = indexUnit === 'PUSHES' ? pushes - delayUpdates : time;
  return { n: firstIndex + index - 1, elapsed: 1, time };
}

/** The shadow stays; one that would be empty, and is to start with what comes first, takes that. */
function hold({ start }: AverageSpec, progress: Progress): Advance {
  if (progress.weight !== undefined) return { weight: 0, progress };
  return start === 'FIRST' ? assign(progress) : { weight: 0, progress: { ...progress, weight: 0 } };
}

function assign(progress: Progress): Advance {
  return { weight: 1, progress: { ...progress, weight: 1 } };
}
