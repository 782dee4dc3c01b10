import { describe, expect, test } from 'vitest';
import { validateAverage } from '../../../src/server/messages/validate-average.js';
import { arrivedAverage, refused } from './requests.js';

const validate = (rest: object) => validateAverage('averages[0]', arrivedAverage({ mean: {}, ...rest }));
const constant = (decay: number): object => ({ mean: undefined, constant: { decay } });

/** The average of a message with only the required fields: all others have their defaults. */
const LEAST = {
  name: 'a',
  start: 'FIRST',
  schedule: { kind: 'mean' },
  precision: 'F32',
  delayUpdates: 0,
  delayMode: 'COPY_UNTIL',
  every: 1,
  everyOffset: 0,
  decayUnit: 'PER_UPDATE',
  firstIndex: 0,
  indexUnit: 'UPDATES',
  biasCorrection: false,
  include: [],
  exclude: [],
  preset: '',
};

describe('an Average', () => {
  test('is complete when it has a start and a schedule', () => {
    expect(validate({})).toEqual(LEAST);
    expect(validate({ delay_mode: 0, decay_unit: 0, index_unit: 0, precision: 0 })).toEqual(LEAST);
  });

  test('has each field that it says', () => {
    expect(
      validate({
        ...constant(0.5),
        start: 'ZEROS',
        precision: 'F64',
        delay_updates: 3,
        delay_mode: 'HOLD_UNTIL',
        every: 10,
        every_offset: 9,
        decay_unit: 'PER_STEP',
        first_index: 7,
        index_unit: 'PUSHES',
        bias_correction: true,
        include: ['*.weight', 'head'],
        exclude: ['frozen*'],
        preset: 'optax:decay=0.5',
      }),
    ).toEqual({
      name: 'a',
      start: 'ZEROS',
      schedule: { kind: 'constant', decay: 0.5 },
      precision: 'F64',
      delayUpdates: 3,
      delayMode: 'HOLD_UNTIL',
      every: 10,
      everyOffset: 9,
      decayUnit: 'PER_STEP',
      firstIndex: 7,
      indexUnit: 'PUSHES',
      biasCorrection: true,
      include: ['*.weight', 'head'],
      exclude: ['frozen*'],
      preset: 'optax:decay=0.5',
    });
  });

  test.each<[string, object, string, string]>([
    ['every 0', { every: 0 }, 'every', 'must be an integer of at least 1, below 2^53, got 0'],
    ['an offset of 1 with every unset', { every_offset: 1 }, 'every_offset', 'must be below every (1), got 1'],
    ['an offset as large as every', { every: 4, every_offset: 4 }, 'every_offset', 'must be below every (4), got 4'],
    [
      'a delay that is not exact',
      { delay_updates: '9007199254740992' },
      'delay_updates',
      'must be an integer of at least 0, below 2^53, got 9007199254740992',
    ],
    [
      'a first index that is not exact',
      { first_index: '18446744073709551615' },
      'first_index',
      'must be an integer of at least 0, below 2^53, got 18446744073709552000',
    ],
    ['an empty pattern', { include: ['w', ''] }, 'include[1] length', 'must be an integer from 1 to 1024, got 0'],
    [
      'a pattern of 1,025 characters',
      { exclude: ['x'.repeat(1_025)] },
      'exclude[0] length',
      'must be an integer from 1 to 1024, got 1025',
    ],
    [
      '1,025 patterns',
      { exclude: Array(1_025).fill('*') },
      'exclude length',
      'must be an integer from 0 to 1024, got 1025',
    ],
    ['a preset of 513 bytes', { preset: 'ä'.repeat(257) }, 'preset bytes', 'must be an integer from 0 to 512, got 514'],
    ['no start', { start: 0 }, 'start', 'must be one of ZEROS, INITIAL, FIRST'],
    ['precision BF16', { precision: 'BF16' }, 'precision', 'of "a" must be F32 or F64, got BF16'],
    ['no schedule', { mean: undefined }, 'schedule', 'is required'],
  ])('%s is refused', (_, rest, field, problem) => {
    expect(refused(() => validate(rest))).toEqual({
      reason: 'INVALID_AVERAGE',
      message: `averages[0].${field} ${problem}`,
      field: `averages[0].${field}`,
    });
  });

  test.each(['start', 'delay_mode', 'decay_unit', 'index_unit'])(
    'a value of %s that the proto does not have',
    (field) => {
      expect(refused(() => validate({ [field]: 99 }))).toMatchObject({
        reason: 'INVALID_FIELD',
        field: `averages[0].${field}`,
        message: expect.stringMatching(/ must be one of [A-Z_, ]+, got 99$/),
      });
    },
  );

  test('is corrected for its bias where its decay is constant and below 1', () => {
    for (const schedule of [{ mean: undefined, half_life: { updates: 3 } }, constant(0), constant(0.999)]) {
      expect(validate({ ...schedule, bias_correction: true }).biasCorrection).toBe(true);
    }
    const needs = 'averages[0].bias_correction needs a half_life, or a constant decay below 1, got';
    expect(refused(() => validate({ bias_correction: true }))).toEqual({
      reason: 'INVALID_AVERAGE',
      message: `${needs} mean`,
      field: 'averages[0].bias_correction',
    });
    expect(refused(() => validate({ ...constant(1), bias_correction: true }))?.message).toBe(`${needs} decay 1`);
  });

  test.each(['COPY_UNTIL', 'HOLD_UNTIL', 'COPY_EACH_UNTIL'])('delays by %s', (delay_mode) => {
    expect(validate({ delay_updates: 1, delay_mode }).delayMode).toBe(delay_mode);
  });

  test('has bounds that are reached and not passed', () => {
    const most = Number.MAX_SAFE_INTEGER;
    const average = { every: most, every_offset: most - 1, delay_updates: most, first_index: most };
    expect(validate(average)).toMatchObject({
      every: most,
      everyOffset: most - 1,
      delayUpdates: most,
      firstIndex: most,
    });
    expect(validate({ preset: 'x'.repeat(512) }).preset).toHaveLength(512);
    expect(validate({ include: Array(1_024).fill('*'.repeat(1_024)) }).include).toHaveLength(1_024);
  });
});
