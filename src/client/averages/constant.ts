import { averageOf } from './average-of.js';
import type { AverageOptions, AverageSpec } from './spec.js';

export interface EmaOptions extends AverageOptions {
  /** β of s ← β·s + (1 − β)·p, 0 to 1. */
  decay: number;
}

/**
 * An exponential moving average with a constant decay: w = 1 − decay. The textbook class blends the first update into
 * the initial weights; for that start from INITIAL and call `pushInitial`. `name` must be unique in the run.
 */
export function averageEma(name: string, options: EmaOptions): AverageSpec {
  return averageOf(name, 'constant', options);
}

export interface HalfLifeOptions extends AverageOptions {
  /** Number of updates (of steps, with PER_STEP) after which an old weight counts half. Above 0. */
  halfLife: number;
}

/**
 * An average with a constant decay, given as its half-life: w = 1 − 2^(−1 / halfLife). Source: MosaicML Composer's EMA.
 */
export function averageHalfLife(name: string, options: HalfLifeOptions): AverageSpec {
  return averageOf(name, 'half_life', { ...options, updates: options.halfLife });
}

/** The plain average of all updates: w_k = 1 / k. Source: stochastic weight averaging (Izmailov et al. 2018). */
export function averageMean(name: string, options: AverageOptions = {}): AverageSpec {
  return averageOf(name, 'mean', options);
}
