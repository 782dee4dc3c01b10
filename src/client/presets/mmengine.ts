import { averageAnnealedMomentum, averageEma, averageMean } from '../averages/index.js';
import { averagesBuffers, count, fraction, noEffect, positive, word } from './option.js';
import { definePreset } from './preset.js';

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
