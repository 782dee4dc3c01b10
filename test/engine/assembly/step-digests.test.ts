import { describe, expect, test } from 'vitest';
import type { FloatDType } from '../../../src/common/index.js';
import { StepDigests } from '../../../src/engine/assembly/index.js';
import { Replays } from '../../../src/engine/assembly/step-digests.js';
import { closeStream, ema, f32, f32At, makeRun, push, readAll, refusal, space, tensor } from '../fixtures.js';
import { rowShards, Team } from './team.js';

const SHAPE = [4, 16] as const;
const step = (value: number): Buffer => Buffer.from(new Float32Array(64).fill(value).buffer);
const digest = (sum: number) => ({ sum, weighted: 2 * sum });

describe('the digests of committed steps', () => {
  const record = (digests: StepDigests, number: number, sum: number, wireDType?: FloatDType): void =>
    digests.record({ step: number, ...digest(sum), wireDType });

  test('tell another step from the one that was committed; what is not known may be any', () => {
    const digests = new StepDigests();
    record(digests, 1, 10);
    record(digests, 2, 20, 'BF16');
    expect(digests.mayBe(1, undefined, digest(10))).toBe(true);
    expect(digests.mayBe(1, undefined, digest(11))).toBe(false);
    expect(digests.mayBe(1, undefined, { sum: 10, weighted: 21 })).toBe(false);
    expect(digests.mayBe(2, 'BF16', digest(10))).toBe(false);
    // The same weights are other bytes in another dtype.
    expect(digests.mayBe(2, 'F32', digest(10))).toBe(true);
    expect(digests.mayBe(3, undefined, digest(10))).toBe(true);
  });

  test('are those of the last 1,024', () => {
    const digests = new StepDigests();
    for (let number = 1; number <= 1_025; number++) record(digests, number, number);
    expect(digests.state).toHaveLength(1_024);
    expect([1, 2, 1_025].map((number) => digests.mayBe(number, undefined, digest(7_777)))).toEqual([
      true,
      false,
      false,
    ]);
  });

  test('are forgotten by a trainer that goes back, and restored with a run', () => {
    const digests = new StepDigests();
    for (const number of [2, 4, 6]) record(digests, number, number);
    const copy = new StepDigests();
    copy.restore(digests.state);
    expect(copy.state).toEqual(digests.state);
    digests.rewind(4);
    expect(digests.state.map((known) => known.step)).toEqual([2, 4]);
    digests.rewind(undefined);
    expect(digests.state).toEqual([]);
  });
});

describe('the parts of a step that is sent again', () => {
  const part = (writer: number, sum: number) => [writer, digest(sum)] as const;

  test('are a whole with the last of them, each writer counted once', () => {
    const replays = new Replays(3);
    expect([part(2, 1), part(0, 5), part(2, 9)].map((sent) => replays.add(7, ...sent))).toEqual(
      Array(3).fill(undefined),
    );
    expect(replays.add(8, ...part(1, 100))).toBeUndefined();
    expect(replays.add(7, ...part(1, 20))).toEqual(digest(26));
    // Another time begins anew.
    expect(replays.add(7, ...part(1, 20))).toBeUndefined();
  });

  test('of too many steps are forgotten, the oldest first', () => {
    const replays = new Replays(2);
    for (let number = 1; number <= 1_025; number++) replays.add(number, ...part(0, number));
    expect(replays.add(1, ...part(1, 1))).toBeUndefined();
    expect(replays.add(1_025, ...part(1, 1))).toEqual(digest(1_026));
  });
});

