export { fromAverageMessage, toAverageMessage } from './average-message.js';
export { averageEma, averageHalfLife, averageMean, type EmaOptions, type HalfLifeOptions } from './constant.js';
export {
  averageHalfLifeRampUp,
  averagePowerFunction,
  type HalfLifeRampUpOptions,
  type PowerFunctionOptions,
} from './edm2.js';
export type { AverageOptions, AverageSchedule, AverageSpec, AverageStart } from './spec.js';
export {
  type AnnealedMomentumOptions,
  averageAnnealedMomentum,
  averageCosine,
  averageExponentialRamp,
  averageHalfLifeFraction,
  averageInversePower,
  averageRatioWarmup,
  type CosineOptions,
  type ExponentialRampOptions,
  type HalfLifeFractionOptions,
  type InversePowerOptions,
  type RatioWarmupOptions,
} from './warm-up.js';
