import { describe, expect, test } from 'vitest';
import { FLOAT_DTYPES, toEnd } from '../../../src/common/index.js';
import { BoxList, type TensorSpec } from '../../../src/engine/index.js';
import { placeTensors } from '../../../src/engine/layout/layout.js';
import type { WirePlan } from '../../../src/engine/layout/wire-plan.js';
import { type Box, PartCursor, type Part as PartType } from '../../../src/engine/world/index.js';
import { Part } from '../../../src/engine/world/part.js';
import { randomBits } from '../../kernels/elements.js';
import { boxesOf, planWire, tensor } from '../fixtures.js';
import { box, partOf, randomBox, shuffled, targetsOf } from './naive.js';

const SEED = 20_261_129;
const random = randomBits(SEED);

const TENSORS: readonly TensorSpec[] = [
  tensor('scalar', []),
  tensor('cube', [3, 4, 5]),
  tensor('counts', [7, 3], { dtype: 'U8', policy: 'COPY' }),
  tensor('left', [5], { policy: 'IGNORE' }),
  tensor('table', [9, 5], { dtype: 'I16', policy: 'COPY_ONCE' }),
  tensor('none', [0, 4]),
  tensor('matrix', [11, 6], { dtype: 'F64' }),
  tensor('hyper', [2, 3, 2, 5], { dtype: 'BF16' }),
  tensor('ids', [4], { dtype: 'I64', policy: 'COPY_ONCE' }),
];
/** No byte of a step in these tests, and no gap. */
const UNTOUCHED = 0xa5;
const SENT = TENSORS.flatMap(({ policy }, index) => (policy === 'IGNORE' ? [] : [index]));

const planOf = (wireDType?: (typeof FLOAT_DTYPES)[number]) => planWire(placeTensors(TENSORS), wireDType);
const all = (): boolean => true;
const makePart = (...input: Parameters<typeof Part.of>): PartType => toEnd(Part.of(...input));
const wholePart = (plan: WirePlan): PartType => toEnd(Part.whole(plan));

/** Boxes anywhere, of any tensors, some of them twice: a part asks for no tiling. */
function randomBoxes(): Box[] {
  return Array.from({ length: random() % 8 }, () => {
    const index = SENT[random() % SENT.length]!;
    const isWhole = random() % 4 === 0;
    return box([], [], { tensor: index, ...(isWhole ? {} : randomBox(TENSORS[index]!.shape, random)) });
  });
}

/** Byte by byte, where runs belong. */
const flat = (runs: Iterable<{ readonly stepOffset: number; readonly length: number }>): number[] =>
  [...runs].flatMap(({ stepOffset, length }) => Array.from({ length }, (_, byte) => stepOffset + byte));

function taken(part: PartType, bytes: number): number[] {
  const runs: { stepOffset: number; length: number }[] = [];
  new PartCursor(part).visit(0, bytes, (stepOffset, _, length) => runs.push({ stepOffset, length }));
  return flat(runs);
}

