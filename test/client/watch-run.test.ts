import { expect, test } from 'vitest';
import { averageMean, type RunEvent } from '../../src/client/index.js';
import { eventually, f32, failureOf, startService } from './support.js';

const LAYOUT = {
  run: 'r',
  tensors: [{ name: 'w', dtype: 'F32', shape: [1] }],
  averages: [averageMean('mean')],
} as const;

test('the present state, then each commit, until the loop is left', async () => {
  const { client } = await startService();
  const run = await client.openRun(LAYOUT);
  const events: RunEvent[] = [];
  let next = 1;
  for await (const event of client.watchRun('r')) {
    events.push(event);
    if (next > 3) break;
    await run.update(next, { w: f32(next) });
    next += 1;
  }
  expect(events.map(({ committedStep }) => committedStep)).toEqual([undefined, 1, 2, 3]);
  expect(events[0]).toMatchObject({ run: 'r', averages: [{ name: 'mean', numUpdates: 0, weight: undefined }] });
  expect(events[3]).toMatchObject({ averages: [{ name: 'mean', numUpdates: 3, weight: 1 / 3 }] });
  await run.close();
});

test('every N-th step', async () => {
  const { client } = await startService();
  const run = await client.openRun(LAYOUT);
  const steps: (number | undefined)[] = [];
  const watching = (async () => {
    for await (const { committedStep } of client.watchRun('r', { every: 4 })) {
      steps.push(committedStep);
      if (committedStep === 8) return;
    }
  })();
  await eventually(() => steps).toEqual([undefined]);
  for (let step = 1; step <= 8; step += 1) {
    await run.update(step, { w: f32(step) });
    // A slow follower may miss commits, so the test waits until it has seen this step.
    if (step % 4 === 0) await eventually(() => steps.at(-1)).toBe(step);
  }
  await watching;
  expect(steps).toEqual([undefined, 4, 8]);
  await run.close();
});

test('ends with its signal, and with its run', async () => {
  const { client } = await startService();
  const run = await client.openRun(LAYOUT);
  const controller = new AbortController();
  const follow = async (signal?: AbortSignal) => {
    for await (const _ of client.watchRun('r', { signal })) controller.abort(new Error('enough'));
  };
  expect((await failureOf(follow(controller.signal))).message).toBe('enough');
  await run.close();
  const following = failureOf(follow());
  await client.deleteRun('r');
  expect(await following).toMatchObject({ reason: expect.stringMatching(/RUN_DELETED|RUN_NOT_FOUND/) });
  expect(await failureOf(follow())).toMatchObject({ reason: 'RUN_NOT_FOUND' });
});
