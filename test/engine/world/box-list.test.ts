import { describe, expect, test } from 'vitest';
import { BoxList } from '../../../src/engine/index.js';
import type { Box } from '../../../src/engine/world/index.js';
import { tensor } from '../fixtures.js';
import { box } from './naive.js';

const MATRIX = tensor('w', [4, 6]);
const BOXES: readonly Box[] = [
  box([1, 2], [3, 4], { tensor: 7 }),
  box([], [], { replicaGroup: 5 }),
  box([0, 0], [2, 6], { tensor: 4_294_967_295, replicaGroup: 4_294_967_295 }),
];

const placeOf = (list: BoxList, index: number, of = MATRIX) => {
  const { offset, extent } = list.place(index, of.shape);
  return [Array.from(offset), Array.from(extent)];
};

describe('a list of boxes', () => {
  test('gives back what it was made of; a whole tensor has the extents of its shape', () => {
    const list = BoxList.of(BOXES);
    expect(list.count).toBe(3);
    expect([...list.tensor]).toEqual([7, 0, 4_294_967_295]);
    expect([...list.replicaGroup]).toEqual([0, 5, 4_294_967_295]);
    expect([0, 1, 2].map((index) => placeOf(list, index))).toEqual([
      [
        [1, 2],
        [3, 4],
      ],
      [
        [0, 0],
        [4, 6],
      ],
      [
        [0, 0],
        [2, 6],
      ],
    ]);
    expect(placeOf(list, 1, tensor('scalar', []))).toEqual([[], []]);
  });

  test('takes offsets that need more than 32 bits, and says what memory it takes', () => {
    const list = BoxList.of([box([2 ** 40], [2 ** 33])]);
    expect(placeOf(list, 0, tensor('w', [2 ** 41]))).toEqual([[2 ** 40], [2 ** 33]]);
    // Two columns of one entry, one of two, and two dims of 8 bytes.
    expect(list.bytes).toBe(4 + 4 + 8 + 16);
    expect(BoxList.of([]).bytes).toBe(4);
  });

  test('columns of other lengths are no list', () => {
    const one = Uint32Array.of(0);
    expect(() => new BoxList(one, one, one, one)).toThrow('broken invariant');
    expect(() => new BoxList(one, new Uint32Array(2), Uint32Array.of(0, 0), one)).toThrow('broken invariant');
  });
});

describe('the fingerprint', () => {
  const print = (boxes: readonly Box[]) => BoxList.of(boxes).fingerprint;

  test('is that of the content, not of the place in memory', () => {
    const shared = new ArrayBuffer(64);
    const first = new Uint32Array(shared, 16, 2);
    first.set([0, 2]);
    const moved = new BoxList(Uint32Array.of(0), Uint32Array.of(0), first, Float64Array.of(1, 2));
    expect(moved.fingerprint).toBe(print([box([1], [2])]));
    expect(print(BOXES)).toBe(print(BOXES.map((one) => ({ ...one }))));
  });

  test.each<[string, Box]>([
    ['tensor', box([1, 2], [3, 4], { tensor: 6 })],
    ['offset', box([1, 1], [3, 4], { tensor: 7 })],
    ['extent', box([1, 2], [3, 3], { tensor: 7 })],
    ['group', box([1, 2], [3, 4], { tensor: 7, replicaGroup: 1 })],
    ['form', box([], [], { tensor: 7 })],
  ])('changes with the %s of one box', (_, changed) => {
    expect(print([changed, ...BOXES.slice(1)])).not.toBe(print(BOXES));
  });

  test('changes with the order and with the count', () => {
    expect(print([BOXES[1]!, BOXES[0]!, BOXES[2]!])).not.toBe(print(BOXES));
    expect(print(BOXES.slice(0, 2))).not.toBe(print(BOXES));
    expect(print([])).not.toBe(print([box([], [])]));
  });
});
