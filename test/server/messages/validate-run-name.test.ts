import { expect, test } from 'vitest';
import { validateRunName, validateWatchRun } from '../../../src/server/messages/index.js';
import { arrived, refused } from './requests.js';

test('a request that names a run', () => {
  expect(validateRunName(arrived('GetRun', { run: 'r' }))).toBe('r');
  expect(refused(() => validateRunName(arrived('GetRun', {})))).toMatchObject({ reason: 'INVALID_NAME', field: 'run' });
});

test('a watch of each N-th step: 0 and 1 are every one', () => {
  expect([0, 1, 5].map((every) => validateWatchRun(arrived('WatchRun', { run: 'r', every })).every)).toEqual([1, 1, 5]);
  expect(refused(() => validateWatchRun(arrived('WatchRun', { run: 'r', every: '9007199254740993' })))).toMatchObject({
    field: 'every',
  });
});
