import { averageEma, averageInversePower } from '../averages/index.js';
import { averagesBuffers, count, fraction, noEffect, positive, truth } from './option.js';
import { definePreset } from './preset.js';
import { precisionOf, shadowDType } from './shadow-dtype.js';

/** timm's ModelEmaV2 blends the first update into the initial weights. */
export const timmV2 = definePreset({
  name: 'timm-v2',
  peer: 'timm.utils.ModelEmaV2',
  buffers: 'average',
  rule: 'constant decay, start INITIAL',
  options: { decay: fraction(0.9999), device: noEffect(null) },
  expand: ({ name, options: { decay } }) => averageEma(name, { decay, start: 'INITIAL' }),
});

/**
 * timm's ModelEmaV3.get_decay(): at the k-th update n = k − update_after_step − 1, and n ≤ 0 copies, whatever min_decay
 * is. Without warm-up the decay is constant, and min_decay does nothing.
 */
export const timmV3 = definePreset({
  name: 'timm-v3',
  peer: 'timm.utils.ModelEmaV3, update(model, step=1, 2 …)',
  buffers: 'average',
  rule: 'constant decay, or inverse power with use_warmup; start FIRST, copies for update_after_step updates',
  options: {
    decay: fraction(0.9999),
    min_decay: fraction(0),
    update_after_step: count(0, 0),
    use_warmup: truth(false),
    warmup_gamma: positive(1),
    warmup_power: positive(2 / 3),
    device: noEffect(null),
    dtype: shadowDType(),
    stochastic_rounding: noEffect(true),
    stochastic_rounding_seed: noEffect(0),
    foreach: noEffect(true),
    exclude_buffers: averagesBuffers(false),
  },
  expand: ({ name, options, refuse }) => {
    const { decay, min_decay: decayMin, warmup_gamma: invGamma, warmup_power: power } = options;
    const common = { start: 'FIRST', delayUpdates: options.update_after_step, ...precisionOf(options.dtype) } as const;
    if (!options.use_warmup) return averageEma(name, { ...common, decay });
    if (decayMin > decay) throw refuse('min_decay', `at most decay (${decay})`);
    return averageInversePower(name, { ...common, invGamma, power, decayMin, decayMax: decay });
  },
});
