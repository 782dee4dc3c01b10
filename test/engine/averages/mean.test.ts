import { expect, test } from 'vitest';
import { meanWeight } from '../../../src/engine/averages/mean.js';

test('the weights 1, 1/2, 1/3 … give the plain average', () => {
  const values = [3, -1, 4, 1, 5, 9, 2, 6];
  const shadow = values.reduce((s, value, index) => s + meanWeight(index + 1) * (value - s), 0);
  expect(shadow).toBeCloseTo(values.reduce((sum, value) => sum + value, 0) / values.length, 14);
  expect(meanWeight(1)).toBe(1);
});
