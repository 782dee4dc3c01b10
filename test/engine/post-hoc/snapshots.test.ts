import { describe, expect, test } from 'vitest';
import { AVERAGE_DEFAULTS, toEnd } from '../../../src/common/index.js';
import {
  type AverageSpec,
  gammaOf,
  planCombination,
  type Run,
  readBytes,
  type SnapshotsSpec,
} from '../../../src/engine/index.js';
import { attach, f32, f32At, f64, f64At, makeRun, mean, push, readAll, refusal, space, tensor } from '../fixtures.js';

const power = (name: string, sigmaRel: number, rest: Partial<AverageSpec> = {}): AverageSpec => ({
  ...AVERAGE_DEFAULTS,
  name,
  schedule: { kind: 'power_function', gamma: gammaOf(sigmaRel) },
  precision: 'F64',
  ...rest,
});

const SNAPSHOTS: SnapshotsSpec = { everySteps: 10, countMax: 16, bytesMax: 0, dtype: 'F64' };

function makePowerRun(snapshots: Partial<SnapshotsSpec> = {}, averages = [power('a', 0.05), power('b', 0.1)]) {
  const { run, ledger } = makeRun([tensor('w', [2], { dtype: 'F64' })], averages, {}, undefined, {
    snapshots: { ...SNAPSHOTS, ...snapshots },
  });
  attach(run);
  return { run, ledger };
}

/** The position in the training and its square. */
const weightsAt = (step: number): Buffer => space(f64(step / 100, (step / 100) ** 2));

async function train(run: Run, from: number, to: number): Promise<void> {
  for (let step = from; step <= to; step++) await push(run, step, weightsAt(step));
}

const stepsOf = (run: Run, average = 'a'): number[] =>
  run.head.snapshots.filter((snapshot) => snapshot.average === average).map(({ step }) => step);

function combine(run: Run, sigmaRel: number, step?: number) {
  const combination = toEnd(planCombination('r', run.layout, run.head, gammaOf(sigmaRel), step, 'ALL', 'F64'));
  const bytes = Buffer.alloc(combination.plan.tensors.totalBytes);
  toEnd(readBytes(combination.plan, 0, bytes));
  return { ...combination, values: f64At(bytes, 2) };
}

describe('snapshots', () => {
  test('are taken at each multiple of the cadence, of every power-function average', async () => {
    const { run } = makePowerRun();
    await train(run, 1, 45);
    expect(stepsOf(run)).toEqual([10, 20, 30, 40]);
    expect(stepsOf(run, 'b')).toEqual([10, 20, 30, 40]);
  });

  test('a step that skips over a multiple reaches it', async () => {
    const { run } = makePowerRun();
    for (const step of [3, 9, 14, 19, 35, 36]) await push(run, step, weightsAt(step));
    expect(stepsOf(run)).toEqual([14, 35]);
  });

  test('are the average as it was, in their own dtype', async () => {
    const { run } = makePowerRun({ dtype: 'F32' });
    await train(run, 1, 10);
    const then = f64At(readAll(run, 0), 2);
    await train(run, 11, 15);
    const { table } = run.head.snapshots[0]!;
    const page = table[0]!;
    const found = f32At(Buffer.from(page.arena.bytes(page.address, 8)), 2);
    expect(found).toEqual(then.map(Math.fround));
  });

  test('that would be too many are thinned over the whole training', async () => {
    const { run } = makePowerRun({ countMax: 4 });
    await train(run, 1, 400);
    const steps = stepsOf(run);
    expect(steps.length).toBeLessThanOrEqual(4);
    expect(steps.length).toBeGreaterThanOrEqual(2);
    expect(steps.at(-1)).toBeGreaterThan(200);
    expect(run.state.snapshotsEverySteps).toBeGreaterThanOrEqual(80);
  });

  test('whose bytes would be too many are thinned', async () => {
    // A page of 4 KiB for each snapshot of two averages: three sets fit.
    const { run } = makePowerRun({ bytesMax: 6 * 4_096 });
    await train(run, 1, 100);
    expect(run.memory.snapshotBytes).toBeLessThanOrEqual(6 * 4_096);
    expect(run.memory.snapshotBytes).toBeGreaterThan(0);
  });

  test('never fail a commit: without room they are thinned or left out', async () => {
    const { run } = makeRun([tensor('w', [2], { dtype: 'F64' })], [power('a', 0.1)], {}, 4 * 8_192, {
      snapshots: SNAPSHOTS,
    });
    attach(run);
    await train(run, 1, 200);
    expect(run.committedStep).toBe(200);
    expect(stepsOf(run).length).toBeLessThanOrEqual(2);
  });

  test('give their memory back with the run, and with their average', async () => {
    const { run, ledger } = makePowerRun();
    await train(run, 1, 30);
    const { snapshotBytes } = run.memory;
    run.removeAverage('b');
    expect(run.memory.snapshotBytes).toBe(snapshotBytes / 2);
    expect(run.memory.pinnedBytes).toBe(0);
    run.delete();
    expect(ledger.usedBytes).toBe(0);
  });

  test('a reader keeps those of its version', async () => {
    const { run } = makePowerRun({ countMax: 2 });
    await train(run, 1, 20);
    const reader = run.pin(run.head);
    const { snapshots } = reader.version;
    await train(run, 21, 200);
    expect(snapshots.map(({ step }) => step)).toEqual([10, 10, 20, 20]);
    const page = snapshots[0]!.table[0]!;
    const [position] = f64At(Buffer.from(page.arena.bytes(page.address, 16)), 2);
    expect(position).toBeCloseTo(0.1 * ((gammaOf(0.05) + 1) / (gammaOf(0.05) + 2)), 1);
    reader.release();
    expect(run.memory.pinnedBytes).toBe(0);
  });

  test('too few bytes for two of each are refused', () => {
    expect(() => makePowerRun({ bytesMax: 63 })).toThrow(
      expect.toSatisfy(refusal('INVALID_AVERAGE', /snapshots\.bytes_max must be at least 64, .* got 63/)),
    );
  });
});

