import { averageEma, averageRatioWarmup } from '../averages/index.js';
import { count, fraction, optional, REQUIRED, truth } from './option.js';
import { definePreset } from './preset.js';

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
