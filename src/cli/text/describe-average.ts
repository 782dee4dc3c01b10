import type { AverageSpec } from '../../client/index.js';
import { SCHEDULE_KINDS, type ScheduleKind, scheduleRow } from '../../common/index.js';
import { formatWeight } from './format.js';

/** An average's rule in words: `constant(decay 0.999), start FIRST, at updates 1, 11 …, precision F32`. */
export function describeAverage(average: AverageSpec): string {
  const schedule = SCHEDULE_KINDS.find((field) => average[field] != null);
  const words = [describeSchedule(average, schedule)];
  if (average.bias_correction) words.push('bias corrected');
  words.push(`start ${average.start}`, ...describeDelay(average), ...describeCadence(average));
  if (average.decay_unit === 'PER_STEP') words.push("per trainer's step");
  if (schedule !== undefined && scheduleRow(schedule).isIndexed === true) words.push(describeIndex(average));
  words.push(`precision ${average.precision === 'F64' ? 'F64' : 'F32'}`);
  if (average.include?.length) words.push(`only ${average.include.join(' ')}`);
  if (average.exclude?.length) words.push(`without ${average.exclude.join(' ')}`);
  if (average.preset) words.push(`from ${average.preset}`);
  return words.join(', ');
}

function describeSchedule(average: AverageSpec, schedule: ScheduleKind | undefined): string {
  if (schedule === undefined) return 'unspecified';
  const parameters = Object.entries(average[schedule] ?? {})
    .filter(([name]) => schedule !== 'power_function' || name === 'gamma' || name === 'sigma_rel')
    .filter(([, value]) => value != null)
    .map(([name, value]) => `${name} ${formatWeight(Number(value))}`);
  return parameters.length === 0 ? schedule : `${schedule}(${parameters.join(', ')})`;
}

function describeDelay({ delay_updates: delay = 0, delay_mode: mode }: AverageSpec): string[] {
  if (Number(delay) === 0) return [];
  return [`${mode === 'HOLD_UNTIL' ? 'holds' : 'copies'} for ${delay} updates`];
}

function describeCadence({ every = 1, every_offset: offset = 0 }: AverageSpec): string[] {
  const [period, first] = [Number(every), Number(offset) || Number(every)];
  return period <= 1 ? [] : [`at updates ${first}, ${first + period} …`];
}

function describeIndex({ first_index: first = 0, index_unit: unit }: AverageSpec): string {
  return unit === 'PUSHES' ? `n from ${first} counts all updates` : `n from ${first}`;
}
