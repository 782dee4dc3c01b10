import { averageExponentialRamp } from '../averages/index.js';
import { count, fraction, positive } from './option.js';
import { definePreset } from './preset.js';

/** ultralytics' ModelEMA.update() counts before it computes the decay, so n = updates + 1 at the first update. */
export const ultralytics = definePreset({
  name: 'ultralytics',
  peer: 'ultralytics.utils.torch_utils.ModelEMA',
  buffers: 'average',
  rule: 'exponential ramp from n = 1 + updates, start INITIAL',
  options: { decay: fraction(0.9999), tau: positive(2000), updates: count(0, 0) },
  expand: ({ name, options: { decay, tau, updates } }) =>
    averageExponentialRamp(name, { decay, tau, start: 'INITIAL', firstIndex: 1 + updates }),
});
