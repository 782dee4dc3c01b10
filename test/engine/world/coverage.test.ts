import { describe, expect, test } from 'vitest';
import { toEnd } from '../../../src/common/index.js';
import { BoxList, type TensorSpec } from '../../../src/engine/index.js';
import { placeTensors } from '../../../src/engine/layout/layout.js';
import { Coverage } from '../../../src/engine/world/coverage.js';
import type { Box } from '../../../src/engine/world/index.js';
import { randomBits } from '../../kernels/elements.js';
import { tensor } from '../fixtures.js';
import { box, elementsOf, randomBox, randomTiling, shuffled } from './naive.js';

const SEED = 20_261_128;

function addAll(coverage: Coverage, columns: BoxList): Coverage {
  for (let index = 0; index < columns.count; index++) {
    if (!coverage.hasRoom) toEnd(coverage.makeRoom());
    coverage.add(columns, index);
  }
  return coverage;
}

function cover(tensors: readonly TensorSpec[], boxes: readonly Box[], reserve: (bytes: number) => void = () => {}) {
  return addAll(new Coverage(placeTensors(tensors).tensors, reserve), BoxList.of(boxes));
}

/** The first fault, in short. */
function faultOf(...input: Parameters<typeof cover>): [string, number[], number] | undefined {
  const fault = toEnd(cover(...input).fault());
  return fault && [input[0][fault.tensor]!.name, [...fault.element], fault.boxCount];
}

/** The same, by counting. */
function countedFault(shape: readonly number[], boxes: readonly Box[]): [string, number[], number] | undefined {
  const counts = new Map(elementsOf(shape, box([], [])).map((element) => [element, 0]));
  for (const one of boxes) for (const element of elementsOf(shape, one)) counts.set(element, counts.get(element)! + 1);
  const fault = [...counts].sort(([a], [b]) => a - b).find(([, count]) => count !== 1);
  if (fault === undefined) return undefined;
  const element: number[] = [];
  let [rest] = fault;
  for (const length of shape.toReversed()) {
    element.unshift(rest % length);
    rest = Math.floor(rest / length);
  }
  return ['w', element, fault[1]];
}

const random = randomBits(SEED);
const randomShape = () => Array.from({ length: 1 + (random() % 4) }, () => 1 + (random() % 5));

describe(`the proof that boxes tile a tensor, seed ${SEED}`, () => {
  test('finds what counting finds: nothing, or the first element at fault and in how many boxes it is', () => {
    const seen = { tiled: 0, gap: 0, overlap: 0 };
    for (let round = 0; round < 4_000; round++) {
      const shape = randomShape();
      const boxes = shuffled(randomTiling(shape, random), random).map((one) => ({ ...box([], []), ...one }));
      for (let change = random() % 3; change > 0; change--) {
        const at = random() % (boxes.length + 1);
        const added = [[], boxes.slice(0, 1), [{ ...box([], []), ...randomBox(shape, random) }]][random() % 3]!;
        boxes.splice(at, random() % 2, ...added);
      }
      const expected = countedFault(shape, boxes);
      expect({ shape, boxes, fault: faultOf([tensor('w', shape)], boxes) }).toEqual({ shape, boxes, fault: expected });
      if (expected === undefined) seen.tiled += 1;
      else if (expected[2] === 0) seen.gap += 1;
      else seen.overlap += 1;
    }
    expect(Math.min(...Object.values(seen))).toBeGreaterThan(300);
  });
});

describe('what needs no boxes', () => {
  test('tensors without elements, and those that are not sent', () => {
    const tensors = [tensor('none', [0, 3]), tensor('ignored', [5], { policy: 'IGNORE' }), tensor('once', [2])];
    expect(faultOf(tensors, [box([], [], { tensor: 2 })])).toBeUndefined();
    expect(faultOf(tensors, [box([], [], { tensor: 2 }), box([0, 1], [0, 2])])).toBeUndefined();
    expect(faultOf([], [])).toBeUndefined();
  });

  test('a box without elements is nowhere, wherever it is', () => {
    for (const [offset, extent] of [
      [0, 0],
      [2, 0],
      [4, 0],
    ] as const) {
      expect(faultOf([tensor('w', [4])], [box([offset], [extent]), box([], [])])).toBeUndefined();
      expect(faultOf([tensor('w', [4])], [box([offset], [extent])])).toEqual(['w', [0], 0]);
    }
  });

  test('a scalar is one element', () => {
    expect(faultOf([tensor('s', [])], [])).toEqual(['s', [], 0]);
    expect(faultOf([tensor('s', [])], [box([], [])])).toBeUndefined();
    expect(faultOf([tensor('s', [])], [box([], []), box([], [])])).toEqual(['s', [], 2]);
  });
});

test('the first tensor that is at fault is named', () => {
  const tensors = ['a', 'b', 'c'].map((name) => tensor(name, [3]));
  expect(faultOf(tensors, [box([], []), box([], [], { tensor: 2 })])).toEqual(['b', [0], 0]);
  const boxes = [0, 1, 2].map((index) => box([], [], { tensor: index }));
  expect(faultOf(tensors, [...boxes, box([2], [1], { tensor: 2 }), box([1], [1], { tensor: 1 })])).toEqual([
    'b',
    [1],
    2,
  ]);
});

test('a million boxes: the one that is missing is found', () => {
  const count = 1_000_000;
  const shape = [count, 2];
  const first = Uint32Array.from({ length: count + 1 }, (_, index) => 4 * index);
  const dims = new Uint32Array(4 * count);
  for (let index = 0; index < count; index++) dims.set([index, 0, 1, 2], 4 * index);
  const rows = new BoxList(new Uint32Array(count), new Uint32Array(count), first, dims);
  const { tensors } = placeTensors([tensor('w', shape)]);
  expect(toEnd(addAll(new Coverage(tensors, () => {}), rows).fault())).toBeUndefined();
  for (const index of [999_999, 345_678]) {
    const others = rows.dims.slice();
    // The one before it instead.
    others[4 * index]! -= 1;
    const missing = new BoxList(rows.tensor, rows.replicaGroup, first, others);
    const fault = toEnd(addAll(new Coverage(tensors, () => {}), missing).fault());
    expect(fault).toMatchObject({ element: [index - 1, 0], boxCount: 2 });
  }
});

test('corners that are left anywhere are found again, and what they take is reserved and given back', () => {
  const shape = Array(8).fill(40);
  const offsets = (index: number) => shape.map((_, dim) => (Math.imul(index * 8 + dim + 1, 0x9e3779b1) >>> 8) % 37);
  const boxes = Array.from({ length: 300 }, (_, index) => box(offsets(index), Array(8).fill(2)));
  let [reserved, most] = [0, 0];
  const coverage = cover([tensor('w', shape)], boxes, (bytes) => {
    reserved += bytes;
    most = Math.max(most, reserved);
  });
  expect(toEnd(coverage.fault())).toMatchObject({ element: Array(8).fill(0), boxCount: 0 });
  // Nearly each of the 300 boxes leaves 256 corners.
  expect(reserved).toBeGreaterThan(300 * 256 * 12);
  expect(most).toBeGreaterThan(reserved);
  expect(coverage.work).toBeGreaterThan(300 * 256);
});
