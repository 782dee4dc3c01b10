import { AVERAGE_DEFAULTS, type SCHEDULES, type ScheduleKind, scheduleRow } from '../../common/index.js';
import { checkAverage } from './check-average.js';
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
