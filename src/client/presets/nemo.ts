import { averageEma } from '../averages/index.js';
import { count, fraction, noEffect, REQUIRED } from './option.js';
import { definePreset } from './preset.js';

/**
 * NeMo's EMAOptimizer clones the weights before the first step. It tests current_step % every_n_steps before it counts,
 * so at the k-th update current_step is k − 1.
 */
export const nemo = definePreset({
  name: 'nemo',
  peer: 'nemo.collections.common.callbacks.EMA',
  buffers: 'copy',
  rule: 'constant decay, start INITIAL, every every_n_steps-th update from the first',
  options: {
    decay: fraction(REQUIRED),
    validate_original_weights: noEffect(false),
    every_n_steps: count(1, 1),
    cpu_offload: noEffect(false),
  },
  expand: ({ name, options: { decay, every_n_steps: every } }) =>
    averageEma(name, { decay, start: 'INITIAL', every, everyOffset: 1 % every }),
});
