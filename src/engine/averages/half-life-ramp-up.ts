import type { Moment } from './spec.js';

/**
 * EDM2's traditional EMA: w = 1 − 2^(−Δ / min(halfLife, ratio · t)), a half-life that grows with the training until it
 * reaches its bound. `halfLife` 0: no bound.
 * Source: NVlabs/edm2 `TraditionalEMA` (`rampup_ratio` 0.09), t after this update.
 */
export function halfLifeRampUpWeight(halfLife: number, ratio: number, { elapsed, time }: Moment): number {
  const bound = halfLife === 0 ? Number.POSITIVE_INFINITY : halfLife;
  return -Math.expm1((-Math.LN2 * elapsed) / Math.min(bound, ratio * time));
}
