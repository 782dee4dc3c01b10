import { describe, expect, test } from 'vitest';
import { fromAverageMessage, toAverageMessage } from '../../src/client/averages/index.js';
import {
  type AverageOptions,
  type AverageSpec,
  averageAnnealedMomentum,
  averageCosine,
  averageEma,
  averageExponentialRamp,
  averageHalfLife,
  averageHalfLifeFraction,
  averageHalfLifeRampUp,
  averageInversePower,
  averageMean,
  averagePowerFunction,
  averageRatioWarmup,
  parseAverage,
} from '../../src/client/index.js';
import { completeOpenRun } from '../../src/protocol/index.js';
import { averageMessage, validateOpenRun } from '../../src/server/messages/index.js';
import { servedRules } from '../support/simulate-average.js';

/** All options of an average, each with a value that is not its default. */
const COMMON = {
  start: 'ZEROS',
  precision: 'F64',
  delayUpdates: 7,
  delayMode: 'HOLD_UNTIL',
  every: 5,
  everyOffset: 2,
  decayUnit: 'PER_STEP',
  firstIndex: 3,
  indexUnit: 'PUSHES',
  include: ['w*'],
  exclude: ['*.bias'],
} as const satisfies AverageOptions;

/** For each schedule: an average with required options only, one with all options, and the schedule of each. */
const CASES: readonly (readonly [
  make: (options: AverageOptions) => AverageSpec,
  schedule: Record<string, unknown> & { kind: string },
])[] = [
  [(common) => averageEma('a', { decay: 0.9, ...common }), { kind: 'constant', decay: 0.9 }],
  [(common) => averageMean('a', common), { kind: 'mean' }],
  [(common) => averageHalfLife('a', { halfLife: 12.5, ...common }), { kind: 'half_life', updates: 12.5 }],
  [(common) => averageRatioWarmup('a', { decay: 0.9, ...common }), { kind: 'ratio_warmup', decay: 0.9, decayMin: 0 }],
  [
    (common) => averageInversePower('a', common),
    { kind: 'inverse_power', invGamma: 1, power: 2 / 3, decayMin: 0, decayMax: 1 },
  ],
  [
    (common) => averageInversePower('a', { invGamma: 2, power: 0.75, decayMin: 0.1, decayMax: 0.9, ...common }),
    { kind: 'inverse_power', invGamma: 2, power: 0.75, decayMin: 0.1, decayMax: 0.9 },
  ],
  [
    (common) => averageExponentialRamp('a', { decay: 0.9, tau: 100, ...common }),
    { kind: 'exponential_ramp', decay: 0.9, tau: 100 },
  ],
  [(common) => averageHalfLifeFraction('a', common), { kind: 'half_life_fraction', fraction: 0.05 }],
  [
    (common) => averageAnnealedMomentum('a', { momentum: 0.01, gamma: 50, ...common }),
    { kind: 'annealed_momentum', momentum: 0.01, gamma: 50 },
  ],
  [(common) => averageCosine('a', { decay: 0.996, steps: 10, ...common }), { kind: 'cosine', decay: 0.996, steps: 10 }],
  [(common) => averagePowerFunction('a', { gamma: 6, ...common }), { kind: 'power_function', gamma: 6 }],
  [
    (common) => averagePowerFunction('a', { sigmaRel: 0.1, ...common }),
    { kind: 'power_function', gamma: expect.closeTo(6.93722, 4) },
  ],
  [(common) => averageHalfLifeRampUp('a', common), { kind: 'half_life_ramp_up', halfLife: 0, ratio: 0.09 }],
  [
    (common) => averageHalfLifeRampUp('a', { halfLife: 500, ratio: 0.1, ...common }),
    { kind: 'half_life_ramp_up', halfLife: 500, ratio: 0.1 },
  ],
];

describe.each(CASES.map(([make, schedule]) => ({ kind: schedule.kind, make, schedule })))(
  '$kind',
  ({ make, schedule }) => {
    test('with the options that it needs', () => {
      expect(servedRules([make({ start: 'FIRST' })])).toMatchObject([
        { name: 'a', start: 'FIRST', precision: 'F32', delayUpdates: 0, every: 1, firstIndex: 0, schedule },
      ]);
    });

    test('with every option', () => {
      expect(servedRules([make(COMMON)])).toEqual([
        { name: 'a', schedule, ...COMMON, biasCorrection: false, preset: '' },
      ]);
    });
  },
);

test('what is the default is left out', () => {
  const defaults = { precision: 'F32', delayUpdates: 0, delayMode: 'HOLD_UNTIL', every: 1, everyOffset: 0 } as const;
  expect(averageMean('m', { ...defaults, include: [], biasCorrection: false })).toEqual({
    name: 'm',
    start: 'FIRST',
    schedule: { kind: 'mean' },
  });
  expect(averageEma('e', { decay: 0 })).toEqual({
    name: 'e',
    start: 'FIRST',
    schedule: { kind: 'constant', decay: 0 },
  });
});

test('a schedule has the same defaults as text', () => {
  expect(parseAverage('e=constant:decay=0.5')).toEqual([averageEma('e', { decay: 0.5 })]);
  expect(parseAverage('h=half-life:updates=2')).toEqual([averageHalfLife('h', { halfLife: 2 })]);
  expect(parseAverage('m=mean')).toEqual([averageMean('m')]);
});

test('bias correction of the two that have one', () => {
  const averages = [
    averageEma('c', { decay: 0.9, start: 'ZEROS', biasCorrection: true }),
    averageHalfLife('h', { halfLife: 3, start: 'ZEROS', biasCorrection: true }),
  ];
  expect(servedRules(averages).map(({ biasCorrection }) => biasCorrection)).toEqual([true, true]);
});

test('an average that the service describes opens the same run again, and what has no such field is refused', () => {
  const average = averagePowerFunction('p', { sigmaRel: 0.1, every: 3, include: ['w'] });
  const { spec } = validateOpenRun(
    completeOpenRun({
      run: 'r',
      tensors: [{ name: 'w', dtype: 'F32', shape: [1] }],
      averages: [toAverageMessage(average)],
    }),
  );
  const told = fromAverageMessage(completeOpenRun({ averages: spec.averages.map(averageMessage) }).averages[0]!);
  expect(told).toMatchObject({
    name: 'p',
    every: 3,
    everyOffset: 0,
    include: ['w'],
    schedule: { kind: 'power_function' },
  });
  expect(servedRules([told])).toEqual(spec.averages);
  for (const [wrong, problem] of [
    [{ name: 'a', constant: { decay: 0.9 } }, /^a: schedule\.kind must be one of constant, .*, got undefined$/],
    [
      { name: 'a', schedule: { kind: 'constant', deacy: 0.9 } },
      /^a: deacy is no field of an average with schedule constant$/,
    ],
    [
      { name: 'a', schedule: { kind: 'constant', decay: 0.9 }, delay_updates: 3 },
      /^a: delay_updates is no field of an average with schedule constant$/,
    ],
    [{ name: 'a', schedule: { kind: 'constant', decay: 1.1 } }, /^a: decay must be a number from 0 to 1, got 1.1$/],
  ] as const) {
    expect(() => toAverageMessage(wrong as never)).toThrow(problem);
  }
});
