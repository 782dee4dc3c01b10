import { averageOf } from './average-of.js';
import type { AverageOptions, AverageSpec } from './spec.js';

export interface EmaOptions extends AverageOptions {
  /** β of s ← β·s + (1 − β)·p, 0 to 1. */
  decay: number;
}

/**
 * Exponential moving average with a constant decay: w = 1 − decay. The textbook class blends the first update into the
 * initial weights: start from INITIAL, and `pushInitial`. `name` is unique in the run.
 */
export function averageEma(name: string, options: EmaOptions): AverageSpec {
  return averageOf(name, 'constant', options);
}

export interface HalfLifeOptions extends AverageOptions {
  /** Updates (steps, with PER_STEP) after which an old weight counts half, above 0. */
  halfLife: number;
}

/** A constant decay by its half-life: w = 1 − 2^(−1 / halfLife). Source: MosaicML Composer's EMA. */
export function averageHalfLife(name: string, options: HalfLifeOptions): AverageSpec {
  return averageOf(name, 'half_life', { ...options, updates: options.halfLife });
}

/** Plain average of all updates: w = 1 / k at the k-th. Source: stochastic weight averaging (Izmailov et al. 2018). */
export function averageMean(name: string, options: AverageOptions = {}): AverageSpec {
  return averageOf(name, 'mean', options);
}
