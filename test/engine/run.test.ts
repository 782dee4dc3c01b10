import { describe, expect, test } from 'vitest';
import type { ShadowkeepError } from '../../src/common/index.js';
import {
  attach,
  closeStream,
  commit,
  ema,
  f32,
  f32At,
  makeRun,
  mean,
  never,
  openWriter,
  push,
  readAll,
  refusal,
  space,
  tensor,
} from './fixtures.js';

const step = (value: number): Buffer => space(f32(value));
const UPDATE = { isInitial: false, isSkipped: false };

describe('generations', () => {
  test('a new life fences the older ones, a known one gets its own again, none takes part', () => {
    const { run } = makeRun([tensor('w', [1])], [mean('a')]);
    expect(attach(run)).toBe(1);
    expect(attach(run, 'first life')).toBe(2);
    expect(attach(run, 'first life')).toBe(2);
    expect(attach(run)).toBe(2);
    expect(attach(run, 'second life')).toBe(3);
    expect(() => attach(run, 'first life')).toThrow(
      expect.toSatisfy(refusal('GENERATION_FENCED', /generation 2 of run "r" was fenced, 3 is open/)),
    );
    expect(() => openWriter(run, undefined, never, 2)).toThrow(
      expect.toSatisfy(refusal('GENERATION_FENCED', /generation 2/)),
    );
    expect(() => openWriter(run, undefined, never, 4)).toThrow(
      expect.toSatisfy(refusal('GENERATION_UNKNOWN', /run "r" has no generation 4, 3 is open/)),
    );
  });

  test('a fenced writer is told, loses what it staged, and changes nothing any more', async () => {
    const { run } = makeRun([tensor('w', [1])], [mean('a')]);
    const failures: ShadowkeepError[] = [];
    attach(run, 'a');
    const old = openWriter(run, undefined, (error) => failures.push(error));
    old.stage(1, 0, step(7));
    attach(run, 'b');
    expect(failures.map(({ reason, message }) => [reason, message])).toEqual([
      ['GENERATION_FENCED', expect.stringMatching(/^generation 2 of run "r" has begun: /)],
    ]);
    await expect(commit(old, 1, 64)).rejects.toSatisfy(refusal('GENERATION_FENCED', /generation 2/));
    expect(run.memory.stagingBytes).toBe(0);
    await push(run, 1, step(3));
    closeStream(old);
    expect({ step: run.committedStep, value: f32At(readAll(run), 1) }).toEqual({ step: 1, value: [3] });
  });

  test('a thousand lives are remembered, then the oldest is a new one', () => {
    const { run } = makeRun([tensor('w', [1])], [mean('a')]);
    for (let life = 1; life <= 1_025; life++) attach(run, `life ${life}`);
    expect(() => attach(run, 'life 2')).toThrow('was fenced');
    expect(attach(run, 'life 1')).toBe(1_026);
  });
});

describe('memory', () => {
  test('a run that does not fit takes nothing, whatever part of it did', () => {
    const tensors = [tensor('w', [1_000]), tensor('m', [8_000], { dtype: 'U8', policy: 'COPY' })];
    const full = makeRun(tensors, [mean('a'), mean('b'), mean('c', 'F64')]).ledger;
    // One page of 8 KiB for each of four planes and 12 KiB of a step, each with 4 KiB of room.
    expect(full.usedBytes).toBe(4 * 12_288);
    const neededBytes = 6 * 12_288;
    for (let budget = 0; budget < neededBytes; budget += 4_096) {
      try {
        makeRun(tensors, [mean('a'), mean('b'), mean('c', 'F64')], {}, budget);
        expect.fail(`it fits in ${budget}`);
      } catch (error) {
        expect(error).toSatisfy(refusal('MEMORY_EXHAUSTED', new RegExp(`needs ${neededBytes} bytes, ${budget} of`)));
      }
    }
    const { run, ledger } = makeRun(tensors, [mean('a'), mean('b'), mean('c', 'F64')], {}, neededBytes);
    const writer = openWriter(run);
    expect(ledger.freeBytes).toBe(0);
    closeStream(writer);
    expect(run.delete()).toBe(neededBytes);
    expect(ledger.usedBytes).toBe(0);
  });

  test('a step in a wider dtype that does not fit is refused when its stream opens; a narrower one goes on', async () => {
    const { run, ledger } = makeRun([tensor('w', [2_048])], [mean('a')], { pageBytesMax: 4_096 }, 4 * 8_192);
    const used = ledger.usedBytes;
    expect(() => openWriter(run, 'F64')).toThrow(
      expect.toSatisfy(
        refusal(
          'MEMORY_EXHAUSTED',
          /^one step in flight of run "r" needs 32768 bytes, 16384 of the server's 32768 are free/,
        ),
      ),
    );
    expect({ writers: run.writerStates.filter(({ isConnected }) => isConnected), used: ledger.usedBytes }).toEqual({
      writers: [],
      used,
    });
    expect(await push(run, 1, space(new Float32Array(2_048).fill(2)))).toBe('COMMITTED');
  });

  test('a reader costs the pages that change under it, and nothing when it leaves', async () => {
    const { run } = makeRun([tensor('w', [1])], [mean('a')]);
    attach(run);
    await push(run, 1, step(1));
    const reader = run.pin(run.head);
    const before = run.memory;
    expect(before.pinnedBytes).toBe(0);
    for (let number = 2; number <= 11; number++) await push(run, number, step(number));
    expect(run.memory.pinnedBytes).toBe(4_096);
    expect(f32At(readAll(run, 0, { reader }), 1)).toEqual([1]);
    expect(f32At(readAll(run), 1)).toEqual([6]);
    reader.release();
    expect(run.memory.pinnedBytes).toBe(0);
  });

  test('a trainer that needs the memory of readers takes the oldest, and never waits', async () => {
    const { run } = makeRun([tensor('w', [1])], [mean('a')], {}, 4 * 8_192);
    attach(run);
    const readers = [];
    for (let number = 1; number <= 4; number++) {
      await push(run, number, step(number));
      readers.push(run.pin(run.head));
    }
    // A shadow, a step in flight, and two more pages.
    expect(readers.map(({ evicted }) => evicted)).toEqual(['MEMORY', undefined, undefined, undefined]);
    expect(readers.slice(1).map((reader) => f32At(readAll(run, 0, { reader }), 1)[0])).toEqual([1.5, 2, 2.5]);
    await push(run, 5, step(5));
    expect(readers.map(({ evicted }) => evicted)).toEqual(['MEMORY', 'MEMORY', undefined, undefined]);
    expect(readers.slice(2).map((reader) => f32At(readAll(run, 0, { reader }), 1)[0])).toEqual([2, 2.5]);
  });
});

