import type { Attack } from './victim.js';

/** What an average must not be, wherever it comes: the fields of one, beside a name, a start and a schedule `mean`. */
type Rest = Readonly<Record<string, unknown>>;
type AverageAttack = Attack<Rest>;

const SHARE = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0.1, -Number.MIN_VALUE, 1.5];
const POSITIVE = [Number.NaN, Number.POSITIVE_INFINITY, 0, -1];

/** A schedule's message with one number wrong. */
const schedule = (message: Rest): Rest => ({ mean: undefined, ...message });

/** `kind.field` must be from 0 to 1, the rest of the message is right. */
const share = (kind: string, field: string, rest: Rest = {}): AverageAttack[] =>
  SHARE.map((value) => [
    `${kind}.${field} ${value}`,
    schedule({ [kind]: { ...rest, [field]: value } }),
    'INVALID_AVERAGE',
    new RegExp(`\\.${kind}\\.${field} must be a number from 0 to 1, got ${value}$`),
  ]);

const positive = (kind: string, field: string, rest: Rest = {}): AverageAttack[] =>
  POSITIVE.map((value) => [
    `${kind}.${field} ${value}`,
    schedule({ [kind]: { ...rest, [field]: value } }),
    'INVALID_AVERAGE',
    new RegExp(`\\.${kind}\\.${field} must be a finite number above 0, got ${value}$`),
  ]);

const SCHEDULES: AverageAttack[] = [
  ['no schedule', schedule({}), 'INVALID_AVERAGE', /\.schedule is required$/],
  ...share('constant', 'decay'),
  ...positive('half_life', 'updates'),
  ...share('ratio_warmup', 'decay'),
  ...share('ratio_warmup', 'decay_min', { decay: 1 }),
  [
    'ratio_warmup min > max',
    schedule({ ratio_warmup: { decay: 0.5, decay_min: 0.6 } }),
    'INVALID_AVERAGE',
    /\.ratio_warmup\.decay_min must be at most decay \(0\.5\), got 0\.6$/,
  ],
  ...positive('inverse_power', 'inv_gamma', { power: 1, decay_max: 1 }),
  ...positive('inverse_power', 'power', { inv_gamma: 1, decay_max: 1 }),
  ...share('inverse_power', 'decay_max', { inv_gamma: 1, power: 1 }),
  [
    'inverse_power min > max',
    schedule({ inverse_power: { inv_gamma: 1, power: 1, decay_min: 0.9, decay_max: 0.1 } }),
    'INVALID_AVERAGE',
    /\.inverse_power\.decay_min must be at most decay_max \(0\.1\), got 0\.9$/,
  ],
  ...share('exponential_ramp', 'decay', { tau: 1 }),
  ...positive('exponential_ramp', 'tau', { decay: 0.5 }),
  ...positive('half_life_fraction', 'fraction'),
  ...share('annealed_momentum', 'momentum', { gamma: 1 }),
  ...positive('annealed_momentum', 'gamma', { momentum: 0.5 }),
  ...share('cosine', 'decay', { steps: 1 }),
  [
    'cosine of 0 steps',
    schedule({ cosine: { decay: 0.5 } }),
    'INVALID_AVERAGE',
    /\.cosine\.steps must be an integer of at least 1, below 2\^53, got 0$/,
  ],
  [
    'cosine of 2^64 − 1 steps',
    schedule({ cosine: { decay: 0.5, steps: '18446744073709551615' } }),
    'INVALID_AVERAGE',
    /\.cosine\.steps must be an integer of at least 1, below 2\^53, got 1844674407370955\d+$/,
  ],
  [
    'power_function of nothing',
    schedule({ power_function: {} }),
    'INVALID_AVERAGE',
    /\.power_function\.width needs gamma or sigma_rel$/,
  ],
  ...[-1, 1_000_001, Number.NaN, Number.POSITIVE_INFINITY].map(
    (gamma): AverageAttack => [
      `gamma ${gamma}`,
      schedule({ power_function: { gamma } }),
      'INVALID_AVERAGE',
      new RegExp(`\\.power_function\\.gamma must be a number from 0 to 1000000, got ${gamma}$`),
    ],
  ),
  ...[0, -0.1, 0.3, Number.NaN, Number.POSITIVE_INFINITY].map(
    (sigma_rel): AverageAttack => [
      `sigma_rel ${sigma_rel}`,
      schedule({ power_function: { sigma_rel } }),
      'INVALID_AVERAGE',
      new RegExp(
        `\\.power_function\\.sigma_rel must be a number from 0\\.000001 to 0\\.28867\\d+ .*, got ${sigma_rel}$`,
      ),
    ],
  ),
  ...positive('half_life_ramp_up', 'ratio', { half_life: 1 }),
  [
    'half_life_ramp_up of −1',
    schedule({ half_life_ramp_up: { half_life: -1, ratio: 1 } }),
    'INVALID_AVERAGE',
    /\.half_life_ramp_up\.half_life must be a finite number of at least 0, got -1$/,
  ],
];

