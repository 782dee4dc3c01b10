import { describe, expect, test } from 'vitest';
import { toAverageMessage } from '../../src/client/averages/index.js';
import { listPresets, parseAverage, preset } from '../../src/client/index.js';
import { servedRules } from '../support/simulate-average.js';

/** Texts and the averages that they become, without `name` and `preset`, which the text itself gives. */
const EXPANSIONS: readonly (readonly [text: string, fields: Record<string, unknown>])[] = [
  ['textbook:decay=0.9', { start: 'INITIAL', constant: { decay: 0.9 } }],
  ['torch-ema', { start: 'FIRST', constant: { decay: 0.999 } }],
  ['torch-swa', { start: 'FIRST', mean: {} }],
  ['timm-v2', { start: 'INITIAL', constant: { decay: 0.9999 } }],
  ['timm-v3', { start: 'FIRST', constant: { decay: 0.9999 } }],
  [
    'timm-v3:decay=0.9998,update_after_step=5,use_warmup=true',
    {
      start: 'FIRST',
      delay_updates: 5,
      inverse_power: { inv_gamma: 1, power: 2 / 3, decay_min: 0, decay_max: 0.9998 },
    },
  ],
  ['timm-v3:dtype=float64', { start: 'FIRST', precision: 'F64', constant: { decay: 0.9999 } }],
  [
    'ema-pytorch',
    {
      start: 'FIRST',
      delay_updates: 100,
      every: 10,
      inverse_power: { inv_gamma: 1, power: 2 / 3, decay_min: 0, decay_max: 0.9999 },
      index_unit: 'PUSHES',
      every_offset: 1,
    },
  ],
  [
    'ema-pytorch:beta=1,update_after_step=5',
    {
      start: 'ZEROS',
      delay_updates: 6,
      every: 10,
      constant: { decay: 1 },
      first_index: 1,
      index_unit: 'PUSHES',
      every_offset: 1,
    },
  ],
  ['fadel-torch-ema:decay=0.9', { start: 'INITIAL', ratio_warmup: { decay: 0.9, decay_min: 0 }, first_index: 1 }],
  ['fadel-torch-ema:decay=0.9,use_num_updates=false', { start: 'INITIAL', constant: { decay: 0.9 } }],
  ['diffusers', { start: 'FIRST', ratio_warmup: { decay: 0.9999, decay_min: 0 } }],
  [
    'diffusers:min_decay=0.1,update_after_step=3,use_ema_warmup=true,inv_gamma=2,power=0.75',
    {
      start: 'FIRST',
      delay_updates: 3,
      inverse_power: { inv_gamma: 2, power: 0.75, decay_min: 0.1, decay_max: 0.9999 },
    },
  ],
  ['lightning', { start: 'FIRST', constant: { decay: 0.999 } }],
  [
    'lightning:update_every_n_steps=10,update_starting_at_step=5',
    {
      start: 'FIRST',
      delay_updates: 5,
      delay_mode: 'HOLD_UNTIL',
      every: 10,
      constant: { decay: 0.999 },
      every_offset: 1,
    },
  ],
  ['composer', { start: 'FIRST', constant: { decay: 0.9993070929904525 } }],
  [
    'composer:half_life=10ba,ema_start=4ba,update_interval=2ba',
    {
      start: 'FIRST',
      delay_updates: 3,
      delay_mode: 'COPY_EACH_UNTIL',
      every: 2,
      constant: { decay: 0.8705505632961241 },
    },
  ],
  ['nemo:decay=0.9,every_n_steps=4', { start: 'INITIAL', every: 4, constant: { decay: 0.9 }, every_offset: 1 }],
  ['edm2:stds=0.1', { start: 'FIRST', decay_unit: 'PER_STEP', power_function: { sigma_rel: 0.1 } }],
  [
    'edm2:halflife_Mimg=0.5,rampup_ratio=0.05,batch_size=2048',
    { start: 'INITIAL', decay_unit: 'PER_STEP', half_life_ramp_up: { half_life: 244.140625, ratio: 0.05 } },
  ],
  [
    'edm2:halflife_Mimg=inf,batch_size=2048',
    { start: 'INITIAL', decay_unit: 'PER_STEP', half_life_ramp_up: { half_life: 0, ratio: 0.09 } },
  ],
  ['optax:decay=0.9', { start: 'ZEROS', constant: { decay: 0.9 }, bias_correction: true }],
  [
    'optax:decay=0.9,debias=false,accumulator_dtype=float64',
    { start: 'ZEROS', precision: 'F64', constant: { decay: 0.9 } },
  ],
  ['tensorflow:decay=0.9', { start: 'INITIAL', constant: { decay: 0.9 } }],
  [
    'tensorflow:decay=0.9,num_updates=4',
    { start: 'INITIAL', ratio_warmup: { decay: 0.9, decay_min: 0 }, first_index: 4 },
  ],
  ['tensorflow:decay=0.9,zero_debias=true', { start: 'ZEROS', constant: { decay: 0.9 }, bias_correction: true }],
  ['keras', { start: 'FIRST', constant: { decay: 0.99 } }],
  ['torchtitan', { start: 'INITIAL', half_life_fraction: { fraction: 0.05 }, first_index: 1 }],
  [
    'torchtitan:start_step=5,step_bias=2,update_every_n_steps=3',
    {
      start: 'INITIAL',
      delay_updates: 5,
      delay_mode: 'HOLD_UNTIL',
      every: 3,
      half_life_fraction: { fraction: 0.05 },
      first_index: 3,
      every_offset: 2,
    },
  ],
  ['ultralytics', { start: 'INITIAL', exponential_ramp: { decay: 0.9999, tau: 2000 }, first_index: 1 }],
  ['mmengine', { start: 'FIRST', constant: { decay: 0.9998 } }],
  [
    'mmengine:type=annealing,interval=2,begin_iter=6',
    {
      start: 'FIRST',
      delay_updates: 5,
      delay_mode: 'COPY_EACH_UNTIL',
      every: 2,
      annealed_momentum: { momentum: 0.0002, gamma: 100 },
      index_unit: 'PUSHES',
    },
  ],
  ['mmengine:type=swa', { start: 'FIRST', mean: {} }],
  [
    'k-diffusion:start_at=4',
    { start: 'INITIAL', delay_updates: 4, inverse_power: { inv_gamma: 1, power: 1, decay_min: 0, decay_max: 1 } },
  ],
  [
    'fairseq:ema_start_update=100,ema_update_freq=4',
    { start: 'INITIAL', delay_updates: 99, every: 4, constant: { decay: 0.9999 } },
  ],
];

