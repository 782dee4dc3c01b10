import { type AverageSpec, SCHEDULE_FIELDS } from '../client/index.js';

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

/** An average as the proto's JSON has it: names and order of the fields are the proto's, what is the default is left out. */
export function averageJson(average: AverageSpec): Record<string, unknown> {
  const fields = FIELDS.map((field) => [field, average[field]] as const).filter(([, value]) => value != null);
  return Object.fromEntries(
    fields.map(([field, value]) => [field, field === 'power_function' ? value : withoutZeros(value)]),
  );
}

/** Of a schedule's parameters those that are not 0. A power function's stay: which one it has is what it says. */
function withoutZeros(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).filter(([, parameter]) => parameter !== 0));
}