describe('commits', () => {
  test('an initial push is needed by INITIAL, comes before the first update, once', async () => {
    const { run } = makeRun([tensor('w', [1])], [mean('m'), ema('a', 0.5, 'INITIAL')]);
    attach(run);
    await expect(push(run, 1, step(1))).rejects.toSatisfy(
      refusal(
        'INITIAL_REQUIRED',
        /^average "a" starts from INITIAL: push the initial weights of run "r" first, or start it from FIRST$/,
      ),
    );
    expect(run.committedStep).toBeUndefined();
    expect(await push(run, 0, step(8), { initial: true })).toBe('COMMITTED');
    const assigned = { numUpdates: 0, pushes: 0, weight: 1, originStep: 0, lastStep: 0 };
    expect(run.head.shadows.map(({ state }) => state)).toMatchObject([assigned, assigned]);
    expect(await push(run, 0, step(8), { initial: true })).toBe('ALREADY_COMMITTED');
    await expect(push(run, 1, step(9), { initial: true })).rejects.toSatisfy(
      refusal('INITIAL_TOO_LATE', /^initial push of step 1: run "r" has committed step 0$/),
    );
    expect(f32At(readAll(run, 1), 1)).toEqual([8]);
  });

  test('listeners hear of each commit and of the deletion, until they stop', async () => {
    const { run } = makeRun([tensor('w', [1])], [mean('a')]);
    attach(run);
    const heard: (number | undefined)[] = [];
    const stop = run.subscribe(() => heard.push(run.isDeleted ? -1 : run.committedStep));
    await push(run, 4, step(1));
    await push(run, 4, step(1));
    await push(run, 6, step(1));
    run.delete();
    stop();
    expect(heard).toEqual([4, 6, -1]);
  });

  test('a saved state is restored: step, generation, lives, updates', async () => {
    const { run } = makeRun([tensor('w', [1])], [mean('a')]);
    attach(run, 'life');
    for (const number of [3, 5]) await push(run, number, step(number));
    const { run: copy } = makeRun([tensor('w', [1])], [mean('a')]);
    copy.restore(JSON.parse(JSON.stringify(run.state)));
    expect(copy.state).toEqual(run.state);
    expect(attach(copy, 'life')).toBe(1);
    await push(copy, 6, step(10));
    expect(copy.head.shadows[0]?.state).toMatchObject({ numUpdates: 3, weight: 1 / 3 });
    expect(() => copy.restore(run.state)).toThrow('broken invariant');
  });

  test('an empty layout commits steps without bytes', async () => {
    const { run } = makeRun([tensor('w', [0]), tensor('x', [5], { policy: 'IGNORE' })], [mean('a')]);
    attach(run);
    expect(run.stepBytes).toBe(0);
    expect(await push(run, 1, Buffer.alloc(0))).toBe('COMMITTED');
    expect(readAll(run)).toHaveLength(0);
  });
});

describe('a fold under way', () => {
  test('nobody is fenced and the head is not pinned until it has ended', async () => {
    const { run } = makeRun([tensor('w', [1])], [mean('a')]);
    const writer = openWriter(run);
    writer.stage(1, 0, step(1));
    const order: string[] = [];
    const committed = writer.commit({ step: 1, bytes: 64, ...UPDATE }, async (fold) => {
      expect(() => attach(run, 'new')).toThrow('broken invariant');
      expect(() => run.pin(run.head)).toThrow('broken invariant');
      for (const _ of fold);
      for (let tick = 0; tick < 20; tick++) await Promise.resolve();
    });
    const settled = run.whenSettled(() => order.push(`settled at ${run.committedStep}`));
    await Promise.all([committed.then(() => order.push('committed')), settled]);
    expect(order).toContain('settled at 1');
  });

  test('a run deleted during it: the writer is told so, nobody waits for ever', async () => {
    const { run, ledger } = makeRun([tensor('w', [100])], [mean('a')], { yieldElements: 1 });
    const writer = openWriter(run, undefined, () => undefined);
    writer.stage(1, 0, space(new Float32Array(100)));
    const committed = writer.commit({ step: 1, bytes: run.stepBytes, ...UPDATE }, async (fold) => {
      let slices = 0;
      for (const _ of fold) if (slices++ === 0) run.delete();
    });
    const settled = run.whenSettled(() => run.isDeleted);
    await expect(committed).rejects.toSatisfy(refusal('RUN_DELETED', /run "r" was deleted/));
    expect(await settled).toBe(true);
    expect(ledger.usedBytes).toBe(0);
  });
});
