import { weightOfDecay } from './decay.js';
import type { Moment } from './spec.js';

/**
 * decay_n = 1 − (1 − decay) · (cos(π n / steps) + 1) / 2: from `decay` at n = 0 to 1 at n = steps, where it stays.
 * Source: BYOL (Grill et al. 2020) and DINO's teacher momentum, n from 0.
 */
export function cosineWeight(decay: number, steps: number, { n, elapsed }: Moment): number {
  const weight = ((1 - decay) * (Math.cos((Math.PI * Math.min(n, steps)) / steps) + 1)) / 2;
  return elapsed === 1 ? weight : weightOfDecay(1 - weight, elapsed);
}
