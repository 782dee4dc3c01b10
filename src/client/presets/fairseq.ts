import { averageEma } from '../averages/index.js';
import { count, fraction, noEffect, only } from './option.js';
import { definePreset } from './preset.js';

/**
 * fairseq's EMA.step() copies while `updates`, which counts from 1, is below ema_start_update. A counter of its own
 * makes it fold at ema_update_freq, 2 · ema_update_freq …
 */
export const fairseq = definePreset({
  name: 'fairseq',
  peer: 'fairseq.models.ema.EMA',
  buffers: 'copy',
  rule: 'constant decay, start INITIAL, copies before ema_start_update, every ema_update_freq-th',
  options: {
    ema_decay: fraction(0.9999),
    ema_start_update: count(0, 0),
    ema_seed_model: only(null, 'push the weights of that model as the initial ones'),
    ema_update_freq: count(1, 1),
    ema_fp32: noEffect(false),
  },
  expand: ({ name, options: { ema_decay: decay, ema_start_update: start, ema_update_freq: every } }) =>
    averageEma(name, { decay, start: 'INITIAL', delayUpdates: Math.max(0, start - 1), every }),
});
