import { describe, expect, test } from 'vitest';
import type { RetentionSpec, Run } from '../../../src/engine/index.js';
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
  skip,
  space,
  tensor,
} from '../fixtures.js';

/** A page and the room beside it. */
const SLOT_BYTES = 8_192;

function makeRetaining(retain: RetentionSpec | undefined, budgetBytes?: number): Run {
  return makeRun([tensor('w', [1])], [ema('a', 0.5, 'FIRST')], {}, budgetBytes, { retain }).run;
}

/** Each step is its own number. */
async function train(run: Run, from: number, to: number): Promise<void> {
  for (let step = from; step <= to; step++) await push(run, step, space(f32(step)));
}

const valueAt = (run: Run, step: number): number | undefined => {
  const version = run.versions.find((one) => one.step === step);
  if (version === undefined) return undefined;
  const reader = run.pin(version);
  const [value] = f32At(readAll(run, 0, { reader }), 1);
  reader.release();
  return value;
};

/** The average after steps 1 to `step`. */
const averageAt = (step: number): number => {
  let average = 1;
  for (let number = 2; number <= step; number++) average = (average + number) / 2;
  return average;
};

describe('retained versions', () => {
  test('are those of the multiples, the newest of them, as they were', async () => {
    const run = makeRetaining({ everySteps: 3, countMax: 2 });
    await train(run, 1, 10);
    expect(run.retainedSteps).toEqual([6, 9]);
    expect(run.versions.map(({ step }) => step)).toEqual([10, 9, 6]);
    expect([3, 6, 9, 10].map((step) => valueAt(run, step))).toEqual([undefined, ...[6, 9, 10].map(averageAt)]);
    await train(run, 11, 12);
    expect(run.retainedSteps).toEqual([9, 12]);
    expect(run.versions.map(({ step }) => step)).toEqual([12, 9]);
  });

  test('a step that jumps over a multiple is none; one that the optimizer skipped may be', async () => {
    const run = makeRetaining({ everySteps: 10, countMax: 8 });
    for (const step of [8, 12]) await push(run, step, space(f32(step)));
    const writer = openWriter(run);
    expect(await skip(writer, 20)).toEqual({ state: 'SKIPPED', detail: '' });
    expect(run.retainedSteps).toEqual([20]);
    writer.stage(21, 0, space(f32(0)));
    await commit(writer, 21, 64);
    expect([20, 21].map((step) => valueAt(run, step))).toEqual([10, 5]);
  });

  test('cost their pages, until they give way', async () => {
    const run = makeRetaining({ everySteps: 2, countMax: 3 });
    const pinned: number[] = [];
    for (let step = 1; step <= 12; step++) {
      await train(run, step, step);
      pinned.push(run.memory.pinnedBytes / 4_096);
    }
    // The head itself costs nothing, also where it is retained.
    expect(pinned).toEqual([0, 0, 1, 1, 2, 2, 3, 2, 3, 2, 3, 2]);
  });

  test('are as many as the run wants now', async () => {
    const run = makeRetaining(undefined);
    await train(run, 1, 4);
    expect(run.retainedSteps).toEqual([]);
    run.retain = { everySteps: 2, countMax: 3 };
    await train(run, 5, 10);
    expect(run.retainedSteps).toEqual([6, 8, 10]);
    run.retain = { everySteps: 5, countMax: 1 };
    await train(run, 11, 14);
    expect(run.retainedSteps).toEqual([6, 8, 10]);
    await train(run, 15, 15);
    expect(run.retainedSteps).toEqual([15]);
  });
});