describe(`a part, seed ${SEED}`, () => {
  test('puts each byte where a naive copy does, however the chunks are cut', () => {
    for (let round = 0; round < 400; round++) {
      const plan = planOf([undefined, ...FLOAT_DTYPES][random() % 5]);
      const boxes = randomBoxes();
      const part = makePart(BoxList.of(boxes), plan, all);
      const { targets, stepBytes } = targetsOf(boxes, plan);
      expect([part.stepBytes, part.firstStepBytes]).toEqual([stepBytes, targets.length]);
      const whole = Uint8Array.from({ length: plan.firstStepBytes }, () => 1 + (random() % 0x7f));
      const sent = partOf(whole, targets);
      const expected = Buffer.alloc(whole.length, UNTOUCHED);
      for (const target of targets) if (target >= 0) expected[target] = whole[target]!;
      const found = Buffer.alloc(whole.length, UNTOUCHED);
      const cursor = new PartCursor(part);
      for (let at = 0; at < sent.length; ) {
        const chunk = sent.subarray(at, at + 16 * (1 + (random() % 20)));
        cursor.visit(at, chunk.length, (target, from, length) => {
          expect(length).toBeGreaterThan(0);
          expect(from + length).toBeLessThanOrEqual(chunk.length);
          found.set(chunk.subarray(from, from + length), target);
        });
        at += chunk.length;
      }
      const isRight = boxesOf(plan).every(({ stepOffset, bytes }) => {
        return found.compare(expected, stepOffset, stepOffset + bytes, stepOffset, stepOffset + bytes) === 0;
      });
      expect({ boxes, isRight }).toEqual({ boxes, isRight: true });
    }
  });

  test('a gap of the writer is none of the step where that has elements: they are not written over', () => {
    // Rows of 41 of 48 elements: each takes 192 bytes of the writer's space, as a whole row does of the step.
    const matrix = placeTensors([tensor('w', [3, 48])]);
    const boxes = [0, 1, 2].map((row) => box([row, 7], [1, 41]));
    const part = makePart(BoxList.of(boxes), planWire(matrix), all);
    const runs = [...part.runs(part.stepBytes)];
    expect(runs).toEqual([0, 1, 2].map((row) => ({ stepOffset: 192 * row + 28, length: 164 })));
  });

  test('what is left to others takes no bytes', () => {
    for (let round = 0; round < 100; round++) {
      const boxes = randomBoxes();
      const sends = boxes.map(() => random() % 2 === 0);
      const left = makePart(BoxList.of(boxes), planOf(), (index) => sends[index]!);
      const without = makePart(BoxList.of(boxes.filter((_, index) => sends[index])), planOf(), all);
      expect(left).toEqual(without);
    }
  });

  test('the runs of a beginning are those that its chunks have', () => {
    for (let round = 0; round < 200; round++) {
      const part = makePart(BoxList.of(randomBoxes()), planOf(), all);
      const bytes = 16 * (random() % (part.firstStepBytes / 16 + 1));
      expect(flat(part.runs(bytes))).toEqual(taken(part, bytes));
    }
  });

  test('a cursor that is reset begins again', () => {
    const part = makePart(BoxList.of([box([1, 1, 1], [2, 2, 2], { tensor: 1 })]), planOf(), all);
    const cursor = new PartCursor(part);
    const targets: number[] = [];
    for (let round = 0; round < 2; round++) {
      cursor.visit(0, 16, (target) => targets.push(target));
      cursor.reset();
    }
    // Rows of 2 elements at [1, 1, 1] and [1, 2, 1] of the cube, which begins at 64.
    expect(targets).toEqual([64 + 4 * 26, 64 + 4 * 31, 64 + 4 * 26, 64 + 4 * 31]);
  });
});

describe('the whole layout', () => {
  test('is the same for one writer without boxes and for one with all of them', () => {
    for (const wireDType of [undefined, ...FLOAT_DTYPES]) {
      const plan = planOf(wireDType);
      const boxes = BoxList.of(SENT.map((index) => box([], [], { tensor: index })));
      const [whole, boxed] = [wholePart(plan), makePart(boxes, plan, all)];
      expect(whole).toEqual(boxed);
      expect([whole.stepBytes, whole.firstStepBytes]).toEqual([plan.stepBytes, plan.firstStepBytes]);
    }
  });

  test('neighbours that run in step are one span, over the gaps between them too', () => {
    const specs = Array.from({ length: 100 }, (_, index) => tensor(`t${index}`, [1 + (index % 40)]));
    const plan = planWire(placeTensors(specs));
    const inOrder = specs.map((_, index) => box([], [], { tensor: index }));
    const spansOf = (boxes: readonly Box[]) => makePart(BoxList.of(boxes), plan, all).spanCount;
    expect([wholePart(plan).spanCount, spansOf(inOrder)]).toEqual([1, 1]);
    expect(spansOf(inOrder.toSpliced(50, 1))).toBe(2);
    expect(spansOf(inOrder.toReversed())).toBe(100);
    expect(spansOf(shuffled(inOrder, random))).toBeGreaterThan(10);
  });

  test('has nothing of a layout without bytes', () => {
    const part = wholePart(planWire(placeTensors([tensor('none', [0])])));
    expect(part).toMatchObject({ stepBytes: 0, firstStepBytes: 0, spanCount: 0, bytes: 0 });
    expect(taken(part, 0)).toEqual([]);
  });
});
