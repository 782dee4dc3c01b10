import {
  AVERAGE_COUNTS,
  AVERAGE_DEFAULTS,
  AVERAGE_WORDS,
  type AverageWord,
  biasProblem,
  checkPrintable,
  isWithin,
  PATTERN_COUNT_MAX,
  PRESET_BYTES_MAX,
  type Precision,
  quote,
  type ShadowkeepError,
  snakeCase,
} from '../../common/index.js';
import type { AverageSpec } from '../../engine/index.js';
import type { Average__Output } from '../../protocol/index.js';
import { integer, invalidField, known } from './fields.js';
import { checkPattern } from './validate-policies.js';
import { validateSchedule } from './validate-schedule.js';

/** Checks one average of a request. Its name has been checked before. Throws INVALID_AVERAGE, INVALID_FIELD. */
export function validateAverage(field: string, average: Average__Output): AverageSpec {
  const start = known(`${field}.start`, average.start, ['START_UNSPECIFIED', ...AVERAGE_WORDS.start]);
  if (start === 'START_UNSPECIFIED')
    throw invalid(`${field}.start`, `must be one of ${AVERAGE_WORDS.start.join(', ')}`);
  const every = average.every === undefined ? AVERAGE_DEFAULTS.every : count(field, average, 'every');
  const delayUpdates = count(field, average, 'delayUpdates');
  const delayMode = word(field, average, 'delayMode');
  const decayUnit = word(field, average, 'decayUnit');
  const indexUnit = word(field, average, 'indexUnit');
  const schedule = validateSchedule(field, average);
  if (average.bias_correction) checkBiasCorrection(field, schedule, start);
  return {
    name: average.name,
    start,
    schedule,
    precision: precisionOf(field, average),
    delayUpdates,
    // Averages are compared field by field, so an average without a delay always has the same delay mode.
    delayMode: delayUpdates === 0 ? AVERAGE_DEFAULTS.delayMode : delayMode,
    every,
    everyOffset: everyOffsetOf(field, average, every),
    decayUnit,
    firstIndex: count(field, average, 'firstIndex'),
    indexUnit,
    biasCorrection: average.bias_correction,
    include: patterns(`${field}.include`, average.include),
    exclude: patterns(`${field}.exclude`, average.exclude),
    preset: presetOf(field, average.preset),
  };
}

function checkBiasCorrection(field: string, schedule: AverageSpec['schedule'], start: AverageSpec['start']): void {
  const problem = biasProblem(schedule.kind, { ...schedule, start });
  if (problem !== undefined) throw invalid(`${field}.bias_correction`, problem);
}

function everyOffsetOf(field: string, average: Average__Output, every: number): number {
  const offset = count(field, average, 'everyOffset');
  if (offset < every) return offset;
  throw invalid(`${field}.every_offset`, `must be below every (${every}), got ${offset}`);
}

function precisionOf(field: string, average: Average__Output): Precision {
  switch (average.precision) {
    case 'DTYPE_UNSPECIFIED':
    case 'F32':
      return 'F32';
    case 'F64':
      return 'F64';
    default:
      throw invalid(`${field}.precision`, `of ${quote(average.name)} must be F32 or F64, got ${average.precision}`);
  }
}

function patterns(field: string, values: readonly string[]): readonly string[] {
  integer(`${field} length`, values.length, 0, PATTERN_COUNT_MAX, 'INVALID_AVERAGE');
  for (const [index, pattern] of values.entries()) {
    checkPattern(`${field}[${index}]`, pattern, 'INVALID_AVERAGE');
  }
  return values;
}

function presetOf(field: string, preset: string): string {
  integer(`${field}.preset bytes`, Buffer.byteLength(preset), 0, PRESET_BYTES_MAX, 'INVALID_AVERAGE');
  checkPrintable(preset, `${field}.preset`);
  return preset;
}

/** The value of a field with a few words, or the field's default when it is unspecified. */
function word<Name extends 'delayMode' | 'decayUnit' | 'indexUnit'>(
  field: string,
  average: Average__Output,
  name: Name,
): AverageWord<Name> {
  const key = snakeCase(name) as 'delay_mode' | 'decay_unit' | 'index_unit';
  const unsaid = `${key.toUpperCase()}_UNSPECIFIED`;
  const said = known<string>(`${field}.${key}`, average[key], [unsaid, ...AVERAGE_WORDS[name]]);
  return (said === unsaid ? AVERAGE_DEFAULTS[name] : said) as AverageWord<Name>;
}

function count(field: string, average: Average__Output, name: keyof typeof AVERAGE_COUNTS): number {
  const bound = AVERAGE_COUNTS[name];
  const key = snakeCase(name) as 'delay_updates' | 'every' | 'first_index' | 'every_offset';
  const value = average[key];
  if (isWithin(bound, value)) return value;
  throw invalid(`${field}.${key}`, `must be ${bound.text}, got ${value}`);
}

function invalid(field: string, problem: string): ShadowkeepError {
  return invalidField(field, problem, 'INVALID_AVERAGE');
}
