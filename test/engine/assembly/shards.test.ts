import { describe, expect, test } from 'vitest';
import { FLOAT_DTYPES, type FloatDType } from '../../../src/common/index.js';
import type { Run } from '../../../src/engine/index.js';
import { randomBits } from '../../kernels/elements.js';
import { boxesOf, ema, makeRun, mean, planWire, push, readAll, tensor } from '../fixtures.js';
import { type Random, shuffled } from '../world/naive.js';
import { randomShards, Team } from './team.js';

const SEED = 20_261_201;
const OPTIONS = { pageBytesMax: 4_096, arenaBytesMax: 512 * 1_024 };

describe(`a step of several writers, seed ${SEED}`, () => {
  const tensors = [
    tensor('a', [30, 50]),
    tensor('n', [], { dtype: 'I64', policy: 'COPY' }),
    tensor('b', [5, 7, 9], { dtype: 'BF16' }),
    tensor('x', [4], { policy: 'IGNORE' }),
    tensor('once', [40, 3], { dtype: 'U8', policy: 'COPY_ONCE' }),
    tensor('none', [0, 2]),
    tensor('c', [70, 20], { dtype: 'F64' }),
  ];

  /** A step of small numbers in any float dtype: its first byte is 0, so that there is no NaN. */
  function randomStep(run: Run, wireDType: FloatDType | undefined, isFirst: boolean, random: Random): Buffer {
    const plan = planWire(run.layout, wireDType);
    const { stepBytes, firstStepBytes } = plan;
    const whole = Buffer.alloc(isFirst ? firstStepBytes : stepBytes);
    for (const { stepOffset, bytes } of boxesOf(plan)) {
      for (let at = stepOffset; at < Math.min(stepOffset + bytes, whole.length); at++) {
        whole[at] = at % 2 === 0 ? random() : random() & 0x3f;
      }
    }
    return whole;
  }

  test.each([undefined, ...FLOAT_DTYPES])(
    'as %s gives the bits of one writer, however it is dealt out and in whatever order it comes',
    async (wireDType) => {
      const random = randomBits(SEED);
      for (const writerCount of [1, 2, 3, 7]) {
        const averages = [ema('a', 0.9, 'FIRST'), mean('b', 'F64')];
        const { run: alone } = makeRun(tensors, averages, OPTIONS);
        const { run } = makeRun(tensors, averages, OPTIONS);
        const team = new Team(run, randomShards(run, writerCount, random), wireDType && { wireDType });
        for (let number = 1; number <= 3; number++) {
          const whole = randomStep(run, wireDType, number === 1, random);
          await push(alone, number, whole, wireDType && { wireDType });
          await sendShuffled(team, number, whole, random);
        }
        expect(run.committedStep).toBe(3);
        for (const average of [0, 1]) expect(readAll(run, average).equals(readAll(alone, average))).toBe(true);
        expect(run.state.digests).toEqual(alone.state.digests);
      }
    },
  );

  /** Chunks of all writers in random order; each commits when its part is whole. */
  async function sendShuffled(team: Team, number: number, whole: Buffer, random: Random): Promise<void> {
    const isFirst = number === 1;
    const turns = team.writers.flatMap((writer, index) => {
      const bytes = isFirst ? writer.firstStepBytes : writer.stepBytes;
      return Array.from({ length: Math.ceil(bytes / 192) + 1 }, () => index);
    });
    const sent = team.writers.map(() => 0);
    const outcomes: Promise<unknown>[] = [];
    for (const index of shuffled(turns, random)) {
      const { firstStepBytes, stepBytes } = team.writers[index]!;
      const bytes = isFirst ? firstStepBytes : stepBytes;
      const from = sent[index]!;
      if (from < bytes) team.send(index, number, whole, from, Math.min(from + 192, bytes));
      else outcomes.push(team.commit(index, number));
      sent[index] = from + 192;
    }
    expect(await Promise.all(outcomes)).toEqual(team.writers.map(() => ({ state: 'COMMITTED', detail: '' })));
  }
});
