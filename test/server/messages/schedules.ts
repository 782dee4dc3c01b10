import type { Schedule } from '../../../src/engine/index.js';

/** All schedules, each as a message and as the engine's object, with parameters that differ from the defaults. */
export const SCHEDULES: readonly (readonly [message: object, schedule: Schedule])[] = [
  [{ constant: { decay: 0.9 } }, { kind: 'constant', decay: 0.9 }],
  [{ mean: {} }, { kind: 'mean' }],
  [{ half_life: { updates: 0.5 } }, { kind: 'half_life', updates: 0.5 }],
  [{ ratio_warmup: { decay: 0.9999, decay_min: 0.25 } }, { kind: 'ratio_warmup', decay: 0.9999, decayMin: 0.25 }],
  [
    { inverse_power: { inv_gamma: 2, power: 0.75, decay_min: 0.125, decay_max: 0.99 } },
    { kind: 'inverse_power', invGamma: 2, power: 0.75, decayMin: 0.125, decayMax: 0.99 },
  ],
  [{ exponential_ramp: { decay: 0.9999, tau: 2_000 } }, { kind: 'exponential_ramp', decay: 0.9999, tau: 2_000 }],
  [{ half_life_fraction: { fraction: 0.05 } }, { kind: 'half_life_fraction', fraction: 0.05 }],
  [
    { annealed_momentum: { momentum: 0.0002, gamma: 100 } },
    { kind: 'annealed_momentum', momentum: 0.0002, gamma: 100 },
  ],
  [{ cosine: { decay: 0.996, steps: 1_000 } }, { kind: 'cosine', decay: 0.996, steps: 1_000 }],
  [{ power_function: { gamma: 6.94 } }, { kind: 'power_function', gamma: 6.94 }],
  [{ half_life_ramp_up: { half_life: 500, ratio: 0.09 } }, { kind: 'half_life_ramp_up', halfLife: 500, ratio: 0.09 }],
];

/** The kind of a schedule: the name of the field that its message has. */
export function kindOf(message: object): string {
  return Object.keys(message)[0] ?? '';
}
