import type { AverageSpec, RunInfo } from '../../client/index.js';
import { AVERAGE_DEFAULTS } from '../../common/index.js';

/** The fields of an average that are printed before its schedule, and those after it, in the order of the proto. */
const BEFORE = [
  'name',
  'start',
  'precision',
  'delayUpdates',
  'delayMode',
  'every',
  'decayUnit',
  'include',
  'exclude',
  'preset',
] as const satisfies readonly (keyof AverageSpec)[];
const BEHIND = ['biasCorrection', 'firstIndex', 'indexUnit', 'everyOffset'] as const;

/** The defaults of fields, which are not printed. The start has none here, so it is always printed. */
const DEFAULTS: Readonly<Record<string, unknown>> = { ...AVERAGE_DEFAULTS, start: undefined };

/**
 * An average as `--json` prints it, wherever the average comes from. Fields have the proto's order and its JSON names,
 * and fields with their defaults are left out.
 */
export function averageJson(average: AverageSpec): Record<string, unknown> {
  const { kind, ...parameters } = average.schedule;
  // A power function keeps a width of 0, because `gamma: 0` is a schedule and no default.
  const set = Object.entries(parameters).filter(
    ([, value]) => value != null && (value !== 0 || kind === 'power_function'),
  );
  return { ...said(average, BEFORE), [camelCase(kind)]: Object.fromEntries(set), ...said(average, BEHIND) };
}

/** A run as `--json` prints it. */
export function runJson(run: RunInfo): Record<string, unknown> {
  return { ...run, averages: run.averages.map(averageJson) };
}

function said(average: AverageSpec, fields: readonly (keyof AverageSpec)[]): Record<string, unknown> {
  return Object.fromEntries(fields.filter((field) => !isDefault(field, average[field])).map((f) => [f, average[f]]));
}

function isDefault(field: string, value: unknown): boolean {
  return value == null || value === DEFAULTS[field] || (Array.isArray(value) && value.length === 0);
}

function camelCase(name: string): string {
  return name.replaceAll(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
}
