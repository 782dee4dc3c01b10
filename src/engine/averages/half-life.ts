import type { Moment } from './spec.js';

/**
 * A constant decay, by the number of updates after which an old weight counts half: w = 1 − 2^(−1/h).
 * Source: MosaicML Composer's EMA (`half_life`), decay 2^(−N/h) for one fold every N updates.
 */
export function halfLifeWeight(updates: number, { elapsed }: Moment): number {
  return -Math.expm1((-Math.LN2 * elapsed) / updates);
}
