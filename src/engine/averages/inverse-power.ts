import { weightOfDecay } from './decay.js';
import type { Moment } from './spec.js';

/**
 * decay_n = clamp(1 − (1 + n / invGamma)^−power, decayMin, decayMax): 0, 0.370, 0.519 for n = 0, 1, 2, invGamma 1 and
 * power 2/3. With power 1 and no bounds it is the plain average.
 * Source: k-diffusion's EMAWarmup; the same in timm, diffusers and ema-pytorch, which copy at n = 0 whatever decayMin is.
 */
export function inversePowerWeight(
  rule: { invGamma: number; power: number; decayMin: number; decayMax: number },
  { n, elapsed }: Moment,
): number {
  const decay = 1 - (1 + n / rule.invGamma) ** -rule.power;
  return weightOfDecay(Math.max(rule.decayMin, Math.min(rule.decayMax, decay)), elapsed);
}
