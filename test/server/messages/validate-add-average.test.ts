import { describe, expect, test } from 'vitest';
import { AVERAGE_DEFAULTS } from '../../../src/common/index.js';
import { validateAddAverage } from '../../../src/server/messages/index.js';
import { arrived, refused } from './requests.js';

const validate = (request: object) => validateAddAverage(arrived('AddAverage', { run: 'r', ...request }));

describe('an AddAverageRequest', () => {
  test('names a run and an average as OpenRun has it', () => {
    expect(validate({ average: { name: 'a', start: 'ZEROS', half_life: { updates: 10 } } })).toEqual({
      run: 'r',
      average: { ...AVERAGE_DEFAULTS, name: 'a', start: 'ZEROS', schedule: { kind: 'half_life', updates: 10 } },
    });
  });

  test.each<[object, object]>([
    [{ run: '../r' }, { reason: 'INVALID_NAME', field: 'run' }],
    [{}, { reason: 'INVALID_AVERAGE', field: 'average', message: 'average is required' }],
    [{ average: {} }, { reason: 'INVALID_NAME', field: 'average.name' }],
    [{ average: { name: 'a' } }, { reason: 'INVALID_AVERAGE', field: 'average.start' }],
    [{ average: { name: 'a', start: 'FIRST' } }, { reason: 'INVALID_AVERAGE', field: 'average.schedule' }],
    [
      { average: { name: 'a', start: 'FIRST', constant: { decay: 1.5 } } },
      { reason: 'INVALID_AVERAGE', field: 'average.constant.decay' },
    ],
  ])('%j is refused', (request, problem) => {
    expect(refused(() => validate(request))).toMatchObject(problem);
  });
});
