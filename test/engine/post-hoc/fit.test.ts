import { describe, expect, test } from 'vitest';
import { gammaOf } from '../../../src/engine/index.js';
import { fitProfiles, type Profile, profileProduct } from '../../../src/engine/post-hoc/index.js';

const profile = (time: number, sigmaRel: number): Profile => ({ time, gamma: gammaOf(sigmaRel) });

describe('the numbers of EDM2', () => {
  test('the inner product of two profiles', () => {
    expect(profileProduct(profile(1_000, 0.05), profile(2_000, 0.1)) / 2.33651714e-5).toBeCloseTo(1, 7);
    expect(profileProduct(profile(2_000, 0.1), profile(1_000, 0.05)) / 2.33651714e-5).toBeCloseTo(1, 7);
  });

  test('the weights of four snapshots', () => {
    const inputs = [profile(500, 0.05), profile(1_000, 0.05), profile(500, 0.1), profile(1_000, 0.1)];
    const { weights } = fitProfiles(inputs, profile(1_000, 0.075));
    for (const [i, expected] of [0.00013575, 0.34296904, -0.00242663, 0.65932184].entries()) {
      expect(weights[i]).toBeCloseTo(expected, 7);
    }
  });
});

/** Weight density of a profile at τ. */
const density = ({ gamma, time }: Profile, tau: number): number =>
  tau > time ? 0 : ((gamma + 1) / time) * (tau / time) ** gamma;

/** ∫ f dτ from 0 to `end`, by the midpoints of many pieces. */
function integral(end: number, f: (tau: number) => number): number {
  const pieces = 200_000;
  let sum = 0;
  for (let i = 0; i < pieces; i++) sum += f(((i + 0.5) / pieces) * end);
  return (sum / pieces) * end;
}

describe('against integrals', () => {
  test.each([
    [profile(500, 0.05), profile(1_000, 0.1)],
    [profile(1_000, 0.2), profile(700, 0.1)],
    [profile(1_000, 0.1), profile(1_000, 0.15)],
  ])('inner products', (a, b) => {
    const product = integral(1_000, (tau) => density(a, tau) * density(b, tau));
    expect(profileProduct(a, b) / product).toBeCloseTo(1, 6);
  });

  test('the error of a fit, and that nothing near is better', () => {
    const inputs = [profile(600, 0.05), profile(1_000, 0.05), profile(600, 0.1), profile(1_000, 0.1)];
    const target = profile(1_000, 0.15);
    const errorOf = (weights: readonly number[]): number => {
      const combined = (tau: number) => inputs.reduce((sum, input, i) => sum + weights[i]! * density(input, tau), 0);
      const distance2 = integral(1_000, (tau) => (combined(tau) - density(target, tau)) ** 2);
      return Math.sqrt(distance2 / integral(1_000, (tau) => density(target, tau) ** 2));
    };
    const { weights, error } = fitProfiles(inputs, target);
    expect(weights.reduce((sum, weight) => sum + weight, 0)).toBeCloseTo(1, 12);
    expect(error).toBeCloseTo(errorOf(weights), 5);
    // Dividing by the sum costs a little: moves that keep the sum change the error in the second order only.
    const moved = weights.map((weight, i) => weight + [0.05, -0.05, 0, 0][i]!);
    expect(errorOf(moved)).toBeGreaterThan(error);
  });
});

test('an input that is the target is taken alone', () => {
  const inputs = [profile(500, 0.05), profile(1_000, 0.05), profile(1_000, 0.1)];
  expect(fitProfiles(inputs, profile(1_000, 0.1))).toEqual({ weights: [0, 0, 1], error: 0 });
});

test('more inputs fit better', () => {
  const inputs = (count: number): Profile[] =>
    Array.from({ length: count }, (_, i) => [
      profile(((i + 1) / count) * 1_000, 0.05),
      profile(((i + 1) / count) * 1_000, 0.1),
    ]).flat();
  const errors = [1, 2, 4, 8, 16].map((count) => fitProfiles(inputs(count), profile(1_000, 0.15)).error);
  expect(errors).toEqual(errors.toSorted((a, b) => b - a));
  expect(errors[4]).toBeLessThan(0.02);
});

test('128 inputs, nearly alike: the weights are finite and their sum is one', () => {
  const inputs = Array.from({ length: 64 }, (_, i) => [profile(1_000 + i, 0.05), profile(1_000 + i, 0.1)]).flat();
  const { weights, error } = fitProfiles(inputs, profile(1_063, 0.2));
  expect(weights.every(Number.isFinite)).toBe(true);
  expect(weights.reduce((sum, weight) => sum + weight, 0)).toBeCloseTo(1, 9);
  expect(error).toBeLessThan(1);
});