/** Texts of Shadowkeep's own schedules, whose averages have no `preset`. */
const SCHEDULES: readonly (readonly [text: string, fields: Record<string, unknown>])[] = [
  [
    'constant:decay=0.9,start=zeros,bias_correction=true',
    { start: 'ZEROS', constant: { decay: 0.9 }, bias_correction: true },
  ],
  ['mean:every=10,every_offset=3', { start: 'FIRST', every: 10, mean: {}, every_offset: 3 }],
  [
    'half-life:updates=100,decay_unit=PER_STEP',
    { start: 'FIRST', decay_unit: 'PER_STEP', half_life: { updates: 100 } },
  ],
  ['ratio-warmup:decay=0.9,decay_min=0.5', { start: 'FIRST', ratio_warmup: { decay: 0.9, decay_min: 0.5 } }],
  [
    'inverse-power:decay_max=0.999,first_index=2,index_unit=PUSHES',
    {
      start: 'FIRST',
      inverse_power: { inv_gamma: 1, power: 2 / 3, decay_min: 0, decay_max: 0.999 },
      first_index: 2,
      index_unit: 'PUSHES',
    },
  ],
  ['exponential-ramp:decay=0.9,tau=1e3', { start: 'FIRST', exponential_ramp: { decay: 0.9, tau: 1000 } }],
  ['half-life-fraction', { start: 'FIRST', half_life_fraction: { fraction: 0.05 } }],
  ['annealed-momentum:momentum=.01,gamma=5', { start: 'FIRST', annealed_momentum: { momentum: 0.01, gamma: 5 } }],
  [
    'cosine:decay=0.996,steps=1000,delay_updates=5,delay_mode=HOLD_UNTIL',
    { start: 'FIRST', delay_updates: 5, delay_mode: 'HOLD_UNTIL', cosine: { decay: 0.996, steps: 1000 } },
  ],
  ['power-function:gamma=0', { start: 'FIRST', power_function: { gamma: 0 } }],
  ['power-function:sigma_rel=0.15', { start: 'FIRST', power_function: { sigma_rel: 0.15 } }],
  ['half-life-ramp-up:ratio=0.1', { start: 'FIRST', half_life_ramp_up: { half_life: 0, ratio: 0.1 } }],
];

