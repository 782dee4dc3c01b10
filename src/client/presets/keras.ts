import { averageEma } from '../averages/index.js';
import { fraction, only } from './option.js';
import { definePreset } from './preset.js';

/** Keras' optimizer uses a momentum of 0 at iteration 0, so the first update is copied. */
export const keras = definePreset({
  name: 'keras',
  peer: 'keras.optimizers.Optimizer(use_ema=True)',
  buffers: 'copy',
  rule: 'constant decay, start FIRST',
  options: {
    ema_momentum: fraction(0.99),
    ema_overwrite_frequency: only(null, "the service never writes the trainer's weights: pull the average and load it"),
  },
  expand: ({ name, options: { ema_momentum: decay } }) => averageEma(name, { decay, start: 'FIRST' }),
});
