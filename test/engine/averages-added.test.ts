import { describe, expect, test } from 'vitest';
import {
  attach,
  commit,
  ema,
  f32,
  f32At,
  makeRun,
  mean,
  openWriter,
  push,
  readAll,
  refusal,
  space,
  tensor,
} from './fixtures.js';

const step = (value: number): Buffer => space(f32(value));

describe('an average that is added to a run under way', () => {
  test('starts with the next step, and says since when', async () => {
    const { run } = makeRun([tensor('w', [1])], [mean('a')]);
    attach(run);
    for (const number of [1, 2, 3]) await push(run, number, step(number));
    run.addAverage(mean('late'));
    expect(run.head.shadows[1]!.state).toMatchObject({ numUpdates: 0, weight: undefined, addedAtStep: 3 });
    for (const number of [4, 5]) await push(run, number, step(number));
    expect(f32At(readAll(run, 0), 1)).toEqual([3]);
    expect(f32At(readAll(run, 1), 1)).toEqual([4.5]);
    expect(run.head.shadows[1]!.state).toMatchObject({ numUpdates: 2, addedAtStep: 3 });
  });

  test('per step: time begins where it was added', async () => {
    const { run } = makeRun([tensor('w', [1])], [mean('a')]);
    attach(run);
    await push(run, 1_000, step(1));
    run.addAverage({ ...ema('late', 0.5, 'ZEROS'), decayUnit: 'PER_STEP' });
    await push(run, 1_002, step(1));
    expect(f32At(readAll(run, 1), 1)).toEqual([0.75]);
  });

  test('from zeros: zeros they are, also on the pages of an average that was removed', async () => {
    const { run } = makeRun([tensor('w', [1])], [mean('a'), mean('b')]);
    attach(run);
    await push(run, 1, step(8));
    run.removeAverage('b');
    run.addAverage(ema('c', 0.5, 'ZEROS'));
    await push(run, 2, step(4));
    expect(f32At(readAll(run, 1), 1)).toEqual([2]);
  });

  test('readers keep the version that they hold, with the averages of then', async () => {
    const { run } = makeRun([tensor('w', [1])], [mean('a'), mean('b')]);
    attach(run);
    await push(run, 1, step(1));
    const reader = run.pin(run.head);
    run.removeAverage('a');
    run.addAverage(mean('c'));
    await push(run, 2, step(9));
    expect(reader.version.shadows.map(({ spec }) => spec.name)).toEqual(['a', 'b']);
    expect([0, 1].map((average) => f32At(readAll(run, average, { reader }), 1)[0])).toEqual([1, 1]);
    expect(run.averages.map(({ name }) => name)).toEqual(['b', 'c']);
    expect([0, 1].map((average) => f32At(readAll(run, average), 1)[0])).toEqual([5, 9]);
    reader.release();
    expect(run.memory.pinnedBytes).toBe(0);
  });

  test('in the middle of a step: the step counts for it', async () => {
    const { run } = makeRun([tensor('w', [1]), tensor('x', [1])], [mean('a')]);
    const writer = openWriter(run);
    writer.stage(1, 0, step(1));
    run.addAverage({ ...mean('late'), include: ['x'] });
    writer.stage(1, 64, step(2));
    await commit(writer, 1, 128);
    expect(f32At(readAll(run, 1), 1)).toEqual([2]);
  });

  test.each([true, false])('that leaves no room for a step in flight is refused, a stream open: %s', async (isOpen) => {
    const { run, ledger } = makeRun([tensor('w', [1])], [mean('a')], {}, 2 * 8_192);
    attach(run);
    await push(run, 1, step(1));
    if (isOpen) openWriter(run);
    const used = ledger.usedBytes;
    expect(() => run.addAverage(mean('late'))).toThrow(
      expect.toSatisfy(
        refusal('MEMORY_EXHAUSTED', /^average "late" of run "r" with one step in flight needs 8192 bytes/),
      ),
    );
    expect({ averages: run.averages.length, used: ledger.usedBytes }).toEqual({ averages: 1, used });
  });

  test('a run keeps one', () => {
    const { run } = makeRun([tensor('w', [1])], [mean('a')]);
    expect(() => run.removeAverage('a')).toThrow('broken invariant');
  });
});

test('a filtered average takes the memory of its own tensors only', async () => {
  const tensors = [tensor('large', [800_000]), tensor('small', [10])];
  const whole = makeRun(tensors, [mean('a'), mean('b')]).run.memory.shadowBytes;
  const { run } = makeRun(tensors, [mean('a'), { ...mean('b'), include: ['sm*'] }]);
  expect(run.memory.shadowBytes).toBeLessThan(0.7 * whole);
  attach(run);
  await push(run, 1, space(new Float32Array(800_000).fill(1), new Float32Array(10).fill(2)));
  expect(readAll(run, 1)).toEqual(space(new Float32Array(10).fill(2)));
  expect(readAll(run, 0)).toHaveLength(3_200_000 + 64);
});
