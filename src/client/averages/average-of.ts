import type { Precision } from '../../common/index.js';
import type { AverageSpec } from '../types.js';

/** What a shadow is before the first folded update: 0, the registered weights, or the first update itself. */
export type AverageStart = 'ZEROS' | 'INITIAL' | 'FIRST';

/** What every average takes, whatever its schedule. `Average` in proto/shadowkeep/v1/types.proto explains each field. */
export interface AverageOptions {
  /** Default FIRST. INITIAL needs `pushInitial` before the first update. */
  start?: AverageStart | undefined;
  /** F32 (default) or F64: the dtype of the shadow and of its arithmetic. */
  precision?: Precision | undefined;
  /** Pushed updates before the schedule begins. Default 0. */
  delayUpdates?: number | undefined;
  /**
   * Until then the shadow equals the newest weights (COPY_UNTIL, default; at the pushes that `every` folds, or at each
   * with COPY_EACH_UNTIL) or stays as it started (HOLD_UNTIL).
   */
  delayMode?: 'COPY_UNTIL' | 'HOLD_UNTIL' | 'COPY_EACH_UNTIL' | undefined;
  /** Of the pushed updates i = 1, 2 … those with i modulo `every` = `everyOffset` are folded. Default: each. */
  every?: number | undefined;
  everyOffset?: number | undefined;
  /** PER_UPDATE (default): one decay for each fold. PER_STEP: one for each of the trainer's steps since the last fold. */
  decayUnit?: 'PER_UPDATE' | 'PER_STEP' | undefined;
  /** n, the schedule's index, at the first folded update. Default 0. */
  firstIndex?: number | undefined;
  /** What n counts: folded updates (UPDATES, default), or all pushed ones after the delay (PUSHES). */
  indexUnit?: 'UPDATES' | 'PUSHES' | undefined;
  /** w_k = (1 − decay) / (1 − decay^k), for a constant decay or half-life that starts from ZEROS. Default false. */
  biasCorrection?: boolean | undefined;
  /** Name patterns of the tensors that it averages, `*` matches any run of characters. Default: all. */
  include?: readonly string[] | undefined;
  exclude?: readonly string[] | undefined;
}

/** The proto's fields of the schedules: each average has one of them. */
export const SCHEDULE_FIELDS = [
  'constant',
  'mean',
  'half_life',
  'ratio_warmup',
  'inverse_power',
  'exponential_ramp',
  'half_life_fraction',
  'annealed_momentum',
  'cosine',
  'power_function',
  'half_life_ramp_up',
] as const satisfies readonly (keyof AverageSpec)[];

export type ScheduleField = (typeof SCHEDULE_FIELDS)[number];

/** One schedule with its parameters, as in the proto. */
export type Schedule = Pick<AverageSpec, ScheduleField>;

/** The proto's average of a name, its options and its schedule. What is the default is left out. */
export function averageOf(name: string, options: AverageOptions, schedule: Schedule): AverageSpec {
  const { start = 'FIRST', precision = 'F32', delayUpdates = 0, delayMode = 'COPY_UNTIL' } = options;
  const { every = 1, everyOffset = 0, decayUnit = 'PER_UPDATE', firstIndex = 0, indexUnit = 'UPDATES' } = options;
  const { biasCorrection = false, include = [], exclude = [] } = options;
  return {
    name,
    start,
    ...(precision === 'F32' ? {} : { precision }),
    ...(delayUpdates === 0 ? {} : { delay_updates: delayUpdates }),
    ...(delayUpdates === 0 || delayMode === 'COPY_UNTIL' ? {} : { delay_mode: delayMode }),
    ...(every === 1 ? {} : { every }),
    ...(decayUnit === 'PER_UPDATE' ? {} : { decay_unit: decayUnit }),
    ...(include.length === 0 ? {} : { include: [...include] }),
    ...(exclude.length === 0 ? {} : { exclude: [...exclude] }),
    ...schedule,
    ...(biasCorrection ? { bias_correction: true } : {}),
    ...(firstIndex === 0 ? {} : { first_index: firstIndex }),
    ...(indexUnit === 'UPDATES' ? {} : { index_unit: indexUnit }),
    ...(everyOffset === 0 ? {} : { every_offset: everyOffset }),
  };
}
