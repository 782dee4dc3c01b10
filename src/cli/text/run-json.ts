import type { AverageSpec, RunInfo } from '../../client/index.js';
import { AVERAGE_DEFAULTS } from '../../common/index.js';

/** What stands before the schedule, and what behind it, in the order of the proto. */
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

/** What a field means where it is not said; the start is always said. */
const DEFAULTS: Readonly<Record<string, unknown>> = { ...AVERAGE_DEFAULTS, start: undefined };

/**
 * An average as `--json` prints it, wherever it comes from: the fields and their order are the proto's, their names those
 * of its JSON, and what is the default is left out.
 */
export function averageJson(average: AverageSpec): Record<string, unknown> {
  const { kind, ...parameters } = average.schedule;
  // A power function's width stays: which one it has is what it says.
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
