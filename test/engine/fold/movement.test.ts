import { describe, expect, test } from 'vitest';
import type { Movement } from '../../../src/engine/index.js';
import { attach, ema, f32, makeRun, mean, push, space, tensor } from '../fixtures.js';

async function movementOf(
  averages: Parameters<typeof makeRun>[1],
  pushes: readonly Float32Array[],
): Promise<(Movement | undefined)[]> {
  const { run } = makeRun([tensor('w', [pushes[0]!.length])], averages);
  attach(run);
  for (const [index, weights] of pushes.entries()) await push(run, index, space(weights), { initial: index === 0 });
  return run.head.shadows.map(({ state }) => state.movement);
}

describe('how a fold moved an average', () => {
  test('distance and share of a small model, all of it', async () => {
    const [movement] = await movementOf([ema('e', 0.5, 'INITIAL')], [f32(3, 4, 0, 1e8), f32(3, 8, 0, 1e8 + 16)]);
    // Its first element is where it should be, its third is zero; the second and the fourth move.
    const distance = Math.hypot(4, 16) / Math.hypot(3, 4, 1e8);
    expect(movement!.distanceRel).toBeCloseTo(distance, 12);
    expect(movement!.changedShare).toBeCloseTo(2 / 3, 12);
  });

  test('an average that stands still is seen', async () => {
    const [narrow, wide] = await movementOf(
      [ema('narrow', 0.9999, 'INITIAL'), ema('wide', 0.9999, 'INITIAL', 'F64')],
      [f32(1, 1), f32(1.0005, 1.0005)],
    );
    expect(narrow).toEqual({ distanceRel: expect.closeTo(0.0005, 6), changedShare: 0 });
    expect(wide).toEqual({ distanceRel: expect.closeTo(0.0005, 6), changedShare: 1 });
  });

  test('an assignment says nothing, a shadow of zeros has no relative distance', async () => {
    expect(await movementOf([mean('m')], [f32(1), f32(2)])).toEqual([undefined]);
    const [zeros] = await movementOf([ema('z', 0.5, 'ZEROS')], [f32(1), f32(2)]);
    expect(zeros).toEqual({ distanceRel: undefined, changedShare: 1 });
  });

  test('a sample of a large model is near the whole', async () => {
    const count = 1_000_000;
    const before = Float32Array.from({ length: count }, (_, i) => Math.sin(i) + 2);
    // Two thirds of the elements move, by a tenth.
    const after = before.map((value, i) => (i % 3 === 0 ? value : value * 1.1));
    const [movement] = await movementOf([ema('e', 0.5, 'INITIAL')], [before, after]);
    expect(Math.abs(movement!.changedShare - 2 / 3)).toBeLessThan(0.02);
    expect(Math.abs(movement!.distanceRel! - 0.1 * Math.sqrt(2 / 3))).toBeLessThan(0.003);
  });

  test('is that of the last fold while an average holds', async () => {
    const average = { ...ema('e', 0.5, 'INITIAL'), every: 2 };
    const [movement] = await movementOf([average], [f32(1), f32(9), f32(2), f32(9)]);
    expect(movement).toEqual({ distanceRel: 1, changedShare: 1 });
  });
});
