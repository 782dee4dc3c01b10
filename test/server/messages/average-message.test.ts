import { describe, expect, test } from 'vitest';
import type { AverageSpec } from '../../../src/engine/index.js';
import { averageMessage } from '../../../src/server/messages/index.js';
import { validateAverage } from '../../../src/server/messages/validate-average.js';
import { arrivedAverage } from './requests.js';
import { kindOf, SCHEDULES } from './schedules.js';

const specOf = (average: object): AverageSpec => validateAverage('average', arrivedAverage(average));

const OTHER: object = {
  name: 'b',
  start: 'ZEROS',
  precision: 'F64',
  delay_updates: 3,
  delay_mode: 'HOLD_UNTIL',
  every: 10,
  every_offset: 9,
  decay_unit: 'PER_STEP',
  first_index: 7,
  index_unit: 'PUSHES',
  include: ['*.weight', 'head'],
  exclude: ['frozen*'],
  preset: 'timm-v3:decay=0.5',
};

describe('an average as it is told', () => {
  test.each(SCHEDULES.map(([message]) => [kindOf(message), message] as const))(
    '%s: message, rule, message and rule again',
    (_, schedule) => {
      for (const rest of [{}, OTHER, { delay_updates: 1, delay_mode: 'COPY_EACH_UNTIL' }]) {
        const spec = specOf({ ...rest, ...schedule });
        const message = averageMessage(spec);
        expect(message).toMatchObject(schedule);
        expect(specOf(message)).toEqual(spec);
        expect(averageMessage(specOf(message))).toEqual(message);
      }
    },
  );

  test('says each field, those that were left out too', () => {
    expect(averageMessage(specOf({ mean: {} }))).toEqual({
      name: 'a',
      start: 'FIRST',
      precision: 'F32',
      delay_updates: 0,
      delay_mode: 'COPY_UNTIL',
      every: 1,
      every_offset: 0,
      decay_unit: 'PER_UPDATE',
      first_index: 0,
      index_unit: 'UPDATES',
      bias_correction: false,
      include: [],
      exclude: [],
      preset: '',
      mean: {},
    });
    expect(averageMessage(specOf({ ...OTHER, constant: { decay: 0.5 }, bias_correction: true }))).toEqual({
      ...OTHER,
      constant: { decay: 0.5 },
      bias_correction: true,
    });
  });

  test('a relative width is told as the exponent that it became, which is the same rule again', () => {
    const spec = specOf({ power_function: { sigma_rel: 0.15 } });
    const message = averageMessage(spec);
    expect(message.power_function).toEqual({ gamma: (spec.schedule as { gamma: number }).gamma });
    expect(specOf(message)).toEqual(spec);
  });
});
