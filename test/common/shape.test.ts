import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { alignedBytes, ELEMENT_COUNT_MAX, elementCount, roundUp } from '../../src/common/index.js';

const SEED = 20_250_616;
const extents = fc.oneof(
  fc.nat(10),
  fc.constantFrom(0, 1, 2 ** 10, 2 ** 25, 2 ** 32, 2 ** 50, 2 ** 52, Number.MAX_SAFE_INTEGER),
);

describe('the number of elements', () => {
  test(`is the exact product, or undefined over the bound, seed ${SEED}`, () => {
    fc.assert(
      fc.property(fc.array(extents, { maxLength: 64 }), (shape) => {
        const exact = shape.reduce((product, extent) => product * BigInt(extent), 1n);
        expect(elementCount(shape)).toBe(exact > BigInt(ELEMENT_COUNT_MAX) ? undefined : Number(exact));
      }),
      { seed: SEED, numRuns: 2_000 },
    );
  });

  test('of a scalar is 1, of anything with a 0 is 0, even where the rest overflows', () => {
    expect(elementCount([])).toBe(1);
    expect(elementCount([2 ** 50, 2 ** 50, 0])).toBe(0);
    expect(elementCount([2 ** 50])).toBe(2 ** 50);
    expect(elementCount([2 ** 50 + 1])).toBeUndefined();
    expect(elementCount([2 ** 25, 2 ** 25, 2])).toBeUndefined();
  });
});

test('rounding up is exact to the largest byte offset', () => {
  expect([0, 1, 63, 64, 65].map(alignedBytes)).toEqual([0, 64, 64, 64, 128]);
  expect(alignedBytes(ELEMENT_COUNT_MAX * 4 - 63)).toBe(ELEMENT_COUNT_MAX * 4);
  expect([roundUp(7, 3), roundUp(9, 3)]).toEqual([9, 9]);
});
