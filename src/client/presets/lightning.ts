import { averageEma } from '../averages/index.js';
import { averagesBuffers, count, fraction, noEffect, only, optional, REQUIRED } from './option.js';
import { definePreset } from './preset.js';

/**
 * Lightning's EMAWeightAveraging.should_update() gets a step index that is k − 1 at the k-th update, and takes the
 * index modulo update_every_n_steps, counted from the beginning and not from update_starting_at_step. Until that step
 * its AveragedModel holds the initial weights; the first update is copied.
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
