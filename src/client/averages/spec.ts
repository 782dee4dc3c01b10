import type { AverageWord, Precision, SCHEDULES, ScheduleKind } from '../../common/index.js';

/** What a shadow is before the first folded update: zeros, the initial weights, or the first update itself. */
export type AverageStart = AverageWord<'start'>;

/**
 * The options of every average, whatever its schedule. `Average` in proto/shadowkeep/v1/types.proto explains each
 * field.
 */
export interface AverageOptions {
  /** Default FIRST. INITIAL needs `pushInitial` before the first update. */
  start?: AverageStart | undefined;
  /** The dtype of the shadow and of its arithmetic: F32 (default) or F64. */
  precision?: Precision | undefined;
  /** Number of pushed updates before the schedule begins. Default 0. */
  delayUpdates?: number | undefined;
  /**
   * What the shadow is during the delay. COPY_UNTIL (default): the weights of the newest push that `every` selects.
   * COPY_EACH_UNTIL: the weights of the newest push. HOLD_UNTIL: what it was at the start.
   */
  delayMode?: AverageWord<'delayMode'> | undefined;
  /** Of the pushed updates i = 1, 2 … those with i modulo `every` = `everyOffset` are folded. Default: all of them. */
  every?: number | undefined;
  everyOffset?: number | undefined;
  /** PER_UPDATE (default): one decay for each fold. PER_STEP: one decay for each trainer's step since the last fold. */
  decayUnit?: AverageWord<'decayUnit'> | undefined;
  /** The schedule's index n at the first folded update. Default 0. */
  firstIndex?: number | undefined;
  /** What the index n counts: folded updates (UPDATES, default), or all pushed updates after the delay (PUSHES). */
  indexUnit?: AverageWord<'indexUnit'> | undefined;
  /**
   * Whether w_k = (1 − decay) / (1 − decay^k). Only with a constant decay below 1 or a half-life, and not with a start
   * from INITIAL. Default false.
   */
  biasCorrection?: boolean | undefined;
  /** Name patterns of the tensors to average, in which `*` matches any run of characters. Default: all tensors. */
  include?: readonly string[] | undefined;
  exclude?: readonly string[] | undefined;
}

type ParametersOf<Kind extends ScheduleKind> = {
  readonly [Name in keyof (typeof SCHEDULES)[Kind]['parameters']]?: number | undefined;
};

/**
 * A schedule with its parameters. docs/averages has their formulas. A power function has either `gamma` or `sigmaRel`.
 */
export type AverageSchedule = {
  [Kind in ScheduleKind]: { readonly kind: Kind } & ParametersOf<Kind> &
    (Kind extends 'power_function' ? { readonly sigmaRel?: number | undefined } : unknown);
}[ScheduleKind];

/**
 * An average: the rule by which a run's weights are folded. `averageEma` and its siblings make one. A field that is
 * left out has its default. An average that the service describes has every field.
 */
export interface AverageSpec extends Readonly<AverageOptions> {
  /** `^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`, unique in the run. */
  readonly name: string;
  readonly schedule: AverageSchedule;
  /** The preset that the average was made from, for people to read. */
  readonly preset?: string | undefined;
}
