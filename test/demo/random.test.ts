import { describe, expect, test } from 'vitest';
import { type Stream, seededRandom } from '../../src/demo/random.js';

const draw = (seed: number, count: number, stream: Stream = 'batches') => {
  const random = seededRandom(seed, stream);
  return Array.from({ length: count }, () => random.uniform());
};

describe('seededRandom', () => {
  test('the same seed gives the same sequence, another seed or stream another one', () => {
    expect(draw(7, 100)).toEqual(draw(7, 100));
    const seeds = [0, 1, 2, 3, 2 ** 31, 2 ** 32 - 1];
    const streams: Stream[] = ['split', 'weights', 'batches'];
    const firsts = new Set(seeds.flatMap((seed) => streams.map((stream) => draw(seed, 1, stream)[0])));
    expect(firsts.size).toBe(seeds.length * streams.length);
  });

  test('uniform fills [0, 1) evenly', () => {
    const values = draw(1, 100_000);
    expect(values.every((value) => value >= 0 && value < 1)).toBe(true);
    const bins = new Array<number>(16).fill(0);
    for (const value of values) bins[Math.floor(value * bins.length)]! += 1;
    const expected = values.length / bins.length;
    const chiSquare = bins.reduce((sum, seen) => sum + (seen - expected) ** 2 / expected, 0);
    // 15 degrees of freedom: 37.7 is the 0.999 quantile, and an even count (0) would be as suspect.
    expect(chiSquare).toBeLessThan(37.7);
    expect(chiSquare).toBeGreaterThan(1);
  });

  test('a permutation has each index once and is not the identity', () => {
    const order = [...seededRandom(3, 'split').permutation(1797)];
    expect(order.toSorted((left, right) => left - right)).toEqual(order.map((_, index) => index));
    expect(order.filter((value, index) => value === index).length).toBeLessThan(10);
  });
});
