import type { Precision } from '../common/index.js';
import type { AverageSpec } from './types.js';

/** What a shadow is before the first folded update: 0, the registered weights, or the first update itself. */
export type AverageStart = 'ZEROS' | 'INITIAL' | 'FIRST';

export interface AverageOptions {
  /** F32 (default) or F64: the dtype of the shadow and of its arithmetic. */
  precision?: Precision | undefined;
}

export interface EmaOptions extends AverageOptions {
  /** β of s ← β·s + (1 − β)·p, 0 to 1. */
  decay: number;
  /** Default INITIAL, which needs `pushInitial` before the first update. */
  start?: AverageStart | undefined;
}

/** Exponential moving average with a constant decay. `name` is unique in the run. */
export function averageEma(name: string, options: EmaOptions): AverageSpec {
  const { decay, start = 'INITIAL', precision = 'F32' } = options;
  return { name, start, precision: precision, constant: { decay } };
}

/** Plain average of all updates (stochastic weight averaging). `name` is unique in the run. */
export function averageMean(name: string, options: AverageOptions = {}): AverageSpec {
  const { precision = 'F32' } = options;
  return { name, start: 'FIRST', precision: precision, mean: {} };
}
