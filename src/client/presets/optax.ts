import { averageEma } from '../averages/index.js';
import { fraction, REQUIRED, truth } from './option.js';
import { definePreset } from './preset.js';
import { precisionOf, shadowDType } from './shadow-dtype.js';

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
