/**
 * The textbook exponential moving average with a constant decay β: v_k = β v_{k−1} + (1 − β) θ_k.
 * Weight of the k-th folded update, k = 1, 2 …: 1 − β. β = 1 holds, β = 0 assigns.
 */
export function constantWeight(decay: number): number {
  return 1 - decay;
}
