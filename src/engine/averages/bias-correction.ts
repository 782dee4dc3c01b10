import type { Moment } from './spec.js';

/**
 * w_k = (1 − β) / (1 − β^k) for the constant decay β = e^logDecay: what Adam does to an average from zeros (Kingma and Ba
 * 2014), folded into the weight. The first update is assigned.
 * Source: optax.ema(debias=True); audiocraft's running count is the same. It divides at the end, which differs by roundings.
 */
export function biasCorrectedWeight(logDecay: number, { elapsed, time }: Moment): number {
  return Math.expm1(elapsed * logDecay) / Math.expm1(time * logDecay);
}