describe('what a text becomes', () => {
  test.each(EXPANSIONS)('%s', (text, fields) => {
    const averages = parseAverage(text);
    expect(averages.map(toAverageMessage)).toEqual([{ name: text.split(':')[0], preset: text, ...fields }]);
    expect(servedRules(averages)).toMatchObject([{ preset: text }]);
  });

  test.each(SCHEDULES)('%s', (text, fields) => {
    const averages = parseAverage(text);
    expect(averages.map(toAverageMessage)).toEqual([{ name: text.split(':')[0], ...fields }]);
    expect(servedRules(averages)).toHaveLength(1);
  });

  test('every name is in a table above', () => {
    const tried = new Set([...EXPANSIONS, ...SCHEDULES].map(([text]) => text.split(':')[0]));
    expect(listPresets().map(({ name }) => name)).toEqual([...tried]);
  });

  test('several averages of one preset', () => {
    const names = (text: string) => parseAverage(text).map(({ name }) => name);
    expect(names('edm2')).toEqual(['edm2-0.05', 'edm2-0.1']);
    expect(names('phema=edm2:stds=0.1+0.15+0.2')).toEqual(['phema-0.1', 'phema-0.15', 'phema-0.2']);
    expect(names('phema=edm2:stds=0.1')).toEqual(['phema']);
  });
});

describe('the parts of a text', () => {
  test('a name, a precision, a filter', () => {
    const [average] = parseAverage('ema=torch-ema:include=w*+head,precision=f64,exclude=*.bias');
    expect(average).toEqual({
      name: 'ema',
      start: 'FIRST',
      precision: 'F64',
      include: ['w*', 'head'],
      exclude: ['*.bias'],
      preset: 'torch-ema',
      schedule: { kind: 'constant', decay: 0.999 },
    });
    expect(parseAverage('torch-ema:name=x')).toMatchObject([{ name: 'x' }]);
  });

  test('the preset keeps what was given, in the order of the signature', () => {
    const [average] = parseAverage('timm-v3:use_warmup=true,device=cpu,decay=0.99980');
    expect(average?.preset).toBe('timm-v3:decay=0.9998,use_warmup=true,device=cpu');
    expect(preset('timm-v3', { use_warmup: true, device: 'cpu', decay: 0.9998 })).toEqual([
      { ...average, name: 'timm-v3' },
    ]);
    expect(preset('edm2', { stds: [0.05, 0.1], batch_size: undefined })[0]?.preset).toBe('edm2:stds=0.05+0.1');
    expect(parseAverage('composer:half_life=none,smoothing=1e-7')[0]?.preset).toBe(
      'composer:half_life=none,smoothing=1e-7',
    );
  });

  test('options as a program gives them', () => {
    expect(preset('ema-pytorch', { beta: 0.5, name: 'mine', ignore_names: null, precision: 'F64' })).toMatchObject([
      { name: 'mine', precision: 'F64', preset: 'ema-pytorch:beta=0.5,ignore_names=none' },
    ]);
  });
});
