import { snakeCase } from '../../common/index.js';
import type { AverageSpec, Schedule } from '../../engine/index.js';
import type { Average } from '../../protocol/index.js';

/** The message of an average of a run, with every field set. */
export function averageMessage(average: AverageSpec): Average {
  return {
    name: average.name,
    start: average.start,
    precision: average.precision,
    delay_updates: average.delayUpdates,
    delay_mode: average.delayMode,
    every: average.every,
    every_offset: average.everyOffset,
    decay_unit: average.decayUnit,
    first_index: average.firstIndex,
    index_unit: average.indexUnit,
    bias_correction: average.biasCorrection,
    include: [...average.include],
    exclude: [...average.exclude],
    preset: average.preset,
    ...scheduleMessage(average.schedule),
  };
}

function scheduleMessage({ kind, ...parameters }: Schedule): Partial<Average> {
  return { [kind]: Object.fromEntries(Object.entries(parameters).map(([name, value]) => [snakeCase(name), value])) };
}
