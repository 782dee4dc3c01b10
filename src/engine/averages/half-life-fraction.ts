import { weightOfDecay } from './decay.js';
import type { Moment } from './spec.js';

/**
 * A half-life that is a fraction of all updates so far: decay_n = 2^(−1 / (fraction · n)); n = 0 assigns.
 * Source: torchtitan's EMA (`half_life_fraction` 0.05), which begins at n = 1: decay 2^−20, nearly a copy.
 */
export function halfLifeFractionWeight(fraction: number, { n, elapsed }: Moment): number {
  return weightOfDecay(2 ** (-1 / (fraction * n)), elapsed);
}
