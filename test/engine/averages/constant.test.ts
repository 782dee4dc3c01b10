import { expect, test } from 'vitest';
import { constantWeight } from '../../../src/engine/averages/constant.js';

test('the weight is 1 − β, from an assignment to a hold', () => {
  expect([0, 0.5, 0.999, 1].map(constantWeight)).toEqual([1, 0.5, 1 - 0.999, 0]);
});