describe('a combination', () => {
  test.each([0.05, 0.07, 0.1, 0.12])(
    'of relative width %f has the mean and the width that were asked for',
    async (sigmaRel) => {
      const { run } = makePowerRun();
      await train(run, 1, 100);
      const { values, contributions, fitError, step } = combine(run, sigmaRel);
      expect(step).toBe(100);
      expect(contributions.reduce((sum, { weight }) => sum + weight, 0)).toBeCloseTo(1, 9);
      expect(fitError).toBeLessThan(0.02);
      const gamma = gammaOf(sigmaRel);
      expect(values[0]).toBeCloseTo((gamma + 1) / (gamma + 2), 1.7);
      expect(Math.sqrt(values[1]! - values[0]! ** 2)).toBeCloseTo(sigmaRel, 2);
    },
  );

  test('is near the average of that width, were it kept', async () => {
    const { run } = makePowerRun({}, [power('a', 0.05), power('b', 0.1), power('c', 0.2, { include: ['w'] })]);
    await train(run, 1, 100);
    const direct = f64At(readAll(run, 2), 2);
    const { values, fitError } = combine(run, 0.2);
    expect(fitError).toBeLessThan(0.1);
    expect(Math.abs(values[0]! - direct[0]!)).toBeLessThan(0.02);
  });

  test('of an average that is kept is that average, to the bit', async () => {
    const { run } = makePowerRun();
    await train(run, 1, 57);
    expect(combine(run, 0.1).values).toEqual(f64At(readAll(run, 1), 2));
  });

  test('of an older step is what it was then', async () => {
    const { run } = makePowerRun();
    await train(run, 1, 60);
    const then = combine(run, 0.08);
    await train(run, 61, 100);
    const now = combine(run, 0.08, 60);
    expect(now.step).toBe(60);
    for (const i of [0, 1]) expect(now.values[i]).toBeCloseTo(then.values[i]!, 9);
    expect(() => combine(run, 0.08, 61)).toThrow(
      expect.toSatisfy(refusal('VERSION_NOT_FOUND', /kept nothing of step 61 to combine, it has 10, 20, .*, 100$/)),
    );
  });

  test('weights that never changed come out as they are', async () => {
    const { run } = makePowerRun();
    for (let step = 1; step <= 50; step++) await push(run, step, space(f64(3, -7)));
    const { values } = combine(run, 0.15);
    expect(values[0]).toBeCloseTo(3, 12);
    expect(values[1]).toBeCloseTo(-7, 12);
  });

  test('needs a power-function average that has been updated', async () => {
    const { run } = makeRun([tensor('w', [1])], [mean('m')]);
    attach(run);
    await push(run, 1, space(f32(1)));
    expect(() => toEnd(planCombination('r', run.layout, run.head, 7, undefined, 'ALL'))).toThrow(
      expect.toSatisfy(refusal('NOTHING_TO_COMBINE', /run "r" has no power-function average/)),
    );
  });

  test('takes only averages that count alike', async () => {
    const { run } = makePowerRun({}, [power('a', 0.05), power('b', 0.1), power('slow', 0.1, { every: 2 })]);
    await train(run, 1, 40);
    run.addAverage(power('late', 0.2));
    await train(run, 41, 60);
    const names = new Set(combine(run, 0.08).contributions.map(({ average }) => average));
    expect([...names].sort()).toEqual(['a', 'b']);
  });

  test('of several pages and arenas is that of each element', async () => {
    const count = 5_000;
    const { run } = makeRun(
      [tensor('x', [7]), tensor('w', [count])],
      [power('a', 0.05, { precision: 'F32' }), power('b', 0.1, { precision: 'F32' })],
      { pageBytesMax: 4_096, arenaBytesMax: 512 * 1_024 },
      undefined,
      { snapshots: { ...SNAPSHOTS, everySteps: 2, dtype: 'F16' } },
    );
    attach(run);
    for (let step = 1; step <= 8; step++) {
      await push(
        run,
        step,
        space(
          new Float32Array(7).fill(step),
          Float32Array.from({ length: count }, (_, i) => step + i),
        ),
      );
    }
    const { plan } = toEnd(
      planCombination('r', run.layout, run.head, gammaOf(0.07), undefined, (index) => index === 1, 'F32'),
    );
    const whole = Buffer.alloc(plan.tensors.totalBytes);
    toEnd(readBytes(plan, 0, whole));
    const first = whole.readFloatLE(0);
    // F16 snapshots round to 4 at 5,000; they have little weight.
    for (const i of [1, 999, 1_024, 2_049, 4_999]) {
      expect(Math.abs(whole.readFloatLE(i * 4) - first - i)).toBeLessThan(1);
    }
    const piece = Buffer.alloc(160);
    toEnd(readBytes(plan, 8_000, piece));
    expect(piece.equals(whole.subarray(8_000, 8_160))).toBe(true);
  });
});
