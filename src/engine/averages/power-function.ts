import type { Moment } from './spec.js';

/**
 * EDM2's power-function average (Karras et al. 2023, "Analyzing and Improving the Training Dynamics of Diffusion
 * Models", eq. 127): w = 1 − (1 − Δ/t)^(γ+1), t updates or steps so far, Δ of them since the last fold. The first fold is
 * an assignment; the profile at time t is proportional to τ^γ.
 */
export function powerFunctionWeight(gamma: number, { elapsed, time }: Moment): number {
  return -Math.expm1((gamma + 1) * Math.log1p(-elapsed / time));
}

/**
 * The γ ≥ 0 of a relative width: the largest root of γ³ + 7γ² + (16 − σ⁻²)γ + (12 − σ⁻²) (algorithm 2). Newton's method
 * from 1/σ, which is right of it, falls towards it and never passes it, because the cubic is convex there.
 */
export function gammaOf(sigmaRel: number): number {
  const s2 = sigmaRel ** -2;
  let gamma = 1 / sigmaRel;
  for (;;) {
    const value = ((gamma + 7) * gamma + (16 - s2)) * gamma + (12 - s2);
    const slope = (3 * gamma + 14) * gamma + (16 - s2);
    const next = gamma - value / slope;
    // The last digits move no more, or wander.
    if (!(next < gamma)) return Math.max(0, gamma);
    gamma = next;
  }
}
