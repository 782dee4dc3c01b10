import { describe, expect, test } from 'vitest';
import { AVERAGE_DEFAULTS } from '../../../src/common/index.js';
import { validateOpenRun } from '../../../src/server/messages/index.js';
import { arrived, refused } from './requests.js';

const average = { name: 'ema', start: 'INITIAL', constant: { decay: 0.999 } };
const validate = (request: object) =>
  validateOpenRun(arrived('OpenRun', { run: 'r', averages: [average], ...request }));

describe('an OpenRunRequest', () => {
  test('becomes a run’s spec, with the policy that each dtype has by default', () => {
    const { spec, trainer } = validate({
      tensors: [
        ...['F16', 'BF16', 'F32', 'F64'].map((dtype) => ({ name: dtype, dtype, shape: [2, 3] })),
        ...['BOOL', 'U8', 'I8', 'U16', 'I16', 'U32', 'I32', 'U64', 'I64', 'F8_E4M3', 'F8_E5M2'].map((dtype) => ({
          name: dtype,
          dtype,
        })),
        { name: 'kept', dtype: 'F32', shape: [0], policy: 'COPY' },
        { name: 'left out', dtype: 'I64', policy: 'IGNORE' },
      ],
      incarnation: 'life',
    });
    expect(trainer).toEqual({ incarnation: 'life', writers: 0, resumeStep: undefined, trainerStep: undefined });
    expect(spec.name).toBe('r');
    expect([...spec.tensors].map(({ name, policy }) => `${name} ${policy}`).join(', ')).toBe(
      'F16 AVERAGE, BF16 AVERAGE, F32 AVERAGE, F64 AVERAGE, BOOL COPY, U8 COPY, I8 COPY, U16 COPY, I16 COPY, U32 COPY, I32 COPY, U64 COPY, I64 COPY, F8_E4M3 COPY, F8_E5M2 COPY, kept COPY, left out IGNORE',
    );
    expect(spec.tensors.at(0)).toEqual({ name: 'F16', dtype: 'F16', shape: [2, 3], policy: 'AVERAGE' });
    expect(spec.tensors.at(4)?.shape).toEqual([]);
    expect(spec.averages).toEqual([
      { ...AVERAGE_DEFAULTS, name: 'ema', start: 'INITIAL', schedule: { kind: 'constant', decay: 0.999 } },
    ]);
    expect(spec).toMatchObject({ nonFinite: undefined, snapshots: undefined, retain: undefined });
  });

  test.each(['ACCEPT', 'REJECT_STEP', 'SKIP_TENSOR'])('non_finite %s is kept', (non_finite) => {
    expect(validate({ tensors: [{ name: 'w', dtype: 'F32' }], non_finite }).spec.nonFinite).toBe(non_finite);
  });

  test('names the first thing that is wrong, and where', () => {
    const good = { name: 'a', dtype: 'F32', shape: [1] };
    expect(
      refused(() =>
        validate({ tensors: [good, { ...good, name: 'b', dtype: 'I8', policy: 'AVERAGE' }, { ...good, name: '' }] }),
      ),
    ).toEqual({
      reason: 'INVALID_TENSOR',
      message: 'tensors[1] "b" has dtype I8, only F16, BF16, F32 and F64 can be averaged',
      field: 'tensors[1]',
    });
    expect(refused(() => validate({ tensors: [good, good] }))).toMatchObject({
      message: 'tensors[1] "a" is declared twice',
    });
    expect(refused(() => validate({ tensors: [good], averages: [average, average] }))).toMatchObject({
      reason: 'INVALID_AVERAGE',
      message: 'averages[1] "ema" is declared twice',
    });
  });

  test('has bounds that are reached and not passed', () => {
    const tensors = (shape: number[]): object => ({ tensors: [{ name: 'w', dtype: 'U8', shape }] });
    expect(refused(() => validate(tensors(new Array(64).fill(1))))).toBeUndefined();
    expect(refused(() => validate(tensors(new Array(65).fill(1))))?.message).toMatch(
      /has rank 65, at most 64 is allowed$/,
    );
    expect(refused(() => validate(tensors([2 ** 50])))).toBeUndefined();
    expect(refused(() => validate(tensors([2 ** 50 + 1])))?.reason).toBe('INVALID_TENSOR');
    const averages = (count: number): object => ({
      tensors: [{ name: 'w', dtype: 'U8' }],
      averages: Array.from({ length: count }, (_, i) => ({ ...average, name: `a${i}` })),
    });
    expect(refused(() => validate(averages(16)))).toBeUndefined();
    expect(refused(() => validate(averages(17)))?.reason).toBe('INVALID_AVERAGE');
    expect(refused(() => validate(averages(0)))?.reason).toBe('INVALID_AVERAGE');
    const incarnation = (length: number): object => ({
      tensors: [{ name: 'w', dtype: 'U8' }],
      incarnation: 'i'.repeat(length),
    });
    expect(refused(() => validate(incarnation(128)))).toBeUndefined();
    expect(refused(() => validate(incarnation(129)))?.reason).toBe('INVALID_FIELD');
  });
});

