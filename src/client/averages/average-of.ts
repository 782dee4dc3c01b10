import {
  AVERAGE_DEFAULTS,
  type Refusal,
  refusedField,
  refusedParameter,
  SCHEDULE_KINDS,
  type SCHEDULES,
  type ScheduleKind,
  ShadowkeepError,
  scheduleRow,
  shown,
} from '../../common/index.js';
import type { AverageOptions, AverageSchedule, AverageSpec } from './spec.js';

/** The options of an average whose schedule is of this kind: the schedule's parameters and those of every average. */
type OptionsOf<Kind extends ScheduleKind> = AverageOptions & {
  readonly [Name in keyof (typeof SCHEDULES)[Kind]['parameters']]?: number | undefined;
};

/**
 * Makes an average from its name, the kind of its schedule and options. A parameter of the schedule that is not given
 * gets its default; any other field that is not given, or given as its default, is left out. Throws INVALID_AVERAGE.
 */
export function averageOf<Kind extends ScheduleKind>(name: string, kind: Kind, options: OptionsOf<Kind>): AverageSpec {
  const given = options as Readonly<Record<string, unknown>>;
  const { parameters, inPlaceOf = {} } = scheduleRow(kind);
  const said = [
    ...Object.entries(parameters).map(([parameter, { default: fallback }]) => [
      parameter,
      given[parameter] ?? fallback,
    ]),
    ...Object.keys(inPlaceOf).map((parameter) => [parameter, given[parameter]]),
  ].filter(([, value]) => value != null);
  const fields = Object.entries(AVERAGE_DEFAULTS).filter(([field, fallback]) => {
    const value = given[field];
    if (value === undefined || (field === 'delayMode' && !options.delayUpdates)) return false;
    return Array.isArray(value) ? value.length > 0 : value !== fallback;
  });
  const average: AverageSpec = {
    name,
    start: options.start ?? AVERAGE_DEFAULTS.start,
    ...Object.fromEntries(fields.map(([field]) => [field, given[field]])),
    schedule: { kind, ...Object.fromEntries(said) } as AverageSchedule,
  };
  checkAverage(average);
  return average;
}

/**
 * Throws INVALID_AVERAGE for a value that the service would refuse, and for a field that its protocol does not have.
 */
export function checkAverage({ name, schedule, ...fields }: AverageSpec): void {
  const kind = SCHEDULE_KINDS.find((known) => known === schedule?.kind);
  if (kind === undefined) {
    const found = { field: 'schedule.kind', bound: `one of ${SCHEDULE_KINDS.join(', ')}`, value: schedule?.kind };
    throw refusedError(name, found);
  }
  const { parameters, inPlaceOf = {} } = scheduleRow(kind);
  const { kind: _, ...given } = schedule;
  const unknown = [
    ...Object.keys(fields).filter((field) => !Object.hasOwn(AVERAGE_DEFAULTS, field)),
    ...Object.keys(given).filter((field) => !Object.hasOwn(parameters, field) && !Object.hasOwn(inPlaceOf, field)),
  ];
  if (unknown[0] !== undefined) {
    throw invalidAverage(name, unknown[0], `is no field of an average with schedule ${kind}`);
  }
  const refusal = refusedParameter(kind, given) ?? refusedField(kind, { ...fields, ...given });
  if (refusal !== undefined) throw refusedError(name, refusal);
}

function refusedError(name: string, { field, bound, value }: Refusal): ShadowkeepError {
  return invalidAverage(name, field, `must be ${bound}, got ${shown(value)}`);
}

function invalidAverage(name: string, field: string, problem: string): ShadowkeepError {
  return new ShadowkeepError('INVALID_AVERAGE', `${name}: ${field} ${problem}`, { metadata: { field } });
}
