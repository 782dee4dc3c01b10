import { describe, expect, test } from 'vitest';
import type { Run } from '../../../src/engine/index.js';
import { drive, ema, f32At, makeRun, mean, openWriter, push, readAll, refusal, tensor } from '../fixtures.js';
import { rowShards, Team } from './team.js';

const OPTIONS = { pageBytesMax: 4_096, arenaBytesMax: 512 * 1_024 };

/** 4 by 16 of one value: 64 bytes to a row. */
const SHAPE = [4, 16] as const;
const step = (value: number): Buffer => Buffer.from(new Float32Array(64).fill(value).buffer);

function makeTeam(writerCount: number, budgetBytes?: number): { run: Run; team: Team } {
  // Two averages: folded at the commit.
  const { run } = makeRun([tensor('w', [...SHAPE])], [ema('a', 0.5, 'FIRST'), mean('b')], OPTIONS, budgetBytes);
  return { run, team: new Team(run, rowShards(SHAPE, writerCount)) };
}

const isPending = async (promise: Promise<unknown>): Promise<boolean> => {
  const pending = Symbol('pending');
  return (await Promise.race([promise, Promise.resolve(pending)])) === pending;
};

describe('a writer that is ahead', () => {
  test('waits until the first step is committed, afterwards it may be one step ahead', async () => {
    const { run, team } = makeTeam(2);
    const [fast] = team.writers;
    const first = team.push(0, 1, step(1));
    const room = fast!.admission(2);
    expect(await isPending(room!)).toBe(true);
    expect(team.writers[1]!.admission(1)).toBeUndefined();
    await team.push(1, 1, step(1));
    await Promise.all([first, room]);

    const second = team.push(0, 2, step(3));
    expect(fast!.admission(3)).toBeUndefined();
    const third = team.push(0, 3, step(5));
    const later = fast!.admission(4);
    expect(await isPending(later!)).toBe(true);
    expect(run.committedStep).toBe(1);
    expect(await team.push(1, 2, step(3))).toMatchObject({ state: 'COMMITTED' });
    await Promise.all([second, later]);
    expect(await isPending(third)).toBe(true);
    expect(fast!.admission(4)).toBeUndefined();
    await team.push(1, 3, step(5));
    expect(await third).toMatchObject({ state: 'COMMITTED' });
    expect([0, 1].map((average) => f32At(readAll(run, average), 1)[0])).toEqual([3.5, 3]);
  });

  test('waits where the memory of another step is not there', async () => {
    // Two shadows, one step: three pages with the room beside each, and a little for boxes.
    const { team } = makeTeam(2, 3 * 8_192 + 256);
    await team.pushAll(1, step(1));
    const second = team.push(0, 2, step(2));
    const room = team.writers[0]!.admission(3);
    expect(await isPending(room!)).toBe(true);
    await team.push(1, 2, step(2));
    await Promise.all([second, room]);
    expect(team.writers[0]!.admission(3)).toBeUndefined();
  });

  test('is seen in the states of the writers', async () => {
    const { run, team } = makeTeam(2);
    await team.pushAll(1, step(1));
    void team.push(0, 2, step(2));
    team.send(0, 3, step(3), 0, 32);
    team.send(1, 2, step(2), 0, 48);
    const common = { isConnected: true, stepBytes: 128 };
    expect(run.writerStates).toEqual([
      { ...common, writer: 0, step: 2, receivingStep: 3, receivedBytes: 32, behind: [] },
      { ...common, writer: 1, step: 1, receivingStep: 2, receivedBytes: 48, behind: [2] },
    ]);
    expect({ oldest: run.oldestStep, staging: run.staging }).toEqual({
      oldest: 2,
      staging: { step: 2, receivedBytes: 128 + 48 },
    });
    expect(team.writers.map((writer) => writer.waitsForOthers)).toEqual([true, false]);
  });
});

describe('writers that do not send the same steps', () => {
  test('one leaves out a step, or one comes that the others have passed', async () => {
    const { team } = makeTeam(2);
    await team.pushAll(1, step(1));
    void team.push(0, 3, step(3));
    expect(() => team.send(1, 4, step(4))).toThrow(
      expect.toSatisfy(
        refusal('STEP_MISMATCH', /^writer 1 began step 4 and left out step 3, which another writer sends: all/),
      ),
    );
    expect(() => team.send(1, 2, step(2))).toThrow(
      expect.toSatisfy(refusal('STEP_MISMATCH', /^writer 1 sends step 2, the others are at step 3: all/)),
    );
    await expect(team.commit(1, 2, { isSkipped: true })).rejects.toSatisfy(refusal('STEP_MISMATCH', /at step 3/));
    expect(await team.push(1, 3, step(3))).toMatchObject({ state: 'COMMITTED' });
  });

  test.each([
    [{ isInitial: true }, {}, /^step 1 is an update to writer 1, initial to the others$/],
    [{}, { isInitial: true }, /^step 1 is initial to writer 1, an update to the others$/],
    [{}, { isSkipped: true }, /^step 1 is skipped to writer 1, an update to the others$/],
    [{ isSkipped: true }, {}, /^step 1 is an update to writer 1, skipped to the others$/],
  ])('or do not say the same of one: %o and %o', async (first, second, text) => {
    const { team } = makeTeam(2);
    for (const writer of [0, 1]) team.send(writer, 1, step(1));
    const outcome = team.commit(0, 1, first);
    await expect(team.commit(1, 1, second)).rejects.toSatisfy(refusal('STEP_MISMATCH', text));
    expect(await team.commit(1, 1, first)).toEqual(await outcome);
  });
});

