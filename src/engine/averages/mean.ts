import type { Moment } from './spec.js';

/**
 * The plain average of all updates (stochastic weight averaging, Izmailov et al. 2018): v_k = (1/k) Σ θ_i.
 * w = 1 / k at the k-th folded update; the first one is assigned. Per step: each weighs as many steps as it stands for.
 */
export function meanWeight({ elapsed, time }: Moment): number {
  return elapsed / time;
}
