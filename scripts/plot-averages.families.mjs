// The pages of docs/averages: the rules of each family's tables and plot.
import { INDEXED } from './plot-averages.indexed.mjs';

const constant = (decay) => ({ kind: 'constant', decay });

/**
 * One for each page: `page` without `.md`, `kinds` of schedules it explains, texts of `presets` that
 * become it, `tables` of first folds, `plot`.
 * Labels of curves: what stands before a colon is the name that the notes below the plot use.
 */
export function families({ gammaOf }) {
  return [
    {
      page: 'constant',
      name: 'Constant decay and half-life',
      kinds: ['constant', 'half_life'],
      word: 'the same weight for each update, so the same horizon always',
      presets: [
        'textbook:decay=0.999',
        'torch-ema',
        'timm-v2',
        'timm-v3',
        'lightning',
        'composer',
        'nemo:decay=0.9999',
        'keras',
        'fairseq',
        'mmengine',
        'fadel-torch-ema:decay=0.999,use_num_updates=false',
        'torchtitan:decay=0.999',
        'optax:decay=0.999,debias=false',
        'tensorflow:decay=0.999',
      ],
      tables: [
        { title: 'decay 0.9, start FIRST', rule: { start: 'FIRST', schedule: constant(0.9) } },
        {
          title: 'decay 0.9, start INITIAL (with ZEROS the same, because p_0 = 0 here)',
          rule: { start: 'INITIAL', schedule: constant(0.9) },
        },
        {
          title: 'half-life of 10 updates, start INITIAL',
          rule: { start: 'INITIAL', schedule: { kind: 'half_life', updates: 10 } },
        },
      ],
      plot: {
        about: 'Effective weights of past updates under constant decays',
        curves: [
          ...[50, 100, 200].map((updates) => ({
            label: `half_life ${updates}: decay ${(2 ** (-1 / updates)).toFixed(5)}, start INITIAL`,
            rule: { start: 'INITIAL', schedule: { kind: 'half_life', updates } },
          })),
          { label: 'mean: the plain average, to compare', rule: { start: 'FIRST', schedule: { kind: 'mean' } } },
        ],
        panels: [{ updates: 200 }, { updates: 1000 }],
      },
    },
    ...INDEXED,
    {
      page: 'bias-correction',
      name: 'Bias correction',
      kinds: ['constant', 'half_life'],
      option: 'bias_correction',
      word: 'a constant decay from zeros, divided by the sum of its weights',
      presets: ['optax:decay=0.999', 'tensorflow:decay=0.999,zero_debias=true'],
      tables: [
        {
          title: 'decay 0.9, start ZEROS, bias_correction (optax)',
          rule: { start: 'ZEROS', biasCorrection: true, schedule: constant(0.9) },
        },
        {
          title: 'decay 0.999, start ZEROS, bias_correction',
          rule: { start: 'ZEROS', biasCorrection: true, schedule: constant(0.999) },
        },
        {
          title: 'decay 0.9, start ZEROS, without it (optax with debias=false)',
          rule: { start: 'ZEROS', schedule: constant(0.9) },
        },
      ],
      plot: {
        about: 'Effective weights of past updates with and without bias correction',
        curves: [
          {
            label: 'corrected: decay 0.999, start ZEROS, bias_correction',
            rule: { start: 'ZEROS', biasCorrection: true, schedule: constant(0.999) },
          },
          { label: 'not corrected: decay 0.999, start ZEROS', rule: { start: 'ZEROS', schedule: constant(0.999) } },
        ],
        panels: [{ updates: 200 }, { updates: 2000 }],
      },
    },
    {
      page: 'half-life-ramp-up',
      name: 'Half-life with ramp-up',
      kinds: ['half_life_ramp_up'],
      word: 'a half-life that grows with the training to its bound',
      presets: ['edm2:halflife_Mimg=0.5,batch_size=2048'],
      tables: [
        {
          title: 'no bound, ratio 0.09, PER_STEP, start INITIAL (edm2 with halflife_Mimg=inf)',
          rule: {
            start: 'INITIAL',
            decayUnit: 'PER_STEP',
            schedule: { kind: 'half_life_ramp_up', halfLife: 0, ratio: 0.09 },
          },
        },
        {
          title: 'half-life 0.36 steps at most, ratio 0.09, PER_STEP, start INITIAL',
          note: 'The bound is reached at t = 4. It is so short only to be seen in six rows.',
          rule: {
            start: 'INITIAL',
            decayUnit: 'PER_STEP',
            schedule: { kind: 'half_life_ramp_up', halfLife: 0.36, ratio: 0.09 },
          },
        },
      ],
      plot: {
        about: 'Effective weights of past updates under a half-life with ramp-up',
        curves: [
          ...[0, 1000].map((halfLife) => ({
            label: `${halfLife === 0 ? 'no bound' : `half_life ${halfLife}`}: ratio 0.09, start INITIAL`,
            rule: {
              start: 'INITIAL',
              decayUnit: 'PER_STEP',
              schedule: { kind: 'half_life_ramp_up', halfLife, ratio: 0.09 },
            },
          })),
          {
            label: 'no ramp-up: half_life 1000, start INITIAL',
            rule: { start: 'INITIAL', schedule: { kind: 'half_life', updates: 1000 } },
          },
        ],
        panels: [{ updates: 1000 }, { updates: 30000 }],
      },
    },
    {
      page: 'mean',
      name: 'Plain average',
      kinds: ['mean'],
      word: 'each update weighs the same (SWA)',
      presets: ['torch-swa', 'mmengine:type=swa'],
      tables: [
        {
          title: 'start FIRST (torch-swa, mmengine with type=swa)',
          rule: { start: 'FIRST', schedule: { kind: 'mean' } },
        },
      ],
      plot: {
        about: 'Effective weights of past updates in the plain average',
        curves: [
          { label: 'mean: all updates', rule: { start: 'FIRST', schedule: { kind: 'mean' } } },
          {
            label: 'mean from update 101: delay 100, COPY_UNTIL',
            rule: { start: 'FIRST', delayUpdates: 100, schedule: { kind: 'mean' } },
          },
          { label: 'constant 0.995: start INITIAL', rule: { start: 'INITIAL', schedule: constant(0.995) } },
        ],
        panels: [{ updates: 200 }, { updates: 1000 }],
      },
    },
    {
      page: 'power-function',
      name: 'Power function and post-hoc combination',
      kinds: ['power_function'],
      word: 'a profile as wide as a fraction of the training, and any other width afterwards',
      presets: ['edm2'],
      tables: [0.1, 0.05].map((sigma) => ({
        title: `sigma_rel ${sigma}, PER_STEP, start FIRST (edm2)`,
        rule: {
          start: 'FIRST',
          decayUnit: 'PER_STEP',
          schedule: { kind: 'power_function', gamma: gammaOf(sigma) },
        },
      })),
      combinations: { kept: [0.05, 0.1], wanted: [0.03, 0.04, 0.06, 0.075, 0.12, 0.15, 0.2, 0.25], counts: [2, 8, 32] },
      widths: { sigmas: [0.05, 0.1], cadences: [1, 10, 100], steps: 10000 },
      plot: {
        about: 'Effective weights of past updates under power functions',
        curves: [0.05, 0.1, 0.15, 0.25].map((sigma) => ({
          label: `sigma_rel ${sigma}: gamma ${gammaOf(sigma).toFixed(4)}, start FIRST`,
          rule: { start: 'FIRST', schedule: { kind: 'power_function', gamma: gammaOf(sigma) } },
        })),
        panels: [{ updates: 200 }, { updates: 10000 }],
      },
    },
  ];
}
