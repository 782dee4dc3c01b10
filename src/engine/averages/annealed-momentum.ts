import { weightOfDecay } from './decay.js';
import type { Moment } from './spec.js';

/**
 * w_n = max(momentum, γ / (γ + n)), a momentum in the sense of 1 − decay: 1, 0.990, 0.980 for n = 0, 1, 2 and γ = 100.
 * Source: mmengine's MomentumAnnealingEMA, n from 0.
 */
export function annealedMomentumWeight(momentum: number, gamma: number, { n, elapsed }: Moment): number {
  const weight = Math.max(momentum, gamma / (gamma + n));
  return elapsed === 1 ? weight : weightOfDecay(1 - weight, elapsed);
}
