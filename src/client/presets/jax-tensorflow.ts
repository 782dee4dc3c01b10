import { averageEma, averageRatioWarmup } from '../averages/index.js';
import { count, fraction, only, optional, precisionOf, REQUIRED, shadowDType, truth } from './option.js';
import { definePreset } from './preset.js';

/** optax.ema fed with parameters. It begins with zeros, and divides by 1 − decay^k when it debiases. */
export const optax = definePreset({
  name: 'optax',
  peer: 'optax.ema',
  buffers: 'copy',
  rule: 'constant decay, start ZEROS, bias correction with debias',
  options: { decay: fraction(REQUIRED), debias: truth(true), accumulator_dtype: shadowDType() },
  expand: ({ name, options: { decay, debias: biasCorrection, accumulator_dtype: dtype }, refuse }) => {
    if (biasCorrection && decay === 1) throw refuse('decay', 'below 1 with debias, which divides by 1 - decay^k');
    return averageEma(name, { decay, start: 'ZEROS', biasCorrection, ...precisionOf(dtype) });
  },
});

/** TensorFlow's apply() starts from the initial values of variables, and from zeros for tensors, with zero_debias. */
export const tensorflow = definePreset({
  name: 'tensorflow',
  peer: 'tf.train.ExponentialMovingAverage; num_updates is its value at the first apply()',
  buffers: 'copy',
  rule: 'constant decay, or ratio warm-up from n = num_updates; start INITIAL; ZEROS and bias correction with zero_debias',
  options: { decay: fraction(REQUIRED), num_updates: optional(count(0, REQUIRED)), zero_debias: truth(false) },
  expand: ({ name, options: { decay, num_updates: firstIndex, zero_debias: biasCorrection }, refuse }) => {
    if (firstIndex === null) {
      if (!biasCorrection) return averageEma(name, { decay, start: 'INITIAL' });
      if (decay === 1) throw refuse('decay', 'below 1 with zero_debias, which divides by 1 - decay^k');
      return averageEma(name, { decay, start: 'ZEROS', biasCorrection });
    }
    if (biasCorrection)
      throw refuse('zero_debias', 'false with num_updates: only a constant decay has a bias to correct');
    return averageRatioWarmup(name, { decay, start: 'INITIAL', firstIndex });
  },
});

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