describe('the trainer of an OpenRunRequest', () => {
  const trainerOf = (request: object) => validate({ tensors: [{ name: 'w', dtype: 'F32' }], ...request }).trainer;
  const retainOf = (retain: object) => validate({ tensors: [{ name: 'w', dtype: 'F32' }], retain }).spec.retain;

  test('has a number of writers, and where it comes back from', () => {
    expect(trainerOf({ incarnation: 'i', writers: 1_024, resume_step: 0, trainer_step: 2 ** 53 - 1 })).toEqual({
      incarnation: 'i',
      writers: 1_024,
      resumeStep: 0,
      trainerStep: 2 ** 53 - 1,
    });
    expect(retainOf({ every_steps: 1, count_max: 64 })).toEqual({ everySteps: 1, countMax: 64 });
  });

  test.each([
    [() => trainerOf({ writers: 1_025 }), 'writers', 'must be an integer from 0 to 1024, got 1025'],
    [
      () => trainerOf({ resume_step: 3 }),
      'resume_step',
      'needs an incarnation: it acts once for each life of the trainer',
    ],
    [
      () => retainOf({ every_steps: 0, count_max: 1 }),
      'retain.every_steps',
      'must be an integer from 1 to 9007199254740991, got 0',
    ],
    [() => retainOf({ every_steps: 1 }), 'retain.count_max', 'must be an integer from 1 to 64, got 0'],
    [() => retainOf({ every_steps: 1, count_max: 65 }), 'retain.count_max', 'must be an integer from 1 to 64, got 65'],
  ])('%# is out of bounds', (action, field, problem) => {
    expect(refused(action)).toEqual({ reason: 'INVALID_FIELD', message: `${field} ${problem}`, field });
  });
});

describe('the snapshots of an OpenRunRequest', () => {
  const power = (count: number): object[] =>
    Array.from({ length: count }, (_, i) => ({ name: `p${i}`, start: 'FIRST', power_function: { gamma: i } }));
  const validateSnapshots = (snapshots: object, averages = power(1)) =>
    validate({ tensors: [{ name: 'w', dtype: 'F32' }], averages, snapshots }).spec.snapshots;

  test('are F32 of all that fits unless it says otherwise', () => {
    expect(validateSnapshots({ every_steps: 100, count_max: 8 })).toEqual({
      everySteps: 100,
      countMax: 8,
      bytesMax: 0,
      dtype: 'F32',
    });
    expect(validateSnapshots({ every_steps: 1, count_max: 2, bytes_max: 1_000, dtype: 'BF16' })).toEqual({
      everySteps: 1,
      countMax: 2,
      bytesMax: 1_000,
      dtype: 'BF16',
    });
  });

  test('have bounds that are reached and not passed: those of all averages together are one system', () => {
    expect(validateSnapshots({ every_steps: 1, count_max: 256 })?.countMax).toBe(256);
    expect(validateSnapshots({ every_steps: 1, count_max: 85 }, power(3))?.countMax).toBe(85);
    for (const [snapshots, averages, message] of [
      [{ every_steps: 1, count_max: 257 }, power(1), 'snapshots.count_max must be an integer from 2 to 256, got 257'],
      [{ every_steps: 1, count_max: 86 }, power(3), 'snapshots.count_max must be an integer from 2 to 85, got 86'],
      [{ every_steps: 1, count_max: 1 }, power(1), 'snapshots.count_max must be an integer from 2 to 256, got 1'],
      [
        { every_steps: 0, count_max: 2 },
        power(1),
        'snapshots.every_steps must be an integer from 1 to 9007199254740991, got 0',
      ],
      [
        { every_steps: 1, count_max: 2, dtype: 'I8' },
        power(1),
        'snapshots.dtype must be F16, BF16, F32 or F64, got I8',
      ],
      [{ every_steps: 1, count_max: 2 }, [average], 'snapshots need a power_function average, there is none'],
    ] as const) {
      expect(refused(() => validateSnapshots(snapshots, [...averages]))).toMatchObject({
        reason: 'INVALID_FIELD',
        message,
      });
    }
  });
});
