import { averageInversePower } from '../averages/index.js';
import { count, fraction, positive } from './option.js';
import { definePreset } from './preset.js';

/**
 * k-diffusion calls EMAWarmup.get_value() before step(), so at the k-th update n = max(0, k − 1 − start_at). min_value
 * applies at n = 0 too.
 */
export const kDiffusion = definePreset({
  name: 'k-diffusion',
  peer: 'k_diffusion.utils.EMAWarmup with ema_update()',
  buffers: 'copy',
  rule: 'inverse power, start INITIAL, copies for start_at updates',
  options: {
    inv_gamma: positive(1),
    power: positive(1),
    min_value: fraction(0),
    max_value: fraction(1),
    start_at: count(0, 0),
  },
  expand: ({ name, options, refuse }) => {
    const { inv_gamma: invGamma, power, min_value: decayMin, max_value: decayMax, start_at: delayUpdates } = options;
    if (decayMin > decayMax) throw refuse('min_value', `at most max_value (${decayMax})`);
    if (decayMin > 0 && delayUpdates > 0) {
      throw refuse('min_value', '0 with start_at, which would have to blend by it until then instead of copying');
    }
    return averageInversePower(name, { invGamma, power, decayMin, decayMax, start: 'INITIAL', delayUpdates });
  },
});
