import { describe, expect, test } from 'vitest';
import { AVERAGE_DEFAULTS, toEnd } from '../../../src/common/index.js';
import type { AverageSpec, TensorSpec } from '../../../src/engine/index.js';
import { validateOpenRun } from '../../../src/server/messages/index.js';
import { checkFilters, validatePolicies } from '../../../src/server/messages/validate-policies.js';
import { arrived, refused } from './requests.js';

const NAMES = ['conv.weight', 'bn.weight', 'bn.running_mean', 'bn.num_batches_tracked'];

const rulesOf = (policies: object[]) => {
  const tensors = NAMES.map((name) => ({ name }));
  return toEnd(validatePolicies(arrived('OpenRun', { policies }).policies, tensors));
};

describe('policies by name', () => {
  test('say nothing of what no pattern matches; the last one that matches wins', () => {
    const policy = rulesOf([
      { pattern: 'bn.*', policy: 'COPY' },
      { pattern: '*.num_batches_tracked', policy: 'IGNORE' },
      { pattern: 'bn.weight', policy: 'COPY_ONCE' },
      { pattern: 'bn.weight', policy: 'AVERAGE' },
    ]);
    expect(NAMES.map((_, index) => policy(index))).toEqual([undefined, 'AVERAGE', 'COPY', 'IGNORE']);
    expect(NAMES.map((_, index) => rulesOf([])(index))).toEqual(NAMES.map(() => undefined));
  });

  test.each<[string, object[], string, string]>([
    [
      'a pattern that matches nothing',
      [
        { pattern: 'bn.*', policy: 'COPY' },
        { pattern: 'bn', policy: 'COPY' },
      ],
      'policies[1].pattern',
      '"bn" matches no tensor that it could apply to',
    ],
    [
      'an empty pattern',
      [{ pattern: '', policy: 'COPY' }],
      'policies[0].pattern length',
      'must be an integer from 1 to 1024, got 0',
    ],
    [
      'a pattern of 10 KB',
      [{ pattern: '*'.repeat(10_240), policy: 'COPY' }],
      'policies[0].pattern length',
      'must be an integer from 1 to 1024, got 10240',
    ],
    ['no policy', [{ pattern: '*' }], 'policies[0].policy', 'is required'],
    [
      'a policy that the proto does not have',
      [{ pattern: '*', policy: 9 }],
      'policies[0].policy',
      'must be one of POLICY_UNSPECIFIED, AVERAGE, COPY, COPY_ONCE, IGNORE, got 9',
    ],
    [
      '1,025 rules',
      Array(1_025).fill({ pattern: '*', policy: 'COPY' }),
      'policies length',
      'must be an integer from 0 to 1024, got 1025',
    ],
  ])('%s is refused', (_, policies, field, problem) => {
    expect(refused(() => rulesOf(policies))).toEqual({
      reason: 'INVALID_FIELD',
      message: `${field} ${problem}`,
      field,
    });
  });

  test('a tensor’s own policy stands before them, the default of its dtype behind', () => {
    const { spec } = validateOpenRun(
      arrived('OpenRun', {
        run: 'r',
        averages: [{ name: 'a', start: 'FIRST', mean: {} }],
        policies: [{ pattern: 'b*', policy: 'COPY_ONCE' }],
        tensors: [
          { name: 'a', dtype: 'F32' },
          { name: 'b', dtype: 'F32' },
          { name: 'bc', dtype: 'F32', policy: 'AVERAGE' },
          { name: 'i', dtype: 'I64' },
        ],
      }),
    );
    expect([...spec.tensors].map(({ policy }) => policy)).toEqual(['AVERAGE', 'COPY_ONCE', 'AVERAGE', 'COPY']);
  });

  test('AVERAGE of an integer is refused from wherever it comes', () => {
    const request = (rest: object): object => ({
      run: 'r',
      averages: [{ name: 'a', start: 'FIRST', mean: {} }],
      tensors: [
        { name: 'w', dtype: 'F32' },
        { name: 'n', dtype: 'I64', ...rest },
      ],
    });
    for (const open of [
      request({ policy: 'AVERAGE' }),
      { ...request({}), policies: [{ pattern: '*', policy: 'AVERAGE' }] },
    ]) {
      expect(refused(() => validateOpenRun(arrived('OpenRun', open)))).toEqual({
        reason: 'INVALID_TENSOR',
        message: 'tensors[1] "n" has dtype I64, only F16, BF16, F32 and F64 can be averaged',
        field: 'tensors[1]',
      });
    }
  });
});

describe('the filters of an average', () => {
  const tensors: TensorSpec[] = [
    ...['enc.weight', 'enc.bias', 'dec.weight'].map(
      (name) => ({ name, dtype: 'F32', shape: [], policy: 'AVERAGE' }) as const,
    ),
    { name: 'enc.count', dtype: 'I64', shape: [], policy: 'COPY' },
  ];
  const check = (include: string[], exclude: string[]) => {
    const average: AverageSpec = { ...AVERAGE_DEFAULTS, name: 'a', schedule: { kind: 'mean' }, include, exclude };
    return refused(() => checkFilters('average', average, tensors));
  };

  test('leave it something', () => {
    expect(check([], [])).toBeUndefined();
    expect(check(['*'], ['dec.*'])).toBeUndefined();
    expect(check(['enc.bias', 'dec*'], ['*.bias'])).toBeUndefined();
    for (const [include, exclude] of [
      [[], ['*']],
      [['enc.*'], ['*.weight', '*.bias']],
    ] as const) {
      expect(check([...include], [...exclude])).toEqual({
        reason: 'INVALID_AVERAGE',
        message: 'average.exclude leaves "a" no tensor',
        field: 'average.exclude',
      });
    }
  });

  test('match averaged tensors: one that is copied does not count', () => {
    for (const pattern of ['enc.count', 'enc', '*.bias*x']) {
      expect(check(['*', pattern], [])).toEqual({
        reason: 'INVALID_AVERAGE',
        message: `average.include[1] "${pattern}" matches no tensor that it could apply to`,
        field: 'average.include[1]',
      });
    }
    expect(check([], ['*', 'encoder.*'])?.field).toBe('average.exclude[1]');
  });

  test('a run that averages nothing may have averages without filters', () => {
    const { averages } = validateOpenRun(
      arrived('OpenRun', {
        run: 'r',
        averages: [{ name: 'a', start: 'FIRST', mean: {} }],
        tensors: [{ name: 'n', dtype: 'I64' }],
      }),
    ).spec;
    expect(averages).toHaveLength(1);
  });
});
