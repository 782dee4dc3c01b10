import { describe, expect, test } from 'vitest';
import type { Run } from '../../src/engine/index.js';
import { attach, closeStream, f32, makeRun, mean, openWriter, push, refusal, space, tensor } from './fixtures.js';

function makeRetaining(): Run {
  return makeRun([tensor('w', [1])], [mean('a')], {}, undefined, { retain: { everySteps: 5, countMax: 4 } }).run;
}

/** Steps 1 to 12 of the first life, which retains 5 and 10. */
async function makeTrained(): Promise<Run> {
  const run = makeRetaining();
  attach(run, 'first');
  for (let step = 1; step <= 12; step++) await push(run, step, space(f32(step)));
  return run;
}

describe('a trainer that says where it stands', () => {
  test('behind the run is refused, and nothing has changed', async () => {
    const run = await makeTrained();
    const before = run.state;
    const writer = openWriter(run);
    const behind = refusal(
      'TRAINER_BEHIND',
      /^run "r" has committed step 12, the trainer comes back from step 10: go on without trainer_step, steps up to 12 are acknowledged and not folded, or rewind with resume_step; retained are steps \[5, 10\]$/,
    );
    for (const incarnation of ['second', '']) {
      expect(() => attach(run, incarnation, { trainerStep: 10 })).toThrow(expect.toSatisfy(behind));
    }
    expect(run.state).toEqual(before);
    writer.checkOpen();
  });

  test('at its beginning, or ahead of the run, is refused, and nothing has changed', async () => {
    const run = await makeTrained();
    const before = run.state;
    const begun = refusal(
      'RUN_HAS_COMMITS',
      /^run "r" has committed step 12, the trainer begins at step 0: open another run, delete this one, go on in it without trainer_step, or rewind with resume_step; retained are steps \[5, 10\]$/,
    );
    const lost = refusal(
      'RUN_BEHIND',
      /^run "r" has committed step 12, the trainer comes back from step 13: what lies between is not in its averages; go on without trainer_step, restore a checkpoint of step 12, or begin another run$/,
    );
    for (const incarnation of ['second', '']) {
      expect(() => attach(run, incarnation, { trainerStep: 0 })).toThrow(expect.toSatisfy(begun));
      expect(() => attach(run, incarnation, { trainerStep: 13 })).toThrow(expect.toSatisfy(lost));
    }
    expect(() => attach(run, 'second', { trainerStep: 13, resumeStep: 13 })).toThrow(expect.toSatisfy(lost));
    expect(run.state).toEqual(before);
  });

  test('at the step of the run, or with nothing committed, goes on', async () => {
    const run = await makeTrained();
    expect(attach(run, 'second', { trainerStep: 12 })).toBe(2);
    expect(attach(run, 'third', { trainerStep: 12, resumeStep: 12 })).toBe(3);
    for (const trainerStep of [0, 100]) expect(attach(makeRetaining(), 'first', { trainerStep })).toBe(1);
    expect(run.committedStep).toBe(12);
  });

  test('at a step that was rejected after the last commit goes on, after a restart too; further ahead is refused', async () => {
    const rules = { retain: { everySteps: 5, countMax: 4 }, nonFinite: 'REJECT_STEP' } as const;
    const makeRejecting = () => makeRun([tensor('w', [1])], [mean('a')], {}, undefined, rules).run;
    const run = makeRejecting();
    attach(run, 'first');
    for (let step = 1; step <= 12; step++) await push(run, step, space(f32(step)));
    await push(run, 13, space(f32(Number.NaN)));
    expect([run.committedStep, run.answeredStep]).toEqual([12, 13]);
    const restored = makeRejecting();
    restored.restore(run.state);
    for (const [at, known] of [run, restored].entries()) {
      expect(() => attach(known, 'far', { trainerStep: 14 })).toThrow(
        expect.toSatisfy(refusal('RUN_BEHIND', /step 14/)),
      );
      expect(attach(known, `next ${at}`, { trainerStep: 13 })).toBe(2);
    }
    await push(run, 14, space(f32(14)));
    expect([run.committedStep, run.answeredStep]).toEqual([14, 14]);
    attach(run, 'back', { resumeStep: 10, trainerStep: 10 });
    expect(run.answeredStep).toBe(10);
  });

  test('at a beginning that was registered and got no further goes on', async () => {
    const run = makeRetaining();
    attach(run, 'first');
    await push(run, 0, space(f32(1)), { initial: true });
    expect(run.committedStep).toBe(0);
    expect(attach(run, 'second', { trainerStep: 0 })).toBe(2);
  });

  test('in the life that the run knows already gets its own again, however far the run is', async () => {
    const run = await makeTrained();
    expect(attach(run, 'first', { trainerStep: 0 })).toBe(1);
  });
});

