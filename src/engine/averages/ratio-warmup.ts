import { weightOfDecay } from './decay.js';
import type { Moment } from './spec.js';

/**
 * decay_n = max(decayMin, min(decay, (1 + n) / (10 + n))): 0.1, 0.1818…, 0.25 for n = 0, 1, 2.
 * Source: tf.train.ExponentialMovingAverage with `num_updates` (n as it is passed); torch_ema and LitEma begin at n = 1,
 * diffusers copies at n = 0.
 */
export function ratioWarmupWeight(decay: number, decayMin: number, { n, elapsed }: Moment): number {
  return weightOfDecay(Math.max(decayMin, Math.min(decay, (1 + n) / (10 + n))), elapsed);
}
