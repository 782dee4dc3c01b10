import { describe, expect, test } from 'vitest';
import { type Box, BoxList, placeTensors, type TensorSpec } from '../../../src/engine/index.js';
import { Coverage } from '../../../src/engine/world/coverage.js';
import { randomBits } from '../../kernels/elements.js';
import { tensor } from '../fixtures.js';
import { box, elementsOf, randomBox, randomTiling, shuffled } from './naive.js';

const SEED = 20_261_128;

function cover(tensors: readonly TensorSpec[], boxes: readonly Box[], withdrawn: readonly Box[] = []) {
  const coverage = new Coverage(placeTensors(tensors).tensors);
  for (const [list, sign] of [[boxes, 1] as const, [withdrawn, -1] as const]) {
    const columns = BoxList.of(list);
    for (let index = 0; index < columns.count; index++) coverage.add(columns, index, sign);
  }
  return coverage;
}

/** The first fault, in short. */
function faultOf(...input: Parameters<typeof cover>): [string, number[], number] | undefined {
  const { fault } = cover(...input);
  return fault && [fault.tensor.name, [...fault.element], fault.boxCount];
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

  test('boxes that are taken back have not been', () => {
    for (let round = 0; round < 500; round++) {
      const shape = randomShape();
      const of = (boxes: readonly Pick<Box, 'offset' | 'extent'>[]) => boxes.map((one) => ({ ...box([], []), ...one }));
      const kept = of(randomTiling(shape, random).slice(random() % 2));
      const gone = of([...randomTiling(shape, random), randomBox(shape, random)]);
      const all = shuffled([...kept, ...gone], random);
      expect(faultOf([tensor('w', shape)], all, gone)).toEqual(countedFault(shape, kept));
    }
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
  const coverage = new Coverage(placeTensors([tensor('w', shape)]).tensors);
  for (let index = 0; index < count; index++) coverage.add(rows, index, 1);
  expect(coverage.fault).toBeUndefined();
  for (const index of [999_999, 345_678]) {
    coverage.add(rows, index, -1);
    expect(coverage.fault).toMatchObject({ element: [index, 0], boxCount: 0 });
  }
});
