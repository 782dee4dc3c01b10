import { averageEma, averageMean } from '../averages/index.js';
import { averagesBuffers, fraction, noEffect } from './option.js';
import { definePreset } from './preset.js';

/** The first update_parameters() of torch/optim/swa_utils.py copies, whatever the averaging function. */
export const torchEma = definePreset({
  name: 'torch-ema',
  peer: 'torch.optim.swa_utils.AveragedModel with get_ema_multi_avg_fn(decay)',
  buffers: 'copy',
  rule: 'constant decay, start FIRST',
  options: { decay: fraction(0.999), device: noEffect(null), use_buffers: averagesBuffers(false) },
  expand: ({ name, options: { decay } }) => averageEma(name, { decay, start: 'FIRST' }),
});

export const torchSwa = definePreset({
  name: 'torch-swa',
  peer: 'torch.optim.swa_utils.AveragedModel',
  buffers: 'copy',
  rule: 'plain average, start FIRST',
  options: { device: noEffect(null), use_buffers: averagesBuffers(false) },
  expand: ({ name }) => averageMean(name),
});
