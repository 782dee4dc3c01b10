import { PRECISIONS } from './dtype.js';
import { SIGMA_REL_MAX } from './limits.js';

/*
 * What an average may be told, once for all: server, clients and shell take their bounds and defaults from here, and Python
 * from the JSON that is made of it (python/src/shadowkeep/averages/table.json; a test compares). The names are those of the
 * proto's Average and of its schedules, in camelCase.
 */

/** The largest exponent: relative widths below 1e-6 are none. */
const GAMMA_MAX = 1e6;

/** Larger ones are not exact in a double. */
const COUNT_MAX = Number.MAX_SAFE_INTEGER;

/** Bounds of a number. With `isAbove` the number must be above the least one. */
export interface Bound {
  readonly text: string;
  readonly min: number;
  readonly isAbove?: boolean;
  readonly max: number;
  readonly isInteger?: boolean;
}

const SHARE: Bound = { text: 'a number from 0 to 1', min: 0, max: 1 };
const POSITIVE: Bound = { text: 'a finite number above 0', min: 0, isAbove: true, max: Number.MAX_VALUE };
const NOT_NEGATIVE: Bound = { text: 'a finite number of at least 0', min: 0, max: Number.MAX_VALUE };
const EXPONENT: Bound = { text: `a number from 0 to ${GAMMA_MAX}`, min: 0, max: GAMMA_MAX };
// The widest is the plain average's, which does not end in a double.
const WIDTH: Bound = {
  text: `a number from ${1 / GAMMA_MAX} to ${SIGMA_REL_MAX} (the plain average)`,
  min: 1 / GAMMA_MAX,
  max: SIGMA_REL_MAX + Number.EPSILON,
};
const COUNT: Bound = countFrom(0);
const COUNT_FROM_1: Bound = countFrom(1);

function countFrom(min: number): Bound {
  return { text: `an integer of at least ${min}, below 2^53`, min, max: COUNT_MAX, isInteger: true };
}

export interface Parameter {
  readonly bound: Bound;
  /** The value that clients send when the parameter is left out. Without a default the parameter is required. */
  readonly default?: number;
  /** Another parameter that it may not exceed. */
  readonly atMost?: string;
}

export interface ScheduleRow {
  /** The formula of the schedule, for people. */
  readonly rule: string;
  readonly parameters: Readonly<Record<string, Parameter>>;
  /** Parameters that may be given in place of another one, `parameter`, which is computed from them. */
  readonly inPlaceOf?: Readonly<Record<string, Parameter & { readonly parameter: string }>>;
  /** Has an index n of its own; the others go by updates or by time. */
  readonly isIndexed?: boolean;
  /** Forgets its start so slowly that the bias of a start from zeros can be, and is, divided away. */
  readonly isCorrectable?: boolean;
}

/**
 * The schedules by their fields in the proto. The formula of each is in the file of `engine/averages` that is named after
 * it.
 */
export const SCHEDULES = {
  constant: { rule: 'w = 1 - decay', parameters: { decay: { bound: SHARE } }, isCorrectable: true },
  mean: { rule: 'w_k = 1 / k', parameters: {} },
  half_life: {
    rule: 'w = 1 - 2^(-1 / updates)',
    parameters: { updates: { bound: POSITIVE } },
    isCorrectable: true,
  },
  ratio_warmup: {
    rule: 'decay_n = max(decay_min, min(decay, (1 + n) / (10 + n)))',
    parameters: { decay: { bound: SHARE }, decayMin: { bound: SHARE, default: 0, atMost: 'decay' } },
    isIndexed: true,
  },
  inverse_power: {
    rule: 'decay_n = clamp(1 - (1 + n / inv_gamma)^-power, decay_min, decay_max)',
    parameters: {
      invGamma: { bound: POSITIVE, default: 1 },
      power: { bound: POSITIVE, default: 2 / 3 },
      decayMin: { bound: SHARE, default: 0, atMost: 'decayMax' },
      decayMax: { bound: SHARE, default: 1 },
    },
    isIndexed: true,
  },
  exponential_ramp: {
    rule: 'decay_n = decay * (1 - exp(-n / tau))',
    parameters: { decay: { bound: SHARE }, tau: { bound: POSITIVE } },
    isIndexed: true,
  },
  half_life_fraction: {
    rule: 'decay_n = 2^(-1 / (fraction * n))',
    parameters: { fraction: { bound: POSITIVE, default: 0.05 } },
    isIndexed: true,
  },
  annealed_momentum: {
    rule: 'w_n = max(momentum, gamma / (gamma + n))',
    parameters: { momentum: { bound: SHARE }, gamma: { bound: POSITIVE, default: 100 } },
    isIndexed: true,
  },
  cosine: {
    rule: 'decay_n = 1 - (1 - decay) * (cos(pi n / steps) + 1) / 2',
    parameters: { decay: { bound: SHARE }, steps: { bound: COUNT_FROM_1 } },
    isIndexed: true,
  },
  power_function: {
    rule: 'w = 1 - (1 - delta / t)^(gamma + 1), by exponent or relative width',
    parameters: { gamma: { bound: EXPONENT } },
    inPlaceOf: { sigmaRel: { bound: WIDTH, parameter: 'gamma' } },
  },
  half_life_ramp_up: {
    rule: 'w = 1 - 2^(-delta / min(half_life, ratio * t)); half_life 0: without bound',
    parameters: { halfLife: { bound: NOT_NEGATIVE, default: 0 }, ratio: { bound: POSITIVE, default: 0.09 } },
  },
} as const satisfies Readonly<Record<string, ScheduleRow>>;

export type ScheduleKind = keyof typeof SCHEDULES;

/** In the proto's order. */
export const SCHEDULE_KINDS = Object.keys(SCHEDULES) as ScheduleKind[];

export function scheduleRow(kind: ScheduleKind): ScheduleRow {
  return SCHEDULES[kind];
}

/** Fields of every average whose value is one of a few words. */
export const AVERAGE_WORDS = {
  start: ['ZEROS', 'INITIAL', 'FIRST'],
  precision: PRECISIONS,
  delayMode: ['COPY_UNTIL', 'HOLD_UNTIL', 'COPY_EACH_UNTIL'],
  decayUnit: ['PER_UPDATE', 'PER_STEP'],
  indexUnit: ['UPDATES', 'PUSHES'],
} as const satisfies Readonly<Record<string, readonly string[]>>;

export type AverageWord<Name extends keyof typeof AVERAGE_WORDS> = (typeof AVERAGE_WORDS)[Name][number];

/** The counts that every average has. `every_offset` is below `every` besides. */
export const AVERAGE_COUNTS = {
  delayUpdates: COUNT,
  every: COUNT_FROM_1,
  everyOffset: COUNT,
  firstIndex: COUNT,
} as const satisfies Readonly<Record<string, Bound>>;

/** An average of which nothing but its schedule is said: the first update is copied, each one counts. */
export const AVERAGE_DEFAULTS = {
  start: 'FIRST',
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
} as const;
