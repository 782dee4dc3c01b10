import { averageOf } from './average-of.js';
import type { AverageOptions, AverageSpec } from './spec.js';

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
