import { describe, expect, test } from 'vitest';
import { gammaOf } from '../../../src/engine/index.js';
import { packageDefinition } from '../../../src/protocol/index.js';
import { validateSchedule } from '../../../src/server/messages/validate-schedule.js';
import { arrivedAverage, refused } from './requests.js';
import { kindOf, SCHEDULES } from './schedules.js';

const validate = (schedule: object) => validateSchedule('average', arrivedAverage(schedule));

const NAN = Number.NaN;
const INF = Number.POSITIVE_INFINITY;
const OUTSIDE_SHARE = [-Number.MIN_VALUE, 1 + 2 ** -52, 1.5, NAN, INF, -INF];
const NOT_POSITIVE = [0, -0, -Number.MIN_VALUE, NAN, INF, -INF];

/** Schedules with a field that is a share, and a valid message of each. */
const SHARES: readonly (readonly [kind: string, message: Record<string, number>, field: string])[] = [
  ['constant', {}, 'decay'],
  ['ratio_warmup', { decay: 1 }, 'decay_min'],
  ['ratio_warmup', {}, 'decay'],
  ['inverse_power', { inv_gamma: 1, power: 1, decay_max: 1 }, 'decay_min'],
  ['inverse_power', { inv_gamma: 1, power: 1 }, 'decay_max'],
  ['exponential_ramp', { tau: 1 }, 'decay'],
  ['annealed_momentum', { gamma: 1 }, 'momentum'],
  ['cosine', { steps: 1 }, 'decay'],
];
const POSITIVES: readonly (readonly [kind: string, message: Record<string, number>, field: string])[] = [
  ['half_life', {}, 'updates'],
  ['inverse_power', { power: 1, decay_max: 1 }, 'inv_gamma'],
  ['inverse_power', { inv_gamma: 1, decay_max: 1 }, 'power'],
  ['exponential_ramp', { decay: 0.5 }, 'tau'],
  ['half_life_fraction', {}, 'fraction'],
  ['annealed_momentum', { momentum: 0.5 }, 'gamma'],
  ['half_life_ramp_up', { half_life: 1 }, 'ratio'],
];

