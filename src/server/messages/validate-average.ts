import {
  checkPrintable,
  PATTERN_COUNT_MAX,
  PRESET_BYTES_MAX,
  type Precision,
  quote,
  type ShadowkeepError,
} from '../../common/index.js';
import type { AverageSpec } from '../../engine/index.js';
import type { Average__Output } from '../../protocol/index.js';
import { integer, invalidField, known } from './fields.js';
import { checkPattern } from './validate-policies.js';
import { validateSchedule } from './validate-schedule.js';

/** One average of a request whose name has been checked. */
export function validateAverage(field: string, average: Average__Output): AverageSpec {
  const start = known(`${field}.start`, average.start, ['START_UNSPECIFIED', 'ZEROS', 'INITIAL', 'FIRST']);
  if (start === 'START_UNSPECIFIED') throw invalid(`${field}.start`, 'must be ZEROS, INITIAL or FIRST');
  const every = average.every === undefined ? 1 : count(`${field}.every`, average.every, 1);
  const mode = known(`${field}.delay_mode`, average.delay_mode, DELAY_MODES);
  const decayUnit = known(`${field}.decay_unit`, average.decay_unit, DECAY_UNITS);
  const indexUnit = known(`${field}.index_unit`, average.index_unit, INDEX_UNITS);
  const schedule = validateSchedule(field, average);
  if (average.bias_correction) checkBiasCorrection(field, schedule);
  return {
    name: average.name,
    start,
    schedule,
    precision: precisionOf(field, average),
    delayUpdates: count(`${field}.delay_updates`, average.delay_updates, 0),
    delayMode: mode === 'DELAY_MODE_UNSPECIFIED' ? 'COPY_UNTIL' : mode,
    every,
    everyOffset: integer(`${field}.every_offset`, average.every_offset, 0, every - 1, 'INVALID_AVERAGE'),
    decayUnit: decayUnit === 'DECAY_UNIT_UNSPECIFIED' ? 'PER_UPDATE' : decayUnit,
    firstIndex: count(`${field}.first_index`, average.first_index, 0),
    indexUnit: indexUnit === 'INDEX_UNIT_UNSPECIFIED' ? 'UPDATES' : indexUnit,
    biasCorrection: average.bias_correction,
    include: patterns(`${field}.include`, average.include),
    exclude: patterns(`${field}.exclude`, average.exclude),
    preset: presetOf(field, average.preset),
  };
}

const DELAY_MODES = ['DELAY_MODE_UNSPECIFIED', 'COPY_UNTIL', 'HOLD_UNTIL', 'COPY_EACH_UNTIL'] as const;
const DECAY_UNITS = ['DECAY_UNIT_UNSPECIFIED', 'PER_UPDATE', 'PER_STEP'] as const;
const INDEX_UNITS = ['INDEX_UNIT_UNSPECIFIED', 'UPDATES', 'PUSHES'] as const;

/** Without a decay below 1 there is no bias to correct, and the other schedules have no closed form of it. */
function checkBiasCorrection(field: string, schedule: AverageSpec['schedule']): void {
  const isConstant = schedule.kind === 'half_life' || (schedule.kind === 'constant' && schedule.decay < 1);
  if (isConstant) return;
  const found = schedule.kind === 'constant' ? `decay ${schedule.decay}` : schedule.kind;
  throw invalid(`${field}.bias_correction`, `needs a half_life, or a constant decay below 1, got ${found}`);
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

function count(field: string, value: number, min: number): number {
  return integer(field, value, min, Number.MAX_SAFE_INTEGER, 'INVALID_AVERAGE');
}

function invalid(field: string, problem: string): ShadowkeepError {
  return invalidField(field, problem, 'INVALID_AVERAGE');
}
