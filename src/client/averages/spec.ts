import type { AverageWord, Precision, SCHEDULES, ScheduleKind } from '../../common/index.js';

/** What a shadow is before the first folded update: 0, the registered weights, or the first update itself. */
export type AverageStart = AverageWord<'start'>;

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
  delayMode?: AverageWord<'delayMode'> | undefined;
  /** The pushed updates i = 1, 2 … with i modulo `every` = `everyOffset` are folded. Default: each. */
  every?: number | undefined;
  everyOffset?: number | undefined;
  /** PER_UPDATE (default): one decay for each fold. PER_STEP: one for each of the trainer's steps since the last fold. */
  decayUnit?: AverageWord<'decayUnit'> | undefined;
  /** n, the schedule's index, at the first folded update. Default 0. */
  firstIndex?: number | undefined;
  /** What n counts: folded updates (UPDATES, default), or all pushed ones after the delay (PUSHES). */
  indexUnit?: AverageWord<'indexUnit'> | undefined;
  /** w_k = (1 − decay) / (1 − decay^k), for a constant decay below 1 or a half-life, not from INITIAL. Default false. */
  biasCorrection?: boolean | undefined;
  /** Name patterns of the tensors that it averages, `*` matches any run of characters. Default: all. */
  include?: readonly string[] | undefined;
  exclude?: readonly string[] | undefined;
}

type ParametersOf<Kind extends ScheduleKind> = {
  readonly [Name in keyof (typeof SCHEDULES)[Kind]['parameters']]?: number | undefined;
};

/** A schedule with its parameters; docs/averages has the formula of each. A power function has `gamma` or `sigmaRel`. */
export type AverageSchedule = {
  [Kind in ScheduleKind]: { readonly kind: Kind } & ParametersOf<Kind> &
    (Kind extends 'power_function' ? { readonly sigmaRel?: number | undefined } : unknown);
}[ScheduleKind];

/**
 * A rule that the run's weights are folded with; `averageEma` and its kind make one. What is left out is the default; of a run
 * that exists every field is said.
 */
export interface AverageSpec extends Readonly<AverageOptions> {
  /** `^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`, unique in the run. */
  readonly name: string;
  readonly schedule: AverageSchedule;
  /** What it was expanded from, for people to read. */
  readonly preset?: string | undefined;
}
