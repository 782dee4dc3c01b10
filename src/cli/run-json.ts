import { type AverageSpec, type RunInfo, SCHEDULE_FIELDS } from '../client/index.js';

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
  ...SCHEDULE_FIELDS,
  'bias_correction',
  'first_index',
  'index_unit',
  'every_offset',
] as const satisfies readonly (keyof AverageSpec)[];

/** What a field means where it is not set. The service fills it in, and a preset leaves it out. */
const DEFAULTS: Partial<Record<(typeof FIELDS)[number], unknown>> = {
  precision: 'F32',
  every: 1,
  delay_mode: 'COPY_UNTIL',
  decay_unit: 'PER_UPDATE',
  index_unit: 'UPDATES',
};

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
  if (value == null || value === DEFAULTS[field]) return true;
  if (Array.isArray(value)) return value.length === 0;
  if (typeof value === 'string') return value === '' || value.endsWith('_UNSPECIFIED');
  return value === 0 || value === false;
}

function isSchedule(field: (typeof FIELDS)[number]): field is (typeof SCHEDULE_FIELDS)[number] {
  return (SCHEDULE_FIELDS as readonly string[]).includes(field);
}

/** A schedule's parameters that are not 0. A power function's stay: which one it has is what it says. */
function parametersJson(field: (typeof SCHEDULE_FIELDS)[number], average: AverageSpec): Record<string, unknown> {
  const isWidth = ([name]: [string, unknown]) => field !== 'power_function' || name === 'gamma' || name === 'sigma_rel';
  const parameters = Object.entries(average[field] ?? {}).filter(isWidth);
  const set = parameters.filter(([, value]) => value != null && (value !== 0 || field === 'power_function'));
  return Object.fromEntries(set.map(([name, value]) => [camelCase(name), value]));
}

function camelCase(name: string): string {
  return name.replaceAll(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
}
