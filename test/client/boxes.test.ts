import { describe, expect, test } from 'vitest';
import { placeBoxes } from '../../src/client/boxes.js';
import { spaceBytes, stepLayout, withoutLeftOut } from '../../src/client/step-layout.js';
import { sourcesOf } from '../../src/client/step-source.js';
import type { BoxSpec, OpenRunOptions } from '../../src/client/types.js';

const TENSORS = [
  { name: 'w', dtype: 'F32', shape: [4, 6] },
  { name: 'scale', dtype: 'F64', shape: [] },
  { name: 'frozen', dtype: 'F32', shape: [8], policy: 'COPY_ONCE' },
  { name: 'cache', dtype: 'F32', shape: [8], policy: 'IGNORE' },
  { name: 'count', dtype: 'I64', shape: [3] },
] as const satisfies OpenRunOptions['tensors'];

function layoutOf(boxes: readonly BoxSpec[] | undefined, writers = 2) {
  return stepLayout({ tensors: TENSORS, writers, boxes, wireDtype: 'BF16' });
}

describe('a box', () => {
  test.each<[string, BoxSpec, string]>([
    ['an unknown tensor', { tensor: 'v' }, 'boxes[1] of tensor "v" names a tensor that the run does not have'],
    [
      'another rank',
      { tensor: 'w', offset: [0], extent: [4] },
      'boxes[1] of tensor "w" must have 2 offsets and extents, or none, got 1 offsets and 1 extents',
    ],
    [
      'an offset alone',
      { tensor: 'w', offset: [0, 0] },
      'boxes[1] of tensor "w" must have 2 offsets and extents, or none, got 2 offsets and 0 extents',
    ],
    [
      'more than the tensor',
      { tensor: 'w', offset: [0, 3], extent: [4, 4] },
      'boxes[1] of tensor "w" has offset 3 and extent 4 in dimension 1, which has 6 elements',
    ],
    [
      'no count',
      { tensor: 'w', offset: [-1, 0], extent: [4, 6] },
      'boxes[1] of tensor "w" has offset -1 and extent 4 in dimension 0, which has 4 elements',
    ],
    [
      'a fraction',
      { tensor: 'count', offset: [0.5], extent: [1] },
      'boxes[1] of tensor "count" has offset 0.5 and extent 1 in dimension 0, which has 3 elements',
    ],
  ])('of %s is refused', (_, box, message) => {
    expect(() => placeBoxes([{ tensor: 'w' }, box], TENSORS)).toThrow(
      expect.objectContaining({ reason: 'INVALID_FIELD', code: 'INVALID_ARGUMENT', message }),
    );
  });

  test('of an ignored tensor is refused to a writer', () => {
    expect(() => layoutOf([{ tensor: 'cache' }])).toThrow('boxes[0] of tensor "cache" is of an ignored tensor');
  });

  test('may be whole, empty, or of a scalar', () => {
    const placed = placeBoxes(
      [{ tensor: 'w' }, { tensor: 'w', offset: [4, 0], extent: [0, 6] }, { tensor: 'scale', offset: [], extent: [] }],
      TENSORS,
    );
    expect(placed.map(({ tensorIndex, offset, extent }) => ({ tensorIndex, offset, extent }))).toEqual([
      { tensorIndex: 0, offset: [0, 0], extent: [4, 6] },
      { tensorIndex: 0, offset: [4, 0], extent: [0, 6] },
      { tensorIndex: 1, offset: [], extent: [] },
    ]);
  });
});

const BOXES: readonly BoxSpec[] = [
  { tensor: 'frozen', offset: [2], extent: [3] },
  { tensor: 'w', offset: [0, 0], extent: [4, 3] },
  { tensor: 'w', offset: [0, 3], extent: [0, 3] },
  { tensor: 'count', replicaGroup: 1 },
];

describe('the byte space of a writer', () => {
  test('has its boxes in the declared order, those that are sent once behind the others', () => {
    const { eachStep, once, declared } = layoutOf(BOXES);
    expect(eachStep.map(({ boxIndex, bytes }) => [boxIndex, bytes])).toEqual([
      [1, 24],
      [2, 0],
      [3, 24],
    ]);
    expect(once.map(({ boxIndex, bytes }) => [boxIndex, bytes])).toEqual([[0, 12]]);
    expect(spaceBytes(eachStep)).toBe(128);
    expect(declared).toHaveLength(4);
    expect(eachStep[0]).toMatchObject({
      name: 'w',
      dtype: 'BF16',
      shape: [4, 3],
      boxOffset: [0, 0],
      globalShape: [4, 6],
    });
  });

  test('is without what another member of a replica group sends', () => {
    const layout = withoutLeftOut(layoutOf(BOXES), [3]);
    expect(layout.eachStep.map(({ boxIndex }) => boxIndex)).toEqual([1, 2]);
    expect(layout.declared).toHaveLength(4);
  });

  test('is the whole layout of one writer without boxes, and empty of one of several', () => {
    expect(layoutOf(undefined, 1).eachStep.map(({ name, bytes }) => [name, bytes])).toEqual([
      ['w', 48],
      ['scale', 2],
      ['count', 24],
    ]);
    expect(layoutOf(undefined, 2)).toEqual({ declared: [], eachStep: [], once: [] });
  });
});

describe('the arrays of a step', () => {
  const layout = withoutLeftOut(layoutOf(BOXES), [3]);
  const frozen = new Float32Array(3);
  const w = new Uint16Array(12);
  const count = new BigInt64Array(3);

  test('may leave out what is not sent', () => {
    const lengths = (arrays: (ArrayBufferView | undefined)[], isFirst: boolean) =>
      sourcesOf(arrays, layout, isFirst).map(({ bytes }) => bytes);
    expect(lengths([frozen, w, undefined, undefined], true)).toEqual([24, 0, 12]);
    expect(lengths([undefined, w, undefined, undefined], false)).toEqual([24, 0]);
    expect(lengths([frozen, w, new Uint16Array(), count], false)).toEqual([24, 0]);
  });

  test.each<[string, (ArrayBufferView | undefined)[], string]>([
    ['too few', [frozen, w], 'the array has 2 entries, this writer has declared 4 boxes'],
    ['a missing one', [frozen, undefined, undefined, count], 'tensor "w" (boxes[1]) is missing'],
    ['one that is sent once missing', [undefined, w, undefined, count], 'tensor "frozen" (boxes[0]) is missing'],
    [
      'a wrong length',
      [frozen, new Float32Array(12), undefined, undefined],
      'tensor "w" (boxes[1]) has 48 bytes, BF16 of shape [4, 3] needs 24',
    ],
    [
      'a wrong length of a box that another sends',
      [frozen, w, undefined, new BigInt64Array(2)],
      'tensor "count" (boxes[3]) has 16 bytes, I64 of shape [3] needs 24',
    ],
  ])('%s: refused by name', (_, arrays, message) => {
    expect(() => sourcesOf(arrays, layout, true)).toThrow(message);
  });

  test('are for boxes, and names for whole tensors', () => {
    expect(() => sourcesOf({ w }, layout, true)).toThrow('declared boxes: give an array of 4 views, one for each');
    expect(() => sourcesOf([w], layoutOf(undefined, 1), true)).toThrow('give the tensors by name');
  });
});
