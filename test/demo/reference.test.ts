import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../src/demo/random.js';
import { largestDifference, ReferenceEma } from '../../src/demo/reference.js';

const DECAY = 0.99;

/** The service's rule, each operation rounded to float32. */
function foldFloat32(shadow: Float32Array, weights: Float32Array, weight = Math.fround(1 - DECAY)): void {
  for (let index = 0; index < shadow.length; index += 1) {
    const difference = Math.fround(weights[index]! - shadow[index]!);
    shadow[index] = shadow[index]! + Math.fround(weight * difference);
  }
}

describe('ReferenceEma', () => {
  test('equals the closed form for weights that are constant', () => {
    const reference = new ReferenceEma(Float32Array.of(0, 1), DECAY);
    for (let update = 0; update < 50; update += 1) reference.fold(Float32Array.of(1, 1));
    expect(reference.values[0]).toBeCloseTo(1 - DECAY ** 50, 12);
    expect(reference.values[1]).toBe(1);
  });

  test('a float32 EMA stays inside the bound, and one that folds a step twice or not at all does not', () => {
    const random = seededRandom(21, 'weights');
    const count = 2_000;
    const weights = () => Float32Array.from({ length: count }, () => 8 * random.uniform() - 4);
    const initial = weights();
    const reference = new ReferenceEma(initial, DECAY);
    const [right, twice, missed] = [initial.slice(), initial.slice(), initial.slice()];
    expect(reference.errorBound()).toBe(0);
    let largest = 0;
    for (let update = 1; update <= 600; update += 1) {
      const theta = weights();
      reference.fold(theta);
      foldFloat32(right, theta);
      foldFloat32(twice, theta);
      if (update === 600) foldFloat32(twice, theta);
      if (update !== 600) foldFloat32(missed, theta);
      const share = largestDifference(right, reference.values) / reference.errorBound();
      expect(share, `update ${update}, seed 21`).toBeLessThan(1);
      largest = Math.max(largest, share);
    }
    // The bound is worth something: rounding uses a visible part of it, one wrong fold far more than all of it.
    expect(largest).toBeGreaterThan(0.005);
    expect(largestDifference(twice, reference.values)).toBeGreaterThan(100 * reference.errorBound());
    expect(largestDifference(missed, reference.values)).toBeGreaterThan(100 * reference.errorBound());
  });

  test('a NaN, an infinity or another length is infinitely far away', () => {
    expect(largestDifference(Float32Array.of(1, Number.NaN), Float64Array.of(1, 2))).toBe(Number.POSITIVE_INFINITY);
    expect(largestDifference(Float32Array.of(1, Infinity), Float64Array.of(1, 2))).toBe(Number.POSITIVE_INFINITY);
    expect(largestDifference(Float32Array.of(1), Float64Array.of(1, 2))).toBe(Number.POSITIVE_INFINITY);
    expect(largestDifference(Float32Array.of(1, 2.5), Float64Array.of(1, 2))).toBe(0.5);
  });
});
