import type { AverageSpec, RunInfo } from '../../client/index.js';
import { AVERAGE_DEFAULTS, SCHEDULE_KINDS, type ScheduleKind, snakeCase } from '../../common/index.js';

/** The proto's fields in its order. */
const FIELDS = [
  'name',
  'start',
  'precision',
  'delay_updates',
  'delay_mode',
  'every',
  'decay_unit',
  'include',
  'exclude',
  'preset',
  ...SCHEDULE_KINDS,
  'bias_correction',
  'first_index',
  'index_unit',
  'every_offset',
] as const satisfies readonly (keyof AverageSpec)[];

/** What a field means where it is not set. The service fills it in, and a preset leaves it out; the start is always said. */
const DEFAULTS: ReadonlyMap<string, unknown> = new Map(
  Object.entries({ ...AVERAGE_DEFAULTS, start: undefined }).map(([name, value]) => [snakeCase(name), value]),
);

/**
 * An average as `--json` prints it, wherever it comes from: the fields and their order are the proto's, their names those
 * of its JSON, and what is the default is left out.
 */
export function averageJson(average: AverageSpec): Record<string, unknown> {
  const set = FIELDS.filter((field) => !isDefault(field, average[field]));
  return Object.fromEntries(
    set.map((field) => [camelCase(field), isSchedule(field) ? parametersJson(field, average) : average[field]]),
  );
}

/** A run as `--json` prints it. */
export function runJson(run: RunInfo): Record<string, unknown> {
  return { ...run, averages: run.averages.map(averageJson) };
}

function isDefault(field: (typeof FIELDS)[number], value: unknown): boolean {
  if (value == null || value === DEFAULTS.get(field)) return true;
  if (Array.isArray(value)) return value.length === 0;
  if (typeof value === 'string') return value === '' || value.endsWith('_UNSPECIFIED');
  return value === 0 || value === false;
}

function isSchedule(field: (typeof FIELDS)[number]): field is ScheduleKind {
  return (SCHEDULE_KINDS as readonly string[]).includes(field);
}

/** A schedule's parameters that are not 0. A power function's stay: which one it has is what it says. */
function parametersJson(field: ScheduleKind, average: AverageSpec): Record<string, unknown> {
  const isWidth = ([name]: [string, unknown]) => field !== 'power_function' || name === 'gamma' || name === 'sigma_rel';
  const parameters = Object.entries(average[field] ?? {}).filter(isWidth);
  const set = parameters.filter(([, value]) => value != null && (value !== 0 || field === 'power_function'));
  return Object.fromEntries(set.map(([name, value]) => [camelCase(name), value]));
}

function camelCase(name: string): string {
  return name.replaceAll(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
}
