import { afterEach, describe, expect, test, vi } from 'vitest';
import { FoldAhead } from '../../../src/engine/fold/fold-ahead.js';
import type { Run } from '../../../src/engine/index.js';
import { randomBits } from '../../kernels/elements.js';
import { drive, ema, makeRun, mean, readAll, tensor } from '../fixtures.js';
import { randomShards, Team } from './team.js';

afterEach(() => void vi.restoreAllMocks());

const SEED = 20_261_202;
const random = randomBits(SEED);
const OPTIONS = { pageBytesMax: 4_096, arenaBytesMax: 512 * 1_024 };
/** Two tensors over several pages, without a gap between them. */
const TENSORS = [tensor('w', [64, 48]), tensor('v', [80, 32])];
const COUNT = 64 * 48 + 80 * 32;
const steps = Array.from({ length: 6 }, () => {
  return Buffer.from(Float32Array.from({ length: COUNT }, () => random() / 2 ** 31 - 1).buffer);
});

/** A team of random shards whose steps are folded as they arrive, after the first two steps. */
async function makeAhead(writerCount: number): Promise<{ run: Run; team: Team }> {
  const { run } = makeRun(TENSORS, [ema('a', 0.9, 'FIRST')], OPTIONS);
  const team = new Team(run, randomShards(run, writerCount, random));
  for (const number of [0, 1]) await team.pushAll(number, steps[number]!);
  return { run, team };
}

/** The same steps, each folded at its commit: a second average keeps it from being folded ahead. */
async function foldedAtCommit(count: number): Promise<Buffer> {
  const { run } = makeRun(TENSORS, [ema('a', 0.9, 'FIRST'), mean('b')], OPTIONS);
  const team = new Team(run, randomShards(run, 1, random));
  for (let number = 0; number < count; number++) await team.pushAll(number, steps[number]!);
  return readAll(run);
}

/** Each writer sends some more of a step: all, a part, or nothing. */
function sendMore(team: Team, number: number): void {
  for (const [writer, { stepBytes, receivedBytes }] of team.writers.entries()) {
    const restBytes = stepBytes - receivedBytes;
    const moreBytes = random() % 3 === 0 ? restBytes : 16 * (random() % (restBytes / 16 + 1));
    team.send(writer, number, steps[number]!, receivedBytes, receivedBytes + moreBytes);
  }
}

describe(`what came of a step before it could be folded, seed ${SEED}`, () => {
  test.each([1, 2, 3])('is folded then, to the bits of a fold at the commit: %d writers', async (writerCount) => {
    const expected = await foldedAtCommit(6);
    const begin = vi.spyOn(FoldAhead, 'begin');
    for (let round = 0; round < 10; round++) {
      const { run, team } = await makeAhead(writerCount);
      const rest = writerCount - 1;
      for (let number = 2; number < 6; number++) {
        const outcomes: Promise<unknown>[] = [];
        for (const writer of team.writers.keys()) {
          team.send(writer, number, steps[number]!, team.writers[writer]!.receivedBytes);
          if (writer !== rest) outcomes.push(team.commit(writer, number));
        }
        // The next step comes while this one is decided, and goes on while it is caught up.
        const more = (): void => {
          if (number < 5) sendMore(team, number + 1);
        };
        outcomes.push(
          team.commit(rest, number, {}, async (fold) => {
            if (run.committedStep !== number) more();
            for (const _ of fold) if (run.committedStep === number) more();
          }),
        );
        await Promise.all(outcomes);
        await run.whenSettled(() => undefined);
        const begun = team.writers.some((writer) => writer.receivedBytes > 0);
        if (begun) expect(begin.mock.results.at(-1)?.value).toBeDefined();
      }
      expect(readAll(run).equals(expected)).toBe(true);
    }
  });

  test('in slices, between which the step goes on', async () => {
    const expected = await foldedAtCommit(4);
    const { run, team } = await makeAhead(2);
    void team.push(0, 2, steps[2]!);
    void team.push(0, 3, steps[3]!);
    team.send(1, 2, steps[2]!);
    let slices = 0;
    let sent = 0;
    await team.commit(1, 2, {}, async (fold) => {
      for (const _ of fold) {
        slices += 1;
        if (run.committedStep !== 2 || sent >= team.writers[1]!.stepBytes) continue;
        team.send(1, 3, steps[3]!, sent, sent + 1_024);
        sent += 1_024;
      }
    });
    await run.whenSettled(() => undefined);
    expect(sent).toBeGreaterThan(1_024);
    expect(slices).toBeGreaterThan(2);
    team.send(1, 3, steps[3]!, team.writers[1]!.receivedBytes);
    await team.commit(1, 3);
    expect(readAll(run).equals(expected)).toBe(true);
  });

  test.each([
    ['begins its step again', 3],
    ['begins another step first', 4],
  ])('is not folded twice when a writer comes back meanwhile and %s', async (_, other) => {
    const { run, team } = await makeAhead(2);
    void team.push(0, 2, steps[2]!);
    team.send(1, 2, steps[2]!);
    let isBack = false;
    const committed = team.commit(1, 2, {}, async (fold) => {
      if (run.committedStep === 1) {
        team.send(0, 3, steps[5]!);
        return await drive(fold);
      }
      // Step 3 is caught up. The stream broke after the commit; it is back before the first slice.
      for (const _ of fold) {
        if (!isBack) team.send(0, other, steps[other]!);
        isBack = true;
      }
    });
    const reopened = run.whenSettled(() => {
      team.writers[0]!.leave();
      team.reopen(0);
    });
    await Promise.all([committed, reopened]);
    await run.whenSettled(() => undefined);
    expect(isBack).toBe(true);
    const rest = other === 3 ? team.commit(0, 3) : team.commit(0, 4);
    await Promise.all([rest, team.push(1, other, steps[other]!)]);
    const { run: plain } = makeRun(TENSORS, [ema('a', 0.9, 'FIRST'), mean('b')], OPTIONS);
    const single = new Team(plain, randomShards(plain, 1, random));
    for (const number of [0, 1, 2, other]) await single.pushAll(number, steps[number]!);
    expect(readAll(run).equals(readAll(plain))).toBe(true);
  });
});
