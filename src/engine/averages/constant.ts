import { weightOfDecay } from './decay.js';
import type { Moment } from './spec.js';

/**
 * The textbook exponential moving average with a constant decay β: v_k = β v_{k−1} + (1 − β) θ_k.
 * w = 1 − β. β = 1 holds, β = 0 assigns.
 */
export function constantWeight(decay: number, { elapsed }: Moment): number {
  return weightOfDecay(decay, elapsed);
}
