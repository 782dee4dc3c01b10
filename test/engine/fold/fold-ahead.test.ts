import { afterEach, describe, expect, test, vi } from 'vitest';
import { FoldAhead } from '../../../src/engine/fold/fold-ahead.js';
import { randomBits } from '../../kernels/elements.js';
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

afterEach(() => void vi.restoreAllMocks());

const SEED = 20_261_125;
const COUNT = 5_000;
const OPTIONS = { pageBytesMax: 4_096, arenaBytesMax: 512 * 1_024 };
const random = randomBits(SEED);
const weights = Array.from({ length: 8 }, () => Float32Array.from({ length: COUNT }, () => random() / 2 ** 31 - 1));

/** A run whose steps are folded as they arrive. */
function makeAhead(average = ema('a', 0.9, 'FIRST')) {
  const { run, ledger } = makeRun([tensor('w', [COUNT])], [average], OPTIONS);
  attach(run);
  return { run, ledger };
}

async function pushAll(run: ReturnType<typeof makeAhead>['run']): Promise<void> {
  for (const [index, theta] of weights.entries()) await push(run, index, space(theta));
}

describe(`a step that is folded as it arrives, seed ${SEED}`, () => {
  test.each([ema('a', 0.9, 'FIRST'), mean('a'), { ...ema('a', 0.9, 'FIRST'), every: 3, delayUpdates: 2 }])(
    'gives the bits of one that is folded at its commit: %o',
    async (average) => {
      const { run } = makeAhead(average);
      // A second average keeps it from that.
      const { run: plain } = makeRun([tensor('w', [COUNT])], [average, mean('b')], OPTIONS);
      attach(plain);
      await pushAll(run);
      await pushAll(plain);
      expect(readAll(run).equals(readAll(plain))).toBe(true);
      expect(run.head.shadows[0]!.state).toEqual(plain.head.shadows[0]!.state);
    },
  );

  test('is begun only where the average lies as the wire does', async () => {
    const isAhead = async (...[tensors, averages]: Parameters<typeof makeRun>) => {
      const { run } = makeRun(tensors, averages);
      attach(run);
      await push(run, 1, Buffer.alloc(run.stepBytes));
      const begin = vi.spyOn(FoldAhead, 'begin');
      openWriter(run).stage(2, 0, Buffer.alloc(64));
      return begin.mock.results.at(-1)?.value !== undefined;
    };
    const w = tensor('w', [16]);
    const counter = tensor('n', [], { dtype: 'I64', policy: 'COPY' });
    expect(await isAhead([w], [ema('a', 0.5, 'FIRST')])).toBe(true);
    expect(await isAhead([w, tensor('v', [3])], [mean('a')])).toBe(true);
    expect(await isAhead([w, counter], [mean('a')])).toBe(false);
    expect(await isAhead([tensor('w', [16], { dtype: 'BF16' })], [mean('a')])).toBe(false);
    expect(await isAhead([w], [mean('a', 'F64')])).toBe(false);
    expect(await isAhead([w], [mean('a'), mean('b')])).toBe(false);
    // Nothing to compute.
    expect(await isAhead([w], [ema('a', 1, 'FIRST')])).toBe(false);
    expect(await isAhead([w], [ema('a', 0, 'FIRST')])).toBe(false);
  });

  test('that breaks off leaves no trace, and can be sent again', async () => {
    const { run } = makeAhead();
    await pushAll(run);
    const before = readAll(run);
    const writer = openWriter(run);
    writer.stage(100, 0, space(weights[0]!).subarray(0, 8_000));
    expect(readAll(run).equals(before)).toBe(true);
    closeStream(writer);
    expect(readAll(run).equals(before)).toBe(true);
    await push(run, 100, space(weights[0]!));
    const expected = Math.fround(
      before.readFloatLE(0) + Math.fround(Math.fround(1 - 0.9) * Math.fround(weights[0]![0]! - before.readFloatLE(0))),
    );
    expect(readAll(run).readFloatLE(0)).toBe(expected);
  });

  test('leaves readers their pages, and takes none that the ledger does not have', async () => {
    const { run, ledger } = makeAhead();
    await push(run, 0, space(weights[0]!));
    await push(run, 1, space(weights[1]!));
    const used = ledger.usedBytes;
    await push(run, 2, space(weights[2]!));
    await push(run, 3, space(weights[3]!));
    expect(ledger.usedBytes).toBe(used);
    const reader = run.pin(run.head);
    const before = readAll(run);
    for (const [index, theta] of weights.entries()) await push(run, 4 + index, space(theta));
    expect(readAll(run, 0, { reader }).equals(before)).toBe(true);
    expect(run.memory.pinnedBytes).toBe(run.memory.shadowBytes);
    reader.release();
    expect(run.memory.pinnedBytes).toBe(0);
  });

  test('an average that is added meanwhile begins with the next step; the other one may go', async () => {
    const { run } = makeRun([tensor('w', [1])], [ema('a', 0.5, 'FIRST')]);
    const writer = openWriter(run);
    const update = async (step: number, value: number, between?: () => void): Promise<void> => {
      writer.stage(step, 0, space(f32(value)));
      between?.();
      await commit(writer, step, 64);
    };
    await update(1, 8);
    await update(2, 4, () => run.addAverage(mean('late')));
    expect(f32At(readAll(run, 0), 1)).toEqual([6]);
    expect(run.head.shadows[1]!.state).toMatchObject({ numUpdates: 0, pushes: 0, weight: undefined });
    await update(3, 2);
    expect([0, 1].map((average) => f32At(readAll(run, average), 1)[0])).toEqual([4, 2]);
    run.removeAverage('late');
    await update(4, 0, () => {
      run.addAverage(mean('later'));
      run.removeAverage('a');
    });
    expect(run.head.shadows[0]!.state).toMatchObject({ numUpdates: 0, weight: undefined });
    await update(5, 7);
    expect(f32At(readAll(run, 0), 1)).toEqual([7]);
  });
});
