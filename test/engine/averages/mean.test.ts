import { expect, test } from 'vitest';
import { meanWeight } from '../../../src/engine/averages/mean.js';

test('1, 1/2, 1/3 …', () => {
  expect([1, 2, 3].map((time) => meanWeight({ n: 0, elapsed: 1, time }))).toEqual([1, 1 / 2, 1 / 3]);
});

test('an update that stands for more steps weighs more', () => {
  expect(meanWeight({ n: 0, elapsed: 10, time: 40 })).toBe(1 / 4);
});
