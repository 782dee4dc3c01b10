import { describe, expect, test } from 'vitest';
import { AVERAGE_DEFAULTS } from '../../../src/common/index.js';
import {
  type AverageSpec,
  advanceInitial,
  advanceUpdate,
  NO_PROGRESS,
  type Progress,
} from '../../../src/engine/averages/index.js';

const constant = (decay: number, rest: Partial<AverageSpec> = {}): AverageSpec => ({
  ...AVERAGE_DEFAULTS,
  name: 'a',
  schedule: { kind: 'constant', decay },
  ...rest,
});

/** Weights of pushes at the given steps, from 1 on unless told. */
function weights(average: AverageSpec, steps: readonly number[], initialStep?: number): number[] {
  let progress: Progress = NO_PROGRESS;
  if (initialStep !== undefined) progress = advanceInitial(average, progress, initialStep).progress;
  return steps.map((step) => {
    const advance = advanceUpdate(average, progress, step);
    progress = advance.progress;
    return advance.weight;
  });
}

const steps = (count: number, every = 1): number[] => Array.from({ length: count }, (_, i) => (i + 1) * every);

describe('start', () => {
  test.each([
    ['FIRST', [1, 0.25, 0.25]],
    ['ZEROS', [0.25, 0.25, 0.25]],
    ['INITIAL', [0.25, 0.25, 0.25]],
  ] as const)('%s', (start, expected) => {
    expect(weights(constant(0.75, { start }), steps(3), 0)).toEqual(expected);
  });

  test('an initial push assigns, except to zeros, and is no update', () => {
    for (const start of ['INITIAL', 'FIRST', 'ZEROS'] as const) {
      const { weight, progress } = advanceInitial(constant(0.5, { start }), NO_PROGRESS, 7);
      expect(weight).toBe(start === 'ZEROS' ? 0 : 1);
      expect(progress).toEqual({ numUpdates: 0, pushes: 0, weight, originStep: 7, lastStep: 7 });
    }
  });
});

describe('every', () => {
  test('the N-th, 2N-th … push is folded; the first is copied, so that a shadow is never empty', () => {
    expect(weights(constant(0.75, { every: 3 }), steps(9))).toEqual([1, 0, 1, 0, 0, 0.25, 0, 0, 0.25]);
  });

  test('zeros stay until then', () => {
    expect(weights(constant(0.75, { every: 3, start: 'ZEROS' }), steps(6))).toEqual([0, 0, 0.25, 0, 0, 0.25]);
  });

  test('with an offset the first, N + 1-th …', () => {
    expect(weights(constant(0.75, { every: 3, everyOffset: 1 }), steps(7))).toEqual([1, 0, 0, 0.25, 0, 0, 0.25]);
  });
});

describe('delay', () => {
  test('copies until then: the schedule begins after it', () => {
    const average: AverageSpec = { ...constant(0), schedule: { kind: 'mean' }, start: 'INITIAL', delayUpdates: 2 };
    expect(weights(average, steps(5), 0)).toEqual([1, 1, 1, 1 / 2, 1 / 3]);
  });

  test('holds until then', () => {
    const average = constant(0.75, { delayUpdates: 2, delayMode: 'HOLD_UNTIL', start: 'INITIAL' });
    expect(weights(average, steps(4), 0)).toEqual([0, 0, 0.25, 0.25]);
  });

  test('an empty shadow that holds takes the first push, and the first update assigns again', () => {
    const average = constant(0.75, { delayUpdates: 2, delayMode: 'HOLD_UNTIL' });
    expect(weights(average, steps(4))).toEqual([1, 0, 1, 0.25]);
  });

  test('`every` counts all pushes, those of the delay too', () => {
    const average = constant(0.75, { delayUpdates: 2, delayMode: 'HOLD_UNTIL', every: 2, start: 'INITIAL' });
    expect(weights(average, steps(6), 0)).toEqual([0, 0, 0, 0.25, 0, 0.25]);
  });
});

describe('the index of a schedule', () => {
  const ratio = (rest: Partial<AverageSpec>): AverageSpec => ({
    ...constant(0, { start: 'ZEROS', ...rest }),
    schedule: { kind: 'ratio_warmup', decay: 1, decayMin: 0 },
  });
  const weightOfIndex = (n: number): number => 1 - (1 + n) / (10 + n);

  test.each([
    ['folded updates from 0', {}, steps(3), [0, 1, 2]],
    ['folded updates from 5', { firstIndex: 5 }, steps(3), [5, 6, 7]],
    ['folded updates, whatever was passed over', { every: 2 }, steps(6), [undefined, 0, undefined, 1, undefined, 2]],
    ['pushes', { every: 2, indexUnit: 'PUSHES' }, steps(6), [undefined, 1, undefined, 3, undefined, 5]],
    [
      'pushes after the delay',
      { delayUpdates: 2, delayMode: 'HOLD_UNTIL', indexUnit: 'PUSHES' },
      steps(4),
      [undefined, undefined, 0, 1],
    ],
    ['the trainer’s steps', { decayUnit: 'PER_STEP' }, [1, 2, 3], [0, 1, 2]],
  ] as const)('counts %s', (_, rest, at, expected) => {
    const found = weights(ratio(rest), at);
    expect(found).toEqual(expected.map((n) => (n === undefined ? 0 : weightOfIndex(n))));
  });
});

describe('per step', () => {
  test.each([1, 10, 100])('a constant decay from initial weights does not see that it is pushed every %i', (every) => {
    const average = constant(0.9999, { decayUnit: 'PER_STEP', start: 'INITIAL' });
    const kept = weights(average, steps(1_000 / every, every), 0).reduce((share, weight) => share * (1 - weight), 1);
    expect(kept).toBeCloseTo(0.9999 ** 1_000, 12);
  });

  test.each([1, 10, 100])('nor does a half-life, pushed every %i', (every) => {
    const average: AverageSpec = {
      ...constant(0, { decayUnit: 'PER_STEP', start: 'INITIAL' }),
      schedule: { kind: 'half_life', updates: 1_000 },
    };
    const kept = weights(average, steps(1_000 / every, every), 0).reduce((share, weight) => share * (1 - weight), 1);
    expect(kept).toBeCloseTo(0.5, 12);
  });

  test('skipped steps count, from the initial push on', () => {
    const average = constant(0.5, { decayUnit: 'PER_STEP', start: 'INITIAL' });
    expect(weights(average, [101, 104, 105], 100)).toEqual([0.5, 1 - 0.5 ** 3, 0.5]);
  });

  test('time begins when the delay is over', () => {
    const average: AverageSpec = {
      ...constant(0, { decayUnit: 'PER_STEP', delayUpdates: 2 }),
      schedule: { kind: 'mean' },
    };
    expect(weights(average, [10, 20, 30, 40])).toEqual([1, 1, 1, 1 / 2]);
  });

  test('a trainer that counts from 0 loses nothing', () => {
    expect(weights(constant(0.5, { decayUnit: 'PER_STEP', start: 'ZEROS' }), [0, 1])).toEqual([0.5, 0.5]);
  });
});
