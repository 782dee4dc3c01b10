import { describe, expect, test } from 'vitest';
import { AVERAGE_DEFAULTS, SIGMA_REL_MAX } from '../../../src/common/index.js';
import { type AverageSpec, advanceUpdate, gammaOf, NO_PROGRESS } from '../../../src/engine/averages/index.js';
import { powerFunctionWeight } from '../../../src/engine/averages/power-function.js';

/** Standard deviation of the profile of exponent γ, relative to its length (Karras et al. 2023, eq. 126). */
function sigmaRelOf(gamma: number): number {
  return Math.sqrt((gamma + 1) / ((gamma + 2) ** 2 * (gamma + 3)));
}

describe('width and exponent', () => {
  test.each([
    [0.05, 16.9722],
    [0.1, 6.9372],
    [0.15, 3.5579],
    [0.2, 1.8262],
    [0.25, 0.7198],
  ])('relative width %f: exponent %f', (sigmaRel, gamma) => {
    expect(gammaOf(sigmaRel)).toBeCloseTo(gamma, 4);
  });

  test.each([
    [6.94, 0.0999723],
    [16.97, 0.0500055],
  ])('exponent %f: relative width %f', (gamma, sigmaRel) => {
    expect(sigmaRelOf(gamma)).toBeCloseTo(sigmaRel, 7);
  });

  test('one is the inverse of the other, from the least width to the plain average', () => {
    for (let i = 0; i <= 1_000; i++) {
      const sigmaRel = 1e-6 + (i / 1_000) * (SIGMA_REL_MAX - 1e-6);
      expect(sigmaRelOf(gammaOf(sigmaRel)) / sigmaRel).toBeCloseTo(1, 9);
    }
    expect(gammaOf(SIGMA_REL_MAX)).toBeCloseTo(0, 6);
  });
});

describe('decays', () => {
  test.each([
    [0.05, [0, 0.000004, 0.000684, 0.005683, 0.018127, 0.037752]],
    [0.1, [0, 0.00408, 0.040025, 0.101938, 0.17014, 0.235246]],
  ])('of relative width %f at t = 1 … 6', (sigmaRel, expected) => {
    for (const [i, decay] of expected.entries()) {
      const weight = powerFunctionWeight(gammaOf(sigmaRel), { n: 0, elapsed: 1, time: i + 1 });
      expect(1 - weight).toBeCloseTo(decay, 5);
    }
  });

  test('the exponent 0 is the plain average', () => {
    const weights = [1, 2, 3, 1_000].map((time) => powerFunctionWeight(0, { n: 0, elapsed: 1, time }));
    for (const [i, time] of [1, 2, 3, 1_000].entries()) expect(weights[i]).toBeCloseTo(1 / time, 15);
  });
});

/** Mean position and standard deviation of the weights that past steps have, relative to the training's length. */
function measuredProfile(sigmaRel: number, interval: number): { mean: number; deviation: number } {
  const steps = 10_000;
  const average: AverageSpec = {
    ...AVERAGE_DEFAULTS,
    name: 'a',
    schedule: { kind: 'power_function', gamma: gammaOf(sigmaRel) },
    decayUnit: 'PER_STEP',
  };
  let progress = NO_PROGRESS;
  // Averages of the position and of its square are the moments of the profile.
  let [first, second] = [0, 0];
  for (let step = interval; step <= steps; step += interval) {
    const advance = advanceUpdate(average, progress, step);
    progress = advance.progress;
    const position = step / steps;
    first += advance.weight * (position - first);
    second += advance.weight * (position ** 2 - second);
  }
  return { mean: first, deviation: Math.sqrt(second - first ** 2) };
}

describe('the measured profile has the width that was asked for', () => {
  test.each([0.05, 0.1, 0.2].flatMap((sigmaRel) => [1, 10, 100].map((interval) => [sigmaRel, interval])))(
    'relative width %f, pushed every %i steps',
    (sigmaRel, interval) => {
      const { mean, deviation } = measuredProfile(sigmaRel!, interval!);
      const gamma = gammaOf(sigmaRel!);
      // A push stands for the interval that it ends: half an interval late on average.
      expect(Math.abs(deviation - sigmaRel!)).toBeLessThan(2e-4);
      expect(Math.abs(mean - (gamma + 1) / (gamma + 2))).toBeLessThan(0.6 * (interval! / 10_000));
    },
  );
});
