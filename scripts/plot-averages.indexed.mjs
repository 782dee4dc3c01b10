// The pages of docs/averages on schedules of an index n. What an entry is: plot-averages.families.mjs.

const constant = (decay) => ({ kind: 'constant', decay });
const ratioWarmup = (decay) => ({ kind: 'ratio_warmup', decay, decayMin: 0 });
const inversePower = (power, decayMax) => ({ kind: 'inverse_power', invGamma: 1, power, decayMin: 0, decayMax });

export const INDEXED = [
  {
    page: 'ratio-warmup',
    name: 'Ratio warm-up',
    kinds: ['ratio_warmup'],
    word: 'the decay rises as (1 + n) / (10 + n) to its cap',
    presets: ['fadel-torch-ema:decay=0.9999', 'diffusers', 'tensorflow:decay=0.9999,num_updates=0'],
    tables: [
      {
        title: 'decay 0.9999, start INITIAL, n from 1 (fadel-torch-ema)',
        rule: { start: 'INITIAL', firstIndex: 1, schedule: ratioWarmup(0.9999) },
      },
      {
        title: 'decay 0.9999, start FIRST, n from 0 (diffusers)',
        rule: { start: 'FIRST', schedule: ratioWarmup(0.9999) },
      },
      {
        title: 'decay 0.9999, start INITIAL, n from 0 (tensorflow with num_updates=0)',
        rule: { start: 'INITIAL', schedule: ratioWarmup(0.9999) },
      },
    ],
    plot: {
      about: 'Effective weights of past updates under ratio warm-up',
      curves: [
        {
          label: 'ratio_warmup 0.999: n from 1, start INITIAL',
          rule: { start: 'INITIAL', firstIndex: 1, schedule: ratioWarmup(0.999) },
        },
        { label: 'constant 0.999: start INITIAL', rule: { start: 'INITIAL', schedule: constant(0.999) } },
      ],
      panels: [{ updates: 200 }, { updates: 2000 }],
    },
  },
  {
    page: 'inverse-power',
    name: 'Inverse-power warm-up',
    kinds: ['inverse_power'],
    word: 'the weight of an update falls as a power of their number, between bounds',
    presets: ['timm-v3:decay=0.9998,use_warmup=true', 'diffusers:use_ema_warmup=true', 'ema-pytorch', 'k-diffusion'],
    tables: [
      {
        title: 'inv_gamma 1, power 2/3, decay_max 0.9999, start FIRST, n from 0 (timm-v3 with use_warmup, diffusers)',
        rule: { start: 'FIRST', schedule: inversePower(2 / 3, 0.9999) },
      },
      {
        title: 'inv_gamma 1, power 1, no bounds, start INITIAL, n from 0 (k-diffusion): the plain average',
        rule: { start: 'INITIAL', schedule: inversePower(1, 1) },
      },
      {
        title: 'power 2/3, start FIRST, n counts PUSHES, every 10, every_offset 1',
        note: 'One push in ten is folded, at t = 1, 11, 21 …, and n is the number of pushes before it: ema-pytorch.',
        rule: {
          start: 'FIRST',
          indexUnit: 'PUSHES',
          every: 10,
          everyOffset: 1,
          schedule: inversePower(2 / 3, 0.9999),
        },
      },
    ],
    plot: {
      about: 'Effective weights of past updates under inverse-power warm-up',
      curves: [
        { label: 'power 2/3: start FIRST, decay_max 0.9999', rule: { schedule: inversePower(2 / 3, 0.9999) } },
        { label: 'power 3/4: start FIRST, decay_max 0.9999', rule: { schedule: inversePower(3 / 4, 0.9999) } },
        { label: 'power 1: start FIRST, decay_max 1, the plain average', rule: { schedule: inversePower(1, 1) } },
      ].map(({ label, rule }) => ({ label, rule: { start: 'FIRST', ...rule } })),
      panels: [{ updates: 200 }, { updates: 10000 }],
    },
  },
  {
    page: 'exponential-ramp',
    name: 'Exponential ramp',
    kinds: ['exponential_ramp'],
    word: 'the decay rises as 1 − e^(−n/τ)',
    presets: ['ultralytics'],
    tables: [
      {
        title: 'decay 0.9999, tau 2000, start INITIAL, n from 1 (ultralytics)',
        rule: {
          start: 'INITIAL',
          firstIndex: 1,
          schedule: { kind: 'exponential_ramp', decay: 0.9999, tau: 2000 },
        },
      },
    ],
    plot: {
      about: 'Effective weights of past updates under an exponential ramp',
      curves: [
        ...[2000, 1000].map((tau) => ({
          label: `tau ${tau}: decay 0.9999, n from 1, start INITIAL`,
          rule: { start: 'INITIAL', firstIndex: 1, schedule: { kind: 'exponential_ramp', decay: 0.9999, tau } },
        })),
        { label: 'constant 0.9999: start INITIAL', rule: { start: 'INITIAL', schedule: constant(0.9999) } },
      ],
      panels: [{ updates: 4000, newest: 50 }, { updates: 20000 }],
    },
  },
  {
    page: 'half-life-fraction',
    name: 'Half-life as a fraction of the training',
    kinds: ['half_life_fraction'],
    word: 'the half-life is a fraction of all updates so far',
    presets: ['torchtitan'],
    tables: [
      {
        title: 'fraction 0.05, start INITIAL, n from 1 (torchtitan)',
        rule: { start: 'INITIAL', firstIndex: 1, schedule: { kind: 'half_life_fraction', fraction: 0.05 } },
      },
    ],
    plot: {
      about: 'Effective weights of past updates when the half-life is a fraction of them',
      curves: [0.05, 0.1, 0.2].map((fraction) => ({
        label: `fraction ${fraction}: n from 1, start INITIAL`,
        rule: { start: 'INITIAL', firstIndex: 1, schedule: { kind: 'half_life_fraction', fraction } },
      })),
      panels: [{ updates: 100 }, { updates: 10000 }],
    },
  },
  {
    page: 'annealed-momentum',
    name: 'Annealed momentum',
    kinds: ['annealed_momentum'],
    word: 'the weight falls as γ / (γ + n) to its floor',
    presets: ['mmengine:type=annealing'],
    tables: [
      {
        title: 'momentum 0.0002, gamma 100, start FIRST, n from 0 (mmengine with type=annealing)',
        rule: { start: 'FIRST', schedule: { kind: 'annealed_momentum', momentum: 0.0002, gamma: 100 } },
      },
    ],
    plot: {
      about: 'Effective weights of past updates under an annealed momentum',
      curves: [
        ...[100, 10].map((gamma) => ({
          label: `gamma ${gamma}: momentum 0.002, start FIRST`,
          rule: { start: 'FIRST', schedule: { kind: 'annealed_momentum', momentum: 0.002, gamma } },
        })),
        { label: 'constant 0.998: start FIRST', rule: { start: 'FIRST', schedule: constant(0.998) } },
      ],
      panels: [
        { updates: 1000, newest: 200 },
        { updates: 10000, newest: 2000 },
      ],
    },
  },
  {
    page: 'cosine',
    name: 'Cosine',
    kinds: ['cosine'],
    word: 'the decay rises to 1 along half a cosine: the average freezes at the end',
    presets: [],
    tables: [
      {
        title: 'decay 0.996, steps 5, start INITIAL, n from 0',
        note: 'At n = 5 the decay is 1 and the shadow holds for good.',
        rule: { start: 'INITIAL', schedule: { kind: 'cosine', decay: 0.996, steps: 5 } },
      },
    ],
    plot: {
      about: 'Effective weights of past updates under a cosine decay over 10,000 updates',
      curves: [
        ...[0.996, 0.99].map((decay) => ({
          label: `cosine ${decay}: steps 10,000, start INITIAL`,
          rule: { start: 'INITIAL', schedule: { kind: 'cosine', decay, steps: 10000 } },
        })),
        { label: 'constant 0.999: start INITIAL', rule: { start: 'INITIAL', schedule: constant(0.999) } },
      ],
      panels: [{ updates: 5000 }, { updates: 10000 }],
    },
  },
];
