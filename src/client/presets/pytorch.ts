import {
  type AverageOptions,
  averageEma,
  averageInversePower,
  averageMean,
  averageRatioWarmup,
} from '../averages/index.js';
import { averagesBuffers, BUFFERS, count, fraction, noEffect, only, positive, REQUIRED, truth } from './option.js';
import { definePreset } from './preset.js';

/**
 * The class with register, update, apply_shadow and restore, which blends the first update into the registered weights.
 */
export const textbook = definePreset({
  name: 'textbook',
  peer: 'the EMA class with register() and update()',
  buffers: 'copy',
  rule: 'constant decay, start INITIAL',
  options: { decay: fraction(REQUIRED) },
  expand: ({ name, options: { decay } }) => averageEma(name, { decay, start: 'INITIAL' }),
});

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

const FILTER = 'name the tensors with include and exclude, or give them a policy of the run';

/**
 * ema-pytorch's EMA.update(): the k-th call acts when (k − 1) mod update_every = 0. It copies up to k =
 * update_after_step + 1; after that n = k − 1 − update_after_step, which counts all calls. With beta = 1 the copy is
 * never changed.
 */
export const emaPytorch = definePreset({
  name: 'ema-pytorch',
  peer: 'ema_pytorch.EMA',
  buffers: 'average',
  rule: 'inverse power up to beta, n counts pushes; copies for update_after_step updates, every update_every-th',
  options: {
    beta: fraction(0.9999),
    update_after_step: count(0, 100),
    update_every: count(1, 10),
    inv_gamma: positive(1),
    power: positive(2 / 3),
    min_value: fraction(0),
    param_or_buffer_names_no_ema: only(null, BUFFERS),
    ignore_names: only(null, FILTER),
    ignore_startswith_names: only(null, FILTER),
    include_online_model: noEffect(true),
    allow_different_devices: noEffect(false),
    use_foreach: noEffect(false),
    update_model_with_ema_every: only(
      null,
      "the service never writes the trainer's weights: pull the average and load it",
    ),
    update_model_with_ema_beta: noEffect(0),
    forward_method_names: noEffect(null),
    move_ema_to_online_device: noEffect(false),
    coerce_dtype: noEffect(false),
    lazy_init_ema: noEffect(false),
  },
  expand: ({ name, options, refuse }) => {
    const { beta, inv_gamma: invGamma, power, min_value: decayMin } = options;
    if (decayMin > beta) throw refuse('min_value', `at most beta (${beta})`);
    const common = { ...cadence(options.update_after_step, options.update_every), indexUnit: 'PUSHES' } as const;
    if (beta === 1) return averageEma(name, { ...common, decay: 1 });
    return averageInversePower(name, { ...common, invGamma, power, decayMin, decayMax: beta });
  },
});

/**
 * When the cadence selects the first push after the delay, that push is the last copy, as a start from FIRST does. When
 * the cadence passes that push over, the first fold after the delay blends, so the last copy must be a part of the
 * delay. The very first push always falls on the cadence.
 */
function cadence(after: number, every: number): AverageOptions {
  const onCadence = { every, everyOffset: 1 % every };
  return after % every === 0
    ? { ...onCadence, start: 'FIRST', delayUpdates: after }
    : { ...onCadence, start: 'ZEROS', delayUpdates: after + 1, firstIndex: 1 };
}
