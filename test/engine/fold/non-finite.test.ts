import { describe, expect, test } from 'vitest';
import { FLOAT_DTYPES, type FloatDType } from '../../../src/common/index.js';
import type { NonFinitePolicy } from '../../../src/engine/fold/non-finite.js';
import type { Run } from '../../../src/engine/index.js';
import { nearestCode } from '../../kernels/oracle.js';
import {
  attach,
  closeStream,
  commit,
  ema,
  f32,
  f32At,
  makeRun,
  mean,
  openWriter,
  push,
  readAll,
  space,
  tensor,
} from '../fixtures.js';

const TENSORS = [
  tensor('a', [3]),
  tensor('n', [2], { dtype: 'I32', policy: 'COPY' }),
  tensor('b', [5_000]),
  tensor('c', [1]),
];

function open(nonFinite: NonFinitePolicy): Run {
  const { run } = makeRun(TENSORS, [ema('e', 0.5, 'FIRST'), mean('m')], { pageBytesMax: 4_096 }, undefined, {
    nonFinite,
  });
  attach(run);
  return run;
}

/** A step of ones, with some elements replaced: [tensor index, element, value]. */
function stepWith(...wild: readonly (readonly [number, number, number])[]): Buffer {
  const parts = [f32(1, 1, 1), new Uint8Array(Int32Array.of(-1, -1).buffer), new Float32Array(5_000).fill(1), f32(1)];
  for (const [index, element, value] of wild) parts[index]![element] = value;
  return space(...parts);
}

async function send(run: Run, step: number, bytes: Buffer, chunkBytes = 1_008) {
  const writer = openWriter(run);
  for (let at = 0; at < bytes.length; at += chunkBytes) writer.stage(step, at, bytes.subarray(at, at + chunkBytes));
  const outcome = await commit(writer, step, bytes.length);
  closeStream(writer);
  return outcome;
}

describe('REJECT_STEP', () => {
  test.each([
    ['the first element', [0, 0], 'tensor "a" is not finite at element 0'],
    ['the last element', [3, 0], 'tensor "c" is not finite at element 0'],
    ['one in the middle of many pages', [2, 3_333], 'tensor "b" is not finite at element 3333'],
  ] as const)('%s', async (_, [index, element], detail) => {
    const run = open('REJECT_STEP');
    await send(run, 1, stepWith());
    const before = readAll(run);
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      expect(await send(run, 2, stepWith([index, element, value]))).toEqual({ state: 'REJECTED', detail });
    }
    expect(readAll(run)).toEqual(before);
    expect({ step: run.committedStep, count: run.nonFiniteSteps }).toEqual({ step: 1, count: 3 });
    expect(run.head.shadows[1]!.state.numUpdates).toBe(1);
    expect(await send(run, 2, stepWith())).toEqual({ state: 'COMMITTED', detail: '' });
  });

  test('the first of several is named, however the step is cut', async () => {
    for (const chunkBytes of [16, 4_000, 1 << 20]) {
      const run = open('REJECT_STEP');
      const bytes = stepWith([2, 4_999, Number.NaN], [2, 17, Number.NaN], [3, 0, Number.NaN]);
      const { detail } = await send(run, 1, bytes, chunkBytes);
      expect(detail).toBe('tensor "b" is not finite at element 17');
    }
  });

  test('an initial push too; what a broken stream sent is forgotten', async () => {
    const run = open('REJECT_STEP');
    expect(await push(run, 0, stepWith([0, 1, Number.NaN]), { initial: true })).toBe('REJECTED');
    const writer = openWriter(run);
    writer.stage(1, 0, stepWith([0, 1, Number.NaN]).subarray(0, 64));
    closeStream(writer);
    expect(await push(run, 0, stepWith(), { initial: true })).toBe('COMMITTED');
  });

  test('copied bytes may be anything, and so may the gaps', async () => {
    const run = open('REJECT_STEP');
    const bytes = stepWith();
    bytes.fill(0xff, 12, 64);
    expect(await send(run, 1, bytes)).toMatchObject({ state: 'COMMITTED' });
  });

  test.each(FLOAT_DTYPES)('a layout that travels as %s', async (wireDType: FloatDType) => {
    const { run } = makeRun([tensor('w', [100])], [mean('m')], {}, undefined, { nonFinite: 'REJECT_STEP' });
    attach(run);
    const numbers = new Float64Array(100).fill(0.5);
    numbers[41] = Number.POSITIVE_INFINITY;
    const encode = (values: Float64Array) => {
      if (wireDType === 'F64') return values;
      if (wireDType === 'F32') return Float32Array.from(values);
      return Uint16Array.from(values, (value) => nearestCode(value, wireDType));
    };
    expect(await push(run, 1, space(encode(numbers)), { wireDType })).toBe('REJECTED');
    numbers[41] = 1;
    expect(await push(run, 1, space(encode(numbers)), { wireDType })).toBe('COMMITTED');
  });
});

