import type { AverageSpec } from '../../client/index.js';
import { scheduleRow, snakeCase } from '../../common/index.js';
import { formatWeight } from './format.js';

/** The rule of an average in words, such as `constant(decay 0.999), start FIRST, at updates 1, 11 …, precision F32`. */
export function describeAverage(average: AverageSpec): string {
  const words = [describeSchedule(average)];
  if (average.biasCorrection) words.push('bias corrected');
  words.push(`start ${average.start}`, ...describeDelay(average), ...describeCadence(average));
  if (average.decayUnit === 'PER_STEP') words.push("per trainer's step");
  if (scheduleRow(average.schedule.kind).isIndexed === true) words.push(describeIndex(average));
  words.push(`precision ${average.precision ?? 'F32'}`);
  if (average.include?.length) words.push(`only ${average.include.join(' ')}`);
  if (average.exclude?.length) words.push(`without ${average.exclude.join(' ')}`);
  if (average.preset) words.push(`from ${average.preset}`);
  return words.join(', ');
}

/** The schedule in words, with the proto's names for its parameters, which the command line uses too. */
function describeSchedule({ schedule: { kind, ...parameters } }: AverageSpec): string {
  const words = Object.entries(parameters).map(([name, value]) => `${snakeCase(name)} ${formatWeight(Number(value))}`);
  return words.length === 0 ? kind : `${kind}(${words.join(', ')})`;
}

function describeDelay({ delayUpdates = 0, delayMode }: AverageSpec): string[] {
  if (delayUpdates === 0) return [];
  return [`${delayMode === 'HOLD_UNTIL' ? 'holds' : 'copies'} for ${delayUpdates} updates`];
}

function describeCadence({ every = 1, everyOffset = 0 }: AverageSpec): string[] {
  const first = everyOffset || every;
  return every <= 1 ? [] : [`at updates ${first}, ${first + every} …`];
}

function describeIndex({ firstIndex = 0, indexUnit }: AverageSpec): string {
  return indexUnit === 'PUSHES' ? `n from ${firstIndex} counts all updates` : `n from ${firstIndex}`;
}