describe('a step that misses a writer', () => {
  test('is dropped whole: who has sent it is told, who is in the middle of it ends, and comes back', async () => {
    const { run, team } = makeTeam(4);
    await team.pushAll(1, step(1));
    const dropped = team.push(0, 2, step(9));
    const ahead = team.push(0, 3, step(5));
    team.send(1, 2, step(9), 0, 16);
    run.dropOldest(250);
    expect(await dropped).toEqual({ state: 'DROPPED', detail: '' });
    expect(team.failures).toEqual([[1, 'STEP_TIMEOUT']]);
    expect(() => team.send(1, 2, step(9), 16)).toThrow('step 2 got no bytes for 250 ms, 16 of 64 had arrived');
    team.writers[1]!.leave();
    team.reopen(1);
    for (const writer of [1, 2, 3]) {
      expect(await team.push(writer, 2, step(9))).toMatchObject({ state: 'DROPPED' });
      void team.push(writer, 3, step(5));
    }
    expect(await ahead).toMatchObject({ state: 'COMMITTED' });
    expect([0, 1].map((average) => f32At(readAll(run, average), 1)[0])).toEqual([3, 3]);
  });

  test('with nobody to tell it may be sent again; one that is whole is not dropped', async () => {
    const { run, team } = makeTeam(2);
    await team.pushAll(1, step(1));
    team.send(0, 2, step(7), 0, 64);
    run.dropOldest(250);
    expect(run.oldestStep).toBeUndefined();
    team.reopen(0);
    expect(await team.pushAll(2, step(3))).toEqual(['COMMITTED', 'COMMITTED']);
    run.dropOldest(250);
    expect(team.failures).toEqual([[0, 'STEP_TIMEOUT']]);
  });
});

describe('a step that a writer has lost', () => {
  test('is dropped at once: who has sent it is told, who is in the middle of it or comes later goes on', async () => {
    const { run, team } = makeTeam(4);
    await team.pushAll(1, step(1));
    const dropped = team.push(0, 2, step(9));
    const ahead = team.push(0, 3, step(5));
    team.send(1, 2, step(9), 0, 16);
    team.writers[3]!.lose(2);
    const lost = { state: 'DROPPED', detail: 'writer 3 has lost it', lostBy: 3 };
    expect(await dropped).toEqual(lost);
    team.send(1, 2, step(9), 16);
    expect([await team.commit(1, 2), await team.push(2, 2, step(9))]).toEqual([lost, lost]);
    expect(team.failures).toEqual([]);
    for (const writer of [1, 2, 3]) void team.push(writer, 3, step(5));
    expect(await ahead).toMatchObject({ state: 'COMMITTED' });
    expect([0, 1].map((average) => f32At(readAll(run, average), 1)[0])).toEqual([3, 3]);
  });

  test('may be several, of several writers, whoever comes first', async () => {
    const { run, team } = makeTeam(2);
    await team.pushAll(1, step(1));
    const [first, second] = team.writers;
    first!.lose(7);
    const ahead = team.push(0, 8, step(5));
    second!.lose(6);
    expect(await team.push(1, 7, step(9))).toEqual({ state: 'DROPPED', detail: 'writer 0 has lost it', lostBy: 0 });
    expect(await team.push(1, 8, step(5))).toMatchObject({ state: 'COMMITTED' });
    expect(await ahead).toMatchObject({ state: 'COMMITTED' });
    // The other way round: its own step is gone, too.
    second!.lose(9);
    const behind = team.push(1, 10, step(9));
    first!.lose(10);
    expect(await behind).toMatchObject({ state: 'DROPPED', lostBy: 0 });
    expect(await team.pushAll(11, step(1))).toEqual(['COMMITTED', 'COMMITTED']);
    expect([0, 1].map((average) => f32At(readAll(run, average), 1)[0])).toEqual([2, Math.fround(7 / 3)]);
  });

  test('is not one that is committed, nor one that the writer has sent', async () => {
    const { team } = makeTeam(2);
    await team.pushAll(1, step(1));
    team.writers[0]!.lose(1);
    expect(await team.push(1, 1, step(1))).toMatchObject({ state: 'ALREADY_COMMITTED' });
    void team.push(0, 2, step(3));
    expect(() => team.writers[0]!.lose(2)).toThrow('a writer does not lose what it has sent');
    expect(await team.push(1, 2, step(3))).toMatchObject({ state: 'COMMITTED' });
  });

  test('and that it was in the middle of leaves no trace', async () => {
    const { run, team } = makeTeam(2);
    await team.pushAll(1, step(1));
    team.send(0, 2, step(9), 0, 16);
    team.writers[0]!.lose(2);
    expect(run.oldestStep).toBeUndefined();
    expect(await team.pushAll(3, step(3))).toEqual(['COMMITTED', 'COMMITTED']);
    expect(f32At(readAll(run), 1)[0]).toBe(2);
  });
});

test('a single writer sends the next step while its last one is folded', async () => {
  const { run } = makeRun([tensor('w', [64])], [mean('a'), mean('b')], OPTIONS);
  await push(run, 1, step(2));
  const writer = openWriter(run);
  writer.stage(2, 0, step(4));
  const commit = { bytes: 256, isInitial: false, isSkipped: false };
  const order: string[] = [];
  const second = writer.commit({ step: 2, ...commit }, async (fold) => {
    writer.stage(3, 0, step(6));
    for (const _ of fold);
    order.push(`${writer.step} arrives`);
  });
  await second.then(() => order.push(`${run.committedStep} is there`));
  await writer.commit({ step: 3, ...commit }, drive);
  expect(order).toEqual(['3 arrives', '2 is there']);
  expect(f32At(readAll(run), 1)).toEqual([4]);
});
