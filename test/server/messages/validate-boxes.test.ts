import { describe, expect, test } from 'vitest';
import { toEnd } from '../../../src/common/index.js';
import { BoxList, type TensorSpec } from '../../../src/engine/index.js';
import { validateBoxes, validateReadBoxes } from '../../../src/server/messages/index.js';
import { arrivedRead, refused } from './requests.js';

const TENSORS: TensorSpec[] = [
  { name: 'a', dtype: 'F32', shape: [2, 3], policy: 'AVERAGE' },
  { name: 'x', dtype: 'F32', shape: [9], policy: 'IGNORE' },
  { name: 's', dtype: 'F32', shape: [], policy: 'AVERAGE' },
  { name: 'e', dtype: 'I8', shape: [0], policy: 'COPY' },
  { name: 'deep', dtype: 'U8', shape: Array(10).fill(2), policy: 'COPY_ONCE' },
];

interface Box {
  tensor?: number;
  offset?: (number | string)[];
  extent?: (number | string)[];
  replica_group?: number;
}

const written = (boxes: Box[]) =>
  refused(() =>
    toEnd(
      validateBoxes(
        'open.boxes',
        BoxList.of(
          boxes.map(({ tensor = 0, offset = [], extent = [], replica_group = 0 }) => ({
            tensor,
            offset: offset.map(Number),
            extent: extent.map(Number),
            replicaGroup: replica_group,
          })),
        ),
        TENSORS,
      ),
    ),
  );
const readList = (boxes: Box[]): BoxList => {
  const { boxList = BoxList.of([]) } = arrivedRead({ run: 'r', boxes });
  toEnd(validateReadBoxes(boxList, TENSORS));
  return boxList;
};
const read = (boxes: Box[]) => refused(() => readList(boxes));

/** A box that ends inside of the tensor in `dims` of its ten dimensions. */
const cutIn = (dims: number): Box => ({
  tensor: 4,
  offset: Array(10).fill(0),
  extent: Array.from({ length: 10 }, (_, dim) => (dim < dims ? 1 : 2)),
});

describe.each([
  ['a writer', written, 'open.boxes'],
  ['a read', read, 'boxes'],
] as const)('the boxes of %s', (_, problemOf, field) => {
  test.each<[string, Box[]]>([
    ['none', []],
    ['whole tensors', [{ tensor: 0 }, { tensor: 2 }, { tensor: 3 }, { tensor: 4 }]],
    [
      'parts, in any order, twice',
      [{ offset: [1, 1], extent: [1, 2] }, { tensor: 2 }, { offset: [1, 1], extent: [1, 2] }],
    ],
    [
      'empty ones, at the far end too',
      [
        { offset: [2, 3], extent: [0, 0] },
        { tensor: 3, offset: [0], extent: [0] },
      ],
    ],
    ['ends inside of eight dimensions', [cutIn(8)]],
    ['begins inside of ten', [{ tensor: 4, offset: Array(10).fill(1), extent: Array(10).fill(1) }]],
  ])('are rectangles of tensors: %s', (_name, boxes) => {
    expect(problemOf(boxes)).toBeUndefined();
  });

  test.each<[string, Box, string, string]>([
    ['a tensor that is not there', { tensor: 5 }, '[1].tensor', 'must be an integer from 0 to 4, got 5'],
    ['a tensor that does not travel', { tensor: 1 }, '[1]', 'is of tensor "x", which is ignored'],
    ['too low a rank', { offset: [0], extent: [2] }, '[1]', 'must have 2 offsets and extents, or none, got 1'],
    [
      'too high a rank',
      { offset: [0, 0, 0], extent: [1, 1, 1] },
      '[1]',
      'must have 2 offsets and extents, or none, got 3',
    ],
    [
      'a rank of a scalar',
      { tensor: 2, offset: [0], extent: [1] },
      '[1]',
      'must have 0 offsets and extents, or none, got 1',
    ],
    [
      'an extent past the end',
      { offset: [0, 0], extent: [2, 4] },
      '[1]',
      'goes from 0 to 4 in dimension 1 of tensor "a" of shape [2,3]',
    ],
    [
      'an offset past the end',
      { offset: [3, 0], extent: [0, 3] },
      '[1]',
      'goes from 3 to 3 in dimension 0 of tensor "a" of shape [2,3]',
    ],
    [
      'a sum that is not exact',
      { offset: [0, 2 ** 53 - 1], extent: [2, 2 ** 53 - 1] },
      '[1]',
      'goes from 9007199254740991 to 18014398509481982 in dimension 1 of tensor "a" of shape [2,3]',
    ],
    ['nine cuts', cutIn(9), '[1]', 'ends inside of tensor "deep" in 9 dimensions, at most 8 are allowed'],
  ])('are refused with %s', (_name, box, at, problem) => {
    expect(problemOf([{ tensor: 0 }, box])).toEqual({
      reason: 'INVALID_FIELD',
      message: `${field}${at} ${problem}`,
      field: `${field}${at}`,
    });
  });
});

describe('the boxes of a read', () => {
  test('come as they were named', () => {
    const list = readList([{ offset: [1, 0], extent: [1, 3] }, { tensor: 2 }]);
    expect([...list.tensor]).toEqual([0, 2]);
    expect(list.place(0, TENSORS[0]!.shape)).toEqual({ offset: Uint32Array.of(1, 0), extent: Uint32Array.of(1, 3) });
    expect(list.place(1, TENSORS[2]!.shape)).toEqual({ offset: new Float64Array(0), extent: [] });
  });

  test.each<[string, Box, string, string]>([
    ['a group', { replica_group: 3 }, '.replica_group', 'must be 0 in a read, got 3'],
    [
      'more offsets than extents',
      { offset: [0, 0], extent: [1] },
      '.extent length',
      'must be an integer from 2 to 2, got 1',
    ],
    ['no offsets', { extent: [1, 1] }, '.extent length', 'must be an integer from 0 to 0, got 2'],
    [
      'an offset of 2^53',
      { offset: ['9007199254740992', 0], extent: [1, 1] },
      '.offset',
      'must be an integer from 0 to 9007199254740991, got 9007199254740992',
    ],
    [
      'an extent of 2^64 − 1',
      { offset: [0, 0], extent: [1, '18446744073709551615'] },
      '.extent',
      'must be an integer from 0 to 9007199254740991, got 18446744073709552000',
    ],
  ])('are refused with %s', (_, box, at, problem) => {
    expect(read([{}, box])).toEqual({
      reason: 'INVALID_FIELD',
      message: `boxes[1]${at} ${problem}`,
      field: `boxes[1]${at}`,
    });
  });
});
