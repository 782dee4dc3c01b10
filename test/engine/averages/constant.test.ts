import { expect, test } from 'vitest';
import { constantWeight } from '../../../src/engine/averages/constant.js';

test('β = 0 assigns, β = 1 holds, between them 1 − β', () => {
  const weights = [0, 0.9, 0.999, 1].map((decay) => constantWeight(decay, { n: 0, elapsed: 1, time: 1 }));
  expect(weights).toEqual([1, 1 - 0.9, 1 - 0.999, 0]);
});

test('ten steps at once decay as ten steps one by one', () => {
  expect(1 - constantWeight(0.9999, { n: 0, elapsed: 10, time: 10 })).toBeCloseTo(0.9990004498800211, 15);
});
