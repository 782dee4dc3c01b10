import {
  AVERAGE_DEFAULTS,
  type AverageWord,
  type Precision,
  quote,
  type Refusal,
  refusedField,
  refusedParameter,
  type SCHEDULES,
  type ScheduleKind,
  ShadowkeepError,
  scheduleRow,
  snakeCase,
} from '../../common/index.js';
import type { AverageSpec } from '../types.js';

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

type ParametersOf<Kind extends ScheduleKind> = keyof (typeof SCHEDULES)[Kind]['parameters'];

/** Options of an average whose schedule is of a kind: its parameters, and what every average takes. */
type OptionsOf<Kind extends ScheduleKind> = AverageOptions & {
  readonly [Name in ParametersOf<Kind>]?: number | undefined;
};

/**
 * The proto's average of a name and a schedule's kind. Parameters have their defaults; other defaults are left out. Throws
 * INVALID_AVERAGE: a word that the protocol does not have would be lost on its way otherwise.
 */
export function averageOf<Kind extends ScheduleKind>(name: string, kind: Kind, options: OptionsOf<Kind>): AverageSpec {
  const given = options as Readonly<Record<string, unknown>>;
  const { parameters, inPlaceOf = {} } = scheduleRow(kind);
  const schedule = Object.fromEntries([
    ...Object.entries(parameters).map(([parameter, { default: fallback }]) => [
      parameter,
      given[parameter] ?? fallback,
    ]),
    ...Object.keys(inPlaceOf).map((parameter) => [parameter, given[parameter]]),
  ]);
  const refusal = refusedParameter(kind, schedule) ?? refusedField(kind, { ...given, ...schedule });
  if (refusal !== undefined) throw refusedError(name, refusal);
  const fields = Object.entries(AVERAGE_DEFAULTS).filter(([field, fallback]) => {
    const value = given[field];
    if (value === undefined || (field === 'delayMode' && !options.delayUpdates)) return false;
    return Array.isArray(value) ? value.length > 0 : value !== fallback;
  });
  return {
    name,
    start: options.start ?? AVERAGE_DEFAULTS.start,
    ...messageOf(fields.map(([field]) => [field, given[field]])),
    [kind]: messageOf(Object.entries(schedule).filter(([, value]) => value != null)),
  };
}

function messageOf(fields: readonly (readonly unknown[])[]): object {
  return Object.fromEntries(fields.map(([field, value]) => [snakeCase(String(field)), value]));
}

function refusedError(name: string, { field, bound, value }: Refusal): ShadowkeepError {
  const shown = typeof value === 'string' ? quote(value) : value;
  return new ShadowkeepError('INVALID_AVERAGE', `${name}: ${field} must be ${bound}, got ${shown}`, {
    metadata: { field },
  });
}