describe('a run that goes back', () => {
  test('to the newest retained version at or below a step goes on from there', async () => {
    const run = makeRetaining({ everySteps: 3, countMax: 4 });
    attach(run, 'first');
    await train(run, 1, 10);
    const heard: (number | undefined)[] = [];
    run.subscribe(() => heard.push(run.committedStep));
    expect(attach(run, 'second', { resumeStep: 8 })).toBe(2);
    expect({ step: run.committedStep, generation: run.head.generation, heard }).toEqual({
      step: 6,
      generation: 2,
      heard: [6],
    });
    expect(run.retainedSteps).toEqual([3, 6]);
    expect(run.versions.map(({ step }) => step)).toEqual([6, 3]);
    expect(run.head.shadows[0]!.state).toMatchObject({ numUpdates: 6, lastStep: 6 });
    for (const step of [7, 9]) expect(await push(run, step, space(f32(0)))).toBe('COMMITTED');
    // Step 8 was another one in the first life, which has not been.
    for (const step of [7, 8]) expect(await push(run, step, space(f32(0)))).toBe('ALREADY_COMMITTED');
    expect([6, 9].map((step) => valueAt(run, step))).toEqual([averageAt(6), averageAt(6) / 4]);
    expect(run.retainedSteps).toEqual([3, 6, 9]);
    expect(await push(run, 5, space(f32(5)))).toBe('ALREADY_COMMITTED');
    await expect(push(run, 5, space(f32(0)))).rejects.toThrow('step 5 was committed with other content');
  });

  test('leaves readers what they hold, and shows it to no new one', async () => {
    const run = makeRetaining({ everySteps: 2, countMax: 4 });
    await train(run, 1, 5);
    const readers = run.versions.map((version) => run.pin(version));
    expect(readers.map(({ version }) => version.step)).toEqual([5, 4, 2]);
    attach(run, 'again', { resumeStep: 2 });
    expect(run.retainedSteps).toEqual([2]);
    expect(run.versions.map(({ step }) => step)).toEqual([2, 2]);
    expect(readers.map(({ evicted }) => evicted)).toEqual([undefined, undefined, undefined]);
    await train(run, 3, 3);
    expect(readers.map((reader) => f32At(readAll(run, 0, { reader }), 1)[0])).toEqual([5, 4, 2].map(averageAt));
    for (const reader of readers) reader.release();
    expect(run.versions.map(({ step }) => step)).toEqual([3, 2]);
    expect(run.memory.pinnedBytes).toBe(4_096);
  });

  test('goes back over an average that was added or removed since', async () => {
    const { run } = makeRun([tensor('w', [1])], [mean('a'), mean('b')], {}, undefined, {
      retain: { everySteps: 2, countMax: 2 },
    });
    await train(run, 1, 2);
    run.addAverage(mean('late'));
    run.removeAverage('a');
    await train(run, 3, 4);
    expect(run.averages.map(({ name }) => name)).toEqual(['b', 'late']);
    attach(run, 'again', { resumeStep: 3 });
    expect(run.averages.map(({ name }) => name)).toEqual(['a', 'b']);
    await train(run, 3, 3);
    expect([0, 1].map((average) => f32At(readAll(run, average), 1)[0])).toEqual([2, 2]);
  });
});

describe('without room', () => {
  test('readers lose their version first, the oldest; then the oldest retained one goes', async () => {
    // The head, a step, and three versions more.
    const run = makeRetaining({ everySteps: 2, countMax: 8 }, 5 * SLOT_BYTES);
    await train(run, 1, 1);
    const first = run.pin(run.head);
    await train(run, 2, 3);
    const second = run.pin(run.head);
    const held = (): unknown => ({
      readers: [first, second].map(({ evicted }) => evicted),
      retained: run.retainedSteps,
    });
    await train(run, 4, 4);
    expect(held()).toEqual({ readers: [undefined, undefined], retained: [2, 4] });
    await train(run, 5, 5);
    expect(held()).toEqual({ readers: ['MEMORY', undefined], retained: [2, 4] });
    await train(run, 6, 7);
    expect(held()).toEqual({ readers: ['MEMORY', 'MEMORY'], retained: [2, 4, 6] });
    await train(run, 8, 9);
    expect(held()).toEqual({ readers: ['MEMORY', 'MEMORY'], retained: [4, 6, 8] });
    expect([4, 6, 8].map((step) => valueAt(run, step))).toEqual([4, 6, 8].map(averageAt));
  });

  test('a version that is read and retained loses its readers, and stays while that was enough', async () => {
    const run = makeRetaining({ everySteps: 2, countMax: 8 }, 4 * SLOT_BYTES);
    await train(run, 1, 2);
    const retained = run.pin(run.head);
    await train(run, 3, 3);
    const read = run.pin(run.head);
    await train(run, 4, 4);
    expect([retained, read].map(({ evicted }) => evicted)).toEqual([undefined, undefined]);
    await train(run, 5, 5);
    expect([retained, read].map(({ evicted }) => evicted)).toEqual(['MEMORY', 'MEMORY']);
    expect(run.retainedSteps).toEqual([2, 4]);
  });
});
