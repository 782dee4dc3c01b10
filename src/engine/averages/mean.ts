/**
 * The plain average of all updates (stochastic weight averaging, Izmailov et al. 2018): v_k = (1/k) Σ θ_i.
 * Weight of the k-th folded update, k = 1, 2 …: 1 / k; the first one is assigned.
 */
export function meanWeight(k: number): number {
  return 1 / k;
}
