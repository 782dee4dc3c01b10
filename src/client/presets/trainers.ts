import { averageAnnealedMomentum, averageEma, averageHalfLifeFraction, averageMean } from '../averages/index.js';
import {
  averagesBuffers,
  count,
  fraction,
  noEffect,
  only,
  optional,
  positive,
  REQUIRED,
  textLike,
  word,
} from './option.js';
import { definePreset } from './preset.js';

/**
 * Lightning's EMAWeightAveraging.should_update() gets a step index that is k − 1 at the k-th update, and takes the
 * index modulo update_every_n_steps, counted from the beginning and not from update_starting_at_step. Until that step
 * its AveragedModel holds the initial weights; the first update is copied.
 */
export const lightning = definePreset({
  name: 'lightning',
  peer: 'lightning.pytorch.callbacks.EMAWeightAveraging',
  buffers: 'average',
  rule: 'constant decay, start FIRST, holds for update_starting_at_step updates, every update_every_n_steps-th',
  options: {
    device: noEffect(null),
    use_buffers: averagesBuffers(true),
    decay: fraction(0.999),
    update_every_n_steps: count(1, 1),
    update_starting_at_step: optional(count(0, REQUIRED)),
    update_starting_at_epoch: only(null, 'the service knows no epochs: give update_starting_at_step'),
  },
  expand: ({ name, options: { decay, update_every_n_steps: every, update_starting_at_step: start } }) =>
    averageEma(name, {
      decay,
      start: 'FIRST',
      delayUpdates: start ?? 0,
      delayMode: 'HOLD_UNTIL',
      every,
      everyOffset: 1 % every,
    }),
});

const BATCHES = /^([1-9]\d{0,14})ba$/;
const START = /^(0+(\.0*)?dur|\d{1,15}ba)$/;
const UNIT = 'the service counts batches, not epochs or durations';

/**
 * Composer's EMA.match() clones the model at the first BATCH_END whose batch number has reached ema_start, then folds
 * at each multiple of update_interval. The batch of the clone is no such multiple unless ema_start is one. Before the
 * clone Composer has no EMA; the service has copies of the weights.
 */
export const composer = definePreset({
  name: 'composer',
  peer: 'composer.algorithms.EMA',
  buffers: 'average',
  rule: 'constant decay 2^(-update_interval / half_life), copies until ema_start, then every update_interval-th',
  options: {
    half_life: { ...optional(textLike(BATCHES, `a time of at least 1ba (${UNIT})`, REQUIRED)), fallback: '1000ba' },
    smoothing: optional(fraction(REQUIRED)),
    ema_start: textLike(START, `0.0dur or a time as 100ba (${UNIT})`, '0.0dur'),
    update_interval: optional(textLike(BATCHES, `a time of at least 1ba (${UNIT})`, REQUIRED)),
  },
  expand: ({ name, options, refuse }) => {
    const { half_life: halfLife, smoothing, ema_start: emaStart, update_interval: interval } = options;
    if (halfLife === null && smoothing === null) throw refuse('half_life', 'given where smoothing is none');
    if (halfLife !== null && smoothing !== null) throw refuse('half_life', 'none where smoothing is given');
    const every = interval === null ? 1 : batches(interval);
    const cloneAt = Math.max(1, emaStart.endsWith('ba') ? batches(emaStart) : 0);
    const decay = smoothing ?? 2 ** -(every / batches(halfLife!));
    // A clone on a multiple of the interval is the first fold; any other clone is the last copy of the delay.
    const isFold = cloneAt % every === 0;
    const start = isFold ? 'FIRST' : 'ZEROS';
    const delayUpdates = isFold ? cloneAt - 1 : cloneAt;
    return averageEma(name, { decay, start, delayUpdates, delayMode: 'COPY_EACH_UNTIL', every });
  },
});

function batches(time: string): number {
  return Number(time.slice(0, -'ba'.length));
}

/**
 * NeMo's EMAOptimizer clones the weights before the first step. It tests current_step % every_n_steps before it counts,
 * so at the k-th update current_step is k − 1.
 */
export const nemo = definePreset({
  name: 'nemo',
  peer: 'nemo.collections.common.callbacks.EMA',
  buffers: 'copy',
  rule: 'constant decay, start INITIAL, every every_n_steps-th update from the first',
  options: {
    decay: fraction(REQUIRED),
    validate_original_weights: noEffect(false),
    every_n_steps: count(1, 1),
    cpu_offload: noEffect(false),
  },
  expand: ({ name, options: { decay, every_n_steps: every } }) =>
    averageEma(name, { decay, start: 'INITIAL', every, everyOffset: 1 % every }),
});

