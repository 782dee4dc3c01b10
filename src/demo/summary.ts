import type { RunInfo } from '../client/index.js';
import type { Recording, Row } from './recording.js';
import type { Setup } from './setup.js';

/** Least number of pulls during the training, of about 20. On a busy machine the evaluator skips some, but not most. */
const INTERMEDIATE_PULLS_MIN = 5;
/** Number of last steps whose median accuracy judges the raw weights, which jump from step to step. */
export const RAW_MEDIAN_STEPS = 100;
/**
 * How much less accurate than the raw weights the EMA may be: the standard error of an accuracy of 96 % on 359 images.
 * In a short training the EMA is 2 to 10 points better. In a very long one the raw weights come to rest, and the two
 * differ by chance.
 */
const ACCURACY_MARGIN = 0.01;

export interface Check {
  readonly ok: boolean;
  /** What must hold, in words, with the numbers that decide it. */
  readonly text: string;
}

/** The summary that `shadowkeep demo --json` prints. Accuracies are shares of the held-out images. */
export interface Summary {
  readonly ok: boolean;
  readonly seed: number;
  /** Steps that the trainer pushed and the service acknowledged as committed. */
  readonly steps: number;
  readonly seconds: number;
  readonly accuracyRaw: number;
  readonly accuracyRawMedian: number;
  readonly accuracyEma: number;
  /** Largest absolute difference from the float64 EMA, of the worst pull. */
  readonly difference: number;
  /** Largest difference that rounding to float32 can explain, for the same pull. */
  readonly differenceBound: number;
  readonly pushedBytes: number;
  readonly pulledBytes: number;
  readonly checks: readonly Check[];
  readonly rows: readonly Row[];
}

/** The part of the service's own description of the run that is checked. */
type RunState = Pick<RunInfo, 'committedStep'> & {
  readonly states: readonly Pick<RunInfo['states'][number], 'name' | 'numUpdates'>[];
};

/** Judges a demo that has come to its end. Throws when there is nothing to judge. */
export function summarize(setup: Pick<Setup, 'steps' | 'seed'>, recording: Recording, run: RunState): Summary {
  const { rows, accuraciesRaw } = recording;
  if (rows.length === 0) throw new Error('the evaluator pulled no step that the trainer reported');
  const worst = rows.reduce((left, right) => (right.difference > left.difference ? right : left));
  const accuracyRawMedian = median(accuraciesRaw.slice(-RAW_MEDIAN_STEPS));
  const last = rows.at(-1)!;
  const steps = recording.acknowledged?.steps ?? 0;
  const checks = [
    checkCommits(setup.steps, steps, run),
    checkPulls(setup.steps, recording),
    checkUpdates(rows),
    {
      ok: rows.every(({ difference, errorBound }) => difference <= errorBound),
      text: 'every weight pulled is within float32 rounding of the float64 EMA',
    },
    {
      ok: last.accuracyEma >= accuracyRawMedian - ACCURACY_MARGIN,
      text: `the EMA is not less accurate than the raw weights are in the median`,
    },
  ];
  return {
    ok: checks.every(({ ok }) => ok),
    seed: setup.seed,
    steps,
    seconds: recording.acknowledged?.seconds ?? 0,
    accuracyRaw: last.accuracyRaw,
    accuracyRawMedian,
    accuracyEma: last.accuracyEma,
    difference: worst.difference,
    differenceBound: worst.errorBound,
    pushedBytes: (recording.opened?.stepBytes ?? 0) * (steps + 1),
    pulledBytes: recording.pulledBytes,
    checks,
    rows,
  };
}

function checkCommits(stepsWanted: number, acknowledged: number, run: RunState): Check {
  const updates = run.states[0]?.numUpdates;
  return {
    ok: acknowledged === stepsWanted && run.committedStep === stepsWanted && updates === stepsWanted,
    text: `the service has step ${run.committedStep} after ${updates} updates, ${acknowledged} of ${stepsWanted} pushes acknowledged`,
  };
}

function checkPulls(stepsWanted: number, { rows, unmatchedCount }: Recording): Check {
  const between = rows.filter(({ step }) => step > 0 && step < stepsWanted).length;
  const last = rows.at(-1)?.step;
  return {
    ok: between >= INTERMEDIATE_PULLS_MIN && last === stepsWanted && unmatchedCount === 0,
    text: `the evaluator pulled ${between} steps during the training, and step ${last} at its end`,
  };
}

/** Checks that each shadow is the one of its step: every step after step 0 is one update, so the counts are equal. */
function checkUpdates(rows: readonly Row[]): Check {
  const wrong = rows.find(({ step, numUpdates }) => step !== numUpdates);
  return {
    ok: wrong === undefined,
    text: `each shadow counts as many updates as its step${wrong ? ` (not step ${wrong.step}: ${wrong.numUpdates})` : ''}`,
  };
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((left, right) => left - right);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
