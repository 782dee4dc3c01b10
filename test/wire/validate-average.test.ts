import { describe, expect, test } from 'vitest';
import { packageDefinition } from '../../src/wire/index.js';
import { validateAverage } from '../../src/wire/validate-average.js';
import { arrived, refused } from './requests.js';

const validate = (average: object) => {
  const [first] = arrived('OpenRun', { averages: [{ name: 'a', start: 'FIRST', mean: {}, ...average }] }).averages;
  return validateAverage('averages[0]', first!);
};
const constant = (decay: number): object => ({ mean: undefined, constant: { decay } });

describe('an Average', () => {
  test('is complete when it has a start and a schedule', () => {
    expect(validate({})).toEqual({ name: 'a', start: 'FIRST', precision: 'F32', schedule: { kind: 'mean' } });
    expect(validate({ ...constant(0.5), start: 'ZEROS', precision: 'F64' })).toEqual({
      name: 'a',
      start: 'ZEROS',
      precision: 'F64',
      schedule: { kind: 'constant', decay: 0.5 },
    });
  });

  test('its decay is from 0 to 1', () => {
    for (const decay of [0, Number.MIN_VALUE, 0.9999, 1])
      expect(validate(constant(decay)).schedule).toEqual({ kind: 'constant', decay });
    for (const decay of [-Number.MIN_VALUE, 1 + 2 ** -52, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(refused(() => validate(constant(decay)))).toEqual({
        reason: 'INVALID_AVERAGE',
        message: `averages[0].constant.decay must be from 0 to 1, got ${decay}`,
        field: 'averages[0].constant.decay',
      });
    }
  });

  test('every field of the proto is served, or refused by name', () => {
    const { type } = packageDefinition['shadowkeep.v1.Average'] as {
      type: { field: { name: string; oneofIndex?: number }[] };
    };
    const served = new Set(['name', 'start', 'precision', 'constant', 'mean']);
    const others: Record<string, unknown> = {
      delay_updates: 1,
      delay_mode: 'HOLD_UNTIL',
      every: 2,
      decay_unit: 'PER_STEP',
      include: ['a'],
      exclude: ['a'],
      preset: 'timm',
      bias_correction: true,
    };
    for (const { name } of type.field) {
      if (served.has(name)) continue;
      const isSchedule = !(name in others);
      const problem = refused(() => validate(isSchedule ? { mean: undefined, [name]: {} } : { [name]: others[name] }));
      expect(problem, name).toMatchObject({
        reason: 'UNIMPLEMENTED',
        field: `averages[0].${isSchedule ? 'schedule' : name}`,
      });
      expect(problem?.message, name).toContain(name);
    }
  });
});