describe('the schedule of an Average', () => {
  test('of each kind has the parameters that were sent', () => {
    for (const [message, schedule] of SCHEDULES) expect(validate(message), kindOf(message)).toEqual(schedule);
  });

  test('is any of the proto’s', () => {
    const { type } = packageDefinition['shadowkeep.v1.Average'] as {
      type: { field: { name: string; oneofIndex?: number }[]; oneofDecl: { name: string }[] };
    };
    const oneof = type.oneofDecl.findIndex(({ name }) => name === 'schedule');
    const kinds = type.field.flatMap(({ name, oneofIndex }) => (oneofIndex === oneof ? [name] : []));
    expect(SCHEDULES.map(([message]) => kindOf(message)).sort()).toEqual(
      kinds.filter((name) => name !== 'every').sort(),
    );
  });

  test('none is refused', () => {
    expect(refused(() => validate({}))).toEqual({
      reason: 'INVALID_AVERAGE',
      message: 'average.schedule is required',
      field: 'average.schedule',
    });
  });

  test.each(SHARES)('%s with %j: %s is from 0 to 1', (kind, message, field) => {
    for (const value of [0, Number.MIN_VALUE, 0.5, 1]) {
      expect(
        refused(() => validate({ [kind]: { ...message, [field]: value } })),
        `${value}`,
      ).toBeUndefined();
    }
    for (const value of OUTSIDE_SHARE) {
      expect(refused(() => validate({ [kind]: { ...message, [field]: value } }))).toEqual({
        reason: 'INVALID_AVERAGE',
        message: `average.${kind}.${field} must be a number from 0 to 1, got ${value}`,
        field: `average.${kind}.${field}`,
      });
    }
  });

  test.each(POSITIVES)('%s with %j: %s is above 0 and finite', (kind, message, field) => {
    for (const value of [Number.MIN_VALUE, 1, Number.MAX_VALUE]) {
      expect(
        refused(() => validate({ [kind]: { ...message, [field]: value } })),
        `${value}`,
      ).toBeUndefined();
    }
    for (const value of NOT_POSITIVE) {
      expect(refused(() => validate({ [kind]: { ...message, [field]: value } }))).toEqual({
        reason: 'INVALID_AVERAGE',
        // −0 is refused and printed like 0, which is the value of an unset double.
        message: `average.${kind}.${field} must be a finite number above 0, got ${value}`,
        field: `average.${kind}.${field}`,
      });
    }
  });

  test.each([
    ['ratio_warmup', 'decay', {}],
    ['inverse_power', 'decay_max', { inv_gamma: 1, power: 1 }],
  ])('%s: the least decay is at most the largest', (kind, largest, rest) => {
    expect(refused(() => validate({ [kind]: { ...rest, decay_min: 0.5, [largest]: 0.5 } }))).toBeUndefined();
    expect(refused(() => validate({ [kind]: { ...rest, decay_min: 0.75, [largest]: 0.5 } }))).toEqual({
      reason: 'INVALID_AVERAGE',
      message: `average.${kind}.decay_min must be at most ${largest} (0.5), got 0.75`,
      field: `average.${kind}.decay_min`,
    });
  });

  test('a cosine has at least one step', () => {
    for (const steps of [0, '9007199254740992']) {
      expect(refused(() => validate({ cosine: { decay: 0.5, steps } }))).toMatchObject({
        reason: 'INVALID_AVERAGE',
        message: `average.cosine.steps must be an integer of at least 1, below 2^53, got ${steps}`,
      });
    }
  });

  test('a half-life with ramp-up may be without bound', () => {
    expect(validate({ half_life_ramp_up: { ratio: 0.05 } })).toEqual({
      kind: 'half_life_ramp_up',
      halfLife: 0,
      ratio: 0.05,
    });
    expect(refused(() => validate({ half_life_ramp_up: { half_life: -1, ratio: 0.05 } }))?.field).toBe(
      'average.half_life_ramp_up.half_life',
    );
  });
});

describe('the width of a power function', () => {
  const width = (message: object) => validate({ power_function: message });

  test('is an exponent, or a relative width that becomes one', () => {
    expect(width({ gamma: 0 })).toEqual({ kind: 'power_function', gamma: 0 });
    expect(width({ gamma: 1e6 })).toEqual({ kind: 'power_function', gamma: 1e6 });
    expect(width({ sigma_rel: 0.1 })).toEqual({ kind: 'power_function', gamma: gammaOf(0.1) });
    expect(width({ sigma_rel: 1e-6 })).toMatchObject({ gamma: expect.closeTo(1e6, -2) });
  });

  test.each([
    ['gamma', -1e-9, 'must be a number from 0 to 1000000, got -1e-9'],
    ['gamma', 1_000_001, 'must be a number from 0 to 1000000, got 1000001'],
    ['gamma', NAN, 'must be a number from 0 to 1000000, got NaN'],
    ['gamma', INF, 'must be a number from 0 to 1000000, got Infinity'],
    ['sigma_rel', 0, 'must be a number from 0.000001 to 0.2886751345948129 (the plain average), got 0'],
    ['sigma_rel', -0.1, 'must be a number from 0.000001 to 0.2886751345948129 (the plain average), got -0.1'],
    ['sigma_rel', 0.3, 'must be a number from 0.000001 to 0.2886751345948129 (the plain average), got 0.3'],
    ['sigma_rel', NAN, 'must be a number from 0.000001 to 0.2886751345948129 (the plain average), got NaN'],
  ])('%s %d is refused', (field, value, problem) => {
    expect(refused(() => width({ [field]: value }))).toEqual({
      reason: 'INVALID_AVERAGE',
      message: `average.power_function.${field} ${problem}`,
      field: `average.power_function.${field}`,
    });
  });

  test('is one of the two', () => {
    expect(refused(() => width({}))).toEqual({
      reason: 'INVALID_AVERAGE',
      message: 'average.power_function.width needs gamma or sigma_rel',
      field: 'average.power_function.width',
    });
  });
});
