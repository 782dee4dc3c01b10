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

export interface RatioWarmupOptions extends AverageOptions {
  /** Upper bound of the decay, 0 to 1. */
  decay: number;
  /** Lower bound of the decay, 0 to `decay`. Default 0. */
  decayMin?: number | undefined;
}

/**
 * An average whose decay warms up: decay_n = max(decayMin, min(decay, (1 + n) / (10 + n))).
 *
 * Source: tf.train.ExponentialMovingAverage with `num_updates`; torch_ema and LitEma begin at n = 1, diffusers at 0.
 */
export function averageRatioWarmup(name: string, options: RatioWarmupOptions): AverageSpec {
  return averageOf(name, 'ratio_warmup', options);
}

export interface InversePowerOptions extends AverageOptions {
  /** The scale of the index n: a larger value warms up more slowly. Above 0, default 1. */
  invGamma?: number | undefined;
  /** The exponent. Above 0, default 2/3; 3/4 suits short trainings, and 1 gives the plain average. */
  power?: number | undefined;
  /** Bounds of the decay, 0 ≤ decayMin ≤ decayMax ≤ 1. Default 0 and 1. */
  decayMin?: number | undefined;
  decayMax?: number | undefined;
}

/**
 * An average whose decay warms up: decay_n = clamp(1 − (1 + n / invGamma)^−power, decayMin, decayMax).
 *
 * Source: k-diffusion's EMAWarmup; timm, diffusers and ema-pytorch have it too.
 */
export function averageInversePower(name: string, options: InversePowerOptions = {}): AverageSpec {
  return averageOf(name, 'inverse_power', options);
}

export interface ExponentialRampOptions extends AverageOptions {
  /** The decay that the ramp rises to, 0 to 1. */
  decay: number;
  /** Number of updates after which the ramp still lacks 1/e of `decay`. Above 0. */
  tau: number;
}

/**
 * An average whose decay warms up: decay_n = decay · (1 − e^(−n / tau)).
 *
 * Source: ultralytics' ModelEMA (decay 0.9999, tau 2000), which begins at n = 1.
 */
export function averageExponentialRamp(name: string, options: ExponentialRampOptions): AverageSpec {
  return averageOf(name, 'exponential_ramp', options);
}

export interface HalfLifeFractionOptions extends AverageOptions {
  /** The half-life as a fraction of all updates so far. Above 0, default 0.05. */
  fraction?: number | undefined;
}

/**
 * An average whose half-life grows with the training: decay_n = 2^(−1 / (fraction · n)).
 *
 * Source: torchtitan's EMA, which begins at n = 1.
 */
export function averageHalfLifeFraction(name: string, options: HalfLifeFractionOptions = {}): AverageSpec {
  return averageOf(name, 'half_life_fraction', options);
}

export interface AnnealedMomentumOptions extends AverageOptions {
  /** The weight w = 1 − decay that the schedule falls to, 0 to 1. */
  momentum: number;
  /** Number of updates after which the weight is down to a half. Above 0, default 100. */
  gamma?: number | undefined;
}

/**
 * An average whose weight falls: w_n = max(momentum, gamma / (gamma + n)).
 *
 * Source: mmengine's MomentumAnnealingEMA (momentum 0.0002, gamma 100).
 */
export function averageAnnealedMomentum(name: string, options: AnnealedMomentumOptions): AverageSpec {
  return averageOf(name, 'annealed_momentum', options);
}

export interface CosineOptions extends AverageOptions {
  /** The decay at n = 0, 0 to 1. */
  decay: number;
  /** The index n at which the decay reaches 1, where it stays. At least 1. */
  steps: number;
}

/**
 * An average whose decay rises to 1: decay_n = 1 − (1 − decay) · (cos(π n / steps) + 1) / 2.
 *
 * Source: BYOL (Grill et al. 2020), DINO's teacher.
 */
export function averageCosine(name: string, options: CosineOptions): AverageSpec {
  return averageOf(name, 'cosine', options);
}

/** The options of a power function. Its width is given as exactly one of `gamma` and `sigmaRel`. */
export type PowerFunctionOptions = AverageOptions &
  (
    | { /** Exponent, at least 0. */ gamma: number; sigmaRel?: undefined }
    | {
        /** Standard deviation of the profile relative to its length, above 0, to 1 / √12. */ sigmaRel: number;
        gamma?: undefined;
      }
  );

/**
 * EDM2's power function: w = 1 − (1 − Δ / t)^(γ + 1). With `decayUnit: 'PER_STEP'` the average does not depend on how
 * often the trainer pushes.
 *
 * Source: Karras et al. 2023, "Analyzing and Improving the Training Dynamics of Diffusion Models", section 3.
 */
export function averagePowerFunction(name: string, options: PowerFunctionOptions): AverageSpec {
  return averageOf(name, 'power_function', options);
}

export interface HalfLifeRampUpOptions extends AverageOptions {
  /** Upper bound of the half-life, in updates (in steps, with PER_STEP). Default 0: no bound. */
  halfLife?: number | undefined;
  /** The half-life as a fraction of all updates so far. Above 0, default 0.09. */
  ratio?: number | undefined;
}

/** EDM2's traditional EMA: w = 1 − 2^(−Δ / min(halfLife, ratio · t)). Source: NVlabs/edm2 `TraditionalEMA`. */
export function averageHalfLifeRampUp(name: string, options: HalfLifeRampUpOptions = {}): AverageSpec {
  return averageOf(name, 'half_life_ramp_up', options);
}