describe('SKIP_TENSOR', () => {
  test('the tensor keeps its shadow, the others are folded, a reader keeps its version', async () => {
    const run = open('SKIP_TENSOR');
    await send(run, 1, stepWith());
    const reader = run.pin(run.head);
    const before = readAll(run);
    const bytes = stepWith([2, 4_000, Number.NaN], [0, 0, 3]);
    expect(await send(run, 2, bytes)).toEqual({
      state: 'COMMITTED',
      detail: 'tensor "b" is not finite at element 4000',
    });
    expect(f32At(readAll(run, 0, { names: ['a'] }), 3)).toEqual([2, 1, 1]);
    expect(readAll(run, 0, { names: ['b'] })).toEqual(space(new Float32Array(5_000).fill(1)));
    expect(readAll(run, 0, { reader })).toEqual(before);
    expect(run.nonFiniteSteps).toBe(1);
  });

  test('a shadow that does not exist yet begins with what comes, and is kept from then on', async () => {
    const run = open('SKIP_TENSOR');
    const detail = 'tensor "a" is not finite at element 1';
    const masked = [0, 1, Number.NEGATIVE_INFINITY] as const;
    expect(await send(run, 1, stepWith(masked))).toEqual({ state: 'COMMITTED', detail });
    expect(await send(run, 2, stepWith(masked, [0, 0, 9], [3, 0, 3]))).toEqual({ state: 'COMMITTED', detail });
    for (const average of [0, 1]) {
      expect(f32At(readAll(run, average, { names: ['a'] }), 3)).toEqual([1, Number.NEGATIVE_INFINITY, 1]);
      expect(f32At(readAll(run, average, { names: ['c'] }), 1)).toEqual([2]);
    }
    expect(run.nonFiniteSteps).toBe(2);
  });

  test('an average from zeros keeps its zeros, one that is added later begins with what comes', async () => {
    const { run } = makeRun([tensor('w', [2])], [ema('zeros', 0.5, 'ZEROS')], {}, undefined, {
      nonFinite: 'SKIP_TENSOR',
    });
    attach(run);
    const read = (average: number): number[] => f32At(readAll(run, average), 2);
    expect(await push(run, 1, space(f32(1, Number.NaN)))).toBe('COMMITTED');
    expect(read(0)).toEqual([0, 0]);
    await run.addAverage(ema('added', 0.5, 'FIRST'));
    expect(await push(run, 2, space(f32(4, Number.NaN)))).toBe('COMMITTED');
    expect(read(0)).toEqual([0, 0]);
    expect(read(1)).toEqual([4, Number.NaN]);
    expect(await push(run, 3, space(f32(4, 4)))).toBe('COMMITTED');
    expect(read(0)).toEqual([2, 2]);
  });
});

test('ACCEPT: equal infinities stay, as a mask on purpose has them', async () => {
  const run = open('ACCEPT');
  for (const step of [1, 2, 3]) await send(run, step, stepWith([0, 1, Number.NEGATIVE_INFINITY], [0, 2, step]));
  for (const [average, last] of [2.25, 2].entries()) {
    const values = f32At(readAll(run, average, { names: ['a'] }), 3);
    expect(values).toEqual([1, Number.NEGATIVE_INFINITY, last]);
  }
  expect(run.nonFiniteSteps).toBe(3);
});

test('ACCEPT folds what comes, and counts it', async () => {
  const run = open('ACCEPT');
  await send(run, 1, stepWith());
  await send(run, 2, stepWith([0, 1, Number.POSITIVE_INFINITY]));
  expect(f32At(readAll(run, 0, { names: ['a'] }), 3)).toEqual([1, Number.POSITIVE_INFINITY, 1]);
  expect(run.nonFiniteSteps).toBe(1);
});
