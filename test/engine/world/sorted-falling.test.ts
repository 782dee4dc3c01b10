import { expect, test } from 'vitest';
import { sortedFalling } from '../../../src/engine/world/sorted-falling.js';
import { randomBits } from '../../kernels/elements.js';

const SEED = 20_261_201;

test(`numbers are sorted from the largest, equal ones as they come, seed ${SEED}`, () => {
  const random = randomBits(SEED);
  for (const count of [0, 1, 2, 3, 5, 8, 63, 64, 65, 1_000, 40_000]) {
    const keys = Float64Array.from({ length: count }, () => random() % (1 + count / 2));
    const work = sortedFalling(keys);
    let yields = 0;
    let found = work.next();
    for (; found.done !== true; found = work.next()) yields += 1;
    const expected = [...keys.keys()].sort((a, b) => keys[b]! - keys[a]! || a - b);
    expect([...found.value]).toEqual(expected);
    // Each of the merges that it takes looks at all of them.
    expect(yields).toBeGreaterThanOrEqual(Math.floor(count / 2 ** 14) * Math.ceil(Math.log2(count + 1)));
  }
});