describe('a step that was committed', () => {
  async function makeTeam(writerCount = 3) {
    const { run } = makeRun([tensor('w', [...SHAPE])], [ema('a', 0.5, 'FIRST')]);
    const team = new Team(
      run,
      rowShards(SHAPE, 4)
        .slice(0, writerCount - 1)
        .concat([
          rowShards(SHAPE, 4)
            .slice(writerCount - 1)
            .flat(),
        ]),
    );
    for (const number of [1, 2]) await team.pushAll(number, step(number));
    return { run, team };
  }

  test('is acknowledged when it comes again, and not folded', async () => {
    const { run, team } = await makeTeam();
    const before = readAll(run);
    for (const number of [2, 1]) {
      expect(await team.pushAll(number, step(number))).toEqual(Array(3).fill('ALREADY_COMMITTED'));
    }
    expect(await team.commit(0, 1)).toEqual({ state: 'ALREADY_COMMITTED', detail: '' });
    expect({ step: run.committedStep, same: readAll(run).equals(before) }).toEqual({ step: 2, same: true });
  });

  test('with other content is a conflict, found with its last part, that ends every stream', async () => {
    const { run, team } = await makeTeam();
    for (const writer of [1, 0])
      expect(await team.push(writer, 2, step(9))).toMatchObject({ state: 'ALREADY_COMMITTED' });
    team.send(0, 3, step(3), 0, 16);
    await expect(team.push(2, 2, step(2))).rejects.toSatisfy(
      refusal(
        'STEP_CONFLICT',
        /^step 2 was committed with other content: rewind to a retained version \(resume_step\), or go on with steps after 2$/,
      ),
    );
    expect(team.failures).toEqual([0, 1, 2].map((writer) => [writer, 'STEP_CONFLICT']));
    for (const writer of team.writers) closeStream(writer);
    for (const writer of [0, 1, 2]) team.reopen(writer);
    expect(await team.pushAll(3, step(3))).toEqual(Array(3).fill('COMMITTED'));
    expect(f32At(readAll(run), 1)).toEqual([2.25]);
  });

  test('is the same from other writers of another life', async () => {
    const { run } = await makeTeam();
    const other = new Team(run, rowShards(SHAPE, 2).reverse(), { incarnation: 'other' });
    expect(await other.pushAll(2, step(2))).toEqual(['ALREADY_COMMITTED', 'ALREADY_COMMITTED']);
    expect(await other.push(0, 1, step(1))).toMatchObject({ state: 'ALREADY_COMMITTED' });
    await expect(other.push(1, 1, step(5))).rejects.toSatisfy(refusal('STEP_CONFLICT', /^step 1/));
  });

  test('may be any step in another dtype', async () => {
    const { run } = await makeTeam();
    const other = new Team(run, rowShards(SHAPE, 2), { incarnation: 'other', wireDType: 'BF16' });
    expect(await other.pushAll(2, Buffer.alloc(128, 0x3f))).toEqual(['ALREADY_COMMITTED', 'ALREADY_COMMITTED']);
  });

  test('is compared without the tensors that are sent once, and with the copied ones', async () => {
    const tensors = [
      tensor('n', [3], { dtype: 'U8', policy: 'COPY' }),
      tensor('once', [5], { policy: 'COPY_ONCE' }),
      tensor('w', [2], { dtype: 'F64' }),
    ];
    const { run } = makeRun(tensors, [ema('a', 0.5, 'FIRST')]);
    const of = (count: number, once?: number): Buffer => {
      const each = [Uint8Array.of(1, 2, count), Float64Array.of(3, 4)];
      return space(...each, ...(once === undefined ? [] : [f32(once, 2, 3, 4, 5)]));
    };
    await push(run, 1, of(3, 1));
    expect(await push(run, 1, of(3, 1))).toBe('ALREADY_COMMITTED');
    expect(await push(run, 1, of(3))).toBe('ALREADY_COMMITTED');
    await expect(push(run, 1, of(4))).rejects.toSatisfy(refusal('STEP_CONFLICT', /^step 1/));
  });

  test('is known after a restart, and forgotten by one that goes back', async () => {
    const { run } = makeRun([tensor('w', [1])], [ema('a', 0.5, 'FIRST')]);
    for (const number of [1, 2]) await push(run, number, space(f32(number)));
    const { run: copy } = makeRun([tensor('w', [1])], [ema('a', 0.5, 'FIRST')]);
    copy.restore(JSON.parse(JSON.stringify(run.state)));
    expect(await push(copy, 2, space(f32(2)))).toBe('ALREADY_COMMITTED');
    await expect(push(copy, 1, space(f32(9)))).rejects.toSatisfy(refusal('STEP_CONFLICT', /^step 1/));
  });
});
