import type { AverageSpec, Schedule } from '../../engine/index.js';
import type { Average } from '../../protocol/index.js';

/** An average as it is in the run, each field said. */
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

function scheduleMessage(schedule: Schedule): Partial<Average> {
  switch (schedule.kind) {
    case 'mean':
      return { mean: {} };
    case 'constant':
      return { constant: { decay: schedule.decay } };
    case 'half_life':
      return { half_life: { updates: schedule.updates } };
    case 'ratio_warmup':
      return { ratio_warmup: { decay: schedule.decay, decay_min: schedule.decayMin } };
    case 'inverse_power': {
      const { invGamma, power, decayMin, decayMax } = schedule;
      return { inverse_power: { inv_gamma: invGamma, power, decay_min: decayMin, decay_max: decayMax } };
    }
    case 'exponential_ramp':
      return { exponential_ramp: { decay: schedule.decay, tau: schedule.tau } };
    case 'half_life_fraction':
      return { half_life_fraction: { fraction: schedule.fraction } };
    case 'annealed_momentum':
      return { annealed_momentum: { momentum: schedule.momentum, gamma: schedule.gamma } };
    case 'cosine':
      return { cosine: { decay: schedule.decay, steps: schedule.steps } };
    case 'power_function':
      return { power_function: { gamma: schedule.gamma } };
    case 'half_life_ramp_up':
      return { half_life_ramp_up: { half_life: schedule.halfLife, ratio: schedule.ratio } };
  }
}
