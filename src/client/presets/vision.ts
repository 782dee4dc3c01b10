import { SIGMA_REL_MAX } from '../../common/index.js';
import {
  averageEma,
  averageExponentialRamp,
  averageHalfLife,
  averageHalfLifeRampUp,
  averageInversePower,
  averagePowerFunction,
  averageRatioWarmup,
} from '../averages/index.js';
import {
  averagesBuffers,
  count,
  fraction,
  listOf,
  noEffect,
  optional,
  positive,
  precisionOf,
  REQUIRED,
  shadowDType,
  truth,
} from './option.js';
import { definePreset } from './preset.js';

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

const IMAGES_PER_MIMG = 1e6;

/**
 * EDM2's PowerFunctionEMA or, when one of its options is given, TraditionalEMA. TraditionalEMA counts images, which
 * batch_size turns into the trainer's steps.
 */
export const edm2 = definePreset({
  name: 'edm2',
  peer: 'edm2 training.phema.PowerFunctionEMA, or TraditionalEMA with batch_size',
  buffers: 'copy',
  rule: 'one power function per std, start FIRST; or half-life with ramp-up, start INITIAL; per step',
  options: {
    stds: listOf(positive(REQUIRED, SIGMA_REL_MAX), [0.05, 0.1]),
    halflife_Mimg: positive(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY),
    rampup_ratio: { ...optional(positive(REQUIRED)), fallback: 0.09 },
    batch_size: optional(count(1, REQUIRED)),
  },
  expand: ({ name, options, given, refuse }) => {
    const { stds, halflife_Mimg: halfLifeMimg, rampup_ratio: ratio, batch_size: batchSize } = options;
    const decayUnit = 'PER_STEP';
    if (!['halflife_Mimg', 'rampup_ratio', 'batch_size'].some((option) => given.has(option))) {
      const nameOf = (std: number) => (stds.length === 1 ? name : `${name}-${std}`);
      return stds.map((sigmaRel) => averagePowerFunction(nameOf(sigmaRel), { sigmaRel, start: 'FIRST', decayUnit }));
    }
    if (given.has('stds')) throw refuse('stds', 'left out with halflife_Mimg, rampup_ratio or batch_size');
    if (batchSize === null) throw refuse('batch_size', 'given, to turn images into steps');
    const isBounded = Number.isFinite(halfLifeMimg);
    const halfLife = isBounded ? (halfLifeMimg * IMAGES_PER_MIMG) / batchSize : 0;
    const common = { start: 'INITIAL', decayUnit, halfLife } as const;
    if (ratio !== null) return averageHalfLifeRampUp(name, { ...common, ratio });
    if (!isBounded) throw refuse('halflife_Mimg', 'finite where rampup_ratio is none: nothing would ever be folded');
    return averageHalfLife(name, common);
  },
});

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
