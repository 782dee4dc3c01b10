import { weightOfDecay } from './decay.js';
import type { Moment } from './spec.js';

/**
 * decay_n = decay · (1 − e^(−n/τ)): 0, 0.0005, 0.001 for n = 0, 1, 2, decay 0.9999 and τ = 2000.
 * Source: ultralytics' ModelEMA, which begins at n = 1.
 */
export function exponentialRampWeight(decay: number, tau: number, { n, elapsed }: Moment): number {
  return weightOfDecay(decay * (1 - Math.exp(-n / tau)), elapsed);
}
