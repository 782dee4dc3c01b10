import { describe, expect, test } from 'vitest';
import type { FloatDType } from '../../src/common/index.js';
import { randomBits } from '../kernels/elements.js';
import { lerped, nearestCode, rounded } from '../kernels/oracle.js';
import {
  attach,
  commit,
  ema,
  f32At,
  f64,
  f64At,
  makeRun,
  mean,
  openWriter,
  push,
  readAll,
  space,
  tensor,
} from './fixtures.js';

// Whole runs against closed forms in float64, and against the exact order of operations in float32.

const SEED = 20_250_615;
const COUNT = 100;
const STEPS = 40;
const DECAY = 0.9;

const random = randomBits(SEED);
const initial = Float64Array.from({ length: COUNT }, () => random() / 2 ** 31 - 1);
const updates = Array.from({ length: STEPS }, () => Float64Array.from({ length: COUNT }, () => random() / 2 ** 31 - 1));

/** Element `i` after all updates: start·βⁿ + (1 − β) Σ βⁿ⁻ᵏ θ_k over the folded ones. */
function closedEma(i: number, start: number, folded: readonly Float64Array[]): number {
  const n = folded.length;
  return folded.reduce((sum, theta, k) => sum + (1 - DECAY) * DECAY ** (n - 1 - k) * theta[i]!, start * DECAY ** n);
}

describe(`closed forms in float64, seed ${SEED}`, () => {
  test('EMA from zeros, from initial weights, from the first update; the plain average', async () => {
    const averages = [
      ema('z', DECAY, 'ZEROS', 'F64'),
      ema('i', DECAY, 'INITIAL', 'F64'),
      ema('f', DECAY, 'FIRST', 'F64'),
      mean('m', 'F64'),
    ];
    const { run } = makeRun([tensor('w', [COUNT], { dtype: 'F64' })], averages);
    attach(run);
    await push(run, 0, space(initial), { initial: true });
    for (const [k, theta] of updates.entries()) await push(run, k + 1, space(theta));
    const found = averages.map((_, index) => f64At(readAll(run, index), COUNT));
    for (let i = 0; i < COUNT; i++) {
      expect(found[0]![i]).toBeCloseTo(closedEma(i, 0, updates), 14);
      expect(found[1]![i]).toBeCloseTo(closedEma(i, initial[i]!, updates), 14);
      expect(found[2]![i]).toBeCloseTo(closedEma(i, updates[0]![i]!, updates.slice(1)), 14);
      expect(found[3]![i]).toBeCloseTo(updates.reduce((sum, theta) => sum + theta[i]!, 0) / STEPS, 14);
    }
  });

  test('a float64 shadow moves where a float32 one stands still', async () => {
    const { run } = makeRun(
      [tensor('w', [1])],
      [ema('narrow', 0.9999, 'INITIAL'), ema('wide', 0.9999, 'INITIAL', 'F64')],
    );
    attach(run);
    await push(run, 0, space(Float32Array.of(1)), { initial: true });
    const theta = Math.fround(1.0005);
    for (let step = 1; step <= 2_000; step++) await push(run, step, space(Float32Array.of(theta)));
    expect(f32At(readAll(run, 0), 1)).toEqual([1]);
    expect(f64At(readAll(run, 1), 1)[0]).toBeCloseTo(theta - (theta - 1) * 0.9999 ** 2_000, 13);
  });
});

test('200,000 updates: a float64 shadow is where it should be, a float32 one has not moved', async () => {
  const { run } = makeRun(
    [tensor('w', [1], { dtype: 'F64' })],
    [ema('narrow', 0.9999, 'INITIAL'), ema('wide', 0.9999, 'INITIAL', 'F64')],
  );
  const writer = openWriter(run);
  const update = async (step: number, value: number): Promise<void> => {
    writer.stage(step, 0, space(f64(value)));
    await commit(writer, step, 64, { isInitial: step === 0 });
  };
  await update(0, 1);
  for (let step = 1; step <= 200_000; step++) await update(step, 1.0005);
  expect(f32At(readAll(run, 0), 1)).toEqual([1]);
  expect(Math.abs(f64At(readAll(run, 1), 1)[0]! - 1.0005)).toBeLessThan(1e-6);
}, 120_000);

describe(`the exact order of operations, seed ${SEED}`, () => {
  const encoders: Record<FloatDType, (values: Float64Array) => Uint16Array | Float32Array | Float64Array> = {
    F16: (values) => Uint16Array.from(values, (value) => nearestCode(value, 'F16')),
    BF16: (values) => Uint16Array.from(values, (value) => nearestCode(value, 'BF16')),
    F32: (values) => Float32Array.from(values),
    F64: (values) => values,
  };

  test.each(['F16', 'BF16', 'F32', 'F64'] as const)('a layout of F32 that travels as %s', async (wireDType) => {
    const averages = [ema('a', 0.999, 'FIRST'), ema('b', 0.999, 'FIRST', 'F64'), mean('c')];
    const { run } = makeRun([tensor('w', [COUNT])], averages);
    attach(run);
    const shadows = averages.map(({ precision }) => ({ precision, values: new Float64Array(COUNT) }));
    for (const [k, theta] of updates.entries()) {
      await push(run, k, space(encoders[wireDType](theta)), { wireDType });
      for (const [a, shadow] of shadows.entries()) {
        const weight = k === 0 ? 1 : a === 2 ? 1 / (k + 1) : 1 - 0.999;
        shadow.values = shadow.values.map((s, i) => {
          const source = rounded(theta[i]!, wireDType);
          return weight === 1 ? rounded(source, shadow.precision) : lerped(s, source, weight, shadow.precision);
        });
      }
    }
    expect(f32At(readAll(run, 0), COUNT)).toEqual([...shadows[0]!.values]);
    expect(f64At(readAll(run, 1), COUNT)).toEqual([...shadows[1]!.values]);
    expect(f32At(readAll(run, 2), COUNT)).toEqual([...shadows[2]!.values]);
  });
});

describe('∞ and NaN', () => {
  const wild = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1];

  test.each(['F32', 'F64'] as const)(
    'in the %s shadow are gone after an assignment, and stay in a lerp',
    async (precision) => {
      const { run } = makeRun(
        [tensor('w', [4], { dtype: 'F64' })],
        [ema('assign', 0, 'FIRST', precision), ema('lerp', 0.5, 'FIRST', precision)],
      );
      attach(run);
      await push(run, 1, space(f64(...wild)));
      await push(run, 2, space(f64(5, 6, 7, 8)));
      const read = (average: number): number[] => f64At(readAll(run, average, { dtype: 'F64' }), 4);
      expect(read(0)).toEqual([5, 6, 7, 8]);
      expect(read(1)).toEqual([Number.NaN, Number.NaN, Number.NaN, 4.5]);
    },
  );

  test('of the first update are assigned as they are', async () => {
    const { run } = makeRun([tensor('w', [4], { dtype: 'F64' })], [mean('m'), ema('i', 0.9, 'INITIAL')]);
    attach(run);
    await push(run, 0, space(f64(...wild)), { initial: true });
    expect(f32At(readAll(run, 1), 4)).toEqual(wild);
    await push(run, 1, space(f64(1, 2, 3, 4)));
    expect(f32At(readAll(run, 0), 4)).toEqual([1, 2, 3, 4]);
  });
});