const INTEGERS: AverageAttack[] = [
  ['every 0', { every: 0 }, 'INVALID_AVERAGE', /\.every must be an integer of at least 1, below 2\^53, got 0$/],
  [
    'every_offset = every',
    { every: 10, every_offset: 10 },
    'INVALID_AVERAGE',
    /\.every_offset must be below every \(10\), got 10$/,
  ],
  [
    'every_offset without every',
    { every_offset: 1 },
    'INVALID_AVERAGE',
    /\.every_offset must be below every \(1\), got 1$/,
  ],
  ...['every', 'every_offset', 'delay_updates', 'first_index'].map(
    (field): AverageAttack => [
      `${field} 2^64 − 1`,
      { [field]: '18446744073709551615' },
      'INVALID_AVERAGE',
      new RegExp(`\\.${field} must be an integer of at least [01], below 2\\^53, got 1844674407370955\\d+$`),
    ],
  ),
];

const ENUMS: AverageAttack[] = ['delay_mode', 'decay_unit', 'index_unit'].flatMap((field) =>
  [99, -1].map(
    (value): AverageAttack => [
      `${field} ${value}`,
      { [field]: value },
      'INVALID_FIELD',
      new RegExp(`\\.${field} must be one of [A-Z_]+_UNSPECIFIED, [A-Z_, ]+, got ${value}$`),
    ],
  ),
);

const TEXTS: AverageAttack[] = [
  [
    'a preset of 10 KB',
    { preset: 'x'.repeat(10_240) },
    'INVALID_AVERAGE',
    /\.preset bytes .* from 0 to 512, got 10240$/,
  ],
  ['an empty pattern', { include: [''] }, 'INVALID_AVERAGE', /\.include\[0\] length .* from 1 to 1024, got 0$/],
  ['a pattern of 10 KB', { exclude: ['*'.repeat(10_240)] }, 'INVALID_AVERAGE', /\.exclude\[0\] length .*, got 10240$/],
  ['1,025 patterns', { include: Array(1_025).fill('*') }, 'INVALID_AVERAGE', /\.include length .* to 1024, got 1025$/],
  [
    'a pattern that matches nothing',
    { include: ['*', 'x*'] },
    'INVALID_AVERAGE',
    /\.include\[1\] "x\*" matches no tensor that it could apply to$/,
  ],
  [
    'a pattern of a copied tensor',
    { include: ['n'] },
    'INVALID_AVERAGE',
    /\.include\[0\] "n" matches no tensor that it could apply to$/,
  ],
  [
    '__proto__',
    { exclude: ['__proto__'] },
    'INVALID_AVERAGE',
    /\.exclude\[0\] "__proto__" matches no tensor that it could apply to$/,
  ],
  ['filters that leave nothing', { exclude: ['*'] }, 'INVALID_AVERAGE', /\.exclude leaves "e" no tensor$/],
];

const BIAS: AverageAttack[] = [
  [
    'bias_correction of a mean',
    { bias_correction: true },
    'INVALID_AVERAGE',
    /\.bias_correction needs a half_life, or a constant decay below 1, got mean$/,
  ],
  [
    'bias_correction of a decay of 1',
    { ...schedule({ constant: { decay: 1 } }), bias_correction: true },
    'INVALID_AVERAGE',
    /\.bias_correction needs a half_life, or a constant decay below 1, got decay 1$/,
  ],
];

/** Each is an average of the name `e` for the layout of the victim: `w` is averaged, `n` is copied. The text is what follows its field. */
export const AVERAGE_ATTACKS: readonly AverageAttack[] = [...SCHEDULES, ...INTEGERS, ...ENUMS, ...TEXTS, ...BIAS];

/** A valid average with something else. */
export function averageWith(rest: Rest): object {
  return { name: 'e', start: 'FIRST', mean: {}, ...rest };
}
