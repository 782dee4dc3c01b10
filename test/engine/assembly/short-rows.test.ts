import { describe, expect, test } from 'vitest';
import { toEnd } from '../../../src/common/index.js';
import { BoxList, planRead, type Run, readBytes } from '../../../src/engine/index.js';
import { attach, ema, makeRun, planWire, readAll, refusal, tensor } from '../fixtures.js';
import { box, partOf, targetsOf } from '../world/naive.js';
import { Team } from './team.js';

/** A column of bytes is as many rows of one byte: with more of them than one slice takes, the work has to yield. */
const ROWS = 20_000;
const COLUMNS = 3;
const ROWS_A_SLICE_MAX = 4_096;

const [LEFT, RIGHT] = [box([0, 0], [ROWS, 1]), box([0, 1], [ROWS, COLUMNS - 1])];
const WHOLE_WEIGHTS = box([], [], { tensor: 1 });

/** Two writers of a run, one with the first column of a table and one with the others. */
function setUp() {
  const { run } = makeRun(
    [tensor('t', [ROWS, COLUMNS], { dtype: 'U8', policy: 'COPY' }), tensor('w', [4])],
    [ema('a', 0.5, 'FIRST')],
  );
  const team = new Team(run, [[LEFT], [RIGHT, WHOLE_WEIGHTS]]);
  const step = Buffer.alloc(run.stepBytes);
  for (let byte = 0; byte < ROWS * COLUMNS; byte++) step[byte] = (byte * 31) % 251;
  return { run, team, step };
}

const column = (run: Run, step: Buffer): Buffer => partOf(step, targetsOf([LEFT], planWire(run.layout)).targets);

/** How often work yields. */
function yields(work: Generator<void>): number {
  let count = 0;
  while (work.next().done !== true) count += 1;
  return count;
}

describe('a chunk of many short rows', () => {
  test('is taken in slices, and the step is what it would be in one', async () => {
    const { run, team, step } = setUp();
    const slices = yields(team.writers[0]!.staging(1, 0, column(run, step)));
    expect(slices).toBeGreaterThanOrEqual(Math.floor(ROWS / ROWS_A_SLICE_MAX));
    const committed = team.commit(0, 1);
    expect(await team.push(1, 1, step)).toMatchObject({ state: 'COMMITTED' });
    await committed;
    expect(readAll(run).equals(step)).toBe(true);
  });

  test('that is committed already is looked at in slices too, all of it', async () => {
    for (const changed of [0, 1]) {
      const { run, team, step } = setUp();
      expect(await team.pushAll(1, step)).toEqual(['COMMITTED', 'COMMITTED']);
      step[COLUMNS * (ROWS - 1)]! ^= changed;
      const slices = yields(team.writers[0]!.staging(1, 0, column(run, step)));
      expect(slices).toBeGreaterThanOrEqual(Math.floor(ROWS / ROWS_A_SLICE_MAX));
      expect(await team.commit(0, 1)).toMatchObject({ state: 'ALREADY_COMMITTED' });
      const other = team.push(1, 1, step);
      if (changed === 0) expect(await other).toMatchObject({ state: 'ALREADY_COMMITTED' });
      else await expect(other).rejects.toSatisfy(refusal('STEP_CONFLICT', /other content/));
    }
  });

  test('is taken no further when a newer trainer comes between two slices', () => {
    const { run, team, step } = setUp();
    const work = team.writers[0]!.staging(1, 0, column(run, step));
    work.next();
    attach(run, 'newer', { writers: 2 });
    expect(() => work.next()).toThrow(expect.toSatisfy(refusal('GENERATION_FENCED', /./)));
  });

  test('goes on where it stopped, when its stream broke between two slices', async () => {
    const { run, team, step } = setUp();
    const [writer] = team.writers;
    const work = writer!.staging(1, 0, column(run, step));
    work.next();
    work.next();
    writer!.leave();
    const { receivedBytes } = team.reopen(0);
    expect(receivedBytes).toBeGreaterThan(0);
    expect(receivedBytes % 16).toBe(0);
    team.send(0, 1, step, receivedBytes);
    const committed = team.commit(0, 1);
    await team.push(1, 1, step);
    expect(await committed).toMatchObject({ state: 'COMMITTED' });
    expect(readAll(run).equals(step)).toBe(true);
  });
});

test('a read of many short rows yields, and has their bytes', async () => {
  const { run, team, step } = setUp();
  await team.pushAll(1, step);
  const plan = toEnd(planRead(run.layout, run.head, run.head.shadows[0]!, BoxList.of([LEFT])));
  const found = Buffer.alloc(plan.tensors.totalBytes);
  expect(yields(readBytes(plan, 0, found))).toBeGreaterThanOrEqual(Math.floor(ROWS / ROWS_A_SLICE_MAX));
  const expected = column(run, step);
  expect(found.subarray(0, ROWS).equals(expected.subarray(0, ROWS))).toBe(true);
});
