import { averageInversePower, averageRatioWarmup } from '../averages/index.js';
import { count, fraction, noEffect, positive, truth } from './option.js';
import { definePreset } from './preset.js';

/**
 * diffusers' EMAModel.get_decay(): at the k-th update n = k − update_after_step − 1, and n ≤ 0 copies, whatever
 * min_decay is. There is always a warm-up.
 */
export const diffusers = definePreset({
  name: 'diffusers',
  peer: 'diffusers.training_utils.EMAModel',
  buffers: 'copy',
  rule: 'ratio warm-up, or inverse power with use_ema_warmup; start FIRST, copies for update_after_step updates',
  options: {
    decay: fraction(0.9999),
    min_decay: fraction(0),
    update_after_step: count(0, 0),
    use_ema_warmup: truth(false),
    inv_gamma: positive(1),
    power: positive(2 / 3),
    foreach: noEffect(false),
    model_cls: noEffect(null),
    model_config: noEffect(null),
  },
  expand: ({ name, options, refuse }) => {
    const { decay, min_decay: decayMin, inv_gamma: invGamma, power } = options;
    if (decayMin > decay) throw refuse('min_decay', `at most decay (${decay})`);
    const common = { start: 'FIRST', delayUpdates: options.update_after_step } as const;
    return options.use_ema_warmup
      ? averageInversePower(name, { ...common, invGamma, power, decayMin, decayMax: decay })
      : averageRatioWarmup(name, { ...common, decay, decayMin });
  },
});
