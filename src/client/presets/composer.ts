import { averageEma } from '../averages/index.js';
import { fraction, optional, REQUIRED, textLike } from './option.js';
import { definePreset } from './preset.js';

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