/**
 * torchtitan's EMA holds the initial weights until start_step. It folds at start_step + N, start_step + 2N …, the j-th
 * time with n = j + step_bias.
 */
export const torchtitan = definePreset({
  name: 'torchtitan',
  peer: 'torchtitan.components.ema',
  buffers: 'copy',
  rule: 'half-life fraction from n = 1 + step_bias, or constant decay; start INITIAL, holds until start_step, then every N-th',
  options: {
    enable: only(true, 'leave the average out instead'),
    decay: optional(fraction(REQUIRED)),
    half_life_fraction: positive(0.05),
    start_step: count(0, 0),
    step_bias: count(0, 0),
    update_every_n_steps: count(1, 1),
    offload_to_cpu: noEffect(false),
  },
  expand: ({ name, options }) => {
    const { decay, half_life_fraction: share, start_step: delayUpdates, update_every_n_steps: every } = options;
    const everyOffset = delayUpdates % every;
    const common = { start: 'INITIAL', delayUpdates, delayMode: 'HOLD_UNTIL', every, everyOffset } as const;
    return decay === null
      ? averageHalfLifeFraction(name, { ...common, fraction: share, firstIndex: 1 + options.step_bias })
      : averageEma(name, { ...common, decay });
  },
});

/**
 * fairseq's EMA.step() copies while `updates`, which counts from 1, is below ema_start_update. A counter of its own
 * makes it fold at ema_update_freq, 2 · ema_update_freq …
 */
export const fairseq = definePreset({
  name: 'fairseq',
  peer: 'fairseq.models.ema.EMA',
  buffers: 'copy',
  rule: 'constant decay, start INITIAL, copies before ema_start_update, every ema_update_freq-th',
  options: {
    ema_decay: fraction(0.9999),
    ema_start_update: count(0, 0),
    ema_seed_model: only(null, 'push the weights of that model as the initial ones'),
    ema_update_freq: count(1, 1),
    ema_fp32: noEffect(false),
  },
  expand: ({ name, options: { ema_decay: decay, ema_start_update: start, ema_update_freq: every } }) =>
    averageEma(name, { decay, start: 'INITIAL', delayUpdates: Math.max(0, start - 1), every }),
});

/** The options that each type of averaged model has in addition to the common ones. */
const OWN_OPTIONS = { ema: ['momentum'], annealing: ['momentum', 'gamma'], swa: [] } as const;

/**
 * mmengine's EMAHook copies the weights before iteration begin_iter, counted from 1, and updates its averaged model
 * from then on. The averaged model's own steps begin there: it copies at step 0, folds at multiples of interval, and
 * anneals by the number of all steps, folded or not.
 */
export const mmengine = definePreset({
  name: 'mmengine',
  peer: 'mmengine EMAHook with ExponentialMovingAverage, MomentumAnnealingEMA or StochasticWeightAverage',
  buffers: 'copy',
  rule: 'constant decay 1 - momentum, annealed momentum, or plain average; start FIRST, copies before begin_iter, every interval-th',
  options: {
    type: word(['ema', 'annealing', 'swa'], 'ema'),
    momentum: fraction(0.0002),
    gamma: positive(100),
    interval: count(1, 1),
    device: noEffect(null),
    update_buffers: averagesBuffers(false),
    begin_iter: count(0, 0),
  },
  expand: ({ name, options, given, refuse }) => {
    const { type, momentum, gamma, interval: every, begin_iter: beginIter } = options;
    for (const option of ['momentum', 'gamma'] as const) {
      const isOwn = (OWN_OPTIONS[type] as readonly string[]).includes(option);
      if (given.has(option) && !isOwn) throw refuse(option, `left out with type=${type}, which has none`);
    }
    const firstIter = Math.max(1, beginIter);
    const common = {
      start: 'FIRST',
      delayUpdates: firstIter - 1,
      delayMode: 'COPY_EACH_UNTIL',
      every,
      everyOffset: firstIter % every,
    } as const;
    if (type === 'swa') return averageMean(name, common);
    if (type === 'ema') return averageEma(name, { ...common, decay: 1 - momentum });
    return averageAnnealedMomentum(name, { ...common, momentum, gamma, indexUnit: 'PUSHES' });
  },
});