describe('a trainer that goes back', () => {
  test.each([
    [5, 5],
    [9, 5],
    [10, 10],
    [11, 10],
    [12, 12],
    [1_000, 12],
  ])('to step %d goes on from step %d', async (resumeStep, step) => {
    const run = await makeTrained();
    expect(attach(run, 'second', { resumeStep, trainerStep: 0 })).toBe(2);
    expect(run.committedStep).toBe(step);
  });

  test('to a step that no version is left of is refused, and nothing has changed', async () => {
    const run = await makeTrained();
    const before = run.state;
    expect(() => attach(run, 'second', { resumeStep: 4 })).toThrow(
      expect.toSatisfy(
        refusal(
          'VERSION_NOT_FOUND',
          /^run "r" has no version at or below step 4 to go on from: 12 is committed, retained are steps \[5, 10\]$/,
        ),
      ),
    );
    expect(run.state).toEqual(before);
  });

  test('before anything was committed begins', () => {
    const run = makeRetaining();
    expect(attach(run, 'first', { resumeStep: 7 })).toBe(1);
    expect(run.committedStep).toBeUndefined();
  });

  test('goes back once: each of its processes says so, and its steps stay', async () => {
    const run = await makeTrained();
    const request = { resumeStep: 10, writers: 2 };
    expect(attach(run, 'second', request)).toBe(2);
    const { head } = run;
    expect(attach(run, 'second', request)).toBe(2);
    expect(run.head).toBe(head);
  });

  test('fences the life before it, whose step is lost', async () => {
    const run = await makeTrained();
    const reasons: string[] = [];
    const old = openWriter(run, undefined, ({ reason }) => reasons.push(reason));
    old.stage(13, 0, space(f32(13)));
    attach(run, 'second', { resumeStep: 10 });
    expect(reasons).toEqual(['GENERATION_FENCED']);
    closeStream(old);
    expect({ step: run.committedStep, staging: run.memory.stagingBytes }).toEqual({ step: 10, staging: 0 });
    expect(await push(run, 11, space(f32(0)))).toBe('COMMITTED');
  });
});

describe('the number of writers', () => {
  test('is that of the life that opens a generation; 0 is what the one before had', () => {
    const run = makeRetaining();
    attach(run, 'first', { writers: 3 });
    expect([run.writerCount, run.writerStates.length]).toEqual([3, 3]);
    attach(run, 'second');
    expect(run.writerCount).toBe(3);
    attach(run, 'third', { writers: 2 });
    expect([run.generation, run.writerCount, run.writerStates.length]).toEqual([3, 2, 2]);
  });

  test('cannot change within a generation', () => {
    const run = makeRetaining();
    attach(run, 'first', { writers: 3 });
    for (const incarnation of ['first', '']) {
      expect(() => attach(run, incarnation, { writers: 2 })).toThrow(
        expect.toSatisfy(
          refusal(
            'WRITERS_MISMATCH',
            /^generation 1 of run "r" has 3 writers, 2 in the request: another number of writers needs a new incarnation$/,
          ),
        ),
      );
      expect(attach(run, incarnation, { writers: 3 })).toBe(1);
    }
  });
});
