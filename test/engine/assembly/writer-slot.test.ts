import { describe, expect, test } from 'vitest';
import { toEnd } from '../../../src/common/index.js';
import { StagedStep } from '../../../src/engine/assembly/staged-step.js';
import { WriterSlot } from '../../../src/engine/assembly/writer-slot.js';
import type { Run } from '../../../src/engine/index.js';
import { Ledger } from '../../../src/engine/memory/ledger.js';
import { World } from '../../../src/engine/world/index.js';
import { closeStream, ema, f32At, makeRun, mean, readAll, refusal, tensor } from '../fixtures.js';
import { rowShards, Team } from './team.js';

const SHAPE = [4, 16] as const;
const step = (value: number): Buffer => Buffer.from(new Float32Array(64).fill(value).buffer);

function makeTeam(): { run: Run; team: Team } {
  const { run } = makeRun([tensor('w', [...SHAPE])], [ema('a', 0.5, 'FIRST'), mean('b')]);
  return { run, team: new Team(run, rowShards(SHAPE, 2)) };
}

const valuesOf = (run: Run): number[] => [0, 1].map((average) => f32At(readAll(run, average), 1)[0]!);

describe('a second stream of a writer', () => {
  test('is refused while the first is open, unless it takes its place', async () => {
    const { run, team } = makeTeam();
    await team.pushAll(1, step(1));
    team.send(0, 2, step(3), 0, 48);
    const [old] = team.writers;
    expect(() => team.reopen(0)).toThrow(
      expect.toSatisfy(refusal('WRITER_BUSY', /^writer 0 of run "r" already has a stream$/)),
    );
    const taken = team.reopen(0, true);
    expect(team.failures).toEqual([[0, 'STREAM_REPLACED']]);
    expect(() => old!.stage(2, 48, Buffer.alloc(16))).toThrow('writer 0 of run "r" came back on another stream');
    // What the old one leaves behind is the new one's now.
    closeStream(old!);
    expect(taken).toMatchObject({ isReady: true, step: 2, receivedBytes: 48 });
    team.send(0, 2, step(3), 48);
    void team.commit(0, 2);
    expect(await team.push(1, 2, step(3))).toMatchObject({ state: 'COMMITTED' });
    expect(valuesOf(run)).toEqual([2, 2]);
  });
});

describe('a writer that comes back', () => {
  test.each<[string, number]>([
    ['goes on where its last stream ended', 48],
    ['begins its step again', 0],
  ])('%s', async (_, from) => {
    const { run, team } = makeTeam();
    await team.pushAll(1, step(1));
    void team.push(1, 2, step(3));
    // What is sent again need not be what was sent.
    team.send(0, 2, step(from === 0 ? Number.NaN : 3), 0, 48);
    team.writers[0]!.leave();
    expect(team.reopen(0)).toMatchObject({ step: 2, receivedBytes: 48 });
    team.send(0, 2, step(3), from);
    expect(await team.commit(0, 2)).toEqual({ state: 'COMMITTED', detail: '' });
    expect(valuesOf(run)).toEqual([2, 2]);
  });

  test('may begin another step; only at first', async () => {
    const { run, team } = makeTeam();
    await team.pushAll(1, step(1));
    team.send(0, 2, step(9), 0, 48);
    team.writers[0]!.leave();
    team.reopen(0);
    team.send(0, 5, step(3), 0, 48);
    expect(run.oldestStep).toBe(5);
    expect(() => team.send(0, 6, step(3), 0, 48)).toThrow(
      expect.toSatisfy(refusal('STEP_MISMATCH', /step 6 came while step 5/)),
    );
    expect(() => team.send(0, 5, step(3), 0, 48)).toThrow(
      expect.toSatisfy(refusal('CHUNK_OVERLAP', /48 bytes have arrived/)),
    );
  });

  test('after it was forgotten begins its step again; the parts of the others stay', async () => {
    const { run, team } = makeTeam();
    await team.pushAll(1, step(1));
    const outcome = team.push(1, 2, step(3));
    team.send(0, 2, step(9), 0, 48);
    closeStream(team.writers[0]!);
    expect(run.staging).toEqual({ step: 2, receivedBytes: 128 });
    expect(team.reopen(0)).toMatchObject({ step: undefined, receivedBytes: 0 });
    await team.push(0, 2, step(3));
    expect(await outcome).toMatchObject({ state: 'COMMITTED' });
    expect(valuesOf(run)).toEqual([2, 2]);
  });

  test('and sends a part again that is whole: nobody folds it twice, and it hears what became of it', async () => {
    const { run, team } = makeTeam();
    await team.pushAll(1, step(1));
    const first = team.push(0, 2, step(3));
    team.writers[0]!.leave();
    const back = team.reopen(0);
    expect(back.awaited.map((awaited) => awaited.step)).toEqual([2]);
    const again = team.push(0, 2, step(3));
    // And once more, while the step is decided.
    team.send(0, 2, step(3), 0, 64);
    expect(await team.push(1, 2, step(3))).toMatchObject({ state: 'COMMITTED' });
    team.send(0, 2, step(3), 64);
    const outcomes = [first, again, team.commit(0, 2)];
    expect((await Promise.all(outcomes)).map(({ state }) => state)).toEqual(Array(3).fill('COMMITTED'));
    expect(valuesOf(run)).toEqual([2, 2]);
    expect(await team.pushAll(3, step(5))).toEqual(['COMMITTED', 'COMMITTED']);
  }, 5_000);

  test('when all are gone nothing is left of them', async () => {
    const { run, team } = makeTeam();
    await team.pushAll(1, step(1));
    void team.push(0, 2, step(9));
    team.send(1, 2, step(9), 0, 48);
    closeStream(team.writers[0]!);
    expect(run.memory.stagingBytes).toBeGreaterThan(0);
    closeStream(team.writers[1]!);
    expect(run.memory).toMatchObject({ stagingBytes: 0, pinnedBytes: 0 });
    expect(run.writerStates.map(({ isConnected, stepBytes }) => ({ isConnected, stepBytes }))).toEqual(
      Array(2).fill({ isConnected: false, stepBytes: 0 }),
    );
    team.reopen(0);
    team.reopen(1);
    expect(await team.pushAll(2, step(3))).toEqual(['COMMITTED', 'COMMITTED']);
    expect(valuesOf(run)).toEqual([2, 2]);
  });
});

describe('a slot', () => {
  test('comes from one state to the next, and from no other', () => {
    const { run } = makeRun([tensor('w', [16])], [mean('a')]);
    const world = new World('r', run.layout, 1, new Ledger(2 ** 30));
    world.declare(0, undefined, undefined);
    toEnd(world.proving(() => undefined));
    const { plan } = world;
    const slot = new WriterSlot(0, plan, world.partOf(0).part, [], 'ACCEPT');
    const staged = new StagedStep<WriterSlot>(1, [], plan, 64);
    expect(() => slot.advance(16)).toThrow('bytes are of a step');
    expect(() => slot.ignore()).toThrow('what is dropped was staged');
    slot.begin(1, { kind: 'STAGING', staged });
    expect(() => slot.begin(1, { kind: 'REPLAYING' })).toThrow('one step after the other');
    slot.advance(48);
    slot.ignore();
    expect([slot.receiving, slot.receivedBytes, slot.staged]).toMatchObject([
      { kind: 'IGNORING', step: 1 },
      48,
      undefined,
    ]);
    expect(() => slot.ignore()).toThrow('what is dropped was staged');
    slot.end();
    expect([slot.receiving, slot.receivedBytes]).toEqual([undefined, 0]);
  });
});
