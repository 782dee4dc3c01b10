import { averageEma, averageRatioWarmup } from '../averages/index.js';
import { fraction, REQUIRED, truth } from './option.js';
import { definePreset } from './preset.js';

/** torch_ema's ExponentialMovingAverage.update() counts before it computes the decay, so n = 1 at the first update. */
export const fadelTorchEma = definePreset({
  name: 'fadel-torch-ema',
  peer: 'torch_ema.ExponentialMovingAverage',
  buffers: 'copy',
  rule: 'ratio warm-up from n = 1, or constant decay without use_num_updates; start INITIAL',
  options: { decay: fraction(REQUIRED), use_num_updates: truth(true) },
  expand: ({ name, options: { decay, use_num_updates: isWarmingUp } }) =>
    isWarmingUp
      ? averageRatioWarmup(name, { decay, start: 'INITIAL', firstIndex: 1 })
      : averageEma(name, { decay, start: 'INITIAL' }),
});
