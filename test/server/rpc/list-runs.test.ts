import { expect, test } from 'vitest';
import { ask, openRun, rawClient, SMALL, serve } from '../harness.js';

test('ListRuns: none, then all in the order of their names, without their tensors and writers', async () => {
  const client = rawClient(await serve());
  expect(await ask(client, 'ListRuns', {})).toEqual({ runs: [], more: false, damaged: [] });
  for (const run of ['b', 'a2', 'a10']) await openRun(client, { ...SMALL, run });
  const { runs } = await ask(client, 'ListRuns', {});
  expect(runs.map(({ run, tensors, tensor_count }) => [run, tensors, tensor_count])).toEqual([
    ['a10', [], 1],
    ['a2', [], 1],
    ['b', [], 1],
  ]);
  const { tensors, writer_states, ...rest } = await ask(client, 'GetRun', { run: 'b' });
  expect([tensors, writer_states]).toMatchObject([[{ name: 'w' }], [{ writer: 0, connected: false }]]);
  expect(runs[2]).toEqual({ ...rest, tensors: [], writer_states: [] });
});
