import { expect, test } from 'vitest';
import { averageEma, averageMean, parseAverage, preset } from '../../src/client/index.js';
import { asF32, f32, failureOf, startService } from './support.js';

const LAYOUT = {
  run: 'r',
  tensors: [{ name: 'w', dtype: 'F32', shape: [1] }],
  averages: [averageMean('mean')],
} as const;

test('an average that comes later starts with the next step, one that goes leaves the others', async () => {
  const { client } = await startService();
  const run = await client.openRun(LAYOUT);
  expect(await client.addAverage('r', averageMean('early'))).toEqual({ addedAtStep: undefined });
  await run.update(5, { w: f32(1) });
  const [late] = preset('torch-ema', { decay: 0.5, name: 'late' });
  expect(await client.addAverage('r', late!)).toEqual({ addedAtStep: 5 });
  await run.update(6, { w: f32(3) });
  await client.removeAverage('r', 'early');
  await run.update(7, { w: f32(5) });
  await run.close();

  expect((await client.getRun('r')).averages.map(({ name }) => name)).toEqual(['mean', 'late']);
  const value = async (average: string) =>
    asF32((await client.getShadow({ run: 'r', average })).tensors.get('w')?.data);
  expect([await value('mean'), await value('late')]).toEqual([[3], [4]]);
  expect(await failureOf(client.getShadow({ run: 'r', average: 'early' }))).toMatchObject({
    reason: 'AVERAGE_NOT_FOUND',
  });
});

test('what cannot be added or removed', async () => {
  const { client } = await startService();
  const run = await client.openRun(LAYOUT);
  await run.update(1, { w: f32(1) });
  await run.close();
  const [second] = parseAverage('ema=torch-ema');
  expect(await failureOf(client.addAverage('nope', second!))).toMatchObject({ reason: 'RUN_NOT_FOUND' });
  expect(await failureOf(client.addAverage('r', averageMean('mean')))).toMatchObject({ code: 'INVALID_ARGUMENT' });
  expect(
    await failureOf(client.addAverage('r', { name: 'ema', schedule: { kind: 'constant', decay: 1.5 } })),
  ).toMatchObject({
    reason: 'INVALID_AVERAGE',
  });
  expect(await failureOf(client.addAverage('r', averageEma('ema', { decay: 0.5, start: 'INITIAL' })))).toMatchObject({
    code: 'FAILED_PRECONDITION',
  });
  expect(await failureOf(client.removeAverage('r', 'ema'))).toMatchObject({ reason: 'AVERAGE_NOT_FOUND' });
  expect(await failureOf(client.removeAverage('r', 'mean'))).toMatchObject({ reason: 'LAST_AVERAGE' });
});
