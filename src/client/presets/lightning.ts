import { averageEma } from '../averages/index.js';
import { averagesBuffers, count, fraction, noEffect, only, optional, REQUIRED } from './option.js';
import { definePreset } from './preset.js';

/**
 * EMAWeightAveraging.should_update() has a step index from 0, the k-th update has k − 1, and takes its modulo of all steps,
 * not of those since the start. Its AveragedModel holds the initial weights until then and copies the first update.
 */
export const lightning = definePreset({
  name: 'lightning',
  peer: 'lightning.pytorch.callbacks.EMAWeightAveraging',
  buffers: 'average',
  rule: 'constant decay, start FIRST, holds for update_starting_at_step updates, every update_every_n_steps-th',
  options: {
    device: noEffect(null),
    use_buffers: averagesBuffers(true),
    decay: fraction(0.999),
    update_every_n_steps: count(1, 1),
    update_starting_at_step: optional(count(0, REQUIRED)),
    update_starting_at_epoch: only(null, 'the service knows no epochs: give update_starting_at_step'),
  },
  expand: ({ name, options: { decay, update_every_n_steps: every, update_starting_at_step: start } }) =>
    averageEma(name, {
      decay,
      start: 'FIRST',
      delayUpdates: start ?? 0,
      delayMode: 'HOLD_UNTIL',
      every,
      everyOffset: 1 % every,
    }),
});
