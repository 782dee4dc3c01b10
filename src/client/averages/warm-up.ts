import { averageOf } from './average-of.js';
import type { AverageOptions, AverageSpec } from './spec.js';

export interface RatioWarmupOptions extends AverageOptions {
  /** Upper bound of the decay, 0 to 1. */
  decay: number;
  /** Lower bound, 0 to `decay`. Default 0. */
  decayMin?: number | undefined;
}

/**
 * decay_n = max(decayMin, min(decay, (1 + n) / (10 + n))).
 * Source: tf.train.ExponentialMovingAverage with `num_updates`; torch_ema and LitEma begin at n = 1, diffusers at 0.
 */
export function averageRatioWarmup(name: string, options: RatioWarmupOptions): AverageSpec {
  return averageOf(name, 'ratio_warmup', options);
}

export interface InversePowerOptions extends AverageOptions {
  /** n at which the warm-up has gone its first half: above 0, default 1. */
  invGamma?: number | undefined;
  /** Above 0, default 2/3; 3/4 for short trainings, 1 for the plain average. */
  power?: number | undefined;
  /** Bounds of the decay, 0 ≤ decayMin ≤ decayMax ≤ 1. Default 0 and 1. */
  decayMin?: number | undefined;
  decayMax?: number | undefined;
}

/**
 * decay_n = clamp(1 − (1 + n / invGamma)^−power, decayMin, decayMax).
 * Source: k-diffusion's EMAWarmup; timm, diffusers and ema-pytorch have it too.
 */
export function averageInversePower(name: string, options: InversePowerOptions = {}): AverageSpec {
  return averageOf(name, 'inverse_power', options);
}

export interface ExponentialRampOptions extends AverageOptions {
  /** What the decay rises to, 0 to 1. */
  decay: number;
  /** Updates in which it gets within 1/e of it, above 0. */
  tau: number;
}

/** decay_n = decay · (1 − e^(−n / tau)). Source: ultralytics' ModelEMA (0.9999 and 2000), which begins at n = 1. */
export function averageExponentialRamp(name: string, options: ExponentialRampOptions): AverageSpec {
  return averageOf(name, 'exponential_ramp', options);
}

export interface HalfLifeFractionOptions extends AverageOptions {
  /** The half-life, as a fraction of all updates so far: above 0, default 0.05. */
  fraction?: number | undefined;
}

/** decay_n = 2^(−1 / (fraction · n)). Source: torchtitan's EMA, which begins at n = 1. */
export function averageHalfLifeFraction(name: string, options: HalfLifeFractionOptions = {}): AverageSpec {
  return averageOf(name, 'half_life_fraction', options);
}

export interface AnnealedMomentumOptions extends AverageOptions {
  /** What the weight falls to, 0 to 1: 1 − decay. */
  momentum: number;
  /** Updates after which it is down to a half, above 0, default 100. */
  gamma?: number | undefined;
}

/** w_n = max(momentum, gamma / (gamma + n)). Source: mmengine's MomentumAnnealingEMA (0.0002 and 100). */
export function averageAnnealedMomentum(name: string, options: AnnealedMomentumOptions): AverageSpec {
  return averageOf(name, 'annealed_momentum', options);
}

export interface CosineOptions extends AverageOptions {
  /** The decay at n = 0, 0 to 1. */
  decay: number;
  /** n at which it reaches 1, where it stays: at least 1. */
  steps: number;
}

/** decay_n = 1 − (1 − decay) · (cos(π n / steps) + 1) / 2. Source: BYOL (Grill et al. 2020), DINO's teacher. */
export function averageCosine(name: string, options: CosineOptions): AverageSpec {
  return averageOf(name, 'cosine', options);
}
