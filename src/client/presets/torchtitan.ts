import { averageEma, averageHalfLifeFraction } from '../averages/index.js';
import { count, fraction, noEffect, only, optional, positive, REQUIRED } from './option.js';
import { definePreset } from './preset.js';

/**
 * torchtitan's EMA holds the initial weights until start_step. It folds at start_step + N, start_step + 2N …, the j-th
 * time with n = j + step_bias.
 */
export const torchtitan = definePreset({
  name: 'torchtitan',
  peer: 'torchtitan.components.ema',
  buffers: 'copy',
  rule: 'half-life fraction from n = 1 + step_bias, or constant decay; start INITIAL, holds until start_step, then every N-th',
  options: {
    enable: only(true, 'leave the average out instead'),
    decay: optional(fraction(REQUIRED)),
    half_life_fraction: positive(0.05),
    start_step: count(0, 0),
    step_bias: count(0, 0),
    update_every_n_steps: count(1, 1),
    offload_to_cpu: noEffect(false),
  },
  expand: ({ name, options }) => {
    const { decay, half_life_fraction: share, start_step: delayUpdates, update_every_n_steps: every } = options;
    const everyOffset = delayUpdates % every;
    const common = { start: 'INITIAL', delayUpdates, delayMode: 'HOLD_UNTIL', every, everyOffset } as const;
    return decay === null
      ? averageHalfLifeFraction(name, { ...common, fraction: share, firstIndex: 1 + options.step_bias })
      : averageEma(name, { ...common, decay });
  },
});
